/* How sessions hand work to the committer and get its answers, at the price of one wake-up in each direction
 * for everything that came together.
 *
 * There: an item is pushed onto the inbox without a lock, then the waker is told; it posts to the committer's
 * loop only when the committer sleeps. What comes while it writes or syncs simply gathers. Back: the waiters of
 * a batch are chained by loop, each loop gets one post, and that wakes all of its fibers. */
#pragma once

#include <stdatomic.h>

#include "base/id.h"
#include "world/fiber.h"

enum item_kind {
	ITEM_CHUNK,   /* part of struct chunk */
	ITEM_COMMIT,  /* part of struct spool_writer */
	ITEM_NOTE,    /* part of struct state_item, like the following */
	ITEM_REMOVE,
	ITEM_REMOVES, /* from compaction */
	ITEM_SYNC,    /* no record: wait until what came before is durable */
};

/* One fiber that waits for one result. On its stack; it may be gone as soon as it was woken. */
struct waiter {
	struct post post;
	struct loop *loop;
	struct fiber *fiber;
	struct waiter *next;
	bool done;
	int result;
};
void waiter_init(struct waiter *w); /* in the fiber that will wait */
/* Not cancellable. what: for the log. */
int waiter_wait(struct waiter *w, const char *what);

#define WAITER_LOOPS 16
struct waiter_batch {
	unsigned count;
	struct {
		struct loop *loop;
		struct waiter *first, *last;
	} loops[WAITER_LOOPS];
};
void waiter_batch_add(struct waiter_batch *b, struct waiter *w, int result);
void waiter_batch_post(struct waiter_batch *b); /* and empties it */

struct item {
	struct item *next;
	enum item_kind kind;
	bool lazy;             /* nobody waits; may lie for a moment */
	bool patient;          /* a chunk for which nobody waits yet: may lie, too, but not be kept for later */
	msgid_t id;
	struct waiter *waiter; /* or NULL */
};
struct item_list {
	struct item *first, *last;
};
void item_list_append(struct item_list *l, struct item *i);
void item_list_splice(struct item_list *to, struct item_list *from);       /* from at the end of to */
void item_list_splice_front(struct item_list *to, struct item_list *from); /* from before to */
struct item *item_list_pop(struct item_list *l);

struct inbox {
	_Atomic(struct item *) newest;
};
/* first .. last are linked by next, in the order in which they are to be handled. */
void inbox_push(struct inbox *b, struct item *first);
bool inbox_empty(struct inbox *b);
void inbox_take(struct inbox *b, struct item_list *to); /* appends all, oldest first */

/* A fiber on another loop that sleeps until there is work. */
enum waker_state {
	WAKER_AWAKE,
	WAKER_ASLEEP, /* anything wakes it */
	WAKER_DOZING, /* it has lazy work and a deadline: only what is urgent wakes it */
	WAKER_POSTED, /* the post is under way */
};
struct waker {
	_Atomic(int) state;
	struct loop *loop;
	struct cond cond;
	struct post post;
};
void waker_init(struct waker *w, struct loop *loop);
/* After the work was made visible. From any thread. */
void waker_wake(struct waker *w, bool lazy);
/* In the fiber itself: sleeps until woken (0), the deadline (-ETIMEDOUT) or cancelled (-ECANCELED). `idle` is asked
 * once more after wakers can see that we sleep; when it says false the call returns 0 at once. */
int waker_sleep(struct waker *w, bool doze, bool (*idle)(void *context), void *context, const char *what,
		usec_t deadline);
