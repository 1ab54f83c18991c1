#include "base/slice.h"

#include <stdlib.h>

bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool equal_nocase(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ascii_lower(a[i]) != ascii_lower(b[i]))
			return false;
	return true;
}

bool slice_ieq(struct slice a, struct slice b)
{
	return a.len == b.len && equal_nocase(a.data, b.data, a.len);
}

bool slice_eq_str(struct slice a, const char *b)
{
	return slice_eq(a, slice_from(b));
}

bool slice_ieq_str(struct slice a, const char *b)
{
	return slice_ieq(a, slice_from(b));
}

bool slice_istarts(struct slice s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.len >= n && equal_nocase(s.data, prefix, n);
}

bool slice_iends(struct slice s, const char *suffix)
{
	size_t n = strlen(suffix);

	return s.len >= n && (n == 0 || equal_nocase(s.data + (s.len - n), suffix, n));
}

struct slice slice_skip(struct slice s, size_t offset)
{
	if (offset == 0 || !s.data)
		return s;
	if (offset > s.len)
		offset = s.len;
	return slice_new(s.data + offset, s.len - offset);
}

struct slice slice_head(struct slice s, size_t n)
{
	return slice_new(s.data, MIN(s.len, n));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	size_t start = 0, end = s.len;

	while (end > 0 && is_blank(s.data[end - 1]))
		end--;
	while (start < end && is_blank(s.data[start]))
		start++;
	return slice_skip(slice_head(s, end), start);
}

ssize_t slice_find(struct slice s, char c)
{
	const char *found = s.len ? memchr(s.data, c, s.len) : NULL;

	return found ? found - s.data : -1;
}

struct slice slice_cut(struct slice s, char separator, struct slice *rest)
{
	ssize_t at = slice_find(s, separator);

	if (at < 0) {
		*rest = SLICE_NULL;
		return s;
	}
	*rest = slice_skip(s, (size_t) at + 1);
	return slice_head(s, (size_t) at);
}

int slice_to_u64(struct slice s, uint64_t *ret)
{
	uint64_t value = 0;
	bool overflow = false;

	if (s.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_is_digit(s.data[i]))
			return -EINVAL;
		overflow |= __builtin_mul_overflow(value, 10, &value);
		overflow |= __builtin_add_overflow(value, (uint64_t) (s.data[i] - '0'), &value);
	}
	if (overflow)
		return -ERANGE;
	*ret = value;
	return 0;
}

char *slice_dup(struct slice s)
{
	char *copy;

	if (s.len == SIZE_MAX)
		return NULL;
	copy = malloc(s.len + 1);
	if (!copy)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	return copy;
}

size_t slice_copy(struct slice s, char *buffer, size_t size)
{
	size_t n;

	if (size == 0)
		return 0;
	n = MIN(s.len, size - 1);
	if (n > 0)
		memcpy(buffer, s.data, n);
	buffer[n] = '\0';
	return n;
}

/* Writes c as it may be shown and returns the number of bytes. A backslash is doubled, so that
 * nobody can write the text of an escape and be taken for the byte. */
static size_t escape_char(unsigned char c, char out[static 4])
{
	static const char digits[] = "0123456789abcdef";

	if (c == '\\') {
		out[0] = out[1] = '\\';
		return 2;
	}
	if (c >= 0x20 && c < 0x7f) {
		out[0] = (char) c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[c >> 4];
	out[3] = digits[c & 15];
	return 4;
}

const char *slice_escape(struct slice s, char *out, size_t size)
{
	size_t used = 0, cut = 0; /* cut: the last place where "..." still fits behind */

	assert(size > 0);
	for (size_t i = 0; i < s.len; i++) {
		char piece[4];
		size_t n = escape_char((unsigned char) s.data[i], piece);

		if (used + n >= size) {
			size_t dots = MIN((size_t) 3, size - 1 - cut);

			memcpy(out + cut, "...", dots);
			used = cut + dots;
			break;
		}
		memcpy(out + used, piece, n);
		used += n;
		if (used + 3 < size)
			cut = used;
	}
	out[used] = '\0';
	return out;
}
