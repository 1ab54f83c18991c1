#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wildcard.h"
#include "queue/marks.h"

static const struct hash_key key = { { 1, 2 } };

struct table {
	struct hash names;
};

static int setup(void **state)
{
	struct table *t = calloc(1, sizeof(*t));

	*state = t;
	return t ? 0 : -1;
}

static int teardown(void **state)
{
	struct table *t = *state;

	hash_done(&t->names);
	free(t);
	return 0;
}

static bool may_match(struct table *t, const char *address, const char *pattern)
{
	struct name *domain = name_of(&t->names, &key, address);
	bool may = marks_may_match(marks_of_address(address), domain, pattern);

	name_unref(domain);
	return may;
}

static void test_an_address_that_matches_is_never_ruled_out(void **state)
{
	static const char *const pairs[][2] = {
		{ "bob@example.org", "*bob*" },        { "bob@example.org", "BOB@*" },
		{ "bob@example.org", "bo*" },          { "bob@example.org", "*@example.org" },
		{ "bob@example.org", "*xampl*" },      { "bob@example.org", "b?b@ex*.org" },
		{ "bob@example.org", "bob?example*" }, { "bob@example.org", "*ob@ex*" },
		{ "\"a@b\"@c.org", "*a@b*" },          { "\"a@b\"@c.org", "\"a@b\"@c.org" },
		{ "\"a@b\"@c.org", "*b\"@c*" },        { "postmaster", "post*" },
		{ "postmaster", "postmaster" },        { "postmaster", "*master" },
		{ "", "*" },                           { "", "" },
		{ "a@b", "a@b" },                      { "ab@c", "ab@*" },
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		assert_true(wildcard_match(slice_from(pairs[i][1]), slice_from(pairs[i][0])));
		assert_true(may_match(*state, pairs[i][0], pairs[i][1]));
	}
}

static void random_text(char *out, const char *letters, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		out[i] = letters[(unsigned) rand() % strlen(letters)];
	out[len] = '\0';
}

static void test_random_addresses_that_match_are_never_ruled_out(void **state)
{
	unsigned matched = 0;

	srand(5);
	for (int round = 0; round < 300000; round++) {
		char pattern[10], address[14];

		random_text(pattern, "abAB@*?*\".", (unsigned) rand() % 9);
		random_text(address, "abAB@.abAB\"", (unsigned) rand() % 13);
		if (!wildcard_match(slice_from(pattern), slice_from(address)))
			continue;
		matched++;
		if (!may_match(*state, address, pattern))
			fail_msg("%s matches %s and was ruled out", address, pattern);
	}
	assert_true(matched > 10000);
}

/* What the marks are for: of a hundred thousand few remain to be read. */
static unsigned remaining(struct table *t, const char *pattern)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 100000; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%06u@domain%u.example", i, i % 500);
		n += may_match(t, address, pattern);
	}
	return n;
}

static void test_a_part_of_a_name_rules_most_out(void **state)
{
	assert_in_range(remaining(*state, "*bobby*"), 0, 2000);
	assert_in_range(remaining(*state, "*alice.smith*"), 0, 100);
	assert_in_range(remaining(*state, "*bob*"), 0, 40000);
	assert_in_range(remaining(*state, "bob@*"), 0, 1000);
	assert_in_range(remaining(*state, "al@*"), 0, 10000);
	assert_int_equal(remaining(*state, "*user*"), 100000);
	assert_in_range(remaining(*state, "*main499*"), 200, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_address_that_matches_is_never_ruled_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_addresses_that_match_are_never_ruled_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_part_of_a_name_rules_most_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
