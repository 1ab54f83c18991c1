#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/fair.h"

struct thing {
	struct fair_item item;
	unsigned sender, number;
};

static struct thing *pop(struct fair *f)
{
	struct fair_item *i = fair_pop(f);

	return i ? container_of(i, struct thing, item) : NULL;
}

static void push(struct fair *f, struct thing *t, unsigned sender, unsigned number)
{
	*t = (struct thing) { .sender = sender, .number = number };
	fair_push(f, &t->item, sender, 0);
}

static void test_one_sender_is_first_in_first_out(void **state)
{
	struct thing things[10];
	struct fair f;

	fair_init(&f);
	for (unsigned i = 0; i < 10; i++)
		push(&f, &things[i], 7, i);
	assert_int_equal(f.len, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(pop(&f)->number, i);
	assert_null(pop(&f));
	assert_int_equal(f.len, 0);
	fair_done(&f);
}

static void test_a_newsletter_delays_a_password_reset_by_one(void **state)
{
	enum { MANY = 10000 };
	struct thing *newsletter = calloc(MANY, sizeof(*newsletter));
	struct thing reset;
	struct fair f;

	assert_non_null(newsletter);
	fair_init(&f);
	for (unsigned i = 0; i < MANY; i++)
		push(&f, &newsletter[i], 1, i);
	push(&f, &reset, 2, 0);
	assert_int_equal(pop(&f)->sender, 1);
	assert_int_equal(pop(&f)->sender, 2);
	for (unsigned i = 1; i < MANY; i++)
		assert_int_equal(pop(&f)->number, i);
	fair_done(&f);
	free(newsletter);
}

static void test_senders_take_turns(void **state)
{
	struct thing things[3][4];
	struct fair f;

	fair_init(&f);
	for (unsigned s = 0; s < 3; s++)
		for (unsigned i = 0; i < 4; i++)
			push(&f, &things[s][i], s, i);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned s = 0; s < 3; s++) {
			struct thing *t = pop(&f);

			assert_int_equal(t->sender, s);
			assert_int_equal(t->number, i);
		}
	fair_done(&f);
}

static void test_what_is_removed_does_not_come(void **state)
{
	struct thing a, b, c;
	struct fair f;

	fair_init(&f);
	push(&f, &a, 1, 0);
	push(&f, &b, 1, 1);
	push(&f, &c, 2, 0);
	assert_true(fair_waits(&c.item));
	fair_remove(&f, &c.item);
	fair_remove(&f, &c.item);
	assert_false(fair_waits(&c.item));
	fair_remove(&f, &a.item);
	assert_ptr_equal(pop(&f), &b);
	assert_null(pop(&f));
	fair_done(&f);
}

static void test_random_use_keeps_every_item_once(void **state)
{
	enum { MANY = 500 };
	struct thing things[MANY] = { 0 };
	bool in[MANY] = { false };
	unsigned seed = 42, count = 0;
	struct fair f;

	fair_init(&f);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i;

		seed = seed * 1103515245 + 12345;
		i = (seed >> 8) % MANY;
		if (!in[i]) {
			push(&f, &things[i], (seed >> 20) % 40, i);
			in[i] = true;
			count++;
		} else if (seed & 0x10000) {
			fair_remove(&f, &things[i].item);
			in[i] = false;
			count--;
		} else {
			struct thing *t = pop(&f);

			assert_non_null(t);
			assert_true(in[t->number]);
			in[t->number] = false;
			count--;
		}
		assert_int_equal(f.len, count);
	}
	fair_done(&f);
}

static void test_a_higher_priority_goes_first_and_senders_take_turns_within(void **state)
{
	static const struct { unsigned sender; int priority; } in[] = {
		{ 1, 0 }, { 1, 0 }, { 2, 0 }, { 1, 9 }, { 1, 9 }, { 2, 9 }, { 3, -9 }, { 3, 4 }, { 1, 9 },
	};
	static const unsigned order[] = { 3, 5, 4, 8, 7, 0, 2, 1, 6 };
	struct thing things[ARRAY_LEN(in)];
	struct fair f;

	fair_init(&f);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < ARRAY_LEN(in); i++) {
			things[i] = (struct thing) { .sender = in[i].sender, .number = i };
			fair_push(&f, &things[i].item, in[i].sender, in[i].priority);
		}
		fair_remove(&f, &things[7].item); /* alone in its level */
		fair_push(&f, &things[7].item, 3, 4);
		assert_int_equal(f.len, ARRAY_LEN(in));
		for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
			assert_ptr_equal(fair_first(&f), &things[order[i]].item);
			assert_int_equal(pop(&f)->number, order[i]);
		}
		assert_null(pop(&f));
	}
	for (unsigned i = 0; i < ARRAY_LEN(in); i++)
		fair_push(&f, &things[i].item, in[i].sender, in[i].priority);
	fair_done(&f); /* with things in it: nothing leaks */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_sender_is_first_in_first_out),
		cmocka_unit_test(test_a_newsletter_delays_a_password_reset_by_one),
		cmocka_unit_test(test_senders_take_turns),
		cmocka_unit_test(test_what_is_removed_does_not_come),
		cmocka_unit_test(test_a_higher_priority_goes_first_and_senders_take_turns_within),
		cmocka_unit_test(test_random_use_keeps_every_item_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
