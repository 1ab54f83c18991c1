/* The header of the PROXY protocol, of both versions, whole, cut and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "smtp/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_header header;
static size_t length;

static int parse(struct slice s)
{
	header = (struct proxy_header) { 0 };
	length = 0;
	return proxy_header_parse(s, &header, &length);
}

static void assert_endpoint(const struct endpoint *e, const char *text)
{
	char out[ENDPOINT_TEXT];

	assert_string_equal(endpoint_format(e, out), text);
}

/* Every shorter beginning asks for more. */
static void assert_needs_all(struct slice s, size_t len)
{
	for (size_t n = 0; n < len; n++)
		assert_int_equal(parse(slice_head(s, n)), 0);
	assert_int_equal(parse(s), 1);
	assert_int_equal(length, len);
}

static void test_a_line_names_the_client(void **state)
{
	/* The longest of each kind, from the description of the protocol. */
	struct slice v4 = SLICE("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\nEHLO x\r\n");
	struct slice v6 = SLICE("PROXY TCP6 ffff:f:f:f:f:f:f:ffff ffff:f:f:f:f:f:f:fffe 65535 1\r\n");

	assert_needs_all(v4, v4.len - 8);
	assert_int_equal(header.kind, PROXY_CLIENT);
	assert_int_equal(header.version, 1);
	assert_endpoint(&header.client, "255.255.255.255:65535");
	assert_needs_all(v6, v6.len);
	assert_endpoint(&header.client, "[ffff:f:f:f:f:f:f:ffff]:65535");
	assert_endpoint(&header.server, "[ffff:f:f:f:f:f:f:fffe]:1");
	assert_int_equal(parse(SLICE("PROXY UNKNOWN\r\n")), 1);
	assert_int_equal(header.kind, PROXY_UNKNOWN);
	assert_int_equal(length, 15);
	assert_int_equal(parse(SLICE("PROXY UNKNOWN ffff:f:f:f:f:f:f:ffff ffff:f:f:f:f:f:f:ffff 65535 65535\r\n")), 1);
}

static void test_a_wrong_line_is_no_header(void **state)
{
	static const char *const wrong[] = {
		"EHLO client.example\r\n", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", "PROXY \r\n",
		"PROXY TCP4\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
	};
	char endless[200];

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(parse(slice_from(wrong[i])), -EBADMSG);
	memset(endless, 'x', sizeof(endless));
	memcpy(endless, "PROXY UNKNOWN ", 14);
	assert_int_equal(parse(slice_new(endless, 106)), 0);
	assert_int_equal(parse(slice_new(endless, sizeof(endless))), -EBADMSG);
}

static void put_v2(struct buffer *b, unsigned command, unsigned family, struct slice rest)
{
	buffer_clear(b);
	buffer_append_slice(b, SLICE(SIGNATURE));
	buffer_append_char(b, (char) command);
	buffer_append_char(b, (char) family);
	buffer_append_char(b, (char) (rest.len >> 8));
	buffer_append_char(b, (char) rest.len);
	buffer_append_slice(b, rest);
	assert_int_equal(buffer_error(b), 0);
}

#define IPV4 "\xc0\0\2\1\xc6\x33\x64\2\x9c\x40\0\x19"

static void test_the_binary_form_names_the_client(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	char paths[216] = "/run/client";

	put_v2(&b, 0x21, 0x11, SLICE(IPV4));
	assert_needs_all(buffer_slice(&b), 28);
	assert_endpoint(&header.client, "192.0.2.1:40000");
	assert_endpoint(&header.server, "198.51.100.2:25");
	put_v2(&b, 0x21, 0x21, SLICE("\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2"));
	assert_needs_all(buffer_slice(&b), 52);
	assert_endpoint(&header.client, "[2001:db8::1]:1");
	assert_endpoint(&header.server, "[::1]:2");
	/* A wrapped IPv4 address is that address, so that no rule is passed by it. */
	put_v2(&b, 0x21, 0x21, SLICE("\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2"));
	assert_int_equal(parse(buffer_slice(&b)), 1);
	assert_endpoint(&header.client, "192.0.2.7:1");
	memcpy(paths + 108, "/run/server", 11);
	put_v2(&b, 0x21, 0x31, slice_new(paths, sizeof(paths)));
	assert_needs_all(buffer_slice(&b), 16 + 216);
	assert_endpoint(&header.client, "unix:/run/client");
	assert_endpoint(&header.server, "unix:/run/server");
	put_v2(&b, 0x20, 0, SLICE("whatever it says"));
	assert_needs_all(buffer_slice(&b), 32);
	assert_int_equal(header.kind, PROXY_LOCAL);
	put_v2(&b, 0x21, 0, SLICE("")); /* AF_UNSPEC */
	assert_int_equal(parse(buffer_slice(&b)), 1);
	assert_int_equal(header.kind, PROXY_UNKNOWN);
	put_v2(&b, 0x21, 0x12, SLICE(IPV4)); /* a datagram: not us */
	assert_int_equal(parse(buffer_slice(&b)), 1);
	assert_int_equal(header.kind, PROXY_UNKNOWN);
}

static void test_additions_are_passed_over_and_a_checksum_must_hold(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	uint32_t sum;

	put_v2(&b, 0x21, 0x11, SLICE(IPV4 "\4\0\3abc\x02\0\7mx.test"));
	assert_int_equal(parse(buffer_slice(&b)), 1);
	assert_int_equal(header.kind, PROXY_CLIENT);
	put_v2(&b, 0x21, 0x11, SLICE(IPV4 "\4\0\3ab"));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x11, SLICE(IPV4 "\4\0"));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x11, SLICE(IPV4 "\3\0\4\0\0\0\0\4\0\1x"));
	sum = crc32c(0, b.data, b.len);
	for (unsigned i = 0; i < 4; i++)
		b.data[31 + i] = (char) (sum >> (24 - 8 * i));
	assert_int_equal(parse(buffer_slice(&b)), 1);
	for (size_t bit = 16 * 8; bit < b.len * 8; bit++) {
		b.data[bit / 8] = (char) (b.data[bit / 8] ^ 1 << bit % 8);
		if (bit / 8 < 28 || bit / 8 > 30) /* that it is a checksum must be recognizable */
			assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
		b.data[bit / 8] = (char) (b.data[bit / 8] ^ 1 << bit % 8);
	}
}

static void test_wrong_binary_headers_are_refused(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	put_v2(&b, 0x11, 0x11, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x22, 0x11, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x41, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x13, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x11, SLICE("\xc0\0\2\1"));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x21, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x31, SLICE(IPV4));
	assert_int_equal(parse(buffer_slice(&b)), -EBADMSG);
	put_v2(&b, 0x21, 0x11, SLICE(IPV4));
	b.data[14] = b.data[15] = (char) 0xff;
	assert_int_equal(parse(buffer_slice(&b)), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_names_the_client),
		cmocka_unit_test(test_a_wrong_line_is_no_header),
		cmocka_unit_test(test_the_binary_form_names_the_client),
		cmocka_unit_test(test_additions_are_passed_over_and_a_checksum_must_hold),
		cmocka_unit_test(test_wrong_binary_headers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
