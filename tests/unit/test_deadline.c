/* Deadlines: each rung has its share of the time, and what can't be met goes on, and at last back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/deadline.h"
#include "unit/queue_office.h"

#define LADDER(...) \
	((struct ladder) { .n_hops = ARRAY_LEN(((struct hop[]) { __VA_ARGS__ })), .hops = (struct hop[]) { __VA_ARGS__ } })
#define MX { .kind = HOP_MX }
#define RELAY { .kind = HOP_RELAY, .when = WHEN_BLOCKED }
#define HOLD { .kind = HOP_HOLD, .when = WHEN_ANY }

/* --- shares ----------------------------------------------------------------------------------- */

static void test_each_rung_has_an_equal_share(void **state)
{
	struct ladder l = LADDER(MX, RELAY, RELAY, HOLD);
	unsigned next = 9;

	assert_in_range(deadline_share(&l, USEC_MIN, 0), 20 * USEC_SEC, 21 * USEC_SEC);
	assert_in_range(deadline_share(&l, USEC_MIN, 1), 40 * USEC_SEC, 41 * USEC_SEC);
	assert_true(deadline_share(&l, USEC_MIN, 2) == USEC_MIN);
	assert_true(deadline_share(&l, USEC_MIN, 3) == USEC_MIN); /* a rung that keeps it has none */
	assert_int_equal(deadline_next(&l, 0, &next), 0);
	assert_int_equal(next, 1);
	assert_int_equal(deadline_next(&l, 2, &next), -ENOENT);
}

static void test_the_rung_follows_the_time(void **state)
{
	struct ladder l = LADDER(MX, RELAY, RELAY, HOLD), one = LADDER(MX);
	unsigned last = 0;

	for (usec_t age = 0; age < 2 * USEC_MIN; age += 100 * USEC_MS) {
		unsigned rung = deadline_rung(&l, USEC_MIN, age);

		assert_true(rung >= last && rung <= 2);
		assert_true(age >= USEC_MIN || age < deadline_share(&l, USEC_MIN, rung));
		assert_true(rung == 0 || age >= deadline_share(&l, USEC_MIN, rung - 1));
		last = rung;
	}
	assert_int_equal(last, 2);
	assert_int_equal(deadline_rung(&l, 0, USEC_DAY), 0);
	assert_int_equal(deadline_rung(&one, USEC_MIN, USEC_DAY), 0);
}

/* --- in the queue ----------------------------------------------------------------------------- */

static const struct host_port relay_hosts[] = { { .name = "smtp.provider.example", .port = 587 } };
static const struct relay backup = { .name = "backup", .n_hosts = 1, .hosts = relay_hosts };
static const struct hop two_ways[] = { { .kind = HOP_MX }, { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_BLOCKED } };
static const struct hop one_way[] = { { .kind = HOP_MX } };

static void with_deadline(struct office *s, unsigned n_hops, const struct hop *hops)
{
	static struct route_rule rule; /* stays for the office */

	rule = (struct route_rule) { .ladder = { "routes[0]", n_hops, hops, USEC_MIN } };
	s->routes.rules = &rule;
	s->routes.n_rules = 1;
	s->config.site_initial = s->config.site_connections = 1;
}

static void two(struct office *s)
{
	with_deadline(s, 2, two_ways);
}

static void one(struct office *s)
{
	with_deadline(s, 1, one_way);
}

