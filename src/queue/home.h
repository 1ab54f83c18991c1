/* A home: the part of the queue that lives on one loop.
 *
 * It has the messages that were submitted there, with the heap of their due times, the cache of destinations,
 * and the sites that its loop owns. Everything here belongs to the loop's thread; others post to it. One fiber
 * of its own, the keeper, sleeps until the next message or site is due.
 *
 * How a message moves is one function, home_settle: whatever happened (submitted, an outcome, its time has
 * come, an order), it looks at the whole state and does what is to be done: expires, warns, calls back, sends
 * what waits on its way, notes the state in the spool, has notifications written, and removes the message when
 * nothing is left. What it needs for that it has in memory, but for the envelope of a message that has rested: the
 * keeper, which may wait for the disk, reads it back before it settles such a one, and when somebody else wants to,
 * the message becomes due and the keeper does it. */
#pragma once

#include <pthread.h>

#include "queue/classify.h"
#include "queue/destination.h"
#include "queue/job.h"
#include "queue/parking.h"
#include "queue/promise.h"
#include "queue/queue.h"
#include "queue/retry.h"

#define HOMES_MAX 16u      /* ids have four bits for their maker */
#define SPARE_ARENAS 64u
#define PER_TRANSACTION 100u

struct home {
	struct queue *queue;
	struct loop *loop;
	unsigned index;
	struct id_source ids;

	/* messages */
	struct list messages; /* struct entry, the oldest first */
	struct pool singles;  /* the memory of those with one recipient */
	struct heap due;
	unsigned committing;  /* messages that will need a place in the heap */
	struct list reports;  /* messages that owe notifications */
	unsigned reporters;   /* workers that write them */
	struct list unnoted;  /* large messages whose note waits a moment */
	usec_t note_at;
	struct arena *scratch; /* for one settling */
	struct hash names;    /* domains of senders and recipients (name.h) */
	struct hash replies;  /* last replies (recipient.h) */
	struct hash promises; /* of the few messages that have one (promise.h) */

	/* messages whose site does not work (parking.h) */
	struct hash lots;
	struct list called;   /* lots whose site wants mail */

	/* destinations */
	struct hash destinations;
	struct list unresolved; /* wait for a resolver */
	unsigned resolvers;
	usec_t sweep_at;
	uint64_t batch; /* number of the last settling that sent something */

	/* sites and their slots (owner.h) */
	struct hash sites;
	struct heap site_timers;
	struct list starved; /* sites that wait for the home to have room for one more connection */
	struct list providers; /* those with limits whose sites it owns (shape.h) */
	struct list turns;   /* sites whose back-off is over, but too many are probed at the moment */
	usec_t probes_paid;  /* the probes so far use up their rate until then */
	struct list slots;   /* all that are alive */
	struct hash memories;        /* of sites that are forgotten otherwise (memory.h) */
	struct list memories_by_use;
	usec_t save_at;              /* they are written then; of the first home */
	unsigned savers;             /* fibers that do it */
	struct buffer learned;       /* collected for the last writing */
	unsigned n_learned;
	struct list idle;    /* those that wait for work, the longest waiting first */
	unsigned n_slots, n_idle, n_sites, n_taken;

	/* the keeper */
	struct fiber *keeper;
	usec_t keeper_until; /* it sleeps until then; 0: it is awake */
	bool started, stopping;
	struct cond quiet;          /* something ended while stopping */
	struct fiber_group helpers; /* resolvers and reporters */

	struct arena *spare[SPARE_ARENAS];
	unsigned n_spare;

	uint64_t n_messages, n_recipients, bytes, held, deferred; /* now */
	struct queue_counters counters; /* read from other threads: written by COUNT only */
};

/* Rules that are prepared, or were in force before. */
struct queue_rules {
	struct queue_rules *next;
	struct classifier *classifier;
};

struct queue {
	struct world *world;
	pthread_mutex_t calls_lock; /* around the list alone */
	struct list calls;          /* from owners of sites to homes, under way (probe.c) */
	const struct log *log;
	const struct event_sink *events;
	struct router *router;
	struct courier *courier;
	struct spool *spool;
	_Atomic(const struct queue_config *) config;
	_Atomic(struct classifier *) classifier;
	struct suppression *suppression;
	struct held *held;
	struct pickups *pickups;
	struct queue_rules *old_rules; /* somebody may be reading them: freed at the end */
	struct hash_key key;
	uint32_t learned_sum; /* CRC-32C of the file of memory.h; 0: there is none */
	unsigned n_homes;
	struct home *homes;
	unsigned n_started;
	msgid_t highest; /* of what was recovered */
};

#define COUNT(home, what) __atomic_fetch_add(&(home)->counters.what, 1, __ATOMIC_RELAXED)

static inline const struct queue_config *queue_configuration(struct queue *q)
{
	return atomic_load_explicit(&q->config, memory_order_acquire);
}
static inline struct classifier *queue_classifier(struct queue *q)
{
	return atomic_load_explicit(&q->classifier, memory_order_acquire);
}
struct retry_schedule queue_schedule(const struct queue_config *c);
/* The home of the loop that runs this; NULL: it is none of ours. */
struct home *queue_home_here(struct queue *q);
/* The first half of queue_submit: afterwards the message is in the books of this loop's home, and must be settled. */
int queue_commit(struct queue *q, struct spool_writer *w, const struct envelope *e, struct message **ret);
/* What must be added to monotonic time to have calendar time. */
int64_t queue_wall_offset(struct queue *q);

