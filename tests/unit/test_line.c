/* Reading lines: strict about their ends, and never out of step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/line.h"
#include "unit/script.h"
#include "world/fiber.h"

/* Reads lines until the stream ends; each result as text: the line, or the error and the defects. */
struct session {
	struct buffer seen;
	size_t max;
	bool accept_bare_lf;
	int last;
	usec_t took;
};

static void session_main(struct stream *s, void *arg)
{
	struct session *c = arg;
	struct line_reader r;
	struct slice line;

	line_reader_init(&r, s);
	r.accept_bare_lf = c->accept_bare_lf;
	for (;;) {
		usec_t start = now();

		c->last = smtp_read_line(&r, c->max, start + USEC_MIN, &line);
		c->took = now() - start;
		if (c->last == 0)
			buffer_printf(&c->seen, "[%.*s]", SLICE_ARG(line));
		else if (c->last == -EBADMSG)
			buffer_printf(&c->seen, "(bad %u)", r.defects);
		else if (c->last == -E2BIG)
			buffer_append_str(&c->seen, "(long)");
		else
			break;
	}
}

static void read_steps(struct session *c, const struct script_step *steps, size_t n, bool silent)
{
	struct script script = { .steps = steps, .n_steps = n, .silent = silent };

	if (!c->max)
		c->max = 20;
	script_run(&script, session_main, c);
	buffer_append_str(&c->seen, "");
	buffer_done(&script.written);
}

/* The same for one text, split at every place. */
static void expect(struct slice wire, const char *seen, int last)
{
	for (size_t at = 0; at <= wire.len; at++) {
		struct script_step steps[2] = { { slice_head(wire, at), 0 }, { slice_skip(wire, at), 0 } };
		struct session c = { 0 };
		size_t from = at == 0, n = 2 - from - (at == wire.len && at > 0);

		read_steps(&c, steps + from, wire.len ? n : 0, false);
		assert_string_equal(c.seen.data, seen);
		assert_int_equal(c.last, last);
		buffer_done(&c.seen);
	}
}

static void test_lines_end_with_crlf(void **state)
{
	expect(SLICE("EHLO a\r\nQUIT\r\n"), "[EHLO a][QUIT]", -ENODATA);
	expect(SLICE("\r\n\r\n"), "[][]", -ENODATA);
	expect(SLICE(""), "", -ENODATA);
	expect(SLICE("EHLO a"), "", -ECONNRESET);
	expect(SLICE("EHLO a\r"), "", -ECONNRESET);
}

static void test_a_bare_lf_never_ends_a_line(void **state)
{
	expect(SLICE("EHLO a\nMAIL b\r\nQUIT\r\n"), "(bad 2)[QUIT]", -ENODATA);
	expect(SLICE("\nQUIT\r\nA\r\n"), "(bad 2)[A]", -ENODATA);
}

static void test_a_bare_cr_never_ends_a_line(void **state)
{
	expect(SLICE("EHLO a\rMAIL b\r\nQUIT\r\n"), "(bad 1)[QUIT]", -ENODATA);
	expect(SLICE("EHLO\r\r\nQUIT\r\n"), "(bad 1)[QUIT]", -ENODATA);
	expect(SLICE("\n\r\r\n"), "(bad 3)", -ENODATA);
}

static void test_a_nul_is_refused(void **state)
{
	expect(SLICE("EH\0LO\r\nQUIT\r\n"), "(bad 4)[QUIT]", -ENODATA);
}

static void test_a_line_of_the_limit_is_taken_and_a_longer_one_passed_over(void **state)
{
	expect(SLICE("01234567890123456789\r\nA\r\n"), "[01234567890123456789][A]", -ENODATA);
	expect(SLICE("012345678901234567890\r\nA\r\n"), "(long)[A]", -ENODATA);
	expect(SLICE("0123456789012345678901234567890123456789\r\nA\r\n"), "(long)[A]", -ENODATA);
	expect(SLICE("0123456789012345678901234567890\n123456789\r\nA\r\n"), "(bad 2)[A]", -ENODATA);
}

static void test_a_line_longer_than_any_buffer_is_one_error(void **state)
{
	_cleanup_buffer_ struct buffer wire = { 0 };
	struct session c = { .max = 1000 };
	struct script_step step;

	for (unsigned i = 0; i < 200000; i++)
		buffer_append_char(&wire, 'x');
	buffer_append_str(&wire, "\r\nQUIT\r\n");
	step = (struct script_step) { buffer_slice(&wire), 0 };
	read_steps(&c, &step, 1, false);
	assert_string_equal(c.seen.data, "(long)[QUIT]");
	buffer_done(&c.seen);
}

