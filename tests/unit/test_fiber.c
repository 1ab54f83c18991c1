/* Fibers, conditions, groups, cancelling, cross-loop work: in the real world, on two loops. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory_check.h"
#include "world/fiber.h"
#include "world/linux.h"

struct fixture {
	struct world *world;
	struct loop *a, *b;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(world_linux_new(NULL, &f->world), 0);
	assert_int_equal(loop_new(f->world, "a", 0, 0, &f->a), 0);
	assert_int_equal(loop_new(f->world, "b", 0, 0, &f->b), 0);
	assert_int_equal(loop_start(f->a), 0);
	assert_int_equal(loop_start(f->b), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->a);
	loop_stop(f->b);
	loop_free(f->a);
	loop_free(f->b);
	world_free(f->world);
	free(f);
	return 0;
}

/* Runs fn in a fiber of the loop and waits, from the test's own thread, until it has returned. */
struct call {
	void (*fn)(struct fixture *f);
	struct fixture *fixture;
	_Atomic int done;
};

static void call_main(void *arg)
{
	struct call *c = arg;

	c->fn(c->fixture);
	__atomic_store_n(&c->done, 1, __ATOMIC_SEQ_CST);
}

static void run(struct fixture *f, void (*fn)(struct fixture *f))
{
	struct call c = { .fn = fn, .fixture = f };
	struct timespec pause = { .tv_nsec = 200000 };

	assert_int_equal(loop_spawn(f->a, "test", call_main, &c), 0);
	for (unsigned i = 0; i < 100000 && !__atomic_load_n(&c.done, __ATOMIC_SEQ_CST); i++)
		nanosleep(&pause, NULL);
	assert_true(c.done);
}

static void sleeper(void *arg)
{
	unsigned *count = arg;

	if (fiber_sleep_until(now() + 2 * USEC_MS) == 0)
		(*count)++;
}

static void many_sleep(struct fixture *f)
{
	struct fiber_group g;
	unsigned count = 0;

	fiber_group_init(&g);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(fiber_group_spawn(&g, "sleeper", sleeper, &count), 0);
	assert_int_equal(fiber_group_wait(&g, now() + 10 * USEC_SEC), 0);
	assert_int_equal(count, 1000);
}

static void test_a_thousand_fibers_sleep_and_all_wake(void **state)
{
	run(*state, many_sleep);
}

struct waiter {
	struct cond *cond;
	usec_t deadline;
	int result;
};

static void wait_on_cond(void *arg)
{
	struct waiter *w = arg;

	w->result = cond_wait(w->cond, "test", w->deadline);
}

static void signal_wakes_one(struct fixture *f)
{
	struct cond c;
	struct waiter w[2];
	struct fiber_group g;

	cond_init(&c);
	fiber_group_init(&g);
	for (unsigned i = 0; i < 2; i++) {
		w[i] = (struct waiter) { .cond = &c, .deadline = now() + 20 * USEC_MS, .result = 1 };
		assert_int_equal(fiber_group_spawn(&g, "waiter", wait_on_cond, &w[i]), 0);
	}
	assert_int_equal(fiber_yield(), 0);
	cond_signal(&c);
	assert_int_equal(fiber_group_wait(&g, DEADLINE_NEVER), 0);
	assert_int_equal(w[0].result, 0);
	assert_int_equal(w[1].result, -ETIMEDOUT);
}

static void test_a_signal_wakes_the_longest_waiter_and_the_other_times_out(void **state)
{
	run(*state, signal_wakes_one);
}

static void cancel_unwinds(struct fixture *f)
{
	struct cond c;
	struct waiter w = { .cond = &c, .deadline = DEADLINE_NEVER, .result = 1 };
	struct fiber_group g;

	cond_init(&c);
	fiber_group_init(&g);
	assert_int_equal(fiber_group_spawn(&g, "waiter", wait_on_cond, &w), 0);
	assert_int_equal(fiber_yield(), 0);
	fiber_group_done(&g);
	assert_int_equal(w.result, -ECANCELED);
	assert_int_equal(g.count, 0);
	assert_true(list_empty(&c.waiters));
}

static void test_leaving_a_group_cancels_and_joins_its_fibers(void **state)
{
	run(*state, cancel_unwinds);
}

