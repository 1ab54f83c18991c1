/* The whole queue: durable spool, routing by a zone, sites on two loops, and a courier whose answers the tests decide;
 * in a simulated world, so that five days take a moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/site_facts.h"
#include "unit/queue_office.h"

#define DEAD "mx:mx.dead.example"
#define RELAY "relay:backup"

static void assert_empty(struct office *s)
{
	struct queue_summary sum = office_summary(s);

	assert_int_equal(sum.messages, 0);
	assert_int_equal(sum.recipients, 0);
	assert_int_equal(sum.bytes, 0);
	assert_int_equal(sum.held, 0);
	assert_int_equal(sum.deferred, 0);
	assert_int_equal(sum.active, 0);
}

/* --- what goes well --------------------------------------------------------------------------- */

static void delivers(struct office *s)
{
	struct queue_counters c;

	office_submit(s, "a@sender.example", "b@one.example");
	office_submit(s, "", "c@local.example");
	assert_int_equal(office_summary(s).messages, 2);
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "b@one.example", "mx:mx1.one.example"), 1);
	assert_int_equal(office_count(s, "c@local.example", "maildir:local.example"), 1);
	assert_empty(s);
	queue_counters(s->queue, &c);
	assert_int_equal(c.submitted, 2);
	assert_int_equal(c.delivered, 2);
	assert_int_equal(office_events(s, EVENT_DONE), 2);
	assert_int_equal(office_events(s, EVENT_ROUTED), 2);
}

static void test_a_message_is_delivered_and_leaves_nothing(void **state)
{
	office_play(NULL, delivers, NULL);
}

static void groups(struct office *s)
{
	office_submit(s, "a@sender.example", "warm@two.example");
	office_submit(s, "a@sender.example", "warm@twin.example warm@one.example");
	office_wait(USEC_SEC);
	office_submit(s, "a@sender.example", "x@two.example y@one.example z@twin.example v@two.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_last(s, "x@two.example")->group, 3); /* domains of one site share a transaction */
	assert_int_equal(office_last(s, "v@two.example")->group, 3);
	assert_int_equal(office_last(s, "y@one.example")->group, 1);
	assert_int_equal(office_count(s, NULL, NULL), 7);
	assert_empty(s);
}

static void test_recipients_of_one_site_go_in_one_transaction(void **state)
{
	office_play(NULL, groups, NULL);
}

static void ten_each(struct office *s)
{
	s->config.recipients_per_transaction = 10;
}

static void splits(struct office *s)
{
	char list[2000] = "";

	for (unsigned i = 0; i < 35; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%sr%u@one.example", i ? " " : "", i);
	office_submit(s, "a@sender.example", list);
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, NULL), 35);
	assert_int_equal(office_last(s, "r0@one.example")->group, 10);
	assert_int_equal(office_last(s, "r34@one.example")->group, 5);
	assert_empty(s);
}

static void test_a_transaction_has_only_so_many_recipients(void **state)
{
	office_play(ten_each, splits, NULL);
}

