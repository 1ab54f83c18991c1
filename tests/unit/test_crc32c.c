#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"

/* One bit at a time, straight from the definition. */
static uint32_t by_definition(uint32_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* RFC 3720 appendix B.4 */
static void test_the_published_values(void **state)
{
	unsigned char bytes[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, NULL, 0), 0);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (unsigned char) i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	assert_int_equal(crc32c_portable(0, bytes, 32), 0x46dd794e);
}

static void test_all_ways_agree_at_any_length_and_alignment(void **state)
{
	unsigned char bytes[600];

	srand(15);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char) rand();
	for (size_t start = 0; start < 9; start++) {
		for (size_t len = 0; len < 300; len++) {
			uint32_t seed = (uint32_t) rand(), expected = by_definition(seed, bytes + start, len);

			assert_int_equal(crc32c(seed, bytes + start, len), expected);
			assert_int_equal(crc32c_portable(seed, bytes + start, len), expected);
		}
	}
}

static void test_long_ones_are_right_too(void **state)
{
	static unsigned char bytes[10000];

	srand(16);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char) rand();
	for (size_t len = 1500; len < sizeof(bytes) - 8; len += len < 1600 ? 1 : 331) {
		size_t start = len % 8;
		uint32_t seed = (uint32_t) rand(), expected = by_definition(seed, bytes + start, len);

		assert_int_equal(crc32c(seed, bytes + start, len), expected);
		assert_int_equal(crc32c_portable(seed, bytes + start, len), expected);
	}
}

static void test_pieces_give_the_checksum_of_the_whole(void **state)
{
	unsigned char bytes[400];
	uint32_t whole;

	srand(16);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char) rand();
	whole = crc32c(0, bytes, sizeof(bytes));
	for (int round = 0; round < 1000; round++) {
		uint32_t crc = 0;
		size_t at = 0;

		while (at < sizeof(bytes)) {
			size_t n = MIN((size_t) rand() % 50, sizeof(bytes) - at);

			crc = rand() % 2 ? crc32c(crc, bytes + at, n) : crc32c_portable(crc, bytes + at, n);
			at += n;
		}
		assert_int_equal(crc, whole);
	}
}

static void test_every_flipped_bit_is_seen(void **state)
{
	unsigned char bytes[64] = "a record of the log";
	uint32_t good = crc32c(0, bytes, sizeof(bytes));

	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (unsigned char) (1 << bit % 8);
		assert_int_not_equal(crc32c(0, bytes, sizeof(bytes)), good);
		bytes[bit / 8] ^= (unsigned char) (1 << bit % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_published_values),
		cmocka_unit_test(test_all_ways_agree_at_any_length_and_alignment),
		cmocka_unit_test(test_long_ones_are_right_too),
		cmocka_unit_test(test_pieces_give_the_checksum_of_the_whole),
		cmocka_unit_test(test_every_flipped_bit_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
