#include "mail/text.h"

static bool is_control(char c)
{
	return (unsigned char) c < ' ' || c == 0x7f;
}

bool text_is_ascii(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char) s.data[i] >= 0x80)
			return false;
	return true;
}

bool text_has_control(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_control(s.data[i]))
			return true;
	return false;
}

bool text_is_printable_ascii(struct slice s)
{
	return text_is_ascii(s) && !text_has_control(s);
}

struct slice text_head(struct slice s, size_t max)
{
	size_t n = max;

	if (s.len <= max)
		return s;
	while (n > 0 && max - n < 3 && ((unsigned char) s.data[n] & 0xc0) == 0x80)
		n--;
	return slice_head(s, ((unsigned char) s.data[n] & 0xc0) == 0x80 ? max : n);
}

void text_append_clean(struct buffer *out, struct slice s)
{
	while (s.len > 0) {
		size_t n = 0;

		while (n < s.len && !is_control(s.data[n]))
			n++;
		buffer_append(out, s.data, n);
		if (n < s.len) {
			buffer_append_char(out, ' ');
			n++;
		}
		s = slice_skip(s, n);
	}
}
