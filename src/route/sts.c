#include "route/sts.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "dns/mx.h"
#include "route/sts_store.h"

#define ENTRIES_DEFAULT 20000u
#define TIMEOUT_DEFAULT USEC_MIN
#define REFRESH_DEFAULT USEC_DAY
#define LOOK_DEFAULT USEC_MIN
#define FETCHES_MAX 3u               /* at once: each holds a worker */
#define FAILED_FOR (5 * USEC_MIN)    /* RFC 8461 section 3.3 */
#define STILL_USED (30 * USEC_DAY)   /* policies that nobody has asked for since then are left to expire */
#define DUE_MAX 200u                 /* looked at in one go */

/* What is known of a domain whose record was seen once. */
struct entry {
	struct hash_node node;
	struct link lru;      /* first: used last */
	char id[STS_ID_MAX + 1];
	char *text;           /* the policy; NULL: none */
	size_t len;
	uint32_t max_age;
	wall_t fetched, used, looked;

	char failed_id[STS_ID_MAX + 1]; /* of the last fetch, when it failed */
	usec_t failed_until;
	enum sts_trouble trouble;
	char *why;

	bool wanted;          /* waits for a fetch, or is being fetched: it stays then */
	char wanted_id[STS_ID_MAX + 1];
	struct link turn;
	struct list waiters;  /* struct waiter */
	char domain[];
};

struct sts {
	struct world *world;
	const struct log *log;
	struct resolver *resolver;
	const struct sts_config *config;
	sts_fetcher fetcher;
	struct sts_store *store; /* may be NULL */
	struct hash_key key;
	pthread_mutex_t lock;    /* around all below, never over a wait */
	struct hash entries;
	struct list lru;
	struct list queue;       /* entries that wait for a fetch, by turn */
	struct loop *loop;       /* NULL: not started */
	struct post post;
	bool posted;
	unsigned fetches;        /* fibers at it */
};

