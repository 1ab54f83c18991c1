/* From what is written to what the rooms take, value by value. */
#include <stdio.h>

#include "base/net.h"
#include "base/suggest.h"
#include "mail/address.h"
#include "main/config_schema.h"

int config_size_parse(struct slice text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	size_t digits = 0;
	unsigned shift = 0;
	struct slice unit;
	uint64_t n;
	int r;

	while (digits < text.len && ascii_is_digit(text.data[digits]))
		digits++;
	r = slice_to_u64(slice_head(text, digits), &n);
	if (r < 0)
		return r;
	unit = slice_trim(slice_skip(text, digits));
	if (unit.len) {
		const char *u = strchr(units, unit.data[0] & ~0x20);

		if (u && *u) {
			shift = 10 * (unsigned) (u - units + 1);
			unit = slice_skip(unit, 1);
		}
		if (unit.len && !slice_ieq_str(unit, "B") && !(shift && slice_ieq_str(unit, "iB")))
			return -EINVAL;
	}
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = n << shift;
	return 0;
}

const char *config_suggest(struct slice word, const char *const *candidates, size_t n, char out[static 128])
{
	const char *near = suggest_nearest(word, candidates, n);

	out[0] = '\0';
	if (near)
		snprintf(out, 128, ", did you mean \"%s\"?", near);
	return out;
}

static const char *const type_texts[] = {
	[CONFIG_TYPE_STRING] = "a text",
	[CONFIG_TYPE_DOMAIN] = "a host name like mx1.example.org",
	[CONFIG_TYPE_PATH] = "a path",
	[CONFIG_TYPE_BOOL] = "true or false",
	[CONFIG_TYPE_NOT] = "true or false",
	[CONFIG_TYPE_UINT] = "a number",
	[CONFIG_TYPE_PORT] = "a port number (1 to 65535)",
	[CONFIG_TYPE_SIZE] = "a size like 64K or 50M",
	[CONFIG_TYPE_DURATION] = "a duration like 90s, 5m, 4h or 5d",
	[CONFIG_TYPE_STRINGS] = "a list of texts",
	[CONFIG_TYPE_PATTERNS] = "a list of patterns like \"*.example.org\"",
	[CONFIG_TYPE_DURATIONS] = "a list of durations like [5m, 1h]",
	[CONFIG_TYPE_CIDRS] = "a list of addresses or networks like 10.0.0.0/8",
	[CONFIG_TYPE_IPS] = "a list of IP addresses",
	[CONFIG_TYPE_ENDPOINT] = "an address with port like \"127.0.0.1:25\" or \"[::1]:25\"",
	[CONFIG_TYPE_ENDPOINTS] = "addresses with ports like \"0.0.0.0:25\" or \"[::]:25\"",
	[CONFIG_TYPE_SECTION] = "a map of keys",
	[CONFIG_TYPE_LIST] = "a list",
	[CONFIG_TYPE_NAMED] = "a map of names",
	[CONFIG_TYPE_NODE] = "a value or a list",
};

const char *config_type_describe(const struct config_key *key, char *out, size_t size)
{
	size_t used;

	if (key->type != CONFIG_TYPE_CHOICE && key->type != CONFIG_TYPE_WORD) {
		snprintf(out, size, "%s%s", type_texts[key->type], key->with_never ? ", or never" : "");
		return out;
	}
	used = (size_t) snprintf(out, size, "one of");
	for (unsigned i = 0; key->choices[i] && used < size; i++)
		used += (size_t) snprintf(out + used, size - used, "%s %s", i ? "," : "", key->choices[i]);
	return out;
}

static const char *own_name(const struct config_key *key)
{
	const char *dot = strrchr(key->path, '.');

	return dot ? dot + 1 : key->path;
}

static int wrong(struct config_reader *reader, const struct config_key *key, const struct config_node *node)
{
	char expected[256], shown[128];

	config_type_describe(key, expected, sizeof(expected));
	if (node->kind == CONFIG_SCALAR)
		config_error(reader->errors, &node->mark, "%s: expected %s, found \"%s\"", own_name(key), expected,
			     slice_escape(node->text, shown, sizeof(shown)));
	else
		config_error(reader->errors, &node->mark, "%s: expected %s, found %s", own_name(key), expected,
			     config_kind_name(node->kind));
	return -EINVAL;
}

