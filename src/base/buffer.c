#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

#define SMALLEST 64

void buffer_done(struct buffer *b)
{
	if (!b->borrowed)
		free(b->data);
	*b = (struct buffer) { 0 };
}

/* Out of the borrowed room, or a larger piece of the heap. False when memory is out. */
static bool move(struct buffer *b, size_t capacity)
{
	char *data = realloc(b->borrowed ? NULL : b->data, capacity);

	if (!data)
		return false;
	if (b->borrowed)
		memcpy(data, b->data, b->len + 1);
	b->data = data;
	b->capacity = capacity;
	b->borrowed = false;
	return true;
}

char *buffer_reserve(struct buffer *b, size_t n)
{
	size_t need, capacity;

	if (b->failed)
		return NULL;
	/* One more for the terminator. */
	if (__builtin_add_overflow(b->len, n, &need) || need >= PTRDIFF_MAX)
		goto fail;
	need++;
	if (need > b->capacity) {
		capacity = MAX(b->capacity, (size_t) SMALLEST / 2);
		capacity = MAX(need, 2 * capacity);
		if (!move(b, capacity))
			goto fail;
	}
	return b->data + b->len;
fail:
	b->failed = true;
	return NULL;
}

void buffer_commit(struct buffer *b, size_t n)
{
	if (b->failed)
		return;
	assert(n < b->capacity - b->len);
	b->len += n;
	b->data[b->len] = '\0';
}

void buffer_append(struct buffer *b, const void *data, size_t len)
{
	char *place = buffer_reserve(b, len);

	if (!place)
		return;
	if (len > 0)
		memcpy(place, data, len);
	buffer_commit(b, len);
}

void buffer_append_str(struct buffer *b, const char *s)
{
	if (s)
		buffer_append(b, s, strlen(s));
}

void buffer_append_slice(struct buffer *b, struct slice s)
{
	buffer_append(b, s.data, s.len);
}

void buffer_append_char(struct buffer *b, char c)
{
	buffer_append(b, &c, 1);
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
	char *place = buffer_reserve(b, 0);
	size_t room;
	va_list args;
	int n;

	if (!place)
		return;
	room = b->capacity - b->len;
	va_start(args, format);
	n = vsnprintf(place, room, format, args);
	va_end(args);
	if (n >= 0 && (size_t) n >= room) {
		place = buffer_reserve(b, (size_t) n);
		if (!place) {
			b->data[b->len] = '\0'; /* the first try wrote over the terminator */
			return;
		}
		va_start(args, format);
		n = vsnprintf(place, (size_t) n + 1, format, args);
		va_end(args);
	}
	if (n < 0) {
		*place = '\0';
		b->failed = true;
		return;
	}
	buffer_commit(b, (size_t) n);
}

void buffer_clear(struct buffer *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

int buffer_error(const struct buffer *b)
{
	return b->failed ? -ENOMEM : 0;
}

/* NULL when the buffer has failed or memory is out: never a text with a hole in it. */
char *buffer_take(struct buffer *b)
{
	char *data;

	buffer_append(b, NULL, 0); /* an empty buffer gives an empty string */
	if (b->failed || (b->borrowed && !move(b, b->len + 1))) {
		buffer_done(b);
		return NULL;
	}
	data = b->data;
	*b = (struct buffer) { 0 };
	return data;
}

static void append_json_ascii(struct buffer *b, char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = c ? strchr(from, c) : NULL;

	if (at) {
		char pair[2] = { '\\', to[at - from] };

		buffer_append(b, pair, sizeof(pair));
	} else {
		buffer_printf(b, "\\u%04x", (unsigned) c);
	}
}

void buffer_append_json(struct buffer *b, struct slice s)
{
	size_t plain = 0; /* bytes at the front of s that can be copied as they are */

	while (plain < s.len) {
		unsigned char first = (unsigned char) s.data[plain];
		struct slice rest;
		uint32_t c = 0;
		size_t n;

		if (first >= 0x20 && first < 0x7f && first != '"' && first != '\\') {
			plain++; /* nearly all bytes of nearly all texts */
			continue;
		}
		rest = slice_skip(s, plain);
		n = utf8_decode(rest, &c);

		/* The C1 controls are as harmful on a terminal as the others. */
		if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || c > 0x9f)) {
			plain += n;
			continue;
		}
		buffer_append_slice(b, slice_head(s, plain));
		if (n == 0)
			buffer_append_str(b, "\\ufffd");
		else if (n == 1)
			append_json_ascii(b, (char) c);
		else
			buffer_printf(b, "\\u%04x", (unsigned) c);
		s = slice_skip(rest, MAX(n, (size_t) 1));
		plain = 0;
	}
	buffer_append_slice(b, s);
}

void buffer_put_u8(struct buffer *b, uint8_t v)
{
	buffer_append(b, &v, 1);
}

static void put_little_endian(struct buffer *b, uint64_t v, size_t bytes)
{
	unsigned char out[8];

	for (size_t i = 0; i < bytes; i++)
		out[i] = (unsigned char) (v >> (8 * i));
	buffer_append(b, out, bytes);
}

void buffer_put_u32(struct buffer *b, uint32_t v)
{
	put_little_endian(b, v, 4);
}

void buffer_put_u64(struct buffer *b, uint64_t v)
{
	put_little_endian(b, v, 8);
}

void buffer_put_varint(struct buffer *b, uint64_t v)
{
	unsigned char out[10];
	size_t n = 0;

	while (v >= 0x80) {
		out[n++] = (unsigned char) (v | 0x80);
		v >>= 7;
	}
	out[n++] = (unsigned char) v;
	buffer_append(b, out, n);
}

void buffer_put_bytes(struct buffer *b, struct slice s)
{
	buffer_put_varint(b, s.len);
	buffer_append_slice(b, s);
}

static int get_little_endian(struct slice *s, size_t bytes, uint64_t *ret)
{
	uint64_t v = 0;

	if (s->len < bytes)
		return -EBADMSG;
	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t) (unsigned char) s->data[i] << (8 * i);
	*s = slice_skip(*s, bytes);
	*ret = v;
	return 0;
}

int slice_get_u8(struct slice *s, uint8_t *ret)
{
	uint64_t v;
	int r = get_little_endian(s, 1, &v);

	if (r < 0)
		return r;
	*ret = (uint8_t) v;
	return 0;
}

int slice_get_u32(struct slice *s, uint32_t *ret)
{
	uint64_t v;
	int r = get_little_endian(s, 4, &v);

	if (r < 0)
		return r;
	*ret = (uint32_t) v;
	return 0;
}

int slice_get_u64(struct slice *s, uint64_t *ret)
{
	return get_little_endian(s, 8, ret);
}

int slice_get_varint(struct slice *s, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s->len && i < 10; i++) {
		unsigned char byte = (unsigned char) s->data[i];

		if (i == 9 && byte > 1) /* beyond 64 bits */
			return -EBADMSG;
		v |= (uint64_t) (byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		if (byte == 0 && i > 0) /* one number has one form: no padding */
			return -EBADMSG;
		*s = slice_skip(*s, i + 1);
		*ret = v;
		return 0;
	}
	return -EBADMSG;
}

int slice_get_bytes(struct slice *s, struct slice *ret)
{
	struct slice rest = *s;
	uint64_t len;
	int r;

	r = slice_get_varint(&rest, &len);
	if (r < 0)
		return r;
	if (len > rest.len)
		return -EBADMSG;
	*ret = slice_head(rest, (size_t) len);
	*s = slice_skip(rest, (size_t) len);
	return 0;
}
