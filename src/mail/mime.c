#include "mail/mime.h"

#include "mail/header.h"

/* --- fields ------------------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
	while (s.len && is_blank(s.data[0]))
		s = slice_skip(s, 1);
	while (s.len && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* Up to the next semicolon outside of quotes. */
static struct slice next_parameter(struct slice *rest)
{
	bool quoted = false;
	size_t n = 0;
	struct slice s;

	for (; n < rest->len && (quoted || rest->data[n] != ';'); n++) {
		if (rest->data[n] == '"')
			quoted = !quoted;
		else if (quoted && rest->data[n] == '\\' && n + 1 < rest->len)
			n++;
	}
	s = slice_head(*rest, n);
	*rest = slice_skip(*rest, n < rest->len ? n + 1 : n);
	return trim(s);
}

struct slice mime_parameter(struct slice value, const char *name)
{
	next_parameter(&value);
	while (value.len) {
		struct slice v, p = next_parameter(&value), key = slice_cut(p, '=', &v);

		if (!v.data || !slice_ieq_str(trim(key), name))
			continue;
		v = trim(v);
		if (v.len >= 2 && v.data[0] == '"' && v.data[v.len - 1] == '"')
			v = slice_new(v.data + 1, v.len - 2);
		return v;
	}
	return SLICE_NULL;
}

static void read_type(struct slice value, char *out, size_t size)
{
	size_t n = slice_copy(next_parameter(&value), out, size);

	for (size_t i = 0; i < n; i++)
		out[i] = out[i] ? ascii_lower(out[i]) : '?';
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

struct walk {
	int (*each)(const struct mime_part *part, void *context);
	void *context;
	unsigned parts;
};

static int walk_part(struct walk *w, struct slice part, unsigned depth);

/* A line "--boundary": 1; with two more hyphens: 2; else 0. */
static int is_delimiter(struct slice line, struct slice boundary)
{
	if (line.len < boundary.len + 2 || line.data[0] != '-' || line.data[1] != '-' ||
	    !slice_eq(slice_head(slice_skip(line, 2), boundary.len), boundary))
		return 0;
	line = trim(slice_skip(line, boundary.len + 2));
	return line.len == 0 ? 1 : slice_eq_str(line, "--") ? 2 : 0;
}

/* The line break before a delimiter belongs to it (RFC 2046 section 5.1.1). */
static struct slice without_last_break(struct slice s)
{
	if (s.len && s.data[s.len - 1] == '\n')
		s.len--;
	if (s.len && s.data[s.len - 1] == '\r')
		s.len--;
	return s;
}

static int walk_multipart(struct walk *w, struct slice body, struct slice boundary, unsigned depth)
{
	const char *begin = NULL; /* of the part that is open */
	struct slice rest = body;
	int r;

	while (rest.data && rest.len) {
		const char *at = rest.data;
		struct slice line = slice_cut(rest, '\n', &rest);
		int delimiter = is_delimiter(line, boundary);

		if (!delimiter)
			continue;
		if (begin) {
			r = walk_part(w, without_last_break(slice_new(begin, (size_t) (at - begin))), depth + 1);
			if (r != 0)
				return r;
		}
		begin = rest.data;
		if (delimiter == 2 || !begin)
			return 0;
	}
	return begin ? walk_part(w, slice_new(begin, (size_t) (body.data + body.len - begin)), depth + 1) : 0;
}

static struct slice field_of(struct slice part, const char *name)
{
	struct header_field f;

	return header_find(part, name, &f) ? trim(f.value) : SLICE_NULL;
}

static int walk_part(struct walk *w, struct slice part, unsigned depth)
{
	struct mime_part p = { .encoding = field_of(part, "Content-Transfer-Encoding"),
			       .body = slice_skip(part, header_body_offset(part)) };
	struct slice type = field_of(part, "Content-Type"), boundary;

	if (depth > MIME_DEPTH_MAX || w->parts++ >= MIME_PARTS_MAX)
		return -E2BIG;
	read_type(type.data ? type : SLICE("text/plain"), p.type, sizeof(p.type));
	boundary = mime_parameter(type, "boundary");
	if (strncmp(p.type, "multipart/", strlen("multipart/")) == 0 && boundary.len)
		return walk_multipart(w, p.body, boundary, depth);
	if (strcmp(p.type, "message/rfc822") == 0)
		return walk_part(w, p.body, depth + 1);
	p.name = mime_parameter(field_of(part, "Content-Disposition"), "filename");
	if (!p.name.data)
		p.name = mime_parameter(type, "name");
	return w->each(&p, w->context);
}

int mime_walk(struct slice message, int (*each)(const struct mime_part *part, void *context), void *context)
{
	struct walk w = { .each = each, .context = context };

	return walk_part(&w, message, 0);
}

/* --- encodings ---------------------------------------------------------------------------------------------------- */

static int hex(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 2045 section 6.7; a mangled escape stands for itself. */
static int decode_quoted(struct slice s, struct arena *a, struct slice *ret)
{
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] != '=') {
			out[n++] = s.data[i];
		} else if (i + 2 < s.len && hex(s.data[i + 1]) >= 0 && hex(s.data[i + 2]) >= 0) {
			out[n++] = (char) (hex(s.data[i + 1]) << 4 | hex(s.data[i + 2]));
			i += 2;
		} else {
			size_t k = i + 1;

			while (k < s.len && (s.data[k] == ' ' || s.data[k] == '\t' || s.data[k] == '\r'))
				k++;
			if (k == s.len || s.data[k] == '\n')
				i = k; /* a soft line break */
			else
				out[n++] = '=';
		}
	}
	*ret = slice_new(out, n);
	return 0;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 2045 section 6.8: what is no digit is passed over, and the end is where padding begins. */
static int decode_base64(struct slice s, struct arena *a, struct slice *ret)
{
	unsigned char *out = arena_alloc(a, s.len / 4 * 3 + 4);
	uint32_t bits = 0;
	size_t n = 0, have = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < s.len && s.data[i] != '='; i++) {
		int digit = digit_of(s.data[i]);

		if (digit < 0) {
			if (!is_blank(s.data[i]))
				return -EINVAL;
			continue;
		}
		bits = bits << 6 | (uint32_t) digit;
		if (++have % 4 == 0) {
			out[n++] = (unsigned char) (bits >> 16);
			out[n++] = (unsigned char) (bits >> 8);
			out[n++] = (unsigned char) bits;
		}
	}
	if (have % 4 == 1)
		return -EINVAL;
	if (have % 4 >= 2)
		out[n++] = (unsigned char) (bits >> (have % 4 == 2 ? 4 : 10));
	if (have % 4 == 3)
		out[n++] = (unsigned char) (bits >> 2);
	*ret = slice_new((char *) out, n);
	return 0;
}

int mime_decode(const struct mime_part *part, struct arena *a, struct slice *ret)
{
	if (!part->encoding.len || slice_ieq_str(part->encoding, "7bit") || slice_ieq_str(part->encoding, "8bit") ||
	    slice_ieq_str(part->encoding, "binary")) {
		*ret = part->body;
		return 0;
	}
	if (slice_ieq_str(part->encoding, "base64"))
		return decode_base64(part->body, a, ret);
	if (slice_ieq_str(part->encoding, "quoted-printable"))
		return decode_quoted(part->body, a, ret);
	return -EINVAL;
}
