#include "mail/downgrade.h"

#include <errno.h>

#include "mail/content_type.h"
#include "mail/encoding.h"
#include "mail/header.h"

#define HEADER_MAX (1u << 20) /* of one part */
#define PARTS_MAX 10000u
#define DEPTH_MAX 50u
#define LINE_ROOM 2048u       /* longer lines are looked at in pieces; none of them is a boundary */

enum coding { CODING_NONE, CODING_QP, CODING_BASE64 };

/* What the first pass finds out about an entity: a leaf, or a composite. */
struct entity {
	uint64_t octets, high;
	bool binary;    /* NUL, bare CR or LF, a line that is too long */
	bool composite; /* its own content is that of its parts */
	bool text;
	bool encoded;   /* says that it is quoted-printable or base64 */
	bool relabel;   /* says 8bit or binary, and won't be */
	bool fixed;     /* its type may not be encoded */
	bool typed;     /* it has a Content-Type */
	bool open_end;  /* it ends in front of a boundary without the CRLF that belongs to that */
	unsigned sealed; /* how many multiparts around it are signed */
	enum coding coding;
};

struct level {
	const char *boundary; /* NULL: a message within a message */
	bool digest;          /* its parts are messages unless they say something else */
	unsigned sealed;
};

enum where { IN_HEADER, IN_LEAF, BETWEEN /* preamble, epilogue */ };

struct downgrade {
	struct arena *arena;
	enum downgrade_goal goal;
	bool writing;
	bool top_signed; /* DKIM-Signature or its like in the header of the whole */
	struct buffer entities;  /* of struct entity */
	unsigned n_entities, present; /* found; the one that we are in, in either pass */

	enum where where;
	bool default_message;    /* the entity whose header is read, when it has no Content-Type */
	struct buffer head;      /* the header section that is being read */
	struct level levels[DEPTH_MAX];
	unsigned depth;
	bool at_start;           /* of a line */
	unsigned n_text;
	char text[LINE_ROOM];    /* the line so far */
	unsigned line;           /* octets of this line of a leaf */
	bool after_cr;
	bool held_crlf;          /* belongs to the leaf, or to the boundary behind it */
	struct quoted_printable qp;
	struct base64_lines base64;
	struct buffer *out;
};

static struct entity *entity_at(const struct downgrade *d, unsigned i)
{
	return (struct entity *) (void *) d->entities.data + i;
}

static struct entity *entity_now(const struct downgrade *d)
{
	return entity_at(d, d->present);
}

static void put(struct downgrade *d, struct slice s)
{
	if (d->writing)
		buffer_append(d->out, s.data, s.len);
}

/* --- the content of a leaf ------------------------------------------------------------------------------------------ */

static void look_at_content(struct downgrade *d, struct slice s)
{
	struct entity *e = entity_now(d);

	e->octets += s.len;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char) s.data[i];
		bool crlf = c == '\n' && d->after_cr;

		e->high += c >= 0x80;
		if (c == '\0' || (c == '\n') != d->after_cr)
			e->binary = true;
		d->after_cr = c == '\r';
		d->line = crlf ? 0 : d->line + 1;
		if (d->line > ENCODING_LINE_MAX + 1) /* the CR counts */
			e->binary = true;
	}
}

static void leaf_content(struct downgrade *d, struct slice s)
{
	const struct entity *e = entity_now(d);

	if (!d->writing)
		look_at_content(d, s);
	else if (e->coding == CODING_QP)
		quoted_printable_feed(&d->qp, s, d->out);
	else if (e->coding == CODING_BASE64)
		base64_lines_feed(&d->base64, s, d->out);
	else
		put(d, s);
}

static int decide(struct downgrade *d, struct entity *e)
{
	bool needs = e->binary || (d->goal == SEVEN_BIT && e->high > 0);

	if (!needs)
		return 0;
	if (e->encoded || e->fixed)
		return -EINVAL;
	/* Text of a Latin script stays readable; of another, base64 is shorter. Where an LF alone stands in front of a boundary,
	 * quoted-printable would make one line of them, and the boundary would be none. */
	e->coding = e->text && !e->open_end && e->high * 4 <= e->octets ? CODING_QP : CODING_BASE64;
	return 0;
}

