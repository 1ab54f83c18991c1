/* Commands of pipes: how they are taken apart and filled in, and what the end of a program means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "deliver/pipe.h"

static struct arena *arena;

static int set_up(void **state)
{
	return arena_new(0, &arena);
}

static int tear_down(void **state)
{
	arena_free(arena);
	return 0;
}

static void test_a_text_is_split_at_blanks_and_nothing_else(void **state)
{
	char many[2 * (PIPE_ARGUMENTS_MAX + 1) + 1];
	const char *const *args;
	unsigned n;

	assert_int_equal(pipe_command_split(SLICE("  /bin/x a\tb$c  {local} "), arena, &args, &n), 0);
	assert_int_equal(n, 4);
	assert_string_equal(args[0], "/bin/x");
	assert_string_equal(args[2], "b$c");
	assert_null(args[4]);
	assert_int_equal(pipe_command_split(SLICE(""), arena, &args, &n), -EINVAL);
	assert_int_equal(pipe_command_split(SLICE("  "), arena, &args, &n), -EINVAL);
	assert_int_equal(pipe_command_split(SLICE("/bin/sh -c 'x'"), arena, &args, &n), -EINVAL);
	assert_int_equal(pipe_command_split(SLICE("/bin/x a\\ b"), arena, &args, &n), -EINVAL);
	assert_int_equal(pipe_command_split(SLICE("/bin/x\na"), arena, &args, &n), -EINVAL);
	for (size_t i = 0; i < sizeof(many) - 1; i += 2)
		memcpy(many + i, "a ", 2);
	assert_int_equal(pipe_command_split(slice_new(many, sizeof(many) - 1), arena, &args, &n), -E2BIG);
	assert_int_equal(pipe_command_split(slice_new(many, sizeof(many) - 3), arena, &args, &n), 0);
}

static void test_a_wrong_placeholder_is_found(void **state)
{
	assert_null(pipe_argument_flaw(SLICE("a{local}b{domain}")).data);
	assert_null(pipe_argument_flaw(SLICE("}plain")).data);
	assert_true(slice_eq_str(pipe_argument_flaw(SLICE("a{host}")), "{host}"));
	assert_true(slice_eq_str(pipe_argument_flaw(SLICE("a{local")), "{local"));
}

static int fill(const char *template, const char *recipient, const char **ret)
{
	const char *const args[] = { "/bin/x", template };
	const struct pipe_command c = { .n_args = 2, .args = args };
	struct envelope e = { .reverse_path = "alice@example.org" };
	const char *const *filled;
	struct pipe_facts f;
	int r = pipe_facts_of(&e, recipient, arena, &f);

	if (r >= 0)
		r = pipe_arguments(&c, &f, arena, &filled);
	if (r < 0)
		return r;
	assert_null(filled[2]);
	*ret = filled[1];
	return 0;
}

static void filled(const char *template, const char *recipient, const char *expected)
{
	const char *text = NULL;

	assert_int_equal(fill(template, recipient, &text), 0);
	assert_string_equal(text, expected);
}

static void test_placeholders_are_filled_in(void **state)
{
	const char *unused;

	filled("{recipient}", "Bob+x@Example.ORG", "Bob+x@Example.ORG");
	filled("{local}/{detail}", "Bob+x+y@example.org", "bob/x+y");
	filled("{user}", "\"b ob\"@example.org", "b ob@example.org");
	filled("{sender}{local}{", "bob@example.org", "alice@example.orgbob{");
	filled("{domain}", "bob@B\xc3\xbc" "cher.example", "xn--bcher-kva.example");
	filled("{local}", "+x@example.org", "+x");
	filled("-{local}", "-rf@example.org", "--rf"); /* the minus is the administrator's own */
	assert_int_equal(fill("{local}", "-rf@example.org", &unused), -EINVAL);
	assert_int_equal(fill("{local}", "no address", &unused), -EINVAL);
}

