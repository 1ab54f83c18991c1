/* How would mail to an address go, and why? */
#include "admin/command.h"
#include "admin/host_policy.h"
#include "admin/verdict.h"
#include "mail/address.h"
#include "route/health.h"

static const char *const locality_texts[] = {
	[LOCALITY_REMOTE] = "remote",
	[LOCALITY_HERE] = "here",
	[LOCALITY_NO_SUCH_USER] = "no such user",
};
static const char *const target_texts[] = {
	[TARGET_OK] = "ok",
	[TARGET_NO_DOMAIN] = "no such domain",
	[TARGET_NULL_MX] = "null MX: takes no mail",
	[TARGET_NO_HOST] = "no host",
	[TARGET_LOOP] = "loop: the best exchanger is this host",
	[TARGET_TEMPORARY] = "temporary trouble",
};

struct explain {
	struct router *router;
	struct queue *queue; /* NULL: nothing is known of sites and of health */
	usec_t deadline;
	struct arena *arena;
};

/* --- hosts ----------------------------------------------------------------------------------------------------- */

static int add_addresses(const struct explain *e, const struct target_host *host, struct making *o)
{
	struct making addresses = making_list();
	struct address_list list = { 0 };
	int r = route_addresses(e->router, host, e->deadline, e->arena, &list);

	for (unsigned i = 0; i < list.n && r >= 0; i++) {
		char text[IP_TEXT];

		json_append_text(&addresses, ip_format(&list.ips[i], text));
	}
	json_put(o, "addresses", &addresses);
	if (r < 0)
		return r;
	if (host->name)
		json_set_bool(o, "dnssec", list.secure);
	if (list.temporary)
		json_set_text(o, "trouble", "some questions failed for now");
	return 0;
}

static void add_health(const struct explain *e, const struct hop *hop, const struct target_host *host, struct making *o)
{
	struct world *w = world_current();
	struct host_health health;

	if (!e->queue || !route_health_get(e->router, host, hop->source, &health))
		return;
	json_set_time(o, "sick_until", (wall_t) (health.sick_until - world_now(w)) + world_wall(w));
	json_set_number(o, "failures", health.failures);
	json_set_text(o, "last_error", health.why);
}

static int add_host(const struct explain *e, const struct hop *hop, struct slice domain, const struct target_host *host,
		    struct making *hosts)
{
	struct making o = making_object();
	char text[IP_TEXT];
	int r;

	json_set_text(&o, "name", host->name ? host->name : ip_format(&host->ip, text));
	json_set_number(&o, "port", host->port);
	if (hop->kind == HOP_MX || hop->kind == HOP_SRV || (hop->kind == HOP_RELAY && hop->relay->srv))
		json_set_number(&o, "preference", host->preference);
	if (host->weight > 0)
		json_set_number(&o, "weight", host->weight);
	r = add_addresses(e, host, &o);
	if (r >= 0)
		r = host_policy_add(e->router, hop, domain, host, e->deadline, e->arena, &o);
	add_health(e, hop, host, &o);
	json_append(hosts, &o);
	return r;
}

/* --- the site -------------------------------------------------------------------------------------------------- */

/* As in the list of sites (command_queue.c). */
static void add_pace(const struct site_facts *f, struct making *o)
{
	json_set_text(o, "provider", f->provider);
	if (f->rate.count > 0) {
		json_set_number(o, "rate", f->rate.count);
		json_set_number(o, "rate_per", f->rate.per / USEC_MS);
	}
	if (f->interval > 0)
		json_set_number(o, "interval", f->interval / USEC_MS);
	if (f->usual > 0)
		json_set_number(o, "usual_reply", f->usual / USEC_MS);
}

static void add_site(const struct site_facts *f, struct making *rung)
{
	struct hop cool = { .when = f->cool };
	struct making making = making_object(), *o = &making;
	char text[128];

	json_set_text(o, "state", f->held ? "held" : f->known ? f->state : "unused");
	if (f->known) {
		json_set_number(o, "window", f->window);
		json_set_number(o, "window_most", f->window_most);
		json_set_number(o, "connections", f->connections);
		json_set_number(o, "waiting", f->waiting);
		json_set_number(o, "failures", f->failures);
		json_set_time(o, "next", f->next);
		json_set_text(o, "last_error", f->last_error);
		add_pace(f, o);
	}
	if (f->cool) {
		json_set_text(o, "cool", hop_when_describe(&cool, text, sizeof(text)));
		json_set_time(o, "cool_until", f->cool_until);
		json_set_bool(o, "canary", f->canary);
	}
	json_put(rung, "live", o);
}

static int add_target(const struct explain *e, const struct hop *hop, struct slice domain, struct making *rung, struct rung_view *view)
{
	struct making hosts = making_list();
	struct target target;
	int r;

	r = route_target(e->router, hop, domain, e->deadline, e->arena, &target);
	if (r < 0) {
		json_put(rung, "hosts", &hosts);
		return r;
	}
	view->leads_out = true;
	view->status = target.status;
	view->why = target.why;
	json_set_text(rung, "status", target_texts[target.status]);
	json_set_text(rung, "why", target.status == TARGET_OK ? NULL : target.why);
	json_set_text(rung, "site", target.site);
	if (hop->kind == HOP_MX) {
		json_set_bool(rung, "implicit_mx", target.implicit);
		json_set_bool(rung, "dnssec", target.secure);
	}
	for (unsigned i = 0; i < target.n_hosts && r >= 0; i++)
		r = add_host(e, hop, domain, &target.hosts[i], &hosts);
	json_put(rung, "hosts", &hosts);
	if (r < 0 || !e->queue || !target.site)
		return r;
	r = queue_site_facts(e->queue, target.site, domain, e->arena, &view->site);
	if (r >= 0)
		add_site(&view->site, rung);
	return r;
}