static void many(struct office *s)
{
	for (unsigned i = 0; i < 500; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(20 * USEC_SEC);
	assert_int_equal(office_count(s, NULL, NULL), 500);
	assert_true(s->most_running > 5);
	assert_true(s->most_running <= 20);
	assert_empty(s);
}

static void slow_courier(struct office *s)
{
	s->service = 200 * USEC_MS;
}

static void test_the_window_opens_and_keeps_its_limit(void **state)
{
	office_play(slow_courier, many, NULL);
}

/* --- again, later ----------------------------------------------------------------------------- */

static void twice_not_now(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (office_count(s, r->address, NULL) < 2 && strcmp(r->address, "slow@one.example") == 0)
		answer_reply(r, STAGE_RCPT, 451, 4, 0, "Not now");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void retries(struct office *s)
{
	usec_t begin = now();

	s->answer = twice_not_now;
	office_submit(s, "a@sender.example", "quick@one.example slow@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "quick@one.example", NULL), 1);
	assert_int_equal(office_count(s, "slow@one.example", NULL), 1);
	assert_int_equal(office_summary(s).deferred, 1);
	assert_int_equal(office_summary(s).recipients, 1);
	office_wait(6 * USEC_MIN);
	assert_int_equal(office_count(s, "slow@one.example", NULL), 2);
	assert_int_equal(office_last(s, "slow@one.example")->attempts, 1);
	office_wait(18 * USEC_MIN);
	assert_int_equal(office_count(s, "slow@one.example", NULL), 3);
	assert_true(office_last(s, "slow@one.example")->at - begin >= 20 * USEC_MIN);
	assert_int_equal(office_count(s, "quick@one.example", NULL), 1);
	assert_empty(s);
}

static void test_what_was_deferred_is_tried_again_by_the_schedule(void **state)
{
	office_play(NULL, retries, NULL);
}

static void nobody_home(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, DEAD) == 0)
		answer_fault(r, STAGE_CONNECT, "Connection refused");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void dead_site(struct office *s)
{
	unsigned after_a_minute;

	s->answer = nobody_home;
	for (unsigned i = 0; i < 1000; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(20 * USEC_SEC);
	after_a_minute = office_count(s, NULL, DEAD);
	assert_true(after_a_minute <= 5);
	office_submit(s, "a@sender.example", "b@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "b@one.example", NULL), 1); /* others don't wait for it */
	office_wait(USEC_HOUR);
	assert_true(office_count(s, NULL, DEAD) < 20);
	assert_true(office_count(s, NULL, DEAD) > after_a_minute);
}

static void test_a_dead_site_costs_a_probe_now_and_then(void **state)
{
	office_play(NULL, dead_site, NULL);
}

static void dead_for_an_hour(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, DEAD) == 0 && now() < USEC_HOUR)
		answer_fault(r, STAGE_CONNECT, "Connection refused");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void comes_back(struct office *s)
{
	s->answer = dead_for_an_hour;
	for (unsigned i = 0; i < 300; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(59 * USEC_MIN);
	assert_int_equal(office_summary(s).messages, 300);
	office_wait(2 * USEC_HOUR);
	assert_empty(s);
	assert_true(office_count(s, NULL, DEAD) < 300 + 30);
}

static void test_a_site_that_comes_back_gets_everything(void **state)
{
	office_play(NULL, comes_back, NULL);
}

static void never_tried(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	r->outcome.kind = OUTCOME_NONE;
}

static void untried(struct office *s)
{
	s->answer = never_tried;
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, NULL, NULL), 3); /* then it counts as one attempt that failed */
	assert_int_equal(office_summary(s).deferred, 1);
}

static void test_what_comes_back_untried_goes_again_but_not_for_ever(void **state)
{
	office_play(NULL, untried, NULL);
}

static void dns_trouble(struct office *s)
{
	office_submit(s, "a@sender.example", "x@broken.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).deferred, 1);
	assert_int_equal(office_count(s, NULL, NULL), 0);
	office_submit(s, "", "x@null.example y@no-such-name.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 1);
	assert_int_equal(office_events(s, EVENT_FAILED), 2);
}

static void test_trouble_of_the_dns_defers_and_its_answers_decide(void **state)
{
	office_play(NULL, dns_trouble, NULL);
}

/* --- the ladder ------------------------------------------------------------------------------- */

static void ladder_dead(struct office *s)
{
	s->answer = nobody_home;
	for (unsigned i = 0; i < 500; i++)
		office_submit(s, "a@sender.example", "ladder@dead.example");
	office_wait(30 * USEC_SEC);
	assert_int_equal(office_count(s, NULL, RELAY), 500);
	assert_true(office_count(s, NULL, DEAD) <= 5);
	assert_empty(s);
	assert_int_equal(office_events(s, EVENT_STEPPED), 500);
	/* One canary after the back-off, not each message. */
	office_wait(2 * USEC_MIN);
	for (unsigned i = 0; i < 20; i++)
		office_submit(s, "a@sender.example", "ladder@dead.example");
	office_wait(5 * USEC_SEC);
	assert_int_equal(office_count(s, NULL, RELAY), 520);
	assert_true(office_count(s, NULL, DEAD) <= 6);
}

static void test_when_nobody_answers_the_next_rung_takes_all_that_waits(void **state)
{
	office_play(NULL, ladder_dead, NULL);
}

static void blocking(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, "mx:mx.blocks.example") == 0 && strncmp(r->address, "ladder-nobody", 13) == 0)
		answer_reply(r, STAGE_RCPT, 550, 1, 1, "User unknown");
	else if (strcmp(info->site, "mx:mx.blocks.example") == 0)
		answer_reply(r, STAGE_RCPT, 554, 7, 1, "Service unavailable; Client host [192.0.2.99] blocked using zen.spamhaus.org");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void blocked(struct office *s)
{
	s->answer = blocking;
	office_submit(s, "", "ladder-nobody@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, RELAY), 0); /* a mailbox that does not exist is not relayed */
	assert_empty(s);
	office_submit(s, "", "ladder1@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, "mx:mx.blocks.example"), 2);
	assert_int_equal(office_count(s, "ladder1@blocks.example", RELAY), 1);
	/* As long as it cools down, what can go elsewhere does so without an attempt. */
	for (unsigned i = 0; i < 10; i++)
		office_submit(s, "", "ladder2@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "ladder2@blocks.example", RELAY), 10);
	assert_int_equal(office_count(s, NULL, "mx:mx.blocks.example"), 2);
	assert_empty(s);
	office_wait(61 * USEC_MIN);
	for (unsigned i = 0; i < 10; i++)
		office_submit(s, "", "ladder2@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, "mx:mx.blocks.example"), 3); /* a canary */
	/* Without a ladder it is a failure. */
	office_submit(s, "a@sender.example", "plain@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1);
	assert_empty(s);
}

static void test_when_our_address_is_blocked_the_next_rung_is_used(void **state)
{
	office_play(NULL, blocked, NULL);
}

#define FIRST "mx:mx.blocks.example;from=first"
#define SECOND "mx:mx.blocks.example;from=second"

static bool second_is_blocked, first_is_blocked;

static void blocking_by_source(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	const struct source_pool *pool = info->hop->source;
	bool refuses = pool && (strcmp(pool->name, "first") == 0 ? first_is_blocked : second_is_blocked);

	if (refuses && strncmp(r->address, "pools-nobody", 12) == 0)
		answer_reply(r, STAGE_RCPT, 550, 1, 1, "User unknown");
	else if (refuses)
		answer_reply(r, STAGE_RCPT, 554, 7, 1, "Service unavailable; Client host [192.0.2.99] blocked using zen.spamhaus.org");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void submit_some(struct office *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		office_submit(s, "a@sender.example", "pools@blocks.example");
	office_wait(USEC_SEC);
}

static void cool_by_source(struct office *s)
{
	s->answer = blocking_by_source;
	first_is_blocked = true;
	second_is_blocked = false;
	submit_some(s, 1); /* the same message moves at once */
	assert_int_equal(office_count(s, NULL, FIRST), 1);
	assert_int_equal(office_count(s, NULL, SECOND), 1);
	submit_some(s, 10); /* the first pool is left alone, the second one is another site */
	assert_int_equal(office_count(s, NULL, FIRST), 1);
	assert_int_equal(office_count(s, NULL, SECOND), 11);
	second_is_blocked = true;
	submit_some(s, 10);
	assert_int_equal(office_count(s, NULL, RELAY), 10);
	assert_true(office_count(s, NULL, SECOND) - 11 <= 10); /* those that were under way */
	assert_empty(s);
	/* An hour later one message tests the first; it dies, and all go on to the second, which is being tested by one, too. */
	office_wait(61 * USEC_MIN);
	s->n_attempts = 0;
	submit_some(s, 10);
	assert_int_equal(office_count(s, NULL, FIRST), 1);
	assert_int_equal(office_count(s, NULL, SECOND), 1);
	assert_int_equal(office_count(s, NULL, RELAY), 10);
	/* It has to wait for twice as long now. */
	first_is_blocked = false;
	office_wait(61 * USEC_MIN);
	submit_some(s, 10);
	assert_int_equal(office_count(s, NULL, FIRST), 1);
	office_wait(61 * USEC_MIN);
	s->n_attempts = 0;
	submit_some(s, 10);
	assert_int_equal(office_count(s, NULL, FIRST), 1); /* one canary, while the others still go elsewhere */
	submit_some(s, 10);
	assert_int_equal(office_count(s, NULL, FIRST), 11); /* and then all are back */
	assert_empty(s);
}

static void test_each_source_cools_down_by_itself_and_one_canary_tests_it(void **state)
{
	office_play(NULL, cool_by_source, NULL);
}

static void canary_for_nobody(struct office *s)
{
	s->answer = blocking_by_source;
	first_is_blocked = second_is_blocked = true;
	submit_some(s, 1);
	assert_int_equal(office_count(s, NULL, RELAY), 1);
	office_wait(61 * USEC_MIN);
	s->n_attempts = 0;
	/* A fault of the recipient never moves, be it that of the canary. */
	office_submit(s, "a@sender.example", "pools-nobody@blocks.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, FIRST), 1);
	assert_int_equal(office_count(s, "pools-nobody@blocks.example", SECOND), 0);
	assert_int_equal(office_count(s, "pools-nobody@blocks.example", RELAY), 0);
}

static void test_a_canary_whose_recipient_does_not_exist_bounces(void **state)
{
	office_play(NULL, canary_for_nobody, NULL);
}

static void facts_for_people(struct office *s)
{
	struct site_facts f;

	s->answer = blocking_by_source;
	first_is_blocked = true;
	second_is_blocked = false;
	assert_int_equal(queue_site_facts(s->queue, FIRST, SLICE_NULL, s->arena, &f), 0);
	assert_false(f.known);
	submit_some(s, 2);
	assert_int_equal(queue_site_facts(s->queue, FIRST, SLICE_NULL, s->arena, &f), 0);
	assert_true(f.known && !f.backs_off && !f.canary);
	assert_int_equal(f.cool, WHEN_BLOCKED);
	assert_int_equal(f.escapes, WHEN_BLOCKED);
	assert_true(f.cool_until > world_wall(s->world));
	assert_non_null(strstr(f.last_error, "zen.spamhaus.org"));
	assert_string_equal(f.state, "blocking us");
	assert_int_equal(queue_site_facts(s->queue, SECOND, SLICE_NULL, s->arena, &f), 0);
	assert_true(f.known && !f.cool && !f.escapes);
	office_wait(61 * USEC_MIN);
	assert_int_equal(queue_site_facts(s->queue, FIRST, SLICE_NULL, s->arena, &f), 0);
	assert_true(f.cool == WHEN_BLOCKED && f.escapes == 0); /* the next one is a canary */
}

static void test_what_a_site_is_up_to_is_told(void **state)
{
	office_play(NULL, facts_for_people, NULL);
}

static bool relay_is_down;

static void relay_down(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, RELAY) == 0 && relay_is_down) {
		r->outcome = (struct outcome) { .kind = OUTCOME_DEFERRED, .stage = STAGE_CONNECT, .class = CLASS_UNREACHABLE, .site_fault = true,
						.reply = { 451, { 4, 4, 1 }, "the connection was refused" } };
		return;
	}
	blocking(s, info, d, r);
}

static void adopt_routes(struct office *s, const struct route_config *c)
{
	struct route_index *index = NULL;

	assert_int_equal(router_prepare(s->router, c, &index), 0);
	router_adopt(s->router, index);
	queue_reroute(s->queue);
	office_wait(USEC_SEC);
}

static void relay_gone(struct office *s)
{
	static const struct hop other_hops[] = { { .kind = HOP_HOST, .host = { .name = "other.example", .port = 25 } }, { .kind = HOP_DISCARD, .when = WHEN_THROTTLED } };
	static const struct route_rule rules[] = { { .ladder = { "new", 2, other_hops } } };
	static struct route_config changed;

	relay_is_down = true;
	s->answer = relay_down;
	for (unsigned i = 0; i < 20; i++)
		office_submit(s, "a@sender.example", "ladder@blocks.example");
	office_wait(5 * USEC_SEC);
	assert_true(office_count(s, NULL, RELAY) >= 1);
	s->n_attempts = 0;
	changed = s->routes;
	changed.rules = rules;
	changed.n_rules = 1;
	changed.relays = NULL;
	changed.n_relays = 0;
	adopt_routes(s, &changed);
	/* At once, and from the first rung of the new ladder: the second one was never meant for them. */
	assert_true(office_count(s, NULL, "host:other.example:25") >= 15);
	office_wait(USEC_HOUR); /* those that were tried wait for their own time */
	assert_int_equal(office_count(s, NULL, "host:other.example:25"), 20);
	assert_int_equal(office_count(s, NULL, RELAY), 0);
	assert_int_equal(office_events(s, EVENT_REMOVED), 0);
	assert_empty(s);
}

static void test_what_waits_for_a_relay_that_has_gone_goes_by_the_new_routes(void **state)
{
	office_play(NULL, relay_gone, NULL);
}

static void later_rung(struct office *s)
{
	s->answer = nobody_home;
	office_submit(s, "a@sender.example", "late@dead.example");
	office_wait(29 * USEC_MIN);
	assert_int_equal(office_count(s, NULL, RELAY), 0);
	office_wait(2 * USEC_MIN);
	assert_int_equal(office_count(s, NULL, RELAY), 1);
	assert_empty(s);
}

static void test_a_rung_for_the_delayed_opens_in_time(void **state)
{
	office_play(NULL, later_rung, NULL);
}

static void later_rung_1(struct office *s)
{
	s->answer = nobody_home;
	office_submit(s, "a@sender.example", "late@dead.example");
	office_wait(22 * USEC_MIN); /* the third attempt is due at 50 minutes or so */
}

static void later_rung_2(struct office *s)
{
	office_wait(7 * USEC_MIN);
	assert_int_equal(office_count(s, NULL, RELAY), 0);
	office_wait(2 * USEC_MIN);
	assert_int_equal(office_count(s, NULL, RELAY), 1);
	assert_empty(s);
}

static void test_a_rung_for_the_delayed_opens_in_time_after_a_restart(void **state)
{
	office_play(NULL, later_rung_1, later_rung_2);
}

/* --- routes that deliver nothing -------------------------------------------------------------- */

static void special(struct office *s)
{
	msgid_t held;
	unsigned n = 0;

	office_submit(s, "a@sender.example", "drop@one.example");
	office_wait(USEC_SEC);
	assert_empty(s);
	assert_int_equal(s->n_attempts, 0);
	office_submit(s, "a@sender.example", "reject@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, NULL, NULL), 1);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1); /* the notification */
	held = office_submit(s, "a@sender.example", "held@one.example");
	office_wait(10 * USEC_DAY);
	assert_int_equal(office_summary(s).held, 1);
	assert_int_equal(queue_act(s->queue, QUEUE_RELEASE, &(struct queue_filter) { .id = held }, &n), 0);
	assert_int_equal(n, 1);
	office_wait(USEC_SEC);
	/* Ten days are more than it may wait: released, it expires. */
	assert_int_equal(office_count(s, "held@one.example", NULL), 0);
	held = office_submit(s, "a@sender.example", "held@one.example");
	office_wait(USEC_DAY);
	assert_int_equal(queue_act(s->queue, QUEUE_RELEASE, &(struct queue_filter) { .id = held }, &n), 0);
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "held@one.example", "mx:mx1.one.example"), 1);
	assert_empty(s);
}

static void test_hold_discard_and_reject(void **state)
{
	office_play(NULL, special, NULL);
}

/* --- notifications ---------------------------------------------------------------------------- */

static void refuse_strangers(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, "mx:mx1.one.example") == 0)
		answer_reply(r, STAGE_RCPT, 550, 1, 1, "No such user here");
	else if (strcmp(info->site, "mx:mx1.two.example") == 0)
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_RELAYED;
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void bounces(struct office *s)
{
	s->answer = refuse_strangers;
	office_submit(s, "a@sender.example", "x@one.example y@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", "mx:mx.sender.example"), 1); /* one for both */
	assert_int_equal(office_events(s, EVENT_BOUNCED), 2);
	assert_empty(s);
	office_submit(s, "a@sender.example", "x@one.example/1"); /* NEVER */
	office_submit(s, "a@sender.example", "x@one.example/2"); /* only SUCCESS */
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1);
	office_submit(s, "a@sender.example", "x@one.example/4"); /* FAILURE */
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2);
	assert_empty(s);
}

static void test_failures_are_told_as_the_sender_asked(void **state)
{
	office_play(NULL, bounces, NULL);
}

static void doubtful_sender(struct office *s)
{
	s->answer = refuse_strangers;
	s->wish.flags = ENVELOPE_DOUBTFUL;
	office_submit(s, "a@sender.example", "x@one.example");
	office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(6 * USEC_DAY);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 0); /* neither of a failure nor of a delay */
	office_submit(s, "a@sender.example", "x@one.example/4"); /* FAILURE: that was asked for */
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1);
	s->config.notify_doubtful = true;
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2);
	assert_empty(s);
}

