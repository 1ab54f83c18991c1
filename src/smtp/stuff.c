#include "smtp/stuff.h"

#include "smtp/scan.h"

enum state {
	LINE_START,
	TEXT,
	AFTER_CR, /* a CR at the end of the last piece, held back */
};

void stuffer_init(struct stuffer *t, enum stuff_mode mode)
{
	*t = (struct stuffer) { .mode = mode, .state = LINE_START };
}

/* How much of data can go as it is. What comes behind it needs a change: a dot at the start of a line, a
 * stray CR or LF, or a CR at the very end. */
static size_t plain_run(struct stuffer *t, const char *data, size_t len)
{
	bool eight_bit = false;
	size_t i = 0;

	while (i < len) {
		struct scan_place place = { .line_start = t->state == LINE_START };
		size_t n = scan_flawless(data + i, len - i, t->mode == STUFF_DATA, &place, &eight_bit);

		if (n > 0) {
			/* A CR at the end of a block is looked at again, with what follows it. */
			t->state = place.line_start ? LINE_START : TEXT;
			i += n - place.after_cr;
			continue;
		}
		if (t->state == LINE_START && data[i] == '.' && t->mode == STUFF_DATA)
			break;
		n = scan_text(data + i, len - i, &eight_bit);
		if (n == 0 && data[i] == '\r' && len - i >= 2 && data[i + 1] == '\n') {
			t->state = LINE_START;
			i += 2;
			continue;
		}
		if (n == 0 && data[i] != '\0')
			break;
		t->state = TEXT;
		i += MAX(n, (size_t) 1); /* a NUL passes; whoever took the message decided about it */
	}
	return i;
}

static struct slice replace(struct stuffer *t)
{
	t->replaced++;
	t->state = TEXT;
	return SLICE(" ");
}

/* A LF alone that means a line end. In BDAT it stays as it is: the size was said before. */
static struct slice line_end(struct stuffer *t)
{
	if (t->mode == STUFF_BDAT) {
		t->state = TEXT;
		return SLICE("\n");
	}
	t->replaced++;
	t->state = LINE_START;
	return SLICE("\r\n");
}

bool stuffer_next(struct stuffer *t, struct slice *in, struct slice *ret)
{
	if (t->mode == STUFF_BINARY && in->len > 0) {
		*ret = *in;
		*in = SLICE_NULL;
		return true;
	}
	while (in->len > 0) {
		size_t n;
		char c = in->data[0];

		if (t->state == AFTER_CR) {
			if (c == '\n') {
				*in = slice_skip(*in, 1);
				t->state = LINE_START;
				*ret = SLICE("\r\n");
			} else {
				*ret = replace(t);
			}
			return true;
		}
		n = plain_run(t, in->data, in->len);
		if (n > 0) {
			*ret = slice_head(*in, n);
			*in = slice_skip(*in, n);
			return true;
		}
		*in = slice_skip(*in, 1);
		if (c == '.') {
			t->dots++;
			t->state = TEXT;
			*ret = SLICE("..");
			return true;
		}
		if (c == '\r' && in->len == 0) {
			t->state = AFTER_CR;
			return false;
		}
		*ret = c == '\n' && t->bare_lf ? line_end(t) : replace(t);
		return true;
	}
	return false;
}

struct slice stuffer_finish(struct stuffer *t)
{
	struct slice end = SLICE("\r\n.\r\n");
	bool held = t->state == AFTER_CR, at_start = t->state == LINE_START;

	if (held)
		t->replaced++;
	t->state = LINE_START;
	if (t->mode != STUFF_DATA)
		return held ? SLICE(" ") : SLICE("");
	if (held)
		return SLICE(" \r\n.\r\n");
	return at_start ? slice_skip(end, 2) : end;
}

int stuffer_put(struct stuffer *t, struct stream *s, struct slice piece, usec_t deadline)
{
	struct slice run;

	while (stuffer_next(t, &piece, &run)) {
		int r = stream_put(s, run, deadline);

		if (r < 0)
			return r;
	}
	return 0;
}

int stuffer_end(struct stuffer *t, struct stream *s, usec_t deadline)
{
	return stream_put(s, stuffer_finish(t), deadline);
}
