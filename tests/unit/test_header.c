/* Header sections: in memory, and as they go by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mail/header.h"

#define MESSAGE                                                                                             \
	"Received: from a\r\n\tby b;\r\n date\r\nReceived: from c\r\nSubject: hello\r\n  world \r\n"         \
	"DATE:today\r\nEmpty:\r\n\r\nReceived: in the body\r\n"

static void test_fields_come_in_order_with_their_folds(void **state)
{
	struct slice rest = SLICE(MESSAGE);
	struct header_field f;

	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.name, "Received"));
	assert_true(slice_eq_str(f.value, " from a\r\n\tby b;\r\n date"));
	assert_true(slice_eq_str(f.raw, "Received: from a\r\n\tby b;\r\n date\r\n"));
	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.value, " from c"));
	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.name, "Subject"));
	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.value, "today"));
	assert_true(header_next(&rest, &f));
	assert_int_equal(f.value.len, 0);
	assert_false(header_next(&rest, &f));
	assert_true(slice_eq_str(rest, "\r\nReceived: in the body\r\n"));
}

static void test_finding_and_counting(void **state)
{
	struct slice m = SLICE(MESSAGE);
	struct header_field f;

	assert_true(header_find(m, "date", &f));
	assert_true(slice_eq_str(f.value, "today"));
	assert_false(header_find(m, "Dat", &f));
	assert_int_equal(header_count(m, "received"), 2);
	assert_int_equal(header_count(m, "X"), 0);
	assert_true(slice_eq_str(slice_skip(m, header_body_offset(m)), "Received: in the body\r\n"));
	assert_int_equal(header_section_length(m) + 2, header_body_offset(m));
}

static void test_odd_beginnings(void **state)
{
	struct header_field f;
	struct slice rest = SLICE("From alice Mon Nov 23\r\nTo: b\r\n\r\n");

	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.name, "To"));
	rest = SLICE("From : x\r\n");
	assert_true(header_next(&rest, &f));
	assert_true(slice_eq_str(f.name, "From"));
	assert_true(slice_eq_str(f.value, " x"));
	assert_int_equal(header_section_length(SLICE("no header at all\r\n")), 0);
	assert_int_equal(header_body_offset(SLICE("no header at all\r\n")), 0);
	assert_int_equal(header_section_length(SLICE("")), 0);
	assert_int_equal(header_body_offset(SLICE("\r\nbody")), 2);
	assert_int_equal(header_section_length(SLICE(" folded\r\nA: b\r\n")), 0);
	assert_int_equal(header_section_length(SLICE(": x\r\n")), 0);
	assert_int_equal(header_section_length(SLICE("A: b")), 4);
	assert_int_equal(header_section_length(SLICE("A: b\nB: c\n\nx")), 10);
	assert_int_equal(header_body_offset(SLICE("A: b\nB: c\n\nx")), 11);
	assert_int_equal(header_section_length(SLICE("A: b\r\nB\xc3\xa4: c\r\n")), 6);
}

static void test_unfolding(void **state)
{
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_string_equal(header_unfold(a, SLICE(" hello\r\n\tworld\r\n ")), "hello world");
	assert_string_equal(header_unfold(a, SLICE("")), "");
	assert_string_equal(header_unfold(a, SLICE(" \t\r\n ")), "");
	assert_string_equal(header_unfold(a, SLICE("a\0b\x1b" "c")), "abc");
	arena_free(a);
}

/* The scanner over a text cut at two places, each piece in memory of its own. */
static void scan(struct slice text, size_t first, size_t second, struct header_scanner *s)
{
	struct slice pieces[3] = { slice_head(text, first), slice_skip(slice_head(text, second), first), slice_skip(text, second) };

	header_scanner_init(s);
	for (size_t i = 0; i < 3; i++) {
		char *copy = malloc(pieces[i].len + 1);

		memcpy(copy, pieces[i].len ? pieces[i].data : "", pieces[i].len);
		header_scanner_feed(s, slice_new(copy, pieces[i].len));
		free(copy);
	}
}