static void test_whose_address_was_forged_hears_only_what_was_asked_for(void **state)
{
	office_play(NULL, doubtful_sender, NULL);
}

static void no_double_bounce(struct office *s)
{
	s->answer = refuse_strangers;
	office_submit(s, "nobody@one.example", "x@one.example"); /* its notification is refused, too */
	office_submit(s, "", "x@one.example");
	office_wait(USEC_DAY);
	assert_int_equal(office_count(s, "x@one.example", NULL), 2);
	assert_int_equal(office_count(s, "nobody@one.example", NULL), 1);
	assert_empty(s);
}

static void test_nothing_is_ever_sent_about_a_notification(void **state)
{
	office_play(NULL, no_double_bounce, NULL);
}

static void successes(struct office *s)
{
	s->answer = refuse_strangers;
	office_submit(s, "a@sender.example", "x@local.example/2");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1); /* delivered */
	office_submit(s, "a@sender.example", "x@two.example/6");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2); /* relayed to a server without the extension */
	office_submit(s, "a@sender.example", "x@sender.example/2");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2); /* that server takes care */
	office_submit(s, "a@sender.example", "x@two.example x@local.example");
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 2);
	assert_empty(s);
}

static void test_successes_are_told_when_asked_for(void **state)
{
	office_play(NULL, successes, NULL);
}

