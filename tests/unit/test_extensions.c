/* The reply to EHLO, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/extensions.h"

static void test_what_is_announced_comes_in_one_reply(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct extensions e = {
		.bits = EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_AUTH | EXT_LIMITS,
		.size = 50000000,
		.auth = AUTH_PLAIN | AUTH_LOGIN | AUTH_SCRAM_SHA_256,
		.rcpt_max = 1000,
	};

	extensions_format(&e, "mx.example.org", "hello", &out);
	assert_string_equal(out.data, "250-mx.example.org hello\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n"
				      "250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n250-8BITMIME\r\n250 LIMITS RCPTMAX=1000\r\n");
}

static void test_the_last_line_has_no_hyphen_whatever_is_announced(void **state)
{
	for (unsigned bit = 0; bit < 18; bit++) {
		_cleanup_buffer_ struct buffer out = { 0 };
		struct extensions e = { .bits = 1u << bit };
		struct slice rest, line = SLICE_NULL;

		extensions_format(&e, "mx", NULL, &out);
		rest = buffer_slice(&out);
		while (rest.len > 0) {
			line = slice_cut(rest, '\n', &rest);
			assert_int_equal(line.data[3], rest.len ? '-' : ' ');
		}
	}
}

static void test_auth_and_limits_are_not_announced_empty(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct extensions e = { .bits = EXT_AUTH | EXT_LIMITS };

	extensions_format(&e, "mx", NULL, &out);
	assert_string_equal(out.data, "250 mx\r\n");
}

static void test_size_without_limit_has_no_number(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct extensions e = { .bits = EXT_SIZE };

	extensions_format(&e, "mx", NULL, &out);
	assert_string_equal(out.data, "250-mx\r\n250 SIZE\r\n");
}

static void test_a_peers_announcement_is_understood(void **state)
{
	struct extensions e;

	extensions_parse(SLICE("mx.example.org at your service\nsize 1000\nPipelining\nAUTH PLAIN XOAUTH2 NTLM\n8BITMIME\n"
			       "LIMITS RCPTMAX=20 MAILMAX=3 RCPTDOMAINMAX=1 FUTURE=9\nXEXCH50\nCHUNKING\nSMTPUTF8\nMT-PRIORITY MIXER"), &e);
	assert_int_equal(e.bits, EXT_SIZE | EXT_PIPELINING | EXT_AUTH | EXT_8BITMIME | EXT_LIMITS | EXT_CHUNKING | EXT_SMTPUTF8 | EXT_MT_PRIORITY);
	assert_int_equal(e.size, 1000);
	assert_int_equal(e.auth, AUTH_PLAIN | AUTH_XOAUTH2);
	assert_int_equal(e.rcpt_max, 20);
	assert_int_equal(e.mail_max, 3);
	assert_int_equal(e.rcpt_domain_max, 1);
}

static void test_the_greeting_line_announces_nothing(void **state)
{
	struct extensions e;

	extensions_parse(SLICE("STARTTLS"), &e);
	assert_int_equal(e.bits, 0);
	extensions_parse(SLICE(""), &e);
	assert_int_equal(e.bits, 0);
}

static void test_the_old_form_of_auth_is_understood(void **state)
{
	struct extensions e;

	extensions_parse(SLICE("mx\nAUTH=LOGIN PLAIN\nAUTH CRAM-MD5"), &e);
	assert_true(e.bits & EXT_AUTH);
	assert_int_equal(e.auth, AUTH_LOGIN | AUTH_PLAIN | AUTH_CRAM_MD5);
}

static void test_malformed_arguments_are_as_if_absent(void **state)
{
	struct extensions e;

	extensions_parse(SLICE("mx\nSIZE lots\nLIMITS RCPTMAX=0 MAILMAX=x RCPTMAX\n\n   \nXXXXXXXA\n********"), &e);
	assert_int_equal(e.bits, EXT_SIZE | EXT_LIMITS);
	assert_int_equal(e.size, 0);
	assert_int_equal(e.rcpt_max, 0);
	assert_int_equal(e.mail_max, 0);
	extensions_parse(SLICE("mx\nSIZE 99999999999999999999999\nLIMITS RCPTMAX=4294967297"), &e);
	assert_int_equal(e.size, 0);
	assert_int_equal(e.rcpt_max, 1000000);
}

static void test_names_of_mechanisms_go_both_ways(void **state)
{
	for (unsigned bit = 1; bit <= AUTH_XOAUTH2; bit <<= 1) {
		assert_non_null(auth_mechanism_name(bit));
		assert_int_equal(auth_mechanism_from_name(slice_from(auth_mechanism_name(bit))), bit);
	}
	assert_null(auth_mechanism_name(0));
	assert_int_equal(auth_mechanism_from_name(SLICE("NTLM")), 0);
	assert_string_equal(extension_name(EXT_8BITMIME), "8BITMIME");
	assert_null(extension_name(0));
}

static void test_the_arguments_of_the_further_extensions(void **state)
{
	struct extensions e = { .bits = EXT_DELIVERBY | EXT_FUTURERELEASE | EXT_NO_SOLICITING | EXT_MT_PRIORITY | EXT_RRVS,
				.by_min = 30, .hold_max = 3600, .hold_until = 1396566060000000, .solicit = "org.example:ADV" }, peer;
	_cleanup_buffer_ struct buffer b = { 0 };

	extensions_format(&e, "mx.example", NULL, &b);
	assert_string_equal(b.data, "250-mx.example\r\n250-DELIVERBY 30\r\n250-MT-PRIORITY\r\n"
				    "250-FUTURERELEASE 3600 2014-04-03T23:01:00Z\r\n250-RRVS\r\n250 NO-SOLICITING org.example:ADV\r\n");
	extensions_parse(SLICE("peer\nDELIVERBY 240\nFUTURERELEASE 100 2014-04-03T23:01:00Z\nMT-PRIORITY MIXER\nREQUIRETLS"), &peer);
	assert_int_equal(peer.bits, EXT_DELIVERBY | EXT_FUTURERELEASE | EXT_MT_PRIORITY | EXT_REQUIRETLS);
	assert_int_equal(peer.by_min, 240);
	assert_int_equal(peer.hold_max, 100);
	extensions_parse(SLICE("peer\nDELIVERBY\n"), &peer);
	assert_int_equal(peer.bits, EXT_DELIVERBY);
	assert_int_equal(peer.by_min, 0);
}

static void test_keywords_go_both_ways(void **state)
{
	for (unsigned bit = 1; bit <= EXT_EXPN; bit <<= 1) {
		assert_non_null(extension_name(bit));
		assert_int_equal(extension_from_name(slice_from(extension_name(bit))), bit);
	}
	assert_int_equal(extension_from_name(SLICE("pipelining")), EXT_PIPELINING);
	assert_int_equal(extension_from_name(SLICE("PIPE")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_announced_comes_in_one_reply),
		cmocka_unit_test(test_the_last_line_has_no_hyphen_whatever_is_announced),
		cmocka_unit_test(test_auth_and_limits_are_not_announced_empty),
		cmocka_unit_test(test_size_without_limit_has_no_number),
		cmocka_unit_test(test_a_peers_announcement_is_understood),
		cmocka_unit_test(test_the_greeting_line_announces_nothing),
		cmocka_unit_test(test_the_old_form_of_auth_is_understood),
		cmocka_unit_test(test_malformed_arguments_are_as_if_absent),
		cmocka_unit_test(test_the_arguments_of_the_further_extensions),
		cmocka_unit_test(test_keywords_go_both_ways),
		cmocka_unit_test(test_names_of_mechanisms_go_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