static void test_the_scanner_sees_the_same_however_it_is_fed(void **state)
{
	static const struct {
		struct slice text;
		unsigned seen, received;
		bool done;
		uint64_t octets;
	} rows[] = {
		{ SLICE("Received: a\r\nReceived: b\r\n c\r\nDate: x\r\n\r\nFrom: body\r\n"), HEADER_DATE, 2, true, 39 },
		{ SLICE("from: a\r\nTO: b\r\ncc: b\r\nMessage-Id: <x>\r\nSender : s\r\n\r\n"),
		  HEADER_FROM | HEADER_TO | HEADER_MESSAGE_ID | HEADER_SENDER, 0, true, 52 },
		{ SLICE("Subject: Date: x\r\n Date: y\r\n\r\n"), 0, 0, true, 28 },
		{ SLICE("Dates: x\r\nDat: y\r\nXDate: z\r\n\r\n"), 0, 0, true, 28 },
		{ SLICE("\r\nDate: body\r\n"), 0, 0, true, 0 },
		{ SLICE("not a field\r\nDate: x\r\n"), 0, 0, true, 0 },
		{ SLICE("Date: x\r\nnot a field\r\nFrom: x\r\n"), HEADER_DATE, 0, true, 9 },
		{ SLICE("Date: x\r\n"), HEADER_DATE, 0, false, 9 },
		{ SLICE("From alice Mon Nov 23\r\nDate: x\r\n\r\n"), HEADER_DATE, 0, true, 32 },
		{ SLICE("Tls-Required: No\r\n\r\n"), HEADER_TLS_REQUIRED_NO, 0, true, 18 },
		{ SLICE("TLS-Required:\r\n no \r\nDate: y\r\n\r\n"), HEADER_TLS_REQUIRED_NO | HEADER_DATE, 0, true, 30 },
		{ SLICE("TLS-Required: Nope\r\n\r\n"), 0, 0, true, 20 },
		{ SLICE("A-very-long-field-name-that-is-no-received: x\r\nReceived: y\r\n\r\n"), 0, 1, true, 60 },
		{ SLICE("Date: x\nFrom: y\n\nTo: body\n"), HEADER_DATE | HEADER_FROM, 0, true, 16 },
		{ SLICE(" Date: x\r\nFrom: y\r\n\r\n"), 0, 0, true, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t first = 0; first <= rows[i].text.len; first++) {
			for (size_t second = first; second <= rows[i].text.len; second++) {
				struct header_scanner s;

				scan(rows[i].text, first, second, &s);
				assert_int_equal(s.seen, rows[i].seen);
				assert_int_equal(s.received, rows[i].received);
				assert_int_equal(s.done, rows[i].done);
				assert_int_equal(s.octets, rows[i].octets);
			}
		}
	}
}

static void test_scanner_and_memory_agree_on_where_the_section_ends(void **state)
{
	static const char alphabet[] = "AAb: \t\r\n\r\n:";
	unsigned short seed[3] = { 1, 1, 1 };

	for (unsigned round = 0; round < 20000; round++) {
		char text[60];
		size_t len = (size_t) nrand48(seed) % sizeof(text);
		struct header_scanner s;
		bool stray = false;

		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[(size_t) nrand48(seed) % (sizeof(alphabet) - 1)];
		/* a stray CR and an unfinished line are read differently */
		for (size_t i = 0; i < len; i++)
			stray |= text[i] == '\r' && (i + 1 == len || text[i + 1] != '\n');
		if (stray || len == 0 || text[len - 1] != '\n')
			continue;
		scan(slice_new(text, len), 0, len, &s);
		assert_int_equal(s.octets, header_section_length(slice_new(text, len)));
	}
}

static void test_repeated_fields_and_long_lines_are_noticed(void **state)
{
	struct header_scanner s;

	scan(SLICE("From: a\r\nFrom: b\r\nDelivered-To: x\r\nDelivered-To: y\r\nDate: 0123456789\r\n\r\n"), 0, 0, &s);
	assert_int_equal(s.repeated, HEADER_FROM);
	assert_int_equal(s.delivered_to, 2);
	assert_int_equal(s.longest_line, strlen("Date: 0123456789"));
}

static void test_what_a_message_begins_with(void **state)
{
	static const struct {
		const char *text;
		enum header_start start;
	} rows[] = {
		{ "Subject: x", HEADER_START_FIELD },
		{ "Subject :x", HEADER_START_FIELD },
		{ "From: a", HEADER_START_FIELD },
		{ "From : a", HEADER_START_FIELD },
		{ "\r\nbody", HEADER_START_FIELD },
		{ "From a Mon", HEADER_START_MAILBOX },
		{ "Fromage is", HEADER_START_TEXT },
		{ "just text: so", HEADER_START_TEXT },
		{ "text\r\n", HEADER_START_TEXT },
		{ " Subject: x", HEADER_START_TEXT },
		{ "\tx", HEADER_START_TEXT },
		{ ": x", HEADER_START_TEXT },
		{ "\xc3\xa4: x", HEADER_START_TEXT },
		{ "", HEADER_START_UNKNOWN },
		{ "Subject", HEADER_START_UNKNOWN },
		{ "From ", HEADER_START_UNKNOWN },
	};
	char longest[HEADER_START_OCTETS];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(header_start(slice_from(rows[i].text)), rows[i].start);
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(header_start(slice_new(longest, sizeof(longest) - 1)), HEADER_START_UNKNOWN);
	assert_int_equal(header_start(slice_new(longest, sizeof(longest))), HEADER_START_TEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_come_in_order_with_their_folds),
		cmocka_unit_test(test_finding_and_counting),
		cmocka_unit_test(test_odd_beginnings),
		cmocka_unit_test(test_unfolding),
		cmocka_unit_test(test_the_scanner_sees_the_same_however_it_is_fed),
		cmocka_unit_test(test_scanner_and_memory_agree_on_where_the_section_ends),
		cmocka_unit_test(test_repeated_fields_and_long_lines_are_noticed),
		cmocka_unit_test(test_what_a_message_begins_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
