/* The queue, each of whose allocations fails once while mail is given up: the sender is told about every recipient that
 * wanted it, once, and never about one that did not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "unit/queue_office.h"

#define RECIPIENTS 60u /* so many that unpacking their envelope takes memory */

/* How the mail is given up. One walk at a time, which the office's functions can't be handed. */
static struct {
	bool by_order;
	unsigned notify; /* of each recipient; 0: the default */
} how;

static void refuse_for_now(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strcmp(info->site, "mx:mx.dead.example") == 0)
		answer_reply(r, STAGE_RCPT, 450, 2, 1, "Not now");
	else
		r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void prepare(struct office *s)
{
	s->answer = refuse_for_now;
	s->config.expire = 30 * USEC_MIN;
	s->config.warn = USEC_HOUR;
}

static bool on_a_loop_of_the_queue(void *context)
{
	return loop_current();
}

static void give_up(struct office *s)
{
	unsigned n = 0;
	int r = 0;

	faults_begin(on_a_loop_of_the_queue, NULL);
	if (how.by_order)
		r = queue_act(s->queue, QUEUE_BOUNCE, &(struct queue_filter) { .sender = "a@sender.example" }, &n);
	else
		office_wait(15 * USEC_MIN);
	faults_end();
	faults_check(r == 0 || (r == -ENOMEM && faults_fired()));
	if (how.by_order && n == 0)
		assert_int_equal(queue_act(s->queue, QUEUE_BOUNCE, &(struct queue_filter) { .sender = "a@sender.example" }, &n), 0);
}

static void body(struct office *s)
{
	static char list[RECIPIENTS * 80]; /* too large for a frame */
	char *at = list;

	for (unsigned i = 0; i < RECIPIENTS; i++)
		at += sprintf(at, "%sa.recipient.whose.name.is.long.enough.to.count.%u@dead.example/%u", i ? " " : "", i, how.notify);
	office_submit(s, "a@sender.example", list);
	office_wait(20 * USEC_MIN);
	assert_int_equal(office_summary(s).messages, 1);
	give_up(s);
	office_wait(3 * USEC_MIN);
	faults_check(office_summary(s).messages == 0);
	faults_check(office_events(s, EVENT_FAILED) == RECIPIENTS);
	faults_check(office_events(s, EVENT_BOUNCED) == (how.notify == NOTIFY_NEVER ? 0 : RECIPIENTS));
}

static void play(void *context)
{
	office_play(prepare, body, NULL);
}

static void walk(const char *name, bool by_order, unsigned notify)
{
	how.by_order = by_order;
	how.notify = notify;
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = name, .scenario = play, .times = 1, .most = 150 }), 3));
	assert_true(faults_enough(faults_walk(&(struct faults_walk) { .name = name, .scenario = play, .times = 5, .most = 100 }), 3));
}

static void test_nobody_is_told_who_did_not_want_to_be(void **state)
{
	walk("returned, NOTIFY=NEVER", true, NOTIFY_NEVER);
	walk("expired, NOTIFY=NEVER", false, NOTIFY_NEVER);
}

static void test_everybody_else_is_told_once(void **state)
{
	walk("returned", true, 0);
	walk("expired", false, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_nobody_is_told_who_did_not_want_to_be, faults_teardown),
		cmocka_unit_test_teardown(test_everybody_else_is_told_once, faults_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
