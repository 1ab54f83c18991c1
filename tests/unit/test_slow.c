/* Domains of senders that a receiver wants more slowly: each has its time, and nobody else waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/slow.h"

static void test_who_was_never_too_fast_goes(void **state)
{
	struct slow_keys k = { 0 };

	for (unsigned i = 0; i < 1000; i++)
		assert_true(slow_ask(&k, 7, USEC_DAY) == 0);
	slow_down(&k, 8, USEC_SEC, USEC_DAY);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(slow_ask(&k, 7, USEC_DAY) == 0);
	slow_done(&k);
}

static void test_times_are_given_one_after_the_other(void **state)
{
	struct slow_keys k = { 0 };
	usec_t t = USEC_DAY, last = t;

	slow_down(&k, 7, 5 * USEC_SEC, t); /* one in ten seconds */
	for (unsigned i = 0; i < 100; i++) {
		usec_t at = slow_ask(&k, 7, t);

		assert_true(at == last + 10 * USEC_SEC);
		last = at;
	}
	/* At their times they go. */
	for (unsigned i = 1; i <= 100; i++)
		assert_true(slow_ask(&k, 7, t + i * 10 * USEC_SEC) == 0);
	slow_done(&k);
}

static void test_nobody_gets_a_time_that_is_far_away(void **state)
{
	struct slow_keys k = { 0 };
	usec_t t = USEC_DAY;

	slow_down(&k, 7, 0, t);
	for (unsigned i = 0; i < 10000; i++)
		assert_true(slow_ask(&k, 7, t) <= t + SLOW_AHEAD);
	slow_done(&k);
}

static void test_what_is_taken_lets_it_go_at_last(void **state)
{
	struct slow_keys k = { 0 };
	usec_t t = USEC_DAY;

	slow_down(&k, 7, USEC_SEC, t);
	slow_down(&k, 9, USEC_SEC, t);
	for (unsigned i = 0; i < 1000 && k.keys.len == 2; i++) {
		t += 10 * USEC_SEC;
		slow_taken(&k, 7, t);
	}
	assert_int_equal(k.keys.len, 1);
	assert_true(slow_interval(&k, 7) == 0);
	assert_true(slow_interval(&k, 9) > 0);
	slow_done(&k);
}

static void test_only_so_many_are_remembered(void **state)
{
	struct slow_keys k = { 0 };

	for (unsigned i = 0; i < 2 * SLOW_MOST; i++)
		slow_down(&k, i, USEC_SEC, USEC_DAY);
	assert_int_equal(k.keys.len, SLOW_MOST);
	assert_true(slow_ask(&k, 2 * SLOW_MOST - 1, USEC_DAY) == 0);
	slow_down(&k, 2 * SLOW_MOST, USEC_SEC, 2 * USEC_DAY + USEC_SEC); /* the others were silent for a day */
	assert_true(slow_interval(&k, 2 * SLOW_MOST) > 0);
	assert_int_equal(k.keys.len, 1);
	slow_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_was_never_too_fast_goes),
		cmocka_unit_test(test_times_are_given_one_after_the_other),
		cmocka_unit_test(test_nobody_gets_a_time_that_is_far_away),
		cmocka_unit_test(test_what_is_taken_lets_it_go_at_last),
		cmocka_unit_test(test_only_so_many_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
