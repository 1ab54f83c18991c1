#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/suggest.h"
#include "mail/status.h"
#include "simulate/provider.h"

#define RULES_MAX 1000u
#define NETWORKS_MAX 1000u

/* One file being read. */
struct reader {
	const char *file;
	yaml_document_t document;
	struct provider *provider;
	struct arena *arena;
	char *why;
};

static _printf_(3, 4) int complain(struct reader *rd, const yaml_node_t *at, const char *format, ...)
{
	char text[400];
	va_list args;

	if (rd->why)
		return -EINVAL;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (asprintf(&rd->why, "%s:%zu:%zu: %s", rd->file, at->start_mark.line + 1, at->start_mark.column + 1, text) < 0)
		rd->why = NULL;
	return -EINVAL;
}

static yaml_node_t *node_at(struct reader *rd, int index)
{
	return yaml_document_get_node(&rd->document, index);
}

/* --- values --------------------------------------------------------------------------------------------------- */

static int get_slice(struct reader *rd, const yaml_node_t *n, struct slice *ret)
{
	if (n->type != YAML_SCALAR_NODE)
		return complain(rd, n, "expected a single text");
	if (memchr(n->data.scalar.value, '\0', n->data.scalar.length))
		return complain(rd, n, "a NUL can't stand here");
	*ret = slice_new((const char *) n->data.scalar.value, n->data.scalar.length);
	return 0;
}

static int get_text(struct reader *rd, const yaml_node_t *n, const char **ret)
{
	struct slice s;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	*ret = arena_slice(rd->arena, s);
	return *ret ? 0 : -ENOMEM;
}

static int get_duration(struct reader *rd, const yaml_node_t *n, usec_t *ret)
{
	struct slice s;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	return duration_parse(s, ret) < 0 ? complain(rd, n, "\"%.*s\" is no time (like 5s or 1m)", SLICE_ARG(s)) : 0;
}

static int get_count(struct reader *rd, const yaml_node_t *n, uint32_t *ret)
{
	struct slice s;
	uint64_t v;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	if (slice_to_u64(s, &v) < 0 || v >= ABOVE_NOTHING)
		return complain(rd, n, "\"%.*s\" is no number", SLICE_ARG(s));
	*ret = (uint32_t) v;
	return 0;
}

static int get_flag(struct reader *rd, const yaml_node_t *n, bool *ret)
{
	struct slice s;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	if (!slice_ieq_str(s, "yes") && !slice_ieq_str(s, "no") && !slice_ieq_str(s, "true") && !slice_ieq_str(s, "false"))
		return complain(rd, n, "expected yes or no");
	*ret = slice_ieq_str(s, "yes") || slice_ieq_str(s, "true");
	return 0;
}

/* "550 5.1.1 text" */
static int get_reply(struct reader *rd, const yaml_node_t *n, struct reply *ret)
{
	struct slice s, code;
	struct status status;
	struct reply reply = { 0 };
	uint64_t v = 0;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	code = slice_head(s, 3);
	if (code.len < 3 || slice_to_u64(code, &v) < 0 || v < 200 || v > 599 || (s.len > 3 && s.data[3] != ' '))
		return complain(rd, n, "a reply begins with its code, like \"550 5.1.1 No such user\"");
	reply.code = (int) v;
	s = slice_skip(s, 4);
	if (status_parse(&s, &status) == 0) {
		reply.enhanced[0] = status.class;
		reply.enhanced[1] = status.subject;
		reply.enhanced[2] = status.detail;
	}
	reply.text = arena_slice(rd->arena, s);
	if (!reply.text)
		return -ENOMEM;
	*ret = reply;
	return 0;
}

/* Calls each() for a text, or for every one of a list. */
static int for_each_text(struct reader *rd, const yaml_node_t *n, int (*each)(struct reader *rd, const yaml_node_t *n, struct slice s, void *context),
			 void *context)
{
	yaml_node_item_t *from, *to;
	struct slice s;
	int r = 0;

	if (n->type != YAML_SEQUENCE_NODE) {
		r = get_slice(rd, n, &s);
		return r < 0 ? r : each(rd, n, s, context);
	}
	from = n->data.sequence.items.start;
	to = n->data.sequence.items.top;
	for (; from < to && r >= 0; from++) {
		r = get_slice(rd, node_at(rd, *from), &s);
		if (r >= 0)
			r = each(rd, node_at(rd, *from), s, context);
	}
	return r;
}

