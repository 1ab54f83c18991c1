#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/window.h"

static void succeed(struct window *w, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		window_success(w, w->size);
}

static void test_it_begins_small_and_never_wider_than_its_limit(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	assert_int_equal(w.size, 5);
	window_init(&w, 30, 20);
	assert_int_equal(w.size, 20);
	window_init(&w, 0, 0);
	assert_int_equal(w.size, 1);
}

static void test_a_windowful_of_successes_opens_it_by_one(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	succeed(&w, 4);
	assert_int_equal(w.size, 5);
	succeed(&w, 1);
	assert_int_equal(w.size, 6);
	succeed(&w, 10000);
	assert_int_equal(w.size, 20);
}

static void test_a_window_that_is_not_filled_does_not_open(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	for (unsigned i = 0; i < 1000; i++)
		window_success(&w, 4);
	assert_int_equal(w.size, 5);
}

static void test_failures_close_it_by_half_but_never_to_nothing(void **state)
{
	struct window w;

	window_init(&w, 20, 20);
	window_failure(&w);
	assert_int_equal(w.size, 10);
	for (unsigned i = 0; i < 20; i++)
		window_throttled(&w);
	assert_int_equal(w.size, 1);
}

static void test_it_goes_slowly_where_it_was_refused_before(void **state)
{
	struct window w;
	unsigned needed = 0;

	window_init(&w, 20, 20);
	window_throttled(&w); /* at 20: now 10, slow from 15 on */
	while (w.size < 15) {
		window_success(&w, w.size);
		needed++;
	}
	assert_int_equal(needed, 10 + 11 + 12 + 13 + 14);
	for (needed = 0; w.size < 16; needed++)
		window_success(&w, w.size);
	assert_int_equal(needed, 15 * WINDOW_SLOW);
}

static void test_new_limits_keep_what_was_learned(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	succeed(&w, 5 + 6 + 7);
	assert_int_equal(w.size, 8);
	window_limit(&w, 5, 30);
	assert_int_equal(w.size, 8);
	window_limit(&w, 2, 3);
	assert_int_equal(w.size, 3);
	succeed(&w, 1000);
	assert_int_equal(w.size, 3);
}

static void test_after_a_back_off_it_is_at_most_what_it_was_at_first(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	succeed(&w, 1000);
	window_restart(&w);
	assert_int_equal(w.size, 5);
	for (unsigned i = 0; i < 5; i++)
		window_failure(&w);
	window_restart(&w);
	assert_int_equal(w.size, 1);
}

static void test_slow_replies_close_it_by_a_quarter_for_each_windowful(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	succeed(&w, 10000);
	window_slow(&w);
	assert_int_equal(w.size, 15);
	for (unsigned i = 0; i < 14; i++)
		window_slow(&w);
	assert_int_equal(w.size, 15);
	window_slow(&w);
	assert_int_equal(w.size, 12);
	for (unsigned i = 0; i < 1000; i++)
		window_slow(&w);
	assert_int_equal(w.size, 1);
}

static void test_what_is_remembered_stays_within_the_limits(void **state)
{
	struct window w;

	window_init(&w, 5, 20);
	window_recall(&w, 18, 12, true);
	assert_int_equal(w.size, 18);
	assert_int_equal(w.threshold, 12);
	window_recall(&w, 18, 12, false);
	assert_int_equal(w.size, 5);
	window_recall(&w, 2, 30, false);
	assert_int_equal(w.size, 2);
	assert_int_equal(w.threshold, 20);
	window_recall(&w, 0, 0, true);
	assert_int_equal(w.size, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_begins_small_and_never_wider_than_its_limit),
		cmocka_unit_test(test_a_windowful_of_successes_opens_it_by_one),
		cmocka_unit_test(test_a_window_that_is_not_filled_does_not_open),
		cmocka_unit_test(test_failures_close_it_by_half_but_never_to_nothing),
		cmocka_unit_test(test_it_goes_slowly_where_it_was_refused_before),
		cmocka_unit_test(test_new_limits_keep_what_was_learned),
		cmocka_unit_test(test_slow_replies_close_it_by_a_quarter_for_each_windowful),
		cmocka_unit_test(test_what_is_remembered_stays_within_the_limits),
		cmocka_unit_test(test_after_a_back_off_it_is_at_most_what_it_was_at_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
