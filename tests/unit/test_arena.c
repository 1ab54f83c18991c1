#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

#include <stdalign.h>

static void test_pieces_are_aligned_and_do_not_overlap(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	enum { N = 3000 };
	_cleanup_(freep) unsigned char **pieces = calloc(N, sizeof(*pieces));
	_cleanup_(freep) size_t *sizes = calloc(N, sizeof(*sizes));

	srand(2);
	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < N; i++) {
		sizes[i] = rand() % 50 ? (size_t) rand() % 200 : (size_t) rand() % 50000;
		pieces[i] = arena_alloc(a, sizes[i]);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t) pieces[i] % alignof(max_align_t), 0);
		memset(pieces[i], (int) (i % 251), sizes[i]);
	}
	for (size_t i = 0; i < N; i++)
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(pieces[i][k], i % 251);
}

static void test_an_idle_arena_is_cheap_and_a_busy_one_grows_in_steps(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	size_t before, steps = 0;

	assert_int_equal(arena_new(0, &a), 0);
	assert_true(arena_footprint(a) <= 64);
	assert_non_null(arena_alloc(a, 1));
	assert_true(arena_footprint(a) <= 1024 + 64);
	before = arena_footprint(a);
	for (size_t i = 0; i < 16 * 1024; i++) {
		assert_non_null(arena_alloc(a, 48));
		if (arena_footprint(a) != before) {
			assert_true(arena_footprint(a) - before <= 16 * 1024);
			before = arena_footprint(a);
			steps++;
		}
	}
	assert_true(steps < 100); /* 768 KiB (more under AddressSanitizer) in pieces of 16 KiB */
}

static void test_a_large_piece_does_not_waste_the_chunk_in_use(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	size_t before;

	assert_int_equal(arena_new(0, &a), 0);
	assert_non_null(arena_alloc(a, 16));
	assert_non_null(arena_alloc(a, 1000000));
	before = arena_footprint(a);
	assert_true(before < 1000000 + 2048);
	assert_non_null(arena_alloc(a, 16));
	assert_int_equal(arena_footprint(a), before);
}

static void test_reset_keeps_one_small_chunk_whatever_was_in_it(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	size_t idle;

	assert_int_equal(arena_new(2048, &a), 0);
	arena_reset(a); /* of an unused one */
	assert_non_null(arena_alloc(a, 10));
	idle = arena_footprint(a);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 1000; i++)
			assert_non_null(arena_alloc(a, 100));
		assert_non_null(arena_alloc(a, 100000));
		arena_reset(a);
		assert_int_equal(arena_footprint(a), idle);
		assert_non_null(arena_alloc(a, 10));
		assert_int_equal(arena_footprint(a), idle);
	}
}

static void test_a_large_first_piece_is_not_kept_by_reset(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;

	assert_int_equal(arena_new(0, &a), 0);
	assert_non_null(arena_alloc(a, 1000000));
	arena_reset(a);
	assert_true(arena_footprint(a) < 2048);
}

static void test_impossible_sizes_give_null(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	void *p, *q;

	assert_int_equal(arena_new(1, &a), 0); /* smaller than makes sense: raised */
	assert_null(arena_alloc(a, SIZE_MAX));
	assert_null(arena_alloc(a, SIZE_MAX - 8));
	assert_null(arena_array(a, SIZE_MAX / 2, 3));
	p = arena_alloc(a, 0);
	q = arena_alloc(a, 0);
	assert_non_null(p);
	assert_ptr_not_equal(p, q);
}

static void test_zeroed_memory_is_zero_also_after_reset(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	unsigned char *p;
	uint32_t *numbers;

	assert_int_equal(arena_new(0, &a), 0);
	p = arena_alloc(a, 500);
	memset(p, 0xff, 500);
	arena_reset(a);
	p = arena_zalloc(a, 400);
	for (int i = 0; i < 400; i++)
		assert_int_equal(p[i], 0);
	numbers = arena_new_array(a, uint32_t, 10);
	for (int i = 0; i < 10; i++)
		assert_int_equal(numbers[i], 0);
}

static void test_texts_are_terminated_copies(void **state)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	char original[] = "hello";
	char *copy, *text;

	assert_int_equal(arena_new(0, &a), 0);
	copy = arena_strdup(a, original);
	original[0] = 'j';
	assert_string_equal(copy, "hello");
	assert_null(arena_strdup(a, NULL));
	assert_string_equal(arena_slice(a, SLICE_NULL), "");
	assert_memory_equal(arena_slice(a, SLICE("a\0b")), "a\0b", 4);
	text = arena_printf(a, "%s-%d-%02000d", "x", 5, 7);
	assert_int_equal(strlen(text), 2004);
	assert_memory_equal(text, "x-5-000", 7);
	assert_int_equal(text[2003], '7');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_are_aligned_and_do_not_overlap),
		cmocka_unit_test(test_an_idle_arena_is_cheap_and_a_busy_one_grows_in_steps),
		cmocka_unit_test(test_a_large_piece_does_not_waste_the_chunk_in_use),
		cmocka_unit_test(test_reset_keeps_one_small_chunk_whatever_was_in_it),
		cmocka_unit_test(test_a_large_first_piece_is_not_kept_by_reset),
		cmocka_unit_test(test_impossible_sizes_give_null),
		cmocka_unit_test(test_zeroed_memory_is_zero_also_after_reset),
		cmocka_unit_test(test_texts_are_terminated_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
