/* Conditions of the gate's rules: what may be matched, how it is written, and whether it holds.
 *
 * The keys stand in one table (gate_keys): each with the kind of its values, the stage from which on it is known,
 * and what must be asked for first. A condition is a key with one or several values, of which one has to match.
 * Both parsing and matching are pure functions. */
#pragma once

#include "receive/gate_facts.h"

enum gate_kind {
	GATE_KIND_CIDR,    /* "192.0.2.0/24", "::1" */
	GATE_KIND_PATTERN, /* text with * and ?; "none": there is nothing to compare */
	GATE_KIND_ADDRESS, /* as in routes: with an @ the whole address, without one the domain; "" is the null path */
	GATE_KIND_WORD,    /* one of the key's words */
	GATE_KIND_BOOL,
	GATE_KIND_RANGE,   /* "5", ">=5", "<10M", "3..7"; sizes have units */
	GATE_KIND_TIME,    /* "08:00-18:30", "22:00-06:00" */
	GATE_KIND_WEEKDAY, /* "Mon", "Mon-Fri", "Sat-Sun" */
};

struct gate_condition;
struct gate_key {
	const char *name;
	enum gate_kind kind;
	enum gate_stage stage;    /* where a rule that matches on it stands, unless it says otherwise */
	enum gate_stage earliest; /* it may stand here already */
	unsigned needs;           /* enum gate_need */
	const char *const *words; /* GATE_KIND_WORD */
	bool (*holds)(const struct gate_condition *c, const struct gate_facts *f);
	const char *doc;
};
extern const struct gate_key gate_keys[];
extern const size_t gate_n_keys;
const struct gate_key *gate_key_find(struct slice name); /* NULL: none */
/* "a pattern like *.example.org"..., for messages. */
const char *gate_kind_describe(const struct gate_key *key, char *out, size_t size);

struct gate_value {
	const char *text; /* as written, terminated */
	union {
		struct cidr cidr;
		bool yes;
		unsigned word;
		struct { int64_t least, most; };    /* both included; times in minutes, least > most: over midnight */
	};
};
struct gate_condition {
	const struct gate_key *key;
	unsigned n;
	struct gate_value *values;
};

/* One value as it was written. value->text must be set by the caller to a terminated copy that lives as long. 0 or
 * -EINVAL. */
int gate_value_parse(const struct gate_key *key, struct slice text, struct gate_value *value);
bool gate_condition_holds(const struct gate_condition *c, const struct gate_facts *f);
/* "client in 192.0.2.0/24, 2001:db8::/32", cut to fit. Returns out. */
const char *gate_condition_describe(const struct gate_condition *c, char *out, size_t size);
/* What the condition was compared with: "client is 192.0.2.1". Returns out. */
const char *gate_fact_describe(const struct gate_key *key, const struct gate_facts *f, char *out, size_t size);
