#include "queue/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/memory_check.h"
#include "base/suggest.h"

#define RULES_MAX 10000

/* One file being read. */
struct reader {
	struct ruleset *set;
	const char *file; /* belongs to the set */
	yaml_document_t document;
	char *why;
};

static _printf_(3, 4) int complain(struct reader *rd, const yaml_mark_t *at, const char *format, ...)
{
	char text[400];
	va_list args;

	if (rd->why)
		return -EINVAL;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (asprintf(&rd->why, "%s:%zu:%zu: %s", rd->file, at->line + 1, at->column + 1, text) < 0)
		rd->why = NULL;
	return -EINVAL;
}

static yaml_node_t *node_at(struct reader *rd, int index)
{
	return yaml_document_get_node(&rd->document, index);
}

static int get_text(struct reader *rd, const yaml_node_t *n, const char *what, struct slice *ret)
{
	struct slice s;

	if (!n || n->type != YAML_SCALAR_NODE)
		return complain(rd, n ? &n->start_mark : &(yaml_mark_t) { 0 }, "%s must be a single text", what);
	s = slice_new((const char *) n->data.scalar.value, n->data.scalar.length);
	if (s.len == 0 || memchr(s.data, '\0', s.len))
		return complain(rd, &n->start_mark, "%s must not be empty or contain a NUL", what);
	*ret = s;
	return 0;
}

