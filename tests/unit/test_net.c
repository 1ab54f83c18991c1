#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/net.h"

#include <arpa/inet.h>

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(slice_from(text), &ip), 0);
	return ip;
}

static void test_addresses_are_written_as_rfc_5952_says(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "0.0.0.0", "0.0.0.0" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::", "::" },
		{ "::1", "::1" },
		{ "1::", "1::" },
		{ "2001:DB8::0001", "2001:db8::1" },
		{ "2001:db8:0:0:0:0:2:1", "2001:db8::2:1" },
		{ "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" }, /* one group is not shortened */
		{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },          /* the longest run */
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },    /* the first of equals */
		{ "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
		{ "::1:2", "::1:2" },
		{ "::1.2.3.4", "::102:304" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
	};
	char text[IP_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ip ip = ip_of(cases[i].in);

		assert_string_equal(ip_format(&ip, text), cases[i].out);
	}
	assert_string_equal(ip_format(&(struct ip) { 0 }, text), "none");
}

static void test_a_wrapped_ipv4_address_is_that_address(void **state)
{
	static const uint8_t wrapped[16] = { [10] = 0xff, 0xff, 192, 0, 2, 1 };
	struct ip plain = ip_of("192.0.2.1"), other = ip_of("::FFFF:192.0.2.1"), hex = ip_of("::ffff:c000:201");
	struct ip raw = ip_from_v6(wrapped), v4 = ip_from_v4(wrapped + 12);

	assert_int_equal(other.family, 4);
	assert_memory_equal(&plain, &other, sizeof(plain));
	assert_memory_equal(&plain, &hex, sizeof(plain));
	assert_memory_equal(&plain, &raw, sizeof(plain));
	assert_memory_equal(&plain, &v4, sizeof(plain));
	assert_int_equal(ip_of("::fffe:c000:201").family, 6);
}

static void test_what_is_no_address_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "1.2.3.04", "1.2.3.0x4", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/8",
		"::1%lo", "[::1]", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::12345", "g::", "1::2::3", "localhost",
		"::ffff:1.2.3.256", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	};
	struct ip ip = { .family = 77 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(ip_parse(slice_from(bad[i]), &ip), -EINVAL);
	assert_int_equal(ip_parse(slice_new("1.2.3.4\0x", 9), &ip), -EINVAL);
	assert_int_equal(ip_parse(SLICE_NULL, &ip), -EINVAL);
	assert_int_equal(ip.family, 77);
}

/* Any 16 bytes: our text is what the C library reads back, and never longer than its own. */
static void test_random_addresses_read_back(void **state)
{
	srand(14);
	for (int round = 0; round < 50000; round++) {
		uint8_t bytes[16] = { 0 };
		char ours[IP_TEXT], theirs[IP_TEXT];
		struct in6_addr back;
		struct ip ip, again;

		for (size_t i = 0; i < 16; i++)
			bytes[i] = rand() % 3 ? 0 : (uint8_t) rand();
		bytes[0] = 0x20;
		ip = ip_from_v6(bytes);
		ip_format(&ip, ours);
		assert_int_equal(inet_pton(AF_INET6, ours, &back), 1);
		assert_memory_equal(&back, bytes, 16);
		assert_non_null(inet_ntop(AF_INET6, bytes, theirs, sizeof(theirs)));
		assert_string_equal(ours, theirs);
		assert_int_equal(ip_parse(slice_from(ours), &again), 0);
		assert_true(ip_equal(&ip, &again));
	}
}

static void test_families_are_never_equal(void **state)
{
	struct ip a = ip_of("1.2.3.4"), b = ip_of("102:304::"), c = ip_of("1.2.3.5");

	assert_false(ip_equal(&a, &b));
	assert_false(ip_equal(&a, &c));
	assert_true(ip_equal(&a, &a));
}

