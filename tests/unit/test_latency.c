/* Whether a receiver takes much longer for its final reply than usual. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/latency.h"

static void note(struct latency *l, usec_t time, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		latency_note(l, time);
}

static void test_a_receiver_that_answers_as_always_is_not_slow(void **state)
{
	struct latency l = { 0 };

	for (unsigned i = 0; i < 10000; i++) {
		latency_note(&l, i % 7 * 100 * USEC_MS);
		assert_false(latency_is_slow(&l));
	}
	assert_in_range(latency_usual(&l), 100 * USEC_MS, 400 * USEC_MS);
}

static void test_nothing_is_usual_at_first(void **state)
{
	struct latency l = { 0 };

	note(&l, USEC_MS, 5);
	note(&l, USEC_MIN, 10);
	assert_false(latency_is_slow(&l));
}

static void test_much_longer_than_usual_is_slow_and_ends_again(void **state)
{
	struct latency l = { 0 };

	note(&l, 20 * USEC_MS, 100);
	note(&l, 300 * USEC_MS, 10); /* 15 times as long, but nobody would care */
	assert_false(latency_is_slow(&l));
	note(&l, 5 * USEC_SEC, 3);
	assert_true(latency_is_slow(&l));
	note(&l, 20 * USEC_MS, 20);
	assert_false(latency_is_slow(&l));
}

static void test_one_late_reply_says_nothing(void **state)
{
	struct latency l = { 0 };

	note(&l, 500 * USEC_MS, 100);
	latency_note(&l, 5 * USEC_SEC);
	assert_false(latency_is_slow(&l));
}

static void test_who_stays_slow_is_usual_at_last(void **state)
{
	struct latency l = { 0 };
	unsigned n = 0;

	note(&l, 100 * USEC_MS, 100);
	do {
		latency_note(&l, 10 * USEC_SEC);
		n++;
	} while (latency_is_slow(&l) || n < 10);
	assert_in_range(n, 20, 500);
}

static void test_any_time_is_good_enough(void **state)
{
	struct latency l = { 0 };

	note(&l, DEADLINE_NEVER, 100);
	note(&l, 0, 10000);
	assert_true(latency_usual(&l) < USEC_MS);
	latency_recall(&l, 2 * USEC_SEC);
	assert_in_range(latency_usual(&l), 2 * USEC_SEC - USEC_MS, 2 * USEC_SEC);
	note(&l, 20 * USEC_SEC, 3);
	assert_true(latency_is_slow(&l));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_receiver_that_answers_as_always_is_not_slow),
		cmocka_unit_test(test_nothing_is_usual_at_first),
		cmocka_unit_test(test_much_longer_than_usual_is_slow_and_ends_again),
		cmocka_unit_test(test_one_late_reply_says_nothing),
		cmocka_unit_test(test_who_stays_slow_is_usual_at_last),
		cmocka_unit_test(test_any_time_is_good_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
