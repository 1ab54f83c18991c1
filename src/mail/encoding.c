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
static void qp_octet(struct quoted_printable *q, unsigned char c, bool at_end, struct buffer *out)
{
	bool plain = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !at_end);
	unsigned width;

	/* A leading "From " is spoiled by mailbox files, a leading dot by bad relays. */
	if (q->column == 0 && (c == '.' || c == 'F'))
		plain = false;
	width = plain ? 1 : 3;
	if (q->column + width > QP_LINE - 1) {
		buffer_append_str(out, "=\r\n");
		q->column = 0;
	}
	if (plain)
		buffer_append_char(out, (char) c);
	else
		buffer_printf(out, "=%02X", c);
	q->column += width;
}

/* What is held: a blank, a CR, or a blank and a CR. */
static void qp_release(struct quoted_printable *q, bool line_ends, bool crlf, struct buffer *out)
{
	unsigned n = q->n_held - (crlf ? 1 : 0);

	for (unsigned i = 0; i < n; i++)
		qp_octet(q, (unsigned char) q->held[i], line_ends && i + 1 == n, out);
	q->n_held = 0;
	if (!crlf)
		return;
	buffer_append_str(out, "\r\n");
	q->column = 0;
}

void quoted_printable_feed(struct quoted_printable *q, struct slice text, struct buffer *out)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		bool after_cr = q->n_held > 0 && q->held[q->n_held - 1] == '\r';

		if (c == '\n' && after_cr) {
			qp_release(q, true, true, out);
			continue;
		}
		if (after_cr || (q->n_held > 0 && c != '\r'))
			qp_release(q, false, false, out);
		if (c == ' ' || c == '\t' || c == '\r')
			q->held[q->n_held++] = c;
		else
			qp_octet(q, (unsigned char) c, false, out);
	}
}

void quoted_printable_end(struct quoted_printable *q, struct buffer *out)
{
	qp_release(q, true, false, out);
}

void quoted_printable_encode(struct slice text, struct buffer *out)
{
	struct quoted_printable q = { 0 };

	quoted_printable_feed(&q, text, out);
	quoted_printable_end(&q, out);
}

static void base64_quad(struct base64_lines *b, struct buffer *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v = 0;
	char quad[4];

	for (unsigned k = 0; k < 3; k++)
		v = v << 8 | (k < b->n_held ? b->held[k] : 0);
	for (unsigned k = 0; k < 4; k++)
		quad[k] = k <= b->n_held ? digits[v >> (18 - 6 * k) & 63] : '=';
	buffer_append(out, quad, sizeof(quad));
	b->n_held = 0;
	b->column += 4;
	if (b->column < 76)
		return;
	buffer_append_str(out, "\r\n");
	b->column = 0;
}

void base64_lines_feed(struct base64_lines *b, struct slice data, struct buffer *out)
{
	for (size_t i = 0; i < data.len; i++) {
		b->held[b->n_held++] = (unsigned char) data.data[i];
		if (b->n_held == 3)
			base64_quad(b, out);
	}
}

void base64_lines_end(struct base64_lines *b, struct buffer *out)
{
	if (b->n_held > 0)
		base64_quad(b, out);
	if (b->column > 0)
		buffer_append_str(out, "\r\n");
	b->column = 0;
}

void base64_encode_lines(struct slice data, struct buffer *out)
{
	struct base64_lines b = { 0 };

	base64_lines_feed(&b, data, out);
	base64_lines_end(&b, out);
}
