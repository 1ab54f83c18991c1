#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "queue/ladder.h"

#define LADDER(...) \
	((struct ladder) { .n_hops = ARRAY_LEN(((struct hop[]) { __VA_ARGS__ })), .hops = (struct hop[]) { __VA_ARGS__ } })
#define MX { .kind = HOP_MX }
#define RELAY(conditions) { .kind = HOP_RELAY, .when = (conditions) }
#define LATER(after) { .kind = HOP_RELAY, .when = WHEN_DELAYED, .delayed = (after) }

static unsigned next(const struct ladder *l, unsigned rung, enum reply_class class, bool permanent)
{
	unsigned to = 99;

	return ladder_next(l, rung, class, permanent, &to) < 0 ? 99 : to;
}

static void test_a_fault_of_our_path_moves_to_the_rung_that_names_it(void **state)
{
	struct ladder l = LADDER(MX, RELAY(WHEN_UNREACHABLE | WHEN_BLOCKED), RELAY(WHEN_TLS));

	assert_int_equal(next(&l, 0, CLASS_UNREACHABLE, false), 1);
	assert_int_equal(next(&l, 0, CLASS_BLOCKED, false), 1);
	assert_int_equal(next(&l, 0, CLASS_BLOCKED, true), 1); /* also when it was said for good */
	assert_int_equal(next(&l, 0, CLASS_TLS, true), 2);
	assert_int_equal(next(&l, 1, CLASS_TLS, false), 2);
	assert_int_equal(next(&l, 1, CLASS_BLOCKED, true), 99);
	assert_int_equal(next(&l, 2, CLASS_UNREACHABLE, false), 99);
}

static void test_a_fault_of_the_recipient_or_the_content_never_moves(void **state)
{
	static const enum reply_class classes[] = { CLASS_NO_SUCH_USER, CLASS_MAILBOX_FULL, CLASS_SPAM_CONTENT, CLASS_POLICY,
						    CLASS_TOO_BIG, CLASS_OTHER };
	struct ladder l = LADDER(MX, RELAY(WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_TLS | WHEN_THROTTLED), RELAY(WHEN_ANY));

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		assert_int_equal(next(&l, 0, classes[i], true), 99);
}

static void test_any_is_any_temporary_failure(void **state)
{
	struct ladder l = LADDER(MX, RELAY(WHEN_ANY));

	assert_int_equal(next(&l, 0, CLASS_GREYLISTED, false), 1);
	assert_int_equal(next(&l, 0, CLASS_OTHER, false), 1);
	assert_int_equal(next(&l, 0, CLASS_OTHER, true), 99);
	assert_int_equal(next(&l, 0, CLASS_BLOCKED, true), 1);
}

static void test_a_rung_that_opens_by_delay_is_where_a_round_begins(void **state)
{
	struct ladder l = LADDER(MX, LATER(30 * USEC_MIN), LATER(2 * USEC_HOUR));

	assert_int_equal(ladder_start(&l, 0), 0);
	assert_int_equal(ladder_start(&l, 30 * USEC_MIN), 1);
	assert_int_equal(ladder_start(&l, 5 * USEC_HOUR), 2);
	assert_true(ladder_delay(&l, 0) == 30 * USEC_MIN);
	assert_true(ladder_delay(&l, 1) == 2 * USEC_HOUR);
	assert_true(ladder_delay(&l, 2) == 0);
	assert_int_equal(next(&l, 0, CLASS_UNREACHABLE, false), 99);
}

static void test_escapes_are_what_later_rungs_name(void **state)
{
	struct ladder l = LADDER(MX, RELAY(WHEN_BLOCKED), RELAY(WHEN_ANY | WHEN_DELAYED));

	assert_int_equal(ladder_escapes(&l, 0), WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_TLS | WHEN_THROTTLED);
	assert_int_equal(ladder_escapes(&l, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fault_of_our_path_moves_to_the_rung_that_names_it),
		cmocka_unit_test(test_a_fault_of_the_recipient_or_the_content_never_moves),
		cmocka_unit_test(test_any_is_any_temporary_failure),
		cmocka_unit_test(test_a_rung_that_opens_by_delay_is_where_a_round_begins),
		cmocka_unit_test(test_escapes_are_what_later_rungs_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
