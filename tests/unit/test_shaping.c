/* Limits of sites and providers, with the whole queue on two loops in a simulated world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/queue_office.h"

static const char *const big_hosts[] = { ".big.example" };
static const char *const one_hosts[] = { "mx?.one.example" };

static void submit_to_all(struct office *s, unsigned each)
{
	char to[40];

	for (unsigned i = 0; i < each; i++)
		for (unsigned p = 1; p <= 6; p++) {
			snprintf(to, sizeof(to), "b@p%u.example", p);
			office_submit(s, "a@sender.example", to);
		}
}

static void assert_gone(struct office *s)
{
	assert_int_equal(office_summary(s).messages, 0);
}

/* The most attempts within `per`, at a site or at all. */
static unsigned most_within(const struct office *s, const char *site, usec_t per)
{
	unsigned most = 0;

	for (unsigned i = 0; i < s->n_attempts; i++) {
		unsigned n = 0;

		if (site && strcmp(s->attempts[i].site, site) != 0)
			continue;
		for (unsigned k = i; k < s->n_attempts && s->attempts[k].at < s->attempts[i].at + per; k++)
			n += !site || strcmp(s->attempts[k].site, site) == 0;
		most = MAX(most, n);
	}
	return most;
}

/* --- connections ------------------------------------------------------------------------------ */

static void two_for_all(struct office *s)
{
	static const struct shaping_rule rules[] = {
		{ .name = "big", .hosts = big_hosts, .n_hosts = 1, .limits = { .all_connections = 2 } },
	};

	s->config.shaping = (struct shaping_config) { .providers = rules, .n_providers = 1 };
	s->service = 100 * USEC_MS;
}

static void share_two(struct office *s)
{
	submit_to_all(s, 50);
	office_wait(USEC_SEC);
	/* Nobody waits until the others have sent all they have. */
	office_wait(9 * USEC_SEC);
	for (unsigned p = 1; p <= 6; p++) {
		char site[40];

		snprintf(site, sizeof(site), "mx:mx%u.big.example", p);
		assert_in_range(office_count(s, NULL, site), 10, 50);
	}
	office_wait(20 * USEC_SEC);
	assert_int_equal(s->most_running, 2);
	assert_gone(s);
}

static void test_all_sites_of_a_provider_share_its_connections(void **state)
{
	office_play(two_for_all, share_two, NULL);
}

static void idle_gives_way(struct office *s)
{
	usec_t began;

	office_submit(s, "a@sender.example", "b@p1.example");
	office_submit(s, "a@sender.example", "b@p2.example");
	office_wait(200 * USEC_MS); /* both connections wait for more */
	began = now();
	office_submit(s, "a@sender.example", "b@p3.example");
	office_wait(500 * USEC_MS);
	assert_int_equal(office_count(s, "b@p3.example", NULL), 1);
	assert_true(office_last(s, "b@p3.example")->at < began + 300 * USEC_MS);
}

static void test_an_idle_connection_gives_way_to_another_site(void **state)
{
	office_play(two_for_all, idle_gives_way, NULL);
}

static void two_each(struct office *s)
{
	static const struct shaping_rule rules[] = { { .hosts = one_hosts, .n_hosts = 1, .limits = { .connections = 2 } } };

	s->config.shaping = (struct shaping_config) { .sites = rules, .n_sites = 1 };
	s->service = 100 * USEC_MS;
}

