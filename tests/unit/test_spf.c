/* SPF: the examples of RFC 7208, its limits, and what is an error in a record. */
#include "identity/spf.h"

#include "identity/spf_expand.h"
#include "identity/spf_record.h"
#include "unit/identity_fixture.h"

struct question {
	const char *client, *helo, *from;
	enum spf_word word;
	const char *explanation; /* NULL: "" */
};

static struct spf_result check(struct fixture *f, const char *client, const char *helo, const char *from)
{
	struct spf_result result;
	struct ip ip;
	struct spf_input in = { .client = &ip, .helo = helo, .mail_from = from, .receiver = "mx.receiver.example",
				.time = 1234567890 * (wall_t) USEC_SEC };

	assert_int_equal(ip_parse(slice_from(client), &ip), 0);
	assert_int_equal(spf_check(f->resolver, &in, NULL, DEADLINE_NEVER, f->arena, &result), 0);
	return result;
}

static void ask(struct fixture *f, const struct question *questions, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct question *q = &questions[i];
		const char *helo = q->helo ? q->helo : "mail.client.example";
		struct spf_result result = check(f, q->client, helo, q->from);

		if (result.word != q->word)
			fail_msg("%s <%s>: %s, not %s (%s)", q->client, q->from, spf_word_text(result.word), spf_word_text(q->word), result.reason);
		assert_string_equal(result.explanation, q->explanation ? q->explanation : "");
		assert_true(*result.reason);
	}
}
#define ASK(f, questions) ask(&(f), questions, ARRAY_LEN(questions))

/* --- RFC 7208 appendix A ----------------------------------------------------------------------------------------- */

#define APPENDIX_A                                                                                             \
	"$ORIGIN example.com.\n@ MX 10 mail-a\n@ MX 20 mail-b\n@ A 192.0.2.10\n@ A 192.0.2.11\n"                \
	"amy A 192.0.2.65\nbob A 192.0.2.66\nmail-a A 192.0.2.129\nmail-b A 192.0.2.130\nwww CNAME example.com.\n" \
	"$ORIGIN example.org.\n@ MX 10 mail-c\nmail-c A 192.0.2.140\n"                                          \
	"$ORIGIN 2.0.192.in-addr.arpa.\n10 PTR example.com.\n11 PTR example.com.\n65 PTR amy.example.com.\n"    \
	"66 PTR bob.example.com.\n129 PTR mail-a.example.com.\n130 PTR mail-b.example.com.\n"                   \
	"140 PTR mail-c.example.org.\n$ORIGIN 0.0.10.in-addr.arpa.\n4 PTR bob.example.com.\n$ORIGIN example.com.\n"

static void with_record(const char *record, const char *passes, const char *fails)
{
	char zone[2048], address[IP_TEXT];
	struct fixture f;

	snprintf(zone, sizeof(zone), APPENDIX_A "@ TXT \"%s\"\n", record);
	f = open_zone(zone);
	for (int pass = 1; pass >= 0; pass--) {
		struct slice rest = slice_from(pass ? passes : fails);

		while (rest.len > 0) {
			struct spf_result result;

			slice_copy(slice_cut(rest, ' ', &rest), address, sizeof(address));
			result = check(&f, address, "x.example", "joe@example.com");
			if (result.word != (pass ? SPF_PASS : SPF_FAIL))
				fail_msg("\"%s\", %s: %s (%s)", record, address, spf_word_text(result.word), result.reason);
		}
	}
	close_zone(&f);
}

