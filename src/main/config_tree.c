#include "main/config_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "world/file.h"

const char *config_kind_name(enum config_kind kind)
{
	switch (kind) {
	case CONFIG_NULL:
		return "nothing";
	case CONFIG_SCALAR:
		return "a single value";
	case CONFIG_LIST:
		return "a list";
	case CONFIG_MAP:
		return "a map of keys";
	}
	return "?";
}

const struct config_pair *config_get_pair(const struct config_node *node, const char *key)
{
	if (!node || node->kind != CONFIG_MAP)
		return NULL;
	for (unsigned i = 0; i < node->n; i++)
		if (strcmp(node->pairs[i].key, key) == 0)
			return &node->pairs[i];
	return NULL;
}

const struct config_node *config_get(const struct config_node *node, const char *key)
{
	const struct config_pair *pair = config_get_pair(node, key);

	return pair ? pair->value : NULL;
}

/* --- from events to nodes ----------------------------------------------------------------------------- */

struct anchor {
	const char *name;
	struct config_node *node; /* NULL while it is being read: an alias inside of itself */
};
struct parse {
	yaml_parser_t yaml;
	const char *file;
	struct arena *arena;
	struct config_errors *errors;
	struct anchor *anchors; /* heap */
	unsigned n_anchors, capacity;
	unsigned depth;
	unsigned weight; /* nodes so far, as they would be without aliases */
};

static struct config_mark mark_of(const struct parse *p, yaml_mark_t m)
{
	return (struct config_mark) { p->file, (unsigned) m.line + 1, (unsigned) m.column + 1 };
}

