#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

#define assert_text(b, text) \
	do { \
		assert_int_equal((b)->len, sizeof(text) - 1); \
		assert_memory_equal((b)->data, text, sizeof(text)); \
	} while (0)

static void test_appends_add_up_and_stay_terminated(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_append_str(&b, "ab");
	buffer_append_str(&b, NULL);
	buffer_append_slice(&b, SLICE("c\0d"));
	buffer_append_slice(&b, SLICE_NULL);
	buffer_append_char(&b, '!');
	buffer_printf(&b, "%d/%s", 42, "x");
	assert_text(&b, "abc\0d!42/x");
	assert_int_equal(buffer_error(&b), 0);
	buffer_clear(&b);
	assert_text(&b, "");
}

static void test_an_empty_append_makes_a_readable_string(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_append_str(&b, "");
	assert_string_equal(b.data, "");
}

static void test_printf_of_any_length_is_whole(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	for (int width = 1; width < 3000; width++) {
		buffer_clear(&b);
		buffer_printf(&b, "<%*d>", width, 7);
		assert_int_equal(b.len, width + 2);
		assert_int_equal(b.data[0], '<');
		assert_int_equal(b.data[width], '7');
		assert_int_equal(b.data[width + 1], '>');
		assert_int_equal(b.data[width + 2], '\0');
	}
}

static void test_random_appends_equal_their_concatenation(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	_cleanup_(freep) char *expected = malloc(200000);
	size_t len = 0;

	srand(3);
	while (len < 150000) {
		char piece[400];
		size_t n = (size_t) rand() % sizeof(piece);

		for (size_t i = 0; i < n; i++)
			piece[i] = (char) rand();
		if (rand() % 2) {
			buffer_append(&b, piece, n);
		} else {
			char *place = buffer_reserve(&b, n + 10);

			memcpy(place, piece, n);
			buffer_commit(&b, n);
		}
		memcpy(expected + len, piece, n);
		len += n;
		assert_int_equal(b.data[b.len], '\0');
	}
	assert_int_equal(b.len, len);
	assert_memory_equal(b.data, expected, len);
	assert_true(b.capacity < 3 * len);
}

static void test_failure_sticks_until_it_is_cleared(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_append_str(&b, "kept");
	assert_null(buffer_reserve(&b, SIZE_MAX));
	assert_int_equal(buffer_error(&b), -ENOMEM);
	buffer_append_str(&b, "lost");
	buffer_printf(&b, "%d", 1);
	buffer_commit(&b, 1000);
	assert_null(buffer_reserve(&b, 1));
	assert_text(&b, "kept");
	buffer_clear(&b);
	assert_int_equal(buffer_error(&b), 0);
	buffer_append_str(&b, "new");
	assert_text(&b, "new");
	assert_null(buffer_reserve(&b, PTRDIFF_MAX));
	assert_null(buffer_take(&b)); /* no text with a hole */
	assert_int_equal(buffer_error(&b), 0);
}

static void test_take_hands_over_and_leaves_an_empty_buffer(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	_cleanup_(freep) char *text = NULL, *empty = NULL;

	buffer_append_str(&b, "mine");
	text = buffer_take(&b);
	assert_string_equal(text, "mine");
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	empty = buffer_take(&b);
	assert_string_equal(empty, "");
}

static void test_borrowed_room_is_left_when_it_gets_too_small(void **state)
{
	char room[8];
	struct buffer b = buffer_in(room, sizeof(room));
	char *text;

	assert_string_equal(b.data, "");
	buffer_append_str(&b, "1234567");
	assert_ptr_equal(b.data, room);
	buffer_append_char(&b, '8');
	assert_ptr_not_equal(b.data, room);
	assert_string_equal(b.data, "12345678");
	buffer_printf(&b, "%s", "90");
	assert_string_equal(b.data, "1234567890");
	buffer_done(&b);

	b = buffer_in(room, sizeof(room));
	buffer_printf(&b, "%d and more", 1000);
	assert_string_equal(b.data, "1000 and more");
	buffer_done(&b);

	b = buffer_in(room, sizeof(room));
	buffer_append_str(&b, "short");
	text = buffer_take(&b); /* outlives the room */
	memset(room, 'x', sizeof(room));
	assert_string_equal(text, "short");
	assert_null(b.data);
	free(text);

	b = buffer_in(room, sizeof(room));
	assert_null(buffer_reserve(&b, SIZE_MAX - 1));
	assert_int_equal(buffer_error(&b), -ENOMEM);
	buffer_done(&b);
}

static void test_json_escapes_what_json_forbids(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_append_json(&b, SLICE("plain"));
	buffer_append_json(&b, SLICE("\"\\/\b\f\n\r\t\x01\x1f\x7f\0"));
	assert_text(&b, "plain\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000");
}

