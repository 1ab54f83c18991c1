#include "base/utf8.h"

size_t utf8_decode(struct slice s, uint32_t *ret)
{
	/* By number of continuation bytes: the smallest code point that needs them. */
	static const uint32_t smallest[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *) s.data;
	uint32_t c;
	size_t more;

	if (s.len == 0)
		return 0;
	if (p[0] < 0x80) {
		*ret = p[0];
		return 1;
	}
	if ((p[0] & 0xe0) == 0xc0)
		more = 1;
	else if ((p[0] & 0xf0) == 0xe0)
		more = 2;
	else if ((p[0] & 0xf8) == 0xf0)
		more = 3;
	else
		return 0;
	if (s.len <= more)
		return 0;
	c = p[0] & (0x3fu >> more);
	for (size_t i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < smallest[more] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	*ret = c;
	return more + 1;
}

bool utf8_valid(struct slice s)
{
	uint32_t c;

	while (s.len > 0) {
		size_t n = utf8_decode(s, &c);

		if (n == 0)
			return false;
		s = slice_skip(s, n);
	}
	return true;
}

bool utf8_printable(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{ 0x0000, 0x001f }, { 0x007f, 0x009f }, { 0x00ad, 0x00ad }, { 0x061c, 0x061c },
		{ 0x180e, 0x180e }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0xd800, 0xdfff }, { 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },
		{ 0xe0000, 0xe0fff },
	};

	if (c > 0x10ffff || (c & 0xfffe) == 0xfffe)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
		if (c >= hidden[i].first && c <= hidden[i].last)
			return false;
	return true;
}

bool utf8_is_text(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char) s.data[i] < ' ' || s.data[i] == 127)
			return false;
	return utf8_valid(s);
}
