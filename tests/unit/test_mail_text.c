/* Enhanced status codes and small helpers on text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/encoding.h"
#include "mail/status.h"
#include "mail/text.h"

static void test_codes_are_read_and_written(void **state)
{
	struct slice s = SLICE("5.1.1 No such user");
	char out[STATUS_TEXT];
	struct status status;

	assert_int_equal(status_parse(&s, &status), 0);
	assert_string_equal(status_format(status, out), "5.1.1");
	assert_true(slice_eq_str(s, "No such user"));
	s = SLICE("4.999.123");
	assert_int_equal(status_parse(&s, &status), 0);
	assert_string_equal(status_format(status, out), "4.999.123");
	assert_int_equal(s.len, 0);
}

static void test_what_is_no_code(void **state)
{
	static const char *const wrong[] = { "", "5", "5.", "5.1", "5.1.", "5.1.1.1", "5.1.1x", "3.1.1", "1.1.1", "55.1.1", "5.1000.1", "5.1.1000",
					     "5 1 1", ".1.1", "5..1", "-5.1.1" };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct slice s = slice_from(wrong[i]);
		struct status status;

		assert_int_equal(status_parse(&s, &status), -EINVAL);
		assert_true(slice_eq_str(s, wrong[i]));
	}
}

static void test_every_code_has_a_sentence_for_people(void **state)
{
	for (int subject = -1; subject < 12; subject++)
		for (int detail = -1; detail < 40; detail++)
			assert_true(strlen(status_for_people((struct status) { 5, subject, detail })) > 10);
	assert_string_not_equal(status_for_people((struct status) { 5, 1, 1 }), status_for_people((struct status) { 4, 1, 1 }));
	assert_string_equal(status_for_people((struct status) { 5, 2, 2 }), status_for_people((struct status) { 4, 2, 2 }));
}

static void test_text_is_cut_between_characters(void **state)
{
	struct slice s = SLICE("a\xc3\xa4\xf0\x9f\x93\xae");

	assert_int_equal(text_head(s, 0).len, 0);
	assert_int_equal(text_head(s, 1).len, 1);
	assert_int_equal(text_head(s, 2).len, 1);
	assert_int_equal(text_head(s, 3).len, 3);
	assert_int_equal(text_head(s, 4).len, 3);
	assert_int_equal(text_head(s, 5).len, 3);
	assert_int_equal(text_head(s, 6).len, 3);
	assert_int_equal(text_head(s, 7).len, 7);
	assert_int_equal(text_head(s, 99).len, 7);
	assert_int_equal(text_head(SLICE("\x80\x80\x80\x80\x80\x80"), 5).len, 5);
}

static void test_clean_text_has_no_controls(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	text_append_clean(&out, SLICE("\ra\nb\0c\x7f\xc3\xa4"));
	assert_string_equal(out.data, " a b c \xc3\xa4");
	assert_false(text_has_control(buffer_slice(&out)));
	assert_true(text_has_control(SLICE("a\t")));
	assert_false(text_is_printable_ascii(SLICE("\xc3")));
	assert_true(text_is_printable_ascii(SLICE(" ~")));
}

static void test_what_content_needs(void **state)
{
	_cleanup_buffer_ struct buffer line = { 0 };

	assert_false(encoding_look(SLICE("a\r\nb\r\n")).binary);
	assert_true(encoding_look(SLICE("a\nb")).binary);
	assert_true(encoding_look(SLICE("a\rb")).binary);
	assert_true(encoding_look(SLICE("a\r")).binary);
	assert_true(encoding_look(SLICE("a\0")).binary);
	assert_false(encoding_look(SLICE("a\0")).eight_bit);
	assert_true(encoding_look(SLICE("\xe4")).eight_bit);
	for (unsigned i = 0; i < 998; i++)
		buffer_append_char(&line, 'x');
	buffer_append_str(&line, "\r\n");
	assert_false(encoding_look(buffer_slice(&line)).binary);
	line.data[998] = 'x';
	assert_true(encoding_look(buffer_slice(&line)).binary);
}

/* Undoes quoted-printable, for the round trip. */
static void unquote(struct slice s, struct buffer *out)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned v;

		if (s.data[i] != '=') {
			buffer_append_char(out, s.data[i]);
		} else if (s.data[i + 1] == '\r') {
			i += 2;
		} else {
			assert_int_equal(sscanf(s.data + i + 1, "%2X", &v), 1);
			buffer_append_char(out, (char) v);
			i += 2;
		}
	}
}

static void test_quoted_printable_goes_there_and_back_in_short_lines(void **state)
{
	static const char alphabet[] = { 'a', ' ', '\t', '=', '\r', '\n', '.', 'F', '\xe4', 'z', 'z', 'z' };
	unsigned short seed[3] = { 3, 2, 1 };

	for (unsigned round = 0; round < 2000; round++) {
		_cleanup_buffer_ struct buffer in = { 0 }, out = { 0 }, back = { 0 };
		size_t len = 1 + (size_t) nrand48(seed) % 400;
		struct slice rest;

		for (size_t i = 0; i < len; i++) {
			buffer_append_char(&in, alphabet[(size_t) nrand48(seed) % sizeof(alphabet)]);
			if (nrand48(seed) % 30 == 0)
				buffer_append_str(&in, "\r\n");
		}
		quoted_printable_encode(buffer_slice(&in), &out);
		unquote(buffer_slice(&out), &back);
		assert_int_equal(back.len, in.len);
		assert_memory_equal(back.data, in.data, in.len);
		rest = buffer_slice(&out);
		while (rest.len > 0) {
			struct slice line = slice_cut(rest, '\n', &rest);

			assert_true(line.len <= 77);
			if (line.len >= 2 && rest.data)
				assert_true(line.data[line.len - 2] != ' ' && line.data[line.len - 2] != '\t');
		}
		assert_false(encoding_look(buffer_slice(&out)).binary);
		assert_false(encoding_look(buffer_slice(&out)).eight_bit);
	}
}

static void expect_base64(struct slice in, const char *expected)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	base64_encode_lines(in, &out);
	assert_string_equal(out.data ? out.data : "", expected);
}

static void test_base64(void **state)
{
	expect_base64(SLICE(""), "");
	expect_base64(SLICE("f"), "Zg==\r\n");
	expect_base64(SLICE("fo"), "Zm8=\r\n");
	expect_base64(SLICE("foo"), "Zm9v\r\n");
	expect_base64(SLICE("\xff\xfe\0"), "//4A\r\n");
	expect_base64(SLICE("0123456789012345678901234567890123456789012345678901234567"),
		      "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2\r\nNw==\r\n");
	expect_base64(SLICE("012345678901234567890123456789012345678901234567890123456"),
		      "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes_are_read_and_written),
		cmocka_unit_test(test_what_is_no_code),
		cmocka_unit_test(test_every_code_has_a_sentence_for_people),
		cmocka_unit_test(test_text_is_cut_between_characters),
		cmocka_unit_test(test_clean_text_has_no_controls),
		cmocka_unit_test(test_what_content_needs),
		cmocka_unit_test(test_quoted_printable_goes_there_and_back_in_short_lines),
		cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
