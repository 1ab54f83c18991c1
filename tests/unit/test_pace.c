/* How fast messages may follow one another: limits that are kept for every span of time, and the pace that a receiver
 * teaches us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/pace.h"

/* --- rates ------------------------------------------------------------------------------------ */

static void test_a_rate_is_a_number_in_a_time(void **state)
{
	struct rate r;

	assert_int_equal(rate_parse(slice_from("100/1h"), &r), 0);
	assert_int_equal(r.count, 100);
	assert_true(r.per == USEC_HOUR);
	assert_int_equal(rate_parse(slice_from("3/s"), &r), 0);
	assert_int_equal(r.count, 3);
	assert_true(r.per == USEC_SEC);
	assert_int_equal(rate_parse(slice_from("100"), &r), -EINVAL);
	assert_int_equal(rate_parse(slice_from("/1h"), &r), -EINVAL);
	assert_int_equal(rate_parse(slice_from("1/"), &r), -EINVAL);
	assert_int_equal(rate_parse(slice_from("x/1h"), &r), -EINVAL);
	assert_int_equal(rate_parse(slice_from("0/1h"), &r), -ERANGE);
	assert_int_equal(rate_parse(slice_from("1/0s"), &r), -ERANGE);
	assert_int_equal(rate_parse(slice_from("2000000/1h"), &r), -ERANGE);
	assert_int_equal(rate_parse(slice_from("1/40d"), &r), -ERANGE);
}

/* --- limits ----------------------------------------------------------------------------------- */

#define TIMES 3000u

/* Sends as fast as the pace allows, with a rest in the middle; the most that went in any span of the rate. */
static unsigned most_in_a_span(const struct rate *r, unsigned n, usec_t rest, usec_t *ret_end)
{
	static usec_t times[TIMES];
	struct pace p = { 0 };
	usec_t t = USEC_DAY;
	unsigned most = 0;

	pace_limit(&p, r);
	for (unsigned i = 0; i < n; i++) {
		if (i == n / 2)
			t += rest;
		t = MAX(t, pace_next(&p));
		pace_take(&p, t);
		times[i] = t;
	}
	for (unsigned i = 0, from = 0; i < n; i++) {
		while (times[from] + r->per <= times[i])
			from++;
		most = MAX(most, i - from + 1);
	}
	*ret_end = times[n - 1] - times[0];
	return most;
}

static void test_a_limit_is_kept_in_every_span(void **state)
{
	static const struct rate rates[] = {
		{ 1, USEC_SEC }, { 7, USEC_MIN }, { 10, USEC_SEC }, { 100, USEC_HOUR }, { 1000, USEC_DAY },
	};
	usec_t end;

	for (unsigned i = 0; i < ARRAY_LEN(rates); i++)
		for (usec_t rest = 0; rest <= 2 * rates[i].per; rest += rates[i].per / 3)
			assert_true(most_in_a_span(&rates[i], TIMES, rest, &end) <= rates[i].count);
}

static void test_a_limit_is_used(void **state)
{
	static const struct rate r = { 100, USEC_HOUR };
	usec_t end;

	(void) most_in_a_span(&r, 2000, 0, &end);
	assert_true(end <= 22 * USEC_HOUR); /* 20 hours at best; the burst costs a tenth */
}

static void test_a_tenth_may_go_at_once(void **state)
{
	struct pace p = { 0 };

	pace_limit(&p, &(struct rate) { 100, USEC_HOUR });
	for (unsigned i = 0; i < 10; i++) {
		assert_true(pace_next(&p) <= USEC_DAY);
		pace_take(&p, USEC_DAY);
	}
	assert_true(pace_next(&p) > USEC_DAY);
}

static void test_no_limit_lets_all_go(void **state)
{
	struct pace p = { 0 };

	pace_limit(&p, &(struct rate) { 5, USEC_SEC });
	pace_limit(&p, &(struct rate) { 0 });
	for (unsigned i = 0; i < 1000; i++) {
		pace_take(&p, USEC_SEC);
		assert_true(pace_next(&p) <= USEC_SEC);
	}
}

/* --- measuring -------------------------------------------------------------------------------- */

static void test_a_meter_knows_the_rate_of_the_last_seconds(void **state)
{
	struct meter m = { 0 };
	usec_t t = USEC_DAY;

	assert_true(meter_interval(&m, t) == 0);
	for (unsigned i = 0; i < 1000; i++)
		meter_count(&m, t += 100 * USEC_MS);
	assert_in_range(meter_interval(&m, t), 90 * USEC_MS, 110 * USEC_MS);
	assert_true(meter_interval(&m, t + USEC_MIN) == 0);
}

/* --- learning --------------------------------------------------------------------------------- */

static void test_too_fast_is_answered_with_half_of_the_rate(void **state)
{
	struct learned_pace l = { 0 };
	usec_t t = USEC_DAY;

	learned_slow_down(&l, 100 * USEC_MS, t);
	assert_true(l.pace.interval == 200 * USEC_MS);
	assert_true(pace_next(&l.pace) > t);
	learned_slow_down(&l, 100 * USEC_MS, t); /* the rest of a row */
	assert_true(l.pace.interval == 200 * USEC_MS);
	learned_slow_down(&l, 200 * USEC_MS, t + USEC_MIN);
	assert_true(l.pace.interval == 400 * USEC_MS);
}

