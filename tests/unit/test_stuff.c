/* Sending content: dots, stray line ends, and the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/stuff.h"
#include "unit/script.h"

/* All output for the input cut at two places. */
static void stuff_with(bool bare_lf, enum stuff_mode mode, struct slice in, size_t first, size_t second, struct buffer *out,
		       struct stuffer *t)
{
	struct slice pieces[3] = { slice_head(in, first), slice_skip(slice_head(in, second), first), slice_skip(in, second) };
	struct slice run;

	stuffer_init(t, mode);
	t->bare_lf = bare_lf;
	for (size_t i = 0; i < 3; i++) {
		char *copy = malloc(pieces[i].len + 1);
		struct slice piece = slice_new(copy, pieces[i].len);

		memcpy(copy, pieces[i].len ? pieces[i].data : "", pieces[i].len);
		while (stuffer_next(t, &piece, &run))
			buffer_append_slice(out, run);
		assert_int_equal(piece.len, 0);
		free(copy);
	}
	buffer_append_slice(out, stuffer_finish(t));
}

static void stuff(enum stuff_mode mode, struct slice in, size_t first, size_t second, struct buffer *out, struct stuffer *t)
{
	stuff_with(false, mode, in, first, second, out, t);
}

struct row {
	struct slice in;
	const char *data, *bdat;
	unsigned replaced, dots;
};

static const struct row rows[] = {
	{ SLICE(""), ".\r\n", "", 0, 0 },
	{ SLICE("a"), "a\r\n.\r\n", "a", 0, 0 },
	{ SLICE("a\r\n"), "a\r\n.\r\n", "a\r\n", 0, 0 },
	{ SLICE("\r\n"), "\r\n.\r\n", "\r\n", 0, 0 },
	{ SLICE("."), "..\r\n.\r\n", ".", 0, 1 },
	{ SLICE(".\r\n"), "..\r\n.\r\n", ".\r\n", 0, 1 },
	{ SLICE("a\r\n.\r\nb\r\n"), "a\r\n..\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", 0, 1 },
	{ SLICE("a\r\n..b\r\n"), "a\r\n...b\r\n.\r\n", "a\r\n..b\r\n", 0, 1 },
	{ SLICE("a.b\r\n"), "a.b\r\n.\r\n", "a.b\r\n", 0, 0 },
	{ SLICE("a\n.\nMAIL"), "a . MAIL\r\n.\r\n", "a . MAIL", 2, 0 },
	{ SLICE("a\n.\r\nMAIL"), "a .\r\nMAIL\r\n.\r\n", "a .\r\nMAIL", 1, 0 },
	{ SLICE("a\r\n.\nMAIL"), "a\r\n.. MAIL\r\n.\r\n", "a\r\n. MAIL", 1, 1 },
	{ SLICE("a\r.\rMAIL"), "a . MAIL\r\n.\r\n", "a . MAIL", 2, 0 },
	{ SLICE("a\r\n.\rMAIL"), "a\r\n.. MAIL\r\n.\r\n", "a\r\n. MAIL", 1, 1 },
	{ SLICE("a\r\r\n.\r\nM"), "a \r\n..\r\nM\r\n.\r\n", "a \r\n.\r\nM", 1, 1 },
	{ SLICE("a\r"), "a \r\n.\r\n", "a ", 1, 0 },
	{ SLICE("a\n"), "a \r\n.\r\n", "a ", 1, 0 },
	{ SLICE("a\r\n\r"), "a\r\n \r\n.\r\n", "a\r\n ", 1, 0 },
	{ SLICE("\n."), " .\r\n.\r\n", " .", 1, 0 },
	{ SLICE("\r."), " .\r\n.\r\n", " .", 1, 0 },
};

static void test_every_row_however_it_is_split(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t first = 0; first <= rows[i].in.len; first++) {
			for (size_t second = first; second <= rows[i].in.len; second++) {
				_cleanup_buffer_ struct buffer data = { 0 }, bdat = { 0 };
				struct stuffer t;

				stuff(STUFF_DATA, rows[i].in, first, second, &data, &t);
				assert_string_equal(data.data, rows[i].data);
				assert_int_equal(t.replaced, rows[i].replaced);
				assert_int_equal(t.dots, rows[i].dots);
				stuff(STUFF_BDAT, rows[i].in, first, second, &bdat, &t);
				buffer_append_str(&bdat, "");
				assert_string_equal(bdat.data ? bdat.data : "", rows[i].bdat);
			}
		}
	}
}

