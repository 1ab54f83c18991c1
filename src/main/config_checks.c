/* `checks`, and the limits by key: what is more than single values. */
#include <stdlib.h>

#include "main/config_keys.h"
#include "main/config_sections.h"

static int weight_parse(struct slice text, int *ret)
{
	bool minus = text.len > 1 && text.data[0] == '-';
	uint64_t n;

	if (slice_to_u64(slice_skip(text, minus), &n) < 0 || n > 1000)
		return -EINVAL;
	*ret = minus ? -(int) n : (int) n;
	return 0;
}

static int read_filters(struct config_reader *reader, const struct config_node *node, const struct list_section *s, struct list_config *list)
{
	struct list_reply *replies;

	if (!s->n_replies)
		return 0;
	replies = arena_new_array(reader->arena, struct list_reply, s->n_replies);
	if (!replies)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_replies; i++)
		if (list_reply_parse(slice_from(s->replies[i]), &replies[i]) < 0)
			config_error(reader->errors, &config_get(node, "replies")->mark,
				     "replies: expected answers like 127.0.0.2, 127.0.0.[2..11] or 127.0.0.0/24, found \"%.60s\"", s->replies[i]);
	list->replies = replies;
	list->n_replies = s->n_replies;
	return 0;
}

/* A zone by itself, or a map. */
static int read_list(struct config_reader *reader, const struct config_node *node, struct list_config *list)
{
	struct config_pair pair = { "zone", node->mark, (struct config_node *) node };
	struct config_node map = { .kind = CONFIG_MAP, .mark = node->mark, .n = 1, .pairs = &pair };
	struct list_section s = { .test = true };
	int r;

	if (node->kind == CONFIG_SCALAR)
		node = &map;
	r = config_fill(reader, "checks.lists[]", node, &s);
	if (r < 0)
		return r;
	list->zone = s.zone ? s.zone : "";
	list->untested = !s.test;
	if (weight_parse(slice_from(s.weight), &list->weight) < 0)
		config_error(reader->errors, &config_get(node, "weight")->mark, "weight: expected a number from -1000 to 1000, found \"%.40s\"", s.weight);
	return read_filters(reader, node, &s, list);
}

static int read_lists(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.lists;
	struct list_config *lists;

	if (!node || !node->n)
		return 0;
	lists = arena_new_array(reader->arena, struct list_config, node->n);
	if (!lists)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_list(reader, node->items[i], &lists[i]);

		if (r < 0)
			return r;
	}
	c->gate.checks.lists = lists;
	c->gate.checks.n_lists = node->n;
	return 0;
}

static void read_helo_fault(struct config_reader *reader, const struct config_node *node, struct config *c)
{
	size_t n = 0;
	char suggestion[128], shown[96];

	while (gate_helo_fault_words[n])
		n++;
	for (unsigned i = 0; i < n && node->kind == CONFIG_SCALAR; i++)
		if (slice_ieq_str(node->text, gate_helo_fault_words[i])) {
			c->gate.checks.helo |= 1u << i;
			return;
		}
	config_suggest(node->text, gate_helo_fault_words, n, suggestion);
	config_error(reader->errors, &node->mark, "helo: expected faults (syntax, not_fqdn, own_name, bare_address, wrong_literal, unresolved), found \"%s\"%s",
		     slice_escape(node->text, shown, sizeof(shown)), suggestion);
}

static int read_rates(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.rate;
	struct rate_rule *rules;

	if (!node || !node->n)
		return 0;
	rules = arena_new_array(reader->arena, struct rate_rule, node->n);
	if (!rules)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = config_fill(reader, "limits.rate[]", node->items[i], &rules[i]);
		const unsigned *allowed = rules[i].allowed;

		if (r < 0)
			return r;
		if (!allowed[RATE_CONNECTIONS] && !allowed[RATE_MESSAGES] && !allowed[RATE_RECIPIENTS])
			config_error(reader->errors, &node->items[i]->mark, "a rate needs connections, messages or recipients: how many are allowed");
		else if (allowed[RATE_CONNECTIONS] && rules[i].key != RATE_CLIENT && rules[i].key != RATE_NETWORK)
			config_error(reader->errors, &node->items[i]->mark, "connections are counted by client or network only");
		else if (allowed[RATE_MESSAGES] && rules[i].key >= RATE_RECIPIENT)
			config_error(reader->errors, &node->items[i]->mark, "by recipient, recipients are counted, not messages");
	}
	c->gate.checks.rates = rules;
	c->gate.checks.n_rates = node->n;
	return 0;
}

static int read_concurrency(struct config_reader *reader, struct config *c)
{
	const struct config_node *node = c->raw.concurrent;
	struct concurrency_rule *rules;

	if (!node || !node->n)
		return 0;
	if (node->n > GATE_PLACES_MAX)
		config_error(reader->errors, &node->mark, "concurrent: at most %u limits are possible", GATE_PLACES_MAX);
	rules = arena_new_array(reader->arena, struct concurrency_rule, node->n);
	if (!rules)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = config_fill(reader, "limits.concurrent[]", node->items[i], &rules[i]);

		if (r < 0)
			return r;
	}
	c->gate.checks.concurrency = rules;
	c->gate.checks.n_concurrency = node->n;
	return 0;
}

int config_read_checks(struct config_reader *reader, struct config *c)
{
	const struct config_node *helo = c->raw.helo;
	struct greylist_config *greylist = &c->gate.checks.greylist;
	int r;

	if (helo && helo->kind == CONFIG_LIST)
		for (unsigned i = 0; i < helo->n; i++)
			read_helo_fault(reader, helo->items[i], c);
	else if (helo)
		read_helo_fault(reader, helo, c);
	if (!greylist->path && c->spool.path) {
		greylist->path = arena_printf(reader->arena, "%s/greylist.db", c->spool.path);
		if (!greylist->path)
			return -ENOMEM;
	}
	r = read_lists(reader, c);
	if (r >= 0)
		r = read_rates(reader, c);
	return r < 0 ? r : read_concurrency(reader, c);
}