static const char *const at_names[] = {
	[AT_GREETING] = "greeting", [AT_EHLO] = "ehlo", [AT_STARTTLS] = "starttls", [AT_AUTH] = "auth",
	[AT_MAIL] = "mail",	    [AT_RCPT] = "rcpt", [AT_DATA] = "data",	    [AT_DOT] = "dot",
};

const char *at_name(enum at at)
{
	return at_names[at];
}

static int add_at(struct reader *rd, const yaml_node_t *n, struct slice s, void *context)
{
	unsigned *at = context;

	for (unsigned i = 0; i < AT_COUNT; i++)
		if (slice_eq_str(s, at_names[i])) {
			*at |= 1u << i;
			return 0;
		}
	return complain(rd, n, "\"%.*s\" is no place in the dialogue (greeting, ehlo, starttls, auth, mail, rcpt, data, dot)", SLICE_ARG(s));
}

static int add_pattern(struct reader *rd, const yaml_node_t *n, struct slice s, void *context)
{
	struct patterns *p = context;

	if (p->n == PATTERNS_MAX)
		return complain(rd, n, "at most %d patterns are possible", PATTERNS_MAX);
	p->text[p->n] = arena_slice(rd->arena, s);
	return p->text[p->n++] ? 0 : -ENOMEM;
}

static int get_patterns(struct reader *rd, const yaml_node_t *n, struct patterns *ret)
{
	*ret = (struct patterns) { 0 };
	return for_each_text(rd, n, add_pattern, ret);
}

static int get_list(struct reader *rd, const yaml_node_t *n, struct client_list **ret)
{
	struct slice s;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	for (struct client_list *l = rd->provider->lists; l; l = l->next)
		if (slice_eq_str(s, l->name)) {
			*ret = l;
			return 0;
		}
	return complain(rd, n, "no list is called \"%.*s\"; lists are defined above the rules", SLICE_ARG(s));
}

/* "60 per 1m by client" */
static int get_rate(struct reader *rd, const yaml_node_t *n, struct behaviour *b)
{
	static const char *const names[] = {
		[BY_CLIENT] = "client", [BY_NETWORK] = "network",     [BY_SENDER] = "sender",
		[BY_DOMAIN] = "domain", [BY_RECIPIENT] = "recipient", [BY_ALL] = "all",
	};
	struct slice s, words[5];
	uint64_t count;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < 5; i++)
		words[i] = i < 4 ? slice_cut(s, ' ', &s) : s;
	if (slice_to_u64(words[0], &count) < 0 || count == 0 || count >= ABOVE_NOTHING || !slice_eq_str(words[1], "per") ||
	    duration_parse(words[2], &b->rate_per) < 0 || b->rate_per == 0 || !slice_eq_str(words[3], "by"))
		return complain(rd, n, "a rate looks like \"60 per 1m by client\"");
	b->rate = (uint32_t) count;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(words[4], names[i])) {
			b->rate_by = (enum rate_by) i;
			return 0;
		}
	return complain(rd, n, "a rate is by client, network, sender, domain, recipient or all");
}

static int get_chance(struct reader *rd, const yaml_node_t *n, unsigned *ret)
{
	struct slice s, rest;
	uint64_t v;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	if (slice_to_u64(slice_cut(s, '%', &rest), &v) < 0 || v == 0 || v > 100 || rest.len > 0)
		return complain(rd, n, "a chance is between 1%% and 100%%");
	*ret = (unsigned) v;
	return 0;
}

static int get_then(struct reader *rd, const yaml_node_t *n, enum then *ret)
{
	static const char *const names[] = { [THEN_CLOSE] = "close", [THEN_GARBAGE] = "garbage", [THEN_SILENCE] = "silence" };
	struct slice s;
	int r = get_slice(rd, n, &s);

	if (r < 0)
		return r;
	for (size_t i = THEN_CLOSE; i < ARRAY_LEN(names); i++)
		if (slice_eq_str(s, names[i])) {
			*ret = (enum then) i;
			return 0;
		}
	return complain(rd, n, "then is close, garbage or silence");
}

