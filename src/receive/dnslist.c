#include "receive/dnslist.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEST_AGAIN USEC_HOUR
#define TEST_AGAIN_SOON (5 * USEC_MIN) /* a list that is off, or could not be asked */

enum health {
	HEALTH_UNKNOWN,
	HEALTH_GOOD,
	HEALTH_LISTS_ALL, /* from here on: switched off */
	HEALTH_EMPTY,
	HEALTH_REFUSES,
};
static const char *const health_texts[] = {
	[HEALTH_UNKNOWN] = "not tested yet",
	[HEALTH_GOOD] = "works",
	[HEALTH_LISTS_ALL] = "it lists every address; switched off until it passes its test",
	[HEALTH_EMPTY] = "its test entry 127.0.0.2 is missing: no such list, or it is out of order; switched off until it passes its test",
	[HEALTH_REFUSES] = "it refuses to answer this server's resolver; switched off until it passes its test",
};

struct list_state {
	atomic_int health;
	atomic_ullong test_again; /* when the next test is due */
};
struct lists {
	struct world *world;
	const struct log *log;
	const struct list_config *config;
	unsigned n;
	struct list_state states[];
};

/* --- filters ------------------------------------------------------------------------------------------ */

static int octet_parse(struct slice text, unsigned *ret)
{
	uint64_t n;

	if (!text.len || text.len > 3 || slice_to_u64(text, &n) < 0 || n > 255)
		return -EINVAL;
	*ret = (unsigned) n;
	return 0;
}

static void let_pass(uint8_t set[static 32], unsigned least, unsigned most)
{
	for (unsigned i = least; i <= most; i++)
		set[i / 8] |= (uint8_t) (1u << i % 8);
}

/* "2..11" or "4". */
static int span_parse(struct slice text, uint8_t set[static 32])
{
	const char *dots = memmem(text.data, text.len, "..", 2);
	unsigned least, most;

	if (octet_parse(dots ? slice_head(text, (size_t) (dots - text.data)) : text, &least) < 0)
		return -EINVAL;
	most = least;
	if (dots && (octet_parse(slice_skip(text, (size_t) (dots - text.data) + 2), &most) < 0 || most < least))
		return -EINVAL;
	let_pass(set, least, most);
	return 0;
}

/* One of the four parts from the front of *rest: a number, or [spans with ; between]. */
static int part_parse(struct slice *rest, uint8_t set[static 32])
{
	struct slice part;
	unsigned n;

	if (rest->len && rest->data[0] == '[') {
		struct slice behind, spans = slice_cut(slice_skip(*rest, 1), ']', &behind);

		if (!behind.data)
			return -EINVAL;
		do
			if (span_parse(slice_cut(spans, ';', &spans), set) < 0)
				return -EINVAL;
		while (spans.data);
		*rest = behind;
		return 0;
	}
	part = slice_head(*rest, strspn(rest->data, "0123456789"));
	if (octet_parse(part, &n) < 0)
		return -EINVAL;
	let_pass(set, n, n);
	*rest = slice_skip(*rest, part.len);
	return 0;
}

static void fill_network(const struct cidr *c, struct list_reply *ret)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned bits = c->bits > 8 * i ? MIN(c->bits - 8 * i, 8u) : 0;

		let_pass(ret->octets[i], c->base.bytes[i], c->base.bytes[i] | (0xffu >> bits));
	}
}

int list_reply_parse(struct slice text, struct list_reply *ret)
{
	struct list_reply reply = { 0 };
	char copy[128];
	struct slice rest;
	struct cidr network;

	if (cidr_parse(text, &network) == 0 && network.base.family == 4) {
		fill_network(&network, &reply);
		*ret = reply;
		return 0;
	}
	if (text.len >= sizeof(copy))
		return -EINVAL;
	rest = slice_new(copy, slice_copy(text, copy, sizeof(copy)));
	for (unsigned i = 0; i < 4; i++) {
		if (part_parse(&rest, reply.octets[i]) < 0)
			return -EINVAL;
		if (i < 3 && (!rest.len || rest.data[0] != '.'))
			return -EINVAL;
		rest = slice_skip(rest, i < 3);
	}
	if (rest.len)
		return -EINVAL;
	*ret = reply;
	return 0;
}

bool list_reply_matches(const struct list_reply *r, const struct ip *answer)
{
	for (unsigned i = 0; i < 4; i++)
		if (!(r->octets[i][answer->bytes[i] / 8] & (1u << answer->bytes[i] % 8)))
			return false;
	return answer->family == 4;
}

