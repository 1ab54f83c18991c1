/* From a domain to its exchangers, and from an exchanger to its addresses. */
#include "dns/mx.h"

#include <stdlib.h>

#include "dns/name.h"
#include "dns/rdata.h"

/* How a question is asked: of the DNS, or of the cache alone. 1 with an answer, 0 without, -errno. */
struct asker {
	struct resolver *resolver;
	usec_t deadline;
	struct arena *arena;
	bool cached_only;
};

static int ask(const struct asker *q, const char *name, enum dns_type type, struct dns_answer *ret)
{
	int r;

	if (q->cached_only)
		return dns_query_cached(q->resolver, name, type, q->arena, ret);
	r = dns_query(q->resolver, name, type, q->deadline, q->arena, ret);
	return r < 0 ? r : 1;
}

static const char *why_of(const struct dns_answer *answer)
{
	return answer->why ? answer->why : dns_status_name(answer->status);
}

/* --- addresses ------------------------------------------------------------------------------------------- */

static bool same_name(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Puts what is known of both families together; an answer that was not asked for is NULL. */
static int join_families(const char *host, const struct dns_answer *v6, const struct dns_answer *v4, struct arena *a,
			 struct dns_address_list *ret)
{
	const struct dns_answer *answers[2] = { v6, v4 };
	struct dns_address_list list = { .secure = true, .nxdomain = true, .canonical = host, .ttl = UINT32_MAX };
	unsigned room = (v6 ? v6->n_records : 0) + (v4 ? v4->n_records : 0);

	list.ips = arena_new_array(a, struct ip, MAX(room, 1u));
	if (!list.ips)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		const struct dns_answer *answer = answers[i];

		if (!answer)
			continue;
		for (unsigned k = 0; k < answer->n_records; k++)
			list.ips[list.n_ips++] = answer->records[k].ip;
		if (DNS_STATUS_TEMPORARY(answer->status)) {
			list.temporary = true;
			list.why = why_of(answer);
		} else if (answer->canonical) {
			list.canonical = answer->canonical;
		}
		list.nxdomain = list.nxdomain && answer->status == DNS_NXDOMAIN;
		list.secure = list.secure && answer->secure;
		list.validated |= answer->secure;
		list.ttl = MIN(list.ttl, answer->ttl);
	}
	if (!list.why && list.n_ips == 0) {
		list.why = arena_printf(a, list.nxdomain ? "%s does not exist" : "%s has no address", host);
		if (!list.why)
			return -ENOMEM;
	}
	*ret = list;
	return 0;
}

/* The second family is asked for by a fiber of its own. */
struct family_question {
	const struct asker *asker;
	const char *host;
	struct dns_answer answer;
	int result;
};

static void ask_family(void *arg)
{
	struct family_question *q = arg;

	q->result = ask(q->asker, q->host, DNS_AAAA, &q->answer);
}

static int ask_both(const struct asker *q, const char *host, struct dns_answer *ret_v6, struct dns_answer *ret_v4)
{
	struct family_question v6 = { .asker = q, .host = host, .result = -ECANCELED };
	struct fiber_group group;
	int r;

	fiber_group_init(&group);
	if (!fiber_self() || fiber_group_spawn(&group, "dns-aaaa", ask_family, &v6) < 0)
		ask_family(&v6); /* no fiber to be had: one after the other */
	r = ask(q, host, DNS_A, ret_v4);
	/* Without a deadline of its own: the question has one. */
	if (r >= 0 && group.count > 0) {
		int waited = fiber_group_wait(&group, DEADLINE_NEVER);

		if (waited < 0)
			r = waited;
	}
	if (group.count > 0)
		fiber_group_done(&group);
	if (r < 0)
		return r;
	if (v6.result < 0)
		return v6.result;
	*ret_v6 = v6.answer;
	return 1;
}

/* Without a wait when both are in the cache: 1, 0, -ENOMEM. */
static int find_families(const struct asker *q, const char *host, unsigned families, struct dns_answer *v6,
			 struct dns_answer *v4)
{
	struct asker cached = *q;
	int have_v6, have_v4;

	cached.cached_only = true;
	have_v6 = families & DNS_IPV6 ? ask(&cached, host, DNS_AAAA, v6) : 1;
	have_v4 = families & DNS_IPV4 ? ask(&cached, host, DNS_A, v4) : 1;
	if (have_v6 < 0 || have_v4 < 0)
		return have_v6 < 0 ? have_v6 : have_v4;
	if ((have_v6 && have_v4) || q->cached_only)
		return have_v6 && have_v4;
	if (have_v6)
		return ask(q, host, DNS_A, v4);
	if (have_v4)
		return ask(q, host, DNS_AAAA, v6);
	return ask_both(q, host, v6, v4);
}

static int addresses(const struct asker *q, const char *host, unsigned families, struct dns_address_list *ret)
{
	struct dns_answer v6, v4;
	int r;

	assert(families & DNS_IPV4_AND_IPV6);
	r = find_families(q, host, families, &v6, &v4);
	if (r <= 0)
		return r;
	r = join_families(host, families & DNS_IPV6 ? &v6 : NULL, families & DNS_IPV4 ? &v4 : NULL, q->arena, ret);
	return r < 0 ? r : 1;
}

int dns_addresses(struct resolver *r, const char *host, unsigned families, usec_t deadline, struct arena *a,
		  struct dns_address_list *ret)
{
	struct asker q = { .resolver = r, .deadline = deadline, .arena = a };
	int result = addresses(&q, host, families, ret);

	return result < 0 ? result : 0;
}

