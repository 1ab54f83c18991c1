/* The Received field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/header.h"
#include "mail/received.h"

static struct ip client;

static struct received sample(void)
{
	assert_int_equal(ip_parse(SLICE("192.0.2.1"), &client), 0);
	return (struct received) {
		.helo = "mail.example.org",
		.client_name = "host.example.org",
		.client = &client,
		.host = "mx.example.com",
		.protocol = "ESMTPS",
		.id = "0123456789abc",
		.tls_version = "TLSv1.3",
		.tls_cipher = "TLS_AES_256_GCM_SHA384",
		.tls_bits = 256,
		.recipient = "bob@example.com",
		.when = (wall_t) 1795406706 * USEC_SEC,
	};
}

static void expect(const struct received *r, const char *field)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct header_field f;
	struct slice rest;

	received_format(r, &out);
	assert_string_equal(out.data, field);
	/* Whatever is in it: it is one field, and nothing besides. */
	rest = buffer_slice(&out);
	assert_true(header_next(&rest, &f));
	assert_int_equal(rest.len, 0);
}

static void test_all_of_it(void **state)
{
	struct received r = sample();

	expect(&r, "Received: from mail.example.org (host.example.org [192.0.2.1])\r\n"
		   "\tby mx.example.com with ESMTPS id 0123456789abc\r\n"
		   "\t(using TLSv1.3 with TLS_AES_256_GCM_SHA384, 256 bits)\r\n"
		   "\tfor <bob@example.com>;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
}

static void test_the_certificate_of_the_client_can_not_break_the_comment(void **state)
{
	struct received r = sample();

	r.tls_group = "x25519";
	r.tls_client = "CN=a) by evil (\r\nX-Evil: 1";
	expect(&r, "Received: from mail.example.org (host.example.org [192.0.2.1])\r\n"
		   "\tby mx.example.com with ESMTPS id 0123456789abc\r\n"
		   "\t(using TLSv1.3 with TLS_AES_256_GCM_SHA384, 256 bits, x25519)\r\n"
		   "\t(client certificate CN=a? by evil ???X-Evil: 1, not verified)\r\n"
		   "\tfor <bob@example.com>;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
}

static void test_only_what_is_known(void **state)
{
	struct received r = sample();

	r.client_name = r.tls_version = r.tls_cipher = r.recipient = NULL;
	r.protocol = "SMTP";
	assert_int_equal(ip_parse(SLICE("2001:db8::1"), &client), 0);
	expect(&r, "Received: from mail.example.org ([IPv6:2001:db8::1])\r\n"
		   "\tby mx.example.com with SMTP id 0123456789abc;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
	r.helo = "[192.0.2.9]";
	assert_int_equal(ip_parse(SLICE("192.0.2.1"), &client), 0);
	expect(&r, "Received: from [192.0.2.9] ([192.0.2.1])\r\n"
		   "\tby mx.example.com with SMTP id 0123456789abc;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
	r.helo = NULL;
	r.client = NULL;
	expect(&r, "Received: by mx.example.com with SMTP id 0123456789abc;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
}

static void test_a_wrong_helo_name_goes_into_a_comment_and_stays_there(void **state)
{
	struct received r = sample();

	r.client_name = r.tls_version = r.recipient = NULL;
	r.helo = "evil)\r\nBcc: x (\\";
	expect(&r, "Received: from [192.0.2.1] ([192.0.2.1])\r\n"
		   "\t(HELO evil???Bcc: x ?" "?)\r\n"
		   "\tby mx.example.com with ESMTPS id 0123456789abc;\r\n"
		   "\tMon, 23 Nov 2026 04:05:06 +0000\r\n");
}

static void test_a_wrong_reverse_name_is_left_out(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct received r = sample();

	r.client_name = "evil.example) by bank.example (x";
	received_format(&r, &out);
	assert_null(strstr(out.data, "evil"));
}

static void test_a_recipient_in_utf8_is_named_only_where_it_may(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct received r = sample();

	r.recipient = "j\xc3\xb6rg@example.com";
	received_format(&r, &out);
	assert_null(strstr(out.data, "for <"));
	buffer_clear(&out);
	r.protocol = "UTF8SMTPS";
	received_format(&r, &out);
	assert_non_null(strstr(out.data, "for <j\xc3\xb6rg@example.com>"));
	buffer_clear(&out);
	r.recipient = "a\r\nX: y@b";
	received_format(&r, &out);
	assert_null(strstr(out.data, "for <"));
}

static void test_the_word_behind_with(void **state)
{
	assert_string_equal(transmission_name(0), "SMTP");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED), "ESMTP");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED | TRANSMISSION_TLS), "ESMTPS");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED | TRANSMISSION_AUTH), "ESMTPA");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED | TRANSMISSION_TLS | TRANSMISSION_AUTH), "ESMTPSA");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED | TRANSMISSION_UTF8), "UTF8SMTP");
	assert_string_equal(transmission_name(TRANSMISSION_EXTENDED | TRANSMISSION_UTF8 | TRANSMISSION_TLS | TRANSMISSION_AUTH),
			    "UTF8SMTPSA");
	assert_string_equal(transmission_name(TRANSMISSION_LMTP), "LMTP");
	assert_string_equal(transmission_name(TRANSMISSION_LMTP | TRANSMISSION_EXTENDED | TRANSMISSION_TLS), "LMTPS");
	assert_string_equal(transmission_name(TRANSMISSION_LMTP | TRANSMISSION_UTF8), "UTF8LMTP");
	assert_string_equal(transmission_name(TRANSMISSION_TLS), "SMTP");
}

static void test_the_return_path(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	return_path_format("", &out);
	return_path_format("a@b", &out);
	return_path_format("a\r\nX: y", &out);
	assert_string_equal(out.data, "Return-Path: <>\r\nReturn-Path: <a@b>\r\nReturn-Path: <a  X: y>\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_the_certificate_of_the_client_can_not_break_the_comment),
		cmocka_unit_test(test_only_what_is_known),
		cmocka_unit_test(test_a_wrong_helo_name_goes_into_a_comment_and_stays_there),
		cmocka_unit_test(test_a_wrong_reverse_name_is_left_out),
		cmocka_unit_test(test_a_recipient_in_utf8_is_named_only_where_it_may),
		cmocka_unit_test(test_the_word_behind_with),
		cmocka_unit_test(test_the_return_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