/* The number as the user would write it. */
static void format_number(const struct config_key *key, uint64_t n, char *out, size_t size)
{
	static const char units[] = " KMGT";
	unsigned i = 0;

	if (key->type == CONFIG_TYPE_DURATION || key->type == CONFIG_TYPE_DURATIONS) {
		duration_format(n, out, size);
		return;
	}
	if (key->type == CONFIG_TYPE_SIZE)
		while (i < 4 && n && n % 1024 == 0) {
			n /= 1024;
			i++;
		}
	snprintf(out, size, i ? "%llu%c" : "%llu", (unsigned long long) n, units[i]);
}

static int check_range(struct config_reader *reader, const struct config_key *key, const struct config_node *node, uint64_t n)
{
	char low[32], high[32];

	if (n >= key->min && (!key->max || n <= key->max))
		return 0;
	format_number(key, key->min, low, sizeof(low));
	format_number(key, key->max, high, sizeof(high));
	if (n < key->min)
		config_error(reader->errors, &node->mark, "%s: %.*s is too small, the least is %s", own_name(key),
			     SLICE_ARG(node->text), low);
	else
		config_error(reader->errors, &node->mark, "%s: %.*s is too large, the most is %s", own_name(key),
			     SLICE_ARG(node->text), high);
	return -EINVAL;
}

static int convert_bool(struct config_reader *reader, const struct config_key *key, const struct config_node *node, bool *ret)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (slice_ieq_str(node->text, words[i])) {
			*ret = (i & 1) != (key->type == CONFIG_TYPE_NOT);
			return 0;
		}
	return wrong(reader, key, node);
}

static int convert_number(struct config_reader *reader, const struct config_key *key, const struct config_node *node,
			  uint64_t *ret)
{
	uint64_t n;
	int r;

	if (key->with_never && slice_ieq_str(node->text, "never")) {
		*ret = DEADLINE_NEVER;
		return 0;
	}
	if (key->type == CONFIG_TYPE_DURATION || key->type == CONFIG_TYPE_DURATIONS)
		r = duration_parse(node->text, &n);
	else if (key->type == CONFIG_TYPE_SIZE)
		r = config_size_parse(node->text, &n);
	else
		r = slice_to_u64(node->text, &n);
	if (r < 0 || (key->type == CONFIG_TYPE_PORT && (n < 1 || n > UINT16_MAX)) ||
	    (key->type == CONFIG_TYPE_UINT && n > UINT32_MAX))
		return wrong(reader, key, node);
	r = check_range(reader, key, node, n);
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}

static int convert_choice(struct config_reader *reader, const struct config_key *key, const struct config_node *node,
			  unsigned *ret)
{
	char suggestion[128], expected[256];
	unsigned n = 0;

	for (; key->choices[n]; n++)
		if (slice_ieq_str(node->text, key->choices[n])) {
			*ret = n;
			return 0;
		}
	config_suggest(node->text, key->choices, n, suggestion);
	if (!suggestion[0])
		return wrong(reader, key, node);
	config_error(reader->errors, &node->mark, "%s: expected %s, found \"%.*s\"%s", own_name(key),
		     config_type_describe(key, expected, sizeof(expected)), SLICE_ARG(node->text), suggestion);
	return -EINVAL;
}

static int convert_domain(struct config_reader *reader, const struct config_key *key, const struct config_node *node,
			  const char **ret)
{
	struct slice text = node->text;
	const char *name;
	int r;

	if (text.len && text.data[text.len - 1] == '.')
		text.len--; /* people write the root's dot sometimes */
	r = domain_to_ascii(reader->arena, text, &name);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || !domain_is_valid(slice_from(name), false))
		return wrong(reader, key, node);
	*ret = name;
	return 0;
}

