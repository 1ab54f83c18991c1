/* A slice is a view of bytes that somebody else owns: pointer and length, not terminated, may hold
 * any byte. Parsers take slices and give slices back, so that nothing is copied until it is kept. */
#pragma once

#include <string.h>
#include <sys/types.h>

#include "base/macro.h"

struct slice {
	const char *data;
	size_t len;
};

#define SLICE_NULL ((struct slice) { NULL, 0 })
#define SLICE(literal) ((struct slice) { (literal), sizeof(literal) - 1 })
/* For printf: "%.*s", SLICE_ARG(s) */
#define SLICE_ARG(s) ((int) (s).len), ((s).data ? (s).data : "")

static inline struct slice slice_new(const char *data, size_t len) { return (struct slice) { data, len }; }
static inline struct slice slice_from(const char *str) { return (struct slice) { str, str ? strlen(str) : 0 }; }

/* Byte for byte, and with ASCII letters folded. */
bool slice_eq(struct slice a, struct slice b);
bool slice_ieq(struct slice a, struct slice b);
bool slice_eq_str(struct slice a, const char *b);
bool slice_ieq_str(struct slice a, const char *b);
bool slice_istarts(struct slice s, const char *prefix);
bool slice_iends(struct slice s, const char *suffix);

/* The part from offset on (empty when it lies behind the end), and the first n bytes. */
struct slice slice_skip(struct slice s, size_t offset);
struct slice slice_head(struct slice s, size_t n);
/* Without spaces and tabs at both ends. */
struct slice slice_trim(struct slice s);

/* Cuts at the first `separator`: returns what stands before it and leaves in *rest what follows.
 * Without a separator returns all of it, and *rest is empty with data == NULL. */
struct slice slice_cut(struct slice s, char separator, struct slice *rest);
/* Index of the first byte c, or -1. */
ssize_t slice_find(struct slice s, char c);

/* Decimal digits only, nothing else. -EINVAL when it is not a number, -ERANGE when it is too large. */
int slice_to_u64(struct slice s, uint64_t *ret);

/* A terminated copy on the heap; NULL when memory is out. A NUL byte inside stays where it is. */
char *slice_dup(struct slice s);
/* Copies into a fixed buffer with a terminator, cutting what does not fit. Returns the bytes copied. */
size_t slice_copy(struct slice s, char *buffer, size_t size);

/* Writes into out what a log line may show of bytes from the network: control and non-ASCII bytes as
 * \xNN, cut with "..." to fit. Returns out. */
const char *slice_escape(struct slice s, char *out, size_t size);

/* ASCII only, independent of the locale. */
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char) (c + 32) : c; }
static inline bool ascii_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool ascii_is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static inline bool ascii_is_alnum(char c) { return ascii_is_alpha(c) || ascii_is_digit(c); }
