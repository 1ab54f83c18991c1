#include "mail/xtext.h"

#include "base/utf8.h"
#include "mail/text.h"

static const char hex_digits[] = "0123456789ABCDEF";

static int hex_value(char c)
{
	const char *at = c ? strchr(hex_digits, c) : NULL;

	return at ? (int) (at - hex_digits) : -1;
}

static bool is_xchar(char c)
{
	return c >= '!' && c <= '~' && c != '+' && c != '=';
}

void xtext_encode(struct slice s, struct buffer *out)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char) s.data[i];

		if (is_xchar(s.data[i])) {
			buffer_append_char(out, s.data[i]);
		} else {
			char hexchar[3] = { '+', hex_digits[c >> 4], hex_digits[c & 15] };

			buffer_append(out, hexchar, sizeof(hexchar));
		}
	}
}

int xtext_decode(struct arena *a, struct slice text, struct slice *ret)
{
	char *out = arena_alloc(a, text.len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '+') {
			int high, low;

			if (text.len - i < 3)
				return -EINVAL;
			high = hex_value(text.data[i + 1]);
			low = hex_value(text.data[i + 2]);
			if (high < 0 || low < 0) /* RFC 3461 section 4: upper case */
				return -EINVAL;
			out[n++] = (char) (high << 4 | low);
			i += 2;
		} else if (is_xchar(c)) {
			out[n++] = c;
		} else {
			return -EINVAL;
		}
	}
	out[n] = '\0';
	*ret = slice_new(out, n);
	return 0;
}

/* --- addresses in UTF-8 ----------------------------------------------------------------------------- */

/* QCHAR of RFC 6533 section 3. */
static bool is_qchar(uint32_t c)
{
	return c >= '!' && c <= '~' && c != '\\' && c != '+' && c != '=';
}

/* with_utf8: characters beyond ASCII stand for themselves. */
static int unitext(struct slice s, bool with_utf8, struct buffer *out)
{
	while (s.len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, &c);

		if (n == 0)
			return -EILSEQ;
		if (is_qchar(c) || (with_utf8 && c >= 0x80))
			buffer_append(out, s.data, n);
		else
			buffer_printf(out, "\\x{%02X}", (unsigned) c);
		s = slice_skip(s, n);
	}
	return 0;
}

int unitext_encode(struct slice s, struct buffer *out)
{
	return unitext(s, false, out);
}

static size_t utf8_put(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char) c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char) (0xc0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char) (0xe0 | c >> 12);
		out[1] = (char) (0x80 | (c >> 6 & 0x3f));
		out[2] = (char) (0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | c >> 18);
	out[1] = (char) (0x80 | (c >> 12 & 0x3f));
	out[2] = (char) (0x80 | (c >> 6 & 0x3f));
	out[3] = (char) (0x80 | (c & 0x3f));
	return 4;
}

/* \x{HEXPOINT} at the front of *s; the shortest is two digits, the longest six. */
static int take_embedded(struct slice *s, uint32_t *ret)
{
	uint32_t c = 0;
	size_t i = 3;

	if (s->len < 6 || memcmp(s->data, "\\x{", 3) != 0)
		return -EINVAL;
	for (; i < s->len && s->data[i] != '}'; i++) {
		int digit = hex_value(s->data[i]);

		if (digit < 0 || i >= 9)
			return -EINVAL;
		c = c << 4 | (uint32_t) digit;
	}
	if (i == s->len || i < 5 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c == 0)
		return -EINVAL;
	*s = slice_skip(*s, i + 1);
	*ret = c;
	return 0;
}

int unitext_decode(struct arena *a, struct slice text, struct slice *ret)
{
	char *out = arena_alloc(a, text.len + 1); /* decoding never makes it longer */
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	while (text.len > 0) {
		uint32_t c;
		size_t len = utf8_decode(text, &c);

		if (len == 0)
			return -EILSEQ;
		if (c != '\\') {
			memcpy(out + n, text.data, len);
			n += len;
			text = slice_skip(text, len);
			continue;
		}
		if (take_embedded(&text, &c) < 0)
			return -EINVAL;
		n += utf8_put(c, out + n);
	}
	out[n] = '\0';
	*ret = slice_new(out, n);
	return 0;
}

/* --- ORCPT ------------------------------------------------------------------------------------------- */

static bool is_atom(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && (s.data[i] == '\0' || !strchr("!#$%&'*+-/=?^_`{|}~", s.data[i])))
			return false;
	return s.len > 0;
}

int orcpt_decode(struct arena *a, struct slice wire, bool allow_utf8, const char **ret)
{
	struct slice text, address = SLICE_NULL, type = slice_cut(wire, ';', &text);
	bool utf8 = slice_ieq_str(type, "utf-8");
	char *orcpt;
	int r;

	if (wire.len > ORCPT_MAX)
		return -E2BIG;
	if (!is_atom(type) || text.len == 0)
		return -EINVAL;
	/* RFC 6533 section 3: plain UTF-8 needs SMTPUTF8, the encoded form does not. */
	if (!text_is_ascii(text) && !(utf8 && allow_utf8))
		return -EILSEQ;
	if (utf8) {
		r = unitext_decode(a, text, &address);
		/* Some senders use xtext for this type, too: "+" can't stand for itself here. */
		if (r == 0 && text_is_ascii(text) && memchr(text.data, '+', text.len))
			r = xtext_decode(a, text, &address);
	} else {
		r = xtext_decode(a, text, &address);
	}
	if (r < 0)
		return r;
	if (address.len == 0 || text_has_control(address) || !utf8_valid(address))
		return -EINVAL;
	/* RFC 3461 section 4.2: of other types only ASCII can go into a notification. */
	if (!utf8 && !text_is_ascii(address))
		return -EINVAL;
	orcpt = arena_printf(a, "%.*s;%.*s", SLICE_ARG(type), SLICE_ARG(address));
	if (!orcpt)
		return -ENOMEM;
	for (char *p = orcpt; *p != ';'; p++)
		*p = ascii_lower(*p);
	*ret = orcpt;
	return 0;
}

int orcpt_encode(const char *orcpt, bool with_utf8, struct buffer *out)
{
	struct slice address, type = slice_cut(slice_from(orcpt), ';', &address);

	if (!is_atom(type) || address.len == 0)
		return -EINVAL;
	buffer_append_slice(out, type);
	buffer_append_char(out, ';');
	if (slice_eq_str(type, "utf-8"))
		return unitext(address, with_utf8, out) < 0 ? -EINVAL : 0;
	xtext_encode(address, out);
	return 0;
}
