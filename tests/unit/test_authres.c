/* Authentication-Results: written, read again, forged ones taken out; iprev. */
#include "mail/authres.h"

#include "identity/iprev.h"
#include "unit/identity_fixture.h"

static void test_what_is_written(void **state)
{
	struct authres_method m[3] = {
		{ .method = SLICE("spf"), .result = SLICE("pass") },
		{ .method = SLICE("dkim"), .result = SLICE("fail"), .reason = SLICE("the body isn't \"it\"\r\nX: y"), .comment = SLICE("a (b)\n") },
		{ .method = SLICE("dmarc"), .result = SLICE("none") },
	};
	struct buffer out = { 0 };

	authres_add(&m[0], "smtp", "mailfrom", "joe@example.net");
	authres_add(&m[0], "smtp", "helo", "");
	authres_add(&m[1], "header", "b", "AbC/+=");
	authres_add(&m[1], "header", "i", "@example.net");
	authres_format("mx.example.org", m, 3, &out);
	assert_string_equal(out.data, "Authentication-Results: mx.example.org;\r\n"
				      "\tspf=pass smtp.mailfrom=joe@example.net;\r\n"
				      "\tdkim=fail (a ?b?" "?) reason=\"the body isn't \\\"it\\\"??X: y\"\r\n"
				      "\t header.b=\"AbC/+=\" header.i=@example.net;\r\n"
				      "\tdmarc=none\r\n");
	buffer_clear(&out);
	authres_format("mx.example.org", NULL, 0, &out);
	assert_string_equal(out.data, "Authentication-Results: mx.example.org; none\r\n");
	buffer_done(&out);
}

/* RFC 7208 section 9.1. */
static void test_received_spf(void **state)
{
	struct received_spf r = { .result = "fail", .reason = "\"-all\" of example.net (matches)", .receiver = "mx.example.org", .client_ip = "2001:db8::1",
				  .envelope_from = "joe\"\r\nX: y@example.net", .helo = "..x", .identity = "mailfrom" };
	struct buffer out = { 0 };

	received_spf_format(&r, &out);
	assert_string_equal(out.data, "Received-SPF: fail (\"-all\" of example.net ?matches?)\r\n\treceiver=mx.example.org;\r\n"
				      "\tidentity=mailfrom;\r\n\tclient-ip=\"2001:db8::1\";\r\n"
				      "\tenvelope-from=\"joe\\\"?" "?X: y@example.net\";\r\n\thelo=\"..x\";\r\n");
	buffer_clear(&out);
	received_spf_format(&(struct received_spf) { .result = "none", .client_ip = "192.0.2.1" }, &out);
	assert_string_equal(out.data, "Received-SPF: none\r\n\tclient-ip=192.0.2.1;\r\n");
	buffer_done(&out);
}

static void test_what_is_written_is_read(void **state)
{
	struct authres_method m = { .method = SLICE("dkim"), .result = SLICE("pass"), .reason = SLICE("so; it is (really)") };
	struct buffer out = { 0 };
	struct authres got;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	authres_add(&m, "header", "b", "a\"b\\c=");
	authres_add(&m, "header", "d", "example.net");
	authres_format_value("mx example", &m, 1, &out);
	assert_int_equal(authres_parse(a, buffer_slice(&out), &got), 0);
	assert_true(slice_eq_str(got.authserv_id, "mx example"));
	assert_int_equal(got.n_methods, 1);
	assert_true(slice_eq_str(got.methods[0].reason, "so; it is (really)"));
	assert_int_equal(got.methods[0].n_properties, 2);
	assert_true(slice_eq_str(got.methods[0].properties[0].value, "a\"b\\c="));
	assert_true(slice_eq_str(got.methods[0].properties[1].name, "d"));
	buffer_done(&out);
	arena_free(a);
}

/* RFC 8601 appendix B. */
static void test_the_examples_of_the_standard(void **state)
{
	static const struct {
		const char *value;
		unsigned methods;
	} cases[] = {
		{ " example.org 1; none", 0 },
		{ " example.com;\r\n          spf=pass smtp.mailfrom=example.net", 1 },
		{ " example.com;\r\n        auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net", 2 },
		{ " example.com;\r\n  dkim=pass (good signature) header.d=example.com", 1 },
		{ " example.com;\r\n dkim=pass reason=\"good signature\"\r\n header.i=@mail-router.example.net;\r\n dkim=fail reason=\"bad signature\"\r\n"
		  " header.i=@newyork.example.com", 2 },
		{ " foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
		  " policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462", 1 },
		{ " example.com;", 0 },
	};
	static const char *const wrong[] = { "", " ; spf=pass", " example.com; spf", " example.com; spf=", " example.com spf=pass",
					     " example.com; spf=pass x", " example.com; spf=pass smtp.mailfrom", " example.com; (open", " \"x",
					     " example.com; spf=pass smtp.mailfrom=\"x" };
	struct authres got;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (authres_parse(a, slice_from(cases[i].value), &got) < 0)
			fail_msg("%s", cases[i].value);
		assert_int_equal(got.n_methods, cases[i].methods);
	}
	assert_true(slice_eq_str(got.authserv_id, "example.com"));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (authres_parse(a, slice_from(wrong[i]), &got) != -EINVAL)
			fail_msg("\"%s\" was taken", wrong[i]);
	arena_free(a);
}