/* Calls each() for a text, or for every text of a list. */
static int for_each_text(struct reader *rd, const yaml_node_t *n, const char *what,
			 int (*each)(struct reader *rd, const yaml_node_t *n, struct slice text, void *context),
			 void *context)
{
	struct slice s;
	int r;

	if (n->type != YAML_SEQUENCE_NODE) {
		r = get_text(rd, n, what, &s);
		return r < 0 ? r : each(rd, n, s, context);
	}
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		const yaml_node_t *item = node_at(rd, *i);

		r = get_text(rd, item, what, &s);
		if (r >= 0)
			r = each(rd, item, s, context);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "5", "x", "606-649". */
static int parse_part(struct slice s, unsigned max, struct range *ret)
{
	struct slice rest;
	uint64_t from, to;

	if (s.len == 1 && (s.data[0] == 'x' || s.data[0] == 'X')) {
		*ret = (struct range) { 0, (uint16_t) max };
		return 0;
	}
	s = slice_cut(s, '-', &rest);
	if (slice_to_u64(s, &from) < 0)
		return -EINVAL;
	to = from;
	if (rest.data && slice_to_u64(rest, &to) < 0)
		return -EINVAL;
	if (from > to || to > max)
		return -EINVAL;
	*ret = (struct range) { (uint16_t) from, (uint16_t) to };
	return 0;
}

static int add_enhanced(struct reader *rd, const yaml_node_t *n, struct slice text, void *context)
{
	struct rule *rule = context;
	struct enhanced_pattern p;
	struct slice rest = text;

	if (rule->n_enhanced == RULE_PATTERNS)
		return complain(rd, &n->start_mark, "at most %d enhanced codes are possible in one rule",
				RULE_PATTERNS);
	for (unsigned i = 0; i < 3; i++) {
		struct slice part = i < 2 ? slice_cut(rest, '.', &rest) : rest;

		if (parse_part(part, i == 0 ? 5 : 999, &p.part[i]) < 0)
			return complain(rd, &n->start_mark,
					"\"%.*s\" is no enhanced code (like 5.7.1, 5.7.606-649 or x.1.x)",
					SLICE_ARG(text));
	}
	rule->enhanced[rule->n_enhanced++] = p;
	return 0;
}

/* "550", "55x", "5xx". */
static int add_code(struct reader *rd, const yaml_node_t *n, struct slice text, void *context)
{
	struct rule *rule = context;
	unsigned from = 0, to = 0;

	if (rule->n_codes == RULE_PATTERNS)
		return complain(rd, &n->start_mark, "at most %d codes are possible in one rule", RULE_PATTERNS);
	for (size_t i = 0; i < 3 && text.len == 3; i++) {
		char c = text.data[i];
		bool any = i > 0 && (c == 'x' || c == 'X');

		if (!any && !ascii_is_digit(c)) {
			from = 0;
			break;
		}
		from = from * 10 + (any ? 0 : (unsigned) (c - '0'));
		to = to * 10 + (any ? 9 : (unsigned) (c - '0'));
	}
	if (from < 200 || from > 599)
		return complain(rd, &n->start_mark, "\"%.*s\" is no reply code (like 550, 45x or 5xx)",
				SLICE_ARG(text));
	rule->codes[rule->n_codes++] = (struct range) { (uint16_t) from, (uint16_t) to };
	return 0;
}

static int add_stage(struct reader *rd, const yaml_node_t *n, struct slice text, void *context)
{
	struct rule *rule = context;
	enum stage stage;

	if (stage_from_name(text, &stage) < 0)
		return complain(
			rd, &n->start_mark,
			"\"%.*s\" is no stage (connect, greeting, ehlo, starttls, auth, mail, rcpt, data, dot)",
			SLICE_ARG(text));
	rule->stages |= 1u << stage;
	return 0;
}

static int set_text(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	PCRE2_SIZE offset = 0;
	int error = 0;

	if (rule->text)
		return complain(rd, &n->start_mark, "text stands twice in this rule");
	rule->text = pcre2_compile((PCRE2_SPTR) text.data, text.len,
				   PCRE2_CASELESS | PCRE2_DOTALL | PCRE2_NEVER_BACKSLASH_C, &error, &offset, NULL);
	if (!rule->text) {
		PCRE2_UCHAR message[160] = "";

		pcre2_get_error_message(error, message, sizeof(message));
		return complain(rd, &n->start_mark, "the pattern is wrong at character %zu: %s",
				(size_t) offset + 1, (const char *) message);
	}
	/* Where it can't, it is interpreted; so it is under Valgrind, because compiled patterns read 16 octets at a time,
	 * also behind the text, and drop afterwards what wasn't asked for. */
	if (!RUNNING_ON_VALGRIND)
		pcre2_jit_compile(rule->text, PCRE2_JIT_COMPLETE);
	return 0;
}

static int set_provider(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	for (const struct provider *p = rd->set->providers; p; p = p->next) {
		if (!slice_eq_str(text, p->name))
			continue;
		rule->provider = p;
		return 0;
	}
	return complain(rd, &n->start_mark, "no provider is called \"%.*s\"; providers are defined above the rules",
			SLICE_ARG(text));
}

static int set_treat(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	if (slice_eq_str(text, "temporary"))
		rule->treat = TREAT_TEMPORARY;
	else if (slice_eq_str(text, "permanent"))
		rule->treat = TREAT_PERMANENT;
	else
		return complain(rd, &n->start_mark, "treat must be temporary or permanent");
	return 0;
}

static int set_fault(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	if (fault_from_name(text, &rule->fault) < 0)
		return complain(rd, &n->start_mark, "fault must be path, sender, recipient, content or server");
	return 0;
}

static int set_key(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	if (limit_key_from_name(text, &rule->key) < 0)
		return complain(rd, &n->start_mark,
				"key must be address, netblock, dkim, spf, url, recipient or sender");
	return 0;
}

static int set_class(struct reader *rd, const yaml_node_t *n, struct slice text, struct rule *rule)
{
	if (reply_class_from_name(text, &rule->class) < 0 || rule->class == CLASS_NONE)
		return complain(rd, &n->start_mark,
				"\"%.*s\" is no class (blocked, throttled, greylisted, mailbox_full, no_such_user, "
				"spam_content, tls, auth, policy, too_big, other)",
				SLICE_ARG(text));
	return 0;
}

static int read_entry(struct reader *rd, const yaml_node_t *key_node, const yaml_node_t *n, struct rule *rule)
{
	static const char *const keys[] = { "name", "provider", "code",	 "enhanced", "stage",
					    "text", "class",	"fault", "key",	     "treat" };
	struct slice key, text = SLICE_NULL;
	const char *near;
	int r = get_text(rd, key_node, "a key", &key);

	if (r < 0)
		return r;
	if (slice_eq_str(key, "code"))
		return for_each_text(rd, n, "code", add_code, rule);
	if (slice_eq_str(key, "enhanced"))
		return for_each_text(rd, n, "enhanced", add_enhanced, rule);
	if (slice_eq_str(key, "stage"))
		return for_each_text(rd, n, "stage", add_stage, rule);
	near = suggest_nearest(key, keys, ARRAY_LEN(keys));
	if (!near || !slice_eq_str(key, near))
		return complain(rd, &key_node->start_mark, "unknown key \"%.*s\"%s%s%s", SLICE_ARG(key),
				near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	r = get_text(rd, n, near, &text);
	if (r < 0)
		return r;
	switch (near[0]) {
	case 'n':
		free(rule->name);
		rule->name = slice_dup(text);
		return rule->name ? 0 : -ENOMEM;
	case 'p':
		return set_provider(rd, n, text, rule);
	case 'c':
		return set_class(rd, n, text, rule);
	case 'f':
		return set_fault(rd, n, text, rule);
	case 'k':
		return set_key(rd, n, text, rule);
	default:
		return slice_eq_str(key, "text") ? set_text(rd, n, text, rule) : set_treat(rd, n, text, rule);
	}
}

static void rule_free(struct rule *rule)
{
	if (!rule)
		return;
	pcre2_code_free(rule->text);
	free(rule->name);
	free(rule);
}
DEFINE_FREEP(struct rule, rule_free)

static int read_rule(struct reader *rd, const yaml_node_t *n)
{
	_cleanup_(rule_freep) struct rule *rule = calloc(1, sizeof(*rule));
	int r;

	if (!rule)
		return -ENOMEM;
	if (n->type != YAML_MAPPING_NODE)
		return complain(rd, &n->start_mark, "a rule is a mapping: {code: ..., text: ..., class: ...}");
	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		r = read_entry(rd, node_at(rd, p->key), node_at(rd, p->value), rule);
		if (r < 0)
			return r;
	}
	if (rule->class == CLASS_NONE)
		return complain(rd, &n->start_mark, "the rule has no class");
	if (!rule->text && rule->n_codes == 0 && rule->n_enhanced == 0)
		return complain(rd, &n->start_mark, "the rule has no condition: it needs code, enhanced or text");
	if (rd->set->n >= RULES_MAX)
		return complain(rd, &n->start_mark, "more than %d rules", RULES_MAX);
	if (!rule->name && asprintf(&rule->name, "%s:%zu", rd->file, n->start_mark.line + 1) < 0) {
		rule->name = NULL;
		return -ENOMEM;
	}
	rule->file = rd->file;
	rule->line = (unsigned) n->start_mark.line + 1;
	rule->next = *rd->set->last;
	*rd->set->last = rule;
	rd->set->last = &rule->next;
	rd->set->n++;
	rule = NULL;
	return 0;
}

/* --- providers --------------------------------------------------------------------------------- */

int provider_add_suffix(struct provider *p, struct slice suffix)
{
	char **longer = reallocarray(p->suffixes, p->n_suffixes + 1, sizeof(*longer));

	if (!longer)
		return -ENOMEM;
	p->suffixes = longer;
	p->suffixes[p->n_suffixes] = slice_dup(suffix);
	return p->suffixes[p->n_suffixes++] ? 0 : -ENOMEM;
}

struct provider *ruleset_add_provider(struct ruleset *s, struct slice name)
{
	struct provider *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->name = slice_dup(name);
	if (!p->name) {
		free(p);
		return NULL;
	}
	p->next = *s->last_provider;
	*s->last_provider = p;
	s->last_provider = &p->next;
	return p;
}

static int add_suffix(struct reader *rd, const yaml_node_t *n, struct slice text, void *context)
{
	return provider_add_suffix(context, text);
}

static int read_number(struct reader *rd, const yaml_node_t *n, struct slice text, unsigned *ret)
{
	uint64_t v;

	if (slice_to_u64(text, &v) < 0 || v == 0 || v > 1000000)
		return complain(rd, &n->start_mark, "\"%.*s\" is no number from 1 to 1000000", SLICE_ARG(text));
	*ret = (unsigned) v;
	return 0;
}

static int read_rate(struct reader *rd, const yaml_node_t *n, struct slice text, struct rate *ret)
{
	if (rate_parse(text, ret) < 0)
		return complain(rd, &n->start_mark, "\"%.*s\" is no rate (like 100/1h)", SLICE_ARG(text));
	return 0;
}

static int read_limit(struct reader *rd, const yaml_node_t *key_node, const yaml_node_t *n, struct provider *p)
{
	struct shaping_limits *l = &p->limits;
	const struct {
		const char *key;
		unsigned *number;
		struct rate *rate;
	} limits[] = {
		{ "connections", &l->connections, NULL },
		{ "all_connections", &l->all_connections, NULL },
		{ "messages_per_connection", &l->messages_per_connection, NULL },
		{ "recipients_per_transaction", &l->recipients_per_transaction, NULL },
		{ "rate", NULL, &l->rate },
		{ "all_rate", NULL, &l->all_rate },
	};
	struct slice key, text;
	int r = get_text(rd, key_node, "a key", &key);

	if (r < 0)
		return r;
	if (slice_eq_str(key, "hosts"))
		return for_each_text(rd, n, "the ending of a host name", add_suffix, p);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		if (!slice_eq_str(key, limits[i].key))
			continue;
		r = get_text(rd, n, limits[i].key, &text);
		if (r < 0)
			return r;
		return limits[i].number ? read_number(rd, n, text, limits[i].number)
					: read_rate(rd, n, text, limits[i].rate);
	}
	return complain(rd, &key_node->start_mark,
			"unknown key \"%.*s\" of a provider (hosts, connections, all_connections, "
			"messages_per_connection, recipients_per_transaction, rate, all_rate)", SLICE_ARG(key));
}

