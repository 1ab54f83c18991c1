#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/digest.h"

static const struct digest_key key = { { 0x0123456789abcdef, 0xfedcba9876543210, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0 } };

static struct digest_value of(const char *data, size_t len)
{
	struct digest d;

	digest_init(&d, &key);
	digest_feed(&d, slice_new(data, len));
	return digest_finish(&d);
}

static void test_the_cut_into_pieces_makes_no_difference(void **state)
{
	char data[67];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char) (i * 37 + 11);
	for (size_t len = 0; len <= sizeof(data); len++) {
		struct digest_value whole = of(data, len);

		for (size_t a = 0; a <= len; a++)
			for (size_t b = a; b <= len; b++) {
				struct digest_value v;
				struct digest d;

				digest_init(&d, &key);
				digest_feed(&d, slice_new(data, a));
				(void) digest_finish(&d); /* looking changes nothing */
				digest_feed(&d, slice_new(data + a, b - a));
				digest_feed(&d, slice_new(data + b, len - b));
				v = digest_finish(&d);
				assert_true(digest_equal(&v, &whole));
			}
	}
}

/* Every single bit, every octet more or less, and every exchange of two words gives another digest, in both halves. */
static void test_whatever_differs_has_another_digest(void **state)
{
	enum { LEN = 96 };
	static struct digest_value seen[LEN * 8 + 2 * LEN + 64];
	char data[LEN + 1] = { 0 };
	size_t n = 0;

	seen[n++] = of(data, LEN);
	for (size_t bit = 0; bit < LEN * 8; bit++) {
		data[bit / 8] = (char) (data[bit / 8] ^ 1 << bit % 8);
		seen[n++] = of(data, LEN);
		data[bit / 8] = (char) (data[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t len = 0; len < LEN; len++)
		seen[n++] = of(data, len);
	seen[n++] = of(data, LEN + 1);
	memset(data, 'x', 8);
	for (size_t at = 8; at < LEN; at += 8) { /* the word of x at another place */
		memset(data + at - 8, 0, 8);
		memset(data + at, 'x', 8);
		seen[n++] = of(data, LEN);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(seen[i].half[0] != seen[k].half[0] && seen[i].half[1] != seen[k].half[1]);
}

static void test_another_key_gives_another_digest(void **state)
{
	struct digest_key other = key;
	struct digest_value a = of("hello", 5), b;
	struct digest d;

	other.k[1] ^= 1;
	digest_init(&d, &other);
	digest_feed(&d, SLICE("hello"));
	b = digest_finish(&d);
	assert_true(a.half[0] != b.half[0] && a.half[1] != b.half[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_cut_into_pieces_makes_no_difference),
		cmocka_unit_test(test_whatever_differs_has_another_digest),
		cmocka_unit_test(test_another_key_gives_another_digest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
