/* Mail that is picked up: who gets what of it, from which loop it comes, what a broken connection and missing memory leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/pickup.h"
#include "queue/site_facts.h"
#include "unit/queue_office.h"

#define SITE "atrn:customer.example"

static unsigned carried, most; /* of the courier, which gets no context of ours */

/* Carries up to `most` deliveries, of which the last one is not answered any more. */
static void carry(struct courier *c, struct stream *stream, const char *tls, struct slot *(*next)(void *context), void *context)
{
	struct slot *slot;

	assert_null(stream);
	while (carried < most && (slot = next(context))) {
		struct delivery *d;

		while (carried < most && slot_next(slot, deadline_after(now(), 2 * USEC_SEC), &d) == 0) {
			bool lost = ++carried == most;

			assert_true(strncmp(slot_info(slot)->site, "atrn:", 5) == 0);
			for (unsigned i = 0; i < d->n_recipients; i++) {
				if (lost)
					answer_fault(&d->recipients[i], STAGE_DOT, "The connection broke");
				else
					answer_reply(&d->recipients[i], STAGE_DOT, 250, 0, 0, "OK");
				if (!lost)
					d->recipients[i].outcome.kind = OUTCOME_DELIVERED;
			}
			slot_done(slot, d);
		}
	}
}

static void prepare(struct office *s)
{
	static const struct hop hops[] = { { .kind = HOP_ATRN } };
	static const char *const to[] = { "*@customer.example", "*@second.example" };
	static const struct route_rule rules[] = { { .to = to, .n_to = 2, .ladder = { "routes[0]", 1, hops } } };

	carried = 0;
	most = UINT32_MAX;
	s->routes.rules = rules;
	s->routes.n_rules = 1;
	s->courier.reversed = carry;
}

/* Picks up the mail of one or two domains; how many messages waited for it. */
static unsigned pick_up(struct office *s, const char *first, const char *second)
{
	struct slice domains[] = { slice_from(first), slice_from(second) };
	struct pickup *p;
	unsigned n;

	assert_int_equal(queue_pickup_begin(s->queue, domains, second ? 2 : 1, &p, &n), 0);
	carried = 0;
	(void) queue_pickup_run(p, NULL, NULL);
	queue_pickup_end(p);
	return n;
}

static void waits(struct office *s)
{
	struct site_facts f;

	for (unsigned i = 0; i < 200; i++)
		office_submit(s, "a@sender.example", i % 2 ? "x@customer.example" : "x@customer.example y@second.example");
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(3 * USEC_HOUR);
	assert_int_equal(office_count(s, "x@customer.example", NULL), 0); /* nobody connects to anything */
	assert_int_equal(office_count(s, "x@one.example", NULL), 1);
	assert_int_equal(queue_site_facts(s->queue, SITE, SLICE("customer.example"), s->arena, &f), 0);
	assert_true(f.waiting >= 100 && f.waiting <= 200); /* a message for two domains is parked for one of them */
	assert_int_equal(pick_up(s, "elsewhere.example", NULL), 0);
	assert_int_equal(pick_up(s, "second.example", NULL), 100);
	assert_int_equal(carried, 100);
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 200);
	assert_int_equal(pick_up(s, "second.example", "CUSTOMER.example"), 200);
	assert_int_equal(carried, 200);
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
	assert_int_equal(office_events(s, EVENT_DELIVERED), 301);
}

static void test_what_waits_goes_to_who_picks_it_up(void **state)
{
	office_play(prepare, waits, NULL);
}

static void breaks(struct office *s)
{
	for (unsigned i = 0; i < 50; i++)
		office_submit(s, "a@sender.example", "x@customer.example");
	office_wait(USEC_MIN);
	most = 20;
	assert_int_equal(pick_up(s, "customer.example", NULL), 50);
	assert_int_equal(carried, 20);
	office_wait(USEC_SEC);
	assert_int_equal(office_summary(s).messages, 31); /* the one whose answer is lost, too */
	office_wait(2 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 31);
	most = UINT32_MAX;
	assert_int_equal(pick_up(s, "customer.example", NULL), 31);
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
	assert_int_equal(office_events(s, EVENT_DELIVERED), 50);
}

static void test_a_broken_connection_loses_nothing(void **state)
{
	office_play(prepare, breaks, NULL);
}

static void together(struct office *s)
{
	struct slice domains[PICKUP_DOMAINS_MAX + 1] = { SLICE("customer.example"), SLICE("customer.EXAMPLE"), SLICE("second.example") };
	struct pickup *p, *other = NULL;
	unsigned n;

	office_submit(s, "a@sender.example", "x@customer.example y@second.example");
	office_wait(USEC_MIN);
	assert_int_equal(queue_pickup_begin(s->queue, domains, 2, &p, &n), 0); /* one, named twice */
	assert_int_equal(n, 1);
	assert_int_equal(queue_pickup_begin(s->queue, domains, 3, &other, &n), -EBUSY);
	assert_null(other);
	assert_int_equal(queue_pickup_begin(s->queue, domains + 2, 1, &other, &n), 0); /* the other domain is free */
	queue_pickup_end(other);
	queue_pickup_stop(p);
	assert_int_equal(queue_pickup_run(p, NULL, NULL), 0);
	assert_int_equal(carried, 0);
	queue_pickup_end(p);
	assert_int_equal(queue_pickup_begin(s->queue, domains, 0, &p, &n), -EINVAL);
	assert_int_equal(queue_pickup_begin(s->queue, domains, PICKUP_DOMAINS_MAX + 1, &p, &n), -EINVAL);
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 1);
	assert_int_equal(pick_up(s, "customer.example", "second.example"), 2); /* it waits for both */
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_one_at_a_time_picks_up_a_domain(void **state)
{
	office_play(prepare, together, NULL);
}

static void forgotten(struct office *s)
{
	office_submit(s, "a@sender.example", "x@customer.example");
	office_wait(5 * USEC_HOUR);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1); /* that it is late */
	office_wait(5 * USEC_DAY);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_what_nobody_picks_up_goes_back(void **state)
{
	office_play(prepare, forgotten, NULL);
}

static void submit_and_stop(struct office *s)
{
	for (unsigned i = 0; i < 20; i++)
		office_submit(s, "a@sender.example", "x@customer.example");
	office_wait(USEC_MIN);
}

static void after_a_restart(struct office *s)
{
	office_wait(USEC_SEC);
	assert_int_equal(pick_up(s, "customer.example", NULL), 20);
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_what_waits_survives_a_restart(void **state)
{
	office_play(prepare, submit_and_stop, after_a_restart);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_waits_goes_to_who_picks_it_up),
		cmocka_unit_test(test_a_broken_connection_loses_nothing),
		cmocka_unit_test(test_one_at_a_time_picks_up_a_domain),
		cmocka_unit_test(test_what_nobody_picks_up_goes_back),
		cmocka_unit_test(test_what_waits_survives_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