/* --- home.c ----------------------------------------------------------------------------------- */

int home_init(struct home *h, struct queue *q, struct loop *loop, unsigned index);
void home_done(struct home *h);
/* Runs on the loop from the start of the queue to its end. */
void home_keeper(void *home);
/* Something is due at this time: the keeper wakes up by then. */
void home_due(struct home *h, usec_t at);

/* Puts a durable message into the home's books; there is room in the heap (home->committing). */
void home_add(struct home *h, struct message *m);
/* See above. envelope: the message's, when the caller has it unpacked, or NULL. The message may be gone afterwards. */
void home_settle(struct home *h, struct message *m, const struct envelope *envelope);
/* Reads the envelope back from the spool when it isn't in memory. Waits: the caller counts as one of its users. */
int home_load(struct home *h, struct message *m);
/* The same, and settles it. On the keeper. */
void home_load_and_settle(struct home *h, struct message *m);
/* The keeper settles it as soon as it can. */
void home_settle_soon(struct home *h, struct message *m);
/* What was said about a recipient last. */
void home_set_last(struct home *h, struct recipient *r, const struct outcome *o);
/* When there is something to do for it: now or earlier when it is overdue. */
usec_t home_due_time(const struct home *h, const struct message *m, usec_t t);
void home_set_state(struct home *h, struct message *m, unsigned recipient, enum recipient_state state);
/* Its state differs from what is on disk: noted at the end of the settling. */
static inline void home_changed(struct message *m) { m->flags |= MESSAGE_DIRTY; }

void home_write_notes(struct home *h); /* those that wait */

struct arena *home_arena(struct home *h); /* from the spare ones; NULL: memory */
void home_arena_put(struct home *h, struct arena *a);

/* --- view: a message's envelope, unpacked when it is needed ----------------------------------- */

struct view {
	struct home *home;
	struct message *message;
	usec_t now;
	const struct envelope *envelope; /* NULL until somebody asked */
	struct envelope unpacked;
};
const struct envelope *view_envelope(struct view *v); /* NULL: no memory, or it can't be read */

/* --- schedule.c ------------------------------------------------------------------------------- */

/* Sends all recipients that wait, and whose time has come, on their way. */
void home_schedule(struct view *v);
/* The ladder of a recipient. -EINVAL: the address can't be read, -ENOMEM. */
int home_ladder(struct view *v, unsigned recipient, struct ladder *ret, struct address *ret_to);
/* The time since arrival in which a recipient with this ladder is to be delivered; 0: none was given. */
usec_t home_deadline(const struct view *v, const struct ladder *l);
/* Emits the event of a job whose site was not known when it was made. */
void home_tell_routed(struct home *h, struct job *j);
/* Calls back what stands in lines. */
void home_recall(struct home *h, struct message *m);

/* --- outcome handling (outcomes.c) ------------------------------------------------------------ */

/* A job has come home, on the home's loop; it is freed or kept until its recall has come back, too. */
void home_take_back(struct home *h, struct job *j);
/* Applies one outcome to a posted recipient. hop: by which it went, or NULL. */
void home_apply(struct view *v, unsigned recipient, const struct outcome *o, const struct hop *hop);
/* For the trace: it moves to another rung. */
void home_tell_stepped(struct view *v, unsigned recipient, const struct ladder *l, unsigned next, const char *because,
		       const char *reason);
/* Gives a recipient up: what was said last stands in it already. False: not now, there is no memory to see whether the
 * sender wants to be told; it waits a moment. */
bool home_give_up(struct view *v, unsigned recipient, const char *reason);
/* Is the sender told of this (NOTIFY_FAILURE or NOTIFY_DELAY)? notify: of the recipient. */
bool home_may_tell(const struct home *h, const struct envelope *e, unsigned notify, unsigned what);
/* It stays until somebody releases it. */
void home_hold(struct view *v, unsigned recipient, const char *reason);
/* The recipient is done without a word to anybody. */
void home_drop(struct view *v, unsigned recipient, const char *reason);

/* --- bounce.c --------------------------------------------------------------------------------- */

/* Has the notifications written that the message owes. */
void home_report(struct home *h, struct message *m);

/* --- visit.c ---------------------------------------------------------------------------------- */

/* Calls fn(h, context) on the loop of h and returns when it has run. From a fiber of any loop. */
void home_visit(struct home *h, void (*fn)(struct home *h, void *context), void *context);
/* Can the message fit, as far as can be said without its envelope? The site is compared with what is known of its
 * recipients' sites and with their domains. */
bool home_may_match(const struct home *h, const struct message *m, const struct queue_filter *f, usec_t t);
/* The envelope for a visitor: a copy of what is in memory, or the id with which it is read back afterwards, in the
 * fiber of whoever asks. */
struct rested {
	msgid_t id;
	struct slice packed; /* data NULL: in the spool */
	bool ask_site;       /* whether the site fits is seen from the envelope alone */
};
int rested_copy(const struct message *m, const struct queue_filter *f, struct arena *a, struct rested *ret); /* -ENOMEM */
/* May wait. -ENOENT: the message has gone meanwhile; -EBADMSG, -EIO, -ENOMEM. */
int rested_envelope(struct queue *q, const struct rested *s, struct arena *a, struct envelope *ret);
/* The rest of the question, for one of which home_may_match holds. */
bool rested_fits(const struct rested *s, const struct queue_filter *f, const struct envelope *e);
/* The job that has this recipient, or NULL. */
struct job *home_job_of(const struct message *m, unsigned recipient);
