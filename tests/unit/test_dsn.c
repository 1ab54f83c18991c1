/* Notifications: their three parts, what they return, and what can't be smuggled into them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/dsn.h"
#include "mail/encoding.h"
#include "mail/header.h"

struct source {
	struct slice text;
	bool broken;
	unsigned reads;
};

static ssize_t read_source(void *context, uint64_t offset, void *data, size_t len)
{
	struct source *s = context;
	struct slice part = slice_head(slice_skip(s->text, offset), MIN(len, (size_t) 7000));

	s->reads++;
	if (s->broken)
		return -EIO;
	memcpy(data, part.len ? part.data : "", part.len);
	return (ssize_t) part.len;
}

struct fixture {
	struct envelope original;
	struct dsn_recipient recipients[2];
	struct dsn_input in;
	struct source source;
	struct buffer out;
	struct dsn_result result;
	int r;
};

#define ORIGINAL "From: alice@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nThe body.\r\n"

static void set_up(struct fixture *f)
{
	*f = (struct fixture) {
		.original = {
			.id = 1234567,
			.arrival = (wall_t) 1795406706 * USEC_SEC,
			.reverse_path = "alice@example.org",
			.helo = "client.example.org",
			.client_ip = "192.0.2.7",
		},
		.recipients[0] = {
			.final = "bob@example.com",
			.orcpt = "rfc822;Bob@example.com",
			.action = DSN_FAILED,
			.status = { 5, 1, 1 },
			.remote_mta = "mx.example.com",
			.diagnostic = "550 5.1.1 No such user here",
			.last_attempt = (wall_t) 1795406716 * USEC_SEC,
			.retry_until = (wall_t) 1795406716 * USEC_SEC,
		},
		.in = {
			.host = "mx1.example.org",
			.n_recipients = 1,
			.id = 7654321,
			.now = (wall_t) 1795406726 * USEC_SEC,
			.random = 0xabcdef,
			.read = read_source,
			.contact = "postmaster@example.org",
		},
		.source.text = SLICE(ORIGINAL),
	};
}

static void write_it(struct fixture *f)
{
	f->in.original = &f->original;
	f->in.recipients = f->recipients;
	f->in.context = &f->source;
	f->r = dsn_write(&f->in, &f->out, &f->result);
	buffer_append_str(&f->out, "");
}

static bool has(const struct fixture *f, const char *text)
{
	return strstr(f->out.data, text) != NULL;
}

/* What holds for each notification: lines end with CRLF and are short enough, and the boundary stands where it
 * must, four times with a returned original, three without. */
static void check_form(const struct fixture *f, unsigned parts)
{
	struct encoding_needs needs = encoding_look(buffer_slice(&f->out));
	struct header_field type;
	char *boundary, *end;
	unsigned n = 0;

	assert_int_equal(f->r, 0);
	assert_false(needs.binary);
	if (f->result.body == BODY_7BIT)
		assert_false(needs.eight_bit);
	assert_true(header_find(buffer_slice(&f->out), "Content-Type", &type));
	boundary = strdup(strstr(f->out.data, "boundary=\"") + strlen("boundary=\"") - 2);
	boundary[0] = boundary[1] = '-';
	end = strchr(boundary + 2, '"');
	*end = '\0';
	for (const char *p = f->out.data; (p = strstr(p, boundary)); p++)
		n++;
	assert_int_equal(n, parts + 1);
	free(boundary);
}

