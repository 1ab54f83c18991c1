/* What the compiler may keep in registers over a call must live through a switch: in contexts of a bare stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory_check.h"
#include "world/context.h"

#ifndef WITH_VALGRIND
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) (void) (id)
#endif

#define STACK_SIZE 65536u
#define ROUNDS 1000u

struct scene {
	struct context home, a, b;
	unsigned rounds, wrong;
	bool aligned;
};

/* No closed form that a compiler finds: it has to keep the number. */
static inline uint64_t step(uint64_t i)
{
	return (i ^ i >> 7) * 5 + 1;
}

static uint64_t after_all_rounds(uint64_t i)
{
	for (unsigned round = 0; round < ROUNDS; round++)
		i = step(i);
	return i;
}

/* Eleven integers and nine floating-point numbers live over each switch: AArch64 keeps ten and eight in registers. */
static _noinline_ unsigned keep_values(struct context *self, struct context *other, uint64_t n)
{
	uint64_t i0 = n, i1 = n + 1, i2 = n + 2, i3 = n + 3, i4 = n + 4, i5 = n + 5, i6 = n + 6, i7 = n + 7, i8 = n + 8,
		 i9 = n + 9, i10 = n + 10;
	double m = (double) n, d0 = m, d1 = m * 3, d2 = m * 5, d3 = m * 7, d4 = m * 11, d5 = m * 13, d6 = m * 17, d7 = m * 19,
	       d8 = m * 23;
	unsigned wrong = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		context_switch(self, other, false);
		i0 = step(i0), i1 = step(i1), i2 = step(i2), i3 = step(i3), i4 = step(i4), i5 = step(i5);
		i6 = step(i6), i7 = step(i7), i8 = step(i8), i9 = step(i9), i10 = step(i10);
		d0++, d1++, d2++, d3++, d4++, d5++, d6++, d7++, d8++;
	}
	wrong += i0 != after_all_rounds(n) || i1 != after_all_rounds(n + 1) || i2 != after_all_rounds(n + 2);
	wrong += i3 != after_all_rounds(n + 3) || i4 != after_all_rounds(n + 4) || i5 != after_all_rounds(n + 5);
	wrong += i6 != after_all_rounds(n + 6) || i7 != after_all_rounds(n + 7) || i8 != after_all_rounds(n + 8);
	wrong += i9 != after_all_rounds(n + 9) || i10 != after_all_rounds(n + 10);
	wrong += d0 != m + ROUNDS || d1 != m * 3 + ROUNDS || d2 != m * 5 + ROUNDS || d3 != m * 7 + ROUNDS;
	wrong += d4 != m * 11 + ROUNDS || d5 != m * 13 + ROUNDS || d6 != m * 17 + ROUNDS || d7 != m * 19 + ROUNDS;
	return wrong + (d8 != m * 23 + ROUNDS);
}

static void run_a(void *arg)
{
	struct scene *s = arg;
	_Alignas(16) volatile char probe[16];

	s->aligned = (uintptr_t) probe % 16 == 0 && (uintptr_t) __builtin_frame_address(0) % 16 == 0;
	s->wrong += keep_values(&s->a, &s->b, 1000003);
	s->rounds++;
	context_switch(&s->a, &s->b, true);
}

static void run_b(void *arg)
{
	struct scene *s = arg;

	s->wrong += keep_values(&s->b, &s->a, 2000003);
	s->rounds++;
	context_switch(&s->b, &s->home, true);
}

static void test_what_lives_in_registers_survives_a_switch(void **state)
{
	struct scene s = { 0 };
	char *a = aligned_alloc(16, STACK_SIZE), *b = aligned_alloc(16, STACK_SIZE);
	unsigned long id_of_a, id_of_b;

	assert_non_null(a);
	assert_non_null(b);
	/* Else Valgrind takes the way from one to the other for a stack that grows, and what lies between for garbage. */
	id_of_a = VALGRIND_STACK_REGISTER(a, a + STACK_SIZE);
	id_of_b = VALGRIND_STACK_REGISTER(b, b + STACK_SIZE);
	context_init_thread(&s.home);
	context_init(&s.a, a, STACK_SIZE, run_a, &s);
	context_init(&s.b, b, STACK_SIZE, run_b, &s);
	context_switch(&s.home, &s.a, false);
	assert_int_equal(s.rounds, 2);
	assert_int_equal(s.wrong, 0);
	assert_true(s.aligned);
	context_done(&s.a);
	context_done(&s.b);
	VALGRIND_STACK_DEREGISTER(id_of_a);
	VALGRIND_STACK_DEREGISTER(id_of_b);
	free(a);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_lives_in_registers_survives_a_switch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
