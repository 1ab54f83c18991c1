/* Mail of sites that an administrator holds stays, also what comes later and over a restart, and goes once when they are
 * released. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/held.h"
#include "queue/site_facts.h"
#include "unit/queue_office.h"

#define ONE "mx:mx1.one.example"

static void deliver_all(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	answer_reply(r, STAGE_DOT, 250, 0, 0, "OK");
	r->outcome.kind = OUTCOME_DELIVERED;
}

static void prepare(struct office *s)
{
	s->answer = deliver_all;
	s->config.held = "/spool/held-sites";
}

static int why_it_waits(const struct queue_row *row, void *context)
{
	assert_string_equal(row->recipients[0].waits_for, "somebody to release its site");
	++*(unsigned *) context;
	return 0;
}

static void hold_and_release(struct office *s)
{
	struct site_facts f;
	unsigned n = 0;

	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, NULL, ONE), 1);
	assert_int_equal(queue_hold_site(s->queue, ONE), 0);
	assert_int_equal(queue_hold_site(s->queue, ONE), -EEXIST);
	assert_int_equal(queue_hold_site(s->queue, ""), -EINVAL);
	assert_int_equal(queue_hold_site(s->queue, "a b"), -EINVAL);
	assert_int_equal(queue_release_site(s->queue, "elsewhere"), -ENOENT);
	for (unsigned i = 0; i < 50; i++)
		office_submit(s, "a@sender.example", "y@one.example z@two.example");
	office_wait(3 * USEC_HOUR);
	assert_int_equal(office_count(s, NULL, ONE), 1);
	assert_int_equal(office_count(s, "z@two.example", NULL), 50); /* others aren't meant */
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { .recipient = "y@*" }, why_it_waits, &n), 0);
	assert_int_equal(n, 50);
	assert_int_equal(queue_site_facts(s->queue, ONE, SLICE("one.example"), s->arena, &f), 0);
	assert_true(f.held);
	assert_int_equal(f.waiting, 50);
	assert_int_equal(queue_act(s->queue, QUEUE_RETRY, &(struct queue_filter) { .site = "one.example" }, &n), 0);
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, NULL, ONE), 1); /* to try is not to release */
	assert_int_equal(queue_release_site(s->queue, ONE), 0);
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "y@one.example", ONE), 50);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_a_held_site_keeps_what_comes_and_gives_it_once_released(void **state)
{
	office_play(prepare, hold_and_release, NULL);
}

static void slow(struct office *s)
{
	s->answer = deliver_all;
	s->config.held = "/spool/held-sites";
	s->service = USEC_MIN;
	s->config.site_connections = s->config.site_initial = 1;
}

static void what_stands_in_the_line(struct office *s)
{
	for (unsigned i = 0; i < 2000; i++)
		office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(queue_hold_site(s->queue, "*one.example*"), 0);
	office_wait(2 * USEC_HOUR);
	assert_int_equal(office_count(s, NULL, ONE), 1); /* it was under way */
	s->service = USEC_MS;
	assert_int_equal(queue_release_site(s->queue, "*ONE.example*"), 0);
	office_wait(10 * USEC_MIN);
	assert_int_equal(office_count(s, NULL, ONE), 2000);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_what_stands_in_the_line_is_held_too(void **state)
{
	office_play(slow, what_stands_in_the_line, NULL);
}

static void by_domain(struct office *s)
{
	assert_int_equal(queue_hold_site(s->queue, "one.example"), 0);
	assert_int_equal(queue_hold_site(s->queue, "dead.example"), 0);
	office_submit(s, "a@sender.example", "x@one.example");
	office_submit(s, "a@sender.example", "x@two.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "x@one.example", NULL), 0);
	assert_int_equal(office_count(s, "x@two.example", NULL), 1);
}

static void after_a_restart(struct office *s)
{
	const char *const *held;
	unsigned n;

	office_submit(s, "a@sender.example", "y@one.example");
	office_wait(USEC_HOUR);
	assert_int_equal(office_count(s, "x@one.example", NULL) + office_count(s, "y@one.example", NULL), 0);
	assert_int_equal(queue_held_sites(s->queue, s->arena, &held, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(held[0], "one.example");
	assert_int_equal(queue_release_site(s->queue, "one.example"), 0);
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "x@one.example", NULL), 1);
	assert_int_equal(office_count(s, "y@one.example", NULL), 1);
	assert_int_equal(queue_held_sites(s->queue, s->arena, &held, &n), 0);
	assert_int_equal(n, 1);
}

static void test_a_domain_is_held_over_a_restart(void **state)
{
	office_play(prepare, by_domain, after_a_restart);
}

static void too_old(struct office *s)
{
	assert_int_equal(queue_hold_site(s->queue, "one.example"), 0);
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(5 * USEC_HOUR);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1); /* that it is late */
	office_wait(5 * USEC_DAY);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2); /* and that it ended */
	assert_int_equal(office_count(s, "x@one.example", NULL), 0);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_held_mail_gets_too_old_like_any_other(void **state)
{
	office_play(prepare, too_old, NULL);
}

static void test_a_list_that_is_none_is_refused(void **state)
{
	_cleanup_(held_freep) struct held *h = NULL;

	assert_int_equal(held_new(&h), 0);
	assert_int_equal(held_read(h, SLICE("a.example\nb.example\na.example\n")), 0);
	assert_true(held_matches(h, NULL, SLICE("A.example")));
	assert_false(held_matches(h, "c.example", SLICE_NULL));
	assert_int_equal(held_read(h, SLICE("x\n\ny\n")), -EBADMSG);
	assert_int_equal(held_read(h, SLICE("x y\n")), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_held_site_keeps_what_comes_and_gives_it_once_released),
		cmocka_unit_test(test_what_stands_in_the_line_is_held_too),
		cmocka_unit_test(test_a_domain_is_held_over_a_restart),
		cmocka_unit_test(test_held_mail_gets_too_old_like_any_other),
		cmocka_unit_test(test_a_list_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
