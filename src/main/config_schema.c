#include "main/config_schema.h"

#include <stdlib.h>

const struct config_key *config_key_find(const char *path)
{
	for (size_t i = 0; i < config_n_keys; i++)
		if (strcmp(config_keys[i].path, path) == 0)
			return &config_keys[i];
	return NULL;
}

const char *config_key_child(const struct config_key *key, const char *section)
{
	size_t len = strlen(section);
	const char *name = key->path;

	if (len) {
		if (strncmp(key->path, section, len) != 0 || key->path[len] != '.')
			return NULL;
		name += len + 1;
	}
	return *name && !strchr(name, '.') ? name : NULL;
}

static const struct config_key *find_child(const char *section, const char *name)
{
	for (size_t i = 0; i < config_n_keys; i++) {
		const char *child = config_key_child(&config_keys[i], section);

		if (child && strcmp(child, name) == 0)
			return &config_keys[i];
	}
	return NULL;
}

/* "listen[]" for people: an item of "listen". */
static void describe_section(const char *section, char *out, size_t size)
{
	size_t used = 0;

	for (const char *c = section; *c && used + 1 < size; c++)
		if (!strchr("[]{}", *c))
			out[used++] = *c;
	out[used] = '\0';
}

static int unknown_key(struct config_reader *reader, const char *section, const struct config_pair *pair)
{
	_cleanup_(freep) const char **names = calloc(config_n_keys, sizeof(*names));
	char suggestion[128], where[96], shown[96];
	size_t n = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < config_n_keys; i++) {
		const char *child = config_key_child(&config_keys[i], section);

		if (child)
			names[n++] = child;
	}
	config_suggest(slice_from(pair->key), names, n, suggestion);
	describe_section(section, where, sizeof(where));
	config_error(reader->errors, &pair->mark, "unknown key \"%s\"%s%s%s",
		     slice_escape(slice_from(pair->key), shown, sizeof(shown)), where[0] ? " in " : "", where, suggestion);
	return 0;
}

/* A fallback is converted like a value, so that both mean the same. */
static int fill_fallback(struct config_reader *reader, const struct config_key *key, void *base)
{
	struct config_node items[16] = { 0 };
	struct config_node *pointers[16];
	struct config_node list = { .kind = CONFIG_LIST, .mark = { "(default)", 0, 0 }, .items = pointers };
	struct slice rest = slice_from(key->fallback);

	while (rest.data && list.n < ARRAY_LEN(items)) {
		struct slice word = slice_cut(rest, ' ', &rest);
		char *copy = arena_slice(reader->arena, word);

		if (!copy)
			return -ENOMEM;
		items[list.n] = (struct config_node) { .kind = CONFIG_SCALAR, .mark = list.mark,
						       .text = slice_new(copy, word.len) };
		pointers[list.n] = &items[list.n];
		list.n++;
	}
	return config_convert(reader, key, list.n == 1 ? &items[0] : &list, base);
}

static int fill_given(struct config_reader *reader, const struct config_key *key, const struct config_pair *pair, void *base)
{
	int r;

	if (pair->value->kind == CONFIG_NULL) {
		char expected[256];

		config_error(reader->errors, &pair->mark, "%s has no value; expected %s (or leave the key out)", pair->key,
			     config_type_describe(key, expected, sizeof(expected)));
		return 0;
	}
	if (key->type == CONFIG_TYPE_SECTION)
		return 0; /* below */
	r = config_convert(reader, key, pair->value, base);
	return r == -EINVAL ? 0 : r;
}

/* A section given as a single value: that of its scalar_key. */
static int fill_scalar_section(struct config_reader *reader, const struct config_key *key, const struct config_node *value,
			       void *base)
{
	struct config_pair pair = { key->scalar_key, value->mark, (struct config_node *) value };
	struct config_node map = { .kind = CONFIG_MAP, .mark = value->mark, .n = 1, .pairs = &pair };

	return config_fill(reader, key->path, &map, base);
}

static int fill_section(struct config_reader *reader, const struct config_key *key, const struct config_pair *pair, void *base)
{
	char expected[256];

	if (!pair || pair->value->kind == CONFIG_NULL || pair->value->kind == CONFIG_MAP)
		return config_fill(reader, key->path, pair ? pair->value : NULL, base);
	if (key->scalar_key && pair->value->kind == CONFIG_SCALAR)
		return fill_scalar_section(reader, key, pair->value, base);
	config_error(reader->errors, &pair->value->mark, "%s: expected %s, found %s", pair->key,
		     config_type_describe(key, expected, sizeof(expected)), config_kind_name(pair->value->kind));
	return config_fill(reader, key->path, NULL, base);
}

static int fill_children(struct config_reader *reader, const char *section, const struct config_node *node, void *base)
{
	for (size_t i = 0; i < config_n_keys; i++) {
		const struct config_key *key = &config_keys[i];
		const char *name = config_key_child(key, section);
		const struct config_pair *pair;
		int r = 0;

		if (!name)
			continue;
		pair = config_get_pair(node, name);
		if (key->type == CONFIG_TYPE_SECTION) {
			r = fill_section(reader, key, pair, base);
		} else {
			if (key->fallback)
				r = fill_fallback(reader, key, base);
			if (r >= 0 && pair)
				r = fill_given(reader, key, pair, base);
			else if (r >= 0 && key->required && node)
				config_error(reader->errors, &node->mark, "\"%s\" is missing: %s", name, key->doc);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int config_fill(struct config_reader *reader, const char *section, const struct config_node *node, void *base)
{
	if (node && node->kind != CONFIG_MAP && node->kind != CONFIG_NULL) {
		char where[96];

		describe_section(section, where, sizeof(where));
		config_error(reader->errors, &node->mark, "%s: expected a map of keys, found %s", where,
			     config_kind_name(node->kind));
		node = NULL;
	}
	for (unsigned i = 0; node && node->kind == CONFIG_MAP && i < node->n; i++)
		if (!find_child(section, node->pairs[i].key)) {
			int r = unknown_key(reader, section, &node->pairs[i]);

			if (r < 0)
				return r;
		}
	return fill_children(reader, section, node, base);
}
