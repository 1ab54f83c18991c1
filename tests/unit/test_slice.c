#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/slice.h"

#define assert_slice(s, text) \
	do { \
		struct slice _s = (s); \
		assert_int_equal(_s.len, strlen(text)); \
		assert_true(_s.len == 0 || memcmp(_s.data, text, _s.len) == 0); \
	} while (0)

static void test_equality_is_exact_and_may_ignore_ascii_case(void **state)
{
	assert_true(slice_eq(SLICE("abc"), SLICE("abc")));
	assert_false(slice_eq(SLICE("abc"), SLICE("abd")));
	assert_false(slice_eq(SLICE("abc"), SLICE("abcd")));
	assert_true(slice_eq(SLICE_NULL, SLICE("")));
	assert_true(slice_eq_str(SLICE_NULL, ""));
	assert_true(slice_eq(SLICE("a\0b"), SLICE("a\0b")));
	assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
	assert_true(slice_ieq(SLICE("MAIL from"), SLICE("mail FROM")));
	assert_false(slice_ieq(SLICE("["), SLICE("{")));  /* 0x20 apart, but no letters */
	assert_false(slice_ieq(SLICE("@"), SLICE("`")));
	assert_false(slice_ieq(SLICE("\xc4"), SLICE("\xe4"))); /* Latin-1 letters are bytes here */
	assert_true(slice_ieq_str(SLICE("EHLO"), "ehlo"));
}

static void test_prefixes_and_suffixes_ignore_case(void **state)
{
	assert_true(slice_istarts(SLICE("From:<a>"), "FROM:"));
	assert_false(slice_istarts(SLICE("Fro"), "from"));
	assert_true(slice_istarts(SLICE_NULL, ""));
	assert_true(slice_iends(SLICE("mx.Example.ORG"), ".example.org"));
	assert_false(slice_iends(SLICE("org"), ".org"));
	assert_true(slice_iends(SLICE_NULL, ""));
}

static void test_parts_never_leave_the_slice(void **state)
{
	struct slice s = SLICE("hello");

	assert_slice(slice_skip(s, 2), "llo");
	assert_slice(slice_skip(s, 5), "");
	assert_slice(slice_skip(s, SIZE_MAX), "");
	assert_slice(slice_skip(SLICE_NULL, 3), "");
	assert_slice(slice_head(s, 2), "he");
	assert_slice(slice_head(s, 50), "hello");
}

static void test_trim_takes_spaces_and_tabs_only(void **state)
{
	assert_slice(slice_trim(SLICE(" \t a b\t ")), "a b");
	assert_slice(slice_trim(SLICE(" \t ")), "");
	assert_slice(slice_trim(SLICE_NULL), "");
	assert_slice(slice_trim(SLICE(" a\r\n")), "a\r\n");
}

static void test_cut_tells_an_empty_rest_from_none(void **state)
{
	struct slice rest = SLICE("a=b=c");

	assert_slice(slice_cut(rest, '=', &rest), "a");
	assert_slice(rest, "b=c");
	assert_slice(slice_cut(rest, '=', &rest), "b");
	assert_slice(slice_cut(rest, '=', &rest), "c");
	assert_null(rest.data);
	assert_slice(slice_cut(SLICE("a="), '=', &rest), "a");
	assert_non_null(rest.data);
	assert_int_equal(rest.len, 0);
	assert_slice(slice_cut(SLICE_NULL, '=', &rest), "");
	assert_null(rest.data);
}

static void test_find_gives_the_first_or_minus_one(void **state)
{
	assert_int_equal(slice_find(SLICE("abcb"), 'b'), 1);
	assert_int_equal(slice_find(SLICE("a\0b"), '\0'), 1);
	assert_int_equal(slice_find(SLICE("abc"), 'x'), -1);
	assert_int_equal(slice_find(SLICE_NULL, 'x'), -1);
}