static void expires(struct office *s)
{
	s->answer = nobody_home;
	for (unsigned i = 0; i < 20; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_submit(s, "a@sender.example", "x@dead.example/1");
	office_submit(s, "a@sender.example", "x@dead.example/4"); /* FAILURE without DELAY */
	office_wait(3 * USEC_HOUR);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 0);
	office_wait(2 * USEC_HOUR);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 20); /* warned once */
	office_wait(4 * USEC_DAY);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 20);
	assert_int_equal(office_summary(s).messages, 22);
	office_wait(USEC_DAY);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 41); /* and told of the end */
	assert_empty(s);
}

static void test_delays_are_told_once_and_age_ends_it(void **state)
{
	office_play(NULL, expires, NULL);
}

static void keep_for_us(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(r->address, "a@sender.example") == 0)
		answer_reply(r, STAGE_RCPT, 450, 2, 0, "Later");
	else
		answer_reply(r, STAGE_RCPT, 550, 1, 1, "No such user here");
}

static int remember_id(const struct queue_row *row, void *context)
{
	*(msgid_t *) context = row->id;
	assert_string_equal(row->sender, "");
	assert_string_equal(row->recipients[0].address, "a@sender.example");
	assert_int_equal(row->recipients[0].attempts, 1);
	assert_string_equal(row->recipients[0].last_reply, "450 4.2.0 Later");
	return 0;
}

