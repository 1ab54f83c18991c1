#include "route/route.h"

#include <stdlib.h>

#include "route/match.h"
#include "route/router.h"

static const struct hop default_hop = { .kind = HOP_MX };
static const struct hop no_way_hop = { .kind = HOP_REJECT,
				       .text = "There is no way to this kind of address literal" };

int router_new(struct world *w, const struct log *log, struct resolver *resolver, const struct route_config *config,
	       struct router **ret)
{
	_cleanup_(router_freep) struct router *r = calloc(1, sizeof(*r));
	struct route_index *index = NULL;
	int error;

	if (!r)
		return -ENOMEM;
	r->world = w;
	r->log = log;
	r->resolver = resolver;
	route_health_init(r);
	world_random(w, &r->key, sizeof(r->key));
	error = route_index_new(r, config, &index);
	if (error < 0)
		return error;
	atomic_store(&r->index, index);
	*ret = TAKE_PTR(r);
	return 0;
}

int router_prepare(struct router *r, const struct route_config *config, struct route_index **ret)
{
	return route_index_new(r, config, ret);
}

void router_adopt(struct router *r, struct route_index *index)
{
	index->older = atomic_load(&r->index);
	atomic_store_explicit(&r->index, index, memory_order_release);
}

const struct route_config *router_config(const struct router *r)
{
	return router_index(r)->config;
}

void router_free(struct router *r)
{
	if (!r)
		return;
	for (struct route_index *i = atomic_load(&r->index), *older; i; i = older) {
		older = i->older;
		route_index_free(i);
	}
	route_health_done(r);
	free(r);
}

int route_domain_text(struct slice domain, char out[static DOMAIN_MAX + 1])
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	const char *ascii = NULL;
	int r;

	if (domain.len > 1 && domain.data[domain.len - 1] == '.')
		domain.len--;
	if (domain.len > DOMAIN_MAX)
		return -EINVAL;
	for (size_t i = 0; i < domain.len; i++) {
		if ((unsigned char) domain.data[i] >= 0x80)
			goto international;
		out[i] = ascii_lower(domain.data[i]);
	}
	out[domain.len] = '\0';
	return 0;

international:
	r = arena_new(0, &a);
	if (r < 0)
		return r;
	r = domain_to_ascii(a, domain, &ascii);
	if (r < 0)
		return r;
	if (strlen(ascii) > DOMAIN_MAX)
		return -EINVAL;
	strcpy(out, ascii);
	return 0;
}

/* The domain of ours that an address belongs to, or NULL. <postmaster> without a domain belongs to the host
 * itself, and where that is no mail domain, to the first one (RFC 5321 section 4.5.1). */
static const struct domain_entry *home_domain(const struct route_index *i, const struct address *to,
					      const char *domain)
{
	const struct domain_entry *e;

	if (to->literal)
		return NULL;
	if (to->domain.len > 0)
		return route_index_domain(i, slice_from(domain));
	if (!slice_ieq_str(to->local, "postmaster"))
		return NULL;
	e = i->config->hostname ? route_index_domain(i, slice_from(i->config->hostname)) : NULL;
	return e || i->config->n_domains == 0 ? e : &i->domains[0];
}

static bool user_exists(const struct route_index *i, const struct route_domain *d, const struct address *to)
{
	char name[LOCAL_PART_ACCEPT + 1];
	size_t len = 0;
	ssize_t plus;

	if (!d->recipients)
		return true;
	/* The quotes and backslashes of a quoted local part are not part of the name (RFC 5321 section 4.1.2). */
	for (size_t n = 0; n < to->local.len && len < LOCAL_PART_ACCEPT; n++) {
		char c = to->local.data[n];

		if (to->local.data[0] == '"') {
			if (c == '"')
				continue;
			if (c == '\\' && n + 1 < to->local.len)
				c = to->local.data[++n];
		}
		name[len++] = ascii_lower(c);
	}
	if (slice_eq_str(slice_new(name, len), "postmaster") || route_index_has_user(i, d, slice_new(name, len)))
		return true;
	plus = slice_find(slice_new(name, len), '+');
	return plus > 0 && (route_index_has_user(i, d, slice_new(name, (size_t) plus)) ||
			    slice_eq_str(slice_new(name, (size_t) plus), "postmaster"));
}

enum locality route_locality(struct router *r, const struct address *to)
{
	const struct route_index *i = router_index(r);
	const struct domain_entry *e;
	char domain[DOMAIN_MAX + 1];

	if (route_domain_text(to->domain, domain) < 0)
		return LOCALITY_REMOTE;
	e = home_domain(i, to, domain);
	if (!e)
		return LOCALITY_REMOTE;
	return user_exists(i, e->domain, to) ? LOCALITY_HERE : LOCALITY_NO_SUCH_USER;
}

