/* The sites that a loop owns, and their slots: the inside of queue/site.h.
 *
 * A site is open, or backs off, or is being probed. It backs off when a slot that never succeeded reports a
 * fault of the site: nothing goes there until the time is over, then one slot tries one delivery; when that
 * works, the site is open again, and when not, it backs off for longer. Jobs whose ladder has a later rung for
 * that kind of trouble don't wait for it: they go home at once ("escape"), but for one canary after the time. The
 * others are parked at home (parking.h) until the owner calls: for one of them, or when it works again, for all.
 * Of 50,000 sites that went down together only so many are probed in a second; a probe that finds its site working
 * does not count, so that all are back soon when the trouble was ours.
 *
 * Troubles that concern our path but not all of our mail (our address is blocked, TLS is not good enough, we are
 * too fast) only cool the site: jobs that can escape do, the others go on. */
#pragma once

#include "queue/home.h"
#include "queue/latency.h"
#include "queue/memory.h"
#include "queue/shape.h"
#include "queue/window.h"

enum site_mode { SITE_OPEN, SITE_BACKOFF, SITE_PROBING };

struct site {
	struct hash_node node;
	struct home *home;   /* the owner */
	struct path *path;   /* the newest */
	struct fair line;
	unsigned escapable;  /* jobs in the line that could escape from something */
	struct window window;
	struct latency latency;
	struct meter meter;  /* of what was taken */
	struct shape *shape; /* NULL: no limits but the window */
	enum site_mode mode;
	usec_t until;        /* end of the back-off */
	unsigned failures;   /* in a row, of the site as a whole */
	unsigned faults;     /* since the last success */
	enum reply_class trouble; /* the kind of the last failure */
	char *error;         /* in words */
	unsigned cool;       /* WHEN_...: what jobs escape from although the site is open */
	usec_t cool_until;   /* then a canary goes */
	unsigned cool_times; /* in a row */
	bool proven;         /* some server of it has answered for a message */
	bool canary;         /* one is out */
	bool sweeping;       /* jobs are still to be sent home */
	bool sorting;        /* and looked at, whether their mail is held */
	bool held;           /* by its key (held.h) */
	struct pickup *pickup; /* that serves it, and nobody else does; or NULL */
	bool parked;         /* some home may have mail for it in a lot */
	usec_t call_again;   /* what was called for a probe should have come by then */
	unsigned slots;      /* alive */
	unsigned starting;   /* of these, those that have not asked for work yet */
	unsigned good;       /* of these, those whose connection has worked */
	unsigned barren;     /* slots in a row that ended without taking anything */
	struct list idle;    /* slots that wait for work */
	unsigned n_idle;
	struct heap_node timer;
	struct link starved;
	struct link turn;    /* on home->turns */
	usec_t used;
};

struct slot {
	struct site *site;
	struct path *path;   /* as it was when the slot began */
	struct slot_info info;
	struct link all;     /* on home->slots */
	struct link idle;
	struct provider_state *provider; /* that counts it, or NULL */
	struct link provider_idle, home_idle;
	struct fiber *fiber;
	struct delivery *given;   /* by the site, while it was idle */
	struct delivery *current; /* in the courier's hands */
	bool asked, ending;
	bool searching;      /* slot_searches */
	unsigned deliveries, successes;
};

/* Carries a job from its home to the owner of its site. */
void owner_send(struct home *from, struct job *j);
/* Calls a job back: the owner returns it when it still stands in the line. In any case j->recalling becomes
 * false again at home (home_take_back is called when the job has come back before). */
void owner_recall(struct job *j);
/* What is due at the sites, some of it at a time. */
void owner_tick(struct home *h, usec_t t);
/* When the next site may be probed. */
usec_t owner_probe_time(const struct home *h);
/* No more work: idle slots end. */
void owner_stop(struct home *h);
void owner_cancel(struct home *h); /* the busy ones, too */
void owner_free_all(struct home *h);
/* An administrator wants it tried now. On the owner's loop. */
void owner_kick(struct home *h, const char *site);
/* A site that is picked up is here for as long as that lasts. On the loop of h. NULL: memory. */
struct site *owner_open_pickup(struct home *h, struct path *path, struct pickup *p);
void owner_close_pickup(struct site *s); /* its slot has ended; what is left goes home, and the site */
/* The administrator's orders about held sites have changed. */
void owner_look_at_held(struct home *h);
/* The troubles (WHEN_...) from which a job escapes that arrives now. */
unsigned site_escapes(const struct site *s, usec_t t);
/* What the site is doing, for people: "open", "backing off"... */
const char *site_state(const struct site *s, usec_t t);
struct site *owner_find(struct home *h, const char *key);

/* --- between site.c and probe.c --------------------------------------------------------------- */

/* Is one of the jobs under way that tell whether the trouble is over? */
bool site_is_being_tried(const struct site *s);
void site_set_timer(struct site *s, usec_t at);
struct site *owner_find_for_path(struct home *h, const struct path *p);
/* A site whose back-off is over stands in a row with all others of its loop. Is it its turn? */
bool site_take_turn(struct site *s, usec_t t);
/* The probe found its site working: it does not count. */
void owner_give_back_turn(struct home *h);
/* Time for a probe: somebody has to be there for it. */
void site_probe(struct site *s);
/* Asks for all messages that are parked for the site. False: memory; they come by themselves, but much later. */
bool site_call_all(struct site *s);
/* Of those whose loop has ended. No loop runs any more. */
void calls_free_all(struct queue *q);

/* --- between site.c and slot.c ---------------------------------------------------------------- */

#define PER_CONNECTION 100u

/* What one delivery told about the site. */
struct verdict {
	bool answered;        /* it works: something was said about the message or a recipient */
	bool fault;           /* it doesn't, for nobody */
	usec_t final_reply; /* how long it took; 0: not known, or of no interest */
	bool slows_sender;  /* only the mail of this sender's domain is too much */
	unsigned conditions;  /* WHEN_... that some reply fulfilled */
	enum reply_class class;
	const char *text;     /* of the last bad reply, or NULL */
	const char *host;
};
void site_judge(struct site *s, struct slot *slot, struct job *j, const struct verdict *v);
/* Starts or wakes slots as the window allows. */
void site_pump(struct site *s);
/* The next job in turn, or NULL. */
struct job *site_take(struct site *s);
bool site_allows(const struct site *s, const struct slot *slot); /* may this slot go on? */
/* A slot has ended: frees its place. */
void site_slot_ended(struct site *s, struct slot *slot);
int slot_start(struct site *s);
/* A slot for the fiber that asks for it; until slot_give_back. NULL: memory. */
struct slot *slot_lend(struct site *s);
void slot_give_back(struct slot *slot);
/* Makes the delivery of a job that was taken from the line; when that fails, the job goes home: NULL. */
struct delivery *slot_fill(struct site *s, struct job *j);
/* The next in the line that may go, as a delivery. NULL: there is none now. */
struct delivery *slot_take(struct site *s);
/* It does not wait for work any more: it is given some, or is to end. */
void slot_leave_idle(struct slot *slot);
/* The same, and it ends. */
void slot_end_idle(struct slot *slot);
/* Sends a job home from the owner's side, always by post. why may be NULL. */
void job_return(struct job *j, enum job_result result, enum reply_class class, const char *why);
