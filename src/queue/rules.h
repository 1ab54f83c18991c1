/* The rules of the reply classifier as they stand in memory, and their reader (libyaml). Private to
 * classify.c and rules.c. */
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "queue/classify.h"
#include "queue/provider.h"

#define RULE_PATTERNS 8

struct range {
	uint16_t from, to;
};
struct enhanced_pattern {
	struct range part[3];
};
struct rule_file {
	struct rule_file *next;
	char *name; /* as it was given */
};
struct rule {
	struct rule *next;
	char *name;
	const char *file; /* where it stands */
	unsigned line;
	const struct provider *provider; /* NULL: any */
	unsigned n_codes, n_enhanced;
	struct range codes[RULE_PATTERNS]; /* none: any */
	struct enhanced_pattern enhanced[RULE_PATTERNS];
	unsigned stages;  /* bits 1 << enum stage; 0: any */
	pcre2_code *text; /* NULL: any */
	enum reply_class class;
	enum fault fault; /* FAULT_NONE: that of the class */
	enum limit_key key;
	enum treat treat;
};
struct ruleset {
	struct rule_file *files;
	struct provider *providers, **last_provider; /* in the order in which they are asked */
	struct rule *first, **last; /* in the order of the files */
	unsigned n;
};

void ruleset_init(struct ruleset *s);
void ruleset_done(struct ruleset *s);
/* A further provider without endings. NULL: memory. */
struct provider *ruleset_add_provider(struct ruleset *s, struct slice name);
int provider_add_suffix(struct provider *p, struct slice suffix); /* -ENOMEM */
/* The next file's rules and providers go in front of all that were read before; its own keep their order. */
void ruleset_go_to_front(struct ruleset *s);
/* Adds the rules of one file. -EINVAL with *ret_why, -ENOMEM. */
int ruleset_read(struct ruleset *s, const char *file, struct slice text, char **ret_why);
