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

/* The examples of the RFCs themselves. */
static void test_what_messages_can_ask_for(void **state)
{
	struct fixture *f = *state;

	mail(f, "BY=120;R"); /* RFC 2852 section 6 */
	assert_int_equal(f->r, 0);
	assert_int_equal(f->mail.by.seconds, 120);
	assert_int_equal(f->mail.by.mode, 'R');
	assert_false(f->mail.by.trace);
	mail(f, "BY=-999999999;nt");
	assert_int_equal(f->mail.by.seconds, -999999999);
	assert_int_equal(f->mail.by.mode, 'N');
	assert_true(f->mail.by.trace);
	mail(f, "BY=+5;RT");
	assert_int_equal(f->mail.by.seconds, 5);
	mail(f, "BY=125;R ENVID=QQ314159 MT-PRIORITY=3"); /* RFC 6710 section 8 */
	assert_int_equal(f->r, 0);
	assert_true(f->mail.has_priority);
	assert_int_equal(f->mail.priority, 3);
	mail(f, "MT-PRIORITY=-9");
	assert_int_equal(f->mail.priority, -9);
	mail(f, "MT-PRIORITY=0");
	assert_true(f->mail.has_priority);
	mail(f, "HOLDFOR=999999999"); /* RFC 4865 section 3 */
	assert_int_equal(f->mail.hold_for, 999999999);
	mail(f, "HOLDUNTIL=2014-04-03T23:01:00Z");
	assert_int_equal(f->mail.hold_until, 1396566060000000);
	mail(f, "SOLICIT=org.example:ADV:ADLT"); /* RFC 3865 section 2.3 */
	assert_string_equal(f->mail.solicit, "org.example:ADV:ADLT");
	mail(f, "BODY=BINARYMIME"); /* RFC 3030 section 4.2 */
	assert_int_equal(f->mail.body, BODY_BINARYMIME);
	rcpt(f, "RRVS=2014-04-03T23:01:00Z"); /* RFC 7293 section 11.1 */
	assert_int_equal(f->r, 0);
	assert_true(f->rcpt.has_rrvs);
	assert_int_equal(f->rcpt.rrvs, 1396566060000000);
	assert_false(f->rcpt.rrvs_continue);
	rcpt(f, "RRVS=2014-04-03T23:01:00Z;C");
	assert_true(f->rcpt.rrvs_continue);
	rcpt(f, "");
	assert_false(f->rcpt.has_rrvs);
	mail(f, "");
	assert_int_equal(f->mail.by.mode, 0);
	assert_false(f->mail.has_priority);
	assert_null(f->mail.solicit);
}

static void test_what_messages_can_not_ask_for(void **state)
{
	static const char *const wrong[] = {
		"BY=0;R", "BY=-1;R", "BY=1", "BY=1;", "BY=1;X", "BY=1;NX", "BY=1;NTT", "BY=;N", "BY=1234567890;N", "BY=--1;N", "BY",
		"HOLDFOR=0", "HOLDFOR=1234567890", "HOLDFOR=-1", "HOLDFOR", "HOLDUNTIL=x", "HOLDUNTIL", "HOLDUNTIL=1969-01-01T00:00:00Z",
		"HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z", "HOLDUNTIL=2030-01-01T00:00:00Z HOLDFOR=1",
		"SOLICIT", "SOLICIT=,", "SOLICIT=a,", "SOLICIT=1a", "SOLICIT=a;b", "REQUIRETLS=yes",
	};
	static const char *const priorities[] = { "MT-PRIORITY", "MT-PRIORITY=10", "MT-PRIORITY=-0", "MT-PRIORITY=+1", "MT-PRIORITY=-", "MT-PRIORITY=-10" };
	static const char *const of_rcpt[] = { "RRVS", "RRVS=x", "RRVS=2014-04-03T23:01:00Z;", "RRVS=2014-04-03T23:01:00Z;X", "RRVS=2014-04-03T23:01:00.1Z" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		mail(f, wrong[i]);
		refused(f, 501, 5, 5, 4);
	}
	for (size_t i = 0; i < ARRAY_LEN(priorities); i++) {
		mail(f, priorities[i]);
		refused(f, 501, 5, 5, 2); /* RFC 6710 section 4.1 */
	}
	for (size_t i = 0; i < ARRAY_LEN(of_rcpt); i++) {
		rcpt(f, of_rcpt[i]);
		refused(f, 501, 5, 5, 4);
	}
}

static void test_each_wish_needs_its_offer(void **state)
{
	static const struct { const char *text; unsigned extension; int code; } wishes[] = {
		{ "SIZE=1", EXT_SIZE, 555 }, { "BODY=8BITMIME", EXT_8BITMIME, 555 }, { "BODY=BINARYMIME", EXT_BINARYMIME, 504 },
		{ "SMTPUTF8", EXT_SMTPUTF8, 555 }, { "RET=FULL", EXT_DSN, 555 }, { "ENVID=x", EXT_DSN, 555 },
		{ "AUTH=<>", EXT_AUTH, 555 }, { "REQUIRETLS", EXT_REQUIRETLS, 555 }, { "BY=1;N", EXT_DELIVERBY, 555 },
		{ "HOLDFOR=1", EXT_FUTURERELEASE, 555 }, { "HOLDUNTIL=2030-01-01T00:00:00Z", EXT_FUTURERELEASE, 555 },
		{ "MT-PRIORITY=1", EXT_MT_PRIORITY, 555 }, { "SOLICIT=a", EXT_NO_SOLICITING, 555 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
		mail_offered(f, wishes[i].text, wishes[i].extension, 0);
		assert_int_equal(f->r, 0);
		mail_offered(f, wishes[i].text, ALL & ~wishes[i].extension, 0);
		if (wishes[i].extension == EXT_8BITMIME)
			refused(f, 504, 5, 5, 4); /* BODY itself is known, by BINARYMIME */
		else
			refused(f, wishes[i].code, 5, 5, 4);
	}
}

static void test_classes_of_advertisement_are_compared_one_by_one(void **state)
{
	assert_true(slice_eq_str(solicit_match(SLICE("a:X,b:Y"), SLICE("c:Z,B:y")), "b:Y"));
	assert_true(slice_eq_str(solicit_match(SLICE("a:X, b:Y"), SLICE("b:Y")), "b:Y"));
	assert_null(solicit_match(SLICE("a:X,b:Y"), SLICE("a:XX,b")).data);
	assert_null(solicit_match(SLICE(""), SLICE("a")).data);
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
		cmocka_unit_test_setup_teardown(test_what_messages_can_ask_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_messages_can_not_ask_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_wish_needs_its_offer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_classes_of_advertisement_are_compared_one_by_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_addresses_in_utf8_come_in_three_forms, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
