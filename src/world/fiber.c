/* The scheduler: what happens between two waits. The same for the real and the simulated world. */
#include "world/fiber.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory_check.h"
#include "world/loop.h"
#include "world/stack.h"

#ifndef WITH_VALGRIND
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) (void) (id)
#endif

#define MAX_FIBERS_DEFAULT 100000
#define SLOW_SLICE (500 * USEC_MS) /* a fiber that holds its thread for longer is named in the log */
#define FREE_BUFFERS_MAX 256
#define BIRTH_RETRY (10 * USEC_MS)

/* The one thread-local of the program: which loop this thread runs. Read through functions that are never
 * inlined; a fiber never changes its thread, so the answer holds across its waits. */
static _Thread_local struct loop *current_loop;

_noinline_ struct loop *loop_current(void)
{
	return current_loop;
}

_noinline_ void loop_set_current(struct loop *l)
{
	current_loop = l;
}

struct fiber *fiber_self(void)
{
	struct loop *l = loop_current();

	return l ? l->running : NULL;
}

struct world *world_current(void)
{
	struct loop *l = loop_current();

	return l ? l->world : NULL;
}

const char *fiber_name(const struct fiber *f)
{
	return f->name;
}

usec_t now(void)
{
	struct world *w = world_current();

	assert(w);
	return w->ops->now(w);
}

/* --- life and death ------------------------------------------------------------------------------ */

static void fiber_main(void *arg)
{
	struct fiber *f = arg;
	struct loop *l = f->loop;

	f->fn(f->arg);
	f->state = FIBER_ENDED;
	context_switch(&f->context, &l->scheduler, true);
}

static int fiber_spawn_on(struct loop *l, const char *name, void (*fn)(void *), void *arg, struct fiber **ret)
{
	unsigned alive = atomic_load_explicit(&l->fiber_count, memory_order_relaxed);
	struct fiber *f;
	void *stack;
	size_t size;
	int r;

	if (alive >= l->max_fibers)
		return -EAGAIN;
	/* Room for its deadline now, so that no wait of it can fail for want of memory. */
	r = heap_reserve(&l->timers, alive + 1 > l->timers.len ? alive + 1 - l->timers.len : 1);
	if (r < 0)
		return r;
	stack = stack_get(l->stacks);
	if (!stack)
		return -ENOMEM;

	/* The struct lives at the top of its own stack: one page serves both. */
	size = (stack_pool_size(l->stacks) - sizeof(struct fiber)) & ~(size_t) 63;
	f = (struct fiber *) ((char *) stack + size);
	memset(f, 0, sizeof(*f));
	f->magic = FIBER_MAGIC;
	f->loop = l;
	f->name = name;
	f->fn = fn;
	f->arg = arg;
	f->stack = stack;
	f->stack_size = size;
	heap_node_init(&f->timer);
	f->valgrind_id = VALGRIND_STACK_REGISTER(stack, (char *) stack + size);
	context_init(&f->context, stack, size, fiber_main, f);

	f->state = FIBER_READY;
	list_append(&l->ready, &f->ready);
	list_append(&l->fibers, &f->all);
	atomic_store_explicit(&l->fiber_count, alive + 1, memory_order_relaxed);
	if (atomic_load_explicit(&l->stopping, memory_order_relaxed))
		f->cancelled = true;
	if (ret)
		*ret = f;
	return 0;
}

int fiber_spawn(const char *name, void (*fn)(void *), void *arg, struct fiber **ret)
{
	struct loop *l = loop_current();

	assert(l);
	return fiber_spawn_on(l, name, fn, arg, ret);
}

static void fiber_bury(struct fiber *f)
{
	struct loop *l = f->loop;

	if (f->group) {
		link_remove(&f->group_link);
		if (--f->group->count == 0)
			cond_broadcast(&f->group->empty);
	}
	link_remove(&f->all);
	atomic_fetch_sub_explicit(&l->fiber_count, 1, memory_order_relaxed);
	context_done(&f->context);
	VALGRIND_STACK_DEREGISTER(f->valgrind_id);
	f->magic = 0;
	stack_put(l->stacks, f->stack);
}

struct spawn_request {
	struct post post;
	struct loop *loop;
	const char *name;
	void (*fn)(void *arg);
	void *arg;
};

