/* Base64: the RFC's examples, and everything that is not it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"

static void check_both_ways(const char *data, const char *text)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	char back[16];

	base64_encode(slice_from(data), &out);
	assert_int_equal(out.len, BASE64_LEN(strlen(data)));
	assert_string_equal(out.data ? out.data : "", text);
	assert_int_equal(base64_decode(slice_from(text), back, sizeof(back)), strlen(data));
	assert_memory_equal(back, data, strlen(data));
}

static void test_examples_of_rfc_4648(void **state)
{
	check_both_ways("", "");
	check_both_ways("f", "Zg==");
	check_both_ways("fo", "Zm8=");
	check_both_ways("foo", "Zm9v");
	check_both_ways("foob", "Zm9vYg==");
	check_both_ways("fooba", "Zm9vYmE=");
	check_both_ways("foobar", "Zm9vYmFy");
}

static void test_what_is_not_base64(void **state)
{
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zm9", "Zg===", "====", "=", "Zg=v", "Z===", "Zm9v\n", " Zm9v", "Zm 9",
					   "Zm9-", "Zm9_", "Zm\x80v", "Zh==", "Zm9=", "Zg==Zg==" };
	char out[16];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(base64_decode(slice_from(bad[i]), out, sizeof(out)), -EINVAL);
	assert_int_equal(base64_decode(slice_new("Zm\0v", 4), out, sizeof(out)), -EINVAL);
}

static void test_what_does_not_fit(void **state)
{
	char out[3];

	assert_int_equal(base64_decode(SLICE("Zm9v"), out, 3), 3);
	assert_int_equal(base64_decode(SLICE("Zm9v"), out, 2), -ENOBUFS);
	assert_int_equal(base64_decode(SLICE("Zm9vYg=="), out, 3), -ENOBUFS);
	assert_int_equal(base64_decode(SLICE("Zg=="), out, 1), 1);
}

static void test_all_octets_come_back(void **state)
{
	unsigned char data[600], back[600];

	srand(5);
	for (int round = 0; round < 2000; round++) {
		_cleanup_buffer_ struct buffer out = { 0 };
		size_t n = (size_t) (rand() % 600);

		for (size_t i = 0; i < n; i++)
			data[i] = (unsigned char) rand();
		base64_encode(slice_new((char *) data, n), &out);
		assert_int_equal(base64_decode(buffer_slice(&out), back, sizeof(back)), n);
		assert_memory_equal(back, data, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples_of_rfc_4648),
		cmocka_unit_test(test_what_is_not_base64),
		cmocka_unit_test(test_what_does_not_fit),
		cmocka_unit_test(test_all_octets_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
