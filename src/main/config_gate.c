/* `gate`: the rules. */
#include <stdio.h>
#include <stdlib.h>

#include "main/config_keys.h"
#include "main/config_sections.h"

static int unknown_condition(struct config_reader *reader, const struct config_pair *pair)
{
	const char *names[64];
	char suggestion[128], shown[96];
	size_t n = MIN(gate_n_keys, ARRAY_LEN(names));

	for (size_t i = 0; i < n; i++)
		names[i] = gate_keys[i].name;
	config_suggest(slice_from(pair->key), names, n, suggestion);
	config_error(reader->errors, &pair->mark, "a rule can't match \"%s\"%s", slice_escape(slice_from(pair->key), shown, sizeof(shown)), suggestion);
	return 0;
}

static int read_value(struct config_reader *reader, const struct gate_key *key, const struct config_node *node, struct gate_value *value)
{
	char expected[256], shown[128];

	value->text = node->kind == CONFIG_SCALAR ? node->text.data : node->kind == CONFIG_NULL ? "" : NULL;
	if (value->text && gate_value_parse(key, slice_from(value->text), value) == 0)
		return 0;
	config_error(reader->errors, &node->mark, "%s: expected %s, found %s%s%s", key->name, gate_kind_describe(key, expected, sizeof(expected)),
		     value->text ? "\"" : config_kind_name(node->kind), value->text ? slice_escape(slice_from(value->text), shown, sizeof(shown)) : "",
		     value->text ? "\"" : "");
	return -EINVAL;
}

static int read_condition(struct config_reader *reader, const struct config_pair *pair, struct gate_condition *ret)
{
	const struct gate_key *key = gate_key_find(slice_from(pair->key));
	const struct config_node *const single[] = { pair->value };
	const struct config_node *const *items = single;
	unsigned n = 1;

	if (!key)
		return unknown_condition(reader, pair);
	if (pair->value->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) pair->value->items;
		n = pair->value->n;
	}
	if (n == 0)
		config_error(reader->errors, &pair->value->mark, "%s: the list is empty, so the rule would never match", key->name);
	ret->key = key;
	ret->values = arena_new_array(reader->arena, struct gate_value, MAX(n, 1u));
	if (!ret->values)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (read_value(reader, key, items[i], &ret->values[i]) == 0)
			ret->n++;
	return 1;
}

/* match or unless. node may be NULL: none. */
static int read_conditions(struct config_reader *reader, const struct config_node *node, const struct gate_condition **ret, unsigned *ret_n)
{
	struct gate_condition *conditions;
	unsigned n = 0;

	*ret_n = 0;
	if (!node || node->kind == CONFIG_NULL)
		return 0;
	if (node->kind != CONFIG_MAP) {
		config_error(reader->errors, &node->mark, "expected conditions like {client: 192.0.2.0/24}, found %s", config_kind_name(node->kind));
		return 0;
	}
	conditions = arena_new_array(reader->arena, struct gate_condition, MAX(node->n, 1u));
	if (!conditions)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_condition(reader, &node->pairs[i], &conditions[n]);

		if (r < 0)
			return r;
		n += (unsigned) r;
	}
	*ret = conditions;
	*ret_n = n;
	return 0;
}

static void find_stage(struct config_reader *reader, const struct config_node *node, const struct gate_section *s, struct gate_rule *rule)
{
	enum gate_stage by_match = MAX(gate_conditions_stage(rule->match, rule->n_match), gate_conditions_stage(rule->unless, rule->n_unless));
	enum gate_stage earliest = MAX(gate_conditions_earliest(rule->match, rule->n_match), gate_conditions_earliest(rule->unless, rule->n_unless));

	rule->stage = s->at == GATE_STAGES ? by_match : (enum gate_stage) s->at;
	if (rule->stage < earliest)
		config_error(reader->errors, &node->mark, "at: %s is too early: what the rule matches is known from %s on", gate_stage_name(rule->stage),
			     gate_stage_name(earliest));
	if (rule->stage == GATE_DATA && rule->action == GATE_LIMIT)
		config_error(reader->errors, &node->mark, "limit works up to rcpt only: the content has been received at data");
}

/* "5.7.1" */
static int enhanced_parse(struct slice text, int out[static 3])
{
	for (unsigned i = 0; i < 3; i++) {
		uint64_t n;

		if (!text.data || slice_to_u64(slice_cut(text, '.', &text), &n) < 0 || n > 999)
			return -EINVAL;
		out[i] = (int) n;
	}
	return text.data ? -EINVAL : 0;
}

