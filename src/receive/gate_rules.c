#include "receive/gate_rules.h"

#include <stdio.h>

const char *const gate_action_words[] = {
	"accept", "reject", "defer", "discard", "tarpit", "hold", "add_header", "limit", "continue", NULL,
};

enum gate_stage gate_conditions_stage(const struct gate_condition *c, unsigned n)
{
	enum gate_stage stage = GATE_CONNECT;

	for (unsigned i = 0; i < n; i++)
		stage = MAX(stage, c[i].key->stage);
	return stage;
}

enum gate_stage gate_conditions_earliest(const struct gate_condition *c, unsigned n)
{
	enum gate_stage stage = GATE_CONNECT;

	for (unsigned i = 0; i < n; i++)
		stage = MAX(stage, c[i].key->earliest);
	return stage;
}

/* Do all of them hold? What is known decides first, so that nobody is asked in vain: true or false in *ret, or the needs
 * without which it can't be told are given back. *ret_because: the first that does not hold. */
static unsigned all_hold(const struct gate_condition *c, unsigned n, const struct gate_facts *f, bool *ret,
			 const struct gate_condition **ret_because)
{
	unsigned needs = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned missing = c[i].key->needs & ~f->known;

		if (missing) {
			needs |= missing;
		} else if (!gate_condition_holds(&c[i], f)) {
			*ret = false;
			*ret_because = &c[i];
			return 0;
		}
	}
	*ret = true;
	return needs;
}

/* As all_hold, for the rule as a whole. */
static unsigned rule_matches(const struct gate_rule *rule, const struct gate_facts *f, bool *ret,
			     const struct gate_condition **ret_because)
{
	const struct gate_condition *ignored;
	unsigned needs;
	bool against;

	needs = all_hold(rule->match, rule->n_match, f, ret, ret_because);
	if (needs || !*ret || rule->n_unless == 0)
		return needs;
	needs = all_hold(rule->unless, rule->n_unless, f, &against, &ignored);
	if (!needs && against) {
		*ret = false;
		*ret_because = NULL;
	}
	return needs;
}

int gate_rules_next(const struct gate_rules *rules, struct gate_walk *walk, const struct gate_facts *facts,
		    const struct gate_rule **ret)
{
	for (; walk->next < rules->n; walk->next++) {
		const struct gate_rule *rule = &rules->rules[walk->next];
		const struct gate_condition *because = NULL;
		bool matches;

		if (rule->stage != walk->stage)
			continue;
		walk->needs = rule_matches(rule, facts, &matches, &because);
		if (walk->needs)
			return -EAGAIN;
		if (walk->watch)
			walk->watch->looked(walk->watch->context, rule, matches, because);
		if (!matches)
			continue;
		walk->next++;
		*ret = rule;
		return 1;
	}
	return 0;
}

/* --- for people ----------------------------------------------------------------------------------------------- */

struct line {
	char *out;
	size_t size, used;
};

_printf_(2, 3) static void add(struct line *l, const char *format, ...)
{
	va_list args;
	int n;

	if (l->used >= l->size)
		return;
	va_start(args, format);
	n = vsnprintf(l->out + l->used, l->size - l->used, format, args);
	va_end(args);
	l->used += n > 0 ? (size_t) n : 0;
}

static void add_conditions(struct line *l, const char *word, const struct gate_condition *c, unsigned n)
{
	char text[256];

	for (unsigned i = 0; i < n; i++)
		add(l, "%s%s", i ? " and " : word, gate_condition_describe(&c[i], text, sizeof(text)));
}

const char *gate_rule_describe(const struct gate_rule *rule, char *out, size_t size)
{
	struct line l = { .out = out, .size = size };
	char text[32];

	add(&l, "%s: %s", gate_stage_name(rule->stage), gate_action_words[rule->action]);
	if (rule->action == GATE_TARPIT)
		add(&l, " for %s", duration_format(rule->delay, text, sizeof(text)));
	if (rule->action == GATE_ADD_HEADER)
		add(&l, " \"%s\"", rule->header);
	if (rule->action == GATE_LIMIT && rule->recipients)
		add(&l, " recipients to %u", rule->recipients);
	if (rule->action == GATE_LIMIT && rule->message_size)
		add(&l, "%s the size to %llu", rule->recipients ? " and" : "", (unsigned long long) rule->message_size);
	add_conditions(&l, " when ", rule->match, rule->n_match);
	add_conditions(&l, " unless ", rule->unless, rule->n_unless);
	if (!rule->n_match && !rule->n_unless)
		add(&l, " always");
	if (rule->action == GATE_REJECT || rule->action == GATE_DEFER)
		add(&l, ": %d %d.%d.%d %s", rule->code, rule->enhanced[0], rule->enhanced[1], rule->enhanced[2],
		    rule->text ? rule->text : "(built-in text)");
	return out;
}
