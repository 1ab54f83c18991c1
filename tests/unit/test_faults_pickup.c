/* Mail that is picked up and sites that are held, each allocation failing once: nothing is lost, nothing goes twice, and a
 * list of held sites is never half changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "queue/pickup.h"
#include "unit/queue_office.h"

#define MESSAGES 4u

static void deliver(struct delivery_recipient *r)
{
	answer_reply(r, STAGE_DOT, 250, 0, 0, "OK");
	r->outcome.kind = OUTCOME_DELIVERED;
}

static void carry(struct courier *c, struct stream *stream, const char *tls, struct slot *(*next)(void *context), void *context)
{
	struct slot *slot;
	struct delivery *d;

	while ((slot = next(context)))
		while (slot_next(slot, deadline_after(now(), USEC_SEC), &d) == 0) {
			for (unsigned i = 0; i < d->n_recipients; i++)
				deliver(&d->recipients[i]);
			slot_done(slot, d);
		}
}

static void deliver_all(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	deliver(r);
}

static void prepare(struct office *s)
{
	static const struct hop hops[] = { { .kind = HOP_ATRN } };
	static const char *const to[] = { "*@customer.example", "*@second.example" };
	static const struct route_rule rules[] = { { .to = to, .n_to = 2, .ladder = { "routes[0]", 1, hops } } };

	s->answer = deliver_all;
	s->routes.rules = rules;
	s->routes.n_rules = 1;
	s->courier.reversed = carry;
	s->config.held = "/spool/held-sites";
}

static bool on_a_loop_of_the_queue(void *context)
{
	return loop_current();
}

static int pick_up(struct office *s)
{
	const struct slice domains[] = { SLICE("customer.example"), SLICE("second.example") };
	struct pickup *p;
	unsigned n;
	int r = queue_pickup_begin(s->queue, domains, 2, &p, &n);

	if (r < 0)
		return r;
	(void) queue_pickup_run(p, NULL, NULL);
	queue_pickup_end(p);
	return 0;
}

static void picked_up(struct office *s)
{
	int r;

	for (unsigned i = 0; i < MESSAGES; i++)
		office_submit(s, "a@sender.example", "x@customer.example y@second.example");
	office_wait(USEC_MIN);
	faults_begin(on_a_loop_of_the_queue, NULL);
	r = pick_up(s);
	faults_end();
	faults_check(r == 0 || (r == -ENOMEM && faults_fired()));
	for (unsigned i = 0; i < 5 && office_summary(s).messages > 0; i++) {
		office_wait(10 * USEC_MIN);
		assert_int_equal(pick_up(s), 0);
		office_wait(USEC_SEC);
	}
	faults_check(office_summary(s).messages == 0);
	faults_check(office_events(s, EVENT_DELIVERED) == 2 * MESSAGES);
}

static void play_pickup(void *context)
{
	office_play(prepare, picked_up, NULL);
}

static void test_what_is_picked_up_goes_once(void **state)
{
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = "pickup", .scenario = play_pickup, .times = 1, .most = 150 }), 3));
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = "pickup", .scenario = play_pickup, .times = 5, .most = 100 }), 3));
}

static void held_and_released(struct office *s)
{
	int r;

	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_MIN);
	faults_begin(on_a_loop_of_the_queue, NULL);
	r = queue_hold_site(s->queue, "one.example");
	faults_end();
	faults_check(r == 0 || (r < 0 && faults_fired()));
	faults_check(queue_site_is_held(s->queue, NULL, SLICE("one.example")) == (r == 0));
	if (r < 0)
		assert_int_equal(queue_hold_site(s->queue, "one.example"), 0);
	office_submit(s, "a@sender.example", "y@one.example");
	office_wait(USEC_MIN);
	faults_check(office_count(s, "y@one.example", NULL) == 0);
	faults_begin(on_a_loop_of_the_queue, NULL);
	r = queue_release_site(s->queue, "one.example");
	faults_end();
	faults_check(queue_site_is_held(s->queue, NULL, SLICE("one.example")) == (r < 0));
	if (r < 0)
		assert_int_equal(queue_release_site(s->queue, "one.example"), 0);
	office_wait(2 * USEC_HOUR);
	faults_check(office_count(s, "y@one.example", NULL) == 1);
	faults_check(office_summary(s).messages == 0);
}

static void play_held(void *context)
{
	office_play(prepare, held_and_released, NULL);
}

static void test_an_order_is_obeyed_or_refused_as_a_whole(void **state)
{
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = "held", .scenario = play_held, .times = 1, .most = 150 }), 3));
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = "held", .scenario = play_held, .times = 5, .most = 100 }), 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_what_is_picked_up_goes_once, faults_teardown),
		cmocka_unit_test_teardown(test_an_order_is_obeyed_or_refused_as_a_whole, faults_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
