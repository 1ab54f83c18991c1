/* The content behind DATA: every known smuggling sequence, split at every octet; and the driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "smtp/data.h"
#include "smtp/scan.h"
#include "smtp/stuff.h"
#include "unit/script.h"
#include "world/fiber.h"

/* --- the parser ------------------------------------------------------------------------------------------ */

struct parsed {
	struct data_parser parser;
	struct buffer content;
	bool ended;
	size_t used; /* octets taken up to and with the end */
};

static void feed(struct parsed *p, struct slice piece)
{
	struct slice rest = piece, run;
	enum data_event event;

	while ((event = data_parser_next(&p->parser, &rest, &run)) == DATA_RUN)
		buffer_append_slice(&p->content, run);
	p->used += piece.len - rest.len;
	p->ended = event == DATA_END;
	if (!p->ended)
		assert_int_equal(rest.len, 0);
}

/* Each piece is copied to memory of its own, so that reading beyond it is seen. */
static void feed_copy(struct parsed *p, struct slice piece)
{
	char *copy;

	if (piece.len == 0 || p->ended)
		return;
	copy = malloc(piece.len);
	assert_non_null(copy);
	memcpy(copy, piece.data, piece.len);
	feed(p, slice_new(copy, piece.len));
	free(copy);
}

static void parse_at(struct slice wire, size_t first, size_t second, struct parsed *ret)
{
	*ret = (struct parsed) { 0 };
	data_parser_init(&ret->parser);
	feed_copy(ret, slice_head(wire, first));
	feed_copy(ret, slice_skip(slice_head(wire, second), first));
	feed_copy(ret, slice_skip(wire, second));
}

struct row {
	struct slice wire;
	bool ends;
	struct slice content;
	unsigned defects;
	uint64_t offset; /* of the first defect */
};

#define BARE_CR CONTENT_BARE_CR
#define BARE_LF CONTENT_BARE_LF

