#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"

/* Every node knows its place and none comes before its parent (four children to a node). */
static void assert_heap(const struct heap *h)
{
	for (uint32_t i = 0; i < h->len; i++) {
		const struct heap_node *n = h->nodes[i], *parent = h->nodes[i ? (i - 1) / 4 : 0];

		assert_int_equal(n->index, i);
		assert_true(parent->key < n->key || (parent->key == n->key && parent->order <= n->order));
	}
}

static void test_the_smallest_comes_first(void **state)
{
	static const uint64_t keys[] = { 5, 3, UINT64_MAX, 0, 9, 3 };
	static const size_t expected[] = { 3, 1, 5, 0, 4, 2 };
	struct heap_node nodes[6];
	struct heap h = { 0 };

	assert_null(heap_first(&h));
	for (size_t i = 0; i < 6; i++) {
		heap_node_init(&nodes[i]);
		assert_int_equal(heap_insert(&h, &nodes[i], keys[i]), 0);
	}
	for (size_t i = 0; i < 6; i++) {
		struct heap_node *n = heap_first(&h);

		assert_ptr_equal(n, &nodes[expected[i]]);
		heap_remove(&h, n);
		assert_false(heap_node_linked(n));
		heap_remove(&h, n); /* not in any more: nothing */
	}
	assert_null(heap_first(&h));
	heap_done(&h);
}

static void test_equal_keys_come_in_the_order_of_insertion(void **state)
{
	enum { N = 1000 };
	_cleanup_(freep) struct heap_node *nodes = calloc(N, sizeof(*nodes));
	struct heap h = { 0 };

	srand(5);
	for (size_t i = 0; i < N; i++) {
		heap_node_init(&nodes[i]);
		assert_int_equal(heap_insert(&h, &nodes[i], 7), 0);
	}
	/* Removals in the middle and an update to the same key change nothing for the others. */
	for (size_t i = 0; i < N; i += 3)
		heap_remove(&h, &nodes[i]);
	heap_update(&h, &nodes[1], 7);
	for (size_t i = 0; i < N; i++) {
		if (i % 3 == 0)
			continue;
		assert_ptr_equal(heap_first(&h), &nodes[i]);
		heap_remove(&h, &nodes[i]);
	}
	heap_done(&h);
}

static void test_a_moved_node_stands_behind_its_equals(void **state)
{
	struct heap_node a, b, c;
	struct heap h = { 0 };

	heap_node_init(&a);
	heap_node_init(&b);
	heap_node_init(&c);
	assert_int_equal(heap_insert(&h, &a, 1), 0);
	assert_int_equal(heap_insert(&h, &b, 2), 0);
	assert_int_equal(heap_insert(&h, &c, 3), 0);
	heap_update(&h, &c, 1);
	assert_ptr_equal(heap_first(&h), &a);
	heap_update(&h, &a, 2);
	assert_ptr_equal(heap_first(&h), &c);
	heap_remove(&h, &c);
	assert_ptr_equal(heap_first(&h), &b);
	heap_done(&h);
	assert_false(heap_node_linked(&a)); /* done lets go of what was still in */
}

static void test_reserved_room_makes_the_insert_free_of_allocation(void **state)
{
	struct heap_node nodes[100];
	struct heap h = { 0 };
	struct heap_node **before;

	assert_int_equal(heap_reserve(&h, 100), 0);
	before = h.nodes;
	for (size_t i = 0; i < 100; i++) {
		heap_node_init(&nodes[i]);
		assert_int_equal(heap_insert(&h, &nodes[i], i), 0);
	}
	assert_ptr_equal(h.nodes, before);
	assert_int_equal(heap_reserve(&h, UINT32_MAX), -ENOMEM);
	heap_done(&h);
}

/* Against a plain array that is searched from end to end. */
static void test_random_use_matches_a_sorted_array(void **state)
{
	enum { N = 300, ROUNDS = 60000 };
	static const int ranges[] = { 3, 50, 1000000 };
	_cleanup_(freep) struct heap_node *nodes = calloc(N, sizeof(*nodes));
	_cleanup_(freep) uint64_t *order = calloc(N, sizeof(*order));
	struct heap h = { 0 };
	uint64_t clock = 0;

	srand(6);
	for (size_t i = 0; i < N; i++)
		heap_node_init(&nodes[i]);
	for (int round = 0; round < ROUNDS; round++) {
		size_t i = (size_t) rand() % N, best = N;
		uint64_t key = (uint64_t) (rand() % ranges[round * 3 / ROUNDS]);
		uint32_t expected_len = 0;

		if (!heap_node_linked(&nodes[i])) {
			assert_int_equal(heap_insert(&h, &nodes[i], key), 0);
			order[i] = ++clock;
		} else if (rand() % 2) {
			if (nodes[i].key != key)
				order[i] = ++clock;
			heap_update(&h, &nodes[i], key);
		} else {
			heap_remove(&h, &nodes[i]);
		}
		for (size_t k = 0; k < N; k++) {
			if (!heap_node_linked(&nodes[k]))
				continue;
			expected_len++;
			if (best == N || nodes[k].key < nodes[best].key ||
			    (nodes[k].key == nodes[best].key && order[k] < order[best]))
				best = k;
		}
		assert_int_equal(h.len, expected_len);
		assert_ptr_equal(heap_first(&h), best == N ? NULL : &nodes[best]);
		if (round % 64 == 0)
			assert_heap(&h);
	}
	heap_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_smallest_comes_first),
		cmocka_unit_test(test_equal_keys_come_in_the_order_of_insertion),
		cmocka_unit_test(test_a_moved_node_stands_behind_its_equals),
		cmocka_unit_test(test_reserved_room_makes_the_insert_free_of_allocation),
		cmocka_unit_test(test_random_use_matches_a_sorted_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
