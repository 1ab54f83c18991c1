#include "identity/tags.h"

#include "base/base64.h"

static bool is_fws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice fws_trim(struct slice s)
{
	while (s.len > 0 && is_fws(s.data[0]))
		s = slice_skip(s, 1);
	while (s.len > 0 && is_fws(s.data[s.len - 1]))
		s.len--;
	return s;
}

bool fws_word(struct slice *rest, char separator, struct slice *ret)
{
	if (!rest->data)
		return false;
	*ret = fws_trim(slice_cut(*rest, separator, rest));
	return true;
}

int tag_number(struct slice s, unsigned max_digits, uint64_t *ret)
{
	return s.len > max_digits ? -ERANGE : slice_to_u64(s, ret);
}

/* tag-name "=" tag-value, white space around both. */
static int parse_tag(struct slice text, struct tag *ret)
{
	struct slice value, name = fws_trim(slice_cut(text, '=', &value));

	if (!value.data || name.len == 0 || !ascii_is_alpha(name.data[0]))
		return -EINVAL;
	for (size_t i = 0; i < name.len; i++)
		if (!ascii_is_alnum(name.data[i]) && name.data[i] != '_')
			return -EINVAL;
	value = fws_trim(value);
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char) value.data[i];

		if ((c < ' ' || c == 0x7f) && !is_fws((char) c))
			return -EINVAL;
	}
	*ret = (struct tag) { name, value };
	return 0;
}

static bool has_tag(const struct tags *t, struct slice name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (slice_eq(t->tag[i].name, name))
			return true;
	return false;
}

int tags_parse(struct slice text, struct tags *ret)
{
	struct slice rest = text, piece;
	int r;

	ret->n = 0;
	while (rest.data) {
		struct tag tag;

		piece = slice_cut(rest, ';', &rest);
		if (!rest.data && ret->n > 0 && fws_trim(piece).len == 0)
			return 0; /* the semicolon behind the last tag */
		r = parse_tag(piece, &tag);
		if (r < 0)
			return r;
		if (has_tag(ret, tag.name))
			return -EEXIST;
		if (ret->n == TAGS_MAX)
			return -E2BIG;
		ret->tag[ret->n++] = tag;
	}
	return ret->n > 0 ? 0 : -EINVAL;
}

void tags_parse_leniently(struct slice text, struct tags *ret)
{
	struct slice rest = text;

	ret->n = 0;
	while (rest.data && ret->n < TAGS_MAX) {
		struct tag tag;

		if (parse_tag(slice_cut(rest, ';', &rest), &tag) == 0 && !has_tag(ret, tag.name))
			ret->tag[ret->n++] = tag;
	}
}

struct slice tags_get(const struct tags *t, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (slice_eq_str(t->tag[i].name, name))
			return t->tag[i].value;
	return SLICE_NULL;
}

/* --- Base64 --------------------------------------------------------------------------------------------- */

int tag_base64(struct arena *a, struct slice text, struct slice *ret)
{
	char *plain = arena_alloc(a, text.len + 4);
	size_t len = 0;
	ssize_t n;

	if (!plain)
		return -ENOMEM;
	for (size_t i = 0; i < text.len; i++)
		if (!is_fws(text.data[i]))
			plain[len++] = text.data[i];
	while (len % 4 > 1)
		plain[len++] = '=';
	n = base64_decode(slice_new(plain, len), plain, text.len + 4);
	if (n < 0)
		return -EINVAL;
	*ret = slice_new(plain, (size_t) n);
	return 0;
}

/* --- names ------------------------------------------------------------------------------------------------ */

char *name_escape(struct arena *a, struct slice raw)
{
	char *out = arena_alloc(a, 4 * raw.len + 1), *p = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < raw.len; i++) {
		unsigned char c = (unsigned char) raw.data[i];

		if (ascii_is_alnum((char) c) || c == '.' || c == '-' || c == '_') {
			*p++ = (char) c;
			continue;
		}
		*p++ = '\\';
		*p++ = (char) ('0' + c / 100);
		*p++ = (char) ('0' + c / 10 % 10);
		*p++ = (char) ('0' + c % 10);
	}
	*p = '\0';
	return out;
}

bool name_is_within(struct slice name, struct slice parent)
{
	if (parent.len == 0 || name.len < parent.len)
		return false;
	if (!slice_ieq(slice_skip(name, name.len - parent.len), parent))
		return false;
	return name.len == parent.len || name.data[name.len - parent.len - 1] == '.';
}