/* The CRLF in front of a boundary is the boundary's (RFC 2046 section 5.1.1); base64 has its own at the end. */
static int leaf_end(struct downgrade *d, bool at_boundary)
{
	struct entity *e = entity_now(d);
	bool crlf = d->held_crlf;

	d->held_crlf = false;
	if (crlf && !at_boundary)
		leaf_content(d, SLICE("\r\n"));
	if (!d->writing) {
		e->binary |= d->after_cr;
		e->open_end = at_boundary && !crlf && e->octets > 0;
	}
	if (d->writing && e->coding == CODING_QP)
		quoted_printable_end(&d->qp, d->out);
	if (d->writing && e->coding == CODING_BASE64)
		base64_lines_end(&d->base64, d->out);
	if (crlf && at_boundary && !(e->coding == CODING_BASE64 && e->octets > 0))
		put(d, SLICE("\r\n"));
	return d->writing ? 0 : decide(d, e);
}

/* --- headers -------------------------------------------------------------------------------------------------------- */

static bool is_signature(const struct header_field *f)
{
	return slice_ieq_str(f->name, "DKIM-Signature") || slice_ieq_str(f->name, "ARC-Message-Signature");
}

/* A new level. */
static int enter(struct downgrade *d, const char *boundary, bool digest, bool sealed)
{
	unsigned before = d->depth > 0 ? d->levels[d->depth - 1].sealed : 0;

	if (d->depth == DEPTH_MAX)
		return -E2BIG;
	d->levels[d->depth++] = (struct level) { .boundary = boundary, .digest = digest, .sealed = before + sealed };
	return 0;
}

static void begin_header(struct downgrade *d, bool default_message)
{
	d->where = IN_HEADER;
	d->default_message = default_message;
	buffer_clear(&d->head);
}

static int new_entity(struct downgrade *d, const struct entity *e)
{
	if (d->n_entities == PARTS_MAX)
		return -E2BIG;
	buffer_append(&d->entities, (const char *) e, sizeof(*e));
	if (buffer_error(&d->entities) < 0)
		return -ENOMEM;
	d->present = d->n_entities++;
	return 0;
}

/* RFC 2046 sections 5.2.2, 5.2.3: these are 7-bit, and stay what they are. */
static bool is_fixed(const struct content_type *t)
{
	return content_type_is(t, "message", "partial") || content_type_is(t, "message", "external-body");
}

static void read_fields(const struct downgrade *d, struct slice head, struct slice *type, struct slice *coding, bool *signature)
{
	struct header_field f;

	*type = *coding = SLICE_NULL;
	*signature = false;
	while (header_next(&head, &f)) {
		if (slice_ieq_str(f.name, "Content-Type") && !type->data)
			*type = f.value;
		if (slice_ieq_str(f.name, "Content-Transfer-Encoding") && !coding->data)
			*coding = transfer_encoding(f.value);
		*signature = *signature || (d->n_entities == 0 && is_signature(&f));
	}
}

static void write_field(struct downgrade *d, const struct entity *e)
{
	const char *coding = e->coding == CODING_QP       ? "quoted-printable"
			     : e->coding == CODING_BASE64 ? "base64"
			     : e->high > 0 || (e->composite && d->goal == EIGHT_BIT) ? "8bit"
							  : "7bit";

	/* RFC 1428: nobody said in which character set it is. */
	if (d->present == 0 && !e->typed)
		buffer_append_str(d->out, "MIME-Version: 1.0\r\n");
	if (!e->typed && e->coding != CODING_NONE)
		buffer_append_str(d->out, "Content-Type: text/plain; charset=unknown-8bit\r\n");
	buffer_printf(d->out, "Content-Transfer-Encoding: %s\r\n", coding);
}

/* The header as it was, but for the field that names the encoding. */
static void write_header(struct downgrade *d)
{
	const struct entity *e = entity_now(d);
	struct slice rest = buffer_slice(&d->head);
	struct header_field f;

	if (e->coding == CODING_NONE && !e->relabel) {
		put(d, rest);
		return;
	}
	while (header_next(&rest, &f))
		if (!slice_ieq_str(f.name, "Content-Transfer-Encoding"))
			put(d, f.raw);
	write_field(d, e);
	put(d, rest);
}