static void test_a_receiver_that_took_nothing_gets_one_a_minute(void **state)
{
	struct learned_pace l = { 0 };

	learned_slow_down(&l, 0, USEC_DAY);
	assert_true(l.pace.interval == USEC_MIN);
	for (unsigned i = 1; i < 20; i++)
		learned_slow_down(&l, 0, USEC_DAY + i * USEC_HOUR);
	assert_true(l.pace.interval == PACE_SLOWEST);
}

static void test_what_is_taken_makes_it_faster_until_there_is_no_pace(void **state)
{
	struct learned_pace l = { 0 };
	usec_t t = USEC_DAY, slower = DEADLINE_NEVER;
	unsigned n = 0;

	learned_slow_down(&l, 30 * USEC_SEC, t);
	while (l.pace.interval > 0) {
		assert_true(l.pace.interval <= slower);
		slower = l.pace.interval;
		t += l.pace.interval;
		learned_taken(&l, t);
		assert_true(++n < 1000000);
	}
	/* Half as fast again after some minutes, as it was before after hours. */
	assert_in_range(t - USEC_DAY, 20 * USEC_MIN, 3 * USEC_HOUR);
}

static void test_who_took_nothing_and_then_takes_all_is_at_full_speed_soon(void **state)
{
	struct learned_pace l = { 0 };
	usec_t t = USEC_DAY;
	unsigned n = 0;

	learned_slow_down(&l, USEC_SEC, t); /* a pace that is known, and then nothing is taken for hours */
	learned_taken(&l, t);
	for (unsigned i = 0; i < 6; i++)
		learned_slow_down(&l, 0, t += USEC_HOUR);
	assert_true(l.pace.interval == PACE_SLOWEST);
	for (usec_t since = t; l.pace.interval > 0; n++) {
		learned_taken(&l, t); /* the first one is a probe, that asks nobody */
		t = MAX(t, pace_next(&l.pace));
		pace_take(&l.pace, t);
		assert_true(t - since < 30 * USEC_SEC);
	}
	assert_in_range(n, 5, 10);
}

static void test_a_guess_that_was_too_fast_is_followed_by_what_is_known(void **state)
{
	struct learned_pace l = { 0 };
	usec_t t = USEC_DAY;

	learned_slow_down(&l, 0, t);
	learned_taken(&l, t += USEC_MIN);
	assert_true(l.pace.interval == 15 * USEC_SEC);
	learned_slow_down(&l, 0, t += USEC_MIN);
	assert_true(l.pace.interval == 30 * USEC_SEC);
	for (unsigned i = 0; i < PACE_TAKEN; i++)
		learned_taken(&l, t += USEC_MIN);
	assert_in_range(l.pace.interval, 26 * USEC_SEC, 27 * USEC_SEC);
}

static void test_it_settles_below_what_the_receiver_takes(void **state)
{
	struct learned_pace l = { 0 };
	struct pace receiver = { 0 };
	unsigned refused = 0, taken = 0;
	struct meter m = { 0 };

	pace_limit(&receiver, &(struct rate) { 1, USEC_SEC });
	for (usec_t t = USEC_DAY; t < USEC_DAY + USEC_HOUR; t += 10 * USEC_MS) {
		if (pace_next(&l.pace) > t)
			continue;
		pace_take(&l.pace, t);
		if (pace_next(&receiver) > t) {
			refused++;
			learned_slow_down(&l, meter_interval(&m, t), t);
			continue;
		}
		pace_take(&receiver, t);
		meter_count(&m, t);
		learned_taken(&l, t);
		taken++;
	}
	assert_true(taken > 3600 / 3);
	assert_true(refused * 10 < taken);
}

static void test_what_was_learned_long_ago_counts_less(void **state)
{
	struct learned_pace l = { 0 };

	learned_recall(&l, USEC_SEC, 0, USEC_DAY);
	assert_true(l.pace.interval == USEC_SEC);
	learned_recall(&l, USEC_SEC, USEC_HOUR, USEC_DAY);
	assert_true(l.pace.interval == 750 * USEC_MS);
	l = (struct learned_pace) { 0 };
	learned_recall(&l, USEC_MIN, USEC_DAY, USEC_DAY);
	assert_true(l.pace.interval == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_rate_is_a_number_in_a_time),
		cmocka_unit_test(test_a_limit_is_kept_in_every_span),
		cmocka_unit_test(test_a_limit_is_used),
		cmocka_unit_test(test_a_tenth_may_go_at_once),
		cmocka_unit_test(test_no_limit_lets_all_go),
		cmocka_unit_test(test_a_meter_knows_the_rate_of_the_last_seconds),
		cmocka_unit_test(test_too_fast_is_answered_with_half_of_the_rate),
		cmocka_unit_test(test_a_receiver_that_took_nothing_gets_one_a_minute),
		cmocka_unit_test(test_what_is_taken_makes_it_faster_until_there_is_no_pace),
		cmocka_unit_test(test_who_took_nothing_and_then_takes_all_is_at_full_speed_soon),
		cmocka_unit_test(test_a_guess_that_was_too_fast_is_followed_by_what_is_known),
		cmocka_unit_test(test_it_settles_below_what_the_receiver_takes),
		cmocka_unit_test(test_what_was_learned_long_ago_counts_less),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
