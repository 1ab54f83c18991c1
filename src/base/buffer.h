/* A growing byte string on the heap, for building headers, records and JSON.
 *
 * Appending never fails in the middle: when memory runs out, the buffer goes into a failed state,
 * later appends do nothing, and buffer_error() tells at the end. A zeroed struct is an empty buffer. */
#pragma once

#include "base/slice.h"

struct buffer {
	char *data; /* terminated with a NUL that len does not count, once something was appended */
	size_t len;
	size_t capacity;
	bool failed;
	bool borrowed; /* data is somebody's room: it is not freed, and left when it gets too small */
};

/* One that begins in `room`, mostly an array beside it on the stack, so that what is short needs no allocation. */
static inline struct buffer buffer_in(char *room, size_t size)
{
	room[0] = '\0';
	return (struct buffer) { .data = room, .capacity = size, .borrowed = true };
}

void buffer_done(struct buffer *b); /* frees the bytes; the struct may be used again */
static inline void buffer_donep(struct buffer *b) { buffer_done(b); }
#define _cleanup_buffer_ _cleanup_(buffer_donep)

void buffer_append(struct buffer *b, const void *data, size_t len);
void buffer_append_str(struct buffer *b, const char *s);
void buffer_append_slice(struct buffer *b, struct slice s);
void buffer_append_char(struct buffer *b, char c);
void buffer_printf(struct buffer *b, const char *format, ...) _printf_(2, 3);
/* Room for n more bytes: the place to write them, or NULL; then buffer_commit(b, written). */
char *buffer_reserve(struct buffer *b, size_t n);
void buffer_commit(struct buffer *b, size_t n);
void buffer_clear(struct buffer *b); /* length 0, memory kept, failure forgotten */
/* 0, or -ENOMEM when some append was lost. */
int buffer_error(const struct buffer *b);
static inline struct slice buffer_slice(const struct buffer *b) { return slice_new(b->data, b->len); }
/* Hands the terminated bytes to the caller, who frees them; the buffer is empty afterwards. */
char *buffer_take(struct buffer *b);

/* Appends s as the inside of a JSON string: quotes, backslash and control bytes escaped, bytes that
 * are not UTF-8 as \ufffd. No quotes around it. */
void buffer_append_json(struct buffer *b, struct slice s);

/* Little-endian integers and length-prefixed bytes (a LEB128 length, then the bytes), for records. */
void buffer_put_u8(struct buffer *b, uint8_t v);
void buffer_put_u32(struct buffer *b, uint32_t v);
void buffer_put_u64(struct buffer *b, uint64_t v);
void buffer_put_varint(struct buffer *b, uint64_t v);
void buffer_put_bytes(struct buffer *b, struct slice s);

/* The reading side: each takes from the front of *s and advances it. -EBADMSG when it doesn't fit. */
int slice_get_u8(struct slice *s, uint8_t *ret);
int slice_get_u32(struct slice *s, uint32_t *ret);
int slice_get_u64(struct slice *s, uint64_t *ret);
int slice_get_varint(struct slice *s, uint64_t *ret);
int slice_get_bytes(struct slice *s, struct slice *ret);
