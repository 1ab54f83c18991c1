/* The resolver's interface in front of a zone. */
#include <stdlib.h>

#include "dns/cache.h"
#include "dns/rdata.h"
#include "dns/zone.h"

#define CNAMES_MAX 8u

struct zone_resolver {
	struct resolver resolver;
	struct zone *zone;
	bool secure;
	zone_hook hook;
	void *hook_context;
};

static struct zone_resolver *self_of(struct resolver *r)
{
	return container_of(r, struct zone_resolver, resolver);
}

/* What a test wants to happen. 0, or -ECANCELED. */
static int ask_hook(struct zone_resolver *z, const char *name, enum dns_type type, usec_t deadline, enum dns_status *status)
{
	usec_t delay = 0, time, until;
	int r;

	if (!z->hook)
		return 0;
	z->hook(z->hook_context, name, type, status, &delay);
	if (delay == 0 || !fiber_self())
		return 0;
	time = world_now(z->resolver.world);
	until = deadline_after(time, delay);
	r = fiber_sleep_until(MIN(until, deadline));
	if (r >= 0 && deadline < until)
		*status = DNS_TIMEOUT;
	return r;
}

static int explain(struct dns_answer *answer, const char *name, struct arena *a)
{
	switch (answer->status) {
	case DNS_OK:
		return 0;
	case DNS_NODATA:
		answer->why = arena_printf(a, "%s has no such record", name);
		break;
	case DNS_NXDOMAIN:
		answer->why = arena_printf(a, "%s does not exist", name);
		break;
	default:
		answer->why = arena_printf(a, "%s from the zone file for %s", dns_status_name(answer->status), name);
	}
	return answer->why ? 0 : -ENOMEM;
}

/* The zone's word on a name, at the end of its CNAME chain; *name moves along. */
static int follow(struct zone_resolver *z, struct dns_name *name, enum dns_type type, struct arena *a, struct dns_answer *ret)
{
	uint32_t ttl = UINT32_MAX;
	bool cname, secure = true;
	int r;

	for (unsigned i = 0; i <= CNAMES_MAX; i++) {
		r = zone_find(z->zone, name, type, a, ret, &cname);
		if (r < 0)
			return r;
		ttl = ret->ttl = MIN(ttl, ret->ttl);
		secure = ret->secure = secure && ret->secure;
		if (!cname)
			return 0;
		r = dns_name_parse(slice_from(ret->records[0].name), NULL, name);
		if (r < 0)
			return r;
	}
	*ret = (struct dns_answer) { .status = DNS_SERVFAIL };
	return 0;
}

static int zone_query(struct resolver *resolver, const char *text, enum dns_type type, usec_t deadline, struct arena *a,
		      struct dns_answer *ret)
{
	struct zone_resolver *z = self_of(resolver);
	struct dns_answer answer = { .status = DNS_OK };
	char canonical[DNS_NAME_TEXT];
	struct dns_name name;
	int r;

	r = dns_name_parse(slice_from(text), NULL, &name);
	if (r < 0)
		return r;
	r = ask_hook(z, text, type, deadline, &answer.status);
	if (r < 0)
		return r;
	if (answer.status == DNS_OK)
		r = follow(z, &name, type, a, &answer);
	if (r < 0)
		return r;
	answer.secure = (z->secure || answer.secure) && !DNS_STATUS_TEMPORARY(answer.status);
	answer.canonical = arena_strdup(a, dns_name_format(&name, canonical));
	if (!answer.canonical)
		return -ENOMEM;
	r = explain(&answer, answer.canonical, a);
	if (r < 0)
		return r;
	*ret = answer;
	return 0;
}

static void zone_resolver_free(struct resolver *resolver)
{
	struct zone_resolver *z = self_of(resolver);

	zone_free(z->zone);
	free(z);
}

static const struct resolver_ops zone_ops = { .query = zone_query, .free = zone_resolver_free };

int zone_resolver_new(struct world *w, struct zone *zone, unsigned cache_entries, struct resolver **ret)
{
	_cleanup_(zone_freep) struct zone *owned = zone;
	struct zone_resolver *z = calloc(1, sizeof(*z));
	int r;

	if (!z)
		return -ENOMEM;
	z->resolver = (struct resolver) { .ops = &zone_ops, .world = w };
	r = dns_cache_new(w, cache_entries, &z->resolver.cache);
	if (r < 0) {
		free(z);
		return r;
	}
	z->zone = TAKE_PTR(owned);
	*ret = &z->resolver;
	return 0;
}

void zone_resolver_set_hook(struct resolver *r, zone_hook hook, void *context)
{
	assert(r->ops == &zone_ops);
	self_of(r)->hook = hook;
	self_of(r)->hook_context = context;
}

void zone_resolver_set_zone(struct resolver *r, struct zone *zone)
{
	assert(r->ops == &zone_ops);
	zone_free(self_of(r)->zone);
	self_of(r)->zone = zone;
}

void zone_resolver_set_secure(struct resolver *r, bool secure)
{
	assert(r->ops == &zone_ops);
	self_of(r)->secure = secure;
}
