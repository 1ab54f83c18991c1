/* What a route asks of a message: the conditions of `routes` beside its patterns for addresses. */
#include <stdio.h>

#include "base/buffer.h"
#include "main/config_keys.h"
#include "main/config_sections.h"

#define FIELD_NAME_MAX 76u /* a line has 78 characters (RFC 5322 section 2.1.1) */

/* --- size ------------------------------------------------------------------------------------------------ */

/* ">10M", ">=10M", "<10M", "<=10M". */
static int read_size(struct slice text, struct route_rule *rule)
{
	bool more = slice_istarts(text, ">"), equal;
	uint64_t n;

	if (!more && !slice_istarts(text, "<"))
		return -EINVAL;
	text = slice_skip(text, 1);
	equal = slice_istarts(text, "=");
	text = slice_trim(slice_skip(text, equal ? 1 : 0));
	if (config_size_parse(text, &n) < 0 || n == 0 || n >= UINT64_MAX)
		return -EINVAL;
	if (more)
		rule->size_min = equal ? n : n + 1;
	else
		rule->size_max = equal ? n : n - 1;
	return 0;
}

static void read_sizes(struct config_reader *reader, const struct config_node *node, const struct route_section *s,
		       struct route_rule *rule)
{
	for (unsigned i = 0; i < s->n_size; i++)
		if (read_size(slice_from(s->size[i]), rule) < 0)
			config_error(reader->errors, &config_get(node, "size")->mark,
				     "size: expected something like \">10M\" or \"<=64K\", found \"%s\"", s->size[i]);
	if (rule->size_max > 0 && rule->size_min > rule->size_max)
		config_error(reader->errors, &config_get(node, "size")->mark,
			     "size: no message is as large and as small as that, so the route would never be used");
}

/* --- patterns, of which "" is one ---------------------------------------------------------------------------- */

static int read_patterns(struct config_reader *reader, const struct config_node *node, const char *what,
			 const char *const **ret, unsigned *ret_n)
{
	const struct config_node *const single[] = { node };
	const struct config_node *const *items = single;
	const char **values;
	unsigned n = 1;

	if (node->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) node->items;
		n = node->n;
	}
	if (n == 0)
		config_error(reader->errors, &node->mark, "%s: the list is empty; \"*\" is any value", what);
	values = arena_new_array(reader->arena, const char *, n + 1);
	if (!values)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		values[i] = "";
		if (items[i]->kind != CONFIG_SCALAR)
			config_error(reader->errors, &items[i]->mark, "%s: expected a pattern, found %s", what,
				     config_kind_name(items[i]->kind));
		else
			values[i] = items[i]->text.data;
	}
	*ret = values;
	*ret_n = n;
	return 0;
}

/* --- header ---------------------------------------------------------------------------------------------- */

/* RFC 5322 section 2.2: printable US-ASCII without the colon. */
static bool is_field_name(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++)
		if (name[n] <= ' ' || name[n] > '~' || name[n] == ':')
			return false;
	return n > 0 && n <= FIELD_NAME_MAX;
}

static int read_headers(struct config_reader *reader, const struct config_node *node, struct route_rule *rule)
{
	struct route_header *headers;

	if (node->kind != CONFIG_MAP || node->n == 0) {
		config_error(reader->errors, &node->mark, "header: expected names of fields with patterns, like {X-Campaign: \"spring*\"}");
		return 0;
	}
	headers = arena_new_array(reader->arena, struct route_header, node->n);
	if (!headers)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		int r;

		headers[i].name = node->pairs[i].key;
		r = read_patterns(reader, node->pairs[i].value, headers[i].name, &headers[i].values, &headers[i].n_values);
		if (r < 0)
			return r;
		if (!is_field_name(headers[i].name))
			config_error(reader->errors, &node->pairs[i].mark, "header: \"%s\" is no name of a header field", headers[i].name);
	}
	rule->headers = headers;
	rule->n_headers = node->n;
	return 0;
}

static bool is_known(const char *const *names, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (slice_ieq_str(slice_from(names[i]), name))
			return true;
	return false;
}

/* Every field once: whoever takes a message in keeps these. */
int config_collect_headers(struct config_reader *reader, struct config *c)
{
	const char **names = arena_new_array(reader->arena, const char *, ENVELOPE_HEADERS);
	unsigned n = 0;

	if (!names)
		return -ENOMEM;
	if (c->queue.tenant_header && is_field_name(c->queue.tenant_header))
		names[n++] = c->queue.tenant_header;
	for (unsigned i = 0; i < c->route.n_rules; i++) {
		for (unsigned k = 0; k < c->route.rules[i].n_headers; k++) {
			const char *name = c->route.rules[i].headers[k].name;

			if (is_known(names, n, name))
				continue;
			if (n == ENVELOPE_HEADERS) {
				config_error(reader->errors, &c->raw.routes->items[i]->mark,
					     "header: all routes together may look at %u different fields", ENVELOPE_HEADERS);
				return 0;
			}
			names[n++] = name;
		}
	}
	c->route.headers = names;
	c->route.n_headers = n;
	return 0;
}

int config_read_route_match(struct config_reader *reader, const struct config_node *node, const struct route_section *s,
			    struct route_rule *rule)
{
	rule->to = s->n_to ? s->to : NULL;
	rule->n_to = s->n_to;
	rule->from = s->n_from ? s->from : NULL;
	rule->n_from = s->n_from;
	read_sizes(reader, node, s, rule);
	if (s->user) {
		int r = read_patterns(reader, s->user, "user", &rule->user, &rule->n_user);

		if (r < 0)
			return r;
	}
	return s->header ? read_headers(reader, s->header, rule) : 0;
}

/* --- for people ------------------------------------------------------------------------------------------ */

static void describe_list(struct buffer *out, const char *what, const char *const *patterns, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buffer_printf(out, "%s%s %.60s", i ? "," : " ", i ? "" : what, patterns[i][0] ? patterns[i] : "\"\"");
}

/* "routes[1]: to *.lan.example from news@example.org" */
char *config_describe_rule(struct config_reader *reader, unsigned index, const struct route_section *s,
			   const struct route_rule *rule)
{
	_cleanup_buffer_ struct buffer text = { 0 };

	buffer_printf(&text, "routes[%u]:", index);
	describe_list(&text, "to", s->to, s->n_to);
	describe_list(&text, "from", s->from, s->n_from);
	describe_list(&text, "user", rule->user, rule->n_user);
	describe_list(&text, "size", s->size, s->n_size);
	for (unsigned i = 0; i < rule->n_headers; i++)
		describe_list(&text, rule->headers[i].name, rule->headers[i].values, rule->headers[i].n_values);
	if (!s->n_to && !s->n_from && !rule->n_user && !s->n_size && !rule->n_headers)
		buffer_printf(&text, " all");
	return buffer_error(&text) < 0 ? NULL : arena_slice(reader->arena, slice_head(buffer_slice(&text), 400));
}
