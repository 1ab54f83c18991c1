#include "deliver/candidates.h"

#include "deliver/host_order.h"
#include "deliver/protection.h"
#include "deliver/remembered.h"

#define UNROUTABLE_KEPT USEC_MIN

static unsigned source_index(unsigned family)
{
	return family == 4 ? 1 : family == 6 ? 2 : 0;
}

/* --- what can't be tried ---------------------------------------------------------------------------------------- */

static void note_trouble(struct candidates *c, const struct target_host *host, enum reply_class class, int code, int detail,
			 const char *text)
{
	struct outcome o;

	failure_local(&o, STAGE_DNS, class, code, 4, detail, text);
	o.site_fault = true;
	o.host = host->name;
	c->trouble(c->context, &o);
}

static const char *host_name(const struct target_host *host)
{
	return host->name ? host->name : "the target";
}

static bool is_loop(struct candidates *c, const struct target_host *host, const struct ip *ip)
{
	struct arena *a = c->race.arena;

	if ((c->info->hop->kind != HOP_MX && c->info->hop->kind != HOP_SRV) || !route_is_own_address(c->race.deliverer->router, ip, host->port))
		return false;
	note_trouble(c, host, CLASS_OTHER, 554, 6,
		     arena_printf(a, "mail for %s loops back: %s is an address of this server", c->info->domain,
				  host->name ? host->name : "the host"));
	return true;
}

/* --- sources ----------------------------------------------------------------------------------------------------- */

/* All attempts of one search into a family come from the same address. NULL: none of ours gets there. */
static const struct dial_target *source_for(struct candidates *c, unsigned family)
{
	unsigned i = source_index(family);

	if (!c->chosen[i]) {
		c->chosen[i] = true;
		c->reaches[i] = dial_choose(c->race.deliverer, c->race.settings, c->info->hop, c->info->site, family, &c->source[i]);
	}
	return c->reaches[i] ? &c->source[i] : NULL;
}

/* ip NULL: by name. */
static int add(struct candidates *c, const struct target_host *host, const struct ip *ip)
{
	const struct dial_target *from = source_for(c, ip ? ip->family : 0);
	struct candidate *new;

	if (!from)
		c->out_of_reach = true;
	if (!from || (ip && is_loop(c, host, ip)))
		return 0;
	new = arena_new_type(c->race.arena, struct candidate);
	if (!new)
		return -ENOMEM;
	*new = (struct candidate) { .host = host, .policy = c->policy, .at = *from };
	new->at.host = host->name;
	new->at.to = (struct endpoint) { .port = host->port };
	if (ip) {
		new->at.to.kind = ENDPOINT_IP;
		new->at.to.ip = *ip;
		c->seen[ip->family == 6] = true;
	}
	*c->end = new;
	c->end = &new->next;
	return 0;
}

/* --- addresses in order ---------------------------------------------------------------------------------------------- */

static bool is_routable(struct candidates *c, const char *family)
{
	return recall(c->race.deliverer->remembered, REMEMBERED_UNROUTABLE, family) == 0;
}

/* RFC 8305 section 4: IPv6, unless something else is known (RFC 6724 section 5 rule 1: avoid what can't be reached). */
static unsigned preferred_family(struct candidates *c)
{
	unsigned family = recall(c->race.deliverer->remembered, REMEMBERED_FAMILY, c->info->site);

	if (family == 0)
		family = 6;
	if (!is_routable(c, family == 6 ? "6" : "4") && is_routable(c, family == 6 ? "4" : "6"))
		family = family == 6 ? 4 : 6;
	return family;
}

