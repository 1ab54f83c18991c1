/* A fiber is a function with a stack of its own that may wait in the middle.
 *
 * Its life: fiber_spawn puts it on the ready list of the current loop; the loop switches to it; it
 * runs until it waits (in a stream, a file, a condition, a sleep) and the loop goes on with others;
 * when what it waited for happened, or its deadline passed, or somebody cancelled it, it is ready
 * again and the waiting call returns. When its function returns, the stack goes back to the pool.
 *
 * A fiber never moves to another thread. It is never dropped either: cancelling makes its present and
 * all later waits return -ECANCELED, and it unwinds through its own clean-up. So between two waits
 * there is no concurrency within one loop, and state that belongs to one loop needs no lock.
 *
 * Every function here but loop_post, loop_spawn and completion_done is for the loop's own thread. */
#pragma once

#include "base/list.h"
#include "world/world.h"

struct fiber;
struct loop;

/* Runs fn(arg) in a new fiber of the current loop. name: static text for the log and the debugger.
 * The fiber is detached: nobody need join it. ret may be NULL; a fiber handle is valid until its
 * function has returned. -ENOMEM when no stack can be had, -EAGAIN at the limit of fibers. */
int fiber_spawn(const char *name, void (*fn)(void *arg), void *arg, struct fiber **ret);
/* The same on any loop, from any thread. The spawn itself happens there; -ENOMEM from the posting only. While no stack
 * can be had there, the fiber waits for one: it is never dropped. */
int loop_spawn(struct loop *loop, const char *name, void (*fn)(void *arg), void *arg);

struct fiber *fiber_self(void); /* NULL outside of a fiber */
struct loop *loop_current(void); /* NULL on a thread without a loop */
struct world *world_current(void);
const char *fiber_name(const struct fiber *f);
usec_t now(void); /* monotonic time of the current loop's world */

/* All waits below return 0, -ETIMEDOUT at the deadline, or -ECANCELED. */
int fiber_sleep_until(usec_t deadline); /* 0 when the time has come */
int fiber_yield(void);                  /* let the others run; for long loops */

/* The building block: park until fiber_wake. `what` says for the log what it waits for. Spurious
 * wake-ups do not happen, but check your condition anyway when several may wake you. */
int fiber_wait(const char *what, usec_t deadline);
void fiber_wake(struct fiber *f); /* nothing when it doesn't wait; safe to call twice */
/* Waits while being cancelled, too: for what must finish (a buffer in the kernel's hands). */
void fiber_wait_uncancellable(const char *what);

void fiber_cancel(struct fiber *f);
bool fiber_cancelled(void); /* the current one */

/* A condition on one loop: waiting, waking the longest waiter, waking all. Zero-initialise with
 * cond_init. The caller re-checks what it waited for. */
struct cond {
	struct list waiters;
};
void cond_init(struct cond *c);
int cond_wait(struct cond *c, const char *what, usec_t deadline);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* A group of fibers that end together: leaving the scope cancels and joins them. */
struct fiber_group {
	struct list members;
	struct cond empty;
	unsigned count;
};
void fiber_group_init(struct fiber_group *g);
int fiber_group_spawn(struct fiber_group *g, const char *name, void (*fn)(void *), void *arg);
int fiber_group_wait(struct fiber_group *g, usec_t deadline); /* until all have ended */
void fiber_group_cancel(struct fiber_group *g);               /* cancels all, does not wait */
void fiber_group_done(struct fiber_group *g);                 /* cancels all and waits until they ended */

/* Work for another loop. The node is the caller's and must live until run() was called; run() is
 * called on the target loop outside of any fiber and must not wait (it may wake or spawn fibers).
 * Order from one thread is kept. One post into an empty mailbox costs a wake-up of the loop, the
 * following ones nothing. */
struct post {
	struct post *next;
	void (*run)(struct post *p);
};
void loop_post(struct loop *loop, struct post *p);

/* One result from another thread or loop, awaited by one fiber. */
struct completion {
	struct post post;
	struct loop *loop;
	struct fiber *waiter;
	bool done;
	int result;
};
void completion_init(struct completion *c); /* on the loop that will wait */
void completion_done(struct completion *c, int result); /* from anywhere, once */
int completion_wait(struct completion *c); /* waits for as long as it takes, returns result */
bool completion_is_done(const struct completion *c); /* on the loop that waits */

/* Linux only (-ENOSYS in a simulation): waits until fd can be read (FD_READ) or written. For
 * libraries that bring a descriptor of their own. */
#define FD_READ 1u
#define FD_WRITE 2u
int fiber_wait_fd(int fd, unsigned what, usec_t deadline);