static void test_a_failure_says_everything_in_three_parts(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.envid = "QQ 314";
	write_it(&f);
	check_form(&f, 3);
	assert_true(f.result.full);
	assert_false(f.result.smtputf8);
	assert_true(has(&f, "From: Mail Delivery System <MAILER-DAEMON@mx1.example.org>\r\n"));
	assert_true(has(&f, "To: <alice@example.org>\r\n"));
	assert_true(has(&f, "Subject: Undeliverable: your message to bob@example.com\r\n"));
	assert_true(has(&f, "Auto-Submitted: auto-replied\r\n"));
	assert_true(has(&f, "Content-Type: multipart/report; report-type=delivery-status;"));
	assert_true(has(&f, "In-Reply-To: <1@example.org>\r\n"));
	assert_true(has(&f, "The address does not exist there."));
	assert_true(has(&f, "The server mx.example.com answered:\r\n      550 5.1.1 No such user here\r\n"));
	assert_true(has(&f, "Content-Type: message/delivery-status\r\n"));
	assert_true(has(&f, "\r\n\r\nOriginal-Envelope-Id: QQ 314\r\nReporting-MTA: dns; mx1.example.org\r\n"
			    "Received-From-MTA: dns; client.example.org (192.0.2.7)\r\n"
			    "Arrival-Date: Mon, 23 Nov 2026 04:05:06 +0000\r\n"));
	assert_true(has(&f, "\r\n\r\nOriginal-Recipient: rfc822; Bob@example.com\r\nFinal-Recipient: rfc822; bob@example.com\r\n"
			    "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.com\r\n"
			    "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
			    "Last-Attempt-Date: Mon, 23 Nov 2026 04:05:16 +0000\r\n"));
	assert_false(has(&f, "Will-Retry-Until")); /* RFC 3464 section 2.3.9 */
	assert_true(has(&f, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n"));
	assert_true(has(&f, "\r\n\r\n" ORIGINAL "\r\n--"));
	buffer_done(&f.out);
}

static void test_a_delay_returns_the_header_only_and_says_until_when(void **state)
{
	struct fixture f;

	set_up(&f);
	f.recipients[0].action = DSN_DELAYED;
	f.recipients[0].status = (struct status) { 0 };
	f.recipients[0].diagnostic = f.recipients[0].remote_mta = NULL;
	f.recipients[0].reason = "Connection timed out";
	f.original.ret = DSN_RET_FULL;
	write_it(&f);
	check_form(&f, 3);
	assert_false(f.result.full);
	assert_true(has(&f, "Subject: Delayed: your message to bob@example.com\r\n"));
	assert_true(has(&f, "Action: delayed\r\nStatus: 4.0.0\r\nDiagnostic-Code: X-Yizhan; Connection timed out\r\n"));
	assert_true(has(&f, "Will-Retry-Until: Mon, 23 Nov 2026 04:05:16 +0000\r\n"));
	assert_true(has(&f, "you need not send it again"));
	assert_true(has(&f, "Content-Type: text/rfc822-headers\r\n"));
	assert_true(has(&f, "Message-ID: <1@example.org>\r\n\r\n--"));
	assert_false(has(&f, "The body."));
	buffer_done(&f.out);
}

static void test_success_and_several_recipients(void **state)
{
	struct fixture f;

	set_up(&f);
	f.in.n_recipients = 2;
	f.recipients[0].action = DSN_DELIVERED;
	f.recipients[0].status = (struct status) { 2, 1, 5 };
	f.recipients[1] = (struct dsn_recipient) { .final = "carol@example.net", .action = DSN_RELAYED };
	write_it(&f);
	check_form(&f, 3);
	assert_true(has(&f, "Subject: Delivered: your message to bob@example.com\r\n"));
	assert_true(has(&f, "Your message was delivered into this mailbox."));
	assert_true(has(&f, "Your message was handed on for this recipient"));
	assert_true(has(&f, "Action: delivered\r\nStatus: 2.1.5\r\n"));
	assert_true(has(&f, "\r\n\r\nFinal-Recipient: rfc822; carol@example.net\r\nAction: relayed\r\nStatus: 2.0.0\r\n"));
	assert_false(has(&f, "The body."));
	buffer_done(&f.out);
	f.recipients[0].action = f.recipients[1].action = DSN_FAILED;
	write_it(&f);
	assert_true(has(&f, "Subject: Undeliverable: your message to 2 recipients\r\n"));
	buffer_done(&f.out);
}

static void test_only_the_header_is_returned_when(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.ret = DSN_RET_HDRS; /* the sender said so */
	write_it(&f);
	assert_false(f.result.full);
	assert_false(has(&f, "The body."));
	buffer_done(&f.out);

	set_up(&f);
	f.in.max_content = 50; /* it is too large */
	write_it(&f);
	assert_false(f.result.full);
	assert_false(has(&f, "The body."));
	assert_true(has(&f, "Subject: hello\r\n"));
	buffer_done(&f.out);

	set_up(&f);
	f.original.flags = ENVELOPE_REQUIRETLS; /* RFC 8689 section 5 */
	write_it(&f);
	assert_false(f.result.full);
	buffer_done(&f.out);

	set_up(&f);
	f.original.body = BODY_BINARYMIME;
	write_it(&f);
	assert_false(f.result.full);
	buffer_done(&f.out);

	set_up(&f);
	f.source.text = SLICE("Subject: x\r\n\r\nbare\nLF\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_false(f.result.full);
	buffer_done(&f.out);
}

static void test_a_header_without_end_is_cut_after_a_line(void **state)
{
	_cleanup_buffer_ struct buffer header = { 0 };
	struct fixture f;

	for (unsigned i = 0; i < 20000; i++)
		buffer_printf(&header, "X-Field-%u: value\r\n", i);
	set_up(&f);
	f.source.text = buffer_slice(&header);
	f.in.max_header = 1000;
	write_it(&f);
	check_form(&f, 3);
	assert_true(f.out.len < 5000);
	assert_true(has(&f, ": value\r\n\r\n--"));
	assert_true(f.source.reads < 10);
	buffer_done(&f.out);
}

static void test_an_original_that_cannot_be_read_is_left_out(void **state)
{
	struct fixture f;

	set_up(&f);
	f.source.broken = true;
	write_it(&f);
	check_form(&f, 2);
	buffer_done(&f.out);
	f.in.read = NULL;
	write_it(&f);
	check_form(&f, 2);
	buffer_done(&f.out);
}

static void test_eight_bit_content_is_declared(void **state)
{
	struct fixture f;

	set_up(&f);
	f.source.text = SLICE("Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9f" "e\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_int_equal(f.result.body, BODY_8BITMIME);
	assert_false(f.result.smtputf8);
	assert_true(has(&f, "message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"));
	buffer_done(&f.out);
	f.original.ret = DSN_RET_HDRS;
	f.source.text = SLICE("Subject: gr\xfc\xdf" "e\r\n\r\nx\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_int_equal(f.result.body, BODY_7BIT);
	assert_true(has(&f, "text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n"));
	assert_true(has(&f, "Subject: gr=FC=DFe\r\n"));
	buffer_done(&f.out);
}

static void test_utf8_stays_ascii_for_an_ascii_addressee(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.flags = ENVELOPE_SMTPUTF8;
	f.recipients[0].final = "j\xc3\xb6rg@example.com";
	f.recipients[0].orcpt = "utf-8;j\xc3\xb6rg@example.com";
	f.recipients[0].diagnostic = "550 5.1.1 j\xc3\xb6rg?";
	f.source.text = SLICE("Subject: gr\xc3\xbc\xc3\x9f" "e\r\n\r\nx\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_int_equal(f.result.body, BODY_7BIT);
	assert_false(f.result.smtputf8);
	assert_true(has(&f, "Original-Recipient: utf-8; j\\x{F6}rg@example.com\r\n"));
	assert_true(has(&f, "Final-Recipient: utf-8; j\\x{F6}rg@example.com\r\n"));
	assert_true(has(&f, "Diagnostic-Code: smtp; 550 5.1.1 j??rg?\r\n"));
	assert_true(has(&f, "charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"));
	assert_true(has(&f, "<j=C3=B6rg@example.com>"));
	assert_true(has(&f, "message/global\r\nContent-Transfer-Encoding: base64\r\n"));
	assert_true(has(&f, "Subject: Undeliverable: your message to one recipient\r\n"));
	buffer_done(&f.out);
}

static void test_utf8_for_an_addressee_in_utf8(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.flags = ENVELOPE_SMTPUTF8;
	f.original.reverse_path = "\xc3\xa4@example.org";
	f.recipients[0].final = "j\xc3\xb6rg@example.com";
	f.source.text = SLICE("Subject: gr\xc3\xbc\xc3\x9f" "e\r\n\r\nx\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_true(f.result.smtputf8);
	assert_int_equal(f.result.body, BODY_8BITMIME);
	assert_true(has(&f, "To: <\xc3\xa4@example.org>\r\n"));
	assert_true(has(&f, "message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
	assert_true(has(&f, "Final-Recipient: utf-8; j\xc3\xb6rg@example.com\r\n"));
	assert_true(has(&f, "message/global\r\nContent-Transfer-Encoding: 8bit\r\n"));
	buffer_done(&f.out);
}

static void test_hostile_answers_add_no_fields(void **state)
{
	_cleanup_buffer_ struct buffer answer = { 0 };
	struct fixture f;

	set_up(&f);
	f.recipients[0].diagnostic = "550 no\r\nAction: delivered\r\n\r\n--x";
	f.recipients[0].remote_mta = "mx\r\nX-Evil: 1";
	f.recipients[0].log_id = "1\nX-Evil: 2";
	f.original.helo = "a\r\nX-Evil: 3";
	write_it(&f);
	check_form(&f, 3);
	assert_false(has(&f, "\nX-Evil"));
	assert_false(has(&f, "\nAction: delivered"));
	buffer_done(&f.out);

	set_up(&f);
	for (unsigned i = 0; i < 5000; i++)
		buffer_append_str(&answer, "\xc3\xa4");
	f.recipients[0].diagnostic = answer.data;
	write_it(&f);
	check_form(&f, 3);
	assert_true(f.out.len < 20000);
	buffer_done(&f.out);
}

static void test_the_server_is_named_with_its_address(void **state)
{
	struct fixture f;

	set_up(&f);
	f.recipients[0].remote_address = "2001:db8::25";
	write_it(&f);
	check_form(&f, 3);
	assert_true(has(&f, "Remote-MTA: dns; mx.example.com (2001:db8::25)\r\n"));
	assert_true(has(&f, "The server mx.example.com (2001:db8::25) answered:\r\n"));
	buffer_done(&f.out);
}

static void test_what_it_means_goes_before_what_the_code_says(void **state)
{
	struct fixture f;

	set_up(&f);
	f.recipients[0].meaning = "The server is on a list.";
	write_it(&f);
	assert_true(has(&f, "  <bob@example.com>\r\n    The server is on a list.\r\n"));
	assert_false(has(&f, "The address does not exist there."));
	buffer_done(&f.out);
}

static void test_a_wish_for_a_later_release_is_repeated_as_it_was_said(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.hold_until = f.original.arrival + (wall_t) 3600 * (wall_t) USEC_SEC;
	write_it(&f);
	assert_true(has(&f, "Future-Release-Request: until;2026-11-23T05:05:06Z\r\n"));
	buffer_done(&f.out);
	f.original.flags = ENVELOPE_HOLD_FOR;
	write_it(&f);
	assert_true(has(&f, "Future-Release-Request: for;3600\r\n"));
	buffer_done(&f.out);
}

static void test_a_boundary_in_the_original_is_not_used(void **state)
{
	struct fixture f;
	char *copy, *at, *end;

	set_up(&f);
	write_it(&f);
	at = strstr(f.out.data, "boundary=\"") + strlen("boundary=\"");
	end = strchr(at, '"');
	assert_true(asprintf(&copy, "Subject: x\r\n\r\n--%.*s--\r\n", (int) (end - at), at) > 0);
	buffer_done(&f.out);
	set_up(&f);
	f.source.text = slice_from(copy);
	write_it(&f);
	check_form(&f, 3);
	assert_true(f.result.full);
	buffer_done(&f.out);
	free(copy);
}

static void test_nobody_is_notified_of_a_notification(void **state)
{
	struct fixture f;

	set_up(&f);
	f.original.reverse_path = "";
	write_it(&f);
	assert_int_equal(f.r, -EINVAL);
	assert_int_equal(f.out.len, 0);
	f.original.reverse_path = "a@b";
	f.in.n_recipients = 0;
	write_it(&f);
	assert_int_equal(f.r, -EINVAL);
	buffer_done(&f.out);
}

static void test_a_hostile_message_id_is_not_repeated(void **state)
{
	struct fixture f;

	set_up(&f);
	f.source.text = SLICE("Message-ID: <a>\r\n <b> x\r\nSubject: =?utf-8?q?x?=\r\n\r\n");
	write_it(&f);
	check_form(&f, 3);
	assert_false(has(&f, "In-Reply-To"));
	assert_false(has(&f, "  Subject:"));
	buffer_done(&f.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_failure_says_everything_in_three_parts),
		cmocka_unit_test(test_a_delay_returns_the_header_only_and_says_until_when),
		cmocka_unit_test(test_success_and_several_recipients),
		cmocka_unit_test(test_only_the_header_is_returned_when),
		cmocka_unit_test(test_a_header_without_end_is_cut_after_a_line),
		cmocka_unit_test(test_an_original_that_cannot_be_read_is_left_out),
		cmocka_unit_test(test_eight_bit_content_is_declared),
		cmocka_unit_test(test_utf8_stays_ascii_for_an_ascii_addressee),
		cmocka_unit_test(test_utf8_for_an_addressee_in_utf8),
		cmocka_unit_test(test_hostile_answers_add_no_fields),
		cmocka_unit_test(test_the_server_is_named_with_its_address),
		cmocka_unit_test(test_what_it_means_goes_before_what_the_code_says),
		cmocka_unit_test(test_a_wish_for_a_later_release_is_repeated_as_it_was_said),
		cmocka_unit_test(test_a_boundary_in_the_original_is_not_used),
		cmocka_unit_test(test_nobody_is_notified_of_a_notification),
		cmocka_unit_test(test_a_hostile_message_id_is_not_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
