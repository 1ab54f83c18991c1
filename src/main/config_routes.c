/* `routes`: patterns and ladders. */
#include "dns/name.h"
#include "main/config_keys.h"
#include "main/config_sections.h"

static const char *const when_words[] = { "unreachable", "blocked", "tls", "throttled", "any", "delayed" };
static const unsigned when_bits[] = { WHEN_UNREACHABLE, WHEN_BLOCKED, WHEN_TLS, WHEN_THROTTLED, WHEN_ANY };

/* --- when ------------------------------------------------------------------------------------------------ */

static int when_unknown(struct config_reader *reader, const struct config_mark *at, struct slice word)
{
	char suggestion[128], shown[96];

	config_suggest(word, when_words, ARRAY_LEN(when_words), suggestion);
	config_error(reader->errors, at,
		     "when: expected unreachable, blocked, tls, throttled, any or {delayed: 30m}, found \"%s\"%s",
		     slice_escape(word, shown, sizeof(shown)), suggestion);
	return 0;
}

/* A word, or {delayed: 30m}. What is wrong is said, and passed over. */
static int read_condition(struct config_reader *reader, const struct config_node *node, struct hop *hop)
{
	if (node->kind == CONFIG_SCALAR) {
		for (unsigned i = 0; i < ARRAY_LEN(when_bits); i++)
			if (slice_eq_str(node->text, when_words[i])) {
				hop->when |= when_bits[i];
				return 0;
			}
		return when_unknown(reader, &node->mark, node->text);
	}
	if (node->kind != CONFIG_MAP)
		return when_unknown(reader, &node->mark, slice_from(config_kind_name(node->kind)));
	for (unsigned i = 0; i < node->n; i++) {
		const struct config_pair *pair = &node->pairs[i];

		if (strcmp(pair->key, "delayed") != 0) {
			when_unknown(reader, &pair->mark, slice_from(pair->key));
		} else if (pair->value->kind != CONFIG_SCALAR || duration_parse(pair->value->text, &hop->delayed) < 0) {
			config_error(reader->errors, &pair->value->mark, "delayed: expected a duration like 30m");
		} else {
			hop->when |= WHEN_DELAYED;
		}
	}
	return 0;
}

static int read_when(struct config_reader *reader, const struct config_node *node, bool first, struct hop *hop)
{
	if (!node) {
		hop->when = first ? 0 : WHEN_ANY;
		return 0;
	}
	if (first) {
		config_error(reader->errors, &node->mark,
			     "when: the first rung of a ladder is always tried; conditions belong to those after it");
		return 0;
	}
	if (node->kind != CONFIG_LIST)
		return read_condition(reader, node, hop);
	for (unsigned i = 0; i < node->n; i++)
		read_condition(reader, node->items[i], hop);
	if (!node->n)
		config_error(reader->errors, &node->mark, "when: the list is empty, so this rung would never be used");
	return 0;
}

/* A name with labels that begin with an underscore (RFC 2782), which host names have not. */
int config_read_srv_name(struct config_reader *reader, const struct config_node *node, const char *name, const char **ret)
{
	char shown[128];
	struct dns_name parsed;

	if (name[0] == '_' && strchr(name, '.') && dns_name_parse(slice_from(name), NULL, &parsed) == 0) {
		*ret = name;
		return 0;
	}
	config_error(reader->errors, &node->mark, "srv: expected a name like _submission._tcp.example.org, found \"%s\"",
		     slice_escape(slice_from(name), shown, sizeof(shown)));
	return -EINVAL;
}

/* --- one rung -------------------------------------------------------------------------------------------- */

static int read_relay_name(struct config_reader *reader, const struct config *c, const struct config_node *node, const char *name,
			   struct hop *hop)
{
	const char *names[64] = { NULL };
	char suggestion[128], shown[96];
	unsigned n = 0;

	hop->kind = HOP_RELAY;
	for (unsigned i = 0; i < c->route.n_relays; i++) {
		if (strcmp(c->route.relays[i].name, name) == 0) {
			hop->relay = &c->route.relays[i];
			return 0;
		}
		if (n < ARRAY_LEN(names))
			names[n++] = c->route.relays[i].name;
	}
	config_suggest(slice_from(name), names, n, suggestion);
	config_error(reader->errors, &node->mark, "relay: there is no \"%s\" under relays%s",
		     slice_escape(slice_from(name), shown, sizeof(shown)), suggestion);
	return -EINVAL;
}

/* "mx", "hold", "discard". */
static int read_word(struct config_reader *reader, const struct config_node *node, struct hop *hop)
{
	static const char *const words[] = { "mx", "hold", "discard", "atrn" };
	static const enum hop_kind kinds[] = { HOP_MX, HOP_HOLD, HOP_DISCARD, HOP_ATRN };
	char suggestion[128], shown[96];

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (slice_eq_str(node->text, words[i])) {
			hop->kind = kinds[i];
			return 0;
		}
	if (slice_istarts(node->text, "maildir:") || slice_istarts(node->text, "lmtp:") || slice_istarts(node->text, "pipe:"))
		return config_read_mailbox(reader, node, hop);
	config_suggest(node->text, words, ARRAY_LEN(words), suggestion);
	config_error(reader->errors, &node->mark,
		     "via: expected mx, hold, discard, atrn, or a map with host, srv, relay, lmtp, maildir, pipe or reject, found \"%s\"%s",
		     slice_escape(node->text, shown, sizeof(shown)), suggestion);
	return -EINVAL;
}