/* An address literal has no MX: the rungs that would ask for one go straight to the address. */
static int ladder_for_literal(const struct route_config *config, const struct address *to, struct arena *a,
			      struct ladder *ladder)
{
	struct hop *hops = arena_new_array(a, struct hop, ladder->n_hops);

	if (!hops)
		return -ENOMEM;
	for (unsigned n = 0; n < ladder->n_hops; n++) {
		struct hop *h = &hops[n];

		*h = ladder->hops[n];
		if (h->kind != HOP_MX)
			continue;
		if (to->ip.family == 0) {
			h->kind = HOP_REJECT;
			h->text = no_way_hop.text;
			continue;
		}
		h->kind = HOP_HOST;
		h->host = (struct host_port) { .ip = to->ip, .port = route_mx_port(config) };
	}
	ladder->hops = hops;
	return 0;
}

/* The sides of a question in the form that patterns are compared with. */
struct sides {
	const struct address *to, *from;
	const char *to_domain, *from_domain;
};

static bool rule_may_match(const struct route_rule *rule, const struct sides *s, const struct route_facts *facts)
{
	return rule->ladder.n_hops > 0 && route_patterns_match(rule->to, rule->n_to, s->to, s->to_domain) &&
	       route_patterns_match(rule->from, rule->n_from, s->from, s->from_domain) &&
	       route_user_matches(rule, facts->user);
}

static void first_matching_rule(const struct route_config *config, const struct sides *s,
				const struct route_facts *facts, struct ladder *ret)
{
	for (unsigned n = 0; n < config->n_rules; n++) {
		const struct route_rule *rule = &config->rules[n];

		if (!rule_may_match(rule, s, facts))
			continue;
		if (facts->content_unknown && route_wants_content(rule)) {
			*ret = (struct ladder) { .rule = rule->ladder.rule };
			return;
		}
		if (!route_content_matches(rule, facts))
			continue;
		*ret = rule->ladder;
		return;
	}
	*ret = (struct ladder) { .rule = "default", .n_hops = 1, .hops = &default_hop };
}

/* The domain as patterns and the DNS have it; what has no such form matches "*" alone, and the DNS won't know it. 0 or
 * -ENOMEM. */
static int comparable_domain(struct slice domain, char out[static DOMAIN_MAX + 1])
{
	int r = route_domain_text(domain, out);

	if (r < 0 && r != -ENOMEM)
		slice_copy(domain, out, DOMAIN_MAX + 1);
	return r == -ENOMEM ? r : 0;
}

void route_facts_of(const struct envelope *e, struct address *room, struct route_facts *ret)
{
	bool null_path = e->reverse_path[0] == '\0' ||
			 address_parse(slice_from(e->reverse_path), ADDRESS_OF_ENVELOPE, room) < 0;

	*ret = (struct route_facts) { .from = null_path ? NULL : room,
				      .user = e->user,
				      .size = e->size,
				      .headers = e->headers,
				      .n_headers = e->n_headers };
}

int route_find(struct router *r, const struct address *to, const struct route_facts *facts, struct arena *a,
	       struct ladder *ret)
{
	static const struct address null_path = { .text = { "", 0 } };
	const struct route_index *i = router_index(r);
	char to_domain[DOMAIN_MAX + 1], from_domain[DOMAIN_MAX + 1] = "";
	const struct sides sides = { to, facts->from ? facts->from : &null_path, to_domain, from_domain };
	const struct domain_entry *e;
	struct ladder ladder;
	int error = comparable_domain(to->domain, to_domain);

	if (error < 0)
		return error;
	e = home_domain(i, to, to_domain);
	if (e) {
		*ret = (struct ladder) { .rule = e->rule, .n_hops = 1, .hops = &e->domain->deliver };
		return 0;
	}
	if (facts->from && i->config->n_rules > 0) {
		error = comparable_domain(facts->from->domain, from_domain);
		if (error < 0)
			return error;
	}
	first_matching_rule(i->config, &sides, facts, &ladder);
	if (to->literal && ladder.n_hops > 0) {
		error = ladder_for_literal(i->config, to, a, &ladder);
		if (error < 0)
			return error;
	}
	*ret = ladder;
	return 0;
}

void router_set_sts(struct router *r, struct sts *sts)
{
	r->sts = sts;
}

bool route_is_own_address(struct router *r, const struct ip *ip, uint16_t port)
{
	const struct route_config *config = router_config(r);

	if (port != route_mx_port(config))
		return false;
	for (unsigned n = 0; n < config->n_own_addresses; n++)
		if (ip_equal(&config->own_addresses[n], ip))
			return true;
	return false;
}

bool route_has_delays(struct router *r)
{
	const struct route_config *c = router_config(r);

	for (unsigned i = 0; i < c->n_rules; i++) {
		if (c->rules[i].ladder.deadline > 0)
			return true;
		for (unsigned n = 0; n < c->rules[i].ladder.n_hops; n++)
			if (c->rules[i].ladder.hops[n].when & WHEN_DELAYED)
				return true;
	}
	return false;
}