static void test_simple_examples(void **state)
{
	with_record("v=spf1 +all", "192.0.2.1 2001:db8::1", "");
	with_record("v=spf1 a -all", "192.0.2.10 192.0.2.11", "192.0.2.12");
	with_record("v=spf1 a:example.org -all", "", "192.0.2.10 192.0.2.140");
	with_record("v=spf1 mx -all", "192.0.2.129 192.0.2.130", "192.0.2.131");
	with_record("v=spf1 mx:example.org -all", "192.0.2.140", "192.0.2.129");
	with_record("v=spf1 mx mx:example.org -all", "192.0.2.129 192.0.2.130 192.0.2.140", "192.0.2.10");
	with_record("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.128 192.0.2.131 192.0.2.140 192.0.2.143", "192.0.2.132 192.0.2.144");
	with_record("v=spf1 ptr -all", "192.0.2.65", "192.0.2.140 10.0.0.4");
	with_record("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", "192.0.2.65");
}

static void test_several_domains_and_requirements(void **state)
{
	static const struct question questions[] = {
		{ "192.0.2.129", NULL, "a@example.org", SPF_PASS, NULL },
		{ "192.0.2.140", NULL, "a@la.example.org", SPF_PASS, NULL },
		{ "192.0.2.66", NULL, "a@ny.example.org", SPF_FAIL, NULL },
		/* A.3 */
		{ "203.0.113.7", NULL, "mary@example.com", SPF_PASS, NULL },
		{ "192.168.15.15", NULL, "joel@example.com", SPF_PASS, NULL },
		{ "192.168.15.15", NULL, "joel+list@example.com", SPF_PASS, NULL },
		{ "192.168.15.17", NULL, "joel@example.com", SPF_FAIL, NULL },
		/* A.4 */
		{ "192.0.2.65", NULL, "a@both.example.com", SPF_PASS, NULL },
		{ "192.0.2.140", NULL, "a@both.example.com", SPF_FAIL, NULL },
		{ "10.0.0.4", NULL, "a@both.example.com", SPF_FAIL, NULL },
	};
	struct fixture f = open_zone(
		APPENDIX_A
		"@ TXT \"v=spf1 mx include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all\"\n"
		"mobile-users._spf TXT \"v=spf1 exists:%{l1r+}.%{d}\"\nremote-users._spf TXT \"v=spf1 exists:%{ir}.%{l1r+}.%{d}\"\n"
		"mary.mobile-users._spf A 127.0.0.2\n15.15.168.192.joel.remote-users._spf A 127.0.0.2\n"
		"example.org. TXT \"v=spf1 include:example.com include:example.net -all\"\n"
		"example.net. TXT \"v=spf1 ip4:192.0.2.140 -all\"\n"
		"la.example.org. TXT \"v=spf1 redirect=example.org\"\nny.example.org. TXT \"v=spf1 redirect=example.org\"\n"
		"both TXT \"v=spf1 -include:ip4._spf.%{d} -include:ptr._spf.%{d} +all\"\n"
		"ip4._spf.both TXT \"v=spf1 -ip4:192.0.2.0/24 +all\"\nptr._spf.both TXT \"v=spf1 -ptr:example.com +all\"\n");

	ASK(f, questions);
	close_zone(&f);
}

/* --- RFC 7208 section 7.4 ------------------------------------------------------------------------------------------ */