/* Somebody may wait for what the fiber does, and nobody would learn that it never was: so it is born as soon as
 * there is a stack for it. */
static int be_born(struct spawn_request *q)
{
	struct loop *l = q->loop;
	int r = fiber_spawn_on(l, q->name, q->fn, q->arg, NULL);

	if (r < 0) {
		q->post.next = l->unborn;
		l->unborn = &q->post;
		l->unborn_at = deadline_after(l->slice_start, BIRTH_RETRY);
		atomic_fetch_add_explicit(&l->fiber_count, 1, memory_order_relaxed);
		return r;
	}
	free(q);
	return 0;
}

static void spawn_posted(struct post *p)
{
	struct spawn_request *q = container_of(p, struct spawn_request, post);
	int r = be_born(q);

	if (r < 0)
		LOG(q->loop->world->log, LOG_ERROR, "cannot start a fiber; it is tried again", F_STR("fiber", q->name), F_ERRNO("error", r));
}

static bool bear_unborn(struct loop *l)
{
	struct post *p = l->unborn;

	if (!p || l->slice_start < l->unborn_at)
		return false;
	l->unborn = NULL;
	while (p) {
		struct post *next = p->next;

		atomic_fetch_sub_explicit(&l->fiber_count, 1, memory_order_relaxed);
		(void) be_born(container_of(p, struct spawn_request, post));
		p = next;
	}
	return true;
}

int loop_spawn(struct loop *loop, const char *name, void (*fn)(void *), void *arg)
{
	struct spawn_request *q = malloc(sizeof(*q));

	if (!q)
		return -ENOMEM;
	*q = (struct spawn_request) { .post.run = spawn_posted, .loop = loop, .name = name, .fn = fn, .arg = arg };
	loop_post(loop, &q->post);
	return 0;
}

/* --- waiting --------------------------------------------------------------------------------------- */

static int park(struct fiber *f, const char *what, usec_t deadline)
{
	struct loop *l = f->loop;

	f->state = FIBER_WAITING;
	f->waits_for = what;
	f->since = l->slice_start;
	if (deadline != DEADLINE_NEVER)
		(void) heap_insert(&l->timers, &f->timer, deadline); /* reserved at the spawn */
	context_switch(&f->context, &l->scheduler, false);
	f->waits_for = NULL;
	return f->wake_result;
}

int fiber_wait(const char *what, usec_t deadline)
{
	struct fiber *f = fiber_self();

	assert(f && f->state == FIBER_RUNNING);
	if (f->cancelled && !f->uncancellable)
		return -ECANCELED;
	return park(f, what, deadline);
}

void fiber_wait_uncancellable(const char *what)
{
	struct fiber *f = fiber_self();
	bool before;

	assert(f && f->state == FIBER_RUNNING);
	before = f->uncancellable;
	f->uncancellable = true;
	(void) park(f, what, DEADLINE_NEVER);
	f->uncancellable = before;
}

static void make_ready(struct fiber *f, int result)
{
	CHECK_MAGIC(f, FIBER_MAGIC);
	if (f->state != FIBER_WAITING)
		return;
	heap_remove(&f->loop->timers, &f->timer);
	f->wake_result = result;
	f->state = FIBER_READY;
	list_append(&f->loop->ready, &f->ready);
}

void fiber_wake(struct fiber *f)
{
	make_ready(f, 0);
}

void fiber_cancel(struct fiber *f)
{
	CHECK_MAGIC(f, FIBER_MAGIC);
	f->cancelled = true;
	if (!f->uncancellable)
		make_ready(f, -ECANCELED);
}

bool fiber_cancelled(void)
{
	struct fiber *f = fiber_self();

	return f && f->cancelled;
}

int fiber_sleep_until(usec_t deadline)
{
	int r = fiber_wait("sleep", deadline);

	return r == -ETIMEDOUT ? 0 : r;
}

int fiber_yield(void)
{
	struct fiber *f = fiber_self();

	assert(f);
	if (f->cancelled)
		return -ECANCELED;
	f->state = FIBER_READY;
	f->wake_result = 0;
	list_append(&f->loop->ready, &f->ready);
	context_switch(&f->context, &f->loop->scheduler, false);
	return f->cancelled ? -ECANCELED : 0;
}

