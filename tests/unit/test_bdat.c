/* BDAT: arguments, counted copying, and what is noticed on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/bdat.h"
#include "unit/script.h"

static void test_arguments_are_a_number_and_maybe_last(void **state)
{
	uint64_t size = 7;
	bool last = true;

	assert_int_equal(bdat_parse(SLICE("1000"), &size, &last), 0);
	assert_int_equal(size, 1000);
	assert_false(last);
	assert_int_equal(bdat_parse(SLICE("0 last"), &size, &last), 0);
	assert_int_equal(size, 0);
	assert_true(last);
	assert_int_equal(bdat_parse(SLICE("5 LAST"), &size, &last), 0);
}

static void test_wrong_arguments_are_refused(void **state)
{
	static const char *const wrong[] = { "", "LAST", "-1", "+1", "1k", "0x10", "1 LASTS", "1 LAST LAST", "1 2", "1 ", "1.0" };
	uint64_t size = 7;
	bool last = false;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(bdat_parse(slice_from(wrong[i]), &size, &last), -EINVAL);
	assert_int_equal(bdat_parse(SLICE("9223372036854775808"), &size, &last), -ERANGE);
	assert_int_equal(bdat_parse(SLICE("99999999999999999999999 LAST"), &size, &last), -ERANGE);
	assert_int_equal(bdat_parse(SLICE("9223372036854775807"), &size, &last), 0);
	assert_int_equal(size, INT64_MAX);
}

static void check_pieces(struct slice content, size_t first, struct content_check *c)
{
	content_check_init(c);
	content_check_feed(c, slice_head(content, first));
	content_check_feed(c, slice_skip(content, first));
	content_check_finish(c);
}

static void test_bare_line_ends_are_noticed_across_chunks(void **state)
{
	static const struct {
		struct slice content;
		unsigned defects;
		uint64_t offset;
		bool crlf;
	} rows[] = {
		{ SLICE("a\r\nb\r\n"), 0, 0, true },
		{ SLICE("a\r\nb"), 0, 0, false },
		{ SLICE(""), 0, 0, false },
		{ SLICE("a\nb\r\n"), CONTENT_BARE_LF, 1, true },
		{ SLICE("a\rb\r\n"), CONTENT_BARE_CR, 1, true },
		{ SLICE("a\r\r\n"), CONTENT_BARE_CR, 1, true },
		{ SLICE("a\r"), CONTENT_BARE_CR, 1, false },
		{ SLICE("\n"), CONTENT_BARE_LF, 0, false },
		{ SLICE("a\0\r\n"), CONTENT_NUL, 1, true },
		{ SLICE("\r\0\n"), CONTENT_BARE_CR | CONTENT_NUL | CONTENT_BARE_LF, 0, false },
		{ SLICE("a\r\n.\r\nb\r\n"), 0, 0, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t first = 0; first <= rows[i].content.len; first++) {
			struct content_check c;

			check_pieces(rows[i].content, first, &c);
			assert_int_equal(c.defects, rows[i].defects);
			if (c.defects)
				assert_int_equal(c.defect_offset, rows[i].offset);
			assert_int_equal(c.octets, rows[i].content.len);
			assert_int_equal(c.ends_with_crlf, rows[i].crlf);
		}
	}
}

struct copy {
	uint64_t size;
	struct content_limits limits;
	struct content_check check;
	struct buffer content;
	bool drop, ended;
	int sink_error, r;
	char rest[32];
};

static int sink_write(void *context, struct slice data)
{
	struct copy *c = context;

	if (c->sink_error)
		return c->sink_error;
	buffer_append_slice(&c->content, data);
	return 0;
}

static void copy_main(struct stream *s, void *arg)
{
	struct copy *c = arg;
	struct content_sink sink = { sink_write, c };

	content_check_init(&c->check);
	c->r = smtp_copy_chunk(s, c->size, &c->check, c->drop ? NULL : &sink, &c->limits, &c->ended);
	slice_copy(stream_peek(s), c->rest, sizeof(c->rest));
}

static void copy_steps(struct copy *c, const struct script_step *steps, size_t n)
{
	struct script script = { .steps = steps, .n_steps = n };

	script_run(&script, copy_main, c);
	buffer_done(&script.written);
}

static const struct script_step steps[] = { { SLICE("abc\r\n.\r\nde"), 0 }, { SLICE("f\r\nBDAT 0 LAST\r\n"), USEC_SEC } };

static void test_exactly_the_announced_octets_are_taken(void **state)
{
	struct copy c = { .size = 13 };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, 0);
	assert_true(c.ended);
	assert_string_equal(c.content.data, "abc\r\n.\r\ndef\r\n");
	assert_string_equal(c.rest, "BDAT 0 LAST\r\n");
	buffer_done(&c.content);
}

static void test_a_chunk_of_nothing_takes_nothing(void **state)
{
	struct copy c = { .size = 0 };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, 0);
	assert_true(c.ended);
	assert_int_equal(c.content.len, 0);
}

static void test_a_refused_chunk_is_read_and_dropped(void **state)
{
	struct copy c = { .size = 13, .drop = true };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, 0);
	assert_true(c.ended);
	assert_string_equal(c.rest, "BDAT 0 LAST\r\n");
}

static void test_a_chunk_that_makes_the_message_too_large_is_drained(void **state)
{
	struct copy c = { .size = 13, .limits.max_octets = 5 };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, -E2BIG);
	assert_true(c.ended);
	assert_true(c.content.len <= 5);
	assert_string_equal(c.rest, "BDAT 0 LAST\r\n");
	buffer_done(&c.content);
}

static void test_a_giant_chunk_is_not_drained_for_ever(void **state)
{
	struct copy c = { .size = UINT64_C(1) << 62, .limits = { .max_octets = 5, .max_drain = 6 } };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, -E2BIG);
	assert_false(c.ended);
	buffer_done(&c.content);
}

static void test_an_error_of_the_sink_comes_after_the_chunk(void **state)
{
	struct copy c = { .size = 13, .sink_error = -ENOSPC };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, -ENOSPC);
	assert_true(c.ended);
	assert_string_equal(c.rest, "BDAT 0 LAST\r\n");
}

static void test_a_client_that_goes_away_inside_a_chunk_is_a_reset(void **state)
{
	struct copy c = { .size = 1000 };

	copy_steps(&c, steps, 2);
	assert_int_equal(c.r, -ECONNRESET);
	assert_false(c.ended);
	buffer_done(&c.content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_are_a_number_and_maybe_last),
		cmocka_unit_test(test_wrong_arguments_are_refused),
		cmocka_unit_test(test_bare_line_ends_are_noticed_across_chunks),
		cmocka_unit_test(test_exactly_the_announced_octets_are_taken),
		cmocka_unit_test(test_a_chunk_of_nothing_takes_nothing),
		cmocka_unit_test(test_a_refused_chunk_is_read_and_dropped),
		cmocka_unit_test(test_a_chunk_that_makes_the_message_too_large_is_drained),
		cmocka_unit_test(test_a_giant_chunk_is_not_drained_for_ever),
		cmocka_unit_test(test_an_error_of_the_sink_comes_after_the_chunk),
		cmocka_unit_test(test_a_client_that_goes_away_inside_a_chunk_is_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
