#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static size_t encode(uint32_t c, char out[static 4])
{
	if (c < 0x80) {
		out[0] = (char) c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char) (0xc0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char) (0xe0 | c >> 12);
		out[1] = (char) (0x80 | (c >> 6 & 0x3f));
		out[2] = (char) (0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | c >> 18);
	out[1] = (char) (0x80 | (c >> 12 & 0x3f));
	out[2] = (char) (0x80 | (c >> 6 & 0x3f));
	out[3] = (char) (0x80 | (c & 0x3f));
	return 4;
}

static void test_every_character_is_read_whole_or_not_at_all(void **state)
{
	for (uint32_t c = 0; c < 0x120000; c++) {
		char bytes[4];
		size_t n = encode(c, bytes);
		bool valid = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);
		uint32_t got = 0xffffffff;

		if (utf8_decode(slice_new(bytes, n), &got) != (valid ? n : 0) || got != (valid ? c : 0xffffffff))
			fail_msg("U+%04X", (unsigned) c);
		if (n > 1 && utf8_decode(slice_new(bytes, n - 1), &got) != 0)
			fail_msg("U+%04X, torn", (unsigned) c);
	}
}

static void test_what_is_not_utf8_is_refused(void **state)
{
	static const char *const bad[] = {
		"\x80", "\xbf", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xe0\x9f\xbf", "\xf0\x80\x80\xaf",
		"\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff",
		"\xc3(", "\xe2\x82(", "\xe2(\xa1", "\xf0\x9f\x98", "ok\xff",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(utf8_valid(slice_from(bad[i])));
	assert_true(utf8_valid(SLICE_NULL));
	assert_true(utf8_valid(SLICE("a\0é驿😀")));
}

static void test_controls_and_invisible_signs_are_not_printable(void **state)
{
	static const uint32_t hidden[] = { 0, '\n', 0x1b, 0x7f, 0x9b, 0xad, 0x200b, 0x202e, 0x2028, 0x2066, 0xfeff,
					   0xfffe, 0xffff, 0x1ffff, 0xd800, 0xe0041, 0x110000 };
	static const uint32_t shown[] = { ' ', 'a', '~', 0xa0, 0xe9, 0x7ad9, 0x9a7f, 0xfffd, 0x1f600 };

	for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
		assert_false(utf8_printable(hidden[i]));
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		assert_true(utf8_printable(shown[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_character_is_read_whole_or_not_at_all),
		cmocka_unit_test(test_what_is_not_utf8_is_refused),
		cmocka_unit_test(test_controls_and_invisible_signs_are_not_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