/* Of content in which LFs alone are line ends. */
static void test_lfs_alone_become_line_ends_in_data_and_stay_in_bdat(void **state)
{
	static const struct {
		const char *in, *data, *bdat;
	} bare[] = {
		{ "a\nb\n", "a\r\nb\r\n.\r\n", "a\nb\n" },
		{ "a\n.\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n", "a\n.\nMAIL" },
		{ "a\n.\r\nMAIL\r\n", "a\r\n..\r\nMAIL\r\n.\r\n", "a\n.\r\nMAIL\r\n" },
		{ "a\r\n\n\n.", "a\r\n\r\n\r\n..\r\n.\r\n", "a\r\n\n\n." },
		{ "\n", "\r\n.\r\n", "\n" },
		{ "a\rb\n\r", "a b\r\n \r\n.\r\n", "a b\n " },
		{ "a\r\r\n\nb", "a \r\n\r\nb\r\n.\r\n", "a \r\n\nb" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bare); i++)
		for (size_t first = 0; first <= strlen(bare[i].in); first++)
			for (size_t second = first; second <= strlen(bare[i].in); second++) {
				_cleanup_buffer_ struct buffer data = { 0 }, bdat = { 0 };
				struct stuffer t;

				stuff_with(true, STUFF_DATA, slice_from(bare[i].in), first, second, &data, &t);
				assert_string_equal(data.data, bare[i].data);
				stuff_with(true, STUFF_BDAT, slice_from(bare[i].in), first, second, &bdat, &t);
				assert_string_equal(bdat.data, bare[i].bdat);
				assert_int_equal(bdat.len, strlen(bare[i].in)); /* what BDAT has said */
			}
}

static void test_random_octets_never_leave_as_stray_line_ends_or_a_false_end(void **state)
{
	static const char alphabet[] = { 'a', '.', '\r', '\n', '.', '\n', '\r', '\0' };
	unsigned short seed[3] = { 7, 8, 9 };

	for (unsigned round = 0; round < 20000; round++) {
		_cleanup_buffer_ struct buffer data = { 0 }, bdat = { 0 };
		char in[100];
		size_t len = (size_t) nrand48(seed) % sizeof(in), first, second;
		struct stuffer t;

		for (size_t i = 0; i < len; i++)
			in[i] = alphabet[(size_t) nrand48(seed) % sizeof(alphabet)];
		first = len ? (size_t) nrand48(seed) % len : 0;
		second = first + (len > first ? (size_t) nrand48(seed) % (len - first) : 0);
		stuff(STUFF_DATA, slice_new(in, len), first, second, &data, &t);
		for (size_t i = 0; i < data.len; i++) {
			if (data.data[i] == '\r')
				assert_int_equal(data.data[i + 1], '\n');
			if (data.data[i] == '\n')
				assert_int_equal(i > 0 ? data.data[i - 1] : 0, '\r');
		}
		/* The end stands at the end, and nowhere else. */
		assert_true(data.len >= 3);
		assert_memory_equal(data.data + data.len - 3, ".\r\n", 3);
		assert_ptr_equal(memmem(data.data, data.len, "\r\n.\r\n", 5),
				 data.len == 3 ? NULL : data.data + data.len - 5);
		stuff(STUFF_BDAT, slice_new(in, len), first, second, &bdat, &t);
		assert_int_equal(bdat.len, len);
	}
}

static void stream_main(struct stream *s, void *arg)
{
	struct stuffer t;

	stuffer_init(&t, STUFF_DATA);
	assert_int_equal(stuffer_put(&t, s, SLICE("a\r"), DEADLINE_NEVER), 0);
	assert_int_equal(stuffer_put(&t, s, SLICE("\n.b\r\n"), DEADLINE_NEVER), 0);
	assert_int_equal(stuffer_end(&t, s, DEADLINE_NEVER), 0);
	assert_int_equal(stream_flush(s, DEADLINE_NEVER), 0);
}

static void test_a_stream_gets_the_same(void **state)
{
	struct script script = { 0 };

	script_run(&script, stream_main, NULL);
	assert_string_equal(script.written.data, "a\r\n..b\r\n.\r\n");
	buffer_done(&script.written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lfs_alone_become_line_ends_in_data_and_stay_in_bdat),
		cmocka_unit_test(test_every_row_however_it_is_split),
		cmocka_unit_test(test_random_octets_never_leave_as_stray_line_ends_or_a_false_end),
		cmocka_unit_test(test_a_stream_gets_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
