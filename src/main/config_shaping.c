/* `shaping`: what receivers are given at most. */
#include "main/config_keys.h"
#include "main/config_sections.h"

static void read_rate(struct config_reader *reader, const struct config_node *node, const char *key, const char *text,
		      struct rate *ret)
{
	int r;

	if (!text)
		return;
	r = rate_parse(slice_from(text), ret);
	if (r == -ERANGE)
		config_error(reader->errors, &config_get(node, key)->mark,
			     "%s: a rate is at least one message and at most a million, in at most 31d", key);
	else if (r < 0)
		config_error(reader->errors, &config_get(node, key)->mark, "%s: expected a rate like 1000/1h", key);
}

static int read_rule(struct config_reader *reader, const char *section, const struct config_node *node,
		     const struct config_mark *mark, struct shaping_rule *rule)
{
	struct shaping_section s = { 0 };
	int r = config_fill(reader, section, node, &s);

	if (r < 0)
		return r;
	rule->hosts = s.hosts;
	rule->n_hosts = s.n_hosts;
	rule->limits = s.limits;
	read_rate(reader, node, "rate", s.rate, &rule->limits.rate);
	read_rate(reader, node, "all_rate", s.all_rate, &rule->limits.all_rate);
	if (!rule->name && !s.rate && !shaping_limits_any(&rule->limits))
		config_error(reader->errors, mark, "shaping: a rule needs a limit: connections, messages_per_connection, recipients_per_transaction or rate");
	return 0;
}

static int read_providers(struct config_reader *reader, const struct config_node *node, struct shaping_config *c)
{
	struct shaping_rule *rules;

	if (!node || !node->n)
		return 0;
	rules = arena_new_array(reader->arena, struct shaping_rule, node->n);
	if (!rules)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r;

		rules[i].name = node->pairs[i].key;
		r = read_rule(reader, "shaping.providers{}", node->pairs[i].value, &node->pairs[i].mark, &rules[i]);
		if (r < 0)
			return r;
	}
	c->providers = rules;
	c->n_providers = node->n;
	return 0;
}

static int read_sites(struct config_reader *reader, const struct config_node *node, struct shaping_config *c)
{
	struct shaping_rule *rules;

	if (!node || !node->n)
		return 0;
	rules = arena_new_array(reader->arena, struct shaping_rule, node->n);
	if (!rules)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r = read_rule(reader, "shaping.sites[]", node->items[i], &node->items[i]->mark, &rules[i]);

		if (r < 0)
			return r;
	}
	c->sites = rules;
	c->n_sites = node->n;
	return 0;
}

int config_read_shaping(struct config_reader *reader, struct config *c)
{
	int r = read_providers(reader, c->raw.shaping_providers, &c->queue.shaping);

	return r < 0 ? r : read_sites(reader, c->raw.shaping_sites, &c->queue.shaping);
}
