/* Which rung would the next message take, and why not the others? */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "admin/verdict.h"

#define MOST 5u

static struct arena *arena;
static struct making out[MOST];
static struct rung_view views[MOST];
static struct hop hops[MOST];
static struct ladder ladder;

static int set_up(void **state)
{
	static const unsigned when[MOST] = { 0, WHEN_BLOCKED, WHEN_UNREACHABLE, WHEN_ANY, WHEN_DELAYED };

	for (unsigned i = 0; i < MOST; i++) {
		out[i] = making_object();
		views[i] = (struct rung_view) { .leads_out = true, .out = &out[i] };
		hops[i] = (struct hop) { .kind = HOP_MX, .when = when[i], .delayed = 30 * USEC_MIN };
	}
	ladder = (struct ladder) { .rule = "x", .n_hops = MOST, .hops = hops };
	return arena_new(0, &arena);
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < MOST; i++)
		making_done(&out[i]);
	arena_free(arena);
	return 0;
}

static void verdicts(const char *expected)
{
	char text[128] = "";

	verdict_on_rungs(&ladder, views, arena);
	for (unsigned i = 0; i < ladder.n_hops; i++) {
		assert_int_equal(out[i].error, 0);
		strcat(text, json_string_value(json_object_get(out[i].json, "verdict")));
		strcat(text, " ");
	}
	assert_string_equal(text, expected);
}

static const char *because(unsigned i)
{
	return json_string_value(json_object_get(out[i].json, "because"));
}

static void test_without_trouble_the_first_rung_is_next(void **state)
{
	verdicts("next later later later later ");
	assert_string_equal(because(0), "the next message goes here");
	assert_string_equal(because(1), "mail stops at rung 1; this one is for blocked");
	assert_string_equal(because(4), "mail stops at rung 1; this one is for delayed 30m");
}

static void test_a_cool_down_moves_mail_to_the_rung_that_is_for_it(void **state)
{
	views[0].site = (struct site_facts) { .known = true, .escapes = WHEN_BLOCKED, .cool = WHEN_BLOCKED, .cool_until = 1795406706789123 };
	views[1].site = (struct site_facts) { .known = true, .backs_off = true, .escapes = WHEN_UNREACHABLE, .next = 1795406706789123 };
	verdicts("skipped skipped next later later ");
	assert_string_equal(because(0), "it refuses our address until 2026-11-23T04:05:06.789Z: mail moves on to rung 2");
	assert_string_equal(because(1), "it can't be reached until 2026-11-23T04:05:06.789Z: mail moves on to rung 3");
}

static void test_rungs_for_other_troubles_are_passed(void **state)
{
	views[0].site = (struct site_facts) { .known = true, .backs_off = true, .escapes = WHEN_UNREACHABLE };
	views[2].status = TARGET_TEMPORARY;
	views[2].why = "SERVFAIL";
	verdicts("skipped passed skipped next later ");
	assert_string_equal(because(1), "it is for blocked; the trouble is another: unreachable");
	assert_string_equal(because(2), "SERVFAIL: mail moves on to rung 4");
}

static void test_without_a_rung_for_the_trouble_mail_waits_or_goes_all_the_same(void **state)
{
	ladder.n_hops = 2;
	views[0].site = (struct site_facts) { .known = true, .backs_off = true, .escapes = WHEN_UNREACHABLE };
	verdicts("waits later ");
	assert_string_equal(because(0), "it can't be reached, and no later rung is for that: mail waits here");
	/* A cool-down keeps nobody who has no other way. */
	views[0].site = (struct site_facts) { .known = true, .escapes = WHEN_TLS, .cool = WHEN_TLS };
	verdicts("next later ");
	assert_string_equal(because(0), "it has no TLS, or none that is good enough, but no later rung is for that, so mail goes here all the same");
}

static void test_after_the_cool_down_the_next_one_is_a_canary(void **state)
{
	views[0].site = (struct site_facts) { .known = true, .cool = WHEN_BLOCKED };
	verdicts("next later later later later ");
	assert_string_equal(because(0), "the next message goes here as a canary, which tests whether this is over: it refuses our address");
}

static void test_a_fault_of_the_recipient_never_moves(void **state)
{
	views[0].status = TARGET_NO_DOMAIN;
	views[0].why = "the domain does not exist";
	verdicts("bounces later later later later ");
	assert_string_equal(because(0), "mail would come back: the domain does not exist");
}

static void test_rungs_that_lead_nowhere_say_what_they_do(void **state)
{
	ladder.n_hops = 1;
	views[0].leads_out = false;
	hops[0].kind = HOP_HOLD;
	verdicts("next ");
	assert_string_equal(because(0), "mail is kept here until somebody releases it");
	hops[0].kind = HOP_DISCARD;
	verdicts("next ");
	hops[0].kind = HOP_REJECT;
	verdicts("bounces ");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_without_trouble_the_first_rung_is_next),
		T(test_a_cool_down_moves_mail_to_the_rung_that_is_for_it),
		T(test_rungs_for_other_troubles_are_passed),
		T(test_without_a_rung_for_the_trouble_mail_waits_or_goes_all_the_same),
		T(test_after_the_cool_down_the_next_one_is_a_canary),
		T(test_a_fault_of_the_recipient_never_moves),
		T(test_rungs_that_lead_nowhere_say_what_they_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
