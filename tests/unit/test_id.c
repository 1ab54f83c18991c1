#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

#define NOW (INT64_C(1795406706) * 1000000)

static void test_ids_of_one_source_always_grow(void **state)
{
	struct id_source source = { .maker = 3 };
	wall_t now = NOW;
	msgid_t last = MSGID_NONE;

	srand(11);
	for (int i = 0; i < 600000; i++) {
		msgid_t id = id_next(&source, now);

		assert_true(id > last);
		assert_int_equal(id >> 18 & 15, 3);
		last = id;
		if (i % 1000 == 0)
			now += rand() % 5000 - 2500; /* the clock also steps back */
	}
}

static void test_a_full_millisecond_goes_on_in_the_next(void **state)
{
	struct id_source source = { .maker = 15 };
	msgid_t first = id_next(&source, NOW), id = first;

	for (int i = 0; i < 1 << 18; i++)
		id = id_next(&source, NOW);
	assert_int_equal(id_time(first), NOW);
	assert_int_equal(id_time(id), NOW + 1000);
}

static void test_two_makers_never_make_the_same(void **state)
{
	struct id_source a = { .maker = 1 }, b = { .maker = 2 };
	msgid_t x = 0, y = 0;

	for (int i = 0; i < 300000; i++) {
		x = id_next(&a, NOW);
		y = id_next(&b, NOW);
		assert_int_equal(x >> 18 & 15, 1);
		assert_int_equal(y >> 18 & 15, 2);
	}
}

static void test_nothing_at_or_below_the_floor_is_made(void **state)
{
	for (unsigned maker = 0; maker < 16; maker++) {
		for (unsigned other = 0; other < 16; other++) {
			struct id_source from = { .maker = other }, source = { .maker = maker };
			msgid_t highest = id_next(&from, NOW + 5000000), id;

			id_floor(&source, highest);
			id_floor(&source, 1); /* a lower floor changes nothing */
			id = id_next(&source, NOW);
			assert_true(id > highest);
			assert_int_equal(id >> 18 & 15, maker);
			assert_true(id_time(id) <= NOW + 5001000);
		}
	}
}

static void test_no_id_is_zero_and_none_comes_twice_at_the_end(void **state)
{
	struct id_source early = { 0 }, late = { .maker = 15 };

	assert_true(id_next(&early, 0) != MSGID_NONE); /* a clock before 2020 */
	assert_true(id_next(&early, -5) == 2);
	id_floor(&late, UINT64_MAX);
	assert_true(id_next(&late, NOW) == MSGID_NONE);
	late.last = UINT64_MAX - 1;
	assert_true(id_next(&late, INT64_MAX) == UINT64_MAX);
	assert_true(id_next(&late, INT64_MAX) == MSGID_NONE);
}

static void test_text_sorts_like_numbers_and_reads_back(void **state)
{
	msgid_t previous = 0;
	char before[MSGID_TEXT], text[MSGID_TEXT], upper[MSGID_TEXT];

	srand(12);
	id_format(0, before);
	assert_string_equal(before, "0000000000000");
	for (int i = 0; i < 20000; i++) {
		msgid_t id = ((msgid_t) rand() << 33 ^ (msgid_t) rand() << 11 ^ (msgid_t) rand()) | 1, back;

		assert_string_equal(id_format(id, text), text);
		assert_int_equal(strlen(text), 13);
		assert_true((strcmp(before, text) < 0) == (previous < id));
		assert_null(strpbrk(text, "ilou"));
		assert_int_equal(id_parse(slice_from(text), &back), 0);
		assert_true(back == id);
		for (int k = 0; k < MSGID_TEXT; k++)
			upper[k] = (char) (text[k] >= 'a' && text[k] <= 'z' ? text[k] - 32 : text[k]);
		assert_int_equal(id_parse(slice_from(upper), &back), 0);
		assert_true(back == id);
		memcpy(before, text, sizeof(text));
		previous = id;
	}
	assert_string_equal(id_format(UINT64_MAX, text), "fzzzzzzzzzzzz");
}

static void test_what_is_no_id_is_refused(void **state)
{
	static const char *const bad[] = { "", "000000000000", "00000000000000", "g000000000000", "zzzzzzzzzzzzz",
					   "000000000000i", "000000000000l", "000000000000o", "000000000000u",
					   "000000000000-", " 000000000000", "00000000\xff" "0000" };
	msgid_t id = 7;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(id_parse(slice_from(bad[i]), &id), -EINVAL);
	assert_int_equal(id_parse(slice_new("000000\0" "000000", 13), &id), -EINVAL);
	assert_true(id == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_of_one_source_always_grow),
		cmocka_unit_test(test_a_full_millisecond_goes_on_in_the_next),
		cmocka_unit_test(test_two_makers_never_make_the_same),
		cmocka_unit_test(test_nothing_at_or_below_the_floor_is_made),
		cmocka_unit_test(test_no_id_is_zero_and_none_comes_twice_at_the_end),
		cmocka_unit_test(test_text_sorts_like_numbers_and_reads_back),
		cmocka_unit_test(test_what_is_no_id_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
