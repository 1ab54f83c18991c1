#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wildcard.h"

static bool match(const char *pattern, const char *text)
{
	return wildcard_match(slice_from(pattern), slice_from(text));
}

static void test_patterns_of_routes(void **state)
{
	assert_true(match("*.lan.example", "host.lan.example"));
	assert_true(match("*.lan.example", "a.b.LAN.Example"));
	assert_false(match("*.lan.example", "lan.example"));
	assert_false(match("*.lan.example", "host.lan.example.org"));
	assert_true(match("*", ""));
	assert_true(match("*", "anything"));
	assert_true(match("*@example.org", "Alice@EXAMPLE.org"));
	assert_true(match("news-?@*", "news-7@example.org"));
	assert_false(match("news-?@*", "news-@example.org"));
	assert_false(match("news-?@*", "news-77@example.org"));
	assert_true(match("", ""));
	assert_false(match("", "x"));
	assert_false(match("?", ""));
	assert_true(match("a*b*c", "aXbYbZc"));
	assert_false(match("a*b*c", "aXbYbZ"));
	assert_true(match("**a**", "a"));
	assert_true(wildcard_match(SLICE("a?c"), SLICE("a\0c")));
	assert_true(wildcard_match(SLICE_NULL, SLICE_NULL));
}

static bool by_definition(const char *p, const char *t)
{
	if (*p == '\0')
		return *t == '\0';
	if (*p == '*')
		return by_definition(p + 1, t) || (*t && by_definition(p, t + 1));
	return *t && (*p == '?' || ascii_lower(*p) == ascii_lower(*t)) && by_definition(p + 1, t + 1);
}

static void test_random_patterns_match_the_definition(void **state)
{
	unsigned matched = 0;

	srand(17);
	for (int round = 0; round < 200000; round++) {
		char pattern[9] = "", text[11] = "";
		int plen = rand() % 9, tlen = rand() % 11;

		for (int i = 0; i < plen; i++)
			pattern[i] = "ab*?AB*"[rand() % 7];
		for (int i = 0; i < tlen; i++)
			text[i] = "abAB"[rand() % 4];
		assert_int_equal(match(pattern, text), by_definition(pattern, text));
		matched += match(pattern, text);
	}
	assert_true(matched > 10000);
}

/* With exponential time this test would not end. */
static void test_a_hostile_pattern_costs_little(void **state)
{
	char pattern[401];
	_cleanup_(freep) char *text = malloc(5001);

	for (int i = 0; i < 400; i += 2)
		memcpy(pattern + i, "a*", 2);
	pattern[399] = 'b';
	pattern[400] = '\0';
	memset(text, 'a', 5000);
	text[5000] = '\0';
	assert_false(match(pattern, text));
	text[4999] = 'b';
	pattern[399] = '*';
	assert_true(match(pattern, text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns_of_routes),
		cmocka_unit_test(test_random_patterns_match_the_definition),
		cmocka_unit_test(test_a_hostile_pattern_costs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
