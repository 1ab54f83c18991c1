/* Addresses: the grammar, and comparing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "mail/address.h"

static int path(const char *text, unsigned flags, struct address *ret)
{
	struct slice s = slice_from(text);
	int r = path_parse(&s, flags, ret);

	if (r == 0)
		assert_int_equal(s.len, 0);
	return r;
}

static int address(const char *text, unsigned flags, struct address *ret)
{
	/* memory of its own, without terminator, so that reading beyond the end is seen */
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	int r;

	memcpy(copy, text, len);
	r = address_parse(slice_new(copy, len), flags, ret);
	free(copy);
	return r;
}

static void test_what_the_grammar_allows(void **state)
{
	static const char *const good[] = {
		"a@b", "alice@example.org", "a.b.c@example.org", "a!#$%&'*+-/=?^_`{|}~z@example.org", "1@2.3",
		"\"a b\"@example.org", "\"a@b\"@example.org", "\"\\\"\"@example.org", "\"\\\\\"@example.org", "\"<>\"@example.org",
		"a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@[ipv6:::1]", "a@[IPv6:::ffff:192.0.2.1]", "a@[x-tag:anything!]",
		"a@xn--bcher-kva.example", "a@a-b.c-d", "a@under_score.example", "a@1.2.3.4",
	};
	struct address a;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(address(good[i], 0, &a), 0);
}

static void test_what_it_does_not_allow(void **state)
{
	static const char *const bad[] = {
		"", "a", "@", "a@", "@b", "a@b@c", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b c", "a@b.", "a@.b", "a@b..c", "a@-b",
		"a@b-", "a@b.-c", "a,b@c", "(a)@b", "a@(b)", "<a@b>", "a;b@c", "a:b@c", "a\\b@c", "[a]@b", "\"a@b", "\"a\"b@c",
		"a\"b\"@c", "\"a\\\"@b", "\"\"@b", "\"a\"", "\"a\tb\"@c", "a@[]", "a@[192.0.2]", "a@[192.0.2.256]", "a@[192.0.2.1",
		"a@192.0.2.1]", "a@[IPv6:]", "a@[IPv6:192.0.2.1]", "a@[IPv6:2001:db8:::1]", "a@[2001:db8::1]", "a@[x:]", "a@[-x:y]",
		"a@[x:a b]", "a@[192.0.2.1]b", "a@[[192.0.2.1]]", "a@b\r", "a\n@b", "a@b%c", "a@b/c", "a@b:25", "\"a\\\x01\"@b",
		"postmaster", "a\x7f@b",
	};
	struct address a;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(address(bad[i], 0, &a), -EINVAL);
	assert_int_equal(address_parse(SLICE("a\0@b"), 0, &a), -EINVAL);
	assert_int_equal(address_parse(SLICE("a@b\0"), 0, &a), -EINVAL);
	assert_int_equal(address_parse(SLICE("\"a\0\"@b"), 0, &a), -EINVAL);
}

static void test_the_parts_of_an_address(void **state)
{
	struct address a;
	struct slice s = SLICE("\"a b\"@[IPv6:2001:db8::1]");
	struct ip ip;

	assert_int_equal(address_parse(s, 0, &a), 0);
	assert_true(slice_eq(a.text, s));
	assert_true(slice_eq_str(a.local, "\"a b\""));
	assert_true(slice_eq_str(a.domain, "[IPv6:2001:db8::1]"));
	assert_true(a.literal);
	assert_int_equal(ip_parse(SLICE("2001:db8::1"), &ip), 0);
	assert_true(ip_equal(&a.ip, &ip));
	assert_int_equal(address_parse(SLICE("a@[x-tag:y]"), 0, &a), 0);
	assert_true(a.literal);
	assert_int_equal(a.ip.family, 0);
	assert_int_equal(address_parse(SLICE("a@b.example"), 0, &a), 0);
	assert_false(a.literal);
	assert_false(a.utf8);
}

static void test_paths_stand_in_brackets(void **state)
{
	struct address a;
	struct slice s = SLICE("<a@b> SIZE=1");

	assert_int_equal(path_parse(&s, 0, &a), 0);
	assert_true(slice_eq_str(s, " SIZE=1"));
	assert_true(slice_eq_str(a.text, "a@b"));
	assert_int_equal(path("<>", 0, &a), -EINVAL);
	assert_int_equal(path("<>", ADDRESS_ALLOW_NULL, &a), 0);
	assert_int_equal(a.text.len, 0);
	assert_int_equal(path("", ADDRESS_ALLOW_NULL, &a), -EINVAL);
	assert_int_equal(path("<", ADDRESS_ALLOW_NULL, &a), -EINVAL);
	assert_int_equal(path("<a@b", 0, &a), -EINVAL);
	assert_int_equal(path("a@b", 0, &a), -EINVAL);
	assert_int_equal(path("<\"a>b\"@c>", 0, &a), 0);
	assert_int_equal(path("<postmaster>", ADDRESS_ALLOW_POSTMASTER, &a), 0);
	assert_int_equal(path("<POSTmaster>", ADDRESS_ALLOW_POSTMASTER, &a), 0);
	assert_int_equal(path("<postmaste>", ADDRESS_ALLOW_POSTMASTER, &a), -EINVAL);
	assert_int_equal(path("<a>", ADDRESS_ALLOW_POSTMASTER, &a), -EINVAL);
}