/* A list of endings, or a mapping with `hosts` and limits. */
static int read_provider(struct reader *rd, const yaml_node_t *n, struct provider *p)
{
	if (n->type != YAML_MAPPING_NODE)
		return for_each_text(rd, n, "the ending of a host name", add_suffix, p);
	for (yaml_node_pair_t *pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
		int r = read_limit(rd, node_at(rd, pair->key), node_at(rd, pair->value), p);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_providers(struct reader *rd, const yaml_node_t *n)
{
	if (n->type != YAML_MAPPING_NODE)
		return complain(rd, &n->start_mark,
				"providers is a mapping from names to lists of host name endings, or to {hosts: ..., connections: ...}");
	for (yaml_node_pair_t *pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
		struct provider *p;
		struct slice name;
		int r = get_text(rd, node_at(rd, pair->key), "the name of a provider", &name);

		if (r < 0)
			return r;
		p = ruleset_add_provider(rd->set, name);
		r = p ? read_provider(rd, node_at(rd, pair->value), p) : -ENOMEM;
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_rules(struct reader *rd, const yaml_node_t *n)
{
	if (n->type != YAML_SEQUENCE_NODE)
		return complain(rd, &n->start_mark, "rules is a list");
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
		int r = read_rule(rd, node_at(rd, *i));

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_root(struct reader *rd)
{
	const yaml_node_t *root = yaml_document_get_root_node(&rd->document);

	if (!root)
		return 0; /* an empty file: no rules */
	if (root->type != YAML_MAPPING_NODE)
		return complain(rd, &root->start_mark, "expected the keys providers and rules");
	for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
		const yaml_node_t *key_node = node_at(rd, p->key);
		struct slice key;
		int r = get_text(rd, key_node, "a key", &key);

		if (r < 0)
			return r;
		if (slice_eq_str(key, "providers"))
			r = read_providers(rd, node_at(rd, p->value));
		else if (slice_eq_str(key, "rules"))
			r = read_rules(rd, node_at(rd, p->value));
		else
			r = complain(rd, &key_node->start_mark,
				     "unknown key \"%.*s\"; known are providers and rules", SLICE_ARG(key));
		if (r < 0)
			return r;
	}
	return 0;
}

static const char *keep_name(struct ruleset *s, const char *file)
{
	struct rule_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->name = strdup(file);
	f->next = s->files;
	s->files = f;
	return f->name;
}

int ruleset_read(struct ruleset *s, const char *file, struct slice text, char **ret_why)
{
	struct reader rd = { .set = s, .file = keep_name(s, file) };
	yaml_parser_t parser;
	int r;

	if (!rd.file)
		return -ENOMEM;
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *) text.data, text.len);
	if (yaml_parser_load(&parser, &rd.document)) {
		r = read_root(&rd);
		yaml_document_delete(&rd.document);
	} else if (parser.error == YAML_MEMORY_ERROR) {
		r = -ENOMEM;
	} else {
		r = complain(&rd, &parser.problem_mark, "%s", parser.problem ? parser.problem : "not YAML");
	}
	yaml_parser_delete(&parser);
	if (r == -EINVAL)
		*ret_why = rd.why;
	else
		free(rd.why);
	return r;
}

void ruleset_init(struct ruleset *s)
{
	*s = (struct ruleset) { .last = &s->first, .last_provider = &s->providers };
}

void ruleset_go_to_front(struct ruleset *s)
{
	s->last = &s->first;
	s->last_provider = &s->providers;
}

void ruleset_done(struct ruleset *s)
{
	for (struct rule_file *f = s->files, *next; f; f = next) {
		next = f->next;
		free(f->name);
		free(f);
	}
	for (struct rule *rule = s->first, *next; rule; rule = next) {
		next = rule->next;
		rule_free(rule);
	}
	for (struct provider *p = s->providers, *next; p; p = next) {
		next = p->next;
		for (unsigned i = 0; i < p->n_suffixes; i++)
			free(p->suffixes[i]);
		free(p->suffixes);
		free(p->name);
		free(p);
	}
	ruleset_init(s);
}
