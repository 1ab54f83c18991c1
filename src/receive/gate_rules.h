/* The gate's rules: one ordered list, read once from the configuration, const afterwards.
 *
 * Each rule stands at one stage of the session. At a stage its rules are looked at in the order in which they were
 * written; one that matches acts, and an action that decides (accept, reject, defer, discard) ends the list for this
 * stage. The walk (gate_rules_next) is a pure function over the facts; when a rule needs a fact that nobody has
 * asked for yet, the walk says which and is taken up again where it stood. */
#pragma once

#include "receive/gate_match.h"
#include "smtp/reply.h"

enum gate_action {
	GATE_ACCEPT,     /* decides: no later rule, and none of the checks, is looked at */
	GATE_REJECT,     /* decides: 5xx */
	GATE_DEFER,      /* decides: 4xx */
	GATE_DISCARD,    /* decides: a 250 for what is thrown away */
	GATE_TARPIT,     /* the reply waits; the list goes on */
	GATE_HOLD,       /* the message is kept until an administrator releases it; the list goes on */
	GATE_ADD_HEADER, /* a field in front of the message; the list goes on */
	GATE_LIMIT,      /* other limits than the server's; the list goes on */
	GATE_CONTINUE,   /* nothing but a line in the log; the list goes on */
	GATE_ACTIONS,
};
extern const char *const gate_action_words[]; /* in the order of the enum; ends with NULL */
static inline bool gate_action_decides(enum gate_action a) { return a <= GATE_DISCARD; }

struct gate_rule {
	const char *name;       /* "gate[2]", or what the configuration calls it */
	enum gate_stage stage;
	enum gate_action action;
	unsigned n_match, n_unless;
	const struct gate_condition *match;  /* all of them hold, */
	const struct gate_condition *unless; /* and these do not all hold (n_unless 0: nothing stands against it) */
	const char *text;       /* of reject and defer; NULL: the text of the reply "gate_refused" or "gate_deferred" */
	int code;               /* of reject and defer */
	int enhanced[3];
	usec_t delay;           /* GATE_TARPIT */
	const char *header;     /* GATE_ADD_HEADER: "Name: value" */
	unsigned recipients;    /* GATE_LIMIT; 0: as it is */
	uint64_t message_size;
};
struct gate_rules {
	unsigned n;
	const struct gate_rule *rules;
};

/* The stage at which a rule with these conditions stands, when nothing else is said; and the first at which it may. */
enum gate_stage gate_conditions_stage(const struct gate_condition *c, unsigned n);
enum gate_stage gate_conditions_earliest(const struct gate_condition *c, unsigned n);

/* Why a rule did not match: the condition that does not hold (or, of `unless`, NULL). For explaining; may be NULL. */
struct gate_rule_watch {
	void (*looked)(void *context, const struct gate_rule *rule, bool matched, const struct gate_condition *because);
	void *context;
};

struct gate_walk {
	enum gate_stage stage;
	unsigned next;         /* the rule to look at next */
	unsigned needs;        /* after -EAGAIN: what to gather (enum gate_need) before going on */
	const struct gate_rule_watch *watch;
};
/* The next rule of this stage that matches: 1 with *ret (the walk then stands behind it), 0 when there is none, -EAGAIN
 * when walk->needs has to be gathered first. What was gathered in vain counts as known all the same. */
int gate_rules_next(const struct gate_rules *rules, struct gate_walk *walk, const struct gate_facts *facts,
		    const struct gate_rule **ret);

/* One line for people: "rcpt: reject when client in 192.0.2.0/24 and ... unless ...: text". Returns out. */
const char *gate_rule_describe(const struct gate_rule *rule, char *out, size_t size);