static const struct row rows[] = {
	/* The end. */
	{ SLICE("a\r\n.\r\n"), true, SLICE("a\r\n"), 0, 0 },
	{ SLICE(".\r\n"), true, SLICE(""), 0, 0 },
	{ SLICE("\r\n.\r\n"), true, SLICE("\r\n"), 0, 0 },
	{ SLICE("a\r\n\r\n.\r\n"), true, SLICE("a\r\n\r\n"), 0, 0 },
	/* Dots. */
	{ SLICE("..\r\n.\r\n"), true, SLICE(".\r\n"), 0, 0 },
	{ SLICE("a\r\n..b\r\n.\r\n"), true, SLICE("a\r\n.b\r\n"), 0, 0 },
	{ SLICE("a\r\n.b\r\n.\r\n"), true, SLICE("a\r\nb\r\n"), 0, 0 },
	{ SLICE("a\r\n...\r\n.\r\n"), true, SLICE("a\r\n..\r\n"), 0, 0 },
	{ SLICE("a.\r\n.\r\n"), true, SLICE("a.\r\n"), 0, 0 },
	{ SLICE("a\r\n. \r\n.\r\n"), true, SLICE("a\r\n \r\n"), 0, 0 },
	/* Never an end: one row for each sequence that some server took for one. */
	{ SLICE("a\n.\nMAIL\r\n"), false, SLICE("a\n.\nMAIL\r\n"), BARE_LF, 1 },
	{ SLICE("a\n.\r\nMAIL\r\n"), false, SLICE("a\n.\r\nMAIL\r\n"), BARE_LF, 1 },
	{ SLICE("a\r\n.\nMAIL\r\n"), false, SLICE("a\r\n\nMAIL\r\n"), BARE_LF, 3 },
	{ SLICE("a\r.\rMAIL\r\n"), false, SLICE("a\r.\rMAIL\r\n"), BARE_CR, 1 },
	{ SLICE("a\r.\nMAIL\r\n"), false, SLICE("a\r.\nMAIL\r\n"), BARE_CR | BARE_LF, 1 },
	{ SLICE("a\r\n.\rMAIL\r\n"), false, SLICE("a\r\n\rMAIL\r\n"), BARE_CR, 3 },
	{ SLICE("a\r.\r\nMAIL\r\n"), false, SLICE("a\r.\r\nMAIL\r\n"), BARE_CR, 1 },
	{ SLICE("a\r\n.\r\r\nMAIL\r\n"), false, SLICE("a\r\n\r\r\nMAIL\r\n"), BARE_CR, 3 },
	{ SLICE("a\r\r\n.\r\nMAIL\r\n"), false, SLICE("a\r\r\n.\r\nMAIL\r\n"), BARE_CR, 1 },
	{ SLICE("a\r\r\n.\r\r\nMAIL\r\n"), false, SLICE("a\r\r\n.\r\r\nMAIL\r\n"), BARE_CR, 1 },
	{ SLICE("a\r\r\r\n.\r\nMAIL\r\n"), false, SLICE("a\r\r\r\n.\r\nMAIL\r\n"), BARE_CR, 1 },
	{ SLICE("a\n\r\n\r.\r\nMAIL\r\n"), false, SLICE("a\n\r\n\r.\r\nMAIL\r\n"), BARE_CR | BARE_LF, 1 },
	{ SLICE("a\n\r.\n\rMAIL\r\n"), false, SLICE("a\n\r.\n\rMAIL\r\n"), BARE_CR | BARE_LF, 1 },
	{ SLICE("a\r\n\0.\r\nMAIL\r\n"), false, SLICE("a\r\n\0.\r\nMAIL\r\n"), CONTENT_NUL, 3 },
	{ SLICE("a\r\n.\0\r\nMAIL\r\n"), false, SLICE("a\r\n\0\r\nMAIL\r\n"), CONTENT_NUL, 3 },
	{ SLICE("a\r\0\n.\r\nMAIL\r\n"), false, SLICE("a\r\0\n.\r\nMAIL\r\n"), BARE_CR | CONTENT_NUL | BARE_LF, 1 },
	{ SLICE("a\r\n.\r\0\nMAIL\r\n"), false, SLICE("a\r\n\r\0\nMAIL\r\n"), BARE_CR | CONTENT_NUL | BARE_LF, 3 },
	{ SLICE("\n.\r\nMAIL\r\n"), false, SLICE("\n.\r\nMAIL\r\n"), BARE_LF, 0 },
	{ SLICE(".\nMAIL\r\n"), false, SLICE("\nMAIL\r\n"), BARE_LF, 0 },
	{ SLICE(".\rMAIL\r\n"), false, SLICE("\rMAIL\r\n"), BARE_CR, 0 },
	{ SLICE("\r.\r\nMAIL\r\n"), false, SLICE("\r.\r\nMAIL\r\n"), BARE_CR, 0 },
	{ SLICE("a\x85.\x85MAIL\r\n"), false, SLICE("a\x85.\x85MAIL\r\n"), 0, 0 },
	/* A dot behind something that is no line end is content. */
	{ SLICE("a\n..b\r\n"), false, SLICE("a\n..b\r\n"), BARE_LF, 1 },
	{ SLICE("a\r..b\r\n"), false, SLICE("a\r..b\r\n"), BARE_CR, 1 },
	{ SLICE("a\r\r\n..b\r\n"), false, SLICE("a\r\r\n..b\r\n"), BARE_CR, 1 },
};

static void check_row(const struct row *row, const struct parsed *p, size_t wire_len)
{
	assert_int_equal(p->ended, row->ends);
	assert_int_equal(p->used, wire_len);
	assert_int_equal(p->content.len, row->content.len);
	if (row->content.len > 0)
		assert_memory_equal(p->content.data, row->content.data, row->content.len);
	assert_int_equal(p->parser.defects, row->defects);
	if (row->defects)
		assert_int_equal(p->parser.defect_offset, row->offset);
	assert_int_equal(p->parser.octets, row->content.len);
	assert_int_equal(p->parser.received, wire_len);
}

