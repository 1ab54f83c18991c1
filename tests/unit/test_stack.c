/* The pool of stacks: what is mapped, guarded and touched. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "world/stack.h"

#define SIZE 65536u

static struct stack_pool *new_pool(void)
{
	struct stack_pool *p;

	assert_int_equal(stack_pool_new(SIZE, &p), 0);
	return p;
}

static void test_a_stack_that_was_never_asked_for_costs_no_memory(void **state)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE), step = SIZE + page;
	struct stack_pool *p = new_pool();
	char *first = stack_get(p);
	unsigned char resident[64 * 17];

	assert_non_null(first);
	assert_true(step / page * 60 <= sizeof(resident));
	assert_int_equal(mincore(first + SIZE, 60 * step, resident), 0); /* from the next one's guard on */
	for (size_t i = 0; i < 60 * step / page; i++)
		assert_int_equal(resident[i] & 1, 0);
	stack_put(p, first);
	stack_pool_free(p);
}

static void test_below_each_stack_lies_a_guard(void **state)
{
	struct stack_pool *p = new_pool();
	char *stacks[130];

	for (size_t i = 0; i < ARRAY_LEN(stacks); i++) {
		stacks[i] = stack_get(p);
		assert_non_null(stacks[i]);
		memset(stacks[i], 1, SIZE);
	}
	for (size_t i = 0; i < ARRAY_LEN(stacks); i += 43) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			(void) signal(SIGSEGV, SIG_DFL);
			((volatile char *) stacks[i])[-1] = 1;
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0); /* a sanitizer ends it in its own way */
	}
	for (size_t i = 0; i < ARRAY_LEN(stacks); i++)
		stack_put(p, stacks[i]);
	stack_pool_free(p);
}

static void test_a_stack_that_came_back_is_given_out_before_a_fresh_one(void **state)
{
	struct stack_pool *p = new_pool();
	void *a = stack_get(p), *b = stack_get(p);

	assert_ptr_not_equal(a, b);
	stack_put(p, a);
	assert_ptr_equal(stack_get(p), a);
	stack_put(p, a);
	stack_put(p, b);
	stack_pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_stack_that_was_never_asked_for_costs_no_memory),
		cmocka_unit_test(test_below_each_stack_lies_a_guard),
		cmocka_unit_test(test_a_stack_that_came_back_is_given_out_before_a_fresh_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