static void cancelled_stays_cancelled_main(void *arg)
{
	int *results = arg;

	results[0] = fiber_sleep_until(DEADLINE_NEVER);
	results[1] = fiber_sleep_until(now() + USEC_MS);
	results[2] = fiber_yield();
}

static void cancelled_stays_cancelled(struct fixture *f)
{
	int results[3] = { 1, 1, 1 };
	struct fiber_group g;

	fiber_group_init(&g);
	assert_int_equal(fiber_group_spawn(&g, "x", cancelled_stays_cancelled_main, results), 0);
	assert_int_equal(fiber_yield(), 0);
	fiber_group_done(&g);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(results[i], -ECANCELED);
}

static void test_all_later_waits_of_a_cancelled_fiber_fail_at_once(void **state)
{
	run(*state, cancelled_stays_cancelled);
}

#define GUESTS 8

/* A call that comes back when all the others have come, too: they can only do so beside each other. */
static int meet(void *arg)
{
	atomic_uint *present = arg;
	struct timespec pause = { .tv_nsec = 1000 * 1000 };

	atomic_fetch_add(present, 1);
	for (unsigned i = 0; i < 10000 && atomic_load(present) < GUESTS; i++)
		nanosleep(&pause, NULL);
	return atomic_load(present) == GUESTS ? 42 : -ETIMEDOUT;
}

struct guest {
	atomic_uint *present;
	int *sum;
};

static void offloader(void *arg)
{
	struct guest *g = arg;
	int r = world_offload(world_current(), meet, g->present); /* others add to the sum meanwhile */

	*g->sum += r;
}

static void offload_in_parallel(struct fixture *f)
{
	struct fiber_group g;
	atomic_uint present = 0;
	int sum = 0;
	struct guest guest = { .present = &present, .sum = &sum };

	fiber_group_init(&g);
	for (unsigned i = 0; i < GUESTS; i++)
		assert_int_equal(fiber_group_spawn(&g, "offloader", offloader, &guest), 0);
	assert_int_equal(fiber_group_wait(&g, DEADLINE_NEVER), 0);
	assert_int_equal(sum, GUESTS * 42);
}

static void test_blocking_calls_run_beside_each_other_on_the_pool(void **state)
{
	run(*state, offload_in_parallel);
}

#define PING_PONGS 20000

struct ping {
	struct completion done;
	unsigned left;
};

struct ball {
	struct post post;
	struct loop *a, *b;
	unsigned hits;
	struct completion *end;
};

static void hit(struct post *p)
{
	struct ball *ball = container_of(p, struct ball, post);

	if (++ball->hits == PING_PONGS)
		completion_done(ball->end, 7);
	else
		loop_post(loop_current() == ball->a ? ball->b : ball->a, &ball->post);
}

static void posts_arrive(struct fixture *f)
{
	struct completion end;
	struct ball ball = { .post.run = hit, .a = f->a, .b = f->b, .end = &end };

	completion_init(&end);
	loop_post(f->b, &ball.post);
	assert_int_equal(completion_wait(&end), 7);
	assert_int_equal(ball.hits, PING_PONGS);
}

static void test_posts_between_loops_are_never_lost(void **state)
{
	run(*state, posts_arrive);
}

static void forever(void *arg)
{
	bool *unwound = arg;

	while (fiber_sleep_until(DEADLINE_NEVER) >= 0)
		;
	*unwound = true;
}

static void test_stopping_a_loop_unwinds_its_fibers(void **state)
{
	struct fixture *f = *state;
	bool unwound = false;

	assert_int_equal(loop_spawn(f->b, "forever", forever, &unwound), 0);
	loop_stop(f->b);
	assert_true(unwound);
	assert_int_equal(loop_fiber_count(f->b), 0);
}

static void use_stack(unsigned depth)
{
	volatile char page[2048];

	page[0] = (char) depth;
	if (depth > 0)
		use_stack(depth - 1);
	page[2047] = page[0];
}

static void deep(struct fixture *f)
{
	use_stack(20); /* more than 40 KiB */
}

static void test_a_fiber_has_a_deep_stack(void **state)
{
	run(*state, deep);
	run(*state, deep);
}

