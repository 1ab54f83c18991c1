/* Every key that a configuration may have, in one table (config_keys.c): where it stands, what it takes,
 * what holds when it isn't given, and what it is for. The reader, the error messages with their suggestions,
 * the JSON Schema and `yizhan check --keys` all come from it.
 *
 * A path is the names from the top, joined by dots; "[]" stands for each item of a list and "{}" for each
 * name in a map whose names the user chooses: "limits.recipients", "listen[].role", "relays{}.login.user".
 * A section ("", "listen[]", "relays{}") is read by config_fill into one struct; the table knows the place
 * of each value in it. */
#pragma once

#include "main/config_tree.h"

enum config_type {
	CONFIG_TYPE_STRING,    /* const char * */
	CONFIG_TYPE_DOMAIN,    /* const char *: a host name in lower case, as A-labels */
	CONFIG_TYPE_PATH,      /* const char *: made absolute or relative to the file it stands in */
	CONFIG_TYPE_BOOL,      /* bool */
	CONFIG_TYPE_NOT,       /* bool that is the opposite of what is written */
	CONFIG_TYPE_UINT,      /* unsigned */
	CONFIG_TYPE_PORT,      /* uint16_t */
	CONFIG_TYPE_SIZE,      /* uint64_t bytes: 64K, 50M, 1G */
	CONFIG_TYPE_DURATION,  /* usec_t: 90s, 5m, 4h, 5d; with_never: "never" is DEADLINE_NEVER */
	CONFIG_TYPE_CHOICE,    /* int: the index in choices, whose order is that of an enum */
	CONFIG_TYPE_WORD,      /* const char *: one of choices */
	CONFIG_TYPE_STRINGS,   /* const char *const *, unsigned: a list, or a single value */
	CONFIG_TYPE_PATTERNS,  /* the same: address and domain patterns, no empty ones */
	CONFIG_TYPE_DURATIONS, /* usec_t *, unsigned */
	CONFIG_TYPE_CIDRS,     /* struct cidr *, unsigned */
	CONFIG_TYPE_IPS,       /* struct ip *, unsigned */
	CONFIG_TYPE_ENDPOINT,  /* struct endpoint */
	CONFIG_TYPE_ENDPOINTS, /* struct endpoint *, unsigned */
	CONFIG_TYPE_SECTION,   /* keys of their own; a single value goes to the one named in scalar_key */
	CONFIG_TYPE_LIST,      /* const struct config_node *: a list of sections, read by its own file */
	CONFIG_TYPE_NAMED,     /* const struct config_node *: sections by names that the user chooses */
	CONFIG_TYPE_NODE,      /* const struct config_node *: whatever its own file makes of it */
};

struct config_key {
	const char *path;
	enum config_type type;
	uint32_t offset;       /* of the value in the section's struct */
	uint32_t count_offset; /* of the number of values */
	const char *fallback;  /* as one would write it, values of a list separated by spaces; NULL: unset */
	const char *const *choices;
	uint64_t min, max;     /* of numbers; max 0: none */
	bool with_never, required;
	const char *scalar_key;
	const char *doc;
};

extern const struct config_key config_keys[];
extern const size_t config_n_keys;

struct config_reader {
	struct arena *arena;
	struct config_errors *errors;
};

/* Reads the keys of one section into base, and the fallbacks of those not given. What is wrong is added to the
 * errors and leaves the fallback in place. node may be NULL or CONFIG_NULL: nothing given. 0 or -ENOMEM. */
int config_fill(struct config_reader *reader, const char *section, const struct config_node *node, void *base);
/* One value into its place. 0, -EINVAL when it is wrong (said), -ENOMEM. */
int config_convert(struct config_reader *reader, const struct config_key *key, const struct config_node *node, void *base);
/* NULL when there is none. */
const struct config_key *config_key_find(const char *path);
/* Is it a direct child of the section? Then its own name, else NULL. */
const char *config_key_child(const struct config_key *key, const char *section);

/* The word among n that was probably meant, as `, did you mean "x"?`, or "". Returns out. */
const char *config_suggest(struct slice word, const char *const *candidates, size_t n, char out[static 128]);
/* "a duration like 5m", for messages and documentation. */
const char *config_type_describe(const struct config_key *key, char *out, size_t size);
/* "50M" and the like. -EINVAL, -ERANGE. */
int config_size_parse(struct slice text, uint64_t *ret);

/* The JSON Schema (draft 7) of the configuration, on the heap; NULL when memory is out. */
char *config_json_schema(void);
/* All keys with type, default and purpose as text for people, on the heap. */
char *config_keys_text(void);