/* One value of any type but lists, to `to`. */
static int convert_one(struct config_reader *reader, const struct config_key *key, const struct config_node *node, void *to)
{
	uint64_t n = 0;
	unsigned choice;
	int r;

	if (node->kind != CONFIG_SCALAR)
		return wrong(reader, key, node);
	switch (key->type) {
	case CONFIG_TYPE_STRING:
	case CONFIG_TYPE_STRINGS:
	case CONFIG_TYPE_PATTERNS:
		if (!node->text.len)
			return wrong(reader, key, node);
		*(const char **) to = node->text.data;
		return 0;
	case CONFIG_TYPE_PATH:
		if (!node->text.len)
			return wrong(reader, key, node);
		*(const char **) to = config_resolve_path(reader->arena, node->mark.file, node->text.data);
		return *(const char **) to ? 0 : -ENOMEM;
	case CONFIG_TYPE_DOMAIN:
		return convert_domain(reader, key, node, to);
	case CONFIG_TYPE_BOOL:
	case CONFIG_TYPE_NOT:
		return convert_bool(reader, key, node, to);
	case CONFIG_TYPE_CHOICE:
	case CONFIG_TYPE_WORD:
		r = convert_choice(reader, key, node, &choice);
		if (r < 0)
			return r;
		if (key->type == CONFIG_TYPE_CHOICE)
			*(int *) to = (int) choice;
		else
			*(const char **) to = key->choices[choice];
		return 0;
	case CONFIG_TYPE_CIDRS:
		return cidr_parse(node->text, to) < 0 ? wrong(reader, key, node) : 0;
	case CONFIG_TYPE_IPS:
		return ip_parse(node->text, to) < 0 ? wrong(reader, key, node) : 0;
	case CONFIG_TYPE_ENDPOINT:
	case CONFIG_TYPE_ENDPOINTS:
		return endpoint_parse(node->text, to) < 0 ? wrong(reader, key, node) : 0;
	default:
		r = convert_number(reader, key, node, &n);
		if (r < 0)
			return r;
		if (key->type == CONFIG_TYPE_UINT)
			*(unsigned *) to = (unsigned) n;
		else if (key->type == CONFIG_TYPE_PORT)
			*(uint16_t *) to = (uint16_t) n;
		else
			*(uint64_t *) to = n;
		return 0;
	}
}

/* Size of one element of a list type; 0 for others. */
static size_t element_size(enum config_type type)
{
	switch (type) {
	case CONFIG_TYPE_STRINGS:
	case CONFIG_TYPE_PATTERNS:
		return sizeof(const char *);
	case CONFIG_TYPE_DURATIONS:
		return sizeof(usec_t);
	case CONFIG_TYPE_CIDRS:
		return sizeof(struct cidr);
	case CONFIG_TYPE_IPS:
		return sizeof(struct ip);
	case CONFIG_TYPE_ENDPOINTS:
		return sizeof(struct endpoint);
	default:
		return 0;
	}
}

static int convert_list(struct config_reader *reader, const struct config_key *key, const struct config_node *node,
			size_t size, void *base)
{
	const struct config_node *const single[] = { node };
	const struct config_node *const *items = single;
	unsigned n = 1;
	char *array;

	if (node->kind == CONFIG_LIST) {
		items = (const struct config_node *const *) node->items;
		n = node->n;
	}
	array = arena_array(reader->arena, size, n ? n : 1);
	if (!array)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int r = convert_one(reader, key, items[i], array + i * size);

		if (r == -ENOMEM)
			return r;
		if (r < 0)
			n = 0; /* one is wrong: said; none of them counts */
	}
	*(void **) ((char *) base + key->offset) = array;
	*(unsigned *) ((char *) base + key->count_offset) = n;
	return 0;
}

int config_convert(struct config_reader *reader, const struct config_key *key, const struct config_node *node, void *base)
{
	size_t size = element_size(key->type);

	if (size)
		return convert_list(reader, key, node, size, base);
	if (key->type == CONFIG_TYPE_LIST && node->kind != CONFIG_LIST)
		return wrong(reader, key, node);
	if (key->type == CONFIG_TYPE_NAMED && node->kind != CONFIG_MAP)
		return wrong(reader, key, node);
	if (key->type == CONFIG_TYPE_LIST || key->type == CONFIG_TYPE_NAMED || key->type == CONFIG_TYPE_NODE) {
		*(const struct config_node **) ((char *) base + key->offset) = node;
		return 0;
	}
	return convert_one(reader, key, node, (char *) base + key->offset);
}
