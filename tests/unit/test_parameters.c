/* The parameters of MAIL and RCPT, and the replies to wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/parameters.h"

#define ALL (~0u)

struct fixture {
	struct arena *arena;
	struct path_args args;
	struct mail_parameters mail;
	struct rcpt_parameters rcpt;
	struct reply error;
	int r;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(arena_new(0, &f->arena), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	arena_free(f->arena);
	free(f);
	return 0;
}

static void mail_offered(struct fixture *f, const char *parameters, unsigned offered, uint64_t max)
{
	char *line = arena_printf(f->arena, "FROM:<a@b.example> %s", parameters);

	f->error = (struct reply) { 0 };
	assert_int_equal(mail_args_parse(slice_from(line), true, &f->args), 0);
	f->r = mail_parameters_parse(&f->args, offered, max, f->arena, &f->mail, &f->error);
}

static void mail(struct fixture *f, const char *parameters)
{
	mail_offered(f, parameters, ALL, 1000);
}

static void rcpt_utf8(struct fixture *f, const char *parameters, bool smtputf8)
{
	char *line = arena_printf(f->arena, "TO:<a@b.example> %s", parameters);

	f->error = (struct reply) { 0 };
	assert_int_equal(rcpt_args_parse(slice_from(line), true, &f->args), 0);
	f->r = rcpt_parameters_parse(&f->args, ALL, smtputf8, f->arena, &f->rcpt, &f->error);
}

static void rcpt(struct fixture *f, const char *parameters)
{
	rcpt_utf8(f, parameters, false);
}

static void refused(const struct fixture *f, int code, int class, int subject, int detail)
{
	assert_int_equal(f->r, -EINVAL);
	assert_int_equal(f->error.code, code);
	assert_int_equal(f->error.enhanced[0], class);
	assert_int_equal(f->error.enhanced[1], subject);
	assert_int_equal(f->error.enhanced[2], detail);
	assert_non_null(f->error.text);
}

static void test_all_of_mail(void **state)
{
	struct fixture *f = *state;

	mail(f, "size=999 Body=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+20314159 AUTH=e+3Dmc2@example.com REQUIRETLS");
	assert_int_equal(f->r, 0);
	assert_int_equal(f->mail.size, 999);
	assert_int_equal(f->mail.body, BODY_8BITMIME);
	assert_true(f->mail.smtputf8);
	assert_true(f->mail.requiretls);
	assert_int_equal(f->mail.ret, DSN_RET_HDRS);
	assert_string_equal(f->mail.envid, "QQ 314159");
	assert_string_equal(f->mail.auth, "e=mc2@example.com");
	mail(f, "");
	assert_int_equal(f->r, 0);
	assert_int_equal(f->mail.body, BODY_7BIT);
	assert_null(f->mail.envid);
	assert_null(f->mail.auth);
	mail(f, "AUTH=<>");
	assert_int_equal(f->r, 0);
	assert_string_equal(f->mail.auth, "");
}

static void test_all_of_rcpt(void **state)
{
	struct fixture *f = *state;

	rcpt(f, "NOTIFY=success,Failure ORCPT=RFC822;Bob+2Bx@example.com");
	assert_int_equal(f->r, 0);
	assert_int_equal(f->rcpt.notify, NOTIFY_SUCCESS | NOTIFY_FAILURE);
	assert_string_equal(f->rcpt.orcpt, "rfc822;Bob+x@example.com");
	rcpt(f, "NOTIFY=NEVER");
	assert_int_equal(f->rcpt.notify, NOTIFY_NEVER);
	rcpt(f, "");
	assert_int_equal(f->r, 0);
	assert_int_equal(f->rcpt.notify, 0);
	assert_null(f->rcpt.orcpt);
}

static void test_unknown_parameters_are_555(void **state)
{
	struct fixture *f = *state;

	mail(f, "FOO=1");
	refused(f, 555, 5, 5, 4);
	mail(f, "NOTIFY=NEVER");
	refused(f, 555, 5, 5, 4);
	rcpt(f, "SIZE=1");
	refused(f, 555, 5, 5, 4);
}

static void test_parameters_of_what_was_not_offered_are_unknown(void **state)
{
	struct fixture *f = *state;

	mail_offered(f, "RET=FULL", ALL & ~(unsigned) EXT_DSN, 0);
	refused(f, 555, 5, 5, 4);
	mail_offered(f, "REQUIRETLS", ALL & ~(unsigned) EXT_REQUIRETLS, 0);
	refused(f, 555, 5, 5, 4);
	mail_offered(f, "BODY=BINARYMIME", ALL & ~(unsigned) EXT_BINARYMIME, 0);
	refused(f, 504, 5, 5, 4);
	mail_offered(f, "BODY=BINARYMIME", ALL, 0);
	assert_int_equal(f->r, 0);
	assert_int_equal(f->mail.body, BODY_BINARYMIME);
}

static void test_what_is_given_twice_is_501(void **state)
{
	struct fixture *f = *state;

	mail(f, "SIZE=1 size=1");
	refused(f, 501, 5, 5, 4);
	mail(f, "RET=FULL RET=HDRS");
	refused(f, 501, 5, 5, 4);
	rcpt(f, "NOTIFY=NEVER NOTIFY=NEVER");
	refused(f, 501, 5, 5, 4);
}

static void test_wrong_values_are_501(void **state)
{
	static const char *const wrong_mail[] = {
		"SIZE", "SIZE=x", "SIZE=-1", "SMTPUTF8=1", "RET", "RET=BOTH", "ENVID", "ENVID=a+2", "ENVID=a+zz", "ENVID=a=b",
		"ENVID=a+0Db", "ENVID=+E4", "AUTH", "AUTH=+", "AUTH=a+00b", "REQUIRETLS=YES",
		"ENVID=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x",
	};
	static const char *const wrong_rcpt[] = {
		"NOTIFY", "NOTIFY=NEVER,DELAY", "NOTIFY=SOON", "NOTIFY=,", "NOTIFY=DELAY,", "ORCPT", "ORCPT=a@b", "ORCPT=;a@b",
		"ORCPT=rfc822;", "ORCPT=rfc822;a+0A@b", "ORCPT=rf(c;a", "ORCPT=rfc822;a+E4@b", "ORCPT=rfc822;\xc3\xa4@b",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(wrong_mail); i++) {
		mail(f, wrong_mail[i]);
		refused(f, 501, 5, 5, 4);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong_rcpt); i++) {
		rcpt(f, wrong_rcpt[i]);
		refused(f, 501, 5, 5, 4);
	}
	mail(f, "BODY=9BIT");
	refused(f, 504, 5, 5, 4);
}

static void test_a_size_above_the_limit_is_552(void **state)
{
	struct fixture *f = *state;

	mail(f, "SIZE=1000");
	assert_int_equal(f->r, 0);
	mail(f, "SIZE=1001");
	refused(f, 552, 5, 3, 4);
	mail(f, "SIZE=99999999999999999999999999");
	refused(f, 552, 5, 3, 4);
	mail_offered(f, "SIZE=18446744073709551615", ALL, 0);
	assert_int_equal(f->r, 0);
}

static void test_addresses_in_utf8_come_in_three_forms(void **state)
{
	struct fixture *f = *state;

	rcpt(f, "ORCPT=utf-8;\\x{E4}b\\x{2B}@b");
	assert_int_equal(f->r, 0);
	assert_string_equal(f->rcpt.orcpt, "utf-8;\xc3\xa4" "b+@b");
	rcpt_utf8(f, "ORCPT=UTF-8;\xc3\xa4@b", true);
	assert_int_equal(f->r, 0);
	assert_string_equal(f->rcpt.orcpt, "utf-8;\xc3\xa4@b");
	rcpt_utf8(f, "ORCPT=UTF-8;\xc3\xa4@b", false);
	refused(f, 501, 5, 5, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_of_mail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_of_rcpt, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unknown_parameters_are_555, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parameters_of_what_was_not_offered_are_unknown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_given_twice_is_501, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_values_are_501, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_size_above_the_limit_is_552, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_addresses_in_utf8_come_in_three_forms, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