static void mx_says_later(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (info->hop->kind == HOP_MX)
		answer_reply(r, STAGE_RCPT, 450, 2, 0, "mailbox busy");
	else
		r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void goes_on_at_once(struct office *s)
{
	s->answer = mx_says_later;
	office_submit(s, "a@sender.example", "b@one.example");
	office_wait(USEC_SEC);
	/* The next try would be in five minutes. */
	assert_int_equal(office_count(s, "b@one.example", "mx:mx1.one.example"), 1);
	assert_int_equal(office_count(s, "b@one.example", "relay:backup"), 1);
	assert_int_equal(office_events(s, EVENT_STEPPED), 1);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_what_cannot_be_met_goes_to_the_next_rung(void **state)
{
	office_play(two, goes_on_at_once, NULL);
}

static void goes_back_at_once(struct office *s)
{
	s->answer = mx_says_later;
	office_submit(s, "a@sender.example", "b@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "b@one.example", NULL), 1);
	assert_int_equal(office_events(s, EVENT_FAILED), 1);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 1);
}

static void test_and_from_the_last_one_back_to_its_sender(void **state)
{
	office_play(one, goes_back_at_once, NULL);
}

static void slow_line(struct office *s)
{
	two(s);
	s->service = 10 * USEC_SEC;
}

static void leaves_the_line(struct office *s)
{
	usec_t began = now();

	for (unsigned i = 0; i < 10; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(30 * USEC_SEC + 500 * USEC_MS);
	assert_int_equal(office_events(s, EVENT_STEPPED), 6); /* three are done, one is under way */
	office_wait(2 * USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
	for (unsigned i = 0; i < s->n_attempts; i++)
		if (strcmp(s->attempts[i].address, "b@one.example") == 0)
			assert_true(s->attempts[i].at <= began + USEC_MIN + 10 * USEC_SEC + 100 * USEC_MS); /* they came within some ms */
	/* The relay takes one in ten seconds, too. */
	assert_in_range(office_count(s, NULL, "relay:backup"), 3, 4);
	assert_in_range(office_events(s, EVENT_FAILED), 2, 3);
}

static void test_who_waits_in_line_for_too_long_takes_the_next_way(void **state)
{
	office_play(slow_line, leaves_the_line, NULL);
}

static void mx_is_down(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (info->hop->kind == HOP_MX)
		answer_fault(r, STAGE_CONNECT, "connection refused");
	else
		mx_says_later(s, info, d, r);
}

static void parked_then_on(struct office *s)
{
	s->answer = mx_is_down;
	for (unsigned i = 0; i < 5; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(29 * USEC_SEC);
	assert_true(office_summary(s).messages >= 4); /* one was tried and went on */
	office_wait(3 * USEC_SEC);
	assert_int_equal(office_summary(s).messages, 0);
	assert_int_equal(office_count(s, NULL, "relay:backup"), 5);
}

static void test_what_is_parked_goes_on_when_its_share_is_over(void **state)
{
	office_play(two, parked_then_on, NULL);
}

static void dead_end(struct office *s)
{
	s->answer = mx_is_down;
	for (unsigned i = 0; i < 5; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(20 * USEC_SEC);
}

static void over_a_restart(struct office *s)
{
	s->answer = mx_is_down;
	office_wait(45 * USEC_SEC);
	assert_int_equal(office_events(s, EVENT_FAILED), 5);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 5);
}

static void test_a_deadline_holds_over_a_restart(void **state)
{
	office_play(one, dead_end, over_a_restart);
}

static void before_others(struct office *s)
{
	static const char *const urgent[] = { "code*@*" };
	static struct route_rule rule;

	rule = (struct route_rule) { .to = urgent, .n_to = 1, .ladder = { "routes[0]", 1, one_way, USEC_MIN } };
	s->routes.rules = &rule;
	s->routes.n_rules = 1;
	s->config.site_initial = s->config.site_connections = 1;
	s->service = 100 * USEC_MS;
}

static void first(struct office *s)
{
	usec_t began;

	s->wish.priority = 4;
	for (unsigned i = 0; i < 200; i++)
		office_submit(s, "news@sender.example", "b@one.example");
	s->wish.priority = 0;
	office_wait(USEC_SEC);
	began = now();
	office_submit(s, "a@sender.example", "code1@one.example");
	office_wait(500 * USEC_MS);
	assert_int_equal(office_count(s, "code1@one.example", NULL), 1);
	assert_true(office_last(s, "code1@one.example")->at < began + 300 * USEC_MS);
	office_wait(USEC_MIN);
}

static void test_who_has_a_deadline_goes_first(void **state)
{
	office_play(before_others, first, NULL);
}

/* --- RFC 2852 --------------------------------------------------------------------------------- */

static void by_its_sender(struct office *s)
{
	s->answer = mx_is_down;
	s->wish.by_mode = 'R';
	s->wish.deliver_by = world_wall(s->world) + (wall_t) (2 * USEC_MIN);
	office_submit(s, "a@sender.example", "ladder@one.example");
	s->wish.deliver_by = 0;
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "ladder@one.example", "relay:backup"), 1);
}

static void test_the_time_of_its_sender_moves_it_on_as_well(void **state)
{
	office_play(NULL, by_its_sender, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_rung_has_an_equal_share),
		cmocka_unit_test(test_the_rung_follows_the_time),
		cmocka_unit_test(test_what_cannot_be_met_goes_to_the_next_rung),
		cmocka_unit_test(test_and_from_the_last_one_back_to_its_sender),
		cmocka_unit_test(test_who_waits_in_line_for_too_long_takes_the_next_way),
		cmocka_unit_test(test_what_is_parked_goes_on_when_its_share_is_over),
		cmocka_unit_test(test_a_deadline_holds_over_a_restart),
		cmocka_unit_test(test_who_has_a_deadline_goes_first),
		cmocka_unit_test(test_the_time_of_its_sender_moves_it_on_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
