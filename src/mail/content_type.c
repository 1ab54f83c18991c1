#include "mail/content_type.h"

#include <errno.h>

#define BOUNDARY_MAX 200u /* RFC 2046 section 5.1.1 allows 70 characters; some write more */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Blanks, folds and comments (RFC 5322 section 3.2.2). */
static void skip_blanks(struct slice *v)
{
	unsigned depth = 0;
	size_t i = 0;

	for (; i < v->len && (depth > 0 || is_blank(v->data[i]) || v->data[i] == '('); i++) {
		if (v->data[i] == '\\' && depth > 0)
			i++;
		else if (v->data[i] == '(')
			depth++;
		else if (v->data[i] == ')')
			depth--;
	}
	*v = slice_skip(*v, MIN(i, v->len));
}

static struct slice take_token(struct slice *v)
{
	struct slice token;
	size_t i = 0;

	skip_blanks(v);
	while (i < v->len && v->data[i] > ' ' && v->data[i] != 0x7f && !strchr("()<>@,;:\\\"/[]?=", v->data[i]))
		i++;
	token = slice_head(*v, i);
	*v = slice_skip(*v, i);
	return token;
}

static bool take_char(struct slice *v, char c)
{
	skip_blanks(v);
	if (v->len == 0 || v->data[0] != c)
		return false;
	*v = slice_skip(*v, 1);
	return true;
}

/* The inside of a quoted string, without its quoting. False: it has no end, or is too long. */
static bool take_quoted(struct slice *v, char *out, size_t size, size_t *ret_len)
{
	size_t n = 0, i = 0;

	for (; i < v->len && v->data[i] != '"'; i++) {
		if (v->data[i] == '\\' && i + 1 < v->len)
			i++;
		if (v->data[i] == '\r' || v->data[i] == '\n')
			continue;
		if (n == size)
			return false;
		out[n++] = v->data[i];
	}
	if (i == v->len)
		return false;
	*v = slice_skip(*v, i + 1);
	*ret_len = n;
	return true;
}

static bool take_value(struct slice *v, char *room, size_t size, struct slice *ret)
{
	size_t n;

	if (take_char(v, '"')) {
		if (!take_quoted(v, room, size, &n))
			return false;
		*ret = slice_new(room, n);
		return true;
	}
	*ret = take_token(v);
	return ret->len > 0;
}

static const char *lower(struct arena *a, struct slice s)
{
	char *copy = arena_slice(a, s);

	for (size_t i = 0; copy && i < s.len; i++)
		copy[i] = ascii_lower(copy[i]);
	return copy;
}

/* Parameters behind something strange are lost; what was found before holds. */
static int take_boundary(struct slice v, struct arena *a, const char **ret)
{
	char room[BOUNDARY_MAX];

	*ret = NULL;
	while (take_char(&v, ';')) {
		struct slice name = take_token(&v), value;

		if (name.len == 0)
			continue; /* "multipart/mixed; ; boundary=x" */
		if (!take_char(&v, '=') || !take_value(&v, room, sizeof(room), &value))
			break;
		if (!slice_ieq_str(name, "boundary") || value.len == 0 || value.len > BOUNDARY_MAX)
			continue;
		*ret = arena_slice(a, value);
		return *ret ? 0 : -ENOMEM;
	}
	return 0;
}

int content_type_parse(struct slice value, struct arena *a, struct content_type *ret)
{
	struct slice type = take_token(&value), subtype;
	struct content_type t;
	int r;

	if (type.len == 0 || !take_char(&value, '/'))
		return -EINVAL;
	subtype = take_token(&value);
	if (subtype.len == 0)
		return -EINVAL;
	t = (struct content_type) { .type = lower(a, type), .subtype = lower(a, subtype) };
	if (!t.type || !t.subtype)
		return -ENOMEM;
	r = take_boundary(value, a, &t.boundary);
	if (r >= 0)
		*ret = t;
	return r;
}

struct slice transfer_encoding(struct slice value)
{
	return take_token(&value);
}