static int add_interleaved(struct candidates *c, const struct target_host *host, const struct address_list *list)
{
	unsigned at[2] = { 0, 0 }, family = list->n > 1 ? preferred_family(c) : 6;

	for (unsigned misses = 0; misses < 2; family = family == 6 ? 4 : 6) {
		unsigned *i = &at[family == 6];
		int r;

		while (*i < list->n && list->ips[*i].family != family)
			(*i)++;
		if (*i == list->n) {
			misses++;
			continue;
		}
		misses = 0;
		r = add(c, host, &list->ips[(*i)++]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What the host must show. 1; 0: it can't be used now, and why is noted. */
static int find_policy(struct candidates *c, const struct target_host *host)
{
	struct outcome o;
	int r;

	if (!c->policies)
		return 1;
	r = policies_of_host(c->policies, host, &c->policy);
	if (r < 0)
		return r;
	if (c->policy->refusal == REFUSED_NOT)
		return 1;
	protection_refusal(c->policy, c->race.arena, &o);
	protection_note_refusal(c->race.deliverer, c->policy);
	c->trouble(c->context, &o);
	return 0;
}

/* What the domain publishes is asked for at the same time. */
static int look_up(struct candidates *c, const struct target_host *host, struct address_list *ret)
{
	usec_t deadline = MIN(deadline_after(now(), c->race.settings->config.connect_timeout), c->race.until);
	int r = c->policies ? policies_ask(c->policies) : 0, joined;

	if (r < 0)
		return r;
	r = route_addresses(c->race.deliverer->router, host, deadline, c->race.arena, ret);
	joined = c->policies ? policies_join(c->policies) : 0;
	return r < 0 ? r : joined;
}

static int find_addresses(struct candidates *c, const struct target_host *host)
{
	struct arena *a = c->race.arena;
	struct candidate **before = c->end;
	struct address_list list = { 0 };
	int r;

	if (host->name && dial_by_name(c->info->hop)) {
		r = find_policy(c, host);
		return r > 0 ? add(c, host, NULL) : r;
	}
	r = look_up(c, host, &list);
	if (r < 0)
		return r;
	if (list.n == 0) {
		note_trouble(c, host, CLASS_UNREACHABLE, list.temporary ? 451 : 550, list.temporary ? 3 : 4,
			     arena_printf(a, list.temporary ? "the addresses of %s could not be looked up for now"
							    : "the host %s has no address", host_name(host)));
		return 0;
	}
	r = find_policy(c, host);
	if (r <= 0)
		return r;
	c->out_of_reach = false;
	r = add_interleaved(c, host, &list);
	if (r >= 0 && c->end == before && c->out_of_reach)
		note_trouble(c, host, CLASS_UNREACHABLE, 451, 1,
			     arena_printf(a, "none of the addresses under sources.%s is of the same family as those of %s",
					  c->info->hop->source->name, host_name(host)));
	return r;
}

/* --- the race ------------------------------------------------------------------------------------------------------------ */

static struct candidate *candidate_of(const struct dial_target *t)
{
	return container_of(t, struct candidate, at);
}

static void set_state(struct candidates *c, struct candidate *which, enum candidate_state state)
{
	c->running -= which->state == CANDIDATE_RUNNING;
	which->state = state;
	c->running += state == CANDIDATE_RUNNING;
	c->tried += state == CANDIDATE_DONE;
}

static struct candidate *find_new(struct candidates *c)
{
	struct candidate *k = c->first;

	while (k && k->state != CANDIDATE_NEW)
		k = k->next;
	return k;
}

/* A host may take part when nobody runs for a better one. */
static bool may_find_more(const struct candidates *c)
{
	return c->host < c->n_hosts &&
	       (c->running == 0 || c->hosts[c->host].preference == c->hosts[c->host - 1].preference);
}

static int next(struct race *race, const struct dial_target **ret)
{
	struct candidates *c = container_of(race, struct candidates, race);
	struct candidate *k;
	int r;

	for (;;) {
		if (c->tried + c->running >= race->settings->config.max_addresses)
			return -ENOENT;
		k = find_new(c);
		if (k)
			break;
		if (!may_find_more(c))
			return -ENOENT;
		r = find_addresses(c, &c->hosts[c->host++]);
		if (r < 0)
			return r;
	}
	set_state(c, k, CANDIDATE_RUNNING);
	*ret = &k->at;
	return 0;
}

static void failed(struct race *race, const struct dial_target *t, int error, const char *why)
{
	struct candidates *c = container_of(race, struct candidates, race);
	struct outcome o;

	set_state(c, candidate_of(t), CANDIDATE_DONE);
	/* Without a route into the family, the next hosts need not wait for that to be found again. */
	if ((error == -ENETUNREACH || error == -EADDRNOTAVAIL) && t->to.kind == ENDPOINT_IP && !t->source && !t->from.family)
		remember(race->deliverer->remembered, REMEMBERED_UNROUTABLE, t->to.ip.family == 6 ? "6" : "4", 1, UNROUTABLE_KEPT);
	dial_failure(t, error, why, race->arena, &o);
	c->trouble(c->context, &o);
	candidates_failed(c, candidate_of(t)->host, &o);
}

/* Only whoever has a choice need remember. */
void candidates_failed(const struct candidates *c, const struct target_host *host, const struct outcome *o)
{
	if (c->n_hosts > 1 && o->site_fault)
		route_health_failed(c->race.deliverer->router, host, c->info->hop->source, o->reply.text);
}

int candidates_begin(struct candidates *c)
{
	const struct target *target = c->info->target;

	c->race.next = next;
	c->race.failed = failed;
	c->hosts = arena_new_array(c->race.arena, struct target_host, MAX(target->n_hosts, 1u));
	if (!c->hosts)
		return -ENOMEM;
	if (target->n_hosts > 0)
		memcpy(c->hosts, target->hosts, target->n_hosts * sizeof(*c->hosts));
	c->n_hosts = target->n_hosts;
	c->host = 0;
	c->first = NULL;
	c->end = &c->first;
	hosts_in_order(c->race.deliverer->world, c->race.deliverer->router, c->info->hop, c->hosts, c->n_hosts);
	return 0;
}

int candidates_connect(struct candidates *c, const struct candidate **ret, struct stream **ret_stream)
{
	const struct dial_target *winner;
	int r = race_run(&c->race, &winner, ret_stream);

	if (r >= 0) {
		set_state(c, candidate_of(winner), CANDIDATE_DONE);
		*ret = candidate_of(winner);
	}
	/* Whom another has beaten may run again. */
	for (struct candidate *k = c->first; k; k = k->next)
		if (k->state == CANDIDATE_RUNNING)
			set_state(c, k, CANDIDATE_NEW);
	return r;
}

void candidates_worked(struct candidates *c, const struct candidate *which)
{
	struct remembered *m = c->race.deliverer->remembered;
	unsigned family = which->at.to.ip.family;

	if (c->n_hosts > 1)
		route_health_worked(c->race.deliverer->router, which->host, c->info->hop->source);
	if (which->at.to.kind != ENDPOINT_IP || !c->seen[0] || !c->seen[1])
		return;
	if (family == 4 || recall(m, REMEMBERED_FAMILY, c->info->site) != 0)
		remember(m, REMEMBERED_FAMILY, c->info->site, (uint8_t) family, c->race.settings->config.remember_family);
}
