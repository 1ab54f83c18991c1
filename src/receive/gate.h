/* The gate: may this client, this sender, this recipient, this message come in?
 *
 * Two parts answer, in this order at each stage: the rules of the administrator (`gate`, gate_rules.h), and the
 * ready-made checks (`checks` and `limits`, gate_checks.c). What keeps this from being an open relay (access.c) is
 * neither of them and comes afterwards: the gate can only take away.
 *
 * A visit is one client on its way through. The session (gate_session.c) and `yizhan explain` make one, fill in what
 * they know and call the stages in their order; both run the same code. A stage may wait for the DNS, the greylist or a
 * mailbox server, always with a deadline and never holding the loop; it returns 1 (go on), 0 (refused: the answer says
 * how) or -errno.
 *
 * An `accept` rule at connect or helo holds for the session, at mail for the message, at rcpt for that recipient. What a
 * rule sets beside that (hold, headers, limits) lasts for the session or the message; what it set at helo until the next
 * EHLO. */
#pragma once

#include "receive/country.h"
#include "receive/dnslist.h"
#include "receive/gate_rules.h"
#include "receive/greylist.h"
#include "receive/identity_config.h"
#include "receive/rate.h"
#include "receive/recipient_check.h"
#include "receive/replies.h"
#include "route/route.h"

/* When lists, reverse names and EHLO names refuse; before that they only look. */
enum gate_when { GATE_WHEN_CONNECT, GATE_WHEN_MAIL, GATE_WHEN_RCPT };
enum gate_policy { GATE_POLICY_OFF, GATE_POLICY_DEFER, GATE_POLICY_REJECT };
enum gate_reverse_wanted { GATE_REVERSE_ANY, GATE_REVERSE_PRESENT, GATE_REVERSE_MATCHING };
enum gate_sender_domain { GATE_SENDER_ANY, GATE_SENDER_NULL_MX, GATE_SENDER_EXISTS };

struct gate_checks {
	const struct list_config *lists;
	unsigned n_lists;
	unsigned lists_reject, lists_defer; /* scores from which on; 0: never */
	unsigned welcome;                   /* so far below 0 a score skips delays and greylist; 0: none does */
	int refuse_at;                      /* enum gate_when */
	const char *const *exempt;          /* recipients that lists, reverse and EHLO names do not refuse */
	unsigned n_exempt;
	usec_t dns_timeout;                 /* for all questions of a stage */
	bool dns_failure_defers;            /* temporary trouble is answered with 4xx where a check would refuse */
	usec_t greeting_delay;
	int reverse;                        /* enum gate_reverse_wanted */
	int reverse_action;                 /* enum gate_policy */
	unsigned helo;                      /* enum gate_helo_fault: what is refused */
	int sender_domain;                  /* enum gate_sender_domain */
	struct greylist_config greylist;
	struct recipient_check_config recipients;
	const char *country_file;
	const struct rate_rule *rates;
	unsigned n_rates;
	const struct concurrency_rule *concurrency;
	unsigned n_concurrency;
	unsigned rate_entries;
};
struct gate_config {
	struct gate_rules rules;
	struct gate_checks checks;
};

/* What lasts longer than a configuration. */
struct gate_shared {
	struct world *world;
	const struct log *log;
	struct resolver *resolver;
	struct router *router;
	struct verifier verifier;
	struct rates *rates;
	struct greylist *greylist;
	struct recipient_memory *recipients;
};
int gate_shared_init(struct gate_shared *s, struct world *w, const struct log *log, struct resolver *resolver, struct router *router,
		     const struct gate_config *config);
void gate_shared_done(struct gate_shared *s);

/* What is made of one configuration; shared by all loops. */
struct gate {
	const struct gate_config *config;
	struct gate_shared *shared;
	const char *hostname;
	struct lists *lists;
	struct country *country;
};
int gate_new(struct gate_shared *shared, const struct gate_config *config, const char *hostname, struct gate **ret, char **ret_why);
void gate_free(struct gate *g);
DEFINE_FREEP(struct gate, gate_free)

