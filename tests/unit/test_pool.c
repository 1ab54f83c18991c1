#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"

#define PIECES 5000u

static void test_pieces_are_zeroed_and_lie_apart(void **state)
{
	static unsigned char *pieces[PIECES];
	struct pool p;

	pool_init(&p, 165);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < PIECES; i++) {
			pieces[i] = pool_take(&p);
			assert_non_null(pieces[i]);
			assert_int_equal((uintptr_t) pieces[i] % 8, 0);
			for (unsigned n = 0; n < 165; n++)
				assert_int_equal(pieces[i][n], 0);
			memset(pieces[i], (int) (i % 255) + 1, 165);
		}
		assert_int_equal(p.used, PIECES);
		for (unsigned i = 0; i < PIECES; i++)
			for (unsigned n = 0; n < 165; n++)
				assert_int_equal(pieces[i][n], i % 255 + 1);
		for (unsigned i = 0; i < PIECES; i++)
			pool_give(pieces[(i * 7919 + round) % PIECES]);
		assert_int_equal(p.used, 0);
	}
	pool_done(&p);
}

static void test_empty_slabs_go_back_and_little_is_wasted(void **state)
{
	static void *pieces[PIECES];
	struct pool p;
	size_t slabs;

	pool_init(&p, 168);
	for (unsigned i = 0; i < PIECES; i++)
		pieces[i] = pool_take(&p);
	slabs = p.slabs;
	assert_true(slabs * 32768 <= PIECES * 178 + 32768);
	/* What is taken after something was given back takes its place. */
	for (unsigned i = 0; i < PIECES; i += 2)
		pool_give(pieces[i]);
	for (unsigned i = 0; i < PIECES; i += 2)
		pieces[i] = pool_take(&p);
	assert_int_equal(p.slabs, slabs);
	for (unsigned i = PIECES; i > 0; i--)
		pool_give(pieces[i - 1]);
	assert_int_equal(p.slabs, 1);
	pool_give(NULL);
	pool_done(&p);
	assert_int_equal(p.slabs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_are_zeroed_and_lie_apart),
		cmocka_unit_test(test_empty_slabs_go_back_and_little_is_wasted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