/* --- conditions and groups --------------------------------------------------------------------------- */

struct cond_waiter {
	struct link link;
	struct fiber *fiber;
};

void cond_init(struct cond *c)
{
	list_init(&c->waiters);
}

int cond_wait(struct cond *c, const char *what, usec_t deadline)
{
	struct cond_waiter waiter = { .fiber = fiber_self() };
	int r;

	list_append(&c->waiters, &waiter.link);
	r = fiber_wait(what, deadline);
	link_remove(&waiter.link);
	return r;
}

void cond_signal(struct cond *c)
{
	struct link *k = list_pop(&c->waiters);

	if (k)
		fiber_wake(container_of(k, struct cond_waiter, link)->fiber);
}

void cond_broadcast(struct cond *c)
{
	while (!list_empty(&c->waiters))
		cond_signal(c);
}

void fiber_group_init(struct fiber_group *g)
{
	list_init(&g->members);
	cond_init(&g->empty);
	g->count = 0;
}

int fiber_group_spawn(struct fiber_group *g, const char *name, void (*fn)(void *), void *arg)
{
	struct fiber *f;
	int r = fiber_spawn(name, fn, arg, &f);

	if (r < 0)
		return r;
	f->group = g;
	list_append(&g->members, &f->group_link);
	g->count++;
	return 0;
}

int fiber_group_wait(struct fiber_group *g, usec_t deadline)
{
	while (g->count > 0) {
		int r = cond_wait(&g->empty, "group", deadline);

		if (r < 0)
			return r;
	}
	return 0;
}

void fiber_group_cancel(struct fiber_group *g)
{
	for (LIST_EACH(&g->members, k))
		fiber_cancel(container_of(k, struct fiber, group_link));
}

void fiber_group_done(struct fiber_group *g)
{
	struct fiber *f = fiber_self();
	bool before = f->uncancellable;

	fiber_group_cancel(g);
	f->uncancellable = true;
	(void) fiber_group_wait(g, DEADLINE_NEVER);
	f->uncancellable = before;
}

/* --- between loops -------------------------------------------------------------------------------------- */

void loop_post(struct loop *l, struct post *p)
{
	struct post *head = atomic_load_explicit(&l->mailbox, memory_order_relaxed);

	/* What was posted may be handled, and the loop be stopped and freed, before loop_wake has returned:
	 * loop_free waits for who is still in here. */
	atomic_fetch_add(&l->posters, 1);
	do {
		p->next = head;
	} while (!atomic_compare_exchange_weak(&l->mailbox, &head, p));
	if (!head)
		l->world->ops->loop_wake(l);
	atomic_fetch_sub(&l->posters, 1);
}

static void completion_posted(struct post *p)
{
	struct completion *c = container_of(p, struct completion, post);

	c->done = true;
	if (c->waiter)
		fiber_wake(c->waiter);
}

void completion_init(struct completion *c)
{
	*c = (struct completion) { .post.run = completion_posted, .loop = loop_current() };
}

void completion_done(struct completion *c, int result)
{
	c->result = result;
	if (c->loop == loop_current())
		completion_posted(&c->post);
	else
		loop_post(c->loop, &c->post);
}

int completion_wait(struct completion *c)
{
	c->waiter = fiber_self();
	while (!c->done)
		fiber_wait_uncancellable("completion");
	return c->result;
}

bool completion_is_done(const struct completion *c)
{
	return c->done;
}

/* --- the loop itself ------------------------------------------------------------------------------------- */

int loop_new(struct world *w, const char *name, unsigned flags, unsigned max_fibers, struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->magic = LOOP_MAGIC;
	l->world = w;
	l->name = name;
	l->flags = flags;
	l->max_fibers = max_fibers ? max_fibers : MAX_FIBERS_DEFAULT;
	l->index = w->loop_count;
	list_init(&l->ready);
	list_init(&l->fibers);
	context_init_thread(&l->scheduler);
	r = stack_pool_new(w->stack_size, &l->stacks);
	if (r >= 0)
		r = w->ops->loop_init(l);
	if (r < 0) {
		stack_pool_free(l->stacks);
		free(l);
		return r;
	}
	w->loop_count++;
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	void *b;

	CHECK_MAGIC(l, LOOP_MAGIC);
	assert(list_empty(&l->fibers));
	while (atomic_load(&l->posters) > 0)
		sched_yield(); /* a few instructions away from being done */
	l->world->ops->loop_done(l);
	while ((b = l->free_buffers)) {
		l->free_buffers = *(void **) b;
		memory_open(b, STREAM_BUFFER);
		free(b);
	}
	stack_pool_free(l->stacks);
	heap_done(&l->timers);
	l->magic = 0;
	free(l);
}