static void text_of_bounce(struct office *s)
{
	msgid_t id = MSGID_NONE;
	const char *text;

	s->answer = keep_for_us;
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, remember_id, &id), 0);
	text = office_content(s, id);
	assert_non_null(strstr(text, "multipart/report"));
	assert_non_null(strstr(text, "Action: failed\r\n"));
	assert_non_null(strstr(text, "Status: 5.1.1\r\n"));
	assert_non_null(strstr(text, "Diagnostic-Code: smtp; 550 5.1.1 No such user here"));
	assert_non_null(strstr(text, "Final-Recipient: rfc822; x@one.example"));
	assert_non_null(strstr(text, "Subject: test"));
}

static void test_a_notification_says_what_was_answered(void **state)
{
	office_play(NULL, text_of_bounce, NULL);
}

/* Signs with a field of its own, or fails behind half of it. */
static int put_in_front(const void *context, struct world *w, struct slice message, struct buffer *out)
{
	assert_true(slice_istarts(message, "From: ") || slice_istarts(message, "Date: "));
	assert_true(slice_iends(message, "\r\n"));
	buffer_append_str(out, "X-Signature: ");
	if (*(const bool *) context)
		return -ENOMEM;
	buffer_append_str(out, "yes\r\n");
	return 0;
}

static bool signer_fails;

static void prepare_signer(struct office *s)
{
	s->config.signer = (struct signer) { put_in_front, &signer_fails };
}

static void signed_bounce(struct office *s)
{
	msgid_t id = MSGID_NONE;
	const char *text;

	s->answer = keep_for_us;
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, remember_id, &id), 0);
	text = office_content(s, id);
	assert_int_equal(strncmp(text, "X-Signature: yes\r\n", 18) == 0, !signer_fails);
	assert_int_equal(strstr(text, "X-Signature") != NULL, !signer_fails);
	assert_non_null(strstr(text, "Action: failed\r\n"));
}

static void test_a_notification_is_signed_where_that_can_be_done(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		signer_fails = i;
		office_play(prepare_signer, signed_bounce, NULL);
	}
}

/* --- steering --------------------------------------------------------------------------------- */

static int count_rows(const struct queue_row *row, void *context)
{
	(*(unsigned *) context)++;
	return 0;
}

static unsigned count(struct office *s, struct queue_filter f)
{
	unsigned n = 0;

	assert_int_equal(queue_list(s->queue, &f, count_rows, &n), 0);
	return n;
}

static unsigned act(struct office *s, enum queue_action action, struct queue_filter f)
{
	unsigned n = 0;

	assert_int_equal(queue_act(s->queue, action, &f, &n), 0);
	office_wait(USEC_SEC);
	return n;
}

static int ascending(const struct queue_row *row, void *context)
{
	msgid_t *last = context;

	assert_true(row->id > *last);
	*last = row->id;
	return 0;
}

static int in_line(const struct queue_row *row, void *context)
{
	assert_non_null(row->recipients[0].waits_for);
	assert_string_equal(row->recipients[0].hop, "mx");
	if (row->recipients[0].attempts == 0)
		assert_non_null(strstr(row->recipients[0].waits_for, "backing off"));
	return 0;
}

static void listing(struct office *s)
{
	msgid_t last = 0;

	s->answer = nobody_home;
	for (unsigned i = 0; i < 250; i++)
		office_submit(s, i % 2 ? "odd@sender.example" : "even@sender.example", "x@dead.example");
	office_wait(10 * USEC_SEC);
	assert_int_equal(count(s, (struct queue_filter) { 0 }), 250);
	assert_int_equal(count(s, (struct queue_filter) { .limit = 17 }), 17);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "odd@*" }), 125);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "*@DEAD.example" }), 250);
	assert_int_equal(count(s, (struct queue_filter) { .site = "dead.*" }), 250);
	assert_int_equal(count(s, (struct queue_filter) { .older_than = USEC_HOUR }), 0);
	assert_true(count(s, (struct queue_filter) { .class = CLASS_UNREACHABLE }) <= 5);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, ascending, &last), 0);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, in_line, NULL), 0);
	assert_int_equal(office_summary(s).messages, 250);
	assert_int_equal(office_summary(s).sites, 1);
}