/* Whether a memory checker would report a touch of this octet; -1 when none looks. */
static int is_closed(uintptr_t p)
{
#if defined(WITH_ASAN)
	return __asan_address_is_poisoned((void *) p);
#elif defined(WITH_VALGRIND)
	char bits;
	int answer = (int) VALGRIND_GET_VBITS((char *) p, &bits, 1);

	return answer == 0 ? -1 : answer == 3;
#else
	return -1;
#endif
}

static void leave_address(void *arg)
{
	volatile char mine = 1;

	*(uintptr_t *) arg = (uintptr_t) &mine;
}

static void stack_is_closed(struct fixture *f)
{
	struct fiber_group g;
	uintptr_t left = 0;

	fiber_group_init(&g);
	assert_int_equal(fiber_group_spawn(&g, "guest", leave_address, &left), 0);
	assert_int_equal(fiber_group_wait(&g, DEADLINE_NEVER), 0);
	assert_int_not_equal(left, 0);
	assert_int_not_equal(is_closed(left), 0);
	assert_int_equal(fiber_group_spawn(&g, "next", leave_address, &left), 0);
	assert_int_equal(fiber_group_wait(&g, DEADLINE_NEVER), 0);
}

static void test_memory_checkers_see_who_points_into_the_stack_of_an_ended_fiber(void **state)
{
	run(*state, stack_is_closed);
}

static void pause_ms(long ms)
{
	(void) nanosleep(&(struct timespec) { .tv_nsec = ms * 1000000 }, NULL);
}

/* Stops its parent, lets input come in time, and lets the parent go on when it is too late. */
static void stop_parent(int fd)
{
	pid_t parent = getppid();

	(void) kill(parent, SIGSTOP);
	pause_ms(50);
	if (write(fd, "x", 1) == 1)
		pause_ms(450);
	(void) kill(parent, SIGCONT);
	_exit(0);
}

static void wait_while_stopped(struct fixture *f)
{
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0)
		stop_parent(fds[1]);
	assert_int_equal(fiber_wait_fd(fds[0], FD_READ, now() + 300 * USEC_MS), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void) close(fds[0]);
	(void) close(fds[1]);
}

static void test_input_that_came_by_its_deadline_is_seen_by_a_process_that_was_stopped(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		run(*state, wait_while_stopped);
}

/* More descriptors that are always ready than the loop takes from epoll at once, and one deadline. */
#define BUSY 300

struct busy {
	int readable;
	bool over;
};

static void always_busy(void *arg)
{
	struct busy *b = arg;
	int fd = dup(b->readable);

	while (!b->over)
		assert_int_equal(fiber_wait_fd(fd, FD_READ, DEADLINE_NEVER), 0);
	(void) close(fd);
}

static void sleep_among_busy(struct fixture *f)
{
	struct fiber_group g;
	struct busy b = { .over = false };
	usec_t began = now();
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	b.readable = fds[0];
	fiber_group_init(&g);
	for (unsigned i = 0; i < BUSY; i++)
		assert_int_equal(fiber_group_spawn(&g, "busy", always_busy, &b), 0);
	assert_int_equal(fiber_sleep_until(began + 20 * USEC_MS), 0);
	b.over = true;
	assert_int_equal(fiber_group_wait(&g, now() + 10 * USEC_SEC), 0);
	assert_true(now() - began < 5 * USEC_SEC);
	(void) close(fds[0]);
	(void) close(fds[1]);
}

static void test_deadlines_come_while_more_is_ready_than_is_taken_at_once(void **state)
{
	run(*state, sleep_among_busy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_thousand_fibers_sleep_and_all_wake, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_signal_wakes_the_longest_waiter_and_the_other_times_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_leaving_a_group_cancels_and_joins_its_fibers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_later_waits_of_a_cancelled_fiber_fail_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_blocking_calls_run_beside_each_other_on_the_pool, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_posts_between_loops_are_never_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stopping_a_loop_unwinds_its_fibers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_fiber_has_a_deep_stack, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memory_checkers_see_who_points_into_the_stack_of_an_ended_fiber, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deadlines_come_while_more_is_ready_than_is_taken_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_input_that_came_by_its_deadline_is_seen_by_a_process_that_was_stopped, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
