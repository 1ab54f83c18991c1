/* When does it go? The queue takes durable messages, routes their recipients, gives them to sites, records what
 * became of them, tries again, and tells senders what they must know.
 *
 * A message has a home: the loop on which it was submitted (after a recovery: by its id). There its state
 * lives: per recipient the rung of its ladder, attempts, next time, last reply. What is to be delivered is
 * posted to the owners of the sites; outcomes come back to the home, which notes them in the spool, moves a
 * recipient to its next rung, schedules a retry, or gives up and bounces. When no recipient is left, the
 * message is removed from the spool. What waits for later, or for a site that is down (parking.h), rests at its
 * home in some 250 bytes: without a job, and with its envelope in the spool alone (message.h).
 *
 * Three promises: a recipient leaves the queue only delivered, bounced or by an administrator's word; an outcome
 * is noted before anything depends on it; a site that is down costs one probe, not one attempt per message. */
#pragma once

#include "queue/shaping.h"
#include "queue/signer.h"
#include "queue/site.h"
#include "queue/suppression.h"

/* Who takes turns in the line of a site. */
enum queue_turns {
	TURNS_SENDER,        /* each reverse-path */
	TURNS_SENDER_DOMAIN,
	TURNS_USER,          /* who logged in; who did not, as with TURNS_SENDER */
	TURNS_HEADER,        /* the value of a header field (tenant_header); without it as with TURNS_SENDER */
};

struct queue_config {
	const char *hostname;      /* in DSNs */
	const char *postmaster;    /* sender shown in DSNs: MAILER-DAEMON@hostname when NULL */
	const usec_t *retry;       /* the last one repeats; NULL: 5m 15m 30m 1h 2h 4h */
	unsigned n_retry;
	const usec_t *greylist;    /* the same for those that are greylisted; NULL: 5m 5m 10m 15m 30m, or sooner */
	unsigned n_greylist;
	usec_t expire;             /* 0: 5 days */
	usec_t warn;               /* delay DSN after this; 0: 4 h; DEADLINE_NEVER: none */
	unsigned site_connections; /* the widest window of a site; 0: 20 */
	unsigned site_initial;     /* window at the beginning; 0: 5 */
	unsigned connections;      /* outgoing, of all sites together; 0: 2000 */
	unsigned probes;           /* of sites that are down, all together in a second; 0: 100 */
	unsigned messages_per_connection; /* 0: 100; for LMTP and maildir without effect */
	unsigned recipients_per_transaction; /* 0: 100 */
	int turns;                 /* enum queue_turns */
	const char *tenant_header; /* with TURNS_HEADER; the router's configuration names it as well */
	bool notify_doubtful;      /* also those whose address was forged, as SPF or DMARC says, are told of failures and delays */
	uint64_t bounce_size;      /* largest original that a DSN quotes whole; 0: 50 KiB */
	struct signer signer;      /* of what we write ourselves; sign NULL: it goes unsigned */
	const char *reply_classes; /* file of the user with further rules, or NULL */
	const char *learned;       /* file for what is learned of receivers (memory.h); NULL: it ends with the process */
	const char *held;          /* file for the sites that are held (held.h); NULL: a restart lets their mail go */
	struct shaping_config shaping; /* limits of providers and sites; those of the large ones are known without it */
	struct suppression_config suppression;
};

struct queue;
/* Loads nothing yet. loops: the home and owner loops. Everything given must outlive the queue. */
int queue_new(struct world *w, const struct log *log, const struct event_sink *events, const struct queue_config *config,
	      struct router *router, struct courier *courier, struct loop *const *loops, unsigned n_loops, struct queue **ret);
/* For spool_open's found(): takes over a recovered message; it is scheduled when the queue is started. */
int queue_recover(struct queue *q, const struct spool_found *m);
/* After spool_open: from now on messages move. */
int queue_start(struct queue *q, struct spool *spool);
/* A reload in two steps, of which the second can't fail: the rules of the new configuration are read, and used. */
struct queue_rules;
int queue_prepare(struct queue *q, const struct queue_config *config, struct queue_rules **ret, char **ret_why);
void queue_adopt(struct queue *q, const struct queue_config *config, struct queue_rules *rules);
/* After the router has adopted other routes: rounds begin again, and what waits for a relay or a source that has gone is routed
 * anew. Doesn't wait. */
void queue_reroute(struct queue *q);
void queue_rules_free(struct queue_rules *rules);
DEFINE_FREEP(struct queue_rules, queue_rules_free)
/* No new attempts; waits until what is under way has ended or the deadline has passed, then cancels the rest.
 * The outcomes are noted. From a fiber, or in the real world from outside of loops. 0, or -ETIMEDOUT when something
 * was cut off. */