/* What the entity is, and where its parts are. */
static int open_entity(struct downgrade *d, const struct content_type *t)
{
	if (strcmp(t->type, "multipart") == 0 && t->boundary) {
		d->where = BETWEEN;
		return enter(d, t->boundary, strcmp(t->subtype, "digest") == 0,
			     strcmp(t->subtype, "signed") == 0 || strcmp(t->subtype, "encrypted") == 0);
	}
	if (content_type_is(t, "message", "rfc822")) {
		begin_header(d, false);
		return enter(d, NULL, false, false);
	}
	d->where = IN_LEAF;
	d->line = 0;
	d->after_cr = false;
	d->qp = (struct quoted_printable) { 0 };
	d->base64 = (struct base64_lines) { 0 };
	return 0;
}

static int end_of_header(struct downgrade *d)
{
	static const struct content_type plain = { "text", "plain", NULL }, message = { "message", "rfc822", NULL };
	struct content_type t = d->default_message ? message : plain;
	struct slice type, coding;
	struct entity e = { .sealed = d->depth > 0 ? d->levels[d->depth - 1].sealed : 0 };
	bool signature;
	int r;

	read_fields(d, buffer_slice(&d->head), &type, &coding, &signature);
	d->top_signed = d->top_signed || signature;
	e.typed = type.data != NULL;
	r = type.data ? content_type_parse(type, d->arena, &t) : 0;
	if (r == -ENOMEM)
		return r;
	e.encoded = slice_ieq_str(coding, "quoted-printable") || slice_ieq_str(coding, "base64");
	/* The parts of what claims to be encoded as a whole can't be told. */
	if (e.encoded && (strcmp(t.type, "multipart") == 0 || content_type_is(&t, "message", "rfc822")))
		t = (struct content_type) { "application", "octet-stream", NULL };
	e.composite = (strcmp(t.type, "multipart") == 0 && t.boundary) || content_type_is(&t, "message", "rfc822");
	e.text = strcmp(t.type, "text") == 0;
	e.fixed = is_fixed(&t);
	e.relabel = slice_ieq_str(coding, "binary") || (d->goal == SEVEN_BIT && slice_ieq_str(coding, "8bit"));
	if (d->writing) {
		d->present++;
		if (d->present >= d->n_entities)
			return -EBADMSG;
		write_header(d);
	} else {
		r = new_entity(d, &e);
		if (r < 0)
			return r;
	}
	return open_entity(d, &t);
}

/* --- lines ---------------------------------------------------------------------------------------------------------- */

/* Is the line one of the boundaries that are open? Returns how many levels stay open, or -1. */
static int find_boundary(const struct downgrade *d, struct slice line, bool *ret_last)
{
	while (line.len > 0 && strchr("\r\n \t", line.data[line.len - 1]))
		line.len--;
	if (!slice_istarts(line, "--"))
		return -1;
	line = slice_skip(line, 2);
	for (unsigned i = d->depth; i-- > 0;) {
		struct slice b = slice_from(d->levels[i].boundary);

		if (!b.data || line.len < b.len || !slice_eq(slice_head(line, b.len), b))
			continue;
		if (line.len == b.len || (line.len == b.len + 2 && line.data[b.len] == '-' && line.data[b.len + 1] == '-')) {
			*ret_last = line.len > b.len;
			return (int) i + 1;
		}
	}
	return -1;
}

/* A part ends where a boundary of any level stands, also one whose own end never came. */
static int take_boundary(struct downgrade *d, struct slice line, int open, bool last)
{
	int r = 0;

	if (d->where == IN_HEADER)
		r = end_of_header(d); /* a header without a body */
	if (r >= 0 && d->where == IN_LEAF)
		r = leaf_end(d, true);
	if (r < 0)
		return r;
	put(d, line);
	d->depth = (unsigned) open;
	if (last) {
		d->depth--;
		d->where = BETWEEN;
	} else {
		begin_header(d, d->levels[d->depth - 1].digest);
	}
	return 0;
}

/* Nobody reads what stands between the parts; 8-bit text there is not worth a bounce. */
static void put_between(struct downgrade *d, struct slice s)
{
	for (size_t i = 0; d->writing && i < s.len; i++)
		buffer_append_char(d->out, (unsigned char) s.data[i] >= 0x80 || s.data[i] == '\0' ? '?' : s.data[i]);
}