#define GATE_HEADERS_MAX 8u
#define GATE_PLACES_MAX 8u

/* What rules have set, for a session or for a message. */
struct gate_effects {
	bool accepted, discard;
	const char *hold;   /* the rule that holds the message, or NULL */
	unsigned recipients;
	uint64_t message_size;
	unsigned n_headers;
	const char *headers[GATE_HEADERS_MAX];
};

/* Why something was refused, and what to say. */
struct gate_answer {
	enum reply_id id;          /* REPLY_COUNT: custom */
	struct reply custom;
	const char *first, *second; /* %1 and %2; may be NULL */
	const char *by;            /* the rule or check that decided: "gate[2]", "checks.lists" */
	bool close;                /* nothing more is taken from this client */
};

/* For `yizhan explain`: everything that was looked at. */
struct gate_observer {
	void (*rule)(void *context, const struct gate_rule *rule, bool matched, const char *because);
	void (*check)(void *context, enum gate_stage stage, const char *name, const char *found);
	void *context;
};

/* A place that a message holds until its end; in the mail arena. */
struct gate_held {
	struct gate_held *next;
	const struct concurrency_rule *rule;
	const char *key;
	struct rate_place *place;
};

struct gate_visit {
	struct gate *gate;
	struct arena *arena;       /* of the session */
	struct arena *mail_arena;  /* of the message; NULL outside */
	struct gate_facts facts;
	struct gate_effects connect; /* as the first stage left them: each EHLO begins there again */
	struct gate_effects session, message;
	unsigned n_places;
	struct rate_place *places[GATE_PLACES_MAX];
	struct gate_held *held;    /* of the message */
	const struct identity_config *identity; /* the mail at hand is judged by it; NULL: it is not */
	const struct spf_result *spf; /* when GATE_NEEDS_SPF is known; NULL: it was not asked for */
	bool began;                /* gate_at_connect was called */
	bool places_of_user;       /* those by user are taken */
	bool look_only;            /* nothing is counted or remembered, no delay is waited for */
	usec_t delay;              /* that a tarpit wants, for the caller to wait */
	const struct gate_observer *observer;
};

/* Only what is known without the DNS is set in facts before; the rest is filled in here. */
void gate_visit_init(struct gate_visit *v, struct gate *g, struct arena *a);
void gate_visit_done(struct gate_visit *v); /* leaves what was taken */
/* The message is over, its arena goes: what was set and taken for it is forgotten. */
void gate_message_done(struct gate_visit *v);

int gate_at_connect(struct gate_visit *v, struct gate_answer *ret);
int gate_at_helo(struct gate_visit *v, struct gate_answer *ret);
int gate_at_mail(struct gate_visit *v, struct gate_answer *ret);  /* begins a message */
/* The recipient may come as far as access.c is concerned. *ret_discard: say yes, but forget it. */
int gate_at_rcpt(struct gate_visit *v, struct gate_answer *ret, bool *ret_discard);
int gate_at_data(struct gate_visit *v, struct gate_answer *ret);  /* the content is there, facts.size is its size */

/* Is there anything to do before MAIL? If not, a visit may begin there: the first two stages are then free. */
bool gate_acts_early(const struct gate *g);

/* The checks are for strangers: not for trusted clients, users, other listeners than mx, or who was accepted by a rule. */
bool gate_is_stranger(const struct gate_visit *v);
/* Is the client on a white list? (Only when the lists were asked.) */
bool gate_is_welcome(const struct gate_visit *v);
/* A message of this client was taken that has a valid signature of that domain: the greylist remembers it, if that is worth
 * while. True: it does. From a fiber. */
bool gate_remember_signer(struct gate_visit *v, const char *domain);
/* Gathers what is asked for and not known yet (enum gate_need). 0, -ECANCELED, -ENOMEM. */
int gate_gather(struct gate_visit *v, unsigned needs);