/* --- maps with known keys ----------------------------------------------------------------------------------------- */

enum value {
	VALUE_TEXT, VALUE_DURATION, VALUE_COUNT, VALUE_FLAG, VALUE_REPLY, VALUE_PATTERNS, VALUE_LIST, VALUE_AT, VALUE_RATE, VALUE_CHANCE, VALUE_THEN,
	VALUE_LINES, VALUE_REPLIES, VALUE_LISTS, VALUE_RULES,
};
struct known_key {
	const char *name;
	enum value value;
	size_t offset; /* in the struct */
};

static int read_value(struct reader *rd, const struct known_key *k, const yaml_node_t *n, void *object);

static int read_map(struct reader *rd, const yaml_node_t *map, const struct known_key *known, size_t n_known, void *object)
{
	const char *names[32];

	assert(n_known <= ARRAY_LEN(names));
	if (map->type != YAML_MAPPING_NODE)
		return complain(rd, map, "expected keys with values");
	for (size_t i = 0; i < n_known; i++)
		names[i] = known[i].name;
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
		const yaml_node_t *at = node_at(rd, p->key);
		const struct known_key *k = known;
		const char *near;
		struct slice key;
		int r = get_slice(rd, at, &key);

		if (r < 0)
			return r;
		while (k < known + n_known && !slice_eq_str(key, k->name))
			k++;
		if (k == known + n_known) {
			near = suggest_nearest(key, names, n_known);
			return complain(rd, at, "unknown key \"%.*s\"%s%s%s", SLICE_ARG(key), near ? "; did you mean \"" : "", near ? near : "",
					near ? "\"?" : "");
		}
		r = read_value(rd, k, node_at(rd, p->value), object);
		if (r < 0)
			return r;
	}
	return 0;
}

#define KEY(type, name, value, member) { name, value, offsetof(type, member) }

static const struct known_key rule_keys[] = {
	KEY(struct behaviour, "name", VALUE_TEXT, name),
	KEY(struct behaviour, "at", VALUE_AT, at),
	KEY(struct behaviour, "client", VALUE_LIST, client),
	KEY(struct behaviour, "not_client", VALUE_LIST, not_client),
	KEY(struct behaviour, "helo", VALUE_PATTERNS, helo),
	KEY(struct behaviour, "from", VALUE_PATTERNS, from),
	KEY(struct behaviour, "to", VALUE_PATTERNS, to),
	KEY(struct behaviour, "clear", VALUE_FLAG, clear),
	KEY(struct behaviour, "another_domain", VALUE_FLAG, another_domain),
	KEY(struct behaviour, "connections_above", VALUE_COUNT, connections_above),
	KEY(struct behaviour, "messages_above", VALUE_COUNT, messages_above),
	KEY(struct behaviour, "recipients_above", VALUE_COUNT, recipients_above),
	KEY(struct behaviour, "errors_above", VALUE_COUNT, errors_above),
	KEY(struct behaviour, "in_progress_above", VALUE_COUNT, in_progress_above),
	KEY(struct behaviour, "missing", VALUE_TEXT, missing),
	KEY(struct behaviour, "contains", VALUE_TEXT, contains),
	KEY(struct behaviour, "rate", VALUE_RATE, rate),
	KEY(struct behaviour, "greylist", VALUE_DURATION, greylist),
	KEY(struct behaviour, "chance", VALUE_CHANCE, chance),
	KEY(struct behaviour, "delay", VALUE_DURATION, delay),
	KEY(struct behaviour, "drip", VALUE_DURATION, drip),
	KEY(struct behaviour, "say", VALUE_REPLY, say),
	KEY(struct behaviour, "then", VALUE_THEN, then),
};
static const struct known_key reply_keys[] = {
	KEY(struct usual_replies, "mail", VALUE_REPLY, mail),	  KEY(struct usual_replies, "rcpt", VALUE_REPLY, rcpt),
	KEY(struct usual_replies, "data", VALUE_REPLY, data),	  KEY(struct usual_replies, "accepted", VALUE_REPLY, accepted),
	KEY(struct usual_replies, "rset", VALUE_REPLY, rset),	  KEY(struct usual_replies, "noop", VALUE_REPLY, noop),
	KEY(struct usual_replies, "vrfy", VALUE_REPLY, vrfy),	  KEY(struct usual_replies, "quit", VALUE_REPLY, quit),
	KEY(struct usual_replies, "unknown", VALUE_REPLY, unknown),
};
static const struct known_key provider_keys[] = {
	KEY(struct provider, "about", VALUE_TEXT, about),	    KEY(struct provider, "host", VALUE_TEXT, host),
	KEY(struct provider, "greeting", VALUE_REPLY, greeting),    KEY(struct provider, "hello", VALUE_TEXT, hello),
	KEY(struct provider, "extensions", VALUE_LINES, extensions), KEY(struct provider, "replies", VALUE_REPLIES, replies),
	KEY(struct provider, "tarpit", VALUE_DURATION, tarpit),	    KEY(struct provider, "lists", VALUE_LISTS, lists),
	KEY(struct provider, "rules", VALUE_RULES, rules),
};

