#include "mail/from.h"

#include "base/buffer.h"
#include "mail/address.h"

struct reader {
	struct arena *arena;
	struct slice rest;
	struct buffer text;   /* of the address at hand: what stands outside of comments, without white space */
	bool angle, had_angle; /* inside of <>; there was such a pair */
	bool group;
	ssize_t at;           /* of the last @ outside of quotes, in text; -1 */
	const char **domains;
	unsigned n;
	const char *first;     /* the first address */
};

/* Takes a comment off the front, nested ones with it (RFC 5322 section 3.2.2). */
static int skip_comment(struct slice *s)
{
	unsigned depth = 0;

	while (s->len > 0) {
		char c = *s->data;

		*s = slice_skip(*s, c == '\\' ? 2 : 1);
		if (c == '(')
			depth++;
		else if (c == ')' && --depth == 0)
			return 0;
	}
	return -EINVAL;
}

/* A quoted string: its text doesn't matter, but there is one. */
static int skip_between(struct slice *s, char end, struct buffer *out)
{
	do {
		buffer_append_char(out, *s->data);
		*s = slice_skip(*s, *s->data == '\\' ? 2 : 1);
	} while (s->len > 0 && *s->data != end);
	if (s->len == 0)
		return -EINVAL;
	buffer_append_char(out, end);
	*s = slice_skip(*s, 1);
	return 0;
}

static void begin(struct reader *r)
{
	buffer_clear(&r->text);
	r->at = -1;
}

static int add_domain(struct reader *r, struct slice local, struct slice domain)
{
	const char *ascii;
	int error;

	if (!domain_is_valid(domain, true))
		return -EINVAL;
	error = domain_to_ascii(r->arena, domain, &ascii);
	if (error < 0)
		return error;
	if (!r->first)
		r->first = arena_printf(r->arena, "%.*s@%s", (int) local.len, local.data, ascii);
	if (!r->first)
		return -ENOMEM;
	for (unsigned i = 0; i < r->n; i++)
		if (strcmp(r->domains[i], ascii) == 0)
			return 0;
	if (r->n == FROM_DOMAINS_MAX)
		return -E2BIG;
	r->domains[r->n++] = ascii;
	return 0;
}

/* The end of one address. Empty ones are allowed between commas (RFC 5322 section 4.4). */
static int finish(struct reader *r)
{
	struct slice text = buffer_slice(&r->text), domain;
	int error;

	if (r->angle || buffer_error(&r->text) < 0)
		return r->angle ? -EINVAL : -ENOMEM;
	if (text.len == 0 && !r->had_angle)
		return 0;
	r->had_angle = false;
	if (r->at < 1)
		return -EINVAL;
	domain = slice_skip(text, (size_t) r->at + 1);
	if (domain.len > 0 && domain.data[domain.len - 1] == '.')
		domain.len--;
	error = add_domain(r, slice_head(text, (size_t) r->at), domain);
	begin(r);
	return error;
}

/* One of the characters that mean something. */
static int special(struct reader *r, char c)
{
	switch (c) {
	case '<':
		if (r->angle || r->had_angle)
			return -EINVAL;
		r->angle = true;
		begin(r); /* what stood before was a display name */
		return 0;
	case '>':
		if (!r->angle)
			return -EINVAL;
		r->angle = false;
		r->had_angle = true;
		return 0;
	case ':':
		if (r->angle) { /* a source route before the address proper (RFC 5322 section 4.4) */
			begin(r);
			return 0;
		}
		if (r->group || r->had_angle)
			return -EINVAL;
		r->group = true;
		begin(r);
		return 0;
	case ';':
		if (!r->group)
			return -EINVAL;
		r->group = false;
		return finish(r);
	default: /* a comma; in a source route it separates hosts */
		return r->angle ? 0 : finish(r);
	}
}

static int take(struct reader *r)
{
	char c = *r->rest.data;

	if (c == '(')
		return skip_comment(&r->rest);
	if (c == '"' && !r->had_angle)
		return skip_between(&r->rest, '"', &r->text);
	if (c == '[' && !r->had_angle)
		return skip_between(&r->rest, ']', &r->text);
	r->rest = slice_skip(r->rest, 1);
	if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
		return 0;
	if (c && strchr("<>:;,", c))
		return special(r, c);
	if (r->had_angle || (unsigned char) c < ' ' || c == 0x7f)
		return -EINVAL;
	if (c == '@')
		r->at = (ssize_t) r->text.len;
	buffer_append_char(&r->text, c);
	return 0;
}

static int read_all(struct reader *r)
{
	int error = 0;

	r->domains = arena_new_array(r->arena, const char *, FROM_DOMAINS_MAX);
	if (!r->domains)
		return -ENOMEM;
	while (r->rest.len > 0 && error >= 0)
		error = take(r);
	if (error >= 0)
		error = r->group ? -EINVAL : finish(r);
	buffer_done(&r->text);
	return error;
}

int from_first(struct arena *a, struct slice value, const char **ret)
{
	struct reader r = { .arena = a, .rest = value, .at = -1 };
	int error = read_all(&r);

	if (error < 0 && error != -E2BIG)
		return error;
	if (!r.first)
		return -EINVAL;
	*ret = r.first;
	return 0;
}

int from_domains(struct arena *a, struct slice value, const char *const **ret, unsigned *ret_n)
{
	struct reader r = { .arena = a, .rest = value, .at = -1 };
	int error = read_all(&r);

	if (error < 0)
		return error;
	*ret = r.domains;
	*ret_n = r.n;
	return 0;
}
