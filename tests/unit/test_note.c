#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/note.h"

#define OFFSET INT64_C(1700000000000000)

static void set_last(struct recipient *r, const char *text)
{
	struct outcome o = { .stage = STAGE_RCPT, .class = CLASS_MAILBOX_FULL, .from_remote = true, .host = "mx1.example.org",
			     .reply = { 452, { 4, 2, 2 }, text } };

	assert_int_equal(ip_parse(SLICE("2001:db8::25"), &o.ip), 0);
	recipient_set_last(r, last_reply_new(&o), OFFSET + 99);
	assert_non_null(r->last);
}

static void forget(struct recipient *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(r[i].last);
}

static void test_a_state_survives_the_way_to_disk(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct recipient in[4] = { 0 }, out[4] = { 0 };
	char text[200];

	in[1] = (struct recipient) { .state = STATE_WAITING, .next = 5 * USEC_MIN, .attempts = 3, .rung = 1, .flags = RECIPIENT_WARNED };
	set_last(&in[1], "Quota exceeded");
	in[2] = (struct recipient) { .state = STATE_HELD, .flags = RECIPIENT_RELEASED };
	in[3] = (struct recipient) { .state = STATE_DONE, .attempts = 1, .flags = RECIPIENT_OWES_FAILURE | RECIPIENT_EXPIRED };
	set_last(&in[3], "No");
	note_encode(in, 4, OFFSET, &b);
	assert_int_equal(buffer_error(&b), 0);
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET, out, 4), 0);

	assert_int_equal(out[0].state, STATE_WAITING);
	assert_null(out[0].last);
	assert_true(out[1].next == 5 * USEC_MIN);
	assert_int_equal(out[1].attempts, 3);
	assert_int_equal(out[1].rung, 1);
	assert_int_equal(out[1].flags, RECIPIENT_WARNED);
	assert_string_equal(last_reply_describe(out[1].last, text, sizeof(text)), "452 4.2.2 Quota exceeded");
	assert_string_equal(last_host(out[1].last), "mx1.example.org");
	assert_true(ip_equal(&in[1].last->ip, &out[1].last->ip));
	assert_int_equal(out[1].last_at, OFFSET / USEC_SEC);
	assert_int_equal(out[1].last->class, CLASS_MAILBOX_FULL);
	assert_int_equal(out[1].last->stage, STAGE_RCPT);
	assert_true(out[1].last->from_remote);
	assert_int_equal(out[2].state, STATE_HELD);
	assert_int_equal(out[3].state, STATE_DONE);
	assert_int_equal(out[3].flags, RECIPIENT_OWES_FAILURE | RECIPIENT_EXPIRED);
	forget(in, 4);
	forget(out, 4);
}

static void test_who_was_not_tried_costs_one_byte(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct recipient in[100] = { 0 };

	in[7].state = STATE_POSTED; /* under way is waiting, after a crash */
	in[8].state = STATE_DONE;
	note_encode(in, 100, OFFSET, &b);
	assert_int_equal(b.len, 2 + 100);
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET, in, 100), 0);
	assert_int_equal(in[7].state, STATE_WAITING);
	assert_int_equal(in[8].state, STATE_DONE);
}

static void test_a_time_that_has_passed_is_now(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct recipient in = { .next = 1000, .attempts = 1 }, out = { 0 };

	note_encode(&in, 1, OFFSET, &b);
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET + 5000, &out, 1), 0);
	assert_true(out.next == 0);
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET - 5000, &out, 1), 0);
	assert_true(out.next == 6000);
}

static void test_an_empty_note_changes_nothing(void **state)
{
	struct recipient out = { .attempts = 7 };

	assert_int_equal(note_decode(SLICE_NULL, OFFSET, &out, 1), 0);
	assert_int_equal(out.attempts, 7);
}

static void test_damaged_notes_are_refused_and_change_nothing(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct recipient in[2] = { 0 }, out[3] = { 0 };

	in[0] = (struct recipient) { .attempts = 2, .next = 77 };
	set_last(&in[0], "Come back later");
	note_encode(in, 2, OFFSET, &b);
	for (size_t len = 1; len < b.len; len++)
		assert_int_equal(note_decode(slice_new(b.data, len), OFFSET, out, 2), -EBADMSG);
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET, out, 3), -EBADMSG); /* another number of recipients */
	buffer_append_char(&b, 'x');
	assert_int_equal(note_decode(buffer_slice(&b), OFFSET, out, 2), -EBADMSG); /* something behind it */
	b.data[0] = 9;
	assert_int_equal(note_decode(slice_new(b.data, b.len - 1), OFFSET, out, 2), -EBADMSG); /* another version */
	assert_int_equal(out[0].attempts, 0);
	assert_null(out[0].last);
	forget(in, 2);
}

static void test_long_replies_are_cut(void **state)
{
	char text[5000], host[600];
	struct outcome o = { .reply = { 550, { 5, 0, 0 }, text }, .host = host };
	struct last_reply *l;

	memset(text, 'a', sizeof(text) - 1);
	memset(host, 'b', sizeof(host) - 1);
	text[sizeof(text) - 1] = host[sizeof(host) - 1] = '\0';
	l = last_reply_new(&o);
	assert_non_null(l);
	assert_int_equal(strlen(last_text(l)), LAST_TEXT_MAX);
	assert_int_equal(strlen(last_host(l)), LAST_HOST_MAX);
	free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_state_survives_the_way_to_disk),
		cmocka_unit_test(test_who_was_not_tried_costs_one_byte),
		cmocka_unit_test(test_a_time_that_has_passed_is_now),
		cmocka_unit_test(test_an_empty_note_changes_nothing),
		cmocka_unit_test(test_damaged_notes_are_refused_and_change_nothing),
		cmocka_unit_test(test_long_replies_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