/* --- lists, lines, rules ---------------------------------------------------------------------------------------------- */

static int add_network(struct reader *rd, const yaml_node_t *n, struct slice s, void *context)
{
	struct client_list *l = context;

	if (l->n == NETWORKS_MAX || cidr_parse(s, &l->networks[l->n]) < 0)
		return complain(rd, n, "\"%.*s\" is no network (like 192.0.2.0/24), or there are too many", SLICE_ARG(s));
	l->n++;
	return 0;
}

static int read_lists(struct reader *rd, const yaml_node_t *map)
{
	int r = 0;

	if (map->type != YAML_MAPPING_NODE)
		return complain(rd, map, "lists is a mapping from names to networks");
	for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top && r >= 0; p++) {
		const yaml_node_t *n = node_at(rd, p->value);
		size_t room = n->type == YAML_SEQUENCE_NODE ? (size_t) (n->data.sequence.items.top - n->data.sequence.items.start) : 1;
		struct client_list *l = arena_new_type(rd->arena, struct client_list);

		if (!l)
			return -ENOMEM;
		l->networks = arena_new_array(rd->arena, struct cidr, MIN(room, (size_t) NETWORKS_MAX) + 1);
		if (!l->networks)
			return -ENOMEM;
		r = get_text(rd, node_at(rd, p->key), &l->name);
		if (r >= 0)
			r = for_each_text(rd, n, add_network, l);
		l->next = rd->provider->lists;
		rd->provider->lists = l;
	}
	return r;
}

static int add_line(struct reader *rd, const yaml_node_t *n, struct slice s, void *context)
{
	struct provider *p = context;

	if (p->n_extensions == PROVIDER_LINES_MAX)
		return complain(rd, n, "at most %d extensions are possible", PROVIDER_LINES_MAX);
	p->extensions[p->n_extensions] = arena_slice(rd->arena, s);
	return p->extensions[p->n_extensions++] ? 0 : -ENOMEM;
}

static int check_rule(struct reader *rd, const yaml_node_t *n, const struct behaviour *b)
{
	if (!b->at)
		return complain(rd, n, "the rule does not say where it is asked (at)");
	if (!b->say.code && !b->delay && !b->drip && b->then == THEN_GO_ON)
		return complain(rd, n, "the rule does nothing: it needs say, then, delay or drip");
	return 0;
}

static int read_rule(struct reader *rd, const yaml_node_t *n)
{
	struct provider *p = rd->provider;
	struct behaviour *b = arena_new_type(rd->arena, struct behaviour);
	int r;

	if (!b)
		return -ENOMEM;
	if (p->n_rules == RULES_MAX)
		return complain(rd, n, "more than %u rules", RULES_MAX);
	b->connections_above = b->messages_above = b->recipients_above = b->errors_above = b->in_progress_above = ABOVE_NOTHING;
	b->line = (unsigned) n->start_mark.line + 1;
	r = read_map(rd, n, rule_keys, ARRAY_LEN(rule_keys), b);
	if (r >= 0)
		r = check_rule(rd, n, b);
	if (r >= 0 && !b->name)
		b->name = arena_printf(rd->arena, "line-%u", b->line);
	if (r < 0 || !b->name)
		return r < 0 ? r : -ENOMEM;
	b->number = p->n_rules++;
	*p->last = b;
	p->last = &b->next;
	return 0;
}

