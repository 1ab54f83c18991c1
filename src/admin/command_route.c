/* How would mail to an address go, and why? */
#include "admin/command.h"
#include "mail/address.h"

static const char *const locality_texts[] = {
	[LOCALITY_REMOTE] = "remote",
	[LOCALITY_HERE] = "here",
	[LOCALITY_NO_SUCH_USER] = "no such user",
};
static const char *const tls_texts[] = {
	[TLS_MAY] = "may", [TLS_NONE] = "none", [TLS_REQUIRED] = "required", [TLS_VERIFY] = "verify",
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
	usec_t deadline;
	struct arena *arena;
};

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
	if (list.temporary)
		json_set_text(o, "trouble", "some questions failed for now");
	return 0;
}

static int add_host(const struct explain *e, const struct hop *hop, const struct target_host *host, struct making *hosts)
{
	struct making o = making_object();
	char text[IP_TEXT];
	int r;

	json_set_text(&o, "name", host->name ? host->name : ip_format(&host->ip, text));
	json_set_number(&o, "port", host->port);
	if (hop->kind == HOP_MX)
		json_set_number(&o, "preference", host->preference);
	r = add_addresses(e, host, &o);
	json_append(hosts, &o);
	return r;
}

static int add_target(const struct explain *e, const struct hop *hop, struct slice domain, struct making *rung)
{
	struct making hosts = making_list();
	struct target target;
	int r;

	r = route_target(e->router, hop, domain, e->deadline, e->arena, &target);
	if (r < 0) {
		json_put(rung, "hosts", &hosts);
		return r;
	}
	json_set_text(rung, "status", target_texts[target.status]);
	json_set_text(rung, "why", target.status == TARGET_OK ? NULL : target.why);
	json_set_text(rung, "site", target.site);
	if (hop->kind == HOP_MX) {
		json_set_bool(rung, "implicit_mx", target.implicit);
		json_set_bool(rung, "dnssec", target.secure);
	}
	for (unsigned i = 0; i < target.n_hosts && r >= 0; i++)
		r = add_host(e, hop, &target.hosts[i], &hosts);
	json_put(rung, "hosts", &hosts);
	return r;
}

static int add_rung(const struct explain *e, const struct hop *hop, bool first, struct slice domain, struct making *rung)
{
	char text[512];

	json_set_text(rung, "hop", hop_describe(hop, text, sizeof(text)));
	if (!first)
		json_set_text(rung, "when", hop_when_describe(hop, text, sizeof(text)));
	json_set_text(rung, "text", hop->text);
	switch (hop->kind) {
	case HOP_MX:
	case HOP_HOST:
		json_set_text(rung, "tls", tls_texts[hop->tls]);
		return add_target(e, hop, domain, rung);
	case HOP_RELAY:
		json_set_text(rung, "tls", tls_texts[hop->relay->tls]);
		json_set_text(rung, "login", hop->relay->user);
		return add_target(e, hop, domain, rung);
	case HOP_LMTP:
		return hop->lmtp.kind == ENDPOINT_UNIX ? 0 : add_target(e, hop, domain, rung);
	default:
		return 0;
	}
}

int explain_route(struct world *w, struct router *router, const struct address *to, const struct route_facts *facts, usec_t deadline,
		  struct arena *a, struct making *ret)
{
	struct explain e = { .router = router, .deadline = deadline, .arena = a };
	struct making rungs = making_list();
	struct ladder ladder = { 0 };
	enum locality locality = route_locality(router, to);
	const char *address = arena_slice(a, to->text);
	int r = address ? 0 : -ENOMEM;

	json_set_text(ret, "address", address);
	json_set_text(ret, "locality", locality_texts[locality]);
	if (r >= 0 && locality != LOCALITY_NO_SUCH_USER)
		r = route_find(router, to, facts, a, &ladder);
	json_set_text(ret, "rule", ladder.rule);
	for (unsigned i = 0; i < ladder.n_hops && r >= 0; i++) {
		struct making rung = making_object();

		r = add_rung(&e, &ladder.hops[i], i == 0, to->domain, &rung);
		json_append(&rungs, &rung);
	}
	json_put(ret, "ladder", &rungs);
	return r;
}

int command_route(const struct admin_parts *p, const json_t *request, struct admin_reply *reply)
{
	const char *to = json_string_value(json_object_get(request, "to"));
	const char *from = json_string_value(json_object_get(request, "from"));
	struct address to_address, from_address;
	struct route_facts facts = { 0 };

	if (!to || address_parse(slice_from(to), ADDRESS_ALLOW_UTF8, &to_address) < 0) {
		reply->error = "route needs an address like bob@example.org";
		return -EINVAL;
	}
	if (from && address_parse(slice_from(from), ADDRESS_ALLOW_UTF8, &from_address) < 0) {
		reply->error = "from is not an address";
		return -EINVAL;
	}
	facts.from = from ? &from_address : NULL;
	return explain_route(world_current(), p->router, &to_address, &facts,
			     deadline_after(now(), USEC_MIN), reply->arena, &reply->result);
}
