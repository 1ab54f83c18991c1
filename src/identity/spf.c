#include "identity/spf.h"

#include <stdarg.h>
#include <stdio.h>

#include "identity/spf_expand.h"
#include "identity/spf_record.h"
#include "identity/tags.h"
#include "mail/address.h"
#include "mail/text.h"

#define LOOKUPS 10u
#define LOOKUPS_MOST 30u /* each may be an include within an include, on a fiber's stack */
#define VOID_LOOKUPS 2u
#define NAMES 10u
#define TIME (20 * USEC_SEC)
#define LABEL_MAX 63u
#define NAME_TEXT_MAX 253u
#define EXPLANATION_MAX 1024u

/* How the evaluation of one term may end, beside 1 (it matches) and 0 (it doesn't). Other negative values are
 * trouble of our own. */
#define TERM_TEMPERROR (-EAGAIN)
#define TERM_PERMERROR (-EPROTO)

struct spf_state {
	struct spf_scene scene;
	unsigned max_lookups, max_voids;
	unsigned lookups, voids;
	const char *reason;
	/* The exp= of the record that decided, if it had one. */
	struct slice explanation;
	const char *explanation_domain;
};

const char *spf_word_text(enum spf_word word)
{
	static const char *const words[] = { "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror" };

	return words[word];
}

static int check_host(struct spf_state *s, const char *domain, bool top, enum spf_word *ret);

/* --- names and questions ------------------------------------------------------------------------------------------- */

/* RFC 7208 section 4.3: labels of 1 to 63 octets, more than one of them. */
static bool is_domain(struct slice s)
{
	unsigned labels = 0;

	if (s.len > 0 && s.data[s.len - 1] == '.')
		s.len--;
	if (s.len == 0 || s.len > NAME_TEXT_MAX)
		return false;
	while (s.data) {
		struct slice label = slice_cut(s, '.', &s);

		if (label.len == 0 || label.len > LABEL_MAX)
			return false;
		labels++;
	}
	return labels > 1;
}

static int _printf_(3, 4) because(struct spf_state *s, int value, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	s->reason = arena_strdup(s->scene.arena, text);
	return s->reason ? value : -ENOMEM;
}

/* A question about raw bytes. Temporary trouble comes as TERM_TEMPERROR. */
static int ask(struct spf_state *s, const char *name, enum dns_type type, struct dns_answer *ret)
{
	const char *text = name_escape(s->scene.arena, slice_from(name));
	int r;

	if (!text)
		return -ENOMEM;
	r = dns_query(s->scene.resolver, text, type, s->scene.deadline, s->scene.arena, ret);
	if (r < 0)
		return r;
	if (DNS_STATUS_TEMPORARY(ret->status))
		return because(s, TERM_TEMPERROR, "%s", ret->why);
	return 0;
}

/* RFC 7208 section 4.6.4: one more term that asks the DNS. */
static int count_lookup(struct spf_state *s)
{
	if (s->lookups++ < s->max_lookups)
		return 0;
	return because(s, TERM_PERMERROR, "the record needs more than %u DNS look-ups", s->max_lookups);
}

/* The same section: one more that found nothing. */
static int count_void(struct spf_state *s)
{
	if (s->voids++ < s->max_voids)
		return 0;
	return because(s, TERM_PERMERROR, "more than %u DNS look-ups of the record found nothing", s->max_voids);
}

/* The first question of a term. */
static int ask_for_term(struct spf_state *s, const char *name, enum dns_type type, struct dns_answer *ret)
{
	int r = ask(s, name, type, ret);

	return r < 0 || ret->n_records > 0 ? r : count_void(s);
}

/* --- mechanisms ----------------------------------------------------------------------------------------------------- */

static bool is_in_network(const struct spf_state *s, const struct ip *network, const struct spf_directive *d)
{
	unsigned bits = network->family == 4 ? d->cidr4 : d->cidr6;
	struct ip a = ip_network(network, bits), b = ip_network(&s->scene.client, bits);

	return network->family == s->scene.client.family && ip_equal(&a, &b);
}

