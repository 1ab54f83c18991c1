/* The messages of OAUTHBEARER and XOAUTH2. */
#include "smtp/bearer.h"

#include "base/utf8.h"

#define SEPARATOR '\1'

bool bearer_is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && (!s.data[i] || !strchr("-._~+/=", s.data[i])))
			return false;
	return true;
}

static bool is_name(struct slice s)
{
	return s.len > 0 && s.len <= 255 && utf8_is_text(s);
}

/* RFC 5801 section 4: a name in which "=2C" is a comma and "=3D" an equals sign. */
static int take_name(struct slice text, char out[static 256])
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '=') {
			struct slice code = slice_head(slice_skip(text, i + 1), 2);

			if (!slice_ieq_str(code, "2C") && !slice_ieq_str(code, "3D"))
				return -EINVAL;
			c = slice_ieq_str(code, "2C") ? ',' : '=';
			i += 2;
		}
		if (n == 255)
			return -EINVAL;
		out[n++] = c;
	}
	out[n] = '\0';
	return is_name(slice_new(out, n)) ? 0 : -EINVAL;
}

static int take_auth(struct slice value, struct bearer *b)
{
	struct slice token, scheme = slice_cut(value, ' ', &token);

	if (value.len == 0)
		return 0; /* RFC 7628 section 4.3: a client that has none yet */
	token = slice_trim(token);
	if (!slice_ieq_str(scheme, "Bearer") || !bearer_is_token(token))
		return -EINVAL;
	b->token = token;
	return 0;
}

/* The pairs, each closed by a separator, and another one at the end (RFC 7628 section 3.1). */
static int take_pairs(struct slice text, bool user_is_here, struct bearer *b)
{
	bool auth = false;

	while (text.len > 0) {
		struct slice value, pair = slice_cut(text, SEPARATOR, &text), key = slice_cut(pair, '=', &value);
		int r = 0;

		if (!text.data)
			return -EINVAL; /* not closed */
		if (pair.len == 0)
			return text.len == 0 && auth ? 0 : -EINVAL;
		if (slice_eq_str(key, "auth") && !auth) {
			auth = true;
			r = take_auth(value, b);
		} else if (slice_eq_str(key, "user") && user_is_here) {
			if (!is_name(value))
				return -EINVAL;
			(void) slice_copy(value, b->user, sizeof(b->user));
		}
		if (r < 0)
			return r;
	}
	return -EINVAL;
}

int oauthbearer_parse(struct slice message, struct bearer *ret)
{
	struct slice rest, flag = slice_cut(message, ',', &rest), name = slice_cut(rest, ',', &rest);
	struct bearer b = { 0 };
	int r;

	/* RFC 7628 section 3.1: a GS2 header without channel binding. */
	if (!slice_eq_str(flag, "n") && !slice_eq_str(flag, "y"))
		return -EINVAL;
	if (name.len > 0) {
		if (name.len < 2 || name.data[0] != 'a' || name.data[1] != '=')
			return -EINVAL;
		r = take_name(slice_skip(name, 2), b.user);
		if (r < 0)
			return r;
	}
	if (rest.len == 0 || rest.data[0] != SEPARATOR)
		return -EINVAL;
	r = take_pairs(slice_skip(rest, 1), false, &b);
	if (r < 0)
		return r;
	*ret = b;
	return 0;
}

int xoauth2_parse(struct slice message, struct bearer *ret)
{
	struct bearer b = { 0 };
	int r = take_pairs(message, true, &b);

	if (r < 0)
		return r;
	*ret = b;
	return 0;
}

static void put_name(const char *name, struct buffer *out)
{
	for (const char *c = name; *c; c++) {
		if (*c == ',')
			buffer_append_str(out, "=2C");
		else if (*c == '=')
			buffer_append_str(out, "=3D");
		else
			buffer_append_char(out, *c);
	}
}

void oauthbearer_format(const char *user, const char *host, unsigned port, const char *token, struct buffer *out)
{
	buffer_append_str(out, "n,a=");
	put_name(user, out);
	buffer_append_str(out, ",\1");
	if (host)
		buffer_printf(out, "host=%s\1port=%u\1", host, port);
	buffer_append_str(out, "auth=Bearer ");
	buffer_append_str(out, token);
	buffer_append_str(out, "\1\1");
}

void xoauth2_format(const char *user, const char *token, struct buffer *out)
{
	buffer_append_str(out, "user=");
	buffer_append_str(out, user);
	buffer_append_str(out, "\1auth=Bearer ");
	buffer_append_str(out, token);
	buffer_append_str(out, "\1\1");
}
