#include "smtp/data.h"

#include "smtp/scan.h"
#include "world/fiber.h"

#define GRACE_DEFAULT (5 * USEC_SEC)
#define IDLE_DEFAULT (3 * USEC_MIN)
#define FILLS_PER_TURN 64u /* at most 2 MiB */
#define DRAIN_DEFAULT ((uint64_t) 1024 * 1024)

/* What the octets before the present one mean. Only a CR LF that no other CR stands before makes a line
 * end: LINE_START is reached by it and by the beginning of the data, and only there is a dot special. */
enum state {
	LINE_START,
	TEXT,
	AFTER_CR,     /* one CR, already passed on */
	AFTER_CRS,    /* several: a LF that follows ends no line, CRs are never collapsed */
	AFTER_DOT,    /* a dot at the start of a line, held back */
	AFTER_DOT_CR, /* a dot and a CR, both held back */
};

const char *content_defect_name(unsigned defects)
{
	if (defects & CONTENT_BARE_LF)
		return "a bare LF";
	if (defects & CONTENT_BARE_CR)
		return "a bare CR";
	if (defects & CONTENT_NUL)
		return "a NUL";
	return "no defect";
}

void data_parser_init(struct data_parser *p)
{
	*p = (struct data_parser) { .state = LINE_START };
}

static void note(struct data_parser *p, unsigned defect, uint64_t offset)
{
	if (!p->defects)
		p->defect_offset = offset;
	p->defects |= defect;
}

/* One CR, LF or NUL in the text of a line. offset: its place in the content. */
static void control_octet(struct data_parser *p, char c, uint64_t offset)
{
	bool after_cr = p->state == AFTER_CR || p->state == AFTER_CRS;

	if (c == '\r') {
		if (after_cr)
			note(p, CONTENT_BARE_CR, offset - 1);
		p->state = after_cr ? AFTER_CRS : AFTER_CR;
	} else if (c == '\n') {
		if (!after_cr)
			note(p, CONTENT_BARE_LF, offset);
		p->state = p->state == AFTER_CR ? LINE_START : TEXT;
	} else {
		if (after_cr)
			note(p, CONTENT_BARE_CR, offset - 1);
		note(p, CONTENT_NUL, offset);
		p->state = TEXT;
	}
}

/* The same for many lines at once, as long as nothing about them is special. */
static size_t flawless_run(struct data_parser *p, const char *data, size_t len)
{
	struct scan_place place = { .line_start = p->state == LINE_START, .after_cr = p->state == AFTER_CR };
	size_t n;

	if (p->state == AFTER_CRS)
		return 0;
	n = scan_flawless(data, len, true, &place, &p->eight_bit);
	if (n > 0)
		p->state = place.line_start ? LINE_START : place.after_cr ? AFTER_CR : TEXT;
	return n;
}

/* Goes over data until something must be left out of the content (a dot at the start of a line) or it is used
 * up: returns the length of the run before it. p->state is then LINE_START with a dot coming, or anything. */
static size_t scan_run(struct data_parser *p, const char *data, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t n = flawless_run(p, data + i, len - i);

		if (n > 0) {
			i += n;
			continue;
		}
		if (p->state == LINE_START && data[i] == '.')
			break;
		n = scan_text(data + i, len - i, &p->eight_bit);
		if (n > 0) {
			if (p->state == AFTER_CR || p->state == AFTER_CRS)
				note(p, CONTENT_BARE_CR, p->octets + i - 1);
			p->state = TEXT;
			i += n;
			if (i == len)
				break;
		}
		/* The end of nearly every line. */
		if (likely(data[i] == '\r' && p->state != AFTER_CR && p->state != AFTER_CRS && len - i >= 2 &&
			   data[i + 1] == '\n')) {
			p->state = LINE_START;
			i += 2;
			continue;
		}
		control_octet(p, data[i], p->octets + i);
		i++;
	}
	return i;
}

static void remember_tail(struct data_parser *p, struct slice taken)
{
	size_t keep;

	p->received += taken.len;
	if (taken.len >= sizeof(p->tail)) {
		memcpy(p->tail, taken.data + taken.len - sizeof(p->tail), sizeof(p->tail));
		p->tail_len = sizeof(p->tail);
		return;
	}
	keep = MIN((size_t) p->tail_len, sizeof(p->tail) - taken.len);
	memmove(p->tail, p->tail + p->tail_len - keep, keep);
	if (taken.len > 0)
		memcpy(p->tail + keep, taken.data, taken.len);
	p->tail_len = (uint8_t) (keep + taken.len);
}

static void take(struct data_parser *p, struct slice *in, size_t n)
{
	remember_tail(p, slice_head(*in, n));
	*in = slice_skip(*in, n);
}

/* The octet behind a dot at the start of a line, or behind such a dot and a CR. */
static enum data_event held_back(struct data_parser *p, struct slice *in, struct slice *ret)
{
	char c = in->data[0];

	if (p->state == AFTER_DOT) {
		if (c == '\r') {
			take(p, in, 1);
			p->state = AFTER_DOT_CR;
			return DATA_MORE;
		}
		p->state = TEXT; /* the dot was stuffing, or should have been: it goes */
		return DATA_MORE;
	}
	if (c == '\n') {
		take(p, in, 1);
		p->state = LINE_START;
		return DATA_END;
	}
	/* A dot, a CR and something else: the CR is content after all, and what follows it is looked at as
	 * behind any other CR. */
	p->state = AFTER_CR;
	p->octets++;
	*ret = SLICE("\r");
	return DATA_RUN;
}

