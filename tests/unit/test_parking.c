/* Mail whose site does not work rests at home, without a job and without its envelope in memory; nothing of it may be
 * lost, sent twice, or found too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/queue_office.h"

#define DEAD "mx:mx.dead.example"

static void deliver(struct delivery_recipient *r)
{
	answer_reply(r, STAGE_DOT, 250, 0, 0, "OK");
	r->outcome.kind = OUTCOME_DELIVERED;
}

static void down_for_two_hours(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (now() < 2 * USEC_HOUR && strcmp(info->site, "mx:mx.sender.example") != 0)
		answer_fault(r, STAGE_CONNECT, "Connection refused");
	else
		deliver(r);
}

static void prepare(struct office *s)
{
	s->answer = down_for_two_hours;
}

/* --- waiting and coming back ------------------------------------------------------------------ */

static int add_waiting(const struct site_row *row, void *context)
{
	*(unsigned *) context += row->waiting;
	return 0;
}

static int explained(const struct queue_row *row, void *context)
{
	const struct queue_row_recipient *r = &row->recipients[0];

	assert_non_null(r->waits_for);
	if (r->attempts == 0) {
		assert_string_equal(r->site, DEAD);
		assert_non_null(strstr(r->waits_for, "Connection refused"));
		assert_true(r->next > 0);
	}
	return 0;
}

static unsigned delivered_copies(const struct office *s, msgid_t id, const char *address)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_attempts; i++)
		n += s->attempts[i].id == id && s->attempts[i].kind == OUTCOME_DELIVERED && strcmp(s->attempts[i].address, address) == 0;
	return n;
}

static void a_site_is_down(struct office *s)
{
	msgid_t ids[300];
	unsigned waiting = 0, tried;

	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = office_submit(s, i % 3 ? "a@sender.example" : "b@sender.example", "x@dead.example");
	office_wait(10 * USEC_SEC);
	tried = office_count(s, NULL, DEAD);
	assert_true(tried <= 5);
	assert_int_equal(queue_sites(s->queue, add_waiting, &waiting), 0);
	assert_int_equal(waiting, ARRAY_LEN(ids) - tried);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, explained, NULL), 0);

	office_wait(2 * USEC_HOUR - USEC_MIN);
	assert_true(office_count(s, NULL, DEAD) < 30); /* probes alone */
	office_wait(USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		assert_int_equal(delivered_copies(s, ids[i], "x@dead.example"), 1);
}

static void test_all_that_was_parked_goes_once_when_the_site_is_back(void **state)
{
	office_play(prepare, a_site_is_down, NULL);
}

static void two_sites_are_down(struct office *s)
{
	msgid_t ids[20];

	for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = office_submit(s, "a@sender.example", "x@dead.example y@blocks.example z@one.example");
	office_wait(4 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		assert_int_equal(delivered_copies(s, ids[i], "x@dead.example"), 1);
		assert_int_equal(delivered_copies(s, ids[i], "y@blocks.example"), 1);
		assert_int_equal(delivered_copies(s, ids[i], "z@one.example"), 1);
	}
}

static void test_a_message_for_several_sites_that_are_down_reaches_all(void **state)
{
	office_play(prepare, two_sites_are_down, NULL);
}

static void parked_and_stopped(struct office *s)
{
	for (unsigned i = 0; i < 40; i++)
		s->accepted[s->n_accepted++] = office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(30 * USEC_MIN);
}

static void goes_on(struct office *s)
{
	assert_int_equal(office_summary(s).messages, 40);
	office_wait(5 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
	for (unsigned i = 0; i < s->n_accepted; i++)
		assert_int_equal(delivered_copies(s, s->accepted[i], "x@dead.example"), 1);
}

static void test_what_is_parked_survives_a_restart(void **state)
{
	office_play(prepare, parked_and_stopped, goes_on);
}

static int find_notification(const struct queue_row *row, void *context)
{
	*(msgid_t *) context = row->sender[0] == '\0' ? row->id : *(msgid_t *) context;
	return 0;
}

static void late(struct office *s)
{
	msgid_t id = MSGID_NONE;

	s->config.warn = 10 * USEC_MIN;
	for (unsigned i = 0; i < 10; i++)
		office_submit(s, "x@dead.example", "x@dead.example"); /* the warnings wait, too */
	office_wait(20 * USEC_MIN);
	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, find_notification, &id), 0);
	assert_true(id != MSGID_NONE);
	assert_int_equal(office_summary(s).messages, 20); /* one for each */
	assert_non_null(strstr(office_content(s, id), "Connection refused"));
	assert_true(office_count(s, NULL, DEAD) < 15);
}