static void test_numbers_are_digits_only_and_never_overflow(void **state)
{
	uint64_t v = 7;

	assert_int_equal(slice_to_u64(SLICE("0"), &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(slice_to_u64(SLICE("18446744073709551615"), &v), 0);
	assert_true(v == UINT64_MAX);
	v = 7;
	assert_int_equal(slice_to_u64(SLICE("18446744073709551616"), &v), -ERANGE);
	assert_int_equal(slice_to_u64(SLICE("99999999999999999999999999999"), &v), -ERANGE);
	assert_int_equal(slice_to_u64(SLICE("99999999999999999999999999999x"), &v), -EINVAL);
	assert_int_equal(slice_to_u64(SLICE(""), &v), -EINVAL);
	assert_int_equal(slice_to_u64(SLICE("-1"), &v), -EINVAL);
	assert_int_equal(slice_to_u64(SLICE("+1"), &v), -EINVAL);
	assert_int_equal(slice_to_u64(SLICE(" 1"), &v), -EINVAL);
	assert_int_equal(slice_to_u64(SLICE("0x10"), &v), -EINVAL);
	assert_int_equal(v, 7); /* untouched by failure */
}

static void test_copies_are_terminated(void **state)
{
	_cleanup_(freep) char *copy = slice_dup(SLICE("a\0b"));
	_cleanup_(freep) char *empty = slice_dup(SLICE_NULL);
	char small[4];

	assert_memory_equal(copy, "a\0b", 4);
	assert_string_equal(empty, "");
	assert_int_equal(slice_copy(SLICE("abcdef"), small, sizeof(small)), 3);
	assert_string_equal(small, "abc");
	assert_int_equal(slice_copy(SLICE_NULL, small, sizeof(small)), 0);
	assert_string_equal(small, "");
	small[0] = 'x';
	assert_int_equal(slice_copy(SLICE("abc"), small, 0), 0);
	assert_int_equal(small[0], 'x');
}

static void test_escape_shows_no_raw_byte_and_fits(void **state)
{
	char out[64];

	assert_string_equal(slice_escape(SLICE("a\r\n\x7f\xe9 b"), out, sizeof(out)), "a\\x0d\\x0a\\x7f\\xe9 b");
	assert_string_equal(slice_escape(SLICE("\\x0a"), out, sizeof(out)), "\\\\x0a");
	assert_string_equal(slice_escape(SLICE_NULL, out, sizeof(out)), "");
	assert_string_equal(slice_escape(SLICE("abcdefg"), out, 8), "abcdefg");
	assert_string_equal(slice_escape(SLICE("abcdefgh"), out, 8), "abcd...");
	assert_string_equal(slice_escape(SLICE("abc\x01\x01"), out, 8), "abc...");
	assert_string_equal(slice_escape(SLICE("abcdefgh"), out, 1), "");
	assert_string_equal(slice_escape(SLICE("abcdefgh"), out, 3), "..");
}

/* Whatever goes in: terminated, within its size, printable, and either whole or ending in dots. */
static void test_escape_of_random_bytes_in_every_size(void **state)
{
	srand(1);
	for (int round = 0; round < 20000; round++) {
		char in[24], out[128];
		size_t len = (size_t) rand() % sizeof(in), size = 1 + (size_t) rand() % 100, shown;

		for (size_t i = 0; i < len; i++)
			in[i] = (char) rand();
		memset(out, 'X', sizeof(out));
		slice_escape(slice_new(in, len), out, size);
		shown = strlen(out);
		assert_true(shown < size);
		assert_int_equal(out[size], 'X');
		for (size_t i = 0; i < shown; i++)
			assert_true(out[i] >= 0x20 && out[i] < 0x7f);
		if (size == 100)
			assert_true(shown >= len);
	}
}

static void test_ownership_moves(void **state)
{
	_cleanup_(freep) char *from = strdup("x"), *to = NULL;
	int fd = 5;

	to = TAKE_PTR(from);
	assert_null(from);
	assert_string_equal(to, "x");
	assert_int_equal(TAKE_FD(fd), 5);
	assert_int_equal(fd, -1);
	assert_int_equal(MIN(MAX(1, 2), MIN(4, 3)), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equality_is_exact_and_may_ignore_ascii_case),
		cmocka_unit_test(test_prefixes_and_suffixes_ignore_case),
		cmocka_unit_test(test_parts_never_leave_the_slice),
		cmocka_unit_test(test_trim_takes_spaces_and_tabs_only),
		cmocka_unit_test(test_cut_tells_an_empty_rest_from_none),
		cmocka_unit_test(test_find_gives_the_first_or_minus_one),
		cmocka_unit_test(test_numbers_are_digits_only_and_never_overflow),
		cmocka_unit_test(test_copies_are_terminated),
		cmocka_unit_test(test_escape_shows_no_raw_byte_and_fits),
		cmocka_unit_test(test_escape_of_random_bytes_in_every_size),
		cmocka_unit_test(test_ownership_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