static void test_json_keeps_utf8_and_replaces_what_is_none(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_append_json(&b, SLICE("驿站 é 😀"));
	assert_text(&b, "驿站 é 😀");
	buffer_clear(&b);
	buffer_append_json(&b, SLICE("a\xff" "b\xc3"));           /* a stray byte, a torn end */
	buffer_append_json(&b, SLICE("\xc0\xaf"));                /* overlong */
	buffer_append_json(&b, SLICE("\xed\xa0\x80"));            /* a surrogate */
	buffer_append_json(&b, SLICE("\xc2\x9b"));                /* a C1 control */
	assert_text(&b, "a\\ufffdb\\ufffd" "\\ufffd\\ufffd" "\\ufffd\\ufffd\\ufffd" "\\u009b");
}

static void test_numbers_come_back(void **state)
{
	static const uint64_t values[] = { 0, 1, 127, 128, 255, 256, 16383, 16384, UINT32_MAX, (uint64_t) UINT32_MAX + 1,
					   UINT64_MAX / 2, UINT64_MAX - 1, UINT64_MAX };
	_cleanup_buffer_ struct buffer b = { 0 };
	struct slice s;
	uint64_t v;
	uint32_t v32;
	uint8_t v8;

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		buffer_put_u8(&b, (uint8_t) values[i]);
		buffer_put_u32(&b, (uint32_t) values[i]);
		buffer_put_u64(&b, values[i]);
		buffer_put_varint(&b, values[i]);
	}
	s = buffer_slice(&b);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		assert_int_equal(slice_get_u8(&s, &v8), 0);
		assert_int_equal(v8, (uint8_t) values[i]);
		assert_int_equal(slice_get_u32(&s, &v32), 0);
		assert_int_equal(v32, (uint32_t) values[i]);
		assert_int_equal(slice_get_u64(&s, &v), 0);
		assert_true(v == values[i]);
		assert_int_equal(slice_get_varint(&s, &v), 0);
		assert_true(v == values[i]);
	}
	assert_int_equal(s.len, 0);
}

static void test_the_byte_order_is_fixed(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };

	buffer_put_u32(&b, 0x04030201);
	buffer_put_u64(&b, 0x0c0b0a0908070605);
	buffer_put_varint(&b, 300);
	buffer_put_bytes(&b, SLICE("hi"));
	assert_text(&b, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\xac\x02\x02hi");
}

static void test_torn_records_are_refused_and_nothing_is_taken(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct slice got = SLICE("before");

	buffer_put_bytes(&b, SLICE("some bytes"));
	for (size_t n = 0; n < b.len; n++) {
		struct slice s = slice_new(b.data, n);

		assert_int_equal(slice_get_bytes(&s, &got), -EBADMSG);
		assert_ptr_equal(s.data, b.data);
		assert_int_equal(s.len, n);
		assert_true(slice_eq_str(got, "before"));
	}
	for (size_t n = 0; n < 8; n++) {
		struct slice s = slice_new(b.data, n);
		uint64_t v = 7;
		uint32_t v32 = 7;
		uint8_t v8 = 7;

		assert_int_equal(slice_get_u64(&s, &v), -EBADMSG);
		assert_int_equal(slice_get_u32(&s, &v32), n < 4 ? -EBADMSG : 0);
		s.len = 0;
		assert_int_equal(slice_get_u8(&s, &v8), -EBADMSG);
		assert_int_equal(v, 7);
	}
}

static void test_a_varint_has_one_form_and_64_bits(void **state)
{
	struct slice too_long = SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
	struct slice endless = SLICE("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
	struct slice padded = SLICE("\x81\x00");
	struct slice huge_length = SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "abc");
	struct slice got;
	uint64_t v;

	assert_int_equal(slice_get_varint(&too_long, &v), -EBADMSG);
	assert_int_equal(slice_get_varint(&endless, &v), -EBADMSG);
	assert_int_equal(slice_get_varint(&padded, &v), -EBADMSG);
	assert_int_equal(slice_get_bytes(&huge_length, &got), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_appends_add_up_and_stay_terminated),
		cmocka_unit_test(test_an_empty_append_makes_a_readable_string),
		cmocka_unit_test(test_printf_of_any_length_is_whole),
		cmocka_unit_test(test_random_appends_equal_their_concatenation),
		cmocka_unit_test(test_failure_sticks_until_it_is_cleared),
		cmocka_unit_test(test_take_hands_over_and_leaves_an_empty_buffer),
		cmocka_unit_test(test_borrowed_room_is_left_when_it_gets_too_small),
		cmocka_unit_test(test_json_escapes_what_json_forbids),
		cmocka_unit_test(test_json_keeps_utf8_and_replaces_what_is_none),
		cmocka_unit_test(test_numbers_come_back),
		cmocka_unit_test(test_the_byte_order_is_fixed),
		cmocka_unit_test(test_torn_records_are_refused_and_nothing_is_taken),
		cmocka_unit_test(test_a_varint_has_one_form_and_64_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