static int read_rules(struct reader *rd, const yaml_node_t *n)
{
	int r = 0;

	if (n->type != YAML_SEQUENCE_NODE)
		return complain(rd, n, "rules is a list");
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top && r >= 0; i++)
		r = read_rule(rd, node_at(rd, *i));
	return r;
}

static int read_value(struct reader *rd, const struct known_key *k, const yaml_node_t *n, void *object)
{
	void *at = (char *) object + k->offset;

	switch (k->value) {
	case VALUE_TEXT: return get_text(rd, n, at);
	case VALUE_DURATION: return get_duration(rd, n, at);
	case VALUE_COUNT: return get_count(rd, n, at);
	case VALUE_FLAG: return get_flag(rd, n, at);
	case VALUE_REPLY: return get_reply(rd, n, at);
	case VALUE_PATTERNS: return get_patterns(rd, n, at);
	case VALUE_LIST: return get_list(rd, n, at);
	case VALUE_AT: *(unsigned *) at = 0; return for_each_text(rd, n, add_at, at);
	case VALUE_RATE: return get_rate(rd, n, object);
	case VALUE_CHANCE: return get_chance(rd, n, at);
	case VALUE_THEN: return get_then(rd, n, at);
	case VALUE_LINES: rd->provider->n_extensions = 0; return for_each_text(rd, n, add_line, object);
	case VALUE_REPLIES: return read_map(rd, n, reply_keys, ARRAY_LEN(reply_keys), at);
	case VALUE_LISTS: return read_lists(rd, n);
	case VALUE_RULES: return read_rules(rd, n);
	}
	return -EINVAL;
}

/* --- providers --------------------------------------------------------------------------------------------------------- */

/* Loads one document; fn reads its root. */
static int with_document(struct reader *rd, struct slice text, int (*fn)(struct reader *rd, const yaml_node_t *root, void *context), void *context,
			 char **ret_why)
{
	yaml_parser_t parser;
	const yaml_node_t *root;
	int r;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *) text.data, text.len);
	if (yaml_parser_load(&parser, &rd->document)) {
		root = yaml_document_get_root_node(&rd->document);
		r = root ? fn(rd, root, context) : -ENOENT;
		yaml_document_delete(&rd->document);
	} else if (parser.error == YAML_MEMORY_ERROR) {
		r = -ENOMEM;
	} else {
		const yaml_node_t at = { .start_mark = parser.problem_mark };

		r = complain(rd, &at, "%s", parser.problem ? parser.problem : "not YAML");
	}
	yaml_parser_delete(&parser);
	if (r == -EINVAL)
		*ret_why = rd->why;
	else
		free(rd->why);
	return r;
}

static const struct usual_replies usual = {
	.mail = { 250, { 2, 1, 0 }, "Ok" },
	.rcpt = { 250, { 2, 1, 5 }, "Ok" },
	.data = { 354, { 0, 0, 0 }, "End data with <CR><LF>.<CR><LF>" },
	.accepted = { 250, { 2, 0, 0 }, "Ok: queued as {id}" },
	.rset = { 250, { 2, 0, 0 }, "Ok" },
	.noop = { 250, { 2, 0, 0 }, "Ok" },
	.vrfy = { 252, { 2, 0, 0 }, "Send it and see" },
	.quit = { 221, { 2, 0, 0 }, "Bye" },
	.unknown = { 502, { 5, 5, 2 }, "Error: command not recognized" },
};

