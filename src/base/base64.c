#include "base/base64.h"

void base64_encode(struct slice data, struct buffer *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *) data.data;

	for (size_t i = 0; i < data.len; i += 3) {
		size_t left = data.len - i;
		unsigned v = (unsigned) p[i] << 16 | (left > 1 ? (unsigned) p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
				 left > 2 ? digits[v & 63] : '=' };

		buffer_append(out, four, sizeof(four));
	}
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_decode(struct slice text, void *out, size_t size)
{
	unsigned char *to = out;
	size_t n = 0, padding = 0;
	unsigned v = 0;

	if (text.len % 4 != 0)
		return -EINVAL;
	while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < text.len - padding; i++) {
		int d = digit_value(text.data[i]);

		if (d < 0)
			return -EINVAL;
		v = v << 6 | (unsigned) d;
		if (i % 4 == 0)
			continue;
		if (n == size)
			return -ENOBUFS;
		to[n++] = (unsigned char) (v >> (6 - 2 * (i % 4)));
	}
	/* RFC 4648 section 3.5: what is left over of the last digit must be zero, or one text has several forms. */
	if ((padding == 1 && (v & 3)) || (padding == 2 && (v & 15)))
		return -EINVAL;
	return (ssize_t) n;
}