/* Some octets of a line, its end among them or not. */
static int take_text(struct downgrade *d, struct slice s)
{
	bool ends = s.len > 0 && s.data[s.len - 1] == '\n';
	bool blank = d->at_start && (slice_eq_str(s, "\r\n") || slice_eq_str(s, "\n"));
	bool crlf;

	switch (d->where) {
	case BETWEEN:
		put_between(d, s);
		return 0;
	case IN_HEADER:
		if (d->head.len + s.len > HEADER_MAX)
			return -E2BIG;
		buffer_append(&d->head, s.data, s.len);
		if (buffer_error(&d->head) < 0)
			return -ENOMEM;
		return blank ? end_of_header(d) : 0;
	case IN_LEAF:
		break;
	}
	if (d->held_crlf)
		leaf_content(d, SLICE("\r\n"));
	crlf = ends && s.len >= 2 && s.data[s.len - 2] == '\r';
	d->held_crlf = crlf;
	leaf_content(d, slice_head(s, s.len - (crlf ? 2 : 0)));
	return 0;
}

/* A line with its end, or a part of one that is too long. */
static int take_line(struct downgrade *d, struct slice s)
{
	bool last;
	int open = d->at_start ? find_boundary(d, s, &last) : -1;
	int r = open > 0 ? take_boundary(d, s, open, last) : take_text(d, s);

	d->at_start = s.data[s.len - 1] == '\n';
	return r;
}

/* The room is full, and the line goes on. A CR stays, since it may belong to the end. */
static int make_room(struct downgrade *d)
{
	unsigned keep = d->text[d->n_text - 1] == '\r';
	int r = take_line(d, slice_new(d->text, d->n_text - keep));

	d->text[0] = '\r';
	d->n_text = keep;
	return r;
}

static int feed(struct downgrade *d, struct slice piece)
{
	int r = 0;

	for (size_t i = 0; i < piece.len && r >= 0; i++) {
		if (d->n_text == LINE_ROOM)
			r = make_room(d);
		d->text[d->n_text++] = piece.data[i];
		if (piece.data[i] != '\n' || r < 0)
			continue;
		r = take_line(d, slice_new(d->text, d->n_text));
		d->n_text = 0;
	}
	return r;
}

static int finish(struct downgrade *d)
{
	int r = d->n_text > 0 ? take_line(d, slice_new(d->text, d->n_text)) : 0;

	d->n_text = 0;
	if (r >= 0 && d->where == IN_HEADER)
		r = end_of_header(d);
	if (r >= 0 && d->where == IN_HEADER)
		r = end_of_header(d); /* a message within, of which nothing came */
	return r >= 0 && d->where == IN_LEAF ? leaf_end(d, false) : r;
}

static void rewind_to(struct downgrade *d, bool writing)
{
	d->writing = writing;
	d->present = UINT32_MAX; /* before the first */
	d->depth = d->n_text = 0;
	d->at_start = true;
	d->held_crlf = false;
	begin_header(d, false);
}

/* --- from outside --------------------------------------------------------------------------------------------------- */

int downgrade_begin(struct arena *a, enum downgrade_goal goal, struct downgrade **ret)
{
	struct downgrade *d = arena_new_type(a, struct downgrade);

	if (!d)
		return -ENOMEM;
	d->arena = a;
	d->goal = goal;
	rewind_to(d, false);
	*ret = d;
	return 0;
}

void downgrade_done(struct downgrade *d)
{
	if (!d)
		return;
	buffer_done(&d->entities);
	buffer_done(&d->head);
}

int downgrade_look(struct downgrade *d, struct slice piece)
{
	return feed(d, piece);
}

int downgrade_plan(struct downgrade *d, struct downgrade_plan *ret)
{
	struct downgrade_plan plan = { 0 };
	int r = finish(d);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < d->n_entities; i++) {
		const struct entity *e = entity_at(d, i);

		if (e->coding == CODING_NONE && !e->relabel)
			continue;
		plan.parts += e->coding != CODING_NONE;
		plan.signatures |= e->sealed > 0 || d->top_signed;
	}
	rewind_to(d, true);
	*ret = plan;
	return 0;
}

int downgrade_write(struct downgrade *d, struct slice piece, struct buffer *out)
{
	int r;

	d->out = out;
	r = feed(d, piece);
	return r < 0 ? r : buffer_error(out);
}

int downgrade_end(struct downgrade *d, struct buffer *out)
{
	int r;

	d->out = out;
	r = finish(d);
	return r < 0 ? r : buffer_error(out);
}