int dns_addresses_cached(struct resolver *r, const char *host, unsigned families, struct arena *a,
			 struct dns_address_list *ret)
{
	struct asker q = { .resolver = r, .arena = a, .cached_only = true };

	return addresses(&q, host, families, ret);
}

/* --- exchangers ------------------------------------------------------------------------------------------- */

static int compare_hosts(const void *a, const void *b)
{
	const struct mx_host *x = a, *y = b;

	if (x->preference != y->preference)
		return x->preference < y->preference ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* One more record that names no host. The note names the first, the count tells of the rest. */
static int skip_record(struct mx_set *set, const struct dns_record *record, struct arena *a)
{
	char shown[128];
	struct ip ip;
	const char *what = "is not a host name", *name = ".";

	set->n_skipped++;
	if (set->note)
		return 0;
	if (record->name[0])
		name = slice_escape(slice_from(record->name), shown, sizeof(shown));
	if (record->name[0] == '\0')
		what = "beside others means nothing (RFC 7505 section 3)";
	else if (ip_parse(slice_from(record->name), &ip) == 0)
		what = "is an address, where a name must be (RFC 5321 section 5.1)";
	set->note = arena_printf(a, "the MX '%s' of %s %s", name, set->domain, what);
	return set->note ? 0 : -ENOMEM;
}

/* Sorted, and each name once: with the best of its preferences. */
static void make_canonical(struct mx_set *set)
{
	unsigned n = 0;

	qsort(set->hosts, set->n_hosts, sizeof(*set->hosts), compare_hosts);
	for (unsigned i = 0; i < set->n_hosts && n < MX_HOSTS_MAX; i++) {
		bool seen = false;

		for (unsigned k = 0; k < n && !seen; k++)
			seen = same_name(set->hosts[k].name, set->hosts[i].name);
		if (!seen)
			set->hosts[n++] = set->hosts[i];
	}
	set->n_hosts = n;
}

static int take_records(const struct dns_answer *answer, struct arena *a, struct mx_set *set)
{
	unsigned n = MIN(answer->n_records, MX_RECORDS_MAX);

	/* RFC 7505 section 3: a single record with the root as exchange. */
	if (answer->n_records == 1 && answer->records[0].name[0] == '\0') {
		set->status = MX_NULL;
		set->why = arena_printf(a, "%s accepts no mail: it has a null MX", set->domain);
		return set->why ? 0 : -ENOMEM;
	}
	set->hosts = arena_new_array(a, struct mx_host, n);
	if (!set->hosts)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		const struct dns_record *record = &answer->records[i];

		if (dns_name_is_host(record->name))
			set->hosts[set->n_hosts++] = (struct mx_host) { record->name, record->preference };
		else if (skip_record(set, record, a) < 0)
			return -ENOMEM;
	}
	make_canonical(set);
	set->status = MX_OK;
	if (set->n_hosts == 0) {
		/* RFC 5321 section 5.1: with MX records that are of no use, addresses are not used instead. */
		set->status = MX_NO_HOST;
		set->why = arena_printf(a, "no MX record of %s names a host: %s", set->domain, set->note);
		return set->why ? 0 : -ENOMEM;
	}
	return 0;
}

/* RFC 5321 section 5.1: without MX records the domain is its own exchanger, with preference 0. */
static int take_implicit(const struct asker *q, struct mx_set *set)
{
	struct dns_address_list list;
	int r;

	r = addresses(q, set->domain, DNS_IPV4_AND_IPV6, &list);
	if (r <= 0)
		return r;
	set->ttl = MIN(set->ttl, list.ttl);
	if (list.n_ips > 0) {
		set->hosts = arena_new_array(q->arena, struct mx_host, 1);
		if (!set->hosts)
			return -ENOMEM;
		set->hosts[0].name = set->domain;
		set->n_hosts = 1;
		set->status = MX_IMPLICIT;
		return 1;
	}
	set->status = list.temporary ? MX_TEMPORARY : MX_NO_HOST;
	set->why = list.temporary ? list.why : arena_printf(q->arena, "%s has neither MX nor address records", set->domain);
	return set->why ? 1 : -ENOMEM;
}

static int exchangers(const struct asker *q, const char *domain, struct mx_set *ret)
{
	struct dns_answer answer;
	struct mx_set set = { .n_hosts = 0 };
	int r;

	r = ask(q, domain, DNS_MX, &answer);
	if (r <= 0)
		return r;
	set.domain = answer.canonical ? answer.canonical : domain;
	set.secure = answer.secure;
	set.ttl = answer.ttl;
	switch (answer.status) {
	case DNS_OK:
		r = take_records(&answer, q->arena, &set);
		break;
	case DNS_NODATA:
		r = take_implicit(q, &set);
		if (r == 0)
			return 0;
		break;
	case DNS_NXDOMAIN:
		set.status = MX_NO_DOMAIN;
		set.why = answer.why ? answer.why : arena_printf(q->arena, "the domain %s does not exist", set.domain);
		r = set.why ? 0 : -ENOMEM;
		break;
	default:
		set.status = MX_TEMPORARY;
		set.why = why_of(&answer);
	}
	if (r < 0)
		return r;
	*ret = set;
	return 1;
}

int dns_mx(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct mx_set *ret)
{
	struct asker q = { .resolver = r, .deadline = deadline, .arena = a };
	int result = exchangers(&q, domain, ret);

	return result < 0 ? result : 0;
}

int dns_mx_cached(struct resolver *r, const char *domain, struct arena *a, struct mx_set *ret)
{
	struct asker q = { .resolver = r, .arena = a, .cached_only = true };

	return exchangers(&q, domain, ret);
}