struct world *loop_world(const struct loop *l)
{
	return l->world;
}

unsigned loop_index(const struct loop *l)
{
	return l->index;
}

int loop_start(struct loop *l)
{
	return l->world->ops->loop_start(l);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stopping, true);
	l->world->ops->loop_stop(l);
}

unsigned loop_fiber_count(const struct loop *l)
{
	return atomic_load_explicit(&l->fiber_count, memory_order_relaxed);
}

void loop_cancel_all(struct loop *l)
{
	for (LIST_EACH(&l->fibers, k))
		fiber_cancel(container_of(k, struct fiber, all));
}

static bool take_mail(struct loop *l)
{
	struct post *newest, *oldest = NULL;

	if (!atomic_load_explicit(&l->mailbox, memory_order_relaxed))
		return false;
	newest = atomic_exchange(&l->mailbox, NULL);
	while (newest) {
		struct post *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct post *p = oldest;

		oldest = p->next;
		p->run(p);
	}
	return true;
}

static void expire_deadlines(struct loop *l, usec_t looked)
{
	struct heap_node *n;

	while ((n = heap_first(&l->timers)) && n->key <= looked)
		make_ready(container_of(n, struct fiber, timer), -ETIMEDOUT);
}

static void resume(struct loop *l, struct fiber *f)
{
	usec_t end;

	CHECK_MAGIC(f, FIBER_MAGIC);
	f->state = FIBER_RUNNING;
	l->running = f;
	context_switch(&l->scheduler, &f->context, false);
	l->running = NULL;

	end = l->world->ops->now(l->world);
	if (unlikely(end - l->slice_start > SLOW_SLICE) && !(l->flags & LOOP_BLOCKING) && !l->world->simulated)
		LOG(l->world->log, LOG_WARNING, "a fiber held its thread for too long", F_STR("fiber", f->name),
		    F_USEC("held", end - l->slice_start));
	l->slice_start = end;
	if (f->state == FIBER_ENDED)
		fiber_bury(f);
}

bool loop_step(struct loop *l, usec_t looked)
{
	struct loop *before = loop_current();
	struct list batch;
	struct link *k;
	bool worked;

	loop_set_current(l);
	l->slice_start = l->world->ops->now(l->world);
	worked = take_mail(l);
	worked |= bear_unborn(l);
	expire_deadlines(l, looked);
	list_init(&batch);
	list_splice(&batch, &l->ready);
	while ((k = list_pop(&batch))) {
		resume(l, container_of(k, struct fiber, ready));
		worked = true;
	}
	loop_set_current(before);
	return worked;
}

usec_t loop_next_deadline(const struct loop *l)
{
	struct heap_node *n = heap_first(&l->timers);
	usec_t next = l->unborn ? l->unborn_at : DEADLINE_NEVER;

	if (!list_empty(&l->ready) || atomic_load_explicit(&l->mailbox, memory_order_relaxed))
		return 0;
	return n ? MIN(n->key, next) : next;
}

/* --- buffers ------------------------------------------------------------------------------------------------ */

char *loop_buffer_get(struct loop *l)
{
	void *b = l->free_buffers;

	if (!b)
		return malloc(STREAM_BUFFER);
	l->free_buffers = *(void **) b;
	l->free_buffer_count--;
	memory_open(b, STREAM_BUFFER);
	return b;
}

void loop_buffer_put(struct loop *l, char *buffer)
{
	if (!buffer)
		return;
	if (l->free_buffer_count >= FREE_BUFFERS_MAX) {
		free(buffer);
		return;
	}
	*(void **) buffer = l->free_buffers;
	l->free_buffers = buffer;
	l->free_buffer_count++;
	memory_close(buffer + sizeof(void *), STREAM_BUFFER - sizeof(void *));
}