static void test_blocks_hold_their_addresses_and_no_others(void **state)
{
	static const struct {
		const char *block, *ip;
		bool in;
	} cases[] = {
		{ "10.0.0.0/8", "10.255.255.255", true },   { "10.0.0.0/8", "11.0.0.0", false },
		{ "10.0.0.0/8", "9.255.255.255", false },   { "192.0.2.1", "192.0.2.1", true },
		{ "192.0.2.1", "192.0.2.0", false },        { "0.0.0.0/0", "255.1.2.3", true },
		{ "0.0.0.0/0", "::1", false },              { "::/0", "1.2.3.4", false },
		{ "::/0", "2001:db8::1", true },            { "::1/128", "::1", true },
		{ "::1", "::2", false },                    { "2001:db8::/33", "2001:db8:7fff::", true },
		{ "2001:db8::/33", "2001:db8:8000::", false }, { "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.129/25", "192.0.2.128", true },  { "::ffff:10.0.0.0/104", "10.1.2.3", true },
		{ "::ffff:10.0.0.0/104", "11.1.2.3", false }, { "10.0.0.0/8", "::ffff:10.1.1.1", true },
		{ "10.0.0.0/31", "10.0.0.1", true },        { "10.0.0.0/31", "10.0.0.2", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ip ip = ip_of(cases[i].ip);
		struct cidr c;

		assert_int_equal(cidr_parse(slice_from(cases[i].block), &c), 0);
		assert_int_equal(cidr_contains(&c, &ip), cases[i].in);
	}
	assert_false(cidr_contains(&(struct cidr) { 0 }, &(struct ip) { 0 }));
}

static void test_blocks_are_written_by_their_first_address(void **state)
{
	char text[CIDR_TEXT];
	struct cidr c;

	assert_int_equal(cidr_parse(SLICE("10.1.2.3/8"), &c), 0);
	assert_string_equal(cidr_format(&c, text), "10.0.0.0/8");
	assert_int_equal(cidr_parse(SLICE("2001:DB8::1"), &c), 0);
	assert_string_equal(cidr_format(&c, text), "2001:db8::1/128");
	assert_int_equal(cidr_parse(SLICE("::ffff:10.1.2.3/104"), &c), 0);
	assert_string_equal(cidr_format(&c, text), "10.0.0.0/8");
	assert_int_equal(cidr_parse(SLICE("::ffff:10.1.2.3/80"), &c), 0);
	assert_string_equal(cidr_format(&c, text), "::/80");
	assert_int_equal(cidr_parse(SLICE("::ffff:0:0/96"), &c), 0); /* all of IPv4 */
	assert_string_equal(cidr_format(&c, text), "0.0.0.0/0");
	assert_int_equal(cidr_parse(SLICE("::ffff:10.1.2.3"), &c), 0);
	assert_string_equal(cidr_format(&c, text), "10.1.2.3/32");
}

static void test_what_is_no_block_is_refused(void **state)
{
	static const char *const bad[] = { "", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/08", "10.0.0.0/-1",
					   "10.0.0.0/8/8", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/ 8", "x/8",
					   "10.0.0.0/4294967304" };
	struct cidr c = { .bits = 77 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(cidr_parse(slice_from(bad[i]), &c), -EINVAL);
	assert_int_equal(c.bits, 77);
}

static void test_networks_keep_the_first_bits(void **state)
{
	struct ip all = ip_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), four = ip_of("255.255.255.255");

	for (unsigned bits = 0; bits <= 130; bits++) {
		struct ip net = ip_network(&all, bits);

		for (unsigned i = 0; i < 128; i++)
			assert_int_equal(net.bytes[i / 8] >> (7 - i % 8) & 1, i < bits);
	}
	four = ip_network(&four, 24);
	assert_memory_equal(four.bytes, "\xff\xff\xff\x00", 4);
}

static void test_endpoints_read_back(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "127.0.0.1:25", "127.0.0.1:25" },
		{ "[::1]:25", "[::1]:25" },
		{ "[2001:DB8::1]:65535", "[2001:db8::1]:65535" },
		{ "[::ffff:192.0.2.1]:0", "192.0.2.1:0" },
		{ "unix:/run/dovecot/lmtp", "unix:/run/dovecot/lmtp" },
		{ "unix:/a:b c", "unix:/a:b c" },
		{ "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
	};
	char text[ENDPOINT_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct endpoint e, again;

		assert_int_equal(endpoint_parse(slice_from(cases[i].in), &e), 0);
		assert_string_equal(endpoint_format(&e, text), cases[i].out);
		assert_int_equal(endpoint_parse(slice_from(text), &again), 0);
		assert_true(endpoint_equal(&e, &again));
	}
	assert_string_equal(endpoint_format(&(struct endpoint) { 0 }, text), "none");
}