/* RFC 5782 section 2.1: entries have values in 127.0.0.0/8, and 127.0.0.1 is none of them. */
static bool is_hit(const struct list_config *c, const struct ip *answer)
{
	const uint8_t *b = answer->bytes;

	if (answer->family != 4 || b[0] != 127)
		return false;
	for (unsigned i = 0; i < c->n_replies; i++)
		if (list_reply_matches(&c->replies[i], answer))
			return true;
	return c->n_replies == 0 && !(b[1] == 0 && b[2] == 0 && b[3] <= 1);
}

/* The large lists say so to resolvers that ask too much, or that anybody may use. */
static bool is_refusal(const struct ip *answer)
{
	return answer->family == 4 && answer->bytes[0] == 127 && answer->bytes[1] == 255 && answer->bytes[2] == 255;
}

/* --- asking ---------------------------------------------------------------------------------------------- */

/* One list and one address; runs in a fiber of its own. */
struct question {
	struct lists *lists;
	unsigned list;
	struct resolver *resolver;
	const struct ip *client;
	usec_t deadline;
	struct arena *arena;
	/* what came of it */
	int result;
	bool hit, temporary;
	struct gate_list_hit found;
};

enum found { FOUND_NOTHING, FOUND_HIT, FOUND_REFUSAL, FOUND_TEMPORARY };

/* Returns enum found, or -errno. */
static int look(struct question *q, const struct ip *ip, struct ip *ret_answer, const char **ret_name)
{
	const struct list_config *c = &q->lists->config[q->list];
	char *name = dns_reverse_name(q->arena, ip, c->zone);
	struct dns_answer answer;
	int r;

	if (!name)
		return -ENOMEM;
	r = dns_query(q->resolver, name, DNS_A, q->deadline, q->arena, &answer);
	if (r < 0)
		return r;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return FOUND_TEMPORARY;
	for (unsigned i = 0; i < answer.n_records; i++)
		if (is_refusal(&answer.records[i].ip))
			return FOUND_REFUSAL;
	for (unsigned i = 0; i < answer.n_records; i++)
		if (is_hit(c, &answer.records[i].ip)) {
			*ret_answer = answer.records[i].ip;
			*ret_name = name;
			return FOUND_HIT;
		}
	return FOUND_NOTHING;
}

static void set_health(struct lists *l, unsigned list, enum health health)
{
	enum health before = (enum health) atomic_exchange(&l->states[list].health, (int) health);

	if (before == health || (before == HEALTH_UNKNOWN && health == HEALTH_GOOD))
		return;
	LOG(l->log, health == HEALTH_GOOD ? LOG_NOTICE : LOG_WARNING, health == HEALTH_GOOD ? "a DNS list works again" : "a DNS list is switched off",
	    F_STR("list", l->config[list].zone), F_STR("reason", health_texts[health]));
}

/* RFC 5782 section 5. The filters don't count here: some lists give their test entry a value of its own. */
static int test(struct question *q)
{
	static const struct ip listed = { .family = 4, .bytes = { 127, 0, 0, 2 } }, unlisted = { .family = 4, .bytes = { 127, 0, 0, 1 } };
	struct list_state *state = &q->lists->states[q->list];
	const char *zone = q->lists->config[q->list].zone;
	const char *in = dns_reverse_name(q->arena, &listed, zone), *out = dns_reverse_name(q->arena, &unlisted, zone);
	struct dns_answer yes, no;
	enum health health;
	int r;

	if (!in || !out)
		return -ENOMEM;
	r = dns_query(q->resolver, in, DNS_A, q->deadline, q->arena, &yes);
	if (r >= 0)
		r = dns_query(q->resolver, out, DNS_A, q->deadline, q->arena, &no);
	if (r < 0)
		return r;
	if (DNS_STATUS_TEMPORARY(yes.status) || DNS_STATUS_TEMPORARY(no.status)) {
		atomic_store(&state->test_again, deadline_after(now(), TEST_AGAIN_SOON));
		return 0;
	}
	if (yes.n_records && is_refusal(&yes.records[0].ip))
		health = HEALTH_REFUSES;
	else if (no.n_records)
		health = HEALTH_LISTS_ALL;
	else
		health = yes.n_records ? HEALTH_GOOD : HEALTH_EMPTY;
	set_health(q->lists, q->list, health);
	atomic_store(&state->test_again, deadline_after(now(), health == HEALTH_GOOD ? TEST_AGAIN : TEST_AGAIN_SOON));
	return 0;
}

/* Is it to be asked now? 1, 0 or -errno. One that was never tested is tested by everybody who comes meanwhile; later
 * one visitor does it for all. */
