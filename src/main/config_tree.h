/* A configuration file as a tree: lists, maps and scalars, each with the place where it was written.
 *
 * libyaml gives events; here they become nodes that live in one arena. Nothing is interpreted yet: that is
 * the business of config_schema.h. What is wrong is collected with its file:line:column, so that one run
 * tells all of it. Files named under `include:` at the top are read, too, and their keys join those of the
 * file that names them: maps and lists of the same name grow together, anything else given twice is an
 * error.
 *
 * The input may be hostile or broken: depth, size, number of files and what aliases expand to are bounded. */
#pragma once

#include "base/arena.h"
#include "main/config_errors.h"
#include "world/world.h"

#define CONFIG_FILE_MAX (16u << 20)  /* bytes of one file */
#define CONFIG_NODES_MAX 1000000u    /* nodes of all files, aliases counted as often as they are used */
#define CONFIG_DEPTH_MAX 32u         /* of nesting */
#define CONFIG_FILES_MAX 64u         /* included in all */
#define CONFIG_INCLUDE_DEPTH_MAX 8u

enum config_kind { CONFIG_NULL, CONFIG_SCALAR, CONFIG_LIST, CONFIG_MAP };

struct config_node;
struct config_pair {
	const char *key;
	struct config_mark mark; /* of the key */
	struct config_node *value;
};
struct config_node {
	enum config_kind kind;
	struct config_mark mark;
	struct slice text; /* CONFIG_SCALAR; terminated */
	unsigned n;
	struct config_node **items; /* CONFIG_LIST */
	struct config_pair *pairs;  /* CONFIG_MAP */
	unsigned weight;            /* nodes in it, itself included */
};

/* "a scalar", "a list"... for messages. */
const char *config_kind_name(enum config_kind kind);
/* The value of a key, or NULL. node may be NULL and of any kind. */
const struct config_node *config_get(const struct config_node *node, const char *key);
const struct config_pair *config_get_pair(const struct config_node *node, const char *key);

/* One document; file names it in the marks and must live as long as the tree. An empty document is an empty
 * map. 0 (errors may have grown all the same: a key given twice), -EBADMSG when it is not YAML or breaks a
 * limit (said in errors), -ENOMEM. */
int config_tree_parse(struct slice text, const char *file, struct arena *a, struct config_errors *errors,
		      struct config_node **ret);
/* A file and what it includes (paths relative to the including file). The root is a map. As above; -EBADMSG
 * also when the first file can't be read. */
int config_tree_load(struct world *w, const char *path, struct arena *a, struct config_errors *errors,
		     struct config_node **ret);
/* A path relative to the file in which it was written. In the arena, or NULL. */
char *config_resolve_path(struct arena *a, const char *file, const char *path);