static bool has_match(const struct spf_state *s, const struct dns_answer *answer, const struct spf_directive *d)
{
	for (unsigned i = 0; i < answer->n_records; i++)
		if (is_in_network(s, &answer->records[i].ip, d))
			return true;
	return false;
}

static enum dns_type address_type(const struct spf_state *s)
{
	return s->scene.client.family == 4 ? DNS_A : DNS_AAAA;
}

static int match_a(struct spf_state *s, const struct spf_directive *d, const char *target)
{
	struct dns_answer answer;
	int r = ask_for_term(s, target, address_type(s), &answer);

	return r < 0 ? r : has_match(s, &answer, d);
}

static int match_mx(struct spf_state *s, const struct spf_directive *d, const char *target)
{
	struct dns_answer hosts, answer;
	int r = ask_for_term(s, target, DNS_MX, &hosts);

	if (r < 0)
		return r;
	if (hosts.n_records > s->scene.max_names)
		return because(s, TERM_PERMERROR, "%s has more than %u MX records", target, s->scene.max_names);
	for (unsigned i = 0; i < hosts.n_records; i++) {
		/* The resolver's own text: it needs no escaping. */
		r = dns_query(s->scene.resolver, hosts.records[i].name, address_type(s), s->scene.deadline, s->scene.arena, &answer);
		if (r < 0)
			return r;
		if (DNS_STATUS_TEMPORARY(answer.status))
			return because(s, TERM_TEMPERROR, "%s", answer.why);
		if (has_match(s, &answer, d))
			return 1;
	}
	return 0;
}

static int match_ptr(struct spf_state *s, const char *target)
{
	const char *name = NULL;
	bool empty = false;
	int r = spf_validated_name(&s->scene, target, false, &name, &empty);

	if (r < 0)
		return r;
	if (empty)
		r = count_void(s);
	return r < 0 ? r : name != NULL;
}

static int match_exists(struct spf_state *s, const char *target)
{
	struct dns_answer answer;
	int r = ask_for_term(s, target, DNS_A, &answer); /* section 5.7: A, also for an IPv6 client */

	return r < 0 ? r : answer.n_records > 0;
}

/* RFC 7208 section 5.2. */
static int match_include(struct spf_state *s, const char *target)
{
	enum spf_word word;
	int r = check_host(s, target, false, &word);

	if (r < 0)
		return r;
	switch (word) {
	case SPF_PASS:
		return 1;
	case SPF_TEMPERROR:
		return TERM_TEMPERROR;
	case SPF_PERMERROR:
		return TERM_PERMERROR;
	case SPF_NONE:
		return because(s, TERM_PERMERROR, "%s, which the record includes, has no SPF record", target);
	default:
		return 0;
	}
}

/* 1, 0 or negative as above. */
static int match(struct spf_state *s, const struct spf_directive *d, const char *domain)
{
	const char *target = domain;
	int r;

	if (d->mechanism == SPF_ALL)
		return 1;
	if (d->mechanism == SPF_IP4 || d->mechanism == SPF_IP6)
		return is_in_network(s, &d->ip, d);
	r = count_lookup(s);
	if (r >= 0 && d->domain.len > 0)
		r = spf_expand_name(&s->scene, domain, d->domain, &target);
	if (r < 0)
		return r == -EINVAL ? TERM_PERMERROR : r;
	/* RFC 8616 section 4: a local part that isn't ASCII matches nothing. */
	if (!text_is_ascii(slice_from(target)))
		return d->mechanism == SPF_INCLUDE ? because(s, TERM_PERMERROR, "the name to include is not ASCII") : 0;
	switch (d->mechanism) {
	case SPF_INCLUDE:
		return match_include(s, target);
	case SPF_A:
		return match_a(s, d, target);
	case SPF_MX:
		return match_mx(s, d, target);
	case SPF_PTR:
		return match_ptr(s, target);
	default:
		return match_exists(s, target);
	}
}

/* --- records ---------------------------------------------------------------------------------------------------------- */

