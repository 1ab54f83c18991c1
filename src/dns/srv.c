#include "dns/srv.h"

#include <stdlib.h>

#include "dns/name.h"
#include "dns/rdata.h"

static int compare_hosts(const void *a, const void *b)
{
	const struct srv_host *x = a, *y = b;
	int order;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	order = strcmp(x->name, y->name);
	return order ? order : (int) x->port - (int) y->port;
}

static int take_records(const struct dns_answer *answer, const char *name, struct arena *a, struct srv_set *set)
{
	set->hosts = arena_new_array(a, struct srv_host, answer->n_records);
	if (!set->hosts)
		return -ENOMEM;
	for (unsigned i = 0; i < answer->n_records; i++) {
		const struct dns_record *r = &answer->records[i];

		/* RFC 2782: a target of "." says that the service is decidedly not available. */
		if (r->port > 0 && dns_name_is_host(r->name))
			set->hosts[set->n_hosts++] = (struct srv_host) { r->name, r->port, r->preference, r->weight };
	}
	qsort(set->hosts, set->n_hosts, sizeof(*set->hosts), compare_hosts);
	set->n_hosts = MIN(set->n_hosts, SRV_HOSTS_MAX);
	set->status = set->n_hosts > 0 ? SRV_OK : SRV_NONE;
	if (set->n_hosts > 0)
		return 0;
	set->why = arena_printf(a, "%s names no host: the service is not offered there", name);
	return set->why ? 0 : -ENOMEM;
}

static int take_answer(const struct dns_answer *answer, const char *name, struct arena *a, struct srv_set *ret)
{
	struct srv_set set = { .secure = answer->secure, .ttl = answer->ttl };
	int r = 0;

	if (answer->status == DNS_OK) {
		r = take_records(answer, name, a, &set);
	} else if (DNS_STATUS_TEMPORARY(answer->status)) {
		set.status = SRV_TEMPORARY;
		set.why = answer->why ? answer->why : dns_status_name(answer->status);
	} else {
		set.status = SRV_NONE;
		set.why = arena_printf(a, "%s has no SRV record", name);
		r = set.why ? 0 : -ENOMEM;
	}
	if (r < 0)
		return r;
	*ret = set;
	return 1;
}

int dns_srv(struct resolver *r, const char *name, usec_t deadline, struct arena *a, struct srv_set *ret)
{
	struct dns_answer answer;
	int result = dns_query(r, name, DNS_SRV, deadline, a, &answer);

	if (result < 0)
		return result;
	result = take_answer(&answer, name, a, ret);
	return result < 0 ? result : 0;
}

int dns_srv_cached(struct resolver *r, const char *name, struct arena *a, struct srv_set *ret)
{
	struct dns_answer answer;
	int result = dns_query_cached(r, name, DNS_SRV, a, &answer);

	return result <= 0 ? result : take_answer(&answer, name, a, ret);
}
