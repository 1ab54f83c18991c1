#include "smtp/line.h"

#include "world/fiber.h"

#define PAUSE USEC_SEC /* behind a bare LF */
#define SHORT_OF_MEMORY (100 * USEC_MS)

void line_reader_init(struct line_reader *r, struct stream *s)
{
	*r = (struct line_reader) { .stream = s };
}

/* Looks for the end of the line in buf: *ret_text is the length without it, *ret_all with it. */
static bool find_end(const struct line_reader *r, struct slice buf, size_t *ret_text, size_t *ret_all)
{
	size_t from = 0;

	while (from < buf.len) {
		const char *lf = memchr(buf.data + from, '\n', buf.len - from);
		size_t at;
		bool crlf;

		if (!lf)
			return false;
		at = (size_t) (lf - buf.data);
		crlf = at > 0 && buf.data[at - 1] == '\r';
		if (crlf || r->accept_bare_lf) {
			*ret_text = at - crlf;
			*ret_all = at + 1;
			return true;
		}
		from = at + 1;
	}
	return false;
}

static unsigned find_defects(struct slice text)
{
	unsigned defects = 0;

	if (text.len == 0)
		return 0;
	if (memchr(text.data, '\r', text.len))
		defects |= LINE_BARE_CR;
	if (memchr(text.data, '\n', text.len))
		defects |= LINE_BARE_LF;
	if (memchr(text.data, '\0', text.len))
		defects |= LINE_NUL;
	return defects;
}

/* What was dropped of a line that is too long. */
struct dropped {
	size_t octets;
	unsigned defects;
};

/* Takes the beginning of a line that is too long out of the buffer, all but a CR at the end, whose LF may
 * follow. */
static void drop(struct line_reader *r, struct slice buf, struct dropped *d)
{
	size_t n = buf.data[buf.len - 1] == '\r' ? buf.len - 1 : buf.len;

	d->octets += n;
	d->defects |= find_defects(slice_head(buf, n));
	stream_consume(r->stream, n);
}

static int refuse(struct line_reader *r, unsigned defects)
{
	r->defects = defects;
	return -EBADMSG;
}

/* The buffer holds a part of a line: waits for more of it. 0: go on. */
static int read_more(struct line_reader *r, struct dropped *d, usec_t deadline)
{
	struct slice buf = stream_peek(r->stream);
	bool behind_lf = !r->accept_bare_lf && buf.len > 0 && buf.data[buf.len - 1] == '\n';
	bool begun = buf.len > 0 || d->octets > 0;
	usec_t until = deadline;
	ssize_t n;

	if (behind_lf)
		until = MIN(deadline, deadline_after(now(), PAUSE));
	n = stream_fill(r->stream, until);
	if (n > 0)
		return 0;
	if (n == 0)
		return begun ? -ECONNRESET : -ENODATA;
	if (n == -ETIMEDOUT && behind_lf && until < deadline) {
		buf = stream_peek(r->stream);
		d->defects |= find_defects(buf);
		stream_consume(r->stream, buf.len);
		return refuse(r, d->defects);
	}
	return (int) n;
}

int smtp_read_line(struct line_reader *r, size_t max, usec_t deadline, struct slice *ret)
{
	struct dropped dropped = { 0 };

	assert(max < STREAM_BUFFER - 2);
	for (;;) {
		struct slice buf = stream_peek(r->stream);
		size_t text_len, all_len;
		int res;

		if (find_end(r, buf, &text_len, &all_len)) {
			struct slice text = slice_head(buf, text_len);

			stream_consume(r->stream, all_len);
			dropped.defects |= find_defects(text);
			if (dropped.defects)
				return refuse(r, dropped.defects);
			if (dropped.octets + text_len > max)
				return -E2BIG;
			*ret = text;
			return 0;
		}
		if (buf.len > max + 1)
			drop(r, buf, &dropped);
		if (dropped.octets > LINE_DROP_MAX)
			return -EMSGSIZE;
		res = read_more(r, &dropped, deadline);
		if (res < 0)
			return res;
	}
}

static int read_reply(struct line_reader *r, struct reply_parser *parser, usec_t deadline, struct reply *ret)
{
	for (;;) {
		struct slice line;
		int res;

		res = smtp_read_line(r, REPLY_LINE_ACCEPT, deadline, &line);
		if (res < 0)
			return res;
		res = reply_parser_line(parser, line);
		if (res < 0)
			return res;
		if (res > 0) {
			*ret = parser->reply;
			return 0;
		}
	}
}

int smtp_read_reply(struct line_reader *r, struct arena *a, usec_t deadline, struct reply *ret)
{
	struct reply_parser parser;

	reply_parser_init(&parser, a);
	return read_reply(r, &parser, deadline, ret);
}

int smtp_read_verdict(struct line_reader *r, struct arena *a, usec_t deadline, struct reply *ret)
{
	struct reply_parser parser;
	int res;

	reply_parser_init(&parser, a);
	parser.code_will_do = true;
	for (;;) {
		res = read_reply(r, &parser, deadline, ret);
		if (res != -ENOMEM)
			return res;
		/* Not even a buffer to read it into: it stays with the kernel. */
		res = fiber_sleep_until(MIN(deadline, deadline_after(now(), SHORT_OF_MEMORY)));
		if (res < 0 || now() >= deadline)
			return res < 0 ? res : -ENOMEM;
	}
}
