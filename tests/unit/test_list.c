#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int value;
	struct link link;
};

static void assert_order(const struct list *l, const int *values, size_t n)
{
	size_t i = 0;
	const struct link *k;

	for (k = list_first(l); k; k = list_next(l, k))
		assert_int_equal(container_of(k, struct item, link)->value, values[i++]);
	assert_int_equal(i, n);
	for (k = l->head.prev; k != &l->head; k = k->prev) /* the ring is whole backwards, too */
		assert_int_equal(container_of(k, struct item, link)->value, values[--i]);
	assert_int_equal(i, 0);
}

static void test_items_keep_their_order(void **state)
{
	struct item a = { .value = 1 }, b = { .value = 2 }, c = { .value = 3 };
	struct list l;

	list_init(&l);
	assert_true(list_empty(&l));
	assert_null(list_first(&l));
	assert_null(list_last(&l));
	assert_null(list_pop(&l));
	list_append(&l, &b.link);
	list_append(&l, &c.link);
	list_prepend(&l, &a.link);
	assert_order(&l, (int[]) { 1, 2, 3 }, 3);
	assert_ptr_equal(list_last(&l), &c.link);
	assert_ptr_equal(list_pop(&l), &a.link);
	assert_false(link_linked(&a.link));
	link_remove(&c.link);
	link_remove(&c.link); /* twice does nothing */
	assert_order(&l, (int[]) { 2 }, 1);
}

static void test_items_may_be_removed_while_walking(void **state)
{
	struct item items[10] = { 0 };
	struct list l;
	int seen = 0;

	list_init(&l);
	for (int i = 0; i < 10; i++) {
		items[i].value = i;
		list_append(&l, &items[i].link);
	}
	for (LIST_EACH_SAFE(&l, k)) {
		if (container_of(k, struct item, link)->value % 2)
			link_remove(k);
		seen++;
	}
	assert_int_equal(seen, 10);
	assert_order(&l, (int[]) { 0, 2, 4, 6, 8 }, 5);
	for (LIST_EACH(&l, k))
		seen++;
	assert_int_equal(seen, 15);
}

static void test_splice_moves_everything_to_the_end(void **state)
{
	struct item a = { .value = 1 }, b = { .value = 2 }, c = { .value = 3 };
	struct list to, from;

	list_init(&to);
	list_init(&from);
	list_splice(&to, &from);
	assert_true(list_empty(&to));
	list_append(&from, &b.link);
	list_append(&from, &c.link);
	list_append(&to, &a.link);
	list_splice(&to, &from);
	assert_true(list_empty(&from));
	assert_order(&to, (int[]) { 1, 2, 3 }, 3);
	list_splice(&from, &to);
	assert_order(&from, (int[]) { 1, 2, 3 }, 3);
	assert_true(list_empty(&to));
}

/* Against an array: random ends and random removals. */
static void test_random_changes_match_an_array(void **state)
{
	enum { N = 64 };
	struct item items[N] = { 0 };
	int model[N];
	size_t len = 0;
	struct list l;

	srand(4);
	list_init(&l);
	for (int i = 0; i < N; i++)
		items[i].value = i;
	for (int round = 0; round < 20000; round++) {
		int i = rand() % N;
		size_t at = 0;

		if (!link_linked(&items[i].link) && rand() % 2) {
			list_append(&l, &items[i].link);
			model[len++] = i;
		} else if (!link_linked(&items[i].link)) {
			list_prepend(&l, &items[i].link);
			memmove(model + 1, model, len++ * sizeof(int));
			model[0] = i;
		} else {
			link_remove(&items[i].link);
			while (model[at] != i)
				at++;
			len--;
			memmove(model + at, model + at + 1, (len - at) * sizeof(int));
		}
		assert_order(&l, model, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_items_keep_their_order),
		cmocka_unit_test(test_items_may_be_removed_while_walking),
		cmocka_unit_test(test_splice_moves_everything_to_the_end),
		cmocka_unit_test(test_random_changes_match_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