static void test_a_warning_about_a_parked_message_says_why_it_waits(void **state)
{
	office_play(prepare, late, NULL);
}

/* --- the one that was called is gone ---------------------------------------------------------- */

static void down_for_ten_seconds(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (now() < 10 * USEC_SEC)
		answer_fault(r, STAGE_CONNECT, "Connection refused");
	else
		deliver(r);
}

static void down_at_first(struct office *s)
{
	s->answer = down_for_ten_seconds;
}

static int note_state(const struct site_row *row, void *context)
{
	*(bool *) context |= strcmp(row->key, DEAD) == 0 && strcmp(row->state, "being probed") == 0;
	return 0;
}

static void take_away(struct office *s, const char *sender)
{
	unsigned n = 0;

	assert_int_equal(queue_act(s->queue, QUEUE_REMOVE, &(struct queue_filter) { .sender = sender }, &n), 0);
	assert_int_equal(n, 1);
}

/* How long the disk takes for the envelope: whether the question for the site's state falls into that time is chance. */
static usec_t reading;
static unsigned caught;

static void called_and_gone(struct office *s)
{
	bool probed = false;

	office_submit(s, "scout@sender.example", "x@dead.example");
	office_wait(2 * USEC_SEC);
	office_submit(s, "called@sender.example", "x@dead.example");
	for (unsigned i = 0; i < 9; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(USEC_SEC);
	take_away(s, "scout@*");
	/* Its envelope is being read when it goes. */
	sim_host_set_disk_speed(s->host, reading, 0);
	while (!probed && now() < 5 * USEC_MIN) {
		office_wait(30 * USEC_MS);
		assert_int_equal(queue_sites(s->queue, note_state, &probed), 0);
	}
	if (!probed)
		return;
	caught++;
	sim_host_set_disk_speed(s->host, 0, 0);
	take_away(s, "called@*");
	office_wait(2 * USEC_MIN);
	assert_int_equal(office_summary(s).messages, 0);
	assert_int_equal(office_count(s, NULL, DEAD), 1 + 9);
}

static void test_when_the_called_message_is_gone_another_one_is_called(void **state)
{
	caught = 0;
	for (reading = USEC_SEC; reading < 6 * USEC_SEC; reading += 110 * USEC_MS)
		office_play(down_at_first, called_and_gone, NULL);
	assert_true(caught > 0);
}

/* --- many sites at once ----------------------------------------------------------------------- */

#define MANY 60u

static void submit_many(struct office *s)
{
	char to[64];

	for (unsigned i = 0; i < 2 * MANY; i++) {
		snprintf(to, sizeof(to), "x@d%u.many.example", i % MANY);
		office_submit(s, "a@sender.example", to);
	}
}

static unsigned attempts_between(const struct office *s, usec_t from, usec_t to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_attempts; i++)
		n += s->attempts[i].at >= from && s->attempts[i].at < to;
	return n;
}

static void few_probes(struct office *s)
{
	prepare(s);
	s->config.probes = 2;
}