static int is_trustworthy(struct question *q)
{
	struct list_state *state = &q->lists->states[q->list];
	unsigned long long due = atomic_load(&state->test_again);
	int r;

	if (q->lists->config[q->list].untested)
		return 1;
	if (now() >= due && (atomic_load(&state->health) == HEALTH_UNKNOWN ||
			     atomic_compare_exchange_strong(&state->test_again, &due, deadline_after(now(), USEC_MIN)))) {
		r = test(q);
		if (r < 0)
			return r;
	}
	return atomic_load(&state->health) <= HEALTH_GOOD;
}

/* What a list says stands in replies, events and header fields: as plain text. NULL: no memory. */
static const char *plain(struct slice text, struct arena *a)
{
	char *copy = arena_slice(a, text);

	for (char *p = copy; p && *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return copy;
}

static int ask_list(struct question *q)
{
	const struct list_config *c = &q->lists->config[q->list];
	struct dns_answer text;
	const char *name = NULL;
	int r = is_trustworthy(q);

	if (r <= 0)
		return r;
	r = look(q, q->client, &q->found.answer, &name);
	if (r < 0)
		return r;
	q->temporary = r == FOUND_TEMPORARY;
	if (r == FOUND_REFUSAL && !c->untested)
		set_health(q->lists, q->list, HEALTH_REFUSES);
	if (r != FOUND_HIT)
		return 0;
	q->hit = true;
	q->found.zone = c->zone;
	q->found.weight = c->weight;
	r = dns_query(q->resolver, name, DNS_TXT, q->deadline, q->arena, &text);
	if (r == 0 && text.n_records) {
		q->found.text = plain(text.records[0].data, q->arena);
		r = q->found.text ? 0 : -ENOMEM;
	}
	return r;
}

static void ask_fiber(void *arg)
{
	struct question *q = arg;

	q->result = ask_list(q);
}

static int ask_all(struct question *questions, unsigned n)
{
	struct fiber_group group;
	int r = 0;

	fiber_group_init(&group);
	/* The last one is asked by us: one list needs no fiber. */
	for (unsigned i = 0; i < n; i++)
		if (i + 1 == n || !fiber_self() || fiber_group_spawn(&group, "dns-list", ask_fiber, &questions[i]) < 0)
			ask_fiber(&questions[i]);
	if (group.count > 0)
		r = fiber_group_wait(&group, DEADLINE_NEVER); /* each question has a deadline of its own */
	if (group.count > 0)
		fiber_group_done(&group);
	for (unsigned i = 0; i < n && r >= 0; i++)
		r = questions[i].result;
	return r < 0 ? r : 0;
}

int lists_ask(struct lists *l, struct resolver *r, const struct ip *client, usec_t deadline, struct arena *a,
	      unsigned *ret_n, const struct gate_list_hit **ret, bool *ret_temporary)
{
	struct question *questions = arena_new_array(a, struct question, MAX(l->n, 1u));
	struct gate_list_hit *hits = arena_new_array(a, struct gate_list_hit, MAX(l->n, 1u));
	unsigned n = 0;
	bool temporary = false;
	int result;

	if (!questions || !hits)
		return -ENOMEM;
	for (unsigned i = 0; i < l->n; i++)
		questions[i] = (struct question) { .lists = l, .list = i, .resolver = r, .client = client, .deadline = deadline, .arena = a };
	result = ask_all(questions, l->n);
	if (result < 0)
		return result;
	for (unsigned i = 0; i < l->n; i++) {
		temporary |= questions[i].temporary;
		if (questions[i].hit)
			hits[n++] = questions[i].found;
	}
	*ret_n = n;
	*ret = hits;
	*ret_temporary = temporary;
	return 0;
}

/* --- life -------------------------------------------------------------------------------------------------- */

int lists_new(struct world *w, const struct log *log, const struct list_config *config, unsigned n, struct lists **ret)
{
	struct lists *l = calloc(1, sizeof(*l) + n * sizeof(l->states[0]));

	if (!l)
		return -ENOMEM;
	l->world = w;
	l->log = log;
	l->config = config;
	l->n = n;
	*ret = l;
	return 0;
}

void lists_free(struct lists *l)
{
	free(l);
}

void lists_report(struct lists *l, void (*say)(void *context, const char *text), void *context)
{
	for (unsigned i = 0; i < l->n; i++) {
		int health = atomic_load(&l->states[i].health);
		char text[400];

		if (health <= HEALTH_GOOD)
			continue;
		snprintf(text, sizeof(text), "the DNS list %.200s: %s", l->config[i].zone, health_texts[health]);
		say(context, text);
	}
}
