/* What becomes of the header of a message from somebody's mail program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/address.h"
#include "receive/submission.h"

static const struct submission_config usual = {
	.complete = true, .remove_bcc = true, .missing_from = MISSING_FROM_REFUSE, .add_sender = true,
};
static const struct submission_facts facts = {
	.sender = "alice@example.org", .id = "0123456789abc", .hostname = "mx.example.org", .when = (wall_t) 1795406706 * USEC_SEC,
};
#define DATE "Date: Mon, 23 Nov 2026 04:05:06 +0000\r\n"
#define ID "Message-ID: <0123456789abc@mx.example.org>\r\n"

static void becomes_with(const struct submission_config *c, const char *from, const char *to)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	int r = submission_rewrite(c, &facts, slice_from(from), &out);

	if (r < 0)
		fail_msg("%d for %s", r, from);
	if (strcmp(out.data ? out.data : "", to) != 0)
		fail_msg("became\n%s\ninstead of\n%s", out.data, to);
}

static void becomes(const char *from, const char *to)
{
	becomes_with(&usual, from, to);
}

static void is_refused(const char *from, int error)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	assert_int_equal(submission_rewrite(&usual, &facts, slice_from(from), &out), error);
}

static void test_a_complete_message_stays_as_it_is(void **state)
{
	static const char text[] = "From: alice@example.org\r\nDate: x\r\nMessage-Id: <y>\r\nSubject: z\r\n\r\n.\r\nBcc: body\r\n";

	becomes(text, text);
}

/* By BDAT lines may end with LF alone, where the configuration says so. */
static void test_a_complete_message_with_lfs_alone_stays_as_it_is(void **state)
{
	static const char text[] = "From: alice@example.org\nDate: x\nMessage-Id: <y>\n\nbody\n";

	becomes(text, text);
	becomes("From: alice@example.org\nDate: x\n\nbody\n", "From: alice@example.org\nDate: x\n" ID "\nbody\n");
}

static void test_what_is_missing_is_added_behind_the_last_field(void **state)
{
	becomes("From: alice@example.org\r\nSubject: z\r\n\r\nbody\r\n", "From: alice@example.org\r\nSubject: z\r\n" DATE ID "\r\nbody\r\n");
	becomes("From: alice@example.org\r\nDATE : x\r\n\r\n", "From: alice@example.org\r\nDATE : x\r\n" ID "\r\n");
	becomes("From: alice@example.org\r\nmessage-ID: <a>\r\n\r\n", "From: alice@example.org\r\nmessage-ID: <a>\r\n" DATE "\r\n");
}

static void test_a_header_without_an_end_or_with_a_body_at_once_gets_a_blank_line(void **state)
{
	becomes("From: alice@example.org", "From: alice@example.org\r\n" DATE ID);
	becomes("From: alice@example.org\r\n", "From: alice@example.org\r\n" DATE ID);
	becomes("From: alice@example.org\r\nthis is no field\r\n", "From: alice@example.org\r\n" DATE ID "\r\nthis is no field\r\n");
}

static void test_blind_copies_are_taken_away_with_their_folds(void **state)
{
	becomes("bcc: b@x,\r\n c@y\r\nFrom: alice@example.org\r\nDate: d\r\nBcc:\r\nMessage-ID: <i>\r\nBCC : e@f\r\nResent-Bcc: g@h\r\n"
		"X-Bcc: stays\r\n\r\nBcc: body\r\n",
		"From: alice@example.org\r\nDate: d\r\nMessage-ID: <i>\r\nX-Bcc: stays\r\n\r\nBcc: body\r\n");
}

static void test_who_writes_must_be_said_once(void **state)
{
	is_refused("Subject: x\r\n\r\n", SUBMISSION_NO_FROM);
	is_refused("", SUBMISSION_NO_FROM);
	is_refused("just text\r\n", SUBMISSION_NO_FROM);
	is_refused("From: alice@example.org\r\nFrom: bob@example.org\r\n\r\n", SUBMISSION_TWO_FROM);
	is_refused("From: Alice\r\n\r\n", SUBMISSION_BAD_FROM);
	is_refused("From:\r\n\r\n", SUBMISSION_BAD_FROM);
	is_refused("From: Alice <alice>\r\n\r\n", SUBMISSION_BAD_FROM);
	is_refused("From: Alice <alice@>\r\n\r\n", SUBMISSION_BAD_FROM);
}

static void test_a_group_without_members_may_stand_in_from(void **state)
{
	static const char *const groups[] = { "Undisclosed:;", " \"A: B\" (x) : (y)\r\n ; (z)", " G:\r\n ;" };
	static const char *const others[] = { ":;", " G:", " G:,;", " G:; x", " <G:;>", " G: a;", " \"G:;", "G:(;" };
	char before[128], after[256];

	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		snprintf(before, sizeof(before), "From:%s\r\n\r\n", groups[i]);
		snprintf(after, sizeof(after), "From:%s\r\n" DATE ID "\r\n", groups[i]);
		becomes(before, after);
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		snprintf(before, sizeof(before), "From:%s\r\n\r\n", others[i]);
		is_refused(before, SUBMISSION_BAD_FROM);
	}
}