static void many_are_down(struct office *s)
{
	usec_t begin = now();
	char site[64];

	submit_many(s);
	office_wait(4 * USEC_MIN);
	for (usec_t t = begin + 10 * USEC_SEC; t < begin + 4 * USEC_MIN; t += 5 * USEC_SEC)
		assert_true(attempts_between(s, t, t + 10 * USEC_SEC) <= 2 * 10 + 2);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(site, sizeof(site), "mx:d%u.many.example", i);
		assert_true(office_count(s, NULL, site) >= 2); /* at first, and a probe */
	}
	office_wait(10 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_sites_that_went_down_together_are_probed_a_few_at_a_time(void **state)
{
	office_play(few_probes, many_are_down, NULL);
}

static void down_for_fifty_seconds(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (now() < 50 * USEC_SEC)
		answer_fault(r, STAGE_CONNECT, "Network is unreachable");
	else
		deliver(r);
}

static void one_probe(struct office *s)
{
	s->answer = down_for_fifty_seconds;
	s->config.probes = 1;
}

static void many_are_back(struct office *s)
{
	submit_many(s);
	office_wait(50 * USEC_SEC - now());
	assert_true(attempts_between(s, 20 * USEC_SEC, 50 * USEC_SEC) <= 22);
	office_wait(6 * USEC_SEC);
	assert_true(attempts_between(s, 50 * USEC_SEC, DEADLINE_NEVER) >= MANY / 2);
	office_wait(USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
}

static void test_probes_of_sites_that_work_again_are_not_counted(void **state)
{
	office_play(one_probe, many_are_back, NULL);
}

/* --- looking ---------------------------------------------------------------------------------- */

static int count_row(const struct queue_row *row, void *context)
{
	(*(unsigned *) context)++;
	return 0;
}

static unsigned count(struct office *s, struct queue_filter f)
{
	unsigned n = 0;

	assert_int_equal(queue_list(s->queue, &f, count_row, &n), 0);
	return n;
}

static void filters(struct office *s)
{
	office_submit(s, "Anna@Sender.example", "x@dead.example");
	office_submit(s, "", "x@dead.example");
	office_submit(s, "\"a@b\"@sender.example", "\"c@d\"@dead.example");
	office_submit(s, "b@sender.example", "x@dead.example held@one.example");
	office_wait(USEC_MIN);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "anna@SENDER.example" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "*@sender.example" }), 3);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "?@*.example" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "*@b\"@sender.*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "\"a@b\"@sender.example" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .sender = "*" }), 4);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "*@one.example" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "*@d\"@dead.example" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "x@dead.exampl?" }), 3);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "y@dead.example" }), 0);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "X@*" }), 3);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "HELD@*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "nobody@*" }), 0);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "hel?@*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "*eld@*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "held*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "\"c@d\"@*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "\"c@*" }), 1);
	assert_int_equal(count(s, (struct queue_filter) { .recipient = "c@*" }), 0);
	assert_int_equal(count(s, (struct queue_filter) { .site = "dead.*" }), 4);
	assert_int_equal(count(s, (struct queue_filter) { .site = "one.example" }), 1);
	for (unsigned i = 0; i < 3; i++)
		office_submit(s, "late@sender.example", "x@dead.example");
	office_wait(USEC_SEC);
	assert_int_equal(count(s, (struct queue_filter) { .site = DEAD }), 2); /* one was the probe; the others wait for their time */
	assert_int_equal(count(s, (struct queue_filter) { .site = "mx:*", .sender = "late@*" }), 2);
	assert_int_equal(count(s, (struct queue_filter) { .held_only = true, .sender = "b@*" }), 1);
}

static void test_a_filter_finds_what_it_describes_wherever_the_envelope_is(void **state)
{
	office_play(prepare, filters, NULL);
}

/* --- a disk that can't be read ---------------------------------------------------------------- */

static void unreadable(struct office *s)
{
	for (unsigned i = 0; i < 10; i++)
		office_submit(s, "a@sender.example", "x@dead.example");
	office_wait(USEC_MIN);
	sim_host_add_fault(s->host, &(struct sim_fault) { .ops = SIM_READ, .path = "/spool", .error = -EIO, .times = 500 });
	office_wait(4 * USEC_HOUR);
	assert_int_equal(office_summary(s).messages, 0);
	for (unsigned i = 0; i < s->n_attempts; i++)
		assert_true(s->attempts[i].kind != OUTCOME_FAILED);
}

static void test_an_envelope_that_cannot_be_read_back_is_tried_again(void **state)
{
	office_play(prepare, unreadable, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_that_was_parked_goes_once_when_the_site_is_back),
		cmocka_unit_test(test_a_message_for_several_sites_that_are_down_reaches_all),
		cmocka_unit_test(test_what_is_parked_survives_a_restart),
		cmocka_unit_test(test_a_warning_about_a_parked_message_says_why_it_waits),
		cmocka_unit_test(test_when_the_called_message_is_gone_another_one_is_called),
		cmocka_unit_test(test_sites_that_went_down_together_are_probed_a_few_at_a_time),
		cmocka_unit_test(test_probes_of_sites_that_work_again_are_not_counted),
		cmocka_unit_test(test_a_filter_finds_what_it_describes_wherever_the_envelope_is),
		cmocka_unit_test(test_an_envelope_that_cannot_be_read_back_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