int queue_stop(struct queue *q, usec_t deadline);
void queue_free(struct queue *q);
DEFINE_FREEP(struct queue, queue_free)
struct spool *queue_spool(struct queue *q);
/* The recipients that were refused for good, and the rules for them as they are now. */
struct suppression *queue_suppression(struct queue *q, const struct suppression_config **ret_config);
msgid_t queue_new_id(struct queue *q); /* on a loop of the queue */

/* Commits a message and takes it over: returns 0 when it is durable and on its way; -errno when it is not taken
 * (see spool_writer_commit). Emits EVENT_RECEIVED. The writer is freed in any case; the envelope is copied. From a fiber of one of
 * the queue's loops. */
int queue_submit(struct queue *q, struct spool_writer *w, const struct envelope *e);
/* For a message that we write ourselves, before it is submitted: appends the fields that go in front of it (DKIM-Signature), none
 * when nobody signs for its author. message: whole, its lines end with CRLF. From a fiber. -errno: it can't be signed now, and
 * nothing was appended. */
int queue_sign(struct queue *q, struct slice message, struct buffer *out);

/* --- looking and steering, for admin: from a fiber of any loop; they visit every home --------- */

enum recipient_status { RECIPIENT_WAITING, RECIPIENT_ACTIVE, RECIPIENT_HELD, RECIPIENT_DONE };
struct queue_filter {
	const char *sender, *recipient, *site; /* patterns with * and ?, or NULL */
	msgid_t id;                            /* MSGID_NONE: any */
	usec_t older_than;                     /* 0: any age */
	enum reply_class class;                /* of the last reply; CLASS_NONE: any */
	bool held_only;
	unsigned limit;                        /* at most so many messages; 0: all */
};
struct queue_row_recipient {
	const char *address, *site, *hop, *last_reply, *waits_for; /* may be NULL but for address */
	enum recipient_status status;
	enum reply_class class;
	unsigned attempts, rung;
	wall_t next;   /* 0: now or unknown */
};
struct queue_row {
	msgid_t id;
	wall_t arrival;
	wall_t release;     /* its sender wants it held until then (RFC 4865); 0: it isn't held */
	const char *asks;   /* what it asks for beside being delivered, for people, or NULL (envelope_asks) */
	uint64_t size;
	const char *sender;
	unsigned n_recipients;
	const struct queue_row_recipient *recipients;
};
/* Calls each() for a copy of every message that matches, on the caller's loop. A non-zero return ends it. */
int queue_list(struct queue *q, const struct queue_filter *f, int (*each)(const struct queue_row *row, void *context), void *context);

struct queue_summary {
	uint64_t messages, recipients, bytes, active, held, deferred, sites;
	wall_t oldest; /* arrival of the oldest; 0: none */
};
int queue_summarize(struct queue *q, struct queue_summary *ret);

enum queue_action { QUEUE_RETRY, QUEUE_HOLD, QUEUE_RELEASE, QUEUE_BOUNCE, QUEUE_REMOVE };
/* Does it to all that match; the number of messages. */
int queue_act(struct queue *q, enum queue_action action, const struct queue_filter *f, unsigned *ret_messages);

/* Holds what waits for the sites that a pattern names, and what comes for them later, until the same pattern is released; kept
 * over a restart. From a fiber. -EINVAL: that can't be a pattern; -EEXIST: it is held already; -ENOENT: it isn't; -ENOSPC: too
 * many; -EBUSY: another order is being carried out; or why the file can't be written: nothing has changed then. */
int queue_hold_site(struct queue *q, const char *pattern);
int queue_release_site(struct queue *q, const char *pattern);
bool queue_site_is_held(struct queue *q, const char *key, struct slice domain);
/* The patterns, in the arena. -ENOMEM. */
int queue_held_sites(struct queue *q, struct arena *a, const char *const **ret, unsigned *ret_n);

struct site_row {
	const char *key, *state, *last_error; /* state for people: "open", "backing off", "idle" */
	unsigned window, connections, waiting;
	unsigned window_most;         /* the limit of the window */
	const char *provider;         /* whose limits hold, or NULL */
	struct rate rate;             /* its limit; count 0: none */
	usec_t interval;              /* learned: between two messages; 0: none */
	usec_t usual;                 /* time to a final reply; 0: not known */
	wall_t next;
};
int queue_sites(struct queue *q, int (*each)(const struct site_row *row, void *context), void *context);

struct queue_counters {
	uint64_t submitted, delivered, deferred, failed, bounced;
};
void queue_counters(struct queue *q, struct queue_counters *ret);