/* lmtp: and maildir: are written here without their prefix. */
static int read_prefixed(struct config_reader *reader, const struct config_node *node, const char *prefix, struct slice text,
			 struct hop *hop)
{
	struct config_node with_prefix = *node;
	char *joined = arena_printf(reader->arena, "%s%.*s", prefix, SLICE_ARG(text));

	if (!joined)
		return -ENOMEM;
	with_prefix.kind = CONFIG_SCALAR;
	with_prefix.text = slice_from(joined);
	return config_read_mailbox(reader, &with_prefix, hop);
}

static int read_kind(struct config_reader *reader, const struct config *c, const struct config_node *node,
		     const struct via_section *v, struct hop *hop)
{
	unsigned kinds = !!v->mx + !!v->host + !!v->srv + !!v->relay + !!v->lmtp + !!v->maildir + !!v->pipe + !!v->reject;

	if (kinds != 1) {
		config_error(reader->errors, &node->mark, kinds ? "via: a rung is one of mx, host, srv, relay, lmtp, maildir, pipe and reject, not several" :
				     "via: this rung says nothing about where to; give it mx, host, srv, relay, lmtp, maildir, pipe or reject");
		return -EINVAL;
	}
	if (v->mx) {
		hop->kind = HOP_MX;
		return 0;
	}
	if (v->host) {
		hop->kind = HOP_HOST;
		return config_read_host_port(reader, v->host, c->route.mx_port, &hop->host);
	}
	if (v->srv) {
		hop->kind = HOP_SRV;
		return config_read_srv_name(reader, config_get(node, "srv"), v->srv, &hop->srv);
	}
	if (v->relay)
		return read_relay_name(reader, c, config_get(node, "relay"), v->relay, hop);
	if (v->lmtp) {
		if (v->lmtp->kind == CONFIG_SCALAR)
			return read_prefixed(reader, v->lmtp, "lmtp:", v->lmtp->text, hop);
		return config_read_mailbox(reader, v->lmtp, hop);
	}
	if (v->maildir)
		return read_prefixed(reader, config_get(node, "maildir"), "maildir:", slice_from(v->maildir), hop);
	if (v->pipe)
		return config_read_pipe(reader, v->pipe, v->pipe->text, v->user, v->timeout, hop);
	hop->kind = HOP_REJECT;
	hop->text = v->reject;
	return 0;
}

/* From where: the rung says it, or the relay. */
static void read_source(struct config_reader *reader, const struct config *c, const struct config_node *node,
			const char *name, struct hop *hop)
{
	const struct config_node *source = config_get(node, "source");

	if (hop->kind == HOP_RELAY && hop->relay)
		hop->source = hop->relay->source;
	if (!name || !source)
		return;
	if (hop->kind != HOP_MX && hop->kind != HOP_HOST && hop->kind != HOP_SRV && hop->kind != HOP_RELAY)
		config_error(reader->errors, &source->mark, "source: only for mx, host, srv and relay");
	else
		hop->source = config_find_source(reader, c, source, name);
}

static int read_rung(struct config_reader *reader, const struct config *c, const struct config_node *node, bool first,
		     struct hop *hop)
{
	struct via_section section = { 0 };
	int r;

	if (node->kind == CONFIG_SCALAR) {
		r = read_word(reader, node, hop);
		if (r >= 0 && !first)
			hop->when = WHEN_ANY;
		return r == -ENOMEM ? r : 0;
	}
	r = config_fill(reader, "routes[].via[]", node, &section);
	if (r < 0 || node->kind != CONFIG_MAP)
		return r;
	hop->tls = (enum tls_policy) section.tls;
	r = read_kind(reader, c, node, &section, hop);
	if (r == -ENOMEM)
		return r;
	if (config_get(node, "tls") && hop->kind != HOP_MX && hop->kind != HOP_HOST && hop->kind != HOP_SRV)
		config_error(reader->errors, &config_get(node, "tls")->mark, "tls: only for mx, host and srv; a relay has its own under relays");
	for (unsigned i = 0; i < 2; i++) {
		const char *key = i ? "timeout" : "user";

		if (config_get(node, key) && hop->kind != HOP_PIPE)
			config_error(reader->errors, &config_get(node, key)->mark, "%s: only for pipe", key);
	}
	read_source(reader, c, node, section.source, hop);
	return read_when(reader, section.when, first, hop);
}