static void test_macros_expand_as_in_the_examples(void **state)
{
	static const char *const examples[][2] = {
		{ "%{s}", "strong-bad@email.example.com" }, { "%{o}", "email.example.com" }, { "%{d}", "email.example.com" },
		{ "%{d4}", "email.example.com" }, { "%{d3}", "email.example.com" }, { "%{d2}", "example.com" }, { "%{d1}", "com" },
		{ "%{dr}", "com.example.email" }, { "%{d2r}", "example.email" }, { "%{l}", "strong-bad" }, { "%{l-}", "strong.bad" },
		{ "%{lr}", "strong-bad" }, { "%{lr-}", "bad.strong" }, { "%{l1r-}", "strong" },
		{ "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com" },
		{ "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com" },
		{ "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com" },
		{ "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com" },
		{ "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net" },
		{ "%{p}", "mx.example.org" }, { "%{S}", "strong-bad%40email.example.com" }, { "a%%b%_c%-d", "a%b c%20d" },
		{ "%{h} %{c} %{r} %{t}", "mail.example.org 192.0.2.3 mx.receiver.example 1234567890" },
		{ "%{d200}%{D}", "email.example.comemail.example.com" },
	};
	struct fixture f = open_zone("mx.example.org. A 192.0.2.3\n3.2.0.192.in-addr.arpa. PTR mx.example.org.\n");
	struct spf_scene s = { .resolver = f.resolver, .arena = f.arena, .deadline = DEADLINE_NEVER, .max_names = 10, .local = "strong-bad",
			       .sender_domain = "email.example.com", .helo = "mail.example.org", .receiver = "mx.receiver.example",
			       .time = 1234567890 * (wall_t) USEC_SEC };
	const char *name;

	assert_int_equal(ip_parse(SLICE("192.0.2.3"), &s.client), 0);
	for (size_t i = 0; i < ARRAY_LEN(examples); i++) {
		_cleanup_buffer_ struct buffer out = { 0 };

		assert_int_equal(spf_expand(&s, "email.example.com", slice_from(examples[i][0]), true, &out), 0);
		assert_string_equal(out.data, examples[i][1]);
	}
	assert_int_equal(ip_parse(SLICE("2001:db8::cb01"), &s.client), 0);
	assert_int_equal(spf_expand_name(&s, "email.example.com", SLICE("%{ir}.%{v}._spf.%{d2}"), &name), 0);
	assert_string_equal(name, "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com");
	/* Section 7.3: labels go from the left until 253 octets are left. */
	s.local = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
		  "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc.dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
	assert_int_equal(spf_expand_name(&s, "email.example.com", SLICE("%{l}.%{d}."), &name), 0);
	assert_int_equal(strlen(name), 3 * 61 + 17);
	assert_int_equal(*name, 'b');
	close_zone(&f);
}

/* --- records ----------------------------------------------------------------------------------------------------------- */

static void test_records_with_an_error_anywhere_are_void(void **state)
{
	static const char *const wrong[] = {
		"-all.", "-all:foo", "-all/8", "a:", "a:foo", "a:museum", "a:museum.", "a:abc.123", "a:111.222.33.44", "a:foo:8080",
		"a:abc.example.-com", "a/33", "a//129", "a/08", "a:example.com/24/", "a:example.com//", "ip4", "ip4:1.2.3", "ip4:1.2.3.4:80",
		"ip4:1.2.3.4/33", "ip4:1.2.3.4/032", "ip4:1.2.3.4//32", "ip4:::1", "ip6", "ip6:1.2.3.4", "ip6:::1.1.1.1//33", "ip6:::1/129",
		"mx:", "mx:abc.example.-com", "ptr:", "ptr/0", "exists", "exists:", "exists:foo.example/24", "include", "include:", "include/24",
		"redirect", "redirect=", "redirect:t2.example", "redirect=a.example redirect=b.example", "exp=", "exp=a.example exp=b.example",
		"=foo", "0=foo", "foo=%abc", "a:%{k}.example.com", "a:%{c}.example.com", "a:%{d0}.example.com", "a:%(ir).example.com",
		"a:%{d.example.com", "a:%{drr}.example.com", "exists:%{t}.example.com", "exp=%{r}.example.com", "foo", "+foo", "++a", "moo:bar",
		"a\tb", "a:b\x80.example.com", "all all\x01", "redirect=/24", "a:%.example.com", "ip4:1.2.3.256",
	};
	static const char *const right[] = {
		"", " ", "   all ", "a:foo:bar/baz.example.com", "a//64", "a/24//64", "a:%{d}/24//64", "a:%{d}", "a/0//0", "mx/30", "ptr",
		"ptr:example.com", "ip4:0.0.0.0/0", "ip6:::/0", "ip6:::ffff:1.2.3.4/96", "exists:%{i}.example.com.", "foo=", "o9-_.x=%{c}%{t}%%",
		"A:EXAMPLE.com ALL", "a=b", "?all -all ~all", "a:example-1.ex-ample", "exp=a.example", "redirect=%{d2}.example unknown=x",
		"a:xn--bcher-kva.example", "a:_spf.x.e-x", "a:foo%-", "default=pass",
	};
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(wrong) + ARRAY_LEN(right); i++) {
		bool good = i >= ARRAY_LEN(wrong);
		const char *term = good ? right[i - ARRAY_LEN(wrong)] : wrong[i];
		char *text = arena_printf(a, "v=spf1 %s", term);
		struct spf_record record;
		const char *why = NULL;
		int r = spf_record_parse(slice_from(text), a, &record, &why);

		if (r != (good ? 0 : -EINVAL))
			fail_msg("\"%s\": %d (%s)", term, r, why);
		assert_int_equal(!good, why != NULL);
	}
	arena_free(a);
}