static enum spf_word word_of_qualifier(char qualifier)
{
	switch (qualifier) {
	case '-': return SPF_FAIL;
	case '~': return SPF_SOFTFAIL;
	case '?': return SPF_NEUTRAL;
	default: return SPF_PASS;
	}
}

/* What a negative value of a term means for the whole: 0 and the word, or trouble of our own. */
static int word_of_trouble(int r, enum spf_word *ret)
{
	if (r != TERM_TEMPERROR && r != TERM_PERMERROR)
		return r;
	*ret = r == TERM_TEMPERROR ? SPF_TEMPERROR : SPF_PERMERROR;
	return 0;
}

/* RFC 7208 section 6.1. */
static int redirect(struct spf_state *s, const struct spf_record *record, const char *domain, bool top, enum spf_word *ret)
{
	const char *target;
	int r = count_lookup(s);

	if (r >= 0)
		r = spf_expand_name(&s->scene, domain, record->redirect, &target);
	if (r >= 0)
		r = check_host(s, target, top, ret);
	if (r >= 0 && *ret == SPF_NONE)
		r = because(s, TERM_PERMERROR, "%s, to which the record of %s redirects, has no SPF record", target, domain);
	return r < 0 ? word_of_trouble(r == -EINVAL ? TERM_PERMERROR : r, ret) : 0;
}

static int evaluate(struct spf_state *s, const struct spf_record *record, const char *domain, bool top, enum spf_word *ret)
{
	char shown[128];

	for (unsigned i = 0; i < record->n_directives; i++) {
		const struct spf_directive *d = &record->directives[i];
		int r = match(s, d, domain);

		if (r < 0)
			return word_of_trouble(r, ret);
		if (r == 0)
			continue;
		*ret = word_of_qualifier(d->qualifier);
		if (top) { /* of an included record it is the including one that explains (section 6.2) */
			s->explanation = record->explanation;
			s->explanation_domain = domain;
		}
		return because(s, 0, "\"%s\" of %s matches", slice_escape(d->text, shown, sizeof(shown)), domain);
	}
	if (record->redirect.data)
		return redirect(s, record, domain, top, ret);
	*ret = SPF_NEUTRAL; /* section 4.7 */
	return because(s, 0, "no mechanism of %s matches", domain);
}

/* RFC 7208 section 4.5. 1 with the record, 0 with the word. */
static int select_record(struct spf_state *s, const struct dns_answer *answer, const char *domain, struct slice *ret,
			 enum spf_word *ret_word)
{
	unsigned n = 0;
	int r;

	for (unsigned i = 0; i < answer->n_records; i++) {
		if (!spf_record_is(answer->records[i].data))
			continue;
		*ret = answer->records[i].data;
		n++;
	}
	if (n == 1)
		return 1;
	*ret_word = n == 0 ? SPF_NONE : SPF_PERMERROR;
	r = n == 0 ? because(s, 0, "%s has no SPF record", domain) : because(s, 0, "%s has %u SPF records", domain, n);
	return r;
}

/* RFC 7208 section 4. top: not inside of an include. 0 with a word, or trouble of our own. */
static int check_host(struct spf_state *s, const char *domain, bool top, enum spf_word *ret)
{
	struct spf_record record;
	struct dns_answer answer;
	const char *why = NULL;
	struct slice text;
	int r;

	*ret = SPF_NONE;
	if (!is_domain(slice_from(domain))) {
		char shown[128];

		return because(s, 0, "\"%s\" is not a domain name", slice_escape(slice_from(domain), shown, sizeof(shown)));
	}
	r = ask(s, domain, DNS_TXT, &answer);
	if (r < 0)
		return word_of_trouble(r, ret);
	r = select_record(s, &answer, domain, &text, ret);
	if (r <= 0)
		return r;
	r = spf_record_parse(text, s->scene.arena, &record, &why);
	if (r == -EINVAL) {
		*ret = SPF_PERMERROR;
		return because(s, 0, "the SPF record of %s has a %s", domain, why);
	}
	return r < 0 ? r : evaluate(s, &record, domain, top, ret);
}

