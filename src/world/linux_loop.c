/* A loop's thread: run what is ready, then sleep in epoll until something happens.
 *
 * Descriptors are registered once, edge-triggered (listeners by level), for input; for output, too, when somebody must
 * wait for it: epoll would begin by saying that a new connection can be written to, which everybody knows. Events only
 * set flags in the watch and wake who waits. Events are all noted before any fiber runs, so a watch can't be freed between
 * its event and its handling. */
#include "world/linux_world.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/memory_check.h"

#define EVENTS_AT_ONCE 240 /* an event has 12 bytes on x86-64, 16 elsewhere: less than a page in all */
#define STEPS_BEFORE_POLL 16
#define CROWD 8 /* so many fibers begin one, half of them end it: a number that goes up and down costs no call each time */

int linux_loop_init(struct loop *l)
{
	struct linux_loop *b = calloc(1, sizeof(*b));
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
	int r;

	if (!b)
		return -ENOMEM;
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->epoll_fd < 0 || b->event_fd < 0 || epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->event_fd, &wake) < 0) {
		r = -errno;
		if (b->epoll_fd >= 0)
			(void) close(b->epoll_fd);
		if (b->event_fd >= 0)
			(void) close(b->event_fd);
		free(b);
		return r;
	}
	b->coarse = RUNNING_ON_VALGRIND != 0; /* it reports calls that it doesn't know */
	l->backend = b;
	return 0;
}

void linux_loop_done(struct loop *l)
{
	struct linux_loop *b = l->backend;

	assert(!b->running);
	(void) close(b->epoll_fd);
	(void) close(b->event_fd);
	free(b);
}

/* The counter of the event_fd is never read: edge-triggered, each write is an event of its own. */
void linux_loop_wake(struct loop *l)
{
	struct linux_loop *b = l->backend;
	uint64_t one = 1;

	if (atomic_exchange(&b->asleep, false)) {
		ssize_t n = write(b->event_fd, &one, sizeof(one));

		(void) n; /* EAGAIN only when the counter is full, and then it is readable */
	}
}

static void note_event(const struct linux_loop *b, const struct epoll_event *e)
{
	struct watch *w = e->data.ptr;

	if (!w)
		return; /* the wake-up */
	if (w->listens && !w->reader) { /* it would be said again and again */
		(void) epoll_ctl(b->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
		w->loop = NULL;
	}
	if (e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		w->hangup = true;
	if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		w->readable = true;
		if (w->reader)
			fiber_wake(w->reader);
	}
	if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		w->writable = true;
		if (w->writer)
			fiber_wake(w->writer);
	}
}

/* Waits for events, at most for so long (DEADLINE_NEVER: for ever). Where the kernel has no epoll_pwait2 (before 5.11), up
 * to a millisecond longer. */
static int poll_events(struct linux_loop *b, struct epoll_event *events, int max, usec_t time)
{
	if (time < USEC_SEC && time > 0 && !b->coarse) {
		struct timespec timeout = { .tv_nsec = (long) time * 1000 };
		int n = epoll_pwait2(b->epoll_fd, events, max, &timeout, NULL);

		if (n >= 0 || errno != ENOSYS)
			return n;
		b->coarse = true;
	}
	return epoll_wait(b->epoll_fd, events, max, time == DEADLINE_NEVER ? -1 : (int) ((time + 999) / 1000));
}

#define SLEEP_MAX (1000 * USEC_SEC)

static usec_t time_to_sleep(const struct loop *l, usec_t time)
{
	usec_t next = loop_next_deadline(l);

	if (next == DEADLINE_NEVER)
		return DEADLINE_NEVER;
	return next > time ? MIN(next - time, SLEEP_MAX) : 0;
}

/* How often epoll is asked in a row when it always has more than fits. It gives what became ready first, and no fiber
 * runs meanwhile: when twice as many events have come as there are fibers, all that had happened before has been seen.
 * Without this bound, and if we asked once only, deadlines would not come while a busy server has always more. */
static unsigned polls_max(const struct loop *l)
{
	return 2 + 2 * atomic_load_explicit(&l->fiber_count, memory_order_relaxed) / EVENTS_AT_ONCE;
}

/* Returns the time up to which everything that happened was noted. It is not later than what epoll has seen, also when
 * the process was stopped (epoll_wait then fails with EINTR) or its machine slept: a reply that had come by its
 * deadline is read, however long after. */