static void test_the_queue_can_be_listed_while_it_works(void **state)
{
	office_play(NULL, listing, NULL);
}

static void steering(struct office *s)
{
	msgid_t id;

	s->answer = dead_for_an_hour;
	for (unsigned i = 0; i < 50; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	id = office_submit(s, "b@sender.example", "y@dead.example");
	office_wait(USEC_SEC);
	assert_int_equal(act(s, QUEUE_HOLD, (struct queue_filter) { .sender = "a@*" }), 50);
	assert_int_equal(office_summary(s).held, 50);
	assert_int_equal(count(s, (struct queue_filter) { .held_only = true }), 50);
	office_wait(2 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 50);
	assert_int_equal(office_count(s, "y@dead.example", NULL) > 0, 1);
	assert_int_equal(count(s, (struct queue_filter) { .id = id }), 0);
	assert_int_equal(act(s, QUEUE_RELEASE, (struct queue_filter) { .limit = 10 }), 10);
	assert_int_equal(office_summary(s).messages, 40);
	assert_int_equal(act(s, QUEUE_REMOVE, (struct queue_filter) { .limit = 30 }), 30);
	assert_int_equal(office_summary(s).messages, 10);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 0);
	assert_int_equal(act(s, QUEUE_BOUNCE, (struct queue_filter) { .recipient = "x@*" }), 10);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 10);
	assert_empty(s);
}

static void test_messages_are_held_released_removed_and_returned(void **state)
{
	office_play(NULL, steering, NULL);
}

static void dead_for_a_minute(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, DEAD) == 0 && now() < 30 * USEC_SEC)
		answer_fault(r, STAGE_CONNECT, "Connection refused");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void retry_now(struct office *s)
{
	s->answer = dead_for_a_minute;
	for (unsigned i = 0; i < 100; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(25 * USEC_SEC);
	assert_int_equal(office_summary(s).messages, 100);
	office_wait(5 * USEC_SEC);
	assert_int_equal(act(s, QUEUE_RETRY, (struct queue_filter) { 0 }), 100);
	office_wait(2 * USEC_SEC);
	assert_empty(s);
}

static void test_a_retry_by_hand_does_not_wait_for_the_back_off(void **state)
{
	office_play(NULL, retry_now, NULL);
}

/* --- messages with a time of their own -------------------------------------------------------- */

static wall_t in(struct office *s, usec_t time)
{
	return world_wall(s->world) + (wall_t) time;
}

static void held(struct office *s)
{
	s->wish.hold_until = in(s, 3 * USEC_DAY);
	office_submit(s, "a@sender.example", "b@one.example c@local.example");
	s->wish.hold_until = 0;
	office_wait(USEC_DAY);
	assert_int_equal(act(s, QUEUE_RETRY, (struct queue_filter) { 0 }), 1);
	office_wait(USEC_HOUR);
}

static void held_afterwards(struct office *s)
{
	office_wait(2 * USEC_DAY - 2 * USEC_HOUR);
	assert_int_equal(s->n_attempts, 0);
	assert_int_equal(office_summary(s).oldest, 0); /* nothing is old that has not begun */
	office_wait(2 * USEC_HOUR);
	assert_int_equal(s->n_attempts, 2);
	assert_empty(s);
}

static void test_a_message_is_held_until_its_time_over_a_restart(void **state)
{
	office_play(NULL, held, held_afterwards);
}

static void held_and_dead(struct office *s)
{
	s->answer = nobody_home;
	s->wish.hold_until = in(s, 6 * USEC_DAY);
	office_submit(s, "a@sender.example", "b@dead.example");
	office_wait(6 * USEC_DAY + USEC_HOUR);
	assert_true(office_count(s, "b@dead.example", NULL) > 0);
	assert_int_equal(office_events(s, EVENT_FAILED), 0); /* its five days begin with its release */
	assert_int_equal(office_events(s, EVENT_BOUNCED), 0);
	office_wait(4 * USEC_DAY);
	assert_int_equal(office_events(s, EVENT_FAILED), 0);
	office_wait(2 * USEC_DAY);
	assert_int_equal(office_events(s, EVENT_FAILED), 1);
}

static void test_the_age_of_a_held_message_begins_with_its_release(void **state)
{
	office_play(NULL, held_and_dead, NULL);
}

static void released(struct office *s)
{
	msgid_t id;

	s->wish.hold_until = in(s, 3 * USEC_DAY);
	id = office_submit(s, "a@sender.example", "b@dead.example");
	office_wait(USEC_MIN);
	assert_int_equal(act(s, QUEUE_RELEASE, (struct queue_filter) { .id = id }), 1);
	office_wait(USEC_SEC);
	assert_int_equal(s->n_attempts, 1);
	assert_empty(s);
}

static void test_an_administrator_releases_what_its_sender_holds(void **state)
{
	office_play(NULL, released, NULL);
}

static void returned(struct office *s)
{
	s->answer = nobody_home;
	s->wish.by_mode = 'R';
	s->wish.deliver_by = in(s, 2 * USEC_HOUR);
	office_submit(s, "a@sender.example", "b@dead.example c@dead.example");
	s->wish.deliver_by = 0;
	office_wait(USEC_HOUR);
	assert_int_equal(office_events(s, EVENT_FAILED), 0);
}

static void returned_afterwards(struct office *s)
{
	unsigned tried;

	s->answer = nobody_home;
	office_wait(58 * USEC_MIN);
	assert_int_equal(office_events(s, EVENT_FAILED), 0);
	office_wait(3 * USEC_MIN);
	assert_int_equal(office_events(s, EVENT_FAILED), 2);
	tried = office_count(s, "c@dead.example", NULL);
	office_wait(USEC_DAY);
	assert_int_equal(office_count(s, "c@dead.example", NULL), tried);
}

static void test_what_is_late_is_given_up_in_time_over_a_restart(void **state)
{
	office_play(NULL, returned, returned_afterwards);
}

static void told(struct office *s)
{
	s->answer = nobody_home;
	s->wish.by_mode = 'N';
	s->wish.deliver_by = in(s, USEC_HOUR);
	office_submit(s, "a@sender.example", "b@dead.example/4 c@dead.example/12 d@dead.example"); /* FAILURE; and DELAY; nothing said */
	s->wish.deliver_by = 0;
	office_wait(59 * USEC_MIN);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 0);
	office_wait(2 * USEC_MIN);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 2);
	office_wait(USEC_DAY);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 2); /* once */
	assert_int_equal(office_events(s, EVENT_FAILED), 0);
}