/* --- the explanation ----------------------------------------------------------------------------------------------------- */

/* RFC 7208 section 6.2: whatever goes wrong, there is none. 0, -ENOMEM, -ECANCELED. */
static int explain(struct spf_state *s, const char **ret)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct dns_answer answer;
	const char *target;
	struct slice text;
	int r;

	if (!s->explanation.data)
		return 0;
	r = spf_expand_name(&s->scene, s->explanation_domain, s->explanation, &target);
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	target = name_escape(s->scene.arena, slice_from(target));
	if (!target)
		return -ENOMEM;
	r = dns_query(s->scene.resolver, target, DNS_TXT, s->scene.deadline, s->scene.arena, &answer);
	if (r < 0 || answer.n_records != 1)
		return r;
	r = spf_expand(&s->scene, s->explanation_domain, answer.records[0].data, true, &out);
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	text = buffer_slice(&out);
	if (text.len == 0 || text.len > EXPLANATION_MAX || !text_is_printable_ascii(text))
		return 0;
	*ret = arena_slice(s->scene.arena, text);
	return *ret ? 0 : -ENOMEM;
}

/* --- the identities ------------------------------------------------------------------------------------------------------- */

/* A domain as A-labels; what has no such form stays as it is, and is found not to be a domain later. */
static const char *to_ascii(struct arena *a, struct slice domain)
{
	const char *ascii;
	int r;

	if (text_is_ascii(domain))
		return arena_slice(a, domain);
	r = domain_to_ascii(a, domain, &ascii);
	return r == -EINVAL ? arena_slice(a, domain) : r < 0 ? NULL : ascii;
}

/* RFC 7208 sections 2.3, 2.4 and 4.3. */
static int set_sender(struct spf_state *s, const struct spf_input *in, struct spf_result *ret)
{
	struct slice path = slice_from(in->mail_from), domain = SLICE_NULL, local = SLICE("postmaster");
	struct arena *a = s->scene.arena;

	s->scene.helo = to_ascii(a, slice_from(in->helo ? in->helo : ""));
	if (path.len == 0) {
		ret->helo = true;
		s->scene.sender_domain = s->scene.helo;
	} else {
		for (size_t n = path.len; n > 0 && !domain.data; n--)
			if (path.data[n - 1] == '@')
				domain = slice_skip(path, n);
		if (domain.data && path.len > domain.len + 1)
			local = slice_head(path, path.len - domain.len - 1);
		s->scene.sender_domain = to_ascii(a, domain.data ? domain : path);
	}
	s->scene.local = arena_slice(a, local);
	if (!s->scene.helo || !s->scene.sender_domain || !s->scene.local)
		return -ENOMEM;
	return 0;
}

int spf_check(struct resolver *r, const struct spf_input *in, const struct spf_limits *limits, usec_t deadline,
	      struct arena *a, struct spf_result *ret)
{
	static const struct spf_limits none = { 0 };
	const struct spf_limits *l = limits ? limits : &none;
	struct spf_result result = { .explanation = "" };
	struct spf_state s = {
		.scene = { .resolver = r, .arena = a, .client = *in->client, .time = in->time,
			   .max_names = l->names ? l->names : NAMES,
			   .receiver = in->receiver && *in->receiver ? in->receiver : "unknown" },
		.max_lookups = l->lookups ? MIN(l->lookups, LOOKUPS_MOST) : LOOKUPS,
		.max_voids = l->void_lookups ? l->void_lookups : VOID_LOOKUPS,
		.reason = "",
	};
	int error;

	s.scene.deadline = MIN(deadline, deadline_after(world_now(r->world), l->time ? l->time : TIME));
	error = set_sender(&s, in, &result);
	if (error < 0)
		return error;
	result.domain = s.scene.sender_domain;
	error = check_host(&s, result.domain, true, &result.word);
	if (error >= 0 && result.word == SPF_FAIL)
		error = explain(&s, &result.explanation);
	if (error < 0)
		return error;
	result.reason = s.reason;
	result.lookups = s.lookups;
	*ret = result;
	return 0;
}
