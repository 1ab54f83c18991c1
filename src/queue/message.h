/* A message in the queue: the state that lives in memory from the commit until nothing is left of it.
 *
 * It belongs to its home's loop; others hold it only through a job, and read of it only what never changes
 * (id, sender, the packed envelope). It is kept small, because a million of them may wait: the envelope stays
 * packed and is unpacked when somebody needs it. */
#pragma once

#include "base/heap.h"
#include "base/list.h"
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
};

struct job;

/* What stands in a home's list of all messages: messages, and the bookmarks of those who read it. */
struct entry {
	struct link link;
	msgid_t id; /* MSGID_NONE: a bookmark */
};

struct message {
	struct entry entry;
	struct heap_node due; /* when something is to be done */
	struct link work;     /* on one of the two lists named above */
	int64_t arrived;      /* in monotonic time: negative when it is older than the clock */
	uint64_t size;
	uint64_t sender;      /* hash of the reverse-path, for fairness */
	char *packed;         /* the envelope */
	uint32_t packed_len;
	uint32_t n_recipients;
	uint32_t open;        /* recipients that are not done */
	uint32_t delayed_ms;  /* the next rung of some ladder that opens by delay, since arrival; 0: none */
	struct job *jobs;     /* that are out */
	uint32_t flags;
	struct recipient recipients[];
};

/* Takes packed over (on failure, too). -ENOMEM. */
int message_new(msgid_t id, unsigned n_recipients, char *packed, size_t packed_len, struct message **ret);
void message_free(struct message *m); /* it is in no list and has no jobs */
DEFINE_FREEP(struct message, message_free)
static inline usec_t message_age(const struct message *m, usec_t t)
{
	int64_t age = (int64_t) t - m->arrived;

	return age > 0 ? (usec_t) age : 0;
}
/* Does anything still hold it in the queue? */
bool message_is_over(const struct message *m);
/* Some recipient owes a notification. */
bool message_owes(const struct message *m);
/* The time of which `after` has passed since arrival, as monotonic time (0 when it is before the clock began). */
usec_t message_time(const struct message *m, usec_t after);