static void test_only_crlf_dot_crlf_ends_the_data_however_it_is_split(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t first = 0; first <= rows[i].wire.len; first++) {
			for (size_t second = first; second <= rows[i].wire.len; second++) {
				struct parsed p;

				parse_at(rows[i].wire, first, second, &p);
				check_row(&rows[i], &p, rows[i].wire.len);
				buffer_done(&p.content);
			}
		}
	}
}

static void test_after_every_bad_sequence_the_real_end_is_found(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_buffer_ struct buffer wire = { 0 };

		if (rows[i].ends)
			continue;
		buffer_append_slice(&wire, rows[i].wire);
		buffer_append_str(&wire, "RCPT TO:<x>\r\n.\r\nQUIT\r\n");
		for (size_t first = 0; first <= wire.len; first++) {
			struct parsed p;

			parse_at(buffer_slice(&wire), first, first, &p);
			assert_true(p.ended);
			assert_int_equal(p.used <= wire.len, true);
			assert_memory_equal(wire.data + p.parser.received, "QUIT\r\n", 6);
			assert_int_equal(p.parser.defects, rows[i].defects);
			buffer_done(&p.content);
		}
	}
}

static void test_bad_sequences_deep_inside_long_lines_are_found(void **state)
{
	for (size_t pad = 50; pad < 200; pad += 1) {
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			_cleanup_buffer_ struct buffer wire = { 0 };
			struct parsed p = { 0 };

			for (size_t k = 0; k < pad; k++)
				buffer_append_char(&wire, k % 70 == 69 ? '.' : 'x');
			buffer_append_str(&wire, "\r\n");
			buffer_append_slice(&wire, rows[i].wire);
			data_parser_init(&p.parser);
			feed(&p, buffer_slice(&wire));
			assert_int_equal(p.ended, rows[i].ends);
			assert_int_equal(p.parser.defects, rows[i].defects);
			if (rows[i].defects)
				assert_int_equal(p.parser.defect_offset, rows[i].offset + pad + 2);
			assert_int_equal(p.content.len, rows[i].content.len + pad + 2);
			buffer_done(&p.content);
		}
	}
}

static void test_octets_above_127_are_noticed_before_a_line_end_too(void **state)
{
	struct parsed p;

	parse_at(SLICE("abc\r\n.\r\n"), 0, 0, &p);
	assert_false(p.parser.eight_bit);
	buffer_done(&p.content);
	parse_at(SLICE("ab\xe4\r\n.\r\n"), 0, 0, &p);
	assert_true(p.parser.eight_bit);
	buffer_done(&p.content);
}

static void test_scanning_finds_the_first_control_at_every_place(void **state)
{
	static const char controls[] = { '\r', '\n', '\0' };

	for (size_t len = 0; len < 200; len++) {
		for (size_t at = 0; at <= len; at++) {
			char *data = malloc(len + 1);
			bool eight_bit = false;

			memset(data, '\v', len); /* close to the ones that are looked for */
			for (size_t i = at; i < len; i++)
				data[i] = i == at ? controls[(len + at) % 3] : (char) 0x8d;
			data = realloc(data, len ? len : 1);
			assert_int_equal(scan_text(data, len, &eight_bit), at);
			assert_false(eight_bit);
			if (at > 0) {
				data[at - 1] = (char) 0x8a;
				assert_int_equal(scan_text(data, len, &eight_bit), at);
				assert_true(eight_bit);
			}
			free(data);
		}
	}
}

/* The vectors of this processor and those of any: the same place, and the same about it, for blocks with one octet out of
 * place anywhere, and for flawless ones. */