static int find_provider(struct reader *rd, const yaml_node_t *root, void *context)
{
	const char *wanted = context;

	if (root->type != YAML_MAPPING_NODE)
		return complain(rd, root, "expected providers by name");
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		struct slice name;
		int r = get_slice(rd, node_at(rd, p->key), &name);

		if (r < 0)
			return r;
		if (wanted && !slice_eq_str(name, wanted))
			continue;
		r = read_map(rd, node_at(rd, p->value), provider_keys, ARRAY_LEN(provider_keys), rd->provider);
		rd->provider->name = arena_slice(rd->arena, name);
		return r < 0 ? r : rd->provider->name ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

int provider_read(const char *file, struct slice text, const char *name, struct arena *a, struct provider **ret, char **ret_why)
{
	struct provider *p = arena_new_type(a, struct provider);
	struct reader rd = { .file = file, .arena = a, .provider = p };
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct provider) {
		.about = "", .host = "mx.simulated.example", .hello = "{host}", .greeting = { 220, { 0, 0, 0 }, "{host} ESMTP" },
		.replies = usual, .arena = a, .last = &p->rules,
	};
	r = with_document(&rd, text, find_provider, (void *) name, ret_why);
	if (r < 0)
		return r;
	*ret = p;
	return 0;
}

struct listing {
	void (*each)(const char *name, const char *about, void *context);
	void *context;
};

static int list_providers(struct reader *rd, const yaml_node_t *root, void *context)
{
	const struct listing *l = context;

	if (root->type != YAML_MAPPING_NODE)
		return complain(rd, root, "expected providers by name");
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = node_at(rd, p->key), *value = node_at(rd, p->value);
		const char *about = "";

		if (key->type != YAML_SCALAR_NODE || value->type != YAML_MAPPING_NODE)
			continue;
		for (yaml_node_pair_t *q = value->data.mapping.pairs.start; q < value->data.mapping.pairs.top; q++) {
			const yaml_node_t *k = node_at(rd, q->key), *v = node_at(rd, q->value);

			if (k->type == YAML_SCALAR_NODE && v->type == YAML_SCALAR_NODE && strcmp((const char *) k->data.scalar.value, "about") == 0)
				about = (const char *) v->data.scalar.value;
		}
		l->each((const char *) key->data.scalar.value, about, l->context);
	}
	return 0;
}

int provider_names(const char *file, struct slice text, void (*each)(const char *name, const char *about, void *context), void *context,
		   char **ret_why)
{
	struct listing l = { each, context };
	struct reader rd = { .file = file };

	return with_document(&rd, text, list_providers, &l, ret_why);
}

/* --- changes ------------------------------------------------------------------------------------------------------------- */

static int change_rule(struct reader *rd, const yaml_node_t *root, void *context)
{
	struct behaviour *b = context, changed = *b;
	int r = read_map(rd, root, rule_keys, ARRAY_LEN(rule_keys), &changed);

	if (r >= 0)
		r = check_rule(rd, root, &changed);
	if (r >= 0)
		*b = changed;
	return r;
}

int provider_set(struct provider *p, const char *assignment, char **ret_why)
{
	struct slice value, key = slice_cut(slice_from(assignment), '=', &value), name = slice_cut(key, '.', &key);
	struct reader rd = { .file = "--set", .arena = p->arena, .provider = p };
	_cleanup_(freep) char *text = NULL;

	if (!key.data || !value.data)
		return -ENOENT;
	for (struct behaviour *b = p->rules; b; b = b->next) {
		if (!slice_eq_str(name, b->name))
			continue;
		if (asprintf(&text, "%.*s: %.*s\n", SLICE_ARG(key), SLICE_ARG(value)) < 0) {
			text = NULL;
			return -ENOMEM;
		}
		return with_document(&rd, slice_from(text), change_rule, b, ret_why);
	}
	return -ENOENT;
}

int provider_set_list(struct provider *p, const char *assignment)
{
	struct slice rest, name = slice_cut(slice_from(assignment), '=', &rest);
	struct client_list *l = p->lists;

	while (l && !slice_eq_str(name, l->name))
		l = l->next;
	if (!l || !rest.data)
		return -ENOENT;
	l->n = 0;
	l->networks = arena_new_array(p->arena, struct cidr, rest.len / 2 + 1);
	if (!l->networks)
		return -ENOMEM;
	while (rest.len > 0) {
		struct slice one = slice_trim(slice_cut(rest, ',', &rest));

		if (cidr_parse(one, &l->networks[l->n]) < 0)
			return -EINVAL;
		l->n++;
	}
	return 0;
}
