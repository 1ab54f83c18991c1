#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/suggest.h"

static const char *const keys[] = {
	"hostname", "spool", "trusted", "listen", "tls", "domains", "relays", "routes", "dns", "deliver", "queue",
	"limits", "admin", "log", "to", "from", "message_size", "recipients", "connections", "via", "when",
};

static const char *nearest(const char *word)
{
	return suggest_nearest(slice_from(word), keys, ARRAY_LEN(keys));
}

static void test_slips_of_the_finger_find_their_key(void **state)
{
	assert_string_equal(nearest("hostnmae"), "hostname");
	assert_string_equal(nearest("host_name"), "hostname");
	assert_string_equal(nearest("Hostname"), "hostname");
	assert_string_equal(nearest("spol"), "spool");
	assert_string_equal(nearest("form"), "from");
	assert_string_equal(nearest("listne"), "listen");
	assert_string_equal(nearest("tsl"), "tls");
	assert_string_equal(nearest("domain"), "domains");
	assert_string_equal(nearest("mesage_sise"), "message_size");
	assert_string_equal(nearest("message-size"), "message_size");
	assert_string_equal(nearest("reciepient"), "recipients");
	assert_string_equal(nearest("whne"), "when");
}

static void test_what_is_far_from_all_gets_no_suggestion(void **state)
{
	char longest[100];

	assert_null(nearest(""));
	assert_null(nearest("x"));
	assert_null(nearest("zebra"));
	assert_null(nearest("certificate"));
	assert_null(suggest_nearest(SLICE("to"), keys, 0));
	memset(longest, 'a', sizeof(longest));
	assert_null(suggest_nearest(slice_new(longest, sizeof(longest)), keys, ARRAY_LEN(keys)));
}

static void test_the_nearest_wins_and_then_the_first(void **state)
{
	static const char *const words[] = { "relay", "relays", "replay", "delays" };

	assert_string_equal(suggest_nearest(SLICE("relays"), words, 4), "relays");
	assert_string_equal(suggest_nearest(SLICE("relayx"), words, 4), "relay");
	assert_string_equal(suggest_nearest(SLICE("delay"), words, 4), "relay");
}

static void test_long_words_are_compared_up_to_their_limit(void **state)
{
	char word[64], other[65];
	const char *candidates[] = { other };

	memset(word, 'a', 63);
	memset(other, 'a', 63);
	word[63] = other[63] = other[64] = '\0';
	word[30] = 'b';
	assert_ptr_equal(suggest_nearest(slice_from(word), candidates, 1), other);
	other[63] = 'a';
	assert_null(suggest_nearest(slice_from(word), candidates, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slips_of_the_finger_find_their_key),
		cmocka_unit_test(test_what_is_far_from_all_gets_no_suggestion),
		cmocka_unit_test(test_the_nearest_wins_and_then_the_first),
		cmocka_unit_test(test_long_words_are_compared_up_to_their_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
