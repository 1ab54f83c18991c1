/* A message in the queue: the state that lives in memory from the commit until nothing is left of it.
 *
 * It belongs to its home's loop; others hold it only through a job, and read of it only what doesn't change as
 * long as a job is out (id, sender, the packed envelope).
 *
 * It is kept small, because a million of them may wait, most of them for hours. So the envelope is in memory while
 * a job of the message is out, and as long as somebody is at it; when the last one has come home it is forgotten,
 * and whoever needs it next reads it from the spool (home_load). What is asked of many messages at once has its
 * place here: age, size, the sender's hash, the domains, the marks of the local parts (marks.h). */
#pragma once

#include "base/heap.h"
#include "base/list.h"
#include "base/pool.h"
#include "queue/marks.h"
#include "queue/recipient.h"
#include "spool/spool.h"

enum message_flags {
	MESSAGE_NULL_SENDER = 1,    /* nobody to notify */
	MESSAGE_WANTS_SUCCESS = 2,  /* some recipient has NOTIFY=SUCCESS */
	MESSAGE_WARNED = 4,         /* no recipient is left to warn about */
	MESSAGE_DIRTY = 8,          /* its state differs from the note in the spool */
	MESSAGE_WORKING = 16,       /* a worker is at it: it must not go away */
	MESSAGE_REPORT_LATER = 32,  /* writing a notification failed; again when it is due */
	MESSAGE_HOLD = 64,          /* orders of an administrator, for what is under way */
	MESSAGE_RETURN = 128,
	MESSAGE_REMOVE = 256,
	MESSAGE_UNNOTED = 512,      /* on the home's list of those whose note waits a moment */
	MESSAGE_REPORTING = 1024,   /* on the home's list of those that owe a notification */
	MESSAGE_RECOVERED = 2048,   /* its ladders were not looked at yet */
	MESSAGE_STRANGE = 4096,     /* its envelope can't be read: kept, never tried */
	MESSAGE_TIMED = 8192,       /* it is to be delivered by some time (promise.h) */
};

struct job;
struct lot;

/* What stands in a home's list of all messages: messages, and the bookmarks of those who read it. */
struct entry {
	struct link link;
	msgid_t id; /* MSGID_NONE: a bookmark */
};

struct message {
	struct entry entry;
	struct heap_node due; /* when something is to be done */
	struct link work;     /* on one of the two lists named above, or in its lot */
	int64_t arrived;      /* in monotonic time: negative when it is older than the clock. One that its sender wants
			       * to be held arrives when that is over (envelope_begin) */
	uint32_t sender;      /* hash of the reverse-path, for fairness and for filters */
	struct name *sender_domain; /* NULL: not known */
	uint64_t sender_marks; /* what a filter can know of the local part (marks.h) */
	uint64_t marks;        /* the same of all recipients */
	char *packed;         /* the envelope, see above; NULL: in the spool */
	struct job *jobs;     /* that are out */
	struct lot *lot;      /* where it is parked, or NULL */
	uint32_t size;        /* of the content; a message has at most 1 GiB */
	uint32_t packed_len;
	uint32_t n_recipients;
	uint32_t open;        /* recipients that are not done */
	uint32_t delayed_ms;  /* the next rung of some ladder that opens by delay, since arrival; 0: none */
	uint16_t flags;
	uint16_t users;       /* who wait for the disk with it in their hands: it must not go away */
	struct recipient recipients[];
};
_Static_assert(sizeof(struct message) <= 152, "with one recipient it has 192 bytes in its pool");

#define MESSAGE_SINGLE (sizeof(struct message) + sizeof(struct recipient))

/* singles: where those with one recipient live, a pool of MESSAGE_SINGLE; all others come from malloc. -ENOMEM. */
int message_new(struct pool *singles, msgid_t id, unsigned n_recipients, struct message **ret);
/* Gives it its envelope; takes packed over. */
void message_keep_envelope(struct message *m, char *packed, size_t len);
void message_forget_envelope(struct message *m);
void message_free(struct message *m); /* it is in no list and has no jobs */
DEFINE_FREEP(struct message, message_free)
static inline usec_t message_age(const struct message *m, usec_t t)
{
	int64_t age = (int64_t) t - m->arrived;

	return age > 0 ? (usec_t) age : 0;
}
/* Does anything still hold it in the queue? */
bool message_is_over(const struct message *m);
/* Nobody needs its envelope at the moment. */
static inline bool message_rests(const struct message *m)
{
	return !m->jobs && m->users == 0 && !(m->flags & MESSAGE_WORKING);
}
/* Some recipient owes a notification. */
bool message_owes(const struct message *m);
/* The time of which `after` has passed since arrival, as monotonic time (0 when it is before the clock began). */
usec_t message_time(const struct message *m, usec_t after);
