/* Limits by any key: buckets that fill, places that are left, and a table that stays small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/rate.h"
#include "world/sim.h"

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct rates *rates;
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.25", &s->host, &s->world), 0);
	assert_int_equal(rates_new(s->world, 100, &s->rates), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	rates_free(s->rates);
	world_free(s->world);
	sim_free(s->sim);
	free(s);
	return 0;
}

static const struct rate_rule ten_an_hour = { .key = RATE_SENDER, .allowed = { [RATE_MESSAGES] = 10 }, .per = USEC_HOUR };

static int take(struct scene *s, const char *key, usec_t at, usec_t *wait)
{
	return rates_take(s->rates, &ten_an_hour, RATE_MESSAGES, slice_from(key), at, wait);
}

static void as_many_as_are_allowed_pass_at_once_and_then_one_at_a_time(void **state)
{
	struct scene *s = *state;
	usec_t at = 5 * USEC_DAY, wait = 0;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(take(s, "a@b", at, &wait), 0);
	assert_int_equal(take(s, "A@b", at, &wait), -EBUSY);
	assert_in_range(wait, 6 * USEC_MIN, 6 * USEC_MIN + 1);
	assert_int_equal(take(s, "c@d", at, &wait), 0);
	assert_int_equal(take(s, "a@b", at + wait - USEC_SEC, &wait), -EBUSY);
	assert_int_equal(take(s, "a@b", at + 6 * USEC_MIN + 1, &wait), 0);
	assert_int_equal(take(s, "a@b", at + 6 * USEC_MIN + 2, &wait), -EBUSY);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(take(s, "a@b", at + USEC_DAY, &wait), 0);
	assert_int_equal(take(s, "a@b", at + USEC_DAY, &wait), -EBUSY);
}

static void units_and_limits_are_counted_apart(void **state)
{
	struct scene *s = *state;
	const struct rate_rule both = { .key = RATE_CLIENT, .allowed = { [RATE_MESSAGES] = 1, [RATE_RECIPIENTS] = 1 }, .per = USEC_MIN };
	usec_t wait;

	assert_int_equal(rates_take(s->rates, &both, RATE_MESSAGES, SLICE("x"), 1, &wait), 0);
	assert_int_equal(rates_take(s->rates, &both, RATE_RECIPIENTS, SLICE("x"), 1, &wait), 0);
	assert_int_equal(rates_take(s->rates, &both, RATE_CONNECTIONS, SLICE("x"), 1, &wait), 0);
	assert_int_equal(rates_take(s->rates, &both, RATE_MESSAGES, SLICE("x"), 1, &wait), -EBUSY);
	assert_int_equal(take(s, "x", 1, &wait), 0);
}

static void places_are_taken_and_left(void **state)
{
	struct scene *s = *state;
	const struct concurrency_rule two = { .key = RATE_NETWORK, .sessions = 2 };
	struct rate_place *a, *b, *c, *other;

	assert_int_equal(rates_enter(s->rates, &two, SLICE("192.0.2.0"), &a), 0);
	assert_int_equal(rates_enter(s->rates, &two, SLICE("192.0.2.0"), &b), 0);
	assert_int_equal(rates_enter(s->rates, &two, SLICE("192.0.2.0"), &c), -EUSERS);
	assert_int_equal(rates_enter(s->rates, &two, SLICE("198.51.100.0"), &other), 0);
	rates_leave(s->rates, a);
	assert_int_equal(rates_enter(s->rates, &two, SLICE("192.0.2.0"), &c), 0);
	rates_leave(s->rates, b);
	rates_leave(s->rates, c);
	rates_leave(s->rates, other);
	rates_leave(s->rates, NULL);
}

/* Whoever makes up senders must not fill the memory, nor free a place that somebody sits on. */
static void the_table_is_bounded_and_forgets_what_was_not_touched_for_longest(void **state)
{
	struct scene *s = *state;
	const struct concurrency_rule one = { .key = RATE_CLIENT, .sessions = 1 };
	struct rate_place *place, *second;
	usec_t wait;

	assert_int_equal(rates_enter(s->rates, &one, SLICE("192.0.2.1"), &place), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(take(s, "busy@b", 1, &wait), 0);
	for (unsigned i = 0; i < 10000; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%u@b", i);
		assert_int_equal(take(s, key, 1, &wait), 0);
		if (i % 50 == 0)
			assert_int_equal(take(s, "busy@b", 1, &wait), -EBUSY);
	}
	assert_int_equal(rates_enter(s->rates, &one, SLICE("192.0.2.1"), &second), -EUSERS);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(take(s, "0@b", 1, &wait), 0); /* forgotten long ago */
	rates_leave(s->rates, place);
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCENE(as_many_as_are_allowed_pass_at_once_and_then_one_at_a_time),
		WITH_SCENE(units_and_limits_are_counted_apart),
		WITH_SCENE(places_are_taken_and_left),
		WITH_SCENE(the_table_is_bounded_and_forgets_what_was_not_touched_for_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