static void test_of_what_is_late_the_sender_is_told_once(void **state)
{
	office_play(NULL, told, NULL);
}

static void told_later(struct office *s)
{
	s->answer = nobody_home;
	s->wish.by_mode = 'N';
	s->wish.deliver_by = in(s, 10 * USEC_HOUR);
	office_submit(s, "a@sender.example", "b@dead.example");
	s->wish.deliver_by = 0;
	office_wait(9 * USEC_HOUR); /* others would have been warned after four */
	assert_int_equal(office_events(s, EVENT_BOUNCED), 0);
	office_wait(2 * USEC_HOUR);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 1);
	office_wait(USEC_DAY);
	assert_int_equal(office_events(s, EVENT_BOUNCED), 1);
}

static void test_who_said_when_is_told_then_and_not_before(void **state)
{
	office_play(NULL, told_later, NULL);
}

static void one_connection(struct office *s)
{
	s->config.site_initial = s->config.site_connections = 1;
}

static void urgent(struct office *s)
{
	static const int priorities[] = { 0, -9, 3, 0, 9, 3 }, order[] = { 4, 2, 5, 0, 3, 1 };
	char address[40];

	s->service = USEC_SEC;
	office_submit(s, "a@sender.example", "first@one.example");
	office_wait(USEC_MS);
	for (unsigned i = 0; i < ARRAY_LEN(priorities); i++) {
		s->wish.priority = priorities[i];
		snprintf(address, sizeof(address), "m%u@one.example", i);
		office_submit(s, "a@sender.example", address);
	}
	office_wait(USEC_MIN);
	assert_int_equal(s->n_attempts, 1 + ARRAY_LEN(order));
	for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
		snprintf(address, sizeof(address), "m%d@one.example", order[i]);
		assert_string_equal(s->attempts[1 + i].address, address);
	}
}

static void test_the_urgent_goes_first_to_its_site(void **state)
{
	office_play(one_connection, urgent, NULL);
}

/* --- restarts --------------------------------------------------------------------------------- */

static void restarts(struct office *s)
{
	s->answer = twice_not_now;
	office_submit(s, "a@sender.example", "quick@one.example slow@one.example");
	office_wait(USEC_MIN);
}

static void goes_on(struct office *s)
{
	office_wait(USEC_MIN);
	assert_int_equal(office_summary(s).messages, 1);
	assert_int_equal(office_summary(s).deferred, 1);
	assert_int_equal(office_count(s, "quick@one.example", NULL), 1); /* what is done stays done */
	assert_int_equal(office_count(s, "slow@one.example", NULL), 1);  /* and waits for its time */
	office_wait(5 * USEC_MIN);
	assert_int_equal(office_count(s, "slow@one.example", NULL), 2);
	assert_int_equal(office_last(s, "slow@one.example")->attempts, 1);
	office_wait(USEC_HOUR);
	assert_empty(s);
}

static void test_a_restart_goes_on_where_it_was(void **state)
{
	office_play(NULL, restarts, goes_on);
}

/* With a rung that opens late every message is looked at when the queue starts. */
static void no_ladders(struct office *s)
{
	s->routes.n_rules = 0;
}

static void under_way(struct office *s)
{
	s->service = USEC_HOUR;
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_SEC);
}

static void goes_out_at_once(struct office *s)
{
	s->service = 0;
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "x@one.example", NULL), 2);
	assert_empty(s);
}

static void test_what_is_overdue_at_the_start_does_not_wait(void **state)
{
	office_play_and_cut(no_ladders, under_way, goes_out_at_once);
}

static void very_slow(struct office *s)
{
	s->service = USEC_HOUR;
}