static int next_event(struct parse *p, yaml_event_t *ret)
{
	struct config_mark mark;

	if (yaml_parser_parse(&p->yaml, ret))
		return 0;
	if (p->yaml.error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	mark = mark_of(p, p->yaml.problem_mark);
	config_error(p->errors, &mark, "not valid YAML: %s%s%s", p->yaml.problem ? p->yaml.problem : "unreadable",
		     p->yaml.context ? ", " : "", p->yaml.context ? p->yaml.context : "");
	return -EBADMSG;
}

static int add_weight(struct parse *p, const struct config_mark *mark, unsigned weight)
{
	if (weight > CONFIG_NODES_MAX - p->weight) {
		config_error(p->errors, mark, "the configuration is too large: more than %u values%s",
			     CONFIG_NODES_MAX, p->n_anchors ? " (aliases count each time they are used)" : "");
		return -EBADMSG;
	}
	p->weight += weight;
	return 0;
}

static int anchor_add(struct parse *p, const yaml_char_t *name, unsigned *ret)
{
	if (p->n_anchors == p->capacity) {
		unsigned capacity = p->capacity ? p->capacity * 2 : 8;
		struct anchor *grown = reallocarray(p->anchors, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->anchors = grown;
		p->capacity = capacity;
	}
	p->anchors[p->n_anchors] = (struct anchor) { .name = arena_strdup(p->arena, (const char *) name) };
	if (!p->anchors[p->n_anchors].name)
		return -ENOMEM;
	*ret = p->n_anchors++;
	return 0;
}

static int take_alias(struct parse *p, const yaml_event_t *event, struct config_node **ret)
{
	const char *name = (const char *) event->data.alias.anchor;
	struct config_mark mark = mark_of(p, event->start_mark);

	for (unsigned i = p->n_anchors; i-- > 0;) {
		const struct anchor *a = &p->anchors[i];
		int r;

		if (strcmp(a->name, name) != 0)
			continue;
		if (!a->node) {
			config_error(p->errors, &mark, "*%s is used inside of itself", name);
			return -EBADMSG;
		}
		r = add_weight(p, &mark, a->node->weight);
		if (r < 0)
			return r;
		*ret = a->node;
		return 0;
	}
	config_error(p->errors, &mark, "*%s: there is no &%s above", name, name);
	return -EBADMSG;
}

static int take_scalar(struct parse *p, const yaml_event_t *event, struct config_node *node)
{
	const char *value = (const char *) event->data.scalar.value;
	size_t len = event->data.scalar.length;
	char *copy;

	if (memchr(value, '\0', len)) {
		config_error(p->errors, &node->mark, "a value must not contain a NUL character");
		return -EBADMSG;
	}
	node->kind = CONFIG_SCALAR;
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (len == 0 || strcmp(value, "~") == 0 || strcmp(value, "null") == 0))
		node->kind = CONFIG_NULL;
	copy = arena_slice(p->arena, slice_new(value, len));
	if (!copy)
		return -ENOMEM;
	node->text = slice_new(copy, len);
	return 0;
}

static int compare_pairs(const void *a, const void *b)
{
	const struct config_pair *const *x = a, *const *y = b;
	int order = strcmp((*x)->key, (*y)->key);

	return order ? order : (*x > *y) - (*x < *y);
}

/* Sorted by name, the same keys stand side by side. */
static int refuse_duplicates(const struct config_node *map, struct config_errors *errors)
{
	_cleanup_(freep) struct config_pair **sorted = NULL;

	if (map->n < 2)
		return 0;
	sorted = calloc(map->n, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (unsigned i = 0; i < map->n; i++)
		sorted[i] = &map->pairs[i];
	qsort(sorted, map->n, sizeof(*sorted), compare_pairs);
	for (unsigned i = 1; i < map->n; i++) {
		const struct config_mark *first = &sorted[i - 1]->mark;

		if (strcmp(sorted[i]->key, sorted[i - 1]->key) == 0)
			config_error(errors, &sorted[i]->mark, "\"%s\" is given twice (first at %s:%u:%u)",
				     sorted[i]->key, first->file, first->line, first->column);
	}
	return 0;
}

/* What a list or map gathers before it is known how much it is. */
struct gather {
	struct config_pair *pairs; /* heap; key is NULL in a list */
	unsigned n, capacity;
};

static void gather_done(struct gather *g)
{
	free(g->pairs);
}

static int gather_add(struct gather *g, struct config_pair pair)
{
	if (g->n == g->capacity) {
		unsigned capacity = g->capacity ? g->capacity * 2 : 8;
		struct config_pair *grown = reallocarray(g->pairs, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		g->pairs = grown;
		g->capacity = capacity;
	}
	g->pairs[g->n++] = pair;
	return 0;
}

static int take_node(struct parse *p, const yaml_event_t *event, struct config_node **ret);

static int take_list(struct parse *p, struct config_node *node)
{
	_cleanup_(gather_done) struct gather g = { 0 };
	yaml_event_t event;
	int r;

	node->kind = CONFIG_LIST;
	for (;;) {
		struct config_pair pair = { 0 };

		r = next_event(p, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_SEQUENCE_END_EVENT)
			break;
		r = take_node(p, &event, &pair.value);
		yaml_event_delete(&event);
		if (r >= 0)
			r = gather_add(&g, pair);
		if (r < 0)
			return r;
	}
	yaml_event_delete(&event);
	node->items = arena_new_array(p->arena, struct config_node *, g.n);
	if (g.n && !node->items)
		return -ENOMEM;
	for (unsigned i = 0; i < g.n; i++)
		node->items[i] = g.pairs[i].value;
	node->n = g.n;
	return 0;
}

/* The key is a scalar; then comes the value. */
static int take_pair(struct parse *p, const yaml_event_t *key_event, struct config_pair *ret)
{
	struct config_node *key;
	yaml_event_t event;
	int r;

	r = take_node(p, key_event, &key);
	if (r < 0)
		return r;
	if (key->kind != CONFIG_SCALAR && key->kind != CONFIG_NULL) {
		config_error(p->errors, &key->mark, "a key must be a word, not %s", config_kind_name(key->kind));
		return -EBADMSG;
	}
	ret->key = key->text.data;
	ret->mark = key->mark;
	r = next_event(p, &event);
	if (r < 0)
		return r;
	r = take_node(p, &event, &ret->value);
	yaml_event_delete(&event);
	return r;
}

static int take_map(struct parse *p, struct config_node *node)
{
	_cleanup_(gather_done) struct gather g = { 0 };
	yaml_event_t event;
	int r;

	node->kind = CONFIG_MAP;
	for (;;) {
		struct config_pair pair;

		r = next_event(p, &event);
		if (r < 0)
			return r;
		if (event.type == YAML_MAPPING_END_EVENT)
			break;
		r = take_pair(p, &event, &pair);
		yaml_event_delete(&event);
		if (r >= 0)
			r = gather_add(&g, pair);
		if (r < 0)
			return r;
	}
	yaml_event_delete(&event);
	node->pairs = arena_new_array(p->arena, struct config_pair, g.n);
	if (g.n && !node->pairs)
		return -ENOMEM;
	for (unsigned i = 0; i < g.n; i++)
		node->pairs[i] = g.pairs[i];
	node->n = g.n;
	return refuse_duplicates(node, p->errors);
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

/* The node that begins with this event, up to its end. The event stays the caller's. */
static int take_node(struct parse *p, const yaml_event_t *event, struct config_node **ret)
{
	struct config_node *node;
	unsigned anchor = 0, before = p->weight;
	int r;

	if (event->type == YAML_ALIAS_EVENT)
		return take_alias(p, event, ret);
	node = arena_new_type(p->arena, struct config_node);
	if (!node)
		return -ENOMEM;
	node->mark = mark_of(p, event->start_mark);
	r = add_weight(p, &node->mark, 1);
	if (r < 0)
		return r;
	if (p->depth >= CONFIG_DEPTH_MAX) {
		config_error(p->errors, &node->mark, "nested too deeply (more than %u levels)", CONFIG_DEPTH_MAX);
		return -EBADMSG;
	}
	if (event_anchor(event)) {
		r = anchor_add(p, event_anchor(event), &anchor);
		if (r < 0)
			return r;
	}
	p->depth++;
	if (event->type == YAML_SCALAR_EVENT)
		r = take_scalar(p, event, node);
	else if (event->type == YAML_SEQUENCE_START_EVENT)
		r = take_list(p, node);
	else if (event->type == YAML_MAPPING_START_EVENT)
		r = take_map(p, node);
	else
		r = -EBADMSG;
	p->depth--;
	if (r < 0)
		return r;
	node->weight = p->weight - before;
	if (event_anchor(event))
		p->anchors[anchor].node = node;
	*ret = node;
	return 0;
}

/* Stream start, document start, one node, document end, stream end. */
static int take_document(struct parse *p, struct config_node **ret)
{
	struct config_node *root = NULL;

	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		int r;

		r = next_event(p, &event);
		if (r < 0)
			return r;
		type = event.type;
		if (type == YAML_DOCUMENT_START_EVENT && root) {
			struct config_mark mark = mark_of(p, event.start_mark);

			config_error(p->errors, &mark, "a second document begins here; one file holds one");
			r = -EBADMSG;
		} else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
			   type != YAML_DOCUMENT_START_EVENT && type != YAML_DOCUMENT_END_EVENT) {
			r = take_node(p, &event, &root);
		}
		yaml_event_delete(&event);
		if (r < 0)
			return r;
		if (type == YAML_STREAM_END_EVENT)
			break;
	}
	if (!root || root->kind == CONFIG_NULL) {
		root = arena_new_type(p->arena, struct config_node);
		if (!root)
			return -ENOMEM;
		root->kind = CONFIG_MAP;
		root->mark = (struct config_mark) { p->file, 1, 1 };
		root->weight = 1;
	}
	*ret = root;
	return 0;
}

static int parse_text(struct slice text, const char *file, struct arena *a, struct config_errors *errors,
		      unsigned *weight, struct config_node **ret)
{
	struct parse p = { .file = file, .arena = a, .errors = errors, .weight = *weight };
	int r;

	if (!yaml_parser_initialize(&p.yaml))
		return -ENOMEM;
	yaml_parser_set_input_string(&p.yaml, (const unsigned char *) (text.data ? text.data : ""), text.len);
	r = take_document(&p, ret);
	yaml_parser_delete(&p.yaml);
	free(p.anchors);
	*weight = p.weight;
	return r;
}

int config_tree_parse(struct slice text, const char *file, struct arena *a, struct config_errors *errors,
		      struct config_node **ret)
{
	unsigned weight = 0;

	return parse_text(text, file, a, errors, &weight, ret);
}

/* --- files that include files --------------------------------------------------------------------------- */

struct load {
	struct world *world;
	struct arena *arena;
	struct config_errors *errors;
	unsigned files, weight;
};

char *config_resolve_path(struct arena *a, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');

	if (path[0] == '/' || !slash)
		return arena_strdup(a, path);
	return arena_printf(a, "%.*s/%s", (int) (slash - file), file, path);
}

static int append_pairs(struct load *l, struct config_node *to, const struct config_node *from)
{
	struct config_pair *pairs = arena_new_array(l->arena, struct config_pair, (size_t) to->n + from->n);

	if (!pairs)
		return -ENOMEM;
	if (to->n)
		memcpy(pairs, to->pairs, to->n * sizeof(*pairs));
	if (from->n)
		memcpy(pairs + to->n, from->pairs, from->n * sizeof(*pairs));
	to->pairs = pairs;
	to->n += from->n;
	return refuse_duplicates(to, l->errors);
}

static int append_items(struct load *l, struct config_node *to, const struct config_node *from)
{
	struct config_node **items = arena_new_array(l->arena, struct config_node *, (size_t) to->n + from->n);

	if (!items)
		return -ENOMEM;
	if (to->n)
		memcpy(items, to->items, to->n * sizeof(*items));
	if (from->n)
		memcpy(items + to->n, from->items, from->n * sizeof(*items));
	to->items = items;
	to->n += from->n;
	return 0;
}

/* What an included file says joins what is there. An alias may stand behind several keys, so what grows is
 * a copy of the node and never the node itself. */
static int merge(struct load *l, struct config_node *root, const struct config_node *from)
{
	for (unsigned i = 0; i < from->n; i++) {
		const struct config_pair *add = &from->pairs[i];
		struct config_pair *have = (struct config_pair *) config_get_pair(root, add->key);
		struct config_node single = { .kind = CONFIG_MAP, .n = 1, .pairs = &from->pairs[i] };
		struct config_node *grown;
		int r;

		if (!have || have->value->kind != add->value->kind ||
		    (add->value->kind != CONFIG_MAP && add->value->kind != CONFIG_LIST)) {
			r = append_pairs(l, root, &single); /* says it when it is there twice */
			if (r < 0)
				return r;
			continue;
		}
		grown = arena_new_type(l->arena, struct config_node);
		if (!grown)
			return -ENOMEM;
		*grown = *have->value;
		r = grown->kind == CONFIG_MAP ? append_pairs(l, grown, add->value) : append_items(l, grown, add->value);
		if (r < 0)
			return r;
		have->value = grown;
	}
	return 0;
}

static int load_file(struct load *l, const char *path, const struct config_mark *from, unsigned depth,
		     struct config_node **ret);

static int include_one(struct load *l, struct config_node *root, const struct config_node *name, unsigned depth)
{
	struct config_node *included;
	char *path;
	int r;

	if (name->kind != CONFIG_SCALAR) {
		config_error(l->errors, &name->mark, "include: expected the path of a file, found %s",
			     config_kind_name(name->kind));
		return 0;
	}
	if (depth >= CONFIG_INCLUDE_DEPTH_MAX || l->files >= CONFIG_FILES_MAX) {
		config_error(l->errors, &name->mark, "include: too many files (%u in all, %u deep); do they include each other?",
			     CONFIG_FILES_MAX, CONFIG_INCLUDE_DEPTH_MAX);
		return -EBADMSG;
	}
	path = config_resolve_path(l->arena, name->mark.file, name->text.data);
	if (!path)
		return -ENOMEM;
	r = load_file(l, path, &name->mark, depth + 1, &included);
	if (r == -EBADMSG)
		return l->files >= CONFIG_FILES_MAX ? r : 0; /* it is said; there may be more to say */
	return r < 0 ? r : merge(l, root, included);
}

static int include_all(struct load *l, struct config_node *root, unsigned depth)
{
	const struct config_node *include = config_get(root, "include");
	int r = 0;

	if (!include || include->kind == CONFIG_NULL)
		return 0;
	if (include->kind != CONFIG_LIST)
		return include_one(l, root, include, depth);
	for (unsigned i = 0; i < include->n && r >= 0; i++)
		r = include_one(l, root, include->items[i], depth);
	return r;
}

/* The keys of an included file without its own `include`, which has been followed. */
static void drop_include(struct config_node *root)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < root->n; i++)
		if (strcmp(root->pairs[i].key, "include") != 0)
			root->pairs[kept++] = root->pairs[i];
	root->n = kept;
}