enum data_event data_parser_next(struct data_parser *p, struct slice *in, struct slice *ret)
{
	while (in->len > 0) {
		size_t n;

		if (p->state == AFTER_DOT || p->state == AFTER_DOT_CR) {
			enum data_event event = held_back(p, in, ret);

			if (event != DATA_MORE)
				return event;
			continue;
		}
		if (p->state == LINE_START && in->data[0] == '.') {
			take(p, in, 1);
			p->state = AFTER_DOT;
			continue;
		}
		n = scan_run(p, in->data, in->len);
		*ret = slice_head(*in, n);
		p->octets += n;
		take(p, in, n);
		return DATA_RUN;
	}
	return DATA_MORE;
}

bool data_parser_looks_ended(const struct data_parser *p)
{
	size_t i = p->tail_len;

	while (i > 0 && (p->tail[i - 1] == '\r' || p->tail[i - 1] == '\n'))
		i--;
	if (i == p->tail_len || i == 0 || p->tail[i - 1] != '.')
		return false;
	i--;
	if (i == 0)
		return p->received == p->tail_len; /* the very first octet of the data */
	return p->tail[i - 1] == '\r' || p->tail[i - 1] == '\n';
}

usec_t content_deadline(const struct content_limits *limits)
{
	usec_t idle = deadline_after(now(), limits->idle_timeout ? limits->idle_timeout : IDLE_DEFAULT);

	return limits->deadline ? MIN(limits->deadline, idle) : idle;
}

ssize_t content_fill(struct stream *s, usec_t deadline, unsigned *fills)
{
	ssize_t n;
	int r;

	if (++*fills % FILLS_PER_TURN == 0) {
		r = fiber_yield();
		if (r < 0)
			return r;
	}
	n = stream_fill(s, deadline);
	return n == 0 ? -ECONNRESET : n;
}

uint64_t content_drain(const struct content_limits *limits)
{
	return limits->max_drain ? limits->max_drain : MAX(limits->max_octets, DRAIN_DEFAULT);
}

/* --- the driver ---------------------------------------------------------------------------------------- */

struct copy {
	struct stream *stream;
	const struct content_sink *sink;
	const struct content_limits *limits;
	struct data_parser parser;
	int lost;               /* the sink's error, or -E2BIG: nothing more goes to the sink */
	uint64_t lost_at;       /* parser.received then */
	unsigned fills;
};

static void lose(struct copy *c, int error)
{
	if (c->lost)
		return;
	c->lost = error;
	c->lost_at = c->parser.received;
}

/* Hands what is in the stream's buffer on. True when the end was in it. */
static bool copy_buffered(struct copy *c)
{
	struct slice all = stream_peek(c->stream), rest = all, run;
	const struct content_limits *l = c->limits;
	enum data_event event;

	while ((event = data_parser_next(&c->parser, &rest, &run)) == DATA_RUN) {
		int r;

		if (c->parser.defects & ~l->tolerated)
			lose(c, -EBADMSG);
		else if (l->max_octets && c->parser.octets > l->max_octets)
			lose(c, -E2BIG);
		if (c->lost)
			continue;
		r = c->sink->write(c->sink->context, run);
		if (r < 0)
			lose(c, r);
	}
	stream_consume(c->stream, all.len - rest.len);
	return event == DATA_END;
}

/* Waits for more octets: >0, or why there are none. -EAGAIN: the client pauses behind what it may hold for
 * the end of defective content. */
static ssize_t copy_fill(struct copy *c)
{
	const struct content_limits *l = c->limits;
	usec_t deadline = content_deadline(l);
	bool pause = c->parser.defects && data_parser_looks_ended(&c->parser);
	ssize_t n;

	if (pause) {
		usec_t soon = deadline_after(now(), l->grace ? l->grace : GRACE_DEFAULT);

		pause = soon < deadline;
		deadline = MIN(deadline, soon);
	}
	n = content_fill(c->stream, deadline, &c->fills);
	if (n == -ETIMEDOUT && pause)
		return -EAGAIN;
	return n;
}

static bool drained_enough(const struct copy *c)
{
	return c->lost && c->parser.received - c->lost_at > content_drain(c->limits);
}

/* The worst of what went wrong; a defect weighs more than the size, which weighs more than the sink. */
static int copy_verdict(const struct copy *c, bool ended)
{
	const struct data_parser *p = &c->parser;

	if (p->defects & ~c->limits->tolerated || (p->defects && !ended))
		return -EBADMSG;
	if (c->limits->max_octets && p->octets > c->limits->max_octets)
		return -E2BIG;
	return c->lost;
}

int smtp_copy_data(struct stream *s, const struct content_sink *sink, const struct content_limits *limits,
		   struct content_result *ret)
{
	struct copy c = { .stream = s, .sink = sink, .limits = limits };
	bool ended;
	int r = 0;

	data_parser_init(&c.parser);
	while (!(ended = copy_buffered(&c))) {
		ssize_t n;

		if (drained_enough(&c))
			break;
		n = copy_fill(&c);
		if (n < 0) {
			r = n == -EAGAIN ? 0 : (int) n;
			break;
		}
	}
	*ret = (struct content_result) {
		.ended = ended,
		.defects = c.parser.defects,
		.defect_offset = c.parser.defect_offset,
		.octets = c.parser.octets,
		.eight_bit = c.parser.eight_bit,
	};
	return r < 0 ? r : copy_verdict(&c, ended);
}
