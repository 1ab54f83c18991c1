#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mail/content_type.h"
#include "mail/downgrade.h"

#define UE "\xc3\xbc"

/* In pieces of `step` octets. */
static int convert(const char *text, size_t len, enum downgrade_goal goal, size_t step, struct downgrade_plan *plan, struct buffer *out)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_(downgrade_freep) struct downgrade *d = NULL;
	int r;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(downgrade_begin(a, goal, &d), 0);
	for (size_t i = 0; i < len; i += step) {
		r = downgrade_look(d, slice_new(text + i, MIN(step, len - i)));
		if (r < 0)
			return r;
	}
	r = downgrade_plan(d, plan);
	if (r < 0)
		return r;
	for (size_t i = 0; i < len; i += step)
		assert_int_equal(downgrade_write(d, slice_new(text + i, MIN(step, len - i)), out), 0);
	assert_int_equal(downgrade_end(d, out), 0);
	return 0;
}

static void becomes_for(enum downgrade_goal goal, const char *before, const char *after, unsigned parts, bool signatures)
{
	for (size_t step = 1; step <= 40; step += 3) {
		_cleanup_buffer_ struct buffer out = { 0 };
		struct downgrade_plan plan;

		assert_int_equal(convert(before, strlen(before), goal, step, &plan, &out), 0);
		if (!slice_eq_str(buffer_slice(&out), after))
			fail_msg("in pieces of %zu:\n%.*s", step, SLICE_ARG(buffer_slice(&out)));
		assert_int_equal(plan.parts, parts);
		assert_int_equal(plan.signatures, signatures);
	}
}

static void becomes(const char *before, const char *after, unsigned parts)
{
	becomes_for(SEVEN_BIT, before, after, parts, false);
}

static void can_not(const char *before, int error)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct downgrade_plan plan;

	assert_int_equal(convert(before, strlen(before), SEVEN_BIT, 7, &plan, &out), error);
}

static void test_what_is_ascii_stays_as_it_is(void **state)
{
	becomes("", "", 0);
	becomes("Subject: x\r\n\r\nhello\r\n", "Subject: x\r\n\r\nhello\r\n", 0);
	becomes("Subject: x", "Subject: x", 0);
	becomes("Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\nx\r\n--b--\r\npost\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\nx\r\n--b--\r\npost\r\n", 0);
}

static void test_text_becomes_quoted_printable(void **state)
{
	becomes("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\ngr" UE "n und fein \r\n.\r\n",
		"Content-Type: text/plain; charset=utf-8\r\nSubject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
		"gr=C3=BCn und fein=20\r\n=2E\r\n", 1);
}

