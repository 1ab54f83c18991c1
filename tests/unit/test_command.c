/* Command lines: verbs, paths, parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "smtp/command.h"

static void test_verbs_are_known_in_any_case(void **state)
{
	struct command c;

	assert_int_equal(command_parse(SLICE("EHLO mx.example.org"), &c), 0);
	assert_int_equal(c.verb, VERB_EHLO);
	assert_true(slice_eq_str(c.args, "mx.example.org"));
	assert_int_equal(command_parse(SLICE("mAiL from:<>  "), &c), 0);
	assert_int_equal(c.verb, VERB_MAIL);
	assert_true(slice_eq_str(c.args, "from:<>"));
	assert_int_equal(command_parse(SLICE("QUIT"), &c), 0);
	assert_int_equal(c.verb, VERB_QUIT);
	assert_int_equal(c.args.len, 0);
	assert_int_equal(command_parse(SLICE("QUIT "), &c), 0);
	assert_int_equal(c.args.len, 0);
	assert_int_equal(command_parse(SLICE("StartTLS"), &c), 0);
	assert_int_equal(c.verb, VERB_STARTTLS);
}

static void test_every_verb_has_its_name(void **state)
{
	for (int v = VERB_UNKNOWN + 1; v < VERB_FOREIGN; v++) {
		struct command c;

		assert_int_equal(command_parse(slice_from(verb_name((enum verb) v)), &c), 0);
		assert_int_equal(c.verb, v);
	}
}

static void test_other_words_are_unknown(void **state)
{
	struct command c;

	assert_int_equal(command_parse(SLICE("XEXCH50 1 2"), &c), 0);
	assert_int_equal(c.verb, VERB_UNKNOWN);
	assert_true(slice_eq_str(c.name, "XEXCH50"));
	assert_int_equal(command_parse(SLICE("MAILX FROM:<>"), &c), 0);
	assert_int_equal(c.verb, VERB_UNKNOWN);
	assert_int_equal(command_parse(SLICE("DAT"), &c), 0);
	assert_int_equal(c.verb, VERB_UNKNOWN);
}

static void test_http_is_recognised(void **state)
{
	struct command c;

	assert_int_equal(command_parse(SLICE("GET / HTTP/1.1"), &c), 0);
	assert_int_equal(c.verb, VERB_FOREIGN);
	assert_int_equal(command_parse(SLICE("CONNECT a:25 HTTP/1.1"), &c), 0);
	assert_int_equal(c.verb, VERB_FOREIGN);
}

static void test_control_characters_are_refused(void **state)
{
	struct command c;

	assert_int_equal(command_parse(SLICE("NOOP\tx"), &c), -EILSEQ);
	assert_int_equal(command_parse(SLICE("NOOP \0x"), &c), -EILSEQ);
	assert_int_equal(command_parse(SLICE("NOOP \x7f"), &c), -EILSEQ);
	assert_int_equal(command_parse(SLICE("\x1b[A"), &c), -EILSEQ);
}

static void test_a_line_begins_with_a_letter(void **state)
{
	struct command c;

	assert_int_equal(command_parse(SLICE(""), &c), -EINVAL);
	assert_int_equal(command_parse(SLICE(" NOOP"), &c), -EINVAL);
	assert_int_equal(command_parse(SLICE("<a@b>"), &c), -EINVAL);
	assert_int_equal(command_parse(SLICE("\xc3\xa4"), &c), -EINVAL);
}

static void test_mail_with_parameters(void **state)
{
	struct path_args a;

	assert_int_equal(mail_args_parse(SLICE("FROM:<a@b.example> SIZE=100 BODY=8BITMIME SMTPUTF8"), false, &a), 0);
	assert_true(slice_eq_str(a.path.text, "a@b.example"));
	assert_int_equal(a.n_parameters, 3);
	assert_true(slice_eq_str(a.parameters[0].keyword, "SIZE"));
	assert_true(slice_eq_str(a.parameters[0].value, "100"));
	assert_true(slice_eq_str(a.parameters[2].keyword, "SMTPUTF8"));
	assert_null(a.parameters[2].value.data);
	assert_int_equal(mail_args_parse(SLICE("from:<>"), false, &a), 0);
	assert_int_equal(a.path.text.len, 0);
	assert_int_equal(a.n_parameters, 0);
}

static void test_one_space_behind_the_colon_is_taken(void **state)
{
	struct path_args a;

	assert_int_equal(mail_args_parse(SLICE("FROM: <a@b.example>"), false, &a), 0);
	assert_int_equal(rcpt_args_parse(SLICE("TO: <a@b.example>"), false, &a), 0);
	assert_int_equal(mail_args_parse(SLICE("FROM:  <a@b.example>"), false, &a), -EINVAL);
	assert_int_equal(mail_args_parse(SLICE("FROM :<a@b.example>"), false, &a), -EINVAL);
}

static void test_what_is_no_path_is_refused(void **state)
{
	static const char *const wrong[] = {
		"", "FROM", "FROM:", "FROM:a@b.example", "FROM:<a@b.example", "FROM:<a@b.example>x", "FROM:<a@b.example>SIZE=1",
		"FROM:<a b@c.example>", "FROM:<a@b.example>>", "FROM:<<a@b.example>>", "TO:<a@b.example>", "FROM:<a>", "FROM:< >",
	};
	struct path_args a;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(mail_args_parse(slice_from(wrong[i]), false, &a), -EINVAL);
	assert_int_equal(rcpt_args_parse(SLICE("TO:<>"), false, &a), -EINVAL);
	assert_int_equal(rcpt_args_parse(SLICE("FROM:<a@b>"), false, &a), -EINVAL);
}

static void test_postmaster_needs_no_domain(void **state)
{
	struct path_args a;

	assert_int_equal(rcpt_args_parse(SLICE("TO:<PostMaster>"), false, &a), 0);
	assert_int_equal(a.path.domain.len, 0);
	assert_int_equal(mail_args_parse(SLICE("FROM:<postmaster>"), false, &a), -EINVAL);
}

static void test_malformed_parameters_are_told_apart(void **state)
{
	static const char *const wrong[] = {
		"FROM:<> =1", "FROM:<> SIZE=", "FROM:<> -A=1", "FROM:<> A_B=1", "FROM:<> A<B", "FROM:<> <a@b>", "FROM:<> \xc3\xa4=1",
	};
	struct path_args a;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(mail_args_parse(slice_from(wrong[i]), false, &a), -EBADMSG);
	assert_int_equal(mail_args_parse(SLICE("FROM:<> A B C D E F G H I J K L M N O P"), false, &a), 0);
	assert_int_equal(a.n_parameters, PARAMETERS_MAX);
	assert_int_equal(mail_args_parse(SLICE("FROM:<> A B C D E F G H I J K L M N O P Q"), false, &a), -ENOBUFS);
}

static void test_utf8_needs_to_have_been_announced(void **state)
{
	struct path_args a;

	assert_int_equal(mail_args_parse(SLICE("FROM:<\xc3\xa4@b.example>"), false, &a), -EILSEQ);
	assert_int_equal(mail_args_parse(SLICE("FROM:<\xc3\xa4@b.example>"), true, &a), 0);
	assert_true(a.path.utf8);
	assert_int_equal(mail_args_parse(SLICE("FROM:<\xc3@b.example>"), true, &a), -EILSEQ);
}

static void test_long_return_paths_of_lists_are_taken(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct path_args a;

	buffer_append_str(&b, "FROM:<");
	for (unsigned i = 0; i < 200; i++)
		buffer_append_char(&b, 'a');
	buffer_append_str(&b, "@lists.example>");
	assert_int_equal(mail_args_parse(buffer_slice(&b), false, &a), 0);
	buffer_clear(&b);
	buffer_append_str(&b, "FROM:<");
	for (unsigned i = 0; i < 300; i++)
		buffer_append_char(&b, 'a');
	buffer_append_str(&b, "@lists.example>");
	assert_int_equal(mail_args_parse(buffer_slice(&b), false, &a), -E2BIG);
}

static void test_helo_names(void **state)
{
	static const char *const good[] = { "mx.example.org", "localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a-b.c1" };
	static const char *const lenient[] = { "my_pc", "mx.example.org.", "host:25", "-x", "a..b", "[2001:db8::1]" };
	static const char *const bad[] = { "", "a b", "[192.0.2.300]", "[", "[]", "[::", "[::z]", "(x)", "a\"b", "<x>", "a@b", "a;b", "\xc3" };
	struct slice name;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(helo_parse(slice_from(good[i]), false, &name), 0);
		assert_int_equal(helo_parse(slice_from(good[i]), true, &name), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(lenient); i++)
		assert_int_equal(helo_parse(slice_from(lenient[i]), true, &name), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(helo_parse(slice_from(bad[i]), true, &name), -EINVAL);
		assert_int_equal(helo_parse(slice_from(bad[i]), false, &name), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs_are_known_in_any_case),
		cmocka_unit_test(test_every_verb_has_its_name),
		cmocka_unit_test(test_other_words_are_unknown),
		cmocka_unit_test(test_http_is_recognised),
		cmocka_unit_test(test_control_characters_are_refused),
		cmocka_unit_test(test_a_line_begins_with_a_letter),
		cmocka_unit_test(test_mail_with_parameters),
		cmocka_unit_test(test_one_space_behind_the_colon_is_taken),
		cmocka_unit_test(test_what_is_no_path_is_refused),
		cmocka_unit_test(test_postmaster_needs_no_domain),
		cmocka_unit_test(test_malformed_parameters_are_told_apart),
		cmocka_unit_test(test_utf8_needs_to_have_been_announced),
		cmocka_unit_test(test_long_return_paths_of_lists_are_taken),
		cmocka_unit_test(test_helo_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
