#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/retry.h"

static void assert_about(usec_t got, usec_t want)
{
	assert_true(got >= want);
	assert_true(got <= want + want / 10);
}

static void test_the_default_schedule_repeats_its_last_delay(void **state)
{
	static const usec_t minutes[] = { 5, 15, 30, 60, 120, 240, 240, 240 };
	struct retry_schedule s = { 0 };

	for (unsigned i = 0; i < ARRAY_LEN(minutes); i++)
		assert_about(retry_delay(&s, i + 1, CLASS_OTHER, 12345 * i), minutes[i] * USEC_MIN);
	assert_about(retry_delay(&s, 65535, CLASS_OTHER, UINT64_MAX), 240 * USEC_MIN);
	assert_about(retry_delay(&s, 0, CLASS_OTHER, 0), 5 * USEC_MIN);
}

static void test_a_schedule_of_the_administrator_is_kept(void **state)
{
	static const usec_t delays[] = { USEC_SEC, 2 * USEC_SEC };
	struct retry_schedule s = { .delays = delays, .n_delays = 2 };

	assert_about(retry_delay(&s, 1, CLASS_OTHER, 77), USEC_SEC);
	assert_about(retry_delay(&s, 9, CLASS_UNREACHABLE, 77), 2 * USEC_SEC);
	assert_about(retry_delay(&s, 1, CLASS_GREYLISTED, 77), USEC_SEC);
}

static void test_greylisting_is_retried_sooner(void **state)
{
	struct retry_schedule s = { 0 };

	assert_about(retry_delay(&s, 1, CLASS_GREYLISTED, 5), 5 * USEC_MIN);
	assert_about(retry_delay(&s, 2, CLASS_GREYLISTED, 5), 10 * USEC_MIN);
	assert_about(retry_delay(&s, 4, CLASS_GREYLISTED, 5), 30 * USEC_MIN);
	assert_about(retry_delay(&s, 6, CLASS_GREYLISTED, 5), 240 * USEC_MIN);
}

static void test_jitter_spreads_and_never_comes_early(void **state)
{
	struct retry_schedule s = { 0 };
	usec_t least = UINT64_MAX, most = 0;

	for (uint64_t i = 0; i < 1000; i++) {
		usec_t d = retry_delay(&s, 1, CLASS_OTHER, i * UINT64_C(0x9e3779b97f4a7c15));

		least = MIN(least, d);
		most = MAX(most, d);
	}
	assert_true(least >= 5 * USEC_MIN);
	assert_true(most <= 5 * USEC_MIN + 30 * USEC_SEC);
	assert_true(most - least > 20 * USEC_SEC);
}

static void test_the_back_off_of_a_site_doubles_up_to_its_cap(void **state)
{
	static const usec_t seconds[] = { 30, 60, 120, 240, 480, 960, 1800, 1800 };

	usec_t least = UINT64_MAX, most = 0;

	for (unsigned i = 0; i < ARRAY_LEN(seconds); i++)
		assert_about(retry_backoff(i + 1, 30 * USEC_MIN, i), seconds[i] * USEC_SEC);
	/* Sites that went down together are spread over half of the time. */
	for (uint64_t i = 0; i < 1000; i++) {
		usec_t d = retry_backoff(2, 30 * USEC_MIN, i * UINT64_C(0x9e3779b97f4a7c15));

		least = MIN(least, d);
		most = MAX(most, d);
	}
	assert_true(least >= USEC_MIN && most <= 90 * USEC_SEC);
	assert_true(most - least > 25 * USEC_SEC);
	assert_about(retry_backoff(UINT32_MAX, 30 * USEC_MIN, 1), 30 * USEC_MIN);
	assert_about(retry_backoff(1, USEC_SEC, 1), USEC_SEC);
}

static void test_defaults_for_giving_up_and_warning(void **state)
{
	struct retry_schedule s = { 0 };

	assert_true(retry_expire(&s) == 5 * USEC_DAY);
	assert_true(retry_warn(&s) == 4 * USEC_HOUR);
	s.warn = DEADLINE_NEVER;
	assert_true(retry_warn(&s) == DEADLINE_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_default_schedule_repeats_its_last_delay),
		cmocka_unit_test(test_a_schedule_of_the_administrator_is_kept),
		cmocka_unit_test(test_greylisting_is_retried_sooner),
		cmocka_unit_test(test_jitter_spreads_and_never_comes_early),
		cmocka_unit_test(test_the_back_off_of_a_site_doubles_up_to_its_cap),
		cmocka_unit_test(test_defaults_for_giving_up_and_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