static void test_with_a_user_the_program_is_run_through_ourselves(void **state)
{
	const char *const args[] = { "/bin/x", "-a" };
	const struct pipe_command c = { .n_args = 2, .args = args, .user = "vmail" };
	struct envelope e = { .reverse_path = "" };
	const char *const *filled_in;
	struct pipe_facts f;

	assert_int_equal(pipe_facts_of(&e, "bob@example.org", arena, &f), 0);
	assert_int_equal(pipe_arguments(&c, &f, arena, &filled_in), 0);
	assert_string_equal(filled_in[0], "/proc/self/exe");
	assert_string_equal(filled_in[1], "exec-as");
	assert_string_equal(filled_in[2], "vmail");
	assert_string_equal(filled_in[3], "/bin/x");
	assert_string_equal(filled_in[4], "-a");
	assert_null(filled_in[5]);
}

static void test_the_environment_has_what_is_known_and_nothing_else(void **state)
{
	struct envelope_recipient r = { .address = "bob+x@example.org", .orcpt = "rfc822;Bob@old.example" };
	struct envelope e = { .reverse_path = "", .n_recipients = 1, .recipients = &r, .size = 7 };
	const char *const *env;
	struct pipe_facts f;
	unsigned found = 0;

	assert_int_equal(pipe_facts_of(&e, r.address, arena, &f), 0);
	env = pipe_environment(&f, arena);
	assert_non_null(env);
	for (; *env; env++)
		found += strcmp(*env, "SENDER=") == 0 || strcmp(*env, "RECIPIENT=bob+x@example.org") == 0 ||
			 strcmp(*env, "ORIGINAL_RECIPIENT=rfc822;Bob@old.example") == 0 || strcmp(*env, "LOCAL=bob") == 0 ||
			 strcmp(*env, "DETAIL=x") == 0 || strcmp(*env, "SIZE=7") == 0 || strcmp(*env, "AUTH_USER=") == 0;
	assert_int_equal(found, 7);
}

static struct outcome outcome(int status, const char *said)
{
	const char *const args[] = { "/bin/x" };
	const struct pipe_command c = { .n_args = 1, .args = args };
	struct outcome o;

	pipe_outcome(&c, status, said, arena, &o);
	return o;
}

static void test_the_exit_status_decides(void **state)
{
	struct outcome o = outcome(0, "");

	assert_int_equal(o.kind, OUTCOME_DELIVERED);
	assert_string_equal(o.reply.text, "delivered to the program /bin/x");
	o = outcome(75, "disk full");
	assert_int_equal(o.kind, OUTCOME_DEFERRED);
	assert_string_equal(o.reply.text, "the program /bin/x ended with status 75 (temporary failure): disk full");
	o = outcome(67, "");
	assert_int_equal(o.kind, OUTCOME_FAILED);
	assert_int_equal(o.class, CLASS_NO_SUCH_USER);
	assert_true(o.reply.enhanced[0] == 5 && o.reply.enhanced[1] == 1 && o.reply.enhanced[2] == 1);
	for (int status = 1; status < 256; status++) {
		bool later = status == 75 || status == 126 || status == 127;

		o = outcome(status, "");
		assert_int_equal(o.kind, later ? OUTCOME_DEFERRED : OUTCOME_FAILED);
		assert_int_equal(o.reply.enhanced[0], later ? 4 : 5);
		assert_false(o.site_fault); /* one message says nothing about others */
	}
	o = outcome(-11, "");
	assert_int_equal(o.kind, OUTCOME_DEFERRED);
	assert_string_equal(o.reply.text, "the program /bin/x died of signal 11");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_text_is_split_at_blanks_and_nothing_else),
		cmocka_unit_test(test_a_wrong_placeholder_is_found),
		cmocka_unit_test(test_placeholders_are_filled_in),
		cmocka_unit_test(test_with_a_user_the_program_is_run_through_ourselves),
		cmocka_unit_test(test_the_environment_has_what_is_known_and_nothing_else),
		cmocka_unit_test(test_the_exit_status_decides),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