/* What can befall a message on this rung, as far as it moves to another one. Replies of servers may mean anything. */
static unsigned troubles_of(const struct hop *hop)
{
	switch (hop->kind) {
	case HOP_MX:
	case HOP_HOST:
	case HOP_SRV:
		return WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_THROTTLED | (hop->tls == TLS_NONE ? 0 : WHEN_TLS);
	case HOP_RELAY:
		return WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_THROTTLED | (hop->relay && hop->relay->tls == TLS_NONE ? 0 : WHEN_TLS);
	case HOP_LMTP:
		return WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_THROTTLED;
	default:
		return 0;
	}
}

/* A rung to which nothing leads is a mistake: somebody counts on it. */
static void check_ladder(struct config_reader *reader, const struct config_node *const *items, const struct hop *hops, unsigned n)
{
	unsigned troubles = 0;
	char when[128];

	for (unsigned i = 0; i < n; i++) {
		const struct hop *hop = &hops[i];

		if (i > 0 && hop->when && !(hop->when & (WHEN_ANY | WHEN_DELAYED)) && !(hop->when & troubles))
			config_error(reader->errors, &items[i]->mark,
				     "via: this rung would never be used: none of those before it can be found %s",
				     hop_when_describe(hop, when, sizeof(when)));
		troubles |= troubles_of(hop);
	}
}

/* --- one route ------------------------------------------------------------------------------------------- */

static int read_ladder(struct config_reader *reader, const struct config *c, const struct config_node *via, struct ladder *ret)
{
	const struct config_node *const single[] = { via };
	const struct config_node *const *items = single;
	unsigned n = 1;
	struct hop *hops;

	if (via->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) via->items;
		n = via->n;
	}
	if (!n)
		config_error(reader->errors, &via->mark, "via: the list is empty; give it at least one rung, like mx");
	hops = arena_new_array(reader->arena, struct hop, n + 1);
	if (!hops)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int r = read_rung(reader, c, items[i], i == 0, &hops[i]);

		if (r < 0)
			return r;
		if ((hops[i].kind == HOP_HOLD || hops[i].kind == HOP_DISCARD || hops[i].kind == HOP_REJECT) && i + 1 < n)
			config_error(reader->errors, &items[i + 1]->mark, "via: nothing comes after hold, discard or reject");
	}
	check_ladder(reader, items, hops, n);
	ret->hops = hops;
	ret->n_hops = n;
	return 0;
}

/* Instead of via. */
static int make_reject(struct config_reader *reader, const char *text, struct ladder *ret)
{
	struct hop *hop = arena_new_type(reader->arena, struct hop);

	if (!hop)
		return -ENOMEM;
	hop->kind = HOP_REJECT;
	hop->text = text;
	ret->hops = hop;
	ret->n_hops = 1;
	return 0;
}

static int read_route(struct config_reader *reader, const struct config *c, const struct config_node *node, unsigned index,
		      struct route_rule *rule)
{
	struct route_section section = { 0 };
	int r;

	r = config_fill(reader, "routes[]", node, &section);
	if (r < 0 || node->kind != CONFIG_MAP)
		return r;
	r = config_read_route_match(reader, node, &section, rule);
	if (r < 0)
		return r;
	rule->ladder.rule = config_describe_rule(reader, index, &section, rule);
	if (!rule->ladder.rule)
		return -ENOMEM;
	rule->ladder.deadline = section.deadline;
	if (section.via && section.reject)
		config_error(reader->errors, &node->mark, "a route has either via or reject");
	else if (section.reject)
		return make_reject(reader, section.reject, &rule->ladder);
	else if (section.via)
		return read_ladder(reader, c, section.via, &rule->ladder);
	else
		config_error(reader->errors, &node->mark, "a route needs \"via\": [mx], [{relay: NAME}], [{host: \"HOST:PORT\"}], hold, discard...");
	return 0;
}

static bool matches_everything(const struct route_rule *r)
{
	if (r->n_user || r->size_min || r->size_max || r->n_headers)
		return false;
	return (!r->n_to || (r->n_to == 1 && strcmp(r->to[0], "*") == 0)) && (!r->n_from || (r->n_from == 1 && strcmp(r->from[0], "*") == 0));
}

/* It does no harm, but hardly anybody means it. */
static void warn_of_what_is_never_used(struct config_reader *reader, const struct config *c)
{
	for (unsigned i = 0; i + 1 < c->route.n_rules; i++) {
		if (!matches_everything(&c->route.rules[i]))
			continue;
		config_warning(reader->errors, &c->raw.routes->items[i + 1]->mark,
			       "routes: this one and those after it are never used, because routes[%u] takes everything", i);
		return;
	}
}

int config_read_routes(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.routes;
	struct route_rule *rules;

	if (!node || !node->n)
		return config_collect_headers(reader, c);
	rules = arena_new_array(reader->arena, struct route_rule, node->n);
	if (!rules)
		return -ENOMEM;
	c->route.rules = rules;
	c->route.n_rules = node->n;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_route(reader, c, node->items[i], i, &rules[i]);

		if (r < 0)
			return r;
	}
	warn_of_what_is_never_used(reader, c);
	return config_collect_headers(reader, c);
}