static void test_source_routes_are_dropped(void **state)
{
	struct address a;

	assert_int_equal(path("<@one.example:a@b>", 0, &a), 0);
	assert_true(slice_eq_str(a.text, "a@b"));
	assert_int_equal(path("<@one.example,@two.example:a@b>", 0, &a), 0);
	assert_true(slice_eq_str(a.text, "a@b"));
	assert_int_equal(path("<@one.example>", 0, &a), -EINVAL);
	assert_int_equal(path("<@one.example:>", ADDRESS_ALLOW_NULL, &a), -EINVAL);
	assert_int_equal(path("<@one.example,:a@b>", 0, &a), -EINVAL);
	assert_int_equal(path("<@:a@b>", 0, &a), -EINVAL);
	assert_int_equal(path("<@one.example,two.example:a@b>", 0, &a), -EINVAL);
	assert_int_equal(path("<@one.example", 0, &a), -EINVAL);
	assert_int_equal(path("<@one.example,", 0, &a), -EINVAL);
}

static void repeat(struct buffer *b, const char *text, unsigned n)
{
	while (n--)
		buffer_append_str(b, text);
}

static void test_parts_have_their_limits(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct address a;

	repeat(&b, "a", 64);
	buffer_append_str(&b, "@b");
	assert_int_equal(address_parse(buffer_slice(&b), 0, &a), 0);
	buffer_clear(&b);
	repeat(&b, "a", 65);
	buffer_append_str(&b, "@b");
	assert_int_equal(address_parse(buffer_slice(&b), 0, &a), -E2BIG);
	assert_int_equal(address_parse(buffer_slice(&b), ADDRESS_ALLOW_LONG, &a), 0);
	buffer_clear(&b);
	repeat(&b, "a", 241);
	buffer_append_str(&b, "@b");
	assert_int_equal(address_parse(buffer_slice(&b), ADDRESS_ALLOW_LONG, &a), -E2BIG);
	buffer_clear(&b);
	buffer_append_str(&b, "a@");
	repeat(&b, "b", 64);
	assert_int_equal(address_parse(buffer_slice(&b), 0, &a), -EINVAL); /* a label has 63 */
	buffer_clear(&b);
	buffer_append_str(&b, "a@");
	repeat(&b, "b.", 125);
	buffer_append_str(&b, "b");
	assert_int_equal(address_parse(buffer_slice(&b), 0, &a), 0); /* 253 + 2 + brackets */
	repeat(&b, ".b", 3);
	assert_int_equal(address_parse(buffer_slice(&b), 0, &a), -E2BIG);
}

static void test_utf8_is_checked(void **state)
{
	struct address a;

	assert_int_equal(address("j\xc3\xb6rg@example.org", 0, &a), -EILSEQ);
	assert_int_equal(address("j\xc3\xb6rg@example.org", ADDRESS_ALLOW_UTF8, &a), 0);
	assert_true(a.utf8);
	assert_int_equal(address("\"j\xc3\xb6 rg\"@example.org", ADDRESS_ALLOW_UTF8, &a), 0);
	assert_int_equal(address("a@b\xc3\xbc" "cher.example", ADDRESS_ALLOW_UTF8, &a), 0);
	assert_int_equal(address("\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90.\xe6\xb5\x8b\xe8\xaf\x95", ADDRESS_ALLOW_UTF8, &a), 0);
	assert_int_equal(address("j\xc3rg@example.org", ADDRESS_ALLOW_UTF8, &a), -EILSEQ);
	assert_int_equal(address("\xc0\xaf@example.org", ADDRESS_ALLOW_UTF8, &a), -EILSEQ);
	assert_int_equal(address("\xed\xa0\x80@example.org", ADDRESS_ALLOW_UTF8, &a), -EILSEQ);
	assert_int_equal(address("a\xc2\x85@example.org", ADDRESS_ALLOW_UTF8, &a), -EILSEQ); /* a C1 control */
	assert_int_equal(address("a@\xe2\x80\xae.example", ADDRESS_ALLOW_UTF8, &a), -EINVAL);
	assert_int_equal(address("a@b\xc3\xbc" "cher.example", 0, &a), -EILSEQ);
}