static void test_a_missing_from_can_be_added_or_accepted(void **state)
{
	struct submission_config c = usual;
	struct submission_facts nobody = facts;
	_cleanup_buffer_ struct buffer out = { 0 };

	c.missing_from = MISSING_FROM_ADD;
	becomes_with(&c, "Subject: x\r\n\r\n", "Subject: x\r\nFrom: <alice@example.org>\r\n" DATE ID "\r\n");
	becomes_with(&c, "just text\r\n", "From: <alice@example.org>\r\n" DATE ID "\r\njust text\r\n");
	nobody.sender = "";
	assert_int_equal(submission_rewrite(&c, &nobody, SLICE("Subject: x\r\n\r\n"), &out), SUBMISSION_NO_FROM);
	c.missing_from = MISSING_FROM_ACCEPT;
	becomes_with(&c, "Subject: x\r\n\r\n", "Subject: x\r\n" DATE ID "\r\n");
	becomes_with(&c, "From: Alice\r\nFrom: x\r\n\r\n", "From: Alice\r\nFrom: x\r\n" DATE ID "\r\n");
}

static void test_sender_is_added_where_from_names_somebody_else(void **state)
{
	becomes("From: Bob <bob@example.org>\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n",
		"From: Bob <bob@example.org>\r\nDate: d\r\nMessage-ID: <i>\r\nSender: <alice@example.org>\r\n\r\n");
	becomes("From: A <alice@EXAMPLE.org>\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n",
		"From: A <alice@EXAMPLE.org>\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n");
	becomes("From: bob@example.org\r\nSender: carol@example.org\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n",
		"From: bob@example.org\r\nSender: carol@example.org\r\nDate: d\r\nMessage-ID: <i>\r\n\r\n");
}

static void address_is(const char *value, const char *expected)
{
	struct address a;
	bool found = submission_field_address(slice_from(value), &a);

	if (!expected) {
		if (found)
			fail_msg("%.*s in %s", SLICE_ARG(a.text), value);
		return;
	}
	if (!found || !slice_eq_str(a.text, expected))
		fail_msg("%s in %s", found ? "another address" : "no address", value);
}

/* Forms of RFC 5322 section 3.4 and its appendix A. */
static void test_the_address_in_a_field_is_found(void **state)
{
	address_is(" alice@example.org", "alice@example.org");
	address_is(" Alice Doe <alice@example.org>", "alice@example.org");
	address_is(" \"Joe Q. Public\" <john.q.public@example.com>", "john.q.public@example.com");
	address_is(" \"x@y\" <a@b.example>", "a@b.example");
	address_is(" (x@y) a@b.example (comment)", "a@b.example");
	address_is(" Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", NULL); /* obsolete: comments inside */
	address_is("\r\n <a@b.example>", "a@b.example");
	address_is(" <\"a>b\"@c.example>", "\"a>b\"@c.example");
	address_is(" <\"a>", NULL);
	address_is(" <\"a\\", NULL);
	address_is(" a@b.example,\r\n c@d.example", "a@b.example");
	address_is(" Mary,\r\n Bob <c@d.example>", "c@d.example");
	address_is(" A Group:Ed Jones <joe@where.test>,john@one.test;", "joe@where.test");
	address_is(" A Group: joe@where.test;", "joe@where.test");
	address_is(" Undisclosed recipients:;", NULL);
	address_is(" \"quoted local\"@b.example", "\"quoted local\"@b.example");
	address_is(" J\xc3\xb6rg <j\xc3\xb6rg@b.example>", "j\xc3\xb6rg@b.example");
	address_is(" <@route.example:a@b.example>", NULL);
	address_is("", NULL);
	address_is(" \"", NULL);
	address_is(" (((", NULL);
	address_is(" \\", NULL);
	address_is(" <", NULL);
	address_is(" <>", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_complete_message_stays_as_it_is),
		cmocka_unit_test(test_a_complete_message_with_lfs_alone_stays_as_it_is),
		cmocka_unit_test(test_what_is_missing_is_added_behind_the_last_field),
		cmocka_unit_test(test_a_header_without_an_end_or_with_a_body_at_once_gets_a_blank_line),
		cmocka_unit_test(test_blind_copies_are_taken_away_with_their_folds),
		cmocka_unit_test(test_who_writes_must_be_said_once),
		cmocka_unit_test(test_a_group_without_members_may_stand_in_from),
		cmocka_unit_test(test_a_missing_from_can_be_added_or_accepted),
		cmocka_unit_test(test_sender_is_added_where_from_names_somebody_else),
		cmocka_unit_test(test_the_address_in_a_field_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