static void test_all_ways_of_scanning_agree(void **state)
{
	static const char odd[] = { 'a', '\r', '\n', '\0', '.', '\x8d' };
	char data[256];

	for (unsigned round = 0; round < sizeof(data) * sizeof(odd) * 4; round++) {
		struct scan_place one = { .line_start = round % 2, .after_cr = round % 3 == 0 }, other = one;
		bool dots = round % 5 > 1, high_one = false, high_other = false;
		size_t start = round % 7, n;

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = i % 19 == 17 ? '\r' : i % 19 == 18 ? '\n' : 'a';
		data[round % sizeof(data)] = odd[round / sizeof(data) % sizeof(odd)];
		n = scan_flawless(data + start, sizeof(data) - start, dots, &one, &high_one);
		assert_int_equal(scan_flawless_everywhere(data + start, sizeof(data) - start, dots, &other, &high_other), n);
		assert_int_equal(one.line_start, other.line_start);
		assert_int_equal(one.after_cr, other.after_cr);
		assert_int_equal(high_one, high_other);
	}
}

/* Random octets of the interesting kind, stuffed, and undone in random pieces. */
static void test_what_is_stuffed_comes_out_again(void **state)
{
	static const char alphabet[] = { 'a', '.', '\r', '\n', 'b', '.', '\n', '\r', '\xe4' };
	unsigned short seed[3] = { 1, 2, 3 };

	for (unsigned round = 0; round < 3000; round++) {
		_cleanup_buffer_ struct buffer original = { 0 }, wire = { 0 };
		size_t len = (size_t) nrand48(seed) % 200;
		struct stuffer t;
		struct slice rest, run;
		struct parsed p = { 0 };

		for (size_t i = 0; i < len; i++) {
			char c = alphabet[(size_t) nrand48(seed) % sizeof(alphabet)];

			/* only whole line ends: what else there is gets replaced */
			if (c == '\r' || c == '\n')
				buffer_append_str(&original, "\r\n");
			else
				buffer_append_char(&original, c);
		}
		stuffer_init(&t, STUFF_DATA);
		rest = buffer_slice(&original);
		while (rest.len > 0) {
			size_t n = 1 + (size_t) nrand48(seed) % rest.len;
			struct slice piece = slice_head(rest, n);

			while (stuffer_next(&t, &piece, &run))
				buffer_append_slice(&wire, run);
			rest = slice_skip(rest, n);
		}
		buffer_append_slice(&wire, stuffer_finish(&t));
		assert_int_equal(t.replaced, 0);
		if (original.len > 0 && original.data[original.len - 1] != '\n')
			buffer_append_str(&original, "\r\n");
		data_parser_init(&p.parser);
		rest = buffer_slice(&wire);
		while (rest.len > 0) {
			size_t n = 1 + (size_t) nrand48(seed) % rest.len;

			feed(&p, slice_head(rest, n));
			rest = slice_skip(rest, n);
		}
		assert_true(p.ended);
		assert_int_equal(p.parser.defects, 0);
		assert_int_equal(p.content.len, original.len);
		if (original.len > 0)
			assert_memory_equal(p.content.data, original.data, original.len);
		buffer_done(&p.content);
	}
}

/* The same machine written down in the dullest way, octet by octet. */
static bool dull_parse(struct slice wire, struct buffer *content, size_t *ret_used)
{
	bool line_start = true;

	for (size_t i = 0; i < wire.len; i++) {
		const char *p = wire.data + i;
		size_t left = wire.len - i;

		if (line_start && *p == '.') {
			if (left >= 3 && p[1] == '\r' && p[2] == '\n') {
				*ret_used = i + 3;
				return true;
			}
			line_start = false;
			continue;
		}
		buffer_append_char(content, *p);
		line_start = *p == '\n' && i >= 1 && p[-1] == '\r' && !(i >= 2 && p[-2] == '\r');
	}
	return false;
}

