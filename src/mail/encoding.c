#include "mail/encoding.h"

struct encoding_needs encoding_look(struct slice content)
{
	struct encoding_needs needs = { 0 };
	size_t line = 0;

	for (size_t i = 0; i < content.len; i++) {
		unsigned char c = (unsigned char) content.data[i];

		if (c >= 0x80)
			needs.eight_bit = true;
		if (c == '\r' && i + 1 < content.len && content.data[i + 1] == '\n') {
			line = 0;
			i++;
			continue;
		}
		if (c == '\0' || c == '\r' || c == '\n' || ++line > ENCODING_LINE_MAX)
			needs.binary = true;
	}
	return needs;
}

#define QP_LINE 76

/* RFC 2045 section 6.7. */
void quoted_printable_encode(struct slice text, struct buffer *out)
{
	size_t column = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char) text.data[i];
		bool crlf = c == '\r' && i + 1 < text.len && text.data[i + 1] == '\n';
		bool line_ends = i + 1 == text.len || (i + 2 < text.len && text.data[i + 1] == '\r' && text.data[i + 2] == '\n');
		bool plain = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !line_ends);
		size_t width = plain ? 1 : 3;

		if (crlf) {
			buffer_append_str(out, "\r\n");
			column = 0;
			i++;
			continue;
		}
		/* A leading "From " is spoiled by mailbox files, a leading dot by bad relays. */
		if (column == 0 && (c == '.' || c == 'F'))
			plain = false, width = 3;
		if (column + width > QP_LINE - 1) {
			buffer_append_str(out, "=\r\n");
			column = 0;
		}
		if (plain)
			buffer_append_char(out, (char) c);
		else
			buffer_printf(out, "=%02X", c);
		column += width;
	}
}

void base64_encode_lines(struct slice data, struct buffer *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t column = 0;

	for (size_t i = 0; i < data.len; i += 3) {
		size_t n = MIN(data.len - i, (size_t) 3);
		uint32_t v = 0;
		char quad[4];

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (k < n ? (unsigned char) data.data[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			quad[k] = k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
		buffer_append(out, quad, sizeof(quad));
		column += 4;
		if (column == 76 || i + 3 >= data.len) {
			buffer_append_str(out, "\r\n");
			column = 0;
		}
	}
}