static void test_the_version_is_exact(void **state)
{
	assert_true(spf_record_is(SLICE("v=spf1")));
	assert_true(spf_record_is(SLICE("V=sPf1 -all")));
	assert_false(spf_record_is(SLICE("v=spf10")));
	assert_false(spf_record_is(SLICE("v=spf1-all")));
	assert_false(spf_record_is(SLICE(" v=spf1 -all")));
	assert_false(spf_record_is(SLICE("v=spf")));
	assert_false(spf_record_is(SLICE("v=spf1\t-all")));
}

static void test_selecting_records(void **state)
{
	static const struct question questions[] = {
		{ "1.2.3.4", NULL, "a@two.example.com", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@other.example.com", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@empty.example.com", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@joined.example.com", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@joinedwrong.example.com", SPF_NONE, NULL },
		{ "1.2.3.4", NULL, "a@none.example.com", SPF_NONE, NULL },
		{ "1.2.3.4", NULL, "a@slow.example.com", SPF_TEMPERROR, NULL },
		{ "1.2.3.4", NULL, "a@broken.example.com", SPF_TEMPERROR, NULL },
		{ "1.2.3.4", NULL, "a@half.example.com", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@half2.example.com", SPF_TEMPERROR, NULL },
		{ "1.2.3.4", NULL, "a@bytes.example.com", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@bytes2.example.com", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@alias.example.com", SPF_FAIL, NULL },
	};
	struct fixture f = open_zone("$ORIGIN example.com.\n"
				     "two TXT \"v=spf1 -all\"\ntwo TXT \"V=SPF1 +all\"\n"
				     "other TXT \"something else\"\nother TXT \"v=spf10 +all\"\nother TXT \"v=spf1 -all\"\n"
				     "empty TXT \"v=spf1\"\njoined TXT \"v=spf1 ip4:1.2\" \".3.4 -all\"\njoinedwrong TXT \"v=spf1\" \"+all\"\n"
				     "; TIMEOUT slow\n; SERVFAIL broken\nhalf TXT \"v=spf1 -all\"\n; TIMEOUT half\nhalf2 A 1.2.3.4\n; TIMEOUT half2\n"
				     "bytes TXT \"v=spf1 a:example.net\\160 -all\"\nbytes2 TXT \"\\150\\150\"\nbytes2 TXT \"v=spf1 -all\"\n"
				     "alias CNAME other\n");

	ASK(f, questions);
	close_zone(&f);
}

static void test_which_domain_is_checked(void **state)
{
	static const struct question questions[] = {
		{ "1.2.3.4", "helo.example.com", "", SPF_PASS, NULL },
		{ "1.2.3.5", "helo.example.com", "", SPF_FAIL, "postmaster@helo.example.com" },
		{ "1.2.3.5", "helo.example.com", "@helo.example.com", SPF_FAIL, "postmaster@helo.example.com" },
		{ "1.2.3.5", "x", "a@b@helo.example.com", SPF_FAIL, "a@b@helo.example.com" },
		{ "1.2.3.4", "A2345678", "", SPF_NONE, NULL },
		{ "1.2.3.4", "[1.2.3.5]", "", SPF_NONE, NULL },
		{ "1.2.3.4", "x", "foo@[1.2.3.5]", SPF_NONE, NULL },
		{ "1.2.3.4", "x", "foo@a..example.com", SPF_NONE, NULL },
		{ "1.2.3.4", "x", "foo@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com", SPF_NONE, NULL },
		{ "::ffff:1.2.3.4", "helo.example.com", "", SPF_PASS, NULL },
		/* RFC 8616 section 4. */
		{ "1.2.3.4", "x", "foo@b\xc3\xbc" "cher.example.com", SPF_PASS, NULL },
		{ "1.2.3.4", "x", "\xc3\xbc@local.example.com", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", "x", "joe@local.example.com", SPF_PASS, NULL },
	};
	struct fixture f = open_zone("$ORIGIN example.com.\nhelo TXT \"v=spf1 ip4:1.2.3.4 -all exp=why.%{d}\"\nwhy.helo TXT \"%{s}\"\n"
		      "xn--bcher-kva TXT \"v=spf1 exists:%{o} -all\"\nxn--bcher-kva A 127.0.0.1\n"
		      "local TXT \"v=spf1 exists:%{l}.x.%{d} ?all\"\njoe.x.local A 127.0.0.1\n");
	ASK(f, questions);
	close_zone(&f);
}

/* --- mechanisms ---------------------------------------------------------------------------------------------------------- */

static void test_mechanisms(void **state)
{
	static const struct question questions[] = {
		{ "1.2.3.4", NULL, "a@inc-pass.t", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@inc-fail.t", SPF_SOFTFAIL, NULL },
		{ "1.2.3.4", NULL, "a@inc-soft.t", SPF_SOFTFAIL, NULL },
		{ "1.2.3.4", NULL, "a@inc-none.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@inc-temp.t", SPF_TEMPERROR, NULL },
		{ "1.2.3.4", NULL, "a@inc-perm.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@red-none.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@red-late.t", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@mx-implicit.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@mx-null.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@mx-slow.t", SPF_TEMPERROR, NULL },
		{ "1.2.3.4", NULL, "a@a-zero.t", SPF_PASS, NULL },
		{ "2001:db8::5", NULL, "a@a-zero.t", SPF_FAIL, NULL },
		{ "2001:db8::5", NULL, "a@a6.t", SPF_PASS, NULL },
		{ "2001:db9::5", NULL, "a@a6.t", SPF_FAIL, NULL },
		{ "2001:db8::5", NULL, "a@exists.t", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@exists6.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@mapped.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@zero6.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@ptr.t", SPF_PASS, NULL },
		{ "1.2.3.9", NULL, "a@ptr.t", SPF_FAIL, NULL },
		{ "1.2.3.8", NULL, "a@ptr.t", SPF_FAIL, NULL },
		{ "2001:db8::7", NULL, "a@ptr.t", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@order.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@longname.t", SPF_FAIL, NULL },
	};
	struct fixture f = open_zone(
		"pass.t. TXT \"v=spf1 +all\"\nfail.t. TXT \"v=spf1 -all exp=why.t\"\nsoft.t. TXT \"v=spf1 ~all\"\nperm.t. TXT \"v=spf1 foo\"\n"
		"why.t. TXT \"not me\"\n; TIMEOUT temp.t\n"
		"inc-pass.t. TXT \"v=spf1 include:pass.t -all\"\ninc-fail.t. TXT \"v=spf1 include:fail.t ~all\"\n"
		"inc-soft.t. TXT \"v=spf1 include:soft.t ~all\"\ninc-none.t. TXT \"v=spf1 include:none.t ~all\"\n"
		"inc-temp.t. TXT \"v=spf1 include:temp.t ~all\"\ninc-perm.t. TXT \"v=spf1 include:perm.t ~all\"\n"
		"red-none.t. TXT \"v=spf1 redirect=none.t\"\nred-late.t. TXT \"v=spf1 redirect=fail.t ip4:1.2.3.4\"\n"
		"mx-implicit.t. TXT \"v=spf1 mx\"\nmx-implicit.t. A 1.2.3.4\nmx-null.t. TXT \"v=spf1 mx\"\nmx-null.t. MX 0 .\n"
		"mx-slow.t. TXT \"v=spf1 mx\"\nmx-slow.t. MX 10 temp.t.\n"
		"a-zero.t. TXT \"v=spf1 a/0 -all\"\na-zero.t. A 9.9.9.9\na6.t. TXT \"v=spf1 a//32 -all\"\na6.t. AAAA 2001:db8::1\n"
		"exists.t. TXT \"v=spf1 exists:e.t -all\"\ne.t. A 127.0.0.1\nexists6.t. TXT \"v=spf1 exists:a6.t -all\"\n"
		"mapped.t. TXT \"v=spf1 ip6:::ffff:1.2.3.4 ?all\"\nzero6.t. TXT \"v=spf1 -ip6:::/0\"\n"
		"ptr.t. TXT \"v=spf1 ptr -all\"\n4.3.2.1.in-addr.arpa. PTR bad.t.\n4.3.2.1.in-addr.arpa. PTR Host.PTR.t.\nhost.ptr.t. A 1.2.3.4\n"
		"bad.t. A 9.9.9.9\n9.3.2.1.in-addr.arpa. PTR host.notptr.t.\nhost.notptr.t. A 1.2.3.9\n; TIMEOUT 8.3.2.1.in-addr.arpa\n"
		"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.ptr.t.\nsix.ptr.t. AAAA 2001:db8::7\n"
		"order.t. TXT \"v=spf1 ?ip4:1.2.0.0/16 -ip4:1.2.3.4 +all\"\n"
		"longname.t. TXT \"v=spf1 a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.t -all\"\n");

	ASK(f, questions);
	close_zone(&f);
}

static void test_limits(void **state)
{
	static const struct question questions[] = {
		{ "1.2.3.4", NULL, "a@ten.t", SPF_PASS, NULL },
		{ "1.2.3.4", NULL, "a@eleven.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@loop.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@redloop.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@void2.t", SPF_NEUTRAL, NULL },
		{ "1.2.3.4", NULL, "a@void3.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@mx10.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@mx11.t", SPF_PERMERROR, NULL },
		{ "1.2.3.4", NULL, "a@ptr11.t", SPF_FAIL, NULL },
		{ "1.2.3.5", NULL, "a@ptr11.t", SPF_PASS, NULL },
	};
	struct buffer zone = { 0 };
	struct fixture f;

	buffer_append_str(&zone, "a.t. A 9.9.9.9\nten.t. TXT \"v=spf1 a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t include:p.t -all\"\n"
				 "p.t. TXT \"v=spf1 +all\"\n"
				 "eleven.t. TXT \"v=spf1 a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t a:a.t include:p.t -all\"\n"
				 "loop.t. TXT \"v=spf1 include:loop.t -all\"\nredloop.t. TXT \"v=spf1 redirect=redloop.t\"\n"
				 "void2.t. TXT \"v=spf1 a:x.t mx:y.t\"\nvoid3.t. TXT \"v=spf1 a:x.t mx:y.t exists:z.t\"\n"
				 "mx10.t. TXT \"v=spf1 mx -all\"\nmx11.t. TXT \"v=spf1 mx +all\"\nptr11.t. TXT \"v=spf1 ptr -all\"\n"
				 "h.ptr11.t. A 1.2.3.4\nh.ptr11.t. A 1.2.3.5\n");
	for (int i = 0; i < 11; i++) {
		buffer_printf(&zone, "mx11.t. MX 10 m%d.t.\nm%d.t. A 9.9.9.%d\n", i, i, i);
		if (i < 10)
			buffer_printf(&zone, "mx10.t. MX 10 m%d.t.\n4.3.2.1.in-addr.arpa. PTR m%d.t.\n", i, i);
		if (i < 9)
			buffer_printf(&zone, "5.3.2.1.in-addr.arpa. PTR m%d.t.\n", i);
	}
	buffer_append_str(&zone, "4.3.2.1.in-addr.arpa. PTR h.ptr11.t.\n5.3.2.1.in-addr.arpa. PTR h.ptr11.t.\n");
	f = open_zone(zone.data);
	ASK(f, questions);
	close_zone(&f);
	buffer_done(&zone);
}

static void test_explanations(void **state)
{
	static const struct question questions[] = {
		{ "1.2.3.4", NULL, "a@plain.t", SPF_FAIL, "from 1.2.3.4 for plain.t by mx.receiver.example at 1234567890" },
		{ "1.2.3.4", NULL, "a@two.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@gone.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@slow.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@wrong.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@bytes.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "a@include.t", SPF_FAIL, "mine" },
		{ "1.2.3.4", NULL, "a@redirect.t", SPF_FAIL, "from 1.2.3.4 for plain.t by mx.receiver.example at 1234567890" },
		{ "1.2.3.4", NULL, "a@redirect2.t", SPF_FAIL, NULL },
		{ "1.2.3.4", NULL, "jack&jill=up@url.t", SPF_FAIL, "http://example.com/why.html?l=jack%26jill%3Dup" },
		{ "1.2.3.4", NULL, "a@soft.t", SPF_SOFTFAIL, NULL },
	};
	struct fixture f = open_zone(
		"plain.t. TXT \"v=spf1 -all exp=%{d1r}-why.t\"\nplain-why.t. TXT \"from %{c} for \" \"%{d} by %{r} at %{t}\"\n"
		"two.t. TXT \"v=spf1 -all exp=two-why.t\"\ntwo-why.t. TXT \"a\"\ntwo-why.t. TXT \"b\"\n"
		"gone.t. TXT \"v=spf1 -all exp=nowhere.t\"\nslow.t. TXT \"v=spf1 -all exp=slow-why.t\"\n; TIMEOUT slow-why.t\n"
		"wrong.t. TXT \"v=spf1 -all exp=wrong-why.t\"\nwrong-why.t. TXT \"what is %{k}\"\n"
		"bytes.t. TXT \"v=spf1 -all exp=bytes-why.t\"\nbytes-why.t. TXT \"caf\\233\"\n"
		"include.t. TXT \"v=spf1 include:plain.t -all exp=mine.t\"\nmine.t. TXT \"mine\"\n"
		"redirect.t. TXT \"v=spf1 redirect=plain.t exp=mine.t\"\nredirect2.t. TXT \"v=spf1 redirect=bare.t exp=mine.t\"\n"
		"bare.t. TXT \"v=spf1 -all\"\nurl.t. TXT \"v=spf1 -all exp=url-why.t\"\n"
		"url-why.t. TXT \"http://example.com/why.html?l=%{L}\"\nsoft.t. TXT \"v=spf1 ~all exp=mine.t\"\n");

	ASK(f, questions);
	close_zone(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple_examples),
		cmocka_unit_test(test_several_domains_and_requirements),
		cmocka_unit_test(test_macros_expand_as_in_the_examples),
		cmocka_unit_test(test_records_with_an_error_anywhere_are_void),
		cmocka_unit_test(test_the_version_is_exact),
		cmocka_unit_test(test_selecting_records),
		cmocka_unit_test(test_which_domain_is_checked),
		cmocka_unit_test(test_mechanisms),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_explanations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