static void two_at_a_time(struct office *s)
{
	for (unsigned i = 0; i < 100; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(10 * USEC_SEC);
	assert_int_equal(s->most_running, 2);
	assert_gone(s);
}

static void test_a_site_has_a_limit_of_its_own(void **state)
{
	office_play(two_each, two_at_a_time, NULL);
}

/* --- messages and recipients ------------------------------------------------------------------ */

static void three_recipients(struct office *s)
{
	static const struct shaping_rule rules[] = {
		{ .hosts = one_hosts, .n_hosts = 1, .limits = { .recipients_per_transaction = 3 } },
	};

	s->config.shaping = (struct shaping_config) { .sites = rules, .n_sites = 1 };
}

static void splits(struct office *s)
{
	/* The first one is made before anything is known of the site. */
	office_submit(s, "a@sender.example", "a@one.example b@one.example c@one.example d@one.example e@one.example");
	office_wait(USEC_SEC);
	office_submit(s, "a@sender.example", "v@one.example w@one.example x@one.example y@one.example z@two.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_last(s, "a@one.example")->group, 3);
	assert_int_equal(office_last(s, "e@one.example")->group, 2);
	assert_int_equal(office_last(s, "v@one.example")->group, 3);
	assert_int_equal(office_count(s, NULL, NULL), 10);
	assert_gone(s);
}

static void test_a_transaction_has_as_many_recipients_as_the_site_takes(void **state)
{
	office_play(three_recipients, splits, NULL);
}

/* --- rates ------------------------------------------------------------------------------------ */

static void a_rate_for_one(struct office *s)
{
	static const struct shaping_rule rules[] = { { .hosts = one_hosts, .n_hosts = 1, .limits = { .rate = { 20, USEC_MIN } } } };

	s->config.shaping = (struct shaping_config) { .sites = rules, .n_sites = 1 };
}

static void in_time(struct office *s)
{
	for (unsigned i = 0; i < 100; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	for (unsigned i = 0; i < 100; i++)
		office_submit(s, "a@sender.example", "b@two.example");
	office_wait(20 * USEC_SEC);
	assert_int_equal(office_count(s, "b@two.example", NULL), 100); /* has no limit */
	office_wait(6 * USEC_MIN);
	assert_int_equal(office_count(s, "b@one.example", NULL), 100);
	assert_in_range(most_within(s, "mx:mx1.one.example", USEC_MIN), 15, 20);
	assert_gone(s);
}

static void test_a_rate_is_kept_and_used(void **state)
{
	office_play(a_rate_for_one, in_time, NULL);
}

static void a_rate_for_all(struct office *s)
{
	static const struct shaping_rule rules[] = {
		{ .name = "big", .hosts = big_hosts, .n_hosts = 1, .limits = { .all_rate = { 60, USEC_MIN } } },
	};

	s->config.shaping = (struct shaping_config) { .providers = rules, .n_providers = 1 };
}

static void all_in_time(struct office *s)
{
	char site[40];

	submit_to_all(s, 20);
	office_wait(USEC_MIN);
	for (unsigned p = 1; p <= 6; p++) {
		snprintf(site, sizeof(site), "mx:mx%u.big.example", p);
		assert_in_range(office_count(s, NULL, site), 8, 12);
	}
	office_wait(90 * USEC_SEC);
	assert_int_equal(office_count(s, NULL, NULL), 120);
	assert_in_range(most_within(s, NULL, USEC_MIN), 50, 60);
	assert_gone(s);
}

static void test_all_sites_of_a_provider_share_its_rate(void **state)
{
	office_play(a_rate_for_all, all_in_time, NULL);
}

static void recalled(struct office *s)
{
	struct queue_filter f = { .recipient = "b@p1.example" };
	unsigned n;

	submit_to_all(s, 20);
	office_wait(2 * USEC_SEC);
	assert_int_equal(queue_act(s->queue, QUEUE_REMOVE, &f, &n), 0);
	assert_true(n > 15);
	office_wait(150 * USEC_SEC);
	assert_int_equal(office_count(s, NULL, NULL), 120 - n);
	assert_gone(s);
}

static void test_who_leaves_the_row_does_not_hold_up_the_others(void **state)
{
	office_play(a_rate_for_all, recalled, NULL);
}

static void first_is_slow(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(r->address, "b@p1.example") == 0)
		fiber_sleep_until(now() + 10 * USEC_MIN);
	r->outcome = (struct outcome) { .kind = OUTCOME_RELAYED, .stage = STAGE_DOT, .reply = { 250, { 2, 0, 0 }, "ok" } };
}

static void a_rate_and_a_tarpit(struct office *s)
{
	static const char *const tarpit[] = { "mx1.big.example" };
	static const struct shaping_rule providers[] = {
		{ .name = "big", .hosts = big_hosts, .n_hosts = 1, .limits = { .all_rate = { 60, USEC_MIN } } },
	}, sites[] = { { .hosts = tarpit, .n_hosts = 1, .limits = { .connections = 1 } } };

	s->config.shaping = (struct shaping_config) { .providers = providers, .n_providers = 1, .sites = sites, .n_sites = 1 };
	s->answer = first_is_slow;
}

static void others_send(struct office *s)
{
	for (unsigned i = 0; i < 20; i++)
		office_submit(s, "a@sender.example", "b@p2.example");
	for (unsigned i = 0; i < 5; i++)
		office_submit(s, "a@sender.example", "b@p1.example");
	office_wait(USEC_MIN);
	assert_int_equal(s->running, 1);
	assert_int_equal(office_count(s, "b@p2.example", NULL), 20);
}

static void test_a_site_whose_connections_are_busy_holds_up_nobody_in_the_row(void **state)
{
	office_play(a_rate_and_a_tarpit, others_send, NULL);
}

/* --- connections of all ----------------------------------------------------------------------- */

static void one_for_everybody(struct office *s)
{
	static const struct shaping_rule rules[] = {
		{ .name = "big", .hosts = big_hosts, .n_hosts = 1, .limits = { .all_connections = 50 } }, /* one owner */
	};

	s->config.shaping = (struct shaping_config) { .providers = rules, .n_providers = 1 };
	s->config.connections = 2; /* one for each loop */
	s->service = 5 * USEC_SEC;
}

static void first_in_the_row_is_gone(struct office *s)
{
	struct queue_filter f = { .recipient = "b@p2.example" };
	unsigned n;

	office_submit(s, "a@sender.example", "b@p1.example");
	office_wait(USEC_SEC);
	office_submit(s, "a@sender.example", "b@p2.example");
	office_wait(USEC_SEC);
	office_submit(s, "a@sender.example", "b@p3.example");
	office_wait(USEC_SEC);
	assert_int_equal(queue_act(s->queue, QUEUE_REMOVE, &f, &n), 0);
	assert_int_equal(n, 1);
	office_wait(USEC_MIN);
	assert_int_equal(office_count(s, "b@p3.example", NULL), 1);
	assert_gone(s);
}

static void test_a_connection_that_the_first_of_a_row_does_not_need_goes_to_the_next(void **state)
{
	office_play(one_for_everybody, first_in_the_row_is_gone, NULL);
}

/* --- learning --------------------------------------------------------------------------------- */

static void takes_one_a_second(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	static usec_t last; /* of the one test that uses it */

	if (now() >= last && now() < last + USEC_SEC) {
		answer_reply(r, STAGE_MAIL, 421, 7, 0, "rate limit exceeded, slow down");
		return;
	}
	last = now();
	r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.example",
					.reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void too_fast(struct office *s)
{
	static const usec_t again[] = { USEC_MIN };

	s->config.retry = again;
	s->config.n_retry = 1;
	s->answer = takes_one_a_second;
}

static void slows_down(struct office *s)
{
	unsigned refused = 0, late = 0;

	for (unsigned i = 0; i < 1000; i++)
		office_submit(s, "a@sender.example", "b@one.example");
	office_wait(2 * USEC_HOUR);
	for (unsigned i = 0; i < s->n_attempts; i++) {
		bool in_vain = s->attempts[i].kind != OUTCOME_DELIVERED;

		refused += in_vain;
		late += in_vain && i > s->n_attempts / 2;
	}
	print_message("# %u attempts, %u too fast, %u of them in the second half\n", s->n_attempts, refused, late);
	assert_gone(s);
	assert_true(refused < 200);
	assert_true(late < 60);
}

static void test_a_receiver_that_says_slow_down_gets_it(void **state)
{
	office_play(too_fast, slows_down, NULL);
}

/* --- one sender's mail is too much ------------------------------------------------------------ */

static void wants_spam_example_slowly(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	static usec_t last; /* of the one test that uses it */
	bool theirs = strstr(d->envelope->reverse_path, "@spam.example") != NULL;

	r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "aspmx.l.google.com",
					.reply = { 250, { 2, 0, 0 }, "OK" } };
	if (!theirs)
		return;
	if (last > 0 && now() < last + 2 * USEC_SEC) {
		answer_reply(r, STAGE_DOT, 421, 7, 28, "Gmail has detected an unusual rate of mail originating from your DKIM domain [spam.example 36]");
		r->outcome.host = "aspmx.l.google.com";
		return;
	}
	last = now();
}

static void slow_for_one(struct office *s)
{
	static const usec_t again[] = { USEC_MIN };

	s->config.retry = again;
	s->config.n_retry = 1;
	s->answer = wants_spam_example_slowly;
}

static void others_go_on(struct office *s)
{
	unsigned in_vain = 0;
	usec_t last = 0;

	for (unsigned i = 0; i < 300; i++) {
		office_submit(s, "x@spam.example", "theirs@one.example");
		office_submit(s, "x@good.example", "other@one.example");
	}
	office_wait(USEC_MIN);
	for (unsigned i = 0; i < s->n_attempts; i++)
		if (strcmp(s->attempts[i].address, "other@one.example") == 0)
			last = s->attempts[i].at;
	assert_int_equal(office_count(s, "other@one.example", NULL), 300);
	assert_true(last < 5 * USEC_SEC);
	office_wait(2 * USEC_HOUR);
	assert_gone(s);
	for (unsigned i = 0; i < s->n_attempts; i++)
		in_vain += s->attempts[i].kind != OUTCOME_DELIVERED;
	print_message("# 300 messages of one domain had %u attempts in vain\n", in_vain);
	assert_true(in_vain < 60);
}

static void test_a_domain_that_is_too_fast_slows_down_nobody_else(void **state)
{
	office_play(slow_for_one, others_go_on, NULL);
}

/* --- greylisting ------------------------------------------------------------------------------ */

static const char *grey_text;

static void greylists(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (office_count(s, r->address, NULL) < 2)
		answer_reply(r, STAGE_RCPT, 450, 7, 1, grey_text);
	else
		r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.example",
						.reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void grey(struct office *s)
{
	static const usec_t schedule[] = { 3 * USEC_MIN, 20 * USEC_MIN };

	s->config.greylist = schedule;
	s->config.n_greylist = 2;
	s->answer = greylists;
	grey_text = "You are greylisted";
}

static void hinting(struct office *s)
{
	grey(s);
	grey_text = "Greylisted, please try again in 420 seconds";
}

static void in_three_and_twenty(struct office *s)
{
	office_submit(s, "a@sender.example", "b@one.example");
	office_wait(USEC_HOUR);
	assert_int_equal(office_count(s, "b@one.example", NULL), 3);
	assert_in_range(s->attempts[1].at - s->attempts[0].at, 3 * USEC_MIN, 200 * USEC_SEC);
	assert_in_range(s->attempts[2].at - s->attempts[1].at, 20 * USEC_MIN, 23 * USEC_MIN);
	assert_gone(s);
}

static void in_seven(struct office *s)
{
	office_submit(s, "a@sender.example", "b@one.example");
	office_wait(USEC_HOUR);
	assert_int_equal(office_count(s, "b@one.example", NULL), 3);
	for (unsigned i = 1; i < 3; i++)
		assert_in_range(s->attempts[i].at - s->attempts[i - 1].at, 7 * USEC_MIN, 8 * USEC_MIN);
	assert_gone(s);
}

static void test_greylisting_is_retried_by_its_own_schedule(void **state)
{
	office_play(grey, in_three_and_twenty, NULL);
}

static void test_a_greylisting_server_is_asked_again_when_it_says(void **state)
{
	office_play(hinting, in_seven, NULL);
}

/* --- turns ------------------------------------------------------------------------------------ */

static void by_domain(struct office *s)
{
	s->config.turns = TURNS_SENDER_DOMAIN;
	s->config.site_initial = s->config.site_connections = 1;
	s->service = 100 * USEC_MS;
}

static void domains_take_turns(struct office *s)
{
	char from[40];

	/* A hundred senders of one domain wait already when one of another comes. */
	for (unsigned i = 0; i < 100; i++) {
		snprintf(from, sizeof(from), "s%u@many.example", i);
		office_submit(s, from, "theirs@one.example");
	}
	office_submit(s, "x@other.example", "other@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "other@one.example", NULL), 1);
	assert_true(office_count(s, "theirs@one.example", NULL) < 12);
	office_wait(20 * USEC_SEC);
	assert_gone(s);
}

static void test_domains_of_senders_take_turns_when_asked_to(void **state)
{
	office_play(by_domain, domains_take_turns, NULL);
}

static void senders_take_turns(struct office *s)
{
	s->config.turns = TURNS_SENDER;
	for (unsigned i = 0; i < 100; i++) {
		char from[40];

		snprintf(from, sizeof(from), "s%u@many.example", i);
		office_submit(s, from, "theirs@one.example");
	}
	office_submit(s, "x@other.example", "other@one.example");
	office_wait(USEC_SEC);
	assert_int_equal(office_count(s, "other@one.example", NULL), 0); /* the last of a hundred and one senders */
	office_wait(20 * USEC_SEC);
	assert_gone(s);
}

static void test_senders_take_turns_otherwise(void **state)
{
	office_play(by_domain, senders_take_turns, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sites_of_a_provider_share_its_connections),
		cmocka_unit_test(test_an_idle_connection_gives_way_to_another_site),
		cmocka_unit_test(test_a_site_has_a_limit_of_its_own),
		cmocka_unit_test(test_a_transaction_has_as_many_recipients_as_the_site_takes),
		cmocka_unit_test(test_a_rate_is_kept_and_used),
		cmocka_unit_test(test_all_sites_of_a_provider_share_its_rate),
		cmocka_unit_test(test_who_leaves_the_row_does_not_hold_up_the_others),
		cmocka_unit_test(test_a_site_whose_connections_are_busy_holds_up_nobody_in_the_row),
		cmocka_unit_test(test_a_connection_that_the_first_of_a_row_does_not_need_goes_to_the_next),
		cmocka_unit_test(test_a_receiver_that_says_slow_down_gets_it),
		cmocka_unit_test(test_a_domain_that_is_too_fast_slows_down_nobody_else),
		cmocka_unit_test(test_domains_of_senders_take_turns_when_asked_to),
		cmocka_unit_test(test_senders_take_turns_otherwise),
		cmocka_unit_test(test_greylisting_is_retried_by_its_own_schedule),
		cmocka_unit_test(test_a_greylisting_server_is_asked_again_when_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
