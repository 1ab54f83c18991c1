/* Picking the next message must not cost more than the logarithm of their number. What is counted is instructions,
 * not time: a child process picks, and its parent lets it go one instruction at a time between two marks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory_check.h"
#include "unit/schedule_scene.h"

#define PICKS 50u
#define WARM_UP 2000u

static void child(uint64_t n)
{
	struct schedule s;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(2);
	if (!schedule_fill(&s, n))
		_exit(3);
	for (unsigned i = 0; i < WARM_UP; i++)
		schedule_pick(&s);
	(void) raise(SIGSTOP);
	for (unsigned i = 0; i < PICKS; i++)
		schedule_pick(&s);
	(void) raise(SIGSTOP);
	_exit(0);
}

/* Instructions for one pick among n; 0: this system does not let us count. */
static uint64_t instructions(uint64_t n)
{
	pid_t pid = fork();
	uint64_t count = 0;
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		child(n);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 2);
		return 0;
	}
	for (;;) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) == SIGSTOP)
			break;
		assert_int_equal(WSTOPSIG(status), SIGTRAP);
		count++;
	}
	(void) kill(pid, SIGKILL);
	(void) waitpid(pid, &status, 0);
	return count / PICKS;
}

static void test_picking_costs_no_more_than_the_logarithm(void **state)
{
	uint64_t thousand, million;

	if (RUNNING_ON_VALGRIND)
		skip(); /* the steps would be those of Valgrind, and they don't end */
	thousand = instructions(1000);
	if (thousand == 0)
		skip();
	million = instructions(1000000);
	print_message("# %llu instructions for a pick among 1,000, %llu among 1,000,000\n", (unsigned long long) thousand,
		      (unsigned long long) million);
	/* The logarithm doubles; the rest of a pick costs the same. */
	assert_true(million < 2 * thousand);
}

static void test_what_is_picked_comes_in_the_order_of_its_time(void **state)
{
	struct schedule s;
	uint64_t last = 0;

	assert_true(schedule_fill(&s, 10000));
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t key = heap_first(&s.due)->key;

		assert_true(key >= last);
		last = key;
		schedule_pick(&s);
	}
	schedule_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_picking_costs_no_more_than_the_logarithm),
		cmocka_unit_test(test_what_is_picked_comes_in_the_order_of_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
