/* Replies: what we write and what we read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "smtp/reply.h"

static void expect_format(const struct reply *r, const char *wire)
{
	_cleanup_buffer_ struct buffer out = { 0 };

	reply_format(r, &out);
	assert_string_equal(out.data, wire);
}

static void test_a_reply_has_its_enhanced_code_on_each_line(void **state)
{
	expect_format(&(struct reply) { 250, { 2, 1, 0 }, "OK" }, "250 2.1.0 OK\r\n");
	expect_format(&(struct reply) { 550, { 5, 1, 1 }, "one\ntwo" }, "550-5.1.1 one\r\n550 5.1.1 two\r\n");
	expect_format(&(struct reply) { 220, { 0 }, "mx ESMTP" }, "220 mx ESMTP\r\n");
	expect_format(&(struct reply) { 354, { 0 }, NULL }, "354 \r\n");
}

static void test_control_characters_never_reach_the_wire(void **state)
{
	expect_format(&(struct reply) { 550, { 0 }, "a\rb\x7f" "c\t" }, "550 a b c \r\n");
}

static void test_long_texts_are_split_into_lines_of_512_octets(void **state)
{
	_cleanup_buffer_ struct buffer text = { 0 }, out = { 0 }, joined = { 0 };
	struct reply r = { 550, { 5, 7, 1 }, NULL };
	struct slice rest;

	for (unsigned i = 0; i < 300; i++)
		buffer_printf(&text, "%sword%u", i ? " " : "", i);
	r.text = text.data;
	reply_format(&r, &out);
	rest = buffer_slice(&out);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		assert_true(line.len + 1 <= REPLY_LINE_MAX);
		assert_memory_equal(line.data, rest.len ? "550-5.7.1 " : "550 5.7.1 ", 10);
		if (joined.len)
			buffer_append_char(&joined, ' ');
		buffer_append(&joined, line.data + 10, line.len - 11);
	}
	assert_string_equal(joined.data, text.data);
}

static void test_a_word_without_end_is_cut_but_not_inside_a_character(void **state)
{
	_cleanup_buffer_ struct buffer text = { 0 }, out = { 0 };
	struct reply r = { 550, { 0 }, NULL };
	struct slice rest;

	buffer_append_str(&text, "x");
	for (unsigned i = 0; i < 600; i++)
		buffer_append_str(&text, "\xc3\xa4");
	r.text = text.data;
	reply_format(&r, &out);
	rest = buffer_slice(&out);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		assert_true(line.len + 1 <= REPLY_LINE_MAX);
		assert_true(((unsigned char) line.data[4] & 0xc0) != 0x80);
	}
}

/* --- reading ------------------------------------------------------------------------------------------------ */

struct parsed {
	struct arena *arena;
	struct reply_parser parser;
	int r;
};

static void parse(struct parsed *p, const char *const *lines, size_t n)
{
	assert_int_equal(arena_new(0, &p->arena), 0);
	reply_parser_init(&p->parser, p->arena);
	p->r = -1;
	for (size_t i = 0; i < n; i++)
		p->r = reply_parser_line(&p->parser, slice_from(lines[i]));
}

#define PARSE(p, ...)                                                   \
	do {                                                            \
		const char *const lines[] = { __VA_ARGS__ };            \
		parse((p), lines, ARRAY_LEN(lines));                    \
	} while (0)

static void expect_reply(struct parsed *p, int code, const char *text, const char *line)
{
	char *shown;

	assert_int_equal(p->r, 1);
	assert_int_equal(p->parser.reply.code, code);
	assert_string_equal(p->parser.reply.text, text);
	shown = reply_to_line(&p->parser.reply, p->arena);
	assert_string_equal(shown, line);
	arena_free(p->arena);
}

static void test_replies_of_one_and_more_lines(void **state)
{
	struct parsed p;

	PARSE(&p, "250 OK");
	expect_reply(&p, 250, "OK", "250 OK");
	PARSE(&p, "250");
	expect_reply(&p, 250, "", "250");
	PARSE(&p, "550-5.1.1 No such", "550 5.1.1 user");
	expect_reply(&p, 550, "No such\nuser", "550 5.1.1 No such / user");
	PARSE(&p, "250-", "250 x");
	expect_reply(&p, 250, "\nx", "250  / x");
}

static void test_an_enhanced_code_must_fit_its_reply(void **state)
{
	struct parsed p;

	PARSE(&p, "550 4.1.1 x");
	assert_int_equal(p.parser.reply.enhanced[0], 0);
	arena_free(p.arena);
	PARSE(&p, "250 2.1.5x");
	assert_int_equal(p.parser.reply.enhanced[0], 0);
	assert_string_equal(p.parser.reply.text, "2.1.5x");
	arena_free(p.arena);
	PARSE(&p, "450 4.999.123");
	assert_int_equal(p.parser.reply.enhanced[1], 999);
	assert_int_equal(p.parser.reply.enhanced[2], 123);
	arena_free(p.arena);
}

static void test_the_last_code_counts_when_a_server_mixes_them(void **state)
{
	struct parsed p;

	PARSE(&p, "250-2.0.0 fine", "550 5.7.1 not fine");
	assert_int_equal(p.r, 1);
	assert_int_equal(p.parser.reply.code, 550);
	assert_int_equal(p.parser.reply.enhanced[0], 5);
	arena_free(p.arena);
}

static void test_what_is_no_reply_is_refused(void **state)
{
	static const char *const wrong[] = { "", "2", "25", "abc", "2500", "199 x", "600 x", "25x y", "250_x", "250\tx", " 250 x", "-250 x" };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct parsed p;

		PARSE(&p, wrong[i]);
		assert_int_equal(p.r, -EPROTO);
		arena_free(p.arena);
	}
}

static void test_control_characters_of_a_peer_become_spaces(void **state)
{
	struct parsed p;

	PARSE(&p, "250 a\x1b[31m\tb\x7f");
	expect_reply(&p, 250, "a [31m b ", "250 a [31m b ");
	PARSE(&p, "250 \xff\xc3");
	expect_reply(&p, 250, "??", "250 ??");
	PARSE(&p, "250 gr\xc3\xbc\xc3\x9f");
	expect_reply(&p, 250, "gr\xc3\xbc\xc3\x9f", "250 gr\xc3\xbc\xc3\x9f");
}

static void test_a_reply_without_end_is_given_up(void **state)
{
	struct reply_parser p;
	struct arena *a;
	int r = 0;

	assert_int_equal(arena_new(0, &a), 0);
	reply_parser_init(&p, a);
	for (unsigned i = 0; i < REPLY_LINES_MAX; i++)
		assert_int_equal(reply_parser_line(&p, SLICE("250-more and more and more and more and more")), 0);
	r = reply_parser_line(&p, SLICE("250-more"));
	assert_int_equal(r, -E2BIG);
	assert_true(arena_footprint(a) < 64 * 1024);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_reply_has_its_enhanced_code_on_each_line),
		cmocka_unit_test(test_control_characters_never_reach_the_wire),
		cmocka_unit_test(test_long_texts_are_split_into_lines_of_512_octets),
		cmocka_unit_test(test_a_word_without_end_is_cut_but_not_inside_a_character),
		cmocka_unit_test(test_replies_of_one_and_more_lines),
		cmocka_unit_test(test_an_enhanced_code_must_fit_its_reply),
		cmocka_unit_test(test_the_last_code_counts_when_a_server_mixes_them),
		cmocka_unit_test(test_what_is_no_reply_is_refused),
		cmocka_unit_test(test_control_characters_of_a_peer_become_spaces),
		cmocka_unit_test(test_a_reply_without_end_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