static usec_t or_default(usec_t value, usec_t fallback)
{
	return value ? value : fallback;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

static struct entry *find_entry(struct sts *s, const char *domain)
{
	uint64_t hash = hash_bytes(&s->key, domain, strlen(domain));

	for (struct hash_node *n = hash_find(&s->entries, hash); n; n = hash_find_next(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (strcmp(e->domain, domain) == 0)
			return e;
	}
	return NULL;
}

static void drop_entry(struct sts *s, struct entry *e)
{
	hash_remove(&s->entries, &e->node);
	link_remove(&e->lru);
	free(e->text);
	free(e->why);
	free(e);
}

/* The one that nobody has asked for the longest goes, if it is not at work. */
static void make_room(struct sts *s)
{
	unsigned most = s->config->entries ? s->config->entries : ENTRIES_DEFAULT;
	struct link *k = list_empty(&s->lru) ? NULL : list_last(&s->lru);

	if (s->entries.len >= most && k && !container_of(k, struct entry, lru)->wanted)
		drop_entry(s, container_of(k, struct entry, lru));
}

/* Finds or makes it. NULL: memory. */
static struct entry *get_entry(struct sts *s, const char *domain)
{
	struct entry *e = find_entry(s, domain);

	if (e) {
		link_remove(&e->lru);
		list_prepend(&s->lru, &e->lru);
		return e;
	}
	make_room(s);
	e = calloc(1, sizeof(*e) + strlen(domain) + 1);
	if (!e)
		return NULL;
	strcpy(e->domain, domain);
	list_init(&e->waiters);
	if (hash_insert(&s->entries, &e->node, hash_bytes(&s->key, domain, strlen(domain))) < 0) {
		free(e);
		return NULL;
	}
	list_prepend(&s->lru, &e->lru);
	return e;
}

static bool is_alive(const struct entry *e, wall_t at)
{
	return e->text && (at < e->fetched || (at - e->fetched) / (wall_t) USEC_SEC < e->max_age);
}

/* Takes the text over. */
static void set_policy(struct entry *e, const char *id, char *text, size_t len, uint32_t max_age, wall_t fetched)
{
	free(e->text);
	e->text = text;
	e->len = len;
	e->max_age = max_age;
	e->fetched = e->looked = fetched;
	(void) slice_copy(slice_from(id), e->id, sizeof(e->id));
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* A policy in it was good when it came; should somebody have changed it, it is not there. */
static void take_kept(const struct sts_kept *k, void *context)
{
	struct sts *s = context;
	struct arena *a = NULL;
	struct sts_policy policy;
	struct entry *e;
	const char *why;
	char *text;

	if (arena_new(0, &a) < 0)
		return;
	if (sts_policy_parse(k->text, a, &policy, &why) == 0 && (text = slice_dup(k->text))) {
		e = get_entry(s, k->domain);
		if (e && !e->text) {
			set_policy(e, k->id, text, k->text.len, policy.max_age, k->fetched);
			e->used = k->used;
		} else {
			free(text);
		}
	}
	arena_free(a);
}

static void open_store(struct sts *s)
{
	_cleanup_(freep) char *why = NULL;

	if (!s->config->path || sts_store_open(s->config->path, take_kept, s, &s->store, &why) >= 0)
		return;
	LOG(s->log, LOG_ERROR, "MTA-STS policies can't be kept on disk; until that is mended a restart forgets them",
	    F_STR("file", s->config->path), F_STR("reason", why));
}

/* An entry's policy on its way to the file, or the domain alone when there is none any more. */
struct keeping {
	struct sts *sts;
	struct sts_kept kept;
};

static int keep_on_worker(void *arg)
{
	const struct keeping *k = arg;

	return k->kept.text.data ? sts_store_put(k->sts->store, &k->kept) : sts_store_remove(k->sts->store, k->kept.domain);
}

/* From a fiber of the service's loop. */
static void keep(struct sts *s, const char *domain, struct arena *a)
{
	struct keeping k = { .sts = s, .kept = { .domain = domain } };
	struct entry *e;

	if (!s->store)
		return;
	pthread_mutex_lock(&s->lock);
	e = find_entry(s, domain);
	if (e && e->text) {
		char *text = arena_slice(a, slice_new(e->text, e->len));

		k.kept.id = arena_strdup(a, e->id);
		k.kept.text = slice_new(text, text ? e->len : 0);
		k.kept.fetched = e->fetched;
		k.kept.used = e->used;
	}
	pthread_mutex_unlock(&s->lock);
	if (world_offload(s->world, keep_on_worker, &k) == -EIO)
		LOG(s->log, LOG_ERROR, "an MTA-STS policy can't be written to its file", F_STR("file", s->config->path),
		    F_STR("domain", domain));
}

/* --- fetching ------------------------------------------------------------------------------------------------------- */

struct waiter {
	struct link link;
	struct post post;
	struct loop *loop;
	struct fiber *fiber;
	bool done;
};

static void waiter_told(struct post *p)
{
	struct waiter *w = container_of(p, struct waiter, post);

	w->done = true;
	fiber_wake(w->fiber);
}

/* Locked. */
static void tell_waiters(struct entry *e)
{
	struct link *k;

	while ((k = list_pop(&e->waiters))) {
		struct waiter *w = container_of(k, struct waiter, link);

		loop_post(w->loop, &w->post);
	}
}

/* Locked. */
static void note_result(struct sts *s, struct entry *e, enum sts_trouble trouble, const char *why)
{
	bool again = e->trouble != STS_FETCHED;

	e->trouble = trouble;
	free(e->why);
	e->why = trouble == STS_FETCHED ? NULL : strdup(why);
	if (trouble == STS_FETCHED)
		return;
	memcpy(e->failed_id, e->wanted_id, sizeof(e->failed_id));
	e->failed_until = deadline_after(world_now(s->world), FAILED_FOR);
	/* RFC 8461 section 3.3: administrators are told. */
	if (!again)
		LOG(s->log, e->text ? LOG_WARNING : LOG_NOTICE,
		    e->text ? "an MTA-STS policy can't be renewed; the old one counts until it ends"
			    : "an MTA-STS policy can't be fetched; mail goes as if there were none",
		    F_STR("domain", e->domain), F_STR("reason", why));
}

/* The body of a fetch becomes the policy of the entry. */
static void conclude(struct sts *s, const char *domain, struct sts_fetch *f, enum sts_trouble trouble, struct arena *a)
{
	struct slice body = buffer_slice(&f->body);
	struct sts_policy policy = { 0 };
	const char *why = f->why;
	struct entry *e;
	char *text = NULL;

	if (trouble == STS_FETCHED && sts_policy_parse(body, a, &policy, &why) < 0)
		trouble = STS_INVALID;
	if (trouble == STS_FETCHED)
		text = slice_dup(body);
	pthread_mutex_lock(&s->lock);
	e = find_entry(s, domain);
	if (e && text)
		set_policy(e, e->wanted_id, TAKE_PTR(text), body.len, policy.max_age, world_wall(s->world));
	if (e && (e->text || trouble != STS_FETCHED))
		note_result(s, e, trouble, why);
	pthread_mutex_unlock(&s->lock);
	free(text);
}

struct fetching {
	struct sts *sts;
	struct sts_fetch fetch;
	enum sts_trouble trouble;
};

static int fetch_on_worker(void *arg)
{
	struct fetching *f = arg;

	f->trouble = f->sts->fetcher(&f->fetch);
	return 0;
}

static int fetch(struct sts *s, const char *domain, struct arena *a)
{
	struct fetching f = { .sts = s, .fetch = { .domain = domain, .config = s->config }, .trouble = STS_UNREACHABLE };
	usec_t deadline = deadline_after(now(), or_default(s->config->timeout, TIMEOUT_DEFAULT));
	const char *host = arena_printf(a, "mta-sts.%s", domain);
	struct dns_address_list list = { 0 };
	int r = host ? dns_addresses(s->resolver, host, DNS_IPV4_AND_IPV6, deadline, a, &list) : -ENOMEM;

	if (r < 0)
		return r;
	f.fetch.ips = list.ips;
	f.fetch.n_ips = list.n_ips;
	if (list.n_ips > 0)
		r = world_offload(s->world, fetch_on_worker, &f);
	else
		(void) slice_copy(slice_from(list.why ? list.why : "no address"), f.fetch.why, sizeof(f.fetch.why));
	if (r >= 0) {
		conclude(s, domain, &f.fetch, f.trouble, a);
		if (f.trouble == STS_FETCHED)
			keep(s, domain, a);
	}
	buffer_done(&f.fetch.body);
	return r;
}

/* One of a few fibers of the service's loop: one entry after the other, as long as there are any. */
static void fetch_all(void *arg)
{
	struct sts *s = arg;
	struct link *k;

	pthread_mutex_lock(&s->lock);
	while (!fiber_cancelled() && (k = list_pop(&s->queue))) {
		struct entry *e = container_of(k, struct entry, turn);
		struct arena *a = NULL;

		pthread_mutex_unlock(&s->lock);
		if (arena_new(0, &a) >= 0)
			(void) fetch(s, e->domain, a); /* the entry stays as long as it is wanted */
		arena_free(a);
		pthread_mutex_lock(&s->lock);
		e->wanted = false;
		tell_waiters(e);
	}
	s->fetches--;
	pthread_mutex_unlock(&s->lock);
}

/* On the service's loop, outside of fibers. */
static void begin_fetches(struct post *p)
{
	struct sts *s = container_of(p, struct sts, post);

	pthread_mutex_lock(&s->lock);
	s->posted = false;
	if (!list_empty(&s->queue) && s->fetches < FETCHES_MAX && fiber_spawn("mta-sts", fetch_all, s, NULL) >= 0)
		s->fetches++;
	pthread_mutex_unlock(&s->lock);
}

/* Locked. Somebody will fetch the policy, unless that failed a moment ago. True: it is on its way. */
static bool want(struct sts *s, struct entry *e, const char *id)
{
	if (e->wanted)
		return true;
	if (!s->loop || (strcmp(e->failed_id, id) == 0 && world_now(s->world) < e->failed_until))
		return false;
	(void) slice_copy(slice_from(id), e->wanted_id, sizeof(e->wanted_id));
	e->wanted = true;
	list_append(&s->queue, &e->turn);
	if (!s->posted) {
		s->posted = true;
		loop_post(s->loop, &s->post);
	}
	return true;
}

/* Unlocked; the waiter is on the list. 0, -ETIMEDOUT, -ECANCELED; afterwards nobody knows of it. */
static int await(struct sts *s, struct waiter *w, usec_t deadline)
{
	int r = 0;

	while (!w->done && r >= 0)
		r = fiber_wait("a policy of MTA-STS", deadline);
	if (w->done)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (link_linked(&w->link)) {
		link_remove(&w->link);
		pthread_mutex_unlock(&s->lock);
		return r;
	}
	pthread_mutex_unlock(&s->lock);
	while (!w->done)
		fiber_wait_uncancellable("a policy of MTA-STS");
	return 0;
}

/* --- the record ------------------------------------------------------------------------------------------------------- */

static bool take_record(const struct dns_answer *answer, char id[static STS_ID_MAX + 1])
{
	unsigned records = 0;
	bool valid = false;

	for (unsigned i = 0; answer->status == DNS_OK && i < answer->n_records; i++) {
		int r = sts_record_parse(answer->records[i].data, id);

		records += r != 0;
		valid |= r == 1;
	}
	return valid && records == 1; /* section 3.1: more than one is none */
}

/* What it says now. True with the id. */
static bool ask_record(struct sts *s, const char *domain, usec_t deadline, struct arena *a, char id[static STS_ID_MAX + 1], int *ret_error)
{
	const char *name = arena_printf(a, "_mta-sts.%s", domain);
	struct dns_answer answer;

	*ret_error = name ? dns_query(s->resolver, name, DNS_TXT, deadline, a, &answer) : -ENOMEM;
	return *ret_error >= 0 && take_record(&answer, id);
}

/* --- renewal ---------------------------------------------------------------------------------------------------------- */

struct due {
	const char *domain, *id;
	bool half, gone; /* half of its life is over; all of it */
};

/* Those that live shortly are looked at more often: one that lives a day, four times a day. */
static bool is_due(const struct sts *s, const struct entry *e, wall_t at)
{
	wall_t refresh = (wall_t) or_default(s->config->refresh, REFRESH_DEFAULT);

	if (!is_alive(e, at))
		return true;
	return at - e->looked >= MIN(refresh, e->max_age * (wall_t) USEC_SEC / 4) && at - e->used <= (wall_t) STILL_USED;
}

/* Which policies it is time to look at. */
static unsigned find_due(struct sts *s, struct arena *a, struct due *due)
{
	wall_t at = world_wall(s->world);
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	for (struct hash_node *k = hash_walk(&s->entries, NULL), *next; k && n < DUE_MAX; k = next) {
		struct entry *e = container_of(k, struct entry, node);
		wall_t age = at - e->fetched;

		next = hash_walk(&s->entries, k);
		if (e->wanted || !e->text || !is_due(s, e, at))
			continue;
		due[n] = (struct due) { .domain = arena_strdup(a, e->domain), .id = arena_strdup(a, e->id), .gone = !is_alive(e, at),
					.half = age / (wall_t) USEC_SEC > e->max_age / 2 };
		e->looked = at;
		if (due[n].gone)
			drop_entry(s, e);
		if (due[n].domain && due[n].id)
			n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void renew(struct sts *s, const struct due *d, struct arena *a)
{
	char id[STS_ID_MAX + 1] = "";
	struct entry *e;
	int error;

	if (!d->gone) {
		bool there = ask_record(s, d->domain, deadline_after(now(), USEC_MIN), a, id, &error);

		pthread_mutex_lock(&s->lock);
		e = find_entry(s, d->domain);
		if (e && ((there && strcmp(id, d->id) != 0) || d->half))
			(void) want(s, e, there ? id : d->id);
		pthread_mutex_unlock(&s->lock);
	}
	keep(s, d->domain, a);
}

static void refresh(void *arg)
{
	struct sts *s = arg;
	usec_t look = or_default(s->config->look, LOOK_DEFAULT);

	while (fiber_sleep_until(deadline_after(now(), look)) >= 0) {
		_cleanup_(arena_freep) struct arena *a = NULL;
		struct due *due = arena_new(0, &a) >= 0 ? arena_new_array(a, struct due, DUE_MAX) : NULL;
		unsigned n = due ? find_due(s, a, due) : 0;

		for (unsigned i = 0; i < n && !fiber_cancelled(); i++)
			renew(s, &due[i], a);
	}
}

/* --- without a start ------------------------------------------------------------------------------------------------------ */

static int fetch_here(struct sts *s, const char *domain, const char *id, struct arena *a)
{
	struct entry *e = get_entry(s, domain);
	int r;

	if (!e)
		return -ENOMEM;
	if (is_alive(e, world_wall(s->world)) || strcmp(e->failed_id, id) == 0)
		return 0;
	(void) slice_copy(slice_from(id), e->wanted_id, sizeof(e->wanted_id));
	e->wanted = true;
	r = fetch(s, domain, a);
	e->wanted = false;
	return r;
}

/* --- asking ------------------------------------------------------------------------------------------------------------- */

/* Without the CRs of the lines. */
static char *copy_text(const struct entry *e, struct arena *a)
{
	char *out = arena_alloc(a, e->len + 1), *p = out;

	for (size_t i = 0; out && i < e->len; i++)
		if (e->text[i] != '\r')
			*p++ = e->text[i];
	while (p > out && p[-1] == '\n')
		p--;
	if (out)
		*p = '\0';
	return out;
}

/* Locked. */
static int answer_from(struct sts *s, const struct entry *e, struct arena *a, struct sts_answer *ret)
{
	struct sts_answer answer = { .trouble = e->trouble };
	const char *why;

	if (e->trouble != STS_FETCHED) {
		answer.why = arena_strdup(a, e->why ? e->why : "out of memory");
		if (!answer.why)
			return -ENOMEM;
	}
	if (is_alive(e, world_wall(s->world))) {
		answer.text = copy_text(e, a);
		answer.id = arena_strdup(a, e->id);
		if (!answer.text || !answer.id || sts_policy_parse(slice_from(answer.text), a, &answer.policy, &why) < 0)
			return -ENOMEM;
		answer.found = answer.policy.mode != STS_NONE;
	}
	*ret = answer;
	return 0;
}

/* What is known, now that the record is. 1: answered; 0: w waits for a fetch; -ENOMEM. */
static int look_up(struct sts *s, const char *domain, const char *id, struct waiter *w, struct arena *a, struct sts_answer *ret)
{
	struct entry *e;
	int r = 1;

	pthread_mutex_lock(&s->lock);
	e = id ? get_entry(s, domain) : find_entry(s, domain);
	if (!e) {
		r = id ? -ENOMEM : 1;
	} else {
		bool alive = is_alive(e, world_wall(s->world)), coming = false;

		e->used = world_wall(s->world);
		if (id && (!alive || strcmp(e->id, id) != 0))
			coming = want(s, e, id);
		if (coming && !alive) {
			if (w)
				list_append(&e->waiters, &w->link);
			r = 0;
		} else {
			r = answer_from(s, e, a, ret);
			r = r < 0 ? r : 1;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sts_find(struct sts *s, const char *domain, usec_t deadline, struct arena *a, struct sts_answer *ret)
{
	struct waiter w = { .post.run = waiter_told, .loop = loop_current(), .fiber = fiber_self() };
	struct sts_answer answer = { .found = false };
	char id[STS_ID_MAX + 1];
	bool there;
	int r;

	deadline = MIN(deadline, deadline_after(now(), or_default(s->config->timeout, TIMEOUT_DEFAULT)));
	there = ask_record(s, domain, deadline, a, id, &r);
	if (r < 0)
		return r;
	if (there && !s->loop)
		r = fetch_here(s, domain, id, a);
	if (r >= 0)
		r = look_up(s, domain, there ? id : NULL, &w, a, &answer);
	if (r == 0) {
		r = await(s, &w, deadline);
		if (r == 0)
			r = look_up(s, domain, NULL, NULL, a, &answer);
		else if (r == -ETIMEDOUT)
			r = 0;
	}
	if (r < 0)
		return r;
	*ret = answer;
	return 0;
}

int sts_find_cached(struct sts *s, const char *domain, struct arena *a, struct sts_answer *ret)
{
	const char *name = arena_printf(a, "_mta-sts.%s", domain);
	struct sts_answer answer = { .found = false };
	struct dns_answer record;
	char id[STS_ID_MAX + 1];
	int r;

	if (!name)
		return -ENOMEM;
	r = dns_query_cached(s->resolver, name, DNS_TXT, a, &record);
	if (r > 0)
		r = look_up(s, domain, take_record(&record, id) ? id : NULL, NULL, a, &answer);
	if (r > 0)
		*ret = answer;
	return r;
}

/* --- life --------------------------------------------------------------------------------------------------------------- */

int sts_new(struct world *w, const struct log *log, struct resolver *resolver, const struct sts_config *config, sts_fetcher fetcher,
	    struct sts **ret)
{
	struct sts *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->world = w;
	s->log = log;
	s->resolver = resolver;
	s->config = config;
	s->fetcher = fetcher ? fetcher : sts_fetch_https;
	s->post.run = begin_fetches;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->lru);
	list_init(&s->queue);
	world_random(w, &s->key, sizeof(s->key));
	sts_fetch_begin();
	open_store(s);
	*ret = s;
	return 0;
}

int sts_start(struct sts *s, struct loop *loop)
{
	int r = loop_spawn(loop, "mta-sts-refresh", refresh, s);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->loop = loop;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void sts_free(struct sts *s)
{
	if (!s)
		return;
	while (!list_empty(&s->lru))
		drop_entry(s, container_of(list_first(&s->lru), struct entry, lru));
	hash_done(&s->entries);
	sts_store_close(s->store);
	sts_fetch_end();
	pthread_mutex_destroy(&s->lock);
	free(s);
}
