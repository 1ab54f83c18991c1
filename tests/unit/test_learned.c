/* The file of what was learned of sites: what is written is read again, and what is damaged is not used at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/learned.h"

struct found {
	unsigned n;
	struct learned last;
	char key[LEARNED_KEY_MAX + 1];
};

static int each(const struct learned *l, struct slice key, void *context)
{
	struct found *f = context;

	f->n++;
	f->last = *l;
	slice_copy(key, f->key, sizeof(f->key));
	return 0;
}

static void write_three(struct buffer *b)
{
	unsigned n = 0;

	learned_begin(b);
	n += learned_add(b, &(struct learned) { 3, 20, 0, 0, 0 }, "mx:a.example");
	n += learned_add(b, &(struct learned) { 1, 1, USEC_MIN, 2 * USEC_SEC, 1000 * (wall_t) USEC_SEC }, "mx:b.example,c.example>d.example");
	n += learned_add(b, &(struct learned) { 7, 9, 5000, 250 * USEC_MS, 1764000000 * (wall_t) USEC_SEC }, "lmtp:/run/a socket");
	assert_int_equal(n, 3);
	learned_end(b, n);
	assert_int_equal(buffer_error(b), 0);
}

static void test_what_is_written_is_read_again(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct found f = { 0 };

	write_three(&b);
	assert_int_equal(learned_read(buffer_slice(&b), each, &f), 0);
	assert_int_equal(f.n, 3);
	assert_string_equal(f.key, "lmtp:/run/a socket");
	assert_int_equal(f.last.window, 7);
	assert_int_equal(f.last.threshold, 9);
	assert_true(f.last.interval == 5000);
	assert_true(f.last.usual == 250 * USEC_MS);
	assert_true(f.last.at == 1764000000 * (wall_t) USEC_SEC);
}

static void test_an_empty_one_is_fine(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct found f = { 0 };

	learned_begin(&b);
	learned_end(&b, 0);
	assert_int_equal(learned_read(buffer_slice(&b), each, &f), 0);
	assert_int_equal(f.n, 0);
}

static void test_a_key_that_would_break_the_line_is_left_out(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	assert_int_equal(learned_add(&b, &(struct learned) { .window = 1, .threshold = 1 }, "lmtp:/run/a\nend 1"), 0);
	assert_int_equal(learned_add(&b, &(struct learned) { .window = 1, .threshold = 1 }, ""), 0);
	assert_int_equal(b.len, 0);
}

static void test_any_damage_makes_it_useless(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct found f = { 0 };

	write_three(&b);
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 1;
		assert_int_equal(learned_read(buffer_slice(&b), each, &f), -EBADMSG);
		b.data[i] ^= 1;
		assert_int_equal(learned_read(slice_head(buffer_slice(&b), i), each, &f), -EBADMSG);
	}
	assert_int_equal(f.n, 0);
}

static void assert_not_read(const char *line, unsigned n)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct found f = { 0 };

	learned_begin(&b);
	buffer_append_str(&b, line);
	learned_end(&b, n);
	assert_int_equal(learned_read(buffer_slice(&b), each, &f), -EBADMSG);
}

static void test_numbers_have_limits(void **state)
{
	assert_not_read("0 20 0 0 0 mx:a\n", 1);
	assert_not_read("1 0 0 0 0 mx:a\n", 1);
	assert_not_read("9999999 20 0 0 0 mx:a\n", 1);
	assert_not_read("1 20 99999999999999 0 0 mx:a\n", 1);
	assert_not_read("1 20 0 0 99999999999 mx:a\n", 1);
	assert_not_read("1 20 0 0 -1 mx:a\n", 1);
	assert_not_read("1 20 0 0 0\n", 1);
	assert_not_read("1 20 0 0 0 \n", 1);
	assert_not_read("\n", 1);
	assert_not_read("1 20 0 0 0 mx:a\n", 2);
	assert_not_read("1 20 0 0 0 mx:a\n", 0);
	assert_not_read("", LEARNED_SITES_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read_again),
		cmocka_unit_test(test_an_empty_one_is_fine),
		cmocka_unit_test(test_a_key_that_would_break_the_line_is_left_out),
		cmocka_unit_test(test_any_damage_makes_it_useless),
		cmocka_unit_test(test_numbers_have_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