static void test_text_that_is_mostly_not_ascii_becomes_base64(void **state)
{
	becomes("Content-Type: text/plain; charset=utf-8\r\n\r\n" UE UE "\r\n",
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nw7zDvA0K\r\n", 1);
}

/* RFC 1428 */
static void test_text_without_a_label_is_of_an_unknown_character_set(void **state)
{
	becomes("Subject: x\r\n\r\nthis is gr" UE "n\r\n",
		"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nthis is gr=C3=BCn\r\n", 1);
}

static void test_only_the_parts_that_need_it_are_encoded(void **state)
{
	becomes("Content-Type: multipart/mixed; boundary=\"a b\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		"pre " UE "\r\n--a b\r\nContent-Type: text/plain\r\n\r\nascii\r\n"
		"--a b \t\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" UE "1\r\n--a b--\r\npost\r\n",
		"Content-Type: multipart/mixed; boundary=\"a b\"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
		"pre ??\r\n--a b\r\nContent-Type: text/plain\r\n\r\nascii\r\n"
		"--a b \t\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nw7wx\r\n--a b--\r\npost\r\n", 1);
}

static void test_the_line_end_in_front_of_a_boundary_is_not_content(void **state)
{
	becomes("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\n\r\n" UE "1\r\n\r\n--b\r\n\r\n\r\n--b\r\n\r\n--b--",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nw7wxDQo=\r\n"
		"--b\r\n\r\n\r\n--b\r\n\r\n--b--", 1);
}

/* RFC 2046 section 5.2.1 */
/* Binary content may have such lines. */
static void test_a_boundary_behind_a_bare_line_feed_stays_one(void **state)
{
	becomes("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nf" UE "nf und noch mehr\n--b--\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
		"Content-Transfer-Encoding: base64\r\n\r\nZsO8bmYgdW5kIG5vY2ggbWVocgo=\r\n--b--\r\n",
		1);
}

static void test_a_message_within_is_encoded_part_by_part(void **state)
{
	becomes("Content-Type: multipart/report; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\nsome more gr" UE "n\r\n--i--\r\n--o--\r\n",
		"Content-Type: multipart/report; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
		"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n"
		"\r\nsome more gr=C3=BCn\r\n--i--\r\n--o--\r\n", 1);
}

static void test_the_parts_of_a_digest_are_messages(void **state)
{
	becomes("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: x\r\nContent-Type: text/plain\r\n\r\nsome more gr" UE "n\r\n--d--\r\n",
		"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: x\r\nContent-Type: text/plain\r\n"
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nsome more gr=C3=BCn\r\n--d--\r\n", 1);
}

static void test_a_part_without_its_own_end_ends_with_the_outer_one(void **state)
{
	becomes("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n"
		"--o\r\nContent-Type: text/plain\r\n\r\nsome more gr" UE "n\r\n--o--\r\n",
		"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n"
		"--o\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsome more gr=C3=BCn\r\n--o--\r\n", 1);
}

static void test_signatures_that_would_break_are_told(void **state)
{
	static const char text[] = "\r\nContent-Type: text/plain\r\n\r\nsome more gr" UE "n\r\n";
	char before[300], after[400];

	(void) snprintf(before, sizeof(before), "DKIM-Signature: v=1%s", text);
	becomes_for(SEVEN_BIT, before,
		    "DKIM-Signature: v=1\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsome more gr=C3=BCn\r\n", 1, true);
	(void) snprintf(before, sizeof(before), "Content-Type: multipart/signed; boundary=b\r\n\r\n--b%s--b--\r\n", text);
	(void) snprintf(after, sizeof(after), "%s", "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
						    "Content-Transfer-Encoding: quoted-printable\r\n\r\nsome more gr=C3=BCn\r\n--b--\r\n");
	becomes_for(SEVEN_BIT, before, after, 1, true);
	/* What is signed beside it stays whole. */
	becomes_for(SEVEN_BIT,
		    "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
		    "--o\r\nContent-Type: text/plain\r\n\r\nsome more gr" UE "n\r\n--o--\r\n",
		    "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
		    "--o\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsome more gr=C3=BCn\r\n--o--\r\n",
		    1, false);
	becomes_for(SEVEN_BIT, "DKIM-Signature: v=1\r\n\r\nx\r\n", "DKIM-Signature: v=1\r\n\r\nx\r\n", 0, false);
}

static void test_binary_content_becomes_base64_and_8_bit_stays_where_it_may(void **state)
{
	char before[3000] = "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
			    "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr" UE "n\r\n"
			    "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\r\n--b--\r\n";

	becomes_for(EIGHT_BIT, before,
		    "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
		    "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr" UE "n\r\n"
		    "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nYQpi\r\n--b--\r\n",
		    1, false);
	/* A line that is too long for SMTP. */
	memset(before, 'x', 2500);
	memcpy(before, "A: b\r\n\r\n", 8);
	before[2500] = '\0';
	{
		_cleanup_buffer_ struct buffer out = { 0 };
		struct downgrade_plan plan;

		assert_int_equal(convert(before, 2500, EIGHT_BIT, 100, &plan, &out), 0);
		assert_int_equal(plan.parts, 1);
		for (struct slice rest = buffer_slice(&out), line; rest.len > 0;) {
			line = slice_cut(rest, '\n', &rest);
			assert_true(line.len <= 77);
		}
	}
}

static void test_what_can_not_be_encoded_is_told(void **state)
{
	can_not("Content-Transfer-Encoding: base64\r\n\r\n" UE "\r\n", -EINVAL);
	can_not("Content-Type: message/partial\r\n\r\n" UE "\r\n", -EINVAL);
	can_not("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n--b\r\n\r\n" UE "\r\n", -EINVAL);
}

static void test_deep_and_many_parts_have_a_limit(void **state)
{
	_cleanup_buffer_ struct buffer deep = { 0 };

	for (unsigned i = 0; i < 60; i++)
		buffer_append_str(&deep, "Content-Type: message/rfc822\r\n\r\n");
	can_not(deep.data, -E2BIG);
}

static void type_is(const char *value, const char *type, const char *subtype, const char *boundary)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct content_type t;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(content_type_parse(slice_from(value), a, &t), 0);
	assert_string_equal(t.type, type);
	assert_string_equal(t.subtype, subtype);
	if (boundary)
		assert_string_equal(t.boundary, boundary);
	else
		assert_null(t.boundary);
}

/* RFC 2045 section 5.1 */
static void test_content_types_are_read_with_comments_folds_and_quotes(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct content_type t;

	type_is(" TEXT/Plain; charset=us-ascii (Plain text)", "text", "plain", NULL);
	type_is(" multipart/mixed;\r\n\tboundary=\"gc0p4Jq0M:08jU534c0p\"", "multipart", "mixed", "gc0p4Jq0M:08jU534c0p");
	type_is("multipart / (what \\) (ever)) mixed ; x = \"a;\\\"b\" ; BOUNDARY = c", "multipart", "mixed", "c");
	type_is("multipart/mixed;;boundary=c;", "multipart", "mixed", "c");
	type_is("multipart/mixed; boundary=", "multipart", "mixed", NULL);
	type_is("multipart/mixed; boundary=\"open", "multipart", "mixed", NULL);
	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(content_type_parse(SLICE("text"), a, &t), -EINVAL);
	assert_int_equal(content_type_parse(SLICE("/plain"), a, &t), -EINVAL);
	assert_int_equal(content_type_parse(SLICE("("), a, &t), -EINVAL);
	assert_true(slice_eq_str(transfer_encoding(SLICE(" (x) base64 (y)")), "base64"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_ascii_stays_as_it_is),
		cmocka_unit_test(test_text_becomes_quoted_printable),
		cmocka_unit_test(test_text_that_is_mostly_not_ascii_becomes_base64),
		cmocka_unit_test(test_text_without_a_label_is_of_an_unknown_character_set),
		cmocka_unit_test(test_only_the_parts_that_need_it_are_encoded),
		cmocka_unit_test(test_the_line_end_in_front_of_a_boundary_is_not_content),
		cmocka_unit_test(test_a_boundary_behind_a_bare_line_feed_stays_one),
		cmocka_unit_test(test_a_message_within_is_encoded_part_by_part),
		cmocka_unit_test(test_the_parts_of_a_digest_are_messages),
		cmocka_unit_test(test_a_part_without_its_own_end_ends_with_the_outer_one),
		cmocka_unit_test(test_signatures_that_would_break_are_told),
		cmocka_unit_test(test_binary_content_becomes_base64_and_8_bit_stays_where_it_may),
		cmocka_unit_test(test_what_can_not_be_encoded_is_told),
		cmocka_unit_test(test_deep_and_many_parts_have_a_limit),
		cmocka_unit_test(test_content_types_are_read_with_comments_folds_and_quotes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