static int load_file(struct load *l, const char *path, const struct config_mark *from, unsigned depth,
		     struct config_node **ret)
{
	_cleanup_(freep) char *text = NULL;
	struct config_mark whole = { path, 0, 0 };
	struct config_node *root;
	size_t len;
	int r;

	l->files++;
	r = file_read_all(l->world, path, CONFIG_FILE_MAX, &text, &len);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		config_error(l->errors, from ? from : &whole, "cannot read %s: %s", path,
			     r == -EFBIG ? "it is larger than 16 MiB" : strerrordesc_np(-r));
		return -EBADMSG;
	}
	r = parse_text(slice_new(text, len), path, l->arena, l->errors, &l->weight, &root);
	if (r < 0)
		return r;
	if (root->kind != CONFIG_MAP) {
		config_error(l->errors, &root->mark, "expected keys like \"hostname: mx1.example.org\", found %s",
			     config_kind_name(root->kind));
		return -EBADMSG;
	}
	r = include_all(l, root, depth);
	if (r < 0)
		return r;
	drop_include(root);
	*ret = root;
	return 0;
}

int config_tree_load(struct world *w, const char *path, struct arena *a, struct config_errors *errors,
		     struct config_node **ret)
{
	struct load l = { .world = w, .arena = a, .errors = errors };
	const char *name = arena_strdup(a, path);

	return name ? load_file(&l, name, NULL, 0, ret) : -ENOMEM;
}