static void test_forged_fields_are_taken_out(void **state)
{
	static const char message[] = "Authentication-Results: mx.example.org; spf=pass\r\n\tsmtp.mailfrom=x\r\n"
				      "From: a@b.example\r\n"
				      "AUTHENTICATION-RESULTS : (x) \"MX.example.org\" 1; rubbish here\r\n"
				      "Authentication-Results: mx.example.org.evil.example; spf=pass\r\n"
				      "Authentication-Results: other.example; x=\"mx.example.org\"\r\n"
				      "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n"
				      "\r\n"
				      "Authentication-Results: mx.example.org; spf=pass\r\n";
	struct buffer out = { 0 };

	assert_int_equal(authres_remove_forged(SLICE(message), "mx.example.org", false, &out), 2);
	assert_string_equal(out.data, "From: a@b.example\r\n"
				      "Authentication-Results: mx.example.org.evil.example; spf=pass\r\n"
				      "Authentication-Results: other.example; x=\"mx.example.org\"\r\n"
				      "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n"
				      "\r\n"
				      "Authentication-Results: mx.example.org; spf=pass\r\n");
	buffer_clear(&out);
	assert_int_equal(authres_remove_forged(SLICE(message), "mx.example.org", true, &out), 3);
	assert_null(strstr(out.data, "ARC-"));
	buffer_done(&out);
}

static void test_what_fits_into_no_line_is_left_out(void **state)
{
	struct authres_method m = { .method = SLICE("dkim"), .result = SLICE("pass") };
	struct buffer out = { 0 };
	char long_one[2001];

	memset(long_one, 'a', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	authres_add(&m, "header", "i", long_one);
	authres_add(&m, "header", "d", "a.example");
	authres_format("mx.example.org", &m, 1, &out);
	assert_string_equal(out.data, "Authentication-Results: mx.example.org;\r\n\tdkim=pass header.d=a.example\r\n");
	buffer_done(&out);
}

static void test_no_way_of_writing_hides_our_name(void **state)
{
	static const struct {
		const char *value;
		bool arc;
	} ours[] = {
		{ " mx.example.org.; spf=pass", false },	 { " mx.example.org 1; spf=pass", false },
		{ " mx.example.org(x); spf=pass", false },	 { " (a (b) \\) ;)\r\n\tmx.example.org; spf=pass", false },
		{ " \"mx\\.example.org\"; spf=pass", false },	 { "mx.example.org", false },
		{ " i=1; mx.example.org; spf=pass", true },	 { " i=1 (;); mx.example.org; spf=pass", true },
		{ " (;) i (;) = 1; (;) mx.example.org; x", true }, { "i=1;mx.example.org", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (!authres_claims(slice_from(ours[i].value), ours[i].arc, "mx.example.org"))
			fail_msg("%s", ours[i].value);
	assert_false(authres_claims(SLICE(" mx.example.org.evil.example; spf=pass"), false, "mx.example.org"));
	assert_false(authres_claims(SLICE(" i=1; other.example (mx.example.org); spf=pass"), true, "mx.example.org"));
}

static void test_iprev(void **state)
{
	static const struct {
		const char *client;
		enum iprev_word word;
		const char *name;
	} cases[] = {
		{ "192.0.2.1", IPREV_PASS, "a.example" },     { "192.0.2.2", IPREV_FAIL, "" },      { "192.0.2.3", IPREV_PERMERROR, "" },
		{ "192.0.2.4", IPREV_TEMPERROR, "" },         { "192.0.2.5", IPREV_TEMPERROR, "" }, { "192.0.2.6", IPREV_PASS, "a.example" },
	};
	struct fixture f = open_zone("a.example. A 192.0.2.1\na.example. A 192.0.2.6\n$ORIGIN 2.0.192.in-addr.arpa.\n1 PTR a.example.\n2 PTR a.example.\n"
				     "2 PTR gone.example.\n; TIMEOUT 4\n5 PTR slow.example.\n; SERVFAIL slow.example.\n6 PTR slow.example.\n6 PTR a.example.\n");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct iprev_result result;
		struct ip ip;

		assert_int_equal(ip_parse(slice_from(cases[i].client), &ip), 0);
		assert_int_equal(iprev_check(f.resolver, &ip, 0, DEADLINE_NEVER, f.arena, &result), 0);
		assert_string_equal(iprev_word_text(result.word), iprev_word_text(cases[i].word));
		assert_string_equal(result.name, cases[i].name);
		assert_true(*result.reason);
	}
	close_zone(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written),
		cmocka_unit_test(test_received_spf),
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_the_examples_of_the_standard),
		cmocka_unit_test(test_forged_fields_are_taken_out),
		cmocka_unit_test(test_no_way_of_writing_hides_our_name),
		cmocka_unit_test(test_what_fits_into_no_line_is_left_out),
		cmocka_unit_test(test_iprev),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
