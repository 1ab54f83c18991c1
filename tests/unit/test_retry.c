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
	assert_about(retry_delay(&s, 2, CLASS_GREYLISTED, 5), 5 * USEC_MIN);
	assert_about(retry_delay(&s, 3, CLASS_GREYLISTED, 5), 10 * USEC_MIN);
	assert_about(retry_delay(&s, 5, CLASS_GREYLISTED, 5), 30 * USEC_MIN);
	assert_about(retry_delay(&s, 6, CLASS_GREYLISTED, 5), 240 * USEC_MIN);
}

static void test_greylisting_has_a_schedule_of_its_own(void **state)
{
	static const usec_t delays[] = { USEC_SEC }, grey[] = { 7 * USEC_MIN, 8 * USEC_MIN };
	struct retry_schedule s = { .delays = delays, .n_delays = 1, .greylisted = grey, .n_greylisted = 2 };

	assert_about(retry_delay(&s, 1, CLASS_GREYLISTED, 5), 7 * USEC_MIN);
	assert_about(retry_delay(&s, 2, CLASS_GREYLISTED, 5), 8 * USEC_MIN);
	assert_about(retry_delay(&s, 3, CLASS_GREYLISTED, 5), USEC_SEC); /* it isn't greylisting alone */
	assert_about(retry_delay(&s, 1, CLASS_THROTTLED, 5), USEC_SEC);
}

static usec_t hint_in(const char *text)
{
	usec_t hint = 0;

	return retry_hint(slice_from(text), &hint) ? hint : 0;
}

static void test_a_server_may_say_when_to_come_back(void **state)
{
	assert_true(hint_in("Greylisted, please try again in 300 seconds") == 5 * USEC_MIN);
	assert_true(hint_in("4.7.1 Greylisting in action, please come back in 00:04:59") == 299 * USEC_SEC);
	assert_true(hint_in("come back in 12:30") == 12 * USEC_MIN + 30 * USEC_SEC);
	assert_true(hint_in("mx3.example greylisted you for 15 minutes") == 15 * USEC_MIN);
	assert_true(hint_in("Retry in 5min") == 5 * USEC_MIN);
	assert_true(hint_in("retry after 90s.") == 90 * USEC_SEC);
	assert_true(hint_in("in 10 Seconds") == RETRY_HINT_LEAST);
	assert_true(hint_in("in 5 hours") == RETRY_HINT_MOST);
	assert_true(hint_in("in 0 seconds") == RETRY_HINT_LEAST);
	assert_true(hint_in("in 99999999999999999999999 hours") == 0);
	assert_true(hint_in("greylisted, see 192.0.2.1") == 0);
	assert_true(hint_in("450 4.7.1 try again later") == 0);
	assert_true(hint_in("2001:db8::1 is greylisted") == 0);
	assert_true(hint_in("at 12:77:00") == 0);
	assert_true(hint_in("") == 0);
	for (uint64_t i = 0; i < 100; i++) {
		usec_t wait = retry_hinted(5 * USEC_MIN, i * UINT64_C(0x9e3779b97f4a7c15));

		assert_true(wait > 5 * USEC_MIN && wait < 6 * USEC_MIN);
	}
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
		cmocka_unit_test(test_greylisting_has_a_schedule_of_its_own),
		cmocka_unit_test(test_a_server_may_say_when_to_come_back),
		cmocka_unit_test(test_jitter_spreads_and_never_comes_early),
		cmocka_unit_test(test_the_back_off_of_a_site_doubles_up_to_its_cap),
		cmocka_unit_test(test_defaults_for_giving_up_and_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
