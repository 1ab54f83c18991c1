#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/duplicates.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct duplicates *table;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25", &f->host, &f->world), 0);
	assert_int_equal(duplicates_new(f->world, 100, &f->table), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	duplicates_free(f->table);
	world_free(f->world);
	sim_free(f->sim);
	free(f);
	return 0;
}

static struct duplicate_key key_of(struct fixture *f, const char *client, const char *sender, const char *a, const char *b, const char *content)
{
	struct envelope_recipient recipients[2] = { { .address = a }, { .address = b } };
	const struct envelope e = { .reverse_path = sender, .recipients = recipients, .n_recipients = b ? 2 : 1 };
	struct duplicate_key key;
	struct digest d;

	duplicates_begin(f->table, &d);
	digest_feed(&d, slice_from(content));
	duplicates_key(f->table, client, &e, &d, &key);
	return key;
}

static bool is_known(struct fixture *f, struct duplicate_key key, msgid_t expected)
{
	msgid_t id;

	if (!duplicates_find(f->table, &key, &id))
		return false;
	assert_true(id == expected);
	return true;
}

static void test_all_of_it_must_be_the_same(void **state)
{
	struct fixture *f = *state;
	struct duplicate_key key = key_of(f, "192.0.2.1", "a@x", "b@y", "c@y", "hello");

	assert_false(is_known(f, key, 0));
	duplicates_remember(f->table, &key, 77, USEC_MIN);
	assert_true(is_known(f, key_of(f, "192.0.2.1", "a@x", "b@y", "c@y", "hello"), 77));
	assert_true(is_known(f, key_of(f, "192.0.2.1", "a@x", "c@y", "b@y", "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.2", "a@x", "b@y", "c@y", "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.1", "", "b@y", "c@y", "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.1", "a@x", "b@y", NULL, "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.1", "a@x", "b@y", "b@y", "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.1", "b@y", "a@x", "c@y", "hello"), 77));
	assert_false(is_known(f, key_of(f, "192.0.2.1", "a@x", "b@y", "c@y", "hello "), 77));
}

static void test_it_is_forgotten_after_its_window(void **state)
{
	struct fixture *f = *state;
	struct duplicate_key key = key_of(f, "192.0.2.1", "a@x", "b@y", NULL, "hello");
	struct duplicates_counts n;

	duplicates_remember(f->table, &key, 77, USEC_MIN);
	sim_run(f->sim, sim_now(f->sim) + 59 * USEC_SEC);
	assert_true(is_known(f, key, 77));
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_SEC);
	assert_false(is_known(f, key, 77));
	duplicates_count(f->table, &n);
	assert_int_equal(n.remembered, 0);
	assert_int_equal(n.recognized, 1);
	duplicates_remember(f->table, &key, 78, 0);
	assert_false(is_known(f, key, 78));
}

static void test_the_table_is_bounded_and_the_oldest_goes_first(void **state)
{
	struct fixture *f = *state;
	struct duplicates_counts n;
	char text[32];

	for (unsigned i = 0; i < 250; i++) {
		struct duplicate_key key;

		snprintf(text, sizeof(text), "content %u", i);
		key = key_of(f, "192.0.2.1", "a@x", "b@y", NULL, text);
		duplicates_remember(f->table, &key, i + 1, USEC_MIN);
	}
	duplicates_count(f->table, &n);
	assert_true(n.remembered >= 99 && n.remembered <= 100);
	for (unsigned i = 0; i < 250; i++) {
		snprintf(text, sizeof(text), "content %u", i);
		if (i != 150)
			assert_int_equal(is_known(f, key_of(f, "192.0.2.1", "a@x", "b@y", NULL, text), i + 1), i > 150);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_all_of_it_must_be_the_same),
		T(test_it_is_forgotten_after_its_window),
		T(test_the_table_is_bounded_and_the_oldest_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