static void read_refusal(struct config_reader *reader, const struct config_node *node, const struct gate_section *s, struct gate_rule *rule)
{
	int class = rule->action == GATE_REJECT ? 5 : 4;
	char out[200];
	const char *wrong = s->text ? reply_check_text(REPLY_COUNT, s->text, out) : NULL;

	rule->text = s->text;
	rule->code = s->code ? (int) s->code : class == 5 ? 550 : 450;
	rule->enhanced[0] = class;
	rule->enhanced[1] = 7;
	rule->enhanced[2] = 1;
	if (wrong)
		config_error(reader->errors, &config_get(node, "text")->mark, "text: %s", wrong);
	if (rule->code / 100 != class)
		config_error(reader->errors, &config_get(node, "code")->mark, "code: %s answers with %dxx, found %d", gate_action_words[rule->action], class,
			     rule->code);
	if (s->enhanced && (enhanced_parse(slice_from(s->enhanced), rule->enhanced) < 0 || rule->enhanced[0] != class))
		config_error(reader->errors, &config_get(node, "enhanced")->mark, "enhanced: expected a code like %d.7.1, found \"%.40s\"", class,
			     s->enhanced);
}

static void read_header(struct config_reader *reader, const struct config_node *node, const struct gate_section *s, struct gate_rule *rule)
{
	struct slice value;
	struct slice name = slice_cut(slice_from(s->header), ':', &value);
	char out[200];
	const char *wrong = s->header ? reply_check_text(REPLY_COUNT, s->header, out) : NULL;
	bool fine = s->header && name.len > 0 && value.data && slice_trim(value).len > 0;

	rule->header = s->header;
	for (size_t i = 0; i < name.len; i++)
		fine &= name.data[i] > 32 && name.data[i] < 127;
	if (wrong)
		config_error(reader->errors, &config_get(node, "header")->mark, "header: %s", wrong);
	else if (!fine)
		config_error(reader->errors, &node->mark, "add_header needs header: \"Name: value\"");
}

static int read_limit(struct config_reader *reader, const struct config_node *node, const struct gate_section *s, struct gate_rule *rule)
{
	struct gate_limit_section limit = { 0 };
	int r = config_fill(reader, "gate[].limit", s->limit, &limit);

	rule->recipients = limit.recipients;
	rule->message_size = limit.message_size;
	if (!limit.recipients && !limit.message_size)
		config_error(reader->errors, &node->mark, "limit needs limit: {recipients: NUMBER} or {message_size: SIZE}");
	return r;
}

/* What belongs to the action, and what does not. */
static int read_action(struct config_reader *reader, const struct config_node *node, const struct gate_section *s, struct gate_rule *rule)
{
	static const struct { const char *key; unsigned actions; } belongs[] = {
		{ "text", 1u << GATE_REJECT | 1u << GATE_DEFER }, { "code", 1u << GATE_REJECT | 1u << GATE_DEFER },
		{ "enhanced", 1u << GATE_REJECT | 1u << GATE_DEFER }, { "delay", 1u << GATE_TARPIT },
		{ "header", 1u << GATE_ADD_HEADER }, { "limit", 1u << GATE_LIMIT },
	};

	for (unsigned i = 0; i < ARRAY_LEN(belongs); i++) {
		const struct config_pair *pair = config_get_pair(node, belongs[i].key);

		if (pair && !(belongs[i].actions & 1u << rule->action))
			config_error(reader->errors, &pair->mark, "%s means nothing to the action %s", pair->key, gate_action_words[rule->action]);
	}
	switch (rule->action) {
	case GATE_REJECT:
	case GATE_DEFER:
		read_refusal(reader, node, s, rule);
		return 0;
	case GATE_TARPIT:
		rule->delay = s->delay;
		if (!s->delay)
			config_error(reader->errors, &node->mark, "tarpit needs delay: how long the reply waits, like 10s");
		return 0;
	case GATE_ADD_HEADER:
		read_header(reader, node, s, rule);
		return 0;
	case GATE_LIMIT:
		return read_limit(reader, node, s, rule);
	default:
		return 0;
	}
}

static int read_rule(struct config_reader *reader, const struct config *c, const struct config_node *node, unsigned index, struct gate_rule *rule)
{
	struct gate_section s = { .action = GATE_CONTINUE };
	int r = config_fill(reader, "gate[]", node, &s);

	if (r < 0 || node->kind != CONFIG_MAP)
		return r;
	rule->name = s.name ? s.name : arena_printf(reader->arena, "gate[%u]", index);
	if (!rule->name)
		return -ENOMEM;
	rule->action = (enum gate_action) s.action;
	r = read_conditions(reader, s.match, &rule->match, &rule->n_match);
	if (r >= 0)
		r = read_conditions(reader, s.unless, &rule->unless, &rule->n_unless);
	if (r >= 0)
		r = read_action(reader, node, &s, rule);
	if (r < 0)
		return r;
	find_stage(reader, node, &s, rule);
	for (unsigned i = 0; i < rule->n_match; i++)
		if (rule->match[i].key->needs == GATE_NEEDS_COUNTRY && !c->gate.checks.country_file)
			config_error(reader->errors, &node->mark, "a rule that matches country needs checks.country_file");
	return 0;
}

int config_read_gate(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.gate;
	struct gate_rule *rules;

	c->receive.gate = &c->gate;
	if (!node || !node->n)
		return 0;
	rules = arena_new_array(reader->arena, struct gate_rule, node->n);
	if (!rules)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_rule(reader, c, node->items[i], i, &rules[i]);

		if (r < 0)
			return r;
	}
	c->gate.rules = (struct gate_rules) { .n = node->n, .rules = rules };
	return 0;
}
