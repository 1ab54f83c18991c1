#include "smtp/reply.h"

#include <stdio.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "mail/status.h"
#include "mail/text.h"

static struct status enhanced_of(const struct reply *r)
{
	return (struct status) { r->enhanced[0], r->enhanced[1], r->enhanced[2] };
}

/* --- what we give --------------------------------------------------------------------------------------- */

/* How many octets of s fit into `room` without cutting a character of UTF-8 or, where it can be avoided, a
 * word. At least one octet when s has one. */
static size_t piece_length(struct slice s, size_t room)
{
	size_t n = room;

	if (s.len <= room)
		return s.len;
	for (size_t i = room; i > room / 2; i--)
		if (s.data[i] == ' ')
			return i;
	while (n > 1 && ((unsigned char) s.data[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* RFC 2034 section 3: the enhanced code stands on each line of a reply. RFC 5321 section 4.5.3.1.5: a line
 * has at most 512 octets. */
void reply_format(const struct reply *r, struct buffer *out)
{
	struct slice text = slice_from(r->text ? r->text : "");
	char code[STATUS_TEXT + 1] = "";
	size_t room;

	if (r->enhanced[0]) {
		status_format(enhanced_of(r), code);
		strcat(code, " ");
	}
	room = REPLY_LINE_MAX - strlen("250-\r\n") - strlen(code);
	do {
		struct slice line = slice_cut(text, '\n', &text);

		do {
			size_t n = piece_length(line, room);
			struct slice rest = slice_skip(line, n);
			bool last;

			while (rest.len > 0 && n > 0 && rest.data[0] == ' ')
				rest = slice_skip(rest, 1);
			last = rest.len == 0 && !text.data;
			buffer_printf(out, "%03u%c%s", (unsigned) r->code % 1000, last ? ' ' : '-', code);
			text_append_clean(out, slice_head(line, n));
			buffer_append_str(out, "\r\n");
			line = rest;
		} while (line.len > 0);
	} while (text.data);
}

char *reply_to_line(const struct reply *r, struct arena *a)
{
	struct slice text = slice_from(r->text ? r->text : "");
	size_t breaks = 0;
	char *line, *p;

	for (size_t i = 0; i < text.len; i++)
		breaks += text.data[i] == '\n';
	line = arena_alloc(a, strlen("250 ") + STATUS_TEXT + 1 + text.len + 2 * breaks + 1);
	if (!line)
		return NULL;
	p = line + sprintf(line, "%03u", (unsigned) r->code % 1000);
	if (r->enhanced[0]) {
		*p++ = ' ';
		p += strlen(status_format(enhanced_of(r), p));
	}
	if (text.len > 0)
		*p++ = ' ';
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char) text.data[i];

		if (c == '\n')
			p = mempcpy(p, " / ", 3);
		else
			*p++ = c < ' ' || c == 0x7f ? ' ' : (char) c;
	}
	*p = '\0';
	return line;
}

/* --- what we get ---------------------------------------------------------------------------------------- */

void reply_parser_init(struct reply_parser *p, struct arena *a)
{
	*p = (struct reply_parser) { .arena = a };
}

/* Room for n more octets of text and its end. */
static char *text_room(struct reply_parser *p, size_t n)
{
	size_t need = p->text_len + n + 1, capacity = MAX(2 * p->text_capacity, (size_t) 128);
	char *text;

	if (need <= p->text_capacity)
		return p->text + p->text_len;
	capacity = MAX(capacity, need);
	text = arena_alloc(p->arena, capacity);
	if (!text)
		return NULL;
	if (p->text_len > 0)
		memcpy(text, p->text, p->text_len);
	p->text = text;
	p->text_capacity = capacity;
	return text + p->text_len;
}

/* The text goes into logs, events and notifications: it is made printable, and UTF-8. */
static int append_text(struct reply_parser *p, struct slice s)
{
	bool valid = utf8_valid(s);
	char *to = p->text_lost ? NULL : text_room(p, s.len + 1);

	if (!to) {
		p->text_lost = p->code_will_do;
		return p->code_will_do ? 0 : -ENOMEM;
	}
	if (p->lines > 0)
		*to++ = '\n';
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char) s.data[i];

		if (c < ' ' || c == 0x7f)
			*to++ = ' ';
		else
			*to++ = c >= 0x80 && !valid ? '?' : (char) c;
	}
	*to = '\0';
	p->text_len = (size_t) (to - p->text);
	p->reply.text = p->text;
	return 0;
}

/* Takes the enhanced code off the front of a line. The reply's is the first that fits its code; on the
 * other lines it is only repeated. */
static void take_status(struct reply_parser *p, struct slice *text)
{
	struct reply *r = &p->reply;
	struct status status;

	if (status_parse(text, &status) < 0 || status.class != r->code / 100 || r->enhanced[0])
		return;
	r->enhanced[0] = status.class;
	r->enhanced[1] = status.subject;
	r->enhanced[2] = status.detail;
}

/* RFC 5321 section 4.2: three digits, then the end, a space, or a hyphen when more lines follow. All lines of a
 * reply should have the same code; of a server that does not keep to it the last one counts. */
int reply_parser_line(struct reply_parser *p, struct slice line)
{
	struct slice text = slice_skip(line, 4);
	int code, r;
	char mark;

	if (p->done)
		return -EPROTO;
	for (size_t i = 0; i < 3; i++)
		if (i >= line.len || !ascii_is_digit(line.data[i]))
			return -EPROTO;
	code = (line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 + (line.data[2] - '0');
	mark = line.len > 3 ? line.data[3] : ' ';
	if (code < 200 || code > 599 || (mark != ' ' && mark != '-'))
		return -EPROTO;
	if (p->lines == REPLY_LINES_MAX)
		return -E2BIG;
	if (code != p->reply.code)
		p->reply = (struct reply) { .code = code, .text = p->reply.text };
	take_status(p, &text);
	r = append_text(p, text);
	if (r < 0)
		return r;
	p->lines++;
	p->done = mark == ' ';
	return p->done;
}
