/* The messages of OAUTHBEARER and XOAUTH2. */
#include "users/oauth.h"

#define SEPARATOR '\1'

/* RFC 6750 section 2.1: b64token. */
static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && (!s.data[i] || !strchr("-._~+/=", s.data[i])))
			return false;
	return true;
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
	return user_name_is_valid(slice_new(out, n)) ? 0 : -EINVAL;
}

static int take_auth(struct slice value, struct bearer *b)
{
	struct slice token, scheme = slice_cut(value, ' ', &token);

	if (value.len == 0)
		return 0; /* RFC 7628 section 4.3: a client that has none yet */
	token = slice_trim(token);
	if (!slice_ieq_str(scheme, "Bearer") || !is_token(token))
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
			if (!user_name_is_valid(value))
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