static void test_the_fast_machine_agrees_with_a_dull_one(void **state)
{
	static const char alphabet[] = { 'a', '.', '\r', '\n', '\0', '.', '\n', '\r' };
	unsigned short seed[3] = { 4, 5, 6 };

	for (unsigned round = 0; round < 20000; round++) {
		_cleanup_buffer_ struct buffer expected = { 0 };
		char wire[120];
		size_t len = (size_t) nrand48(seed) % sizeof(wire), first, used = len;
		struct parsed p;
		bool ended;

		for (size_t i = 0; i < len; i++)
			wire[i] = alphabet[(size_t) nrand48(seed) % sizeof(alphabet)];
		/* whole line ends are rare by chance */
		for (size_t i = 1; i < len; i++)
			if (wire[i - 1] == '\r' && nrand48(seed) % 2)
				wire[i] = '\n';
		ended = dull_parse(slice_new(wire, len), &expected, &used);
		first = len ? (size_t) nrand48(seed) % len : 0;
		parse_at(slice_new(wire, len), first, first, &p);
		assert_int_equal(p.ended, ended);
		assert_int_equal(p.used, used);
		if (ended) { /* else a dot and a CR may still be held back */
			assert_int_equal(p.content.len, expected.len);
			if (expected.len > 0)
				assert_memory_equal(p.content.data, expected.data, expected.len);
		}
		buffer_done(&p.content);
	}
}