/* --- the ladder ------------------------------------------------------------------------------------------------ */

static int add_rung(const struct explain *e, const struct hop *hop, bool first, struct slice domain, struct making *rung,
		    struct rung_view *view)
{
	char text[512];

	json_set_text(rung, "hop", hop_describe(hop, text, sizeof(text)));
	if (!first)
		json_set_text(rung, "when", hop_when_describe(hop, text, sizeof(text)));
	json_set_text(rung, "text", hop->text);
	json_set_text(rung, "source", hop->source ? hop->source->name : NULL);
	switch (hop->kind) {
	case HOP_MX:
	case HOP_HOST:
	case HOP_SRV:
		json_set_text(rung, "tls", tls_policy_name(hop->tls));
		return add_target(e, hop, domain, rung, view);
	case HOP_RELAY:
		json_set_text(rung, "tls", tls_policy_name(hop->relay->tls));
		json_set_text(rung, "login", hop->relay->user);
		return add_target(e, hop, domain, rung, view);
	case HOP_LMTP:
		return hop->lmtp.kind == ENDPOINT_UNIX ? 0 : add_target(e, hop, domain, rung, view);
	case HOP_ATRN:
		return add_target(e, hop, domain, rung, view);
	case HOP_PIPE:
		json_set_text(rung, "user", hop->pipe->user);
		return 0;
	default:
		return 0;
	}
}

static int add_rungs(const struct explain *e, const struct ladder *l, struct slice domain, struct making *rungs)
{
	struct rung_view *views = arena_new_array(e->arena, struct rung_view, l->n_hops + 1);
	struct making *making = arena_new_array(e->arena, struct making, l->n_hops + 1);
	unsigned n = 0;
	int r = views && making ? 0 : -ENOMEM;

	for (; n < l->n_hops && r >= 0; n++) {
		making[n] = making_object();
		views[n].out = &making[n];
		r = add_rung(e, &l->hops[n], n == 0, domain, &making[n], &views[n]);
	}
	if (r >= 0)
		verdict_on_rungs(l, views, e->arena);
	for (unsigned i = 0; i < n; i++)
		json_append(rungs, &making[i]);
	return r;
}

int explain_route(struct router *router, struct queue *queue, const struct address *to, const struct route_facts *facts,
		  usec_t deadline, struct arena *a, struct making *ret)
{
	struct explain e = { .router = router, .queue = queue, .deadline = deadline, .arena = a };
	struct making rungs = making_list();
	struct ladder ladder = { 0 };
	enum locality locality = route_locality(router, to);
	const char *address = arena_slice(a, to->text);
	int r = address ? 0 : -ENOMEM;

	json_set_text(ret, "address", address);
	json_set_text(ret, "locality", locality_texts[locality]);
	json_set_bool(ret, "live", queue != NULL);
	if (r >= 0 && locality != LOCALITY_NO_SUCH_USER)
		r = route_find(router, to, facts, a, &ladder);
	json_set_text(ret, "rule", ladder.rule);
	if (r >= 0)
		r = add_rungs(&e, &ladder, to->domain, &rungs);
	json_put(ret, "ladder", &rungs);
	return r;
}

/* --- the command ----------------------------------------------------------------------------------------------- */

/* headers: a list of [name, value]. -EINVAL; -ENOMEM. */
static int read_headers(const json_t *list, struct arena *a, struct route_facts *ret)
{
	size_t n = MIN(json_array_size(list), (size_t) ENVELOPE_HEADERS);
	struct envelope_header *headers = arena_new_array(a, struct envelope_header, n + 1);

	if (!headers)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *pair = json_array_get(list, i);

		headers[i].name = json_string_value(json_array_get(pair, 0));
		headers[i].value = json_string_value(json_array_get(pair, 1));
		if (!headers[i].name || !headers[i].value)
			return -EINVAL;
	}
	ret->headers = headers;
	ret->n_headers = (unsigned) n;
	return 0;
}

int command_route(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	const char *to = json_string_value(json_object_get(request, "to"));
	const char *from = json_string_value(json_object_get(request, "from"));
	json_int_t size = json_integer_value(json_object_get(request, "size"));
	struct address to_address, from_address;
	struct route_facts facts = { .user = json_string_value(json_object_get(request, "user")), .size = size > 0 ? (uint64_t) size : 0 };
	int r;

	if (!to || address_parse(slice_from(to), ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER, &to_address) < 0) {
		reply->error = "route needs an address like bob@example.org";
		return -EINVAL;
	}
	if (from && *from && address_parse(slice_from(from), ADDRESS_ALLOW_UTF8, &from_address) < 0) {
		reply->error = "from is not an address";
		return -EINVAL;
	}
	facts.from = from && *from ? &from_address : NULL;
	r = read_headers(json_object_get(request, "headers"), reply->arena, &facts);
	if (r == -EINVAL)
		reply->error = "headers must be a list of names and values";
	if (r < 0)
		return r;
	return explain_route(p->router, p->queue, &to_address, &facts, deadline_after(now(), USEC_MIN), reply->arena, &reply->result);
}