static usec_t sleep_until_something(struct loop *l, usec_t looked)
{
	struct linux_loop *b = l->backend;
	struct epoll_event events[EVENTS_AT_ONCE];
	unsigned left = polls_max(l);
	usec_t time, pause;
	int n;

	/* First say that we sleep, then look whether there is mail: whoever posts later sees the flag. */
	atomic_store(&b->asleep, true);
	time = l->world->ops->now(l->world);
	pause = time_to_sleep(l, time);
	n = poll_events(b, events, EVENTS_AT_ONCE, pause);
	atomic_store_explicit(&b->asleep, false, memory_order_relaxed);
	if (n < 0)
		return looked; /* asked again before any deadline counts */
	if (n == 0)
		return time + pause;
	b->came = (unsigned) n;
	for (;;) {
		for (int i = 0; i < n; i++)
			note_event(b, &events[i]);
		if (n < EVENTS_AT_ONCE || --left == 0)
			return time;
		n = poll_events(b, events, EVENTS_AT_ONCE, 0);
		if (n < 0)
			return looked;
	}
}

/* A loop with a crowd of fibers, when it is woken, takes its turn and does not push who woke it off the processor: on
 * a busy machine more events come together for each turn. With few fibers that would only make them wait, if other
 * programs use the processors, too. */
static void mind_the_crowd(struct loop *l)
{
	struct linux_loop *b = l->backend;
	bool crowd = atomic_load_explicit(&l->fiber_count, memory_order_relaxed) >= (b->crowd ? CROWD / 2 : CROWD);

	if (crowd == b->crowd)
		return;
	b->crowd = crowd;
	(void) sched_setscheduler(0, crowd ? SCHED_BATCH : SCHED_OTHER, &(struct sched_param) { .sched_priority = 0 });
}

static void *loop_thread(void *arg)
{
	struct loop *l = arg;
	bool cancelled = false;
	usec_t looked = 0;

	loop_set_current(l);
	for (;;) {
		/* Fibers that yield or wake each other must not starve the descriptors. */
		for (unsigned i = 0; i < STEPS_BEFORE_POLL && loop_step(l, looked) && loop_next_deadline(l) == 0; i++)
			;
		if (atomic_load(&l->stopping)) {
			if (!cancelled)
				loop_cancel_all(l);
			cancelled = true;
			if (list_empty(&l->fibers) && !l->unborn && !atomic_load(&l->mailbox))
				break;
		}
		mind_the_crowd(l);
		looked = sleep_until_something(l, looked);
	}
	loop_set_current(NULL);
	return NULL;
}

int linux_loop_start(struct loop *l)
{
	struct linux_loop *b = l->backend;
	sigset_t all, before;
	int r;

	/* Signals are for the main thread: a handler must not land on a fiber's stack. */
	(void) sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&b->thread, NULL, loop_thread, l);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	b->running = true;
	(void) pthread_setname_np(b->thread, l->name);
	return 0;
}

void linux_loop_stop(struct loop *l)
{
	struct linux_loop *b = l->backend;

	if (!b->running)
		return;
	atomic_store(&b->asleep, true); /* whatever it does: the next epoll_wait returns */
	linux_loop_wake(l);
	(void) pthread_join(b->thread, NULL);
	b->running = false;
}

/* Nothing is missed between a call that failed and this one: epoll looks at the descriptor when it takes it. */
static int watch_register(struct watch *w, unsigned what, struct loop *l)
{
	struct linux_loop *b = l->backend;
	struct epoll_event e = { .events = w->listens ? EPOLLIN : EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = w };

	if (what & WAIT_WRITE)
		e.events |= EPOLLOUT;
	if (epoll_ctl(b->epoll_fd, w->loop ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &e) < 0)
		return -errno;
	w->loop = l;
	w->output = what & WAIT_WRITE;
	return 0;
}

int watch_wait(struct watch *w, unsigned what, usec_t deadline)
{
	struct loop *l = loop_current();
	int r;

	if (!w->loop || (what & WAIT_WRITE && !w->output)) {
		r = watch_register(w, what, l);
		if (r < 0)
			return r;
	}
	assert(w->loop == l);
	if ((what & WAIT_READ && w->readable) || (what & WAIT_WRITE && w->writable))
		return 0;
	if (what & WAIT_READ) {
		assert(!w->reader);
		w->reader = fiber_self();
	}
	if (what & WAIT_WRITE) {
		assert(!w->writer);
		w->writer = fiber_self();
	}
	r = fiber_wait(what & WAIT_READ ? "input" : "output", deadline);
	if (what & WAIT_READ)
		w->reader = NULL;
	if (what & WAIT_WRITE)
		w->writer = NULL;
	return r;
}

/* The descriptor belongs to a library and is watched for this one wait only. */
int linux_wait_fd(struct loop *l, int fd, unsigned what, usec_t deadline)
{
	struct linux_loop *b = l->backend;
	struct watch w = { .fd = fd, .loop = l, .output = true };
	struct epoll_event e = { .data.ptr = &w };
	unsigned wanted = 0;
	int r;

	if (what & FD_READ) {
		wanted |= WAIT_READ;
		e.events |= EPOLLIN;
	}
	if (what & FD_WRITE) {
		wanted |= WAIT_WRITE;
		e.events |= EPOLLOUT;
	}
	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return -errno;
	r = watch_wait(&w, wanted, deadline);
	(void) epoll_ctl(b->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	return r;
}