static void test_domain_names(void **state)
{
	assert_true(domain_is_valid(SLICE("example.org"), false));
	assert_true(domain_is_valid(SLICE("_dmarc.example.org"), false));
	assert_false(domain_is_valid(SLICE("example.org."), false));
	assert_false(domain_is_valid(SLICE(""), false));
	assert_false(domain_is_valid(SLICE("b\xc3\xbc" "cher.example"), false));
	assert_true(domain_is_valid(SLICE("b\xc3\xbc" "cher.example"), true));
	assert_false(domain_is_valid(SLICE("a\0b"), true));
	assert_false(domain_is_valid(SLICE("b\xc3\xbc\0x"), true));
	assert_false(domain_is_valid(SLICE("b\xc3"), true));
}

static void test_domains_as_a_labels(void **state)
{
	struct arena *a;
	const char *out;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(domain_to_ascii(a, SLICE("Example.ORG"), &out), 0);
	assert_string_equal(out, "example.org");
	assert_int_equal(domain_to_ascii(a, SLICE("B\xc3\xbc" "cher.example"), &out), 0);
	assert_string_equal(out, "xn--bcher-kva.example");
	assert_int_equal(domain_to_ascii(a, SLICE("bu\xcc\x88" "cher.example"), &out), 0); /* not normalised */
	assert_string_equal(out, "xn--bcher-kva.example");
	assert_int_equal(domain_to_ascii(a, SLICE("stra\xc3\x9f" "e.example"), &out), 0);
	assert_string_equal(out, "xn--strae-oqa.example");
	assert_int_equal(domain_to_ascii(a, SLICE("[192.0.2.1]"), &out), -EINVAL);
	assert_int_equal(domain_to_ascii(a, SLICE("a..b"), &out), -EINVAL);
	assert_int_equal(domain_to_ascii(a, SLICE("\xe2\x80\xae.example"), &out), -EINVAL);
	assert_int_equal(domain_to_ascii(a, SLICE(""), &out), -EINVAL);
	arena_free(a);
}

static bool equal(const char *a, const char *b)
{
	struct address x, y;

	assert_int_equal(address_parse(slice_from(a), ADDRESS_ALLOW_POSTMASTER, &x), 0);
	assert_int_equal(address_parse(slice_from(b), ADDRESS_ALLOW_POSTMASTER, &y), 0);
	assert_int_equal(address_equal(&x, &y), address_equal(&y, &x));
	return address_equal(&x, &y);
}

static void test_the_same_mailbox(void **state)
{
	assert_true(equal("a@example.org", "a@EXAMPLE.org"));
	assert_false(equal("A@example.org", "a@example.org"));
	assert_false(equal("a@example.org", "a@example.com"));
	assert_true(equal("\"a\"@b", "a@b"));
	assert_true(equal("\"a\\.b\"@c", "a.b@c"));
	assert_true(equal("\"a\\\"b\"@c", "\"a\\\"\\b\"@c"));
	assert_false(equal("\"a b\"@c", "\"a  b\"@c"));
	assert_false(equal("\"ab\"@c", "a@c"));
	assert_false(equal("\"a\"@c", "ab@c"));
	assert_true(equal("Postmaster", "POSTMASTER"));
	assert_true(equal("Postmaster@b", "postmaster@B"));
	assert_false(equal("postmaster", "postmaster@b"));
}

static void test_the_plain_local_part(void **state)
{
	static const char *const pairs[][2] = {
		{ "alice@b", "alice" }, { "\"a b\"@c", "a b" }, { "\"a\\\"b\\\\\"@c", "a\"b\\" }, { "\"..\"@c", ".." }, { "\"\\a\"@c", "a" },
	};
	struct address addr;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		assert_int_equal(address_parse(slice_from(pairs[i][0]), 0, &addr), 0);
		assert_string_equal(address_local_plain(a, &addr), pairs[i][1]);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_the_grammar_allows),
		cmocka_unit_test(test_what_it_does_not_allow),
		cmocka_unit_test(test_the_parts_of_an_address),
		cmocka_unit_test(test_paths_stand_in_brackets),
		cmocka_unit_test(test_source_routes_are_dropped),
		cmocka_unit_test(test_parts_have_their_limits),
		cmocka_unit_test(test_utf8_is_checked),
		cmocka_unit_test(test_domain_names),
		cmocka_unit_test(test_domains_as_a_labels),
		cmocka_unit_test(test_the_same_mailbox),
		cmocka_unit_test(test_the_plain_local_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