static void test_a_line_without_end_is_given_up(void **state)
{
	_cleanup_buffer_ struct buffer wire = { 0 };
	struct session c = { .max = 1000 };
	struct script_step step;

	for (unsigned i = 0; i < LINE_DROP_MAX + STREAM_BUFFER; i++)
		buffer_append_char(&wire, i % 2 ? '\n' : 'x');
	step = (struct script_step) { buffer_slice(&wire), 0 };
	read_steps(&c, &step, 1, false);
	assert_string_equal(c.seen.data, "");
	assert_int_equal(c.last, -EMSGSIZE);
	buffer_done(&c.seen);
}

static void test_who_waits_behind_a_bare_lf_gets_an_answer_after_a_second(void **state)
{
	struct script_step steps[] = { { SLICE("NOOP\n"), 0 }, { SLICE("QUIT\r\n"), 2 * USEC_SEC } };
	struct session c = { 0 };

	read_steps(&c, steps, 2, false);
	assert_string_equal(c.seen.data, "(bad 2)[QUIT]");
	buffer_done(&c.seen);
}

static void test_what_follows_a_bare_lf_soon_belongs_to_its_line(void **state)
{
	struct script_step steps[] = { { SLICE("RCPT TO:<a\n"), 0 }, { SLICE("MAIL FROM:<b>\r\nQUIT\r\n"), USEC_SEC / 2 } };
	struct session c = { 0 };

	read_steps(&c, steps, 2, false);
	assert_string_equal(c.seen.data, "(bad 2)[QUIT]");
	buffer_done(&c.seen);
}

static void test_silence_is_a_time_out(void **state)
{
	struct script_step steps[] = { { SLICE("NOOP\r\nQU"), 0 } };
	struct session c = { 0 };

	read_steps(&c, steps, 1, true);
	assert_string_equal(c.seen.data, "[NOOP]");
	assert_int_equal(c.last, -ETIMEDOUT);
	assert_int_equal(c.took, USEC_MIN);
	buffer_done(&c.seen);
}

static void test_replies_may_come_with_bare_lfs(void **state)
{
	struct script_step steps[] = { { SLICE("250-a\n250 b\r\n\n"), 0 } };
	struct session c = { .accept_bare_lf = true };

	read_steps(&c, steps, 1, false);
	assert_string_equal(c.seen.data, "[250-a][250 b][]");
	buffer_done(&c.seen);
}

struct answer {
	struct reply reply;
	struct arena *arena;
	int r;
};

static void reply_main(struct stream *s, void *arg)
{
	struct answer *a = arg;
	struct line_reader r;

	line_reader_init(&r, s);
	a->r = smtp_read_reply(&r, a->arena, now() + USEC_MIN, &a->reply);
}

static void test_a_reply_is_read_whole(void **state)
{
	struct script_step steps[] = { { SLICE("250-mx.example.org\r\n250-SI"), 0 }, { SLICE("ZE 100\r\n250 DSN\r\n"), USEC_SEC } };
	struct script script = { .steps = steps, .n_steps = 2 };
	struct answer a = { 0 };

	assert_int_equal(arena_new(0, &a.arena), 0);
	script_run(&script, reply_main, &a);
	assert_int_equal(a.r, 0);
	assert_int_equal(a.reply.code, 250);
	assert_string_equal(a.reply.text, "mx.example.org\nSIZE 100\nDSN");
	arena_free(a.arena);
}

static void test_what_is_no_reply_is_an_error(void **state)
{
	struct script_step steps[] = { { SLICE("SSH-2.0-x\r\n"), 0 } };
	struct script script = { .steps = steps, .n_steps = 1 };
	struct answer a = { 0 };

	assert_int_equal(arena_new(0, &a.arena), 0);
	script_run(&script, reply_main, &a);
	assert_int_equal(a.r, -EPROTO);
	arena_free(a.arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_end_with_crlf),
		cmocka_unit_test(test_a_bare_lf_never_ends_a_line),
		cmocka_unit_test(test_a_bare_cr_never_ends_a_line),
		cmocka_unit_test(test_a_nul_is_refused),
		cmocka_unit_test(test_a_line_of_the_limit_is_taken_and_a_longer_one_passed_over),
		cmocka_unit_test(test_a_line_longer_than_any_buffer_is_one_error),
		cmocka_unit_test(test_a_line_without_end_is_given_up),
		cmocka_unit_test(test_who_waits_behind_a_bare_lf_gets_an_answer_after_a_second),
		cmocka_unit_test(test_what_follows_a_bare_lf_soon_belongs_to_its_line),
		cmocka_unit_test(test_silence_is_a_time_out),
		cmocka_unit_test(test_replies_may_come_with_bare_lfs),
		cmocka_unit_test(test_a_reply_is_read_whole),
		cmocka_unit_test(test_what_is_no_reply_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