static void test_what_a_careless_client_may_hold_for_an_end_is_recognised(void **state)
{
	static const struct {
		struct slice wire;
		bool looks;
	} cases[] = {
		{ SLICE("a\n.\n"), true },      { SLICE("a\n.\r\n"), true },      { SLICE("a\r\n.\n"), true },
		{ SLICE("a\r\r\n.\r\n"), true }, { SLICE("a\r\n.\r\r\n"), true }, { SLICE("a\r.\r"), true },
		{ SLICE(".\n"), true },         { SLICE("a\n."), false },        { SLICE("a.\n"), false },
		{ SLICE("a\n"), false },        { SLICE("aaaaaaa.\n"), false },  { SLICE("aaaaaaaaaaaaaaaaa.\r\n"), false },
		{ SLICE(""), false },           { SLICE("\n"), false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (size_t first = 0; first <= cases[i].wire.len; first++) {
			struct parsed p;

			parse_at(cases[i].wire, first, first, &p);
			assert_int_equal(data_parser_looks_ended(&p.parser), cases[i].looks);
			buffer_done(&p.content);
		}
	}
}

/* --- the driver ---------------------------------------------------------------------------------------------- */

struct copy {
	struct content_limits limits;
	struct content_result result;
	struct buffer content;
	int sink_error;
	int r;
	char rest[32]; /* what was left in the stream */
	usec_t took;
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
	usec_t start = now();

	c->r = smtp_copy_data(s, &sink, &c->limits, &c->result);
	c->took = now() - start;
	slice_copy(stream_peek(s), c->rest, sizeof(c->rest));
}

static void copy_steps(struct copy *c, const struct script_step *steps, size_t n, bool silent)
{
	struct script script = { .steps = steps, .n_steps = n, .silent = silent };

	script_run(&script, copy_main, c);
	buffer_done(&script.written);
}

static void test_content_is_copied_and_what_follows_stays_in_the_stream(void **state)
{
	struct script_step steps[] = { { SLICE("Subject: x\r\n\r\n..a\r"), 0 }, { SLICE("\n.\r\nQUIT\r\n"), USEC_SEC } };
	struct copy c = { 0 };

	copy_steps(&c, steps, 2, false);
	assert_int_equal(c.r, 0);
	assert_true(c.result.ended);
	assert_string_equal(c.content.data, "Subject: x\r\n\r\n.a\r\n");
	assert_int_equal(c.result.octets, c.content.len);
	assert_string_equal(c.rest, "QUIT\r\n");
	buffer_done(&c.content);
}

static void test_defective_content_is_read_to_its_end_and_refused(void **state)
{
	struct script_step steps[] = { { SLICE("a\r\nb\n.\r\nMAIL FROM:<x@y>\r\n"), 0 }, { SLICE("c\r\n.\r\nQUIT\r\n"), 3 * USEC_SEC } };
	struct copy c = { 0 };

	copy_steps(&c, steps, 2, false);
	assert_int_equal(c.r, -EBADMSG);
	assert_true(c.result.ended);
	assert_int_equal(c.result.defects, CONTENT_BARE_LF);
	assert_int_equal(c.result.defect_offset, 4);
	assert_string_equal(c.rest, "QUIT\r\n");
	buffer_done(&c.content);
}

static void test_tolerated_defects_pass_to_the_real_end_and_others_do_not(void **state)
{
	struct script_step steps[] = { { SLICE("a\nb\n.\r\nc"), 0 }, { SLICE("\r\r\n.\r\nd\r\n.\r\nQUIT\r\n"), USEC_SEC } };
	struct script_step nul[] = { { SLICE("a\nb\0\r\n.\r\n"), 0 } };
	struct copy c = { .limits.tolerated = CONTENT_BARE_LF | CONTENT_BARE_CR };
	struct copy d = { .limits.tolerated = CONTENT_BARE_LF | CONTENT_BARE_CR };

	copy_steps(&c, steps, 2, false);
	assert_int_equal(c.r, 0);
	assert_true(c.result.ended);
	assert_int_equal(c.result.defects, CONTENT_BARE_LF | CONTENT_BARE_CR);
	assert_string_equal(c.content.data, "a\nb\n.\r\nc\r\r\n.\r\nd\r\n");
	assert_string_equal(c.rest, "QUIT\r\n");
	buffer_done(&c.content);
	copy_steps(&d, nul, 1, false);
	assert_int_equal(d.r, -EBADMSG);
	buffer_done(&d.content);
}

static void test_a_false_end_is_refused_also_where_its_defects_are_tolerated(void **state)
{
	struct script_step steps[] = { { SLICE("a\nb\n.\n"), 0 } };
	struct copy c = { .limits = { .idle_timeout = 5 * USEC_MIN, .tolerated = CONTENT_BARE_LF | CONTENT_BARE_CR } };

	copy_steps(&c, steps, 1, true);
	assert_int_equal(c.r, -EBADMSG);
	assert_false(c.result.ended);
	assert_int_equal(c.took, 5 * USEC_SEC);
	buffer_done(&c.content);
}

static void test_a_client_that_waits_behind_a_false_end_gets_its_refusal_soon(void **state)
{
	struct script_step steps[] = { { SLICE("a\nb\n.\r\n"), 0 } };
	struct copy c = { .limits.idle_timeout = 5 * USEC_MIN };

	copy_steps(&c, steps, 1, true);
	assert_int_equal(c.r, -EBADMSG);
	assert_false(c.result.ended);
	assert_int_equal(c.took, 5 * USEC_SEC);
	buffer_done(&c.content);
}

static void test_a_client_that_falls_silent_times_out(void **state)
{
	struct script_step steps[] = { { SLICE("a\r\nb"), 0 } };
	struct copy c = { .limits.idle_timeout = 2 * USEC_MIN };

	copy_steps(&c, steps, 1, true);
	assert_int_equal(c.r, -ETIMEDOUT);
	assert_false(c.result.ended);
	assert_int_equal(c.took, 2 * USEC_MIN);
	buffer_done(&c.content);
}

static void test_a_client_that_goes_away_is_a_reset(void **state)
{
	struct script_step steps[] = { { SLICE("a\r\n.\r"), 0 } };
	struct copy c = { 0 };

	copy_steps(&c, steps, 1, false);
	assert_int_equal(c.r, -ECONNRESET);
	assert_false(c.result.ended);
	buffer_done(&c.content);
}

static void test_too_large_content_is_drained_to_its_end(void **state)
{
	struct script_step steps[] = { { SLICE("0123456789\r\n0123456789\r\n"), 0 }, { SLICE("more\r\n.\r\nQUIT\r\n"), 0 } };
	struct copy c = { .limits.max_octets = 12 };

	copy_steps(&c, steps, 2, false);
	assert_int_equal(c.r, -E2BIG);
	assert_true(c.result.ended);
	assert_true(c.content.len <= 12);
	assert_string_equal(c.rest, "QUIT\r\n");
	buffer_done(&c.content);
}

static void test_exactly_the_limit_is_taken(void **state)
{
	struct script_step steps[] = { { SLICE("0123456789\r\n.\r\n"), 0 } };
	struct copy c = { .limits.max_octets = 12 };

	copy_steps(&c, steps, 1, false);
	assert_int_equal(c.r, 0);
	assert_int_equal(c.content.len, 12);
	buffer_done(&c.content);
}

static void test_draining_has_an_end(void **state)
{
	struct script_step steps[40];
	struct copy c = { .limits = { .max_octets = 10, .max_drain = 100 } };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		steps[i] = (struct script_step) { SLICE("0123456789\r\n"), 0 };
	copy_steps(&c, steps, ARRAY_LEN(steps), false);
	assert_int_equal(c.r, -E2BIG);
	assert_false(c.result.ended);
	assert_true(c.result.octets < 200);
	buffer_done(&c.content);
}

static void test_an_error_of_the_sink_is_returned_at_the_end(void **state)
{
	struct script_step steps[] = { { SLICE("a\r\n"), 0 }, { SLICE("b\r\n.\r\nQUIT\r\n"), 0 } };
	struct copy c = { .sink_error = -ENOSPC };

	copy_steps(&c, steps, 2, false);
	assert_int_equal(c.r, -ENOSPC);
	assert_true(c.result.ended);
	assert_string_equal(c.rest, "QUIT\r\n");
	buffer_done(&c.content);
}

static void test_content_larger_than_the_stream_buffer_passes(void **state)
{
	_cleanup_buffer_ struct buffer wire = { 0 };
	struct script_step step;
	struct copy c = { 0 };

	for (unsigned i = 0; i < 20000; i++)
		buffer_printf(&wire, "line %u\r\n", i);
	buffer_append_str(&wire, ".\r\n");
	step = (struct script_step) { buffer_slice(&wire), 0 };
	copy_steps(&c, &step, 1, false);
	assert_int_equal(c.r, 0);
	assert_int_equal(c.content.len, wire.len - 3);
	assert_memory_equal(c.content.data, wire.data, c.content.len);
	buffer_done(&c.content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_crlf_dot_crlf_ends_the_data_however_it_is_split),
		cmocka_unit_test(test_after_every_bad_sequence_the_real_end_is_found),
		cmocka_unit_test(test_bad_sequences_deep_inside_long_lines_are_found),
		cmocka_unit_test(test_octets_above_127_are_noticed_before_a_line_end_too),
		cmocka_unit_test(test_scanning_finds_the_first_control_at_every_place),
		cmocka_unit_test(test_all_ways_of_scanning_agree),
		cmocka_unit_test(test_what_is_stuffed_comes_out_again),
		cmocka_unit_test(test_the_fast_machine_agrees_with_a_dull_one),
		cmocka_unit_test(test_what_a_careless_client_may_hold_for_an_end_is_recognised),
		cmocka_unit_test(test_content_is_copied_and_what_follows_stays_in_the_stream),
		cmocka_unit_test(test_defective_content_is_read_to_its_end_and_refused),
		cmocka_unit_test(test_a_client_that_waits_behind_a_false_end_gets_its_refusal_soon),
		cmocka_unit_test(test_a_client_that_falls_silent_times_out),
		cmocka_unit_test(test_tolerated_defects_pass_to_the_real_end_and_others_do_not),
		cmocka_unit_test(test_a_false_end_is_refused_also_where_its_defects_are_tolerated),
		cmocka_unit_test(test_a_client_that_goes_away_is_a_reset),
		cmocka_unit_test(test_too_large_content_is_drained_to_its_end),
		cmocka_unit_test(test_exactly_the_limit_is_taken),
		cmocka_unit_test(test_draining_has_an_end),
		cmocka_unit_test(test_an_error_of_the_sink_is_returned_at_the_end),
		cmocka_unit_test(test_content_larger_than_the_stream_buffer_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
