/* xtext and its relative for UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/xtext.h"

static int set_up(void **state)
{
	return arena_new(0, (struct arena **) state);
}

static int tear_down(void **state)
{
	arena_free(*state);
	return 0;
}

static void test_octets_go_there_and_back(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	char all[256];
	struct slice back;

	for (unsigned i = 0; i < 256; i++)
		all[i] = (char) i;
	xtext_encode(slice_new(all, 256), &out);
	for (size_t i = 0; i < out.len; i++)
		assert_true(out.data[i] > ' ' && out.data[i] <= '~' && out.data[i] != '=');
	assert_int_equal(xtext_decode(*state, buffer_slice(&out), &back), 0);
	assert_int_equal(back.len, 256);
	assert_memory_equal(back.data, all, 256);
}

static void test_what_is_no_xtext(void **state)
{
	static const char *const wrong[] = { "a=b", "a b", "+", "+2", "+2b", "+GG", "a+", "\t", "\xc3\xa4" };
	struct slice out;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(xtext_decode(*state, slice_from(wrong[i]), &out), -EINVAL);
	assert_int_equal(xtext_decode(*state, SLICE(""), &out), 0);
	assert_int_equal(out.len, 0);
}

static void test_characters_go_there_and_back(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice text = SLICE("j\xc3\xb6+r=g \\\xe7\x94\xa8\xf0\x9f\x93\xae@b"), back;

	assert_int_equal(unitext_encode(text, &out), 0);
	assert_string_equal(out.data, "j\\x{F6}\\x{2B}r\\x{3D}g\\x{20}\\x{5C}\\x{7528}\\x{1F4EE}@b");
	assert_int_equal(unitext_decode(*state, buffer_slice(&out), &back), 0);
	assert_true(slice_eq(back, text));
	assert_int_equal(unitext_decode(*state, text, &back), -EINVAL); /* a backslash alone */
	assert_int_equal(unitext_decode(*state, SLICE("j\xc3\xb6@b"), &back), 0);
	assert_true(slice_eq_str(back, "j\xc3\xb6@b"));
	assert_int_equal(unitext_encode(SLICE("\xc3"), &out), -EILSEQ);
}

static void test_what_is_no_character(void **state)
{
	static const char *const wrong[] = {
		"\\", "\\x", "\\x{", "\\x{}", "\\x{2}", "\\x{2B", "\\x{110000}", "\\x{D800}", "\\x{0000041}", "\\x{00}", "\\x{2b}",
		"\\X{2B}", "\\x{ 2B}",
	};
	struct slice out;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(unitext_decode(*state, slice_from(wrong[i]), &out), -EINVAL);
	assert_int_equal(unitext_decode(*state, SLICE("\xff"), &out), -EILSEQ);
}

static void expect_orcpt(struct arena *a, const char *wire, const char *kept, const char *again, const char *again_utf8)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	const char *orcpt;

	assert_int_equal(orcpt_decode(a, slice_from(wire), true, &orcpt), 0);
	assert_string_equal(orcpt, kept);
	assert_int_equal(orcpt_encode(orcpt, false, &out), 0);
	assert_string_equal(out.data, again);
	buffer_clear(&out);
	assert_int_equal(orcpt_encode(orcpt, true, &out), 0);
	assert_string_equal(out.data, again_utf8);
}

static void test_original_recipients(void **state)
{
	expect_orcpt(*state, "RFC822;a+2Bb@c", "rfc822;a+b@c", "rfc822;a+2Bb@c", "rfc822;a+2Bb@c");
	expect_orcpt(*state, "x400;/S+3Da+3Db/", "x400;/S=a=b/", "x400;/S+3Da+3Db/", "x400;/S+3Da+3Db/");
}

static void test_original_recipients_in_utf8(void **state)
{
	expect_orcpt(*state, "UTF-8;\\x{F6}@b", "utf-8;\xc3\xb6@b", "utf-8;\\x{F6}@b", "utf-8;\xc3\xb6@b");
	expect_orcpt(*state, "utf-8;\xc3\xb6@b", "utf-8;\xc3\xb6@b", "utf-8;\\x{F6}@b", "utf-8;\xc3\xb6@b");
	expect_orcpt(*state, "utf-8;+C3+B6@b", "utf-8;\xc3\xb6@b", "utf-8;\\x{F6}@b", "utf-8;\xc3\xb6@b");
}

static void test_wrong_original_recipients(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	const char *orcpt = NULL;
	char long_one[600];

	assert_int_equal(orcpt_decode(*state, SLICE("a@b"), true, &orcpt), -EINVAL);
	assert_int_equal(orcpt_decode(*state, SLICE(";a@b"), true, &orcpt), -EINVAL);
	assert_int_equal(orcpt_decode(*state, SLICE("rfc822;"), true, &orcpt), -EINVAL);
	assert_int_equal(orcpt_decode(*state, SLICE("rfc822;a+0D+0Ab"), true, &orcpt), -EINVAL);
	assert_int_equal(orcpt_decode(*state, SLICE("utf-8;a\\x{0A}b"), true, &orcpt), -EINVAL);
	assert_int_equal(orcpt_decode(*state, SLICE("utf-8;\xc3\xb6@b"), false, &orcpt), -EILSEQ);
	assert_int_equal(orcpt_decode(*state, SLICE("rfc822;\xc3\xb6@b"), true, &orcpt), -EILSEQ);
	memset(long_one, 'a', sizeof(long_one));
	memcpy(long_one, "rfc822;", 7);
	assert_int_equal(orcpt_decode(*state, slice_new(long_one, 501), true, &orcpt), -E2BIG);
	assert_int_equal(orcpt_decode(*state, slice_new(long_one, 500), true, &orcpt), 0);
	assert_int_equal(orcpt_encode("nothing", false, &out), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_octets_go_there_and_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_xtext, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_characters_go_there_and_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_character, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_original_recipients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_original_recipients_in_utf8, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_original_recipients, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