static void stops(struct office *s)
{
	for (unsigned i = 0; i < 30; i++)
		office_submit(s, "a@sender.example", "x@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_summary(s).active, 5);
	/* The stop has patience for 30 seconds, then it cuts off. */
}

static void nothing_is_lost(struct office *s)
{
	assert_true(now() < 45 * USEC_SEC);
	s->service = 0;
	office_wait(10 * USEC_MIN);
	assert_empty(s);
	assert_int_equal(office_count(s, NULL, NULL), 35);
}

static void test_stopping_cuts_off_what_takes_too_long_and_loses_nothing(void **state)
{
	office_play(very_slow, stops, nothing_is_lost);
}

static void unsent_bounce(struct office *s)
{
	s->answer = refuse_strangers;
	/* No room for the notification: it is owed until there is. */
	sim_host_add_fault(s->host, &(struct sim_fault) { .ops = SIM_SYNC, .path = "/spool", .error = -EIO, .skip = 1, .times = 1 });
	office_submit(s, "a@sender.example", "x@one.example");
	office_wait(10 * USEC_MIN);
	assert_int_equal(office_count(s, "a@sender.example", NULL), 1);
	assert_empty(s);
}

static void test_a_notification_that_could_not_be_written_is_written_later(void **state)
{
	office_play(NULL, unsent_bounce, NULL);
}

static void restless(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (sim_random_below(s->sim, 4) == 0)
		answer_reply(r, STAGE_RCPT, 450, 2, 0, "Later");
	else
		answer_reply(r, STAGE_DOT, 250, 0, 0, "OK"), r->outcome.kind = OUTCOME_DELIVERED;
}

static void restless_office(struct office *s)
{
	s->answer = restless;
	s->service = 3 * USEC_MS;
}

static void submit_for_ever(struct office *s)
{
	msgid_t id;

	while (!fiber_cancelled()) {
		int r = office_try_submit(s, "a@sender.example", "x@one.example y@two.example", &id);

		if (r >= 0)
			s->accepted[s->n_accepted++] = id;
		if (fiber_sleep_until(now() + 2 * USEC_MS) < 0)
			return;
	}
}

/* A delivery may be repeated only when the power went before its record was synced. */
static void check_deliveries(struct office *s, msgid_t id, const char *address)
{
	unsigned delivered = 0;
	usec_t at = 0;

	for (unsigned i = 0; i < s->n_attempts; i++) {
		const struct attempt *a = &s->attempts[i];
		bool excused = false;

		if (a->id != id || a->kind != OUTCOME_DELIVERED || strcmp(a->address, address) != 0)
			continue;
		for (unsigned n = 0; n < s->n_crashes; n++)
			excused |= delivered > 0 && s->crashes[n] >= at && s->crashes[n] - at < 200 * USEC_MS;
		if (delivered > 0 && !excused)
			fail_msg("delivered again without a reason");
		delivered++;
		at = a->at;
	}
	if (delivered == 0)
		fail_msg("an accepted message was lost");
}

static void everything_arrives(struct office *s)
{
	office_wait(USEC_DAY);
	assert_empty(s);
	assert_true(s->n_accepted > 0);
	for (unsigned i = 0; i < s->n_accepted; i++) {
		check_deliveries(s, s->accepted[i], "x@one.example");
		check_deliveries(s, s->accepted[i], "y@two.example");
	}
}

static void test_no_accepted_message_is_lost_in_a_crash(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		office_crash(seed, 4, restless_office, submit_for_ever, everything_arrives);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_message_is_delivered_and_leaves_nothing),
		cmocka_unit_test(test_recipients_of_one_site_go_in_one_transaction),
		cmocka_unit_test(test_a_transaction_has_only_so_many_recipients),
		cmocka_unit_test(test_the_window_opens_and_keeps_its_limit),
		cmocka_unit_test(test_what_was_deferred_is_tried_again_by_the_schedule),
		cmocka_unit_test(test_a_dead_site_costs_a_probe_now_and_then),
		cmocka_unit_test(test_a_site_that_comes_back_gets_everything),
		cmocka_unit_test(test_what_comes_back_untried_goes_again_but_not_for_ever),
		cmocka_unit_test(test_trouble_of_the_dns_defers_and_its_answers_decide),
		cmocka_unit_test(test_when_nobody_answers_the_next_rung_takes_all_that_waits),
		cmocka_unit_test(test_when_our_address_is_blocked_the_next_rung_is_used),
		cmocka_unit_test(test_each_source_cools_down_by_itself_and_one_canary_tests_it),
		cmocka_unit_test(test_a_canary_whose_recipient_does_not_exist_bounces),
		cmocka_unit_test(test_what_a_site_is_up_to_is_told),
		cmocka_unit_test(test_what_waits_for_a_relay_that_has_gone_goes_by_the_new_routes),
		cmocka_unit_test(test_a_rung_for_the_delayed_opens_in_time),
		cmocka_unit_test(test_a_rung_for_the_delayed_opens_in_time_after_a_restart),
		cmocka_unit_test(test_hold_discard_and_reject),
		cmocka_unit_test(test_failures_are_told_as_the_sender_asked),
		cmocka_unit_test(test_whose_address_was_forged_hears_only_what_was_asked_for),
		cmocka_unit_test(test_nothing_is_ever_sent_about_a_notification),
		cmocka_unit_test(test_successes_are_told_when_asked_for),
		cmocka_unit_test(test_delays_are_told_once_and_age_ends_it),
		cmocka_unit_test(test_a_notification_says_what_was_answered),
		cmocka_unit_test(test_a_notification_is_signed_where_that_can_be_done),
		cmocka_unit_test(test_the_queue_can_be_listed_while_it_works),
		cmocka_unit_test(test_messages_are_held_released_removed_and_returned),
		cmocka_unit_test(test_a_retry_by_hand_does_not_wait_for_the_back_off),
		cmocka_unit_test(test_a_message_is_held_until_its_time_over_a_restart),
		cmocka_unit_test(test_the_age_of_a_held_message_begins_with_its_release),
		cmocka_unit_test(test_an_administrator_releases_what_its_sender_holds),
		cmocka_unit_test(test_what_is_late_is_given_up_in_time_over_a_restart),
		cmocka_unit_test(test_of_what_is_late_the_sender_is_told_once),
		cmocka_unit_test(test_who_said_when_is_told_then_and_not_before),
		cmocka_unit_test(test_the_urgent_goes_first_to_its_site),
		cmocka_unit_test(test_a_restart_goes_on_where_it_was),
		cmocka_unit_test(test_what_is_overdue_at_the_start_does_not_wait),
		cmocka_unit_test(test_stopping_cuts_off_what_takes_too_long_and_loses_nothing),
		cmocka_unit_test(test_a_notification_that_could_not_be_written_is_written_later),
		cmocka_unit_test(test_no_accepted_message_is_lost_in_a_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
