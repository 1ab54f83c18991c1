#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

struct item {
	struct hash_node node;
	unsigned key;
	bool in, seen;
};

static const struct hash_key test_key = { { 0x0706050403020100, 0x0f0e0d0c0b0a0908 } };

/* From the appendix of the SipHash paper, and the first of the reference implementation's vectors. */
static void test_siphash_gives_the_published_values(void **state)
{
	unsigned char in[64];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char) i;
	assert_true(hash_bytes(&test_key, in, 15) == 0xa129ca6149be45e5);
	assert_true(hash_bytes(&test_key, NULL, 0) == 0x726fdb47dd0e0e31);
	assert_true(hash_bytes(&test_key, in, 1) == 0x74f839c593dc67fd);
}

static void test_the_key_changes_every_hash(void **state)
{
	struct hash_key other = test_key;

	other.k[1] ^= 1;
	assert_true(hash_bytes(&test_key, "example.org", 11) != hash_bytes(&other, "example.org", 11));
}

/* Every byte at every place, so that the folding of eight at once is seen to fold letters only. */
static void test_nocase_equals_the_hash_of_the_folded_bytes(void **state)
{
	srand(7);
	for (int round = 0; round < 20000; round++) {
		char in[40], folded[40];
		size_t len = (size_t) rand() % sizeof(in);

		for (size_t i = 0; i < len; i++) {
			in[i] = (char) (round < 5120 && i == (size_t) round / 256 ? round : rand());
			folded[i] = ascii_lower(in[i]);
		}
		assert_true(hash_bytes_nocase(&test_key, in, len) == hash_bytes(&test_key, folded, len));
	}
}

static void test_mixed_ids_never_meet(void **state)
{
	struct item *items = calloc(20000, sizeof(*items));
	struct hash h = { 0 };
	size_t longest = 0;

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t hash = hash_u64((uint64_t) i << 22); /* ids made a millisecond apart */

		assert_null(hash_find(&h, hash));
		assert_int_equal(hash_insert(&h, &items[i].node, hash), 0);
	}
	for (size_t b = 0; b <= h.mask; b++) {
		size_t n = 0;

		for (struct hash_node *k = h.buckets[b]; k; k = k->next)
			n++;
		longest = MAX(longest, n);
	}
	assert_true(longest < 12);
	hash_done(&h);
	free(items);
}

static void test_an_empty_table_costs_nothing(void **state)
{
	struct hash h = { 0 };

	assert_null(hash_find(&h, 1));
	assert_null(hash_walk(&h, NULL));
	hash_done(&h);
}

/* Against an array of flags, with hashes that collide whole (key / 4) and in their low bits. */
static void test_random_use_matches_a_set(void **state)
{
	enum { N = 2000 };
	struct item *items = calloc(N, sizeof(*items));
	struct hash h = { 0 };
	size_t len = 0;

	srand(8);
	for (unsigned i = 0; i < N; i++)
		items[i].key = i;
	for (int round = 0; round < 100000; round++) {
		struct item *item = &items[rand() % N];
		uint64_t hash = (uint64_t) (item->key / 4) * 64;
		struct hash_node *n = hash_find(&h, hash);

		while (n && container_of(n, struct item, node) != item)
			n = hash_find_next(n);
		assert_true((n != NULL) == item->in);
		if (item->in) {
			hash_remove(&h, n);
			len--;
		} else {
			assert_int_equal(hash_insert(&h, &item->node, hash), 0);
			len++;
		}
		item->in = !item->in;
		assert_int_equal(h.len, len);
	}
	for (struct hash_node *n = hash_walk(&h, NULL); n; n = hash_walk(&h, n)) {
		struct item *item = container_of(n, struct item, node);

		assert_true(item->in && !item->seen);
		item->seen = true;
		len--;
	}
	assert_int_equal(len, 0);
	hash_done(&h);
	free(items);
}

static void test_the_node_behind_may_be_removed_while_walking(void **state)
{
	enum { N = 500 };
	struct item *items = calloc(N, sizeof(*items));
	struct hash h = { 0 };
	struct hash_node *n, *next;

	for (unsigned i = 0; i < N; i++)
		assert_int_equal(hash_insert(&h, &items[i].node, hash_u64(i / 3)), 0);
	for (n = hash_walk(&h, NULL); n; n = next) {
		next = hash_walk(&h, n);
		hash_remove(&h, n);
	}
	assert_int_equal(h.len, 0);
	assert_null(hash_walk(&h, NULL));
	hash_done(&h);
	free(items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_gives_the_published_values),
		cmocka_unit_test(test_the_key_changes_every_hash),
		cmocka_unit_test(test_nocase_equals_the_hash_of_the_folded_bytes),
		cmocka_unit_test(test_mixed_ids_never_meet),
		cmocka_unit_test(test_an_empty_table_costs_nothing),
		cmocka_unit_test(test_random_use_matches_a_set),
		cmocka_unit_test(test_the_node_behind_may_be_removed_while_walking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