static void test_endpoints_differ_by_address_port_and_path(void **state)
{
	static const char *const all[] = { "127.0.0.1:25", "127.0.0.1:26", "127.0.0.2:25", "[::1]:25", "unix:/a", "unix:/b" };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		for (size_t k = 0; k < ARRAY_LEN(all); k++) {
			struct endpoint a, b;

			assert_int_equal(endpoint_parse(slice_from(all[i]), &a), 0);
			assert_int_equal(endpoint_parse(slice_from(all[k]), &b), 0);
			assert_int_equal(endpoint_equal(&a, &b), i == k);
		}
	}
}

static void test_what_is_no_endpoint_is_refused(void **state)
{
	static const char *const bad[] = {
		"", ":", ":25", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:25:25", "::1:25",
		"::1", "[::1]", "[::1]25", "[::1]:", "[::1:25", "[127.0.0.1]:25", "[]:25", "localhost:25", "unix:",
		"unix:relative", "unix:@abstract", "127.0.0.1:+5", "[::1] :25",
	};
	char path[130] = "unix:/";
	struct endpoint e = { .port = 77 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(endpoint_parse(slice_from(bad[i]), &e), -EINVAL);
	assert_int_equal(endpoint_parse(slice_new("unix:/a\0b", 9), &e), -EINVAL);
	memset(path + 6, 'x', 107);
	assert_int_equal(endpoint_parse(slice_from(path), &e), -ENAMETOOLONG);
	assert_int_equal(e.port, 77);
	path[5 + 107] = '\0';
	assert_int_equal(endpoint_parse(slice_from(path), &e), 0);
	assert_int_equal(strlen(e.path), 107);
}

static void test_which_addresses_the_internet_can_reach(void **state)
{
	static const char *const yes[] = { "192.0.2.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2001:db8::1", "2a00::1",
					   "64:ff9b::8.8.8.8", "2002:808:808::1" };
	static const char *const no[] = { "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.0.1", "172.16.0.1", "172.31.255.255",
					  "192.168.1.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
					  "fd00::1", "ff02::1", "fec0::1",
					  /* in disguise */
					  "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::10.1.2.3", "64:ff9b:1::1", "2002:7f00:1::1" };
	struct ip ip;

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		assert_int_equal(ip_parse(slice_from(yes[i]), &ip), 0);
		assert_true(ip_is_public(&ip));
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		assert_int_equal(ip_parse(slice_from(no[i]), &ip), 0);
		assert_false(ip_is_public(&ip));
	}
	assert_false(ip_is_public(&(struct ip) { 0 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_addresses_the_internet_can_reach),
		cmocka_unit_test(test_addresses_are_written_as_rfc_5952_says),
		cmocka_unit_test(test_a_wrapped_ipv4_address_is_that_address),
		cmocka_unit_test(test_what_is_no_address_is_refused),
		cmocka_unit_test(test_random_addresses_read_back),
		cmocka_unit_test(test_families_are_never_equal),
		cmocka_unit_test(test_blocks_hold_their_addresses_and_no_others),
		cmocka_unit_test(test_blocks_are_written_by_their_first_address),
		cmocka_unit_test(test_what_is_no_block_is_refused),
		cmocka_unit_test(test_networks_keep_the_first_bits),
		cmocka_unit_test(test_endpoints_read_back),
		cmocka_unit_test(test_endpoints_differ_by_address_port_and_path),
		cmocka_unit_test(test_what_is_no_endpoint_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
