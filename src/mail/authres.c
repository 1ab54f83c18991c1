#include "mail/authres.h"

#include "mail/header.h"

/* --- writing --------------------------------------------------------------------------------------------------- */

void authres_add(struct authres_method *m, const char *type, const char *name, const char *value)
{
	if (!value || !*value || strlen(value) > AUTHRES_VALUE_MAX || m->n_properties == AUTHRES_PROPERTIES_MAX)
		return;
	m->properties[m->n_properties++] =
		(struct authres_property) { slice_from(type), slice_from(name), slice_from(value) };
}

/* token of RFC 2045 section 5.1. */
static bool is_token_char(unsigned char c)
{
	return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

/* The inside of a quoted string. */
static void append_quotable(struct slice value, struct buffer *out)
{
	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];

		if (c == '"' || c == '\\')
			buffer_append_char(out, '\\');
		buffer_append_char(out, (unsigned char) c < ' ' || c == 0x7f ? '?' : c);
	}
}

/* A value as it may stand there: a token, something@domain, or a quoted string (RFC 8601 section 2.2). */
static void append_value(struct slice value, struct buffer *out)
{
	bool plain = value.len > 0;
	unsigned ats = 0;

	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char) value.data[i];

		ats += c == '@';
		plain = plain && (is_token_char(c) || c >= 0x80 || (c == '@' && i + 1 < value.len));
	}
	if (plain && ats <= 1) {
		buffer_append_slice(out, value);
		return;
	}
	buffer_append_char(out, '"');
	append_quotable(value, out);
	buffer_append_char(out, '"');
}

static void append_comment(struct slice comment, struct buffer *out)
{
	buffer_append_str(out, " (");
	for (size_t i = 0; i < comment.len; i++) {
		unsigned char c = (unsigned char) comment.data[i];

		/* 8-bit text would make a message that has none one that not everybody takes. */
		buffer_append_char(out, c < ' ' || c >= 0x7f || c == '(' || c == ')' || c == '\\' ? '?' : (char) c);
	}
	buffer_append_char(out, ')');
}

static void append_method(const struct authres_method *m, struct buffer *out)
{
	buffer_append_str(out, ";\r\n\t");
	buffer_append_slice(out, m->method);
	buffer_append_char(out, '=');
	buffer_append_slice(out, m->result);
	if (m->comment.len > 0)
		append_comment(m->comment, out);
	if (m->reason.len > 0) {
		buffer_append_str(out, " reason=");
		append_value(m->reason, out);
	}
	for (unsigned i = 0; i < m->n_properties; i++) {
		const struct authres_property *p = &m->properties[i];

		buffer_append_str(out, i == 0 && (m->comment.len > 0 || m->reason.len > 0) ? "\r\n\t " : " ");
		buffer_printf(out, "%.*s.%.*s=", SLICE_ARG(p->type), SLICE_ARG(p->name));
		append_value(p->value, out);
	}
}

void authres_format_value(const char *authserv_id, const struct authres_method *methods, unsigned n, struct buffer *out)
{
	append_value(slice_from(authserv_id), out);
	for (unsigned i = 0; i < n; i++)
		append_method(&methods[i], out);
	if (n == 0)
		buffer_append_str(out, "; none");
}

void authres_format(const char *authserv_id, const struct authres_method *methods, unsigned n, struct buffer *out)
{
	buffer_append_str(out, "Authentication-Results: ");
	authres_format_value(authserv_id, methods, n, out);
	buffer_append_str(out, "\r\n");
}

/* key "=" ( dot-atom / quoted-string ) ";" on a line of its own. */
static void append_pair(const char *key, const char *value, struct buffer *out)
{
	bool atom = true, dot = true; /* a dot may neither begin nor end it, nor follow another */

	if (!value || !*value)
		return;
	for (const char *p = value; *p; p++) {
		atom = atom && (*p == '.' ? !dot : ascii_is_alnum(*p) || strchr("!#$%&'*+-/=?^_`{|}~", *p));
		dot = *p == '.';
	}
	buffer_printf(out, "\r\n\t%s=", key);
	if (atom && !dot) {
		buffer_append_str(out, value);
	} else {
		buffer_append_char(out, '"');
		append_quotable(slice_from(value), out);
		buffer_append_char(out, '"');
	}
	buffer_append_char(out, ';');
}

void received_spf_format(const struct received_spf *r, struct buffer *out)
{
	buffer_printf(out, "Received-SPF: %s", r->result);
	if (r->reason && *r->reason)
		append_comment(slice_from(r->reason), out);
	append_pair("receiver", r->receiver, out);
	append_pair("identity", r->identity, out);
	append_pair("client-ip", r->client_ip, out);
	append_pair("envelope-from", r->envelope_from, out);
	append_pair("helo", r->helo, out);
	buffer_append_str(out, "\r\n");
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Comments and folding white space off the front; nested comments, too. -EINVAL: a comment without an end. */
static int skip_cfws(struct slice *s)
{
	unsigned depth = 0;

	while (s->len > 0) {
		char c = *s->data;

		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
			return 0;
		*s = slice_skip(*s, depth > 0 && c == '\\' ? 2 : 1);
	}
	return depth > 0 ? -EINVAL : 0;
}

static bool is_keyword_char(char c)
{
	return ascii_is_alnum(c) || c == '-' || c == '_';
}

/* A keyword off the front; empty when there is none. */
static struct slice take_keyword(struct slice *s)
{
	size_t n = 0;
	struct slice word;

	while (n < s->len && is_keyword_char(s->data[n]))
		n++;
	word = slice_head(*s, n);
	*s = slice_skip(*s, n);
	return word;
}

static int take_quoted(struct arena *a, struct slice *s, struct slice *ret)
{
	char *out = arena_alloc(a, s->len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	*s = slice_skip(*s, 1);
	while (s->len > 0 && *s->data != '"') {
		if (*s->data == '\\' && s->len > 1)
			*s = slice_skip(*s, 1);
		if (*s->data != '\r' && *s->data != '\n')
			out[n++] = *s->data;
		*s = slice_skip(*s, 1);
	}
	if (s->len == 0)
		return -EINVAL;
	*s = slice_skip(*s, 1);
	*ret = slice_new(out, n);
	return 0;
}

/* A value: a quoted string, or what stands up to white space, a semicolon or a comment. Quoted local parts of an
 * address are left as they are. */
static int take_value(struct arena *a, struct slice *s, struct slice *ret)
{
	size_t n = 0;
	bool quoted = false;

	if (s->len > 0 && *s->data == '"') {
		struct slice before = *s;
		int r = take_quoted(a, s, ret);

		if (r < 0 || s->len == 0 || *s->data != '@')
			return r;
		*s = before;
	}
	while (n < s->len && (quoted || (!strchr(" \t\r\n;(", s->data[n] ? s->data[n] : 'x')))) {
		if (s->data[n] == '"')
			quoted = !quoted;
		else if (quoted && s->data[n] == '\\' && n + 1 < s->len)
			n++;
		n++;
	}
	if (quoted || n == 0)
		return -EINVAL;
	*ret = slice_head(*s, n);
	*s = slice_skip(*s, n);
	return 0;
}

static int skip_char(struct slice *s, char c)
{
	int r = skip_cfws(s);

	if (r < 0 || s->len == 0 || *s->data != c)
		return -EINVAL;
	*s = slice_skip(*s, 1);
	return skip_cfws(s);
}

/* ptype "." property "=" value, or reason "=" value. */
static int take_property(struct arena *a, struct slice *s, struct authres_method *m)
{
	struct authres_property p;
	struct slice word = take_keyword(s);
	int r;

	if (word.len == 0 || skip_cfws(s) < 0)
		return -EINVAL;
	if (slice_ieq_str(word, "reason") && s->len > 0 && *s->data == '=') {
		r = skip_char(s, '=');
		return r < 0 ? r : take_value(a, s, &m->reason);
	}
	r = skip_char(s, '.');
	if (r < 0)
		return r;
	p.type = word;
	p.name = take_keyword(s);
	if (p.name.len == 0 || skip_char(s, '=') < 0)
		return -EINVAL;
	r = take_value(a, s, &p.value);
	if (r < 0)
		return r;
	if (m->n_properties == AUTHRES_PROPERTIES_MAX)
		return -E2BIG;
	m->properties[m->n_properties++] = p;
	return 0;
}

/* method ["/" version] "=" result *property, up to the semicolon. */
static int take_method(struct arena *a, struct slice *s, struct authres_method *ret)
{
	struct authres_method m = { .n_properties = 0 };
	int r;

	m.method = take_keyword(s);
	if (m.method.len == 0 || skip_cfws(s) < 0)
		return -EINVAL;
	if (s->len > 0 && *s->data == '/') {
		r = skip_char(s, '/');
		if (r < 0 || take_keyword(s).len == 0)
			return -EINVAL;
	}
	r = skip_char(s, '=');
	if (r < 0)
		return r;
	m.result = take_keyword(s);
	if (m.result.len == 0)
		return -EINVAL;
	while ((r = skip_cfws(s)) >= 0 && s->len > 0 && *s->data != ';') {
		r = take_property(a, s, &m);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret = m;
	return 0;
}

/* authserv-id [version] up to the first semicolon or the end. */
static int take_id(struct arena *a, struct slice *s, struct slice *ret)
{
	int r = skip_cfws(s);

	if (r >= 0)
		r = take_value(a, s, ret);
	if (r >= 0)
		r = skip_cfws(s);
	if (r < 0)
		return r;
	if (s->len > 0 && ascii_is_digit(*s->data)) {
		(void) take_keyword(s);
		r = skip_cfws(s);
	}
	return r < 0 ? r : s->len > 0 && *s->data != ';' ? -EINVAL : 0;
}

int authres_parse(struct arena *a, struct slice value, struct authres *ret)
{
	struct authres result = { .n_methods = 0 };
	struct slice s = value, none;
	int r = take_id(a, &s, &result.authserv_id);

	if (r < 0)
		return r;
	result.methods = arena_new_array(a, struct authres_method, AUTHRES_METHODS_MAX);
	if (!result.methods)
		return -ENOMEM;
	while (s.len > 0) {
		s = slice_skip(s, 1); /* the semicolon */
		if (skip_cfws(&s) < 0)
			return -EINVAL;
		if (s.len == 0)
			break;
		none = s;
		if (slice_ieq_str(take_keyword(&none), "none") && skip_cfws(&none) >= 0 && none.len == 0 && result.n_methods == 0)
			break;
		if (result.n_methods == AUTHRES_METHODS_MAX)
			return -E2BIG;
		r = take_method(a, &s, &result.methods[result.n_methods]);
		if (r < 0)
			return r;
		result.n_methods++;
	}
	*ret = result;
	return 0;
}

/* --- forged ones ------------------------------------------------------------------------------------------------------ */

/* "i=1;" with comments anywhere, in which a semicolon ends nothing (RFC 8617 section 4.1.1). */
static struct slice without_instance(struct slice value)
{
	struct slice s = value;
	ssize_t end = slice_find(value, ';');

	while (skip_cfws(&s) >= 0 && s.len > 0) {
		if (*s.data == ';')
			return slice_skip(s, 1);
		s = slice_skip(s, 1);
	}
	return end < 0 ? value : slice_skip(value, (size_t) end + 1);
}

/* A dot at the end makes no other name. */
static bool is_same_id(struct slice id, const char *authserv_id)
{
	if (id.len > 1 && id.data[id.len - 1] == '.')
		id.len--;
	return slice_ieq_str(id, authserv_id);
}

bool authres_claims(struct slice value, bool arc, const char *authserv_id)
{
	struct arena *a;
	struct slice id;
	bool claims;

	if (arc)
		value = without_instance(value);
	if (arena_new(256, &a) < 0)
		return true;
	/* The value may be wrong behind the name; what matters is the name that a reader would see. */
	claims = skip_cfws(&value) >= 0 && take_value(a, &value, &id) >= 0 && is_same_id(id, authserv_id);
	arena_free(a);
	return claims;
}

bool authres_has_forged_arc(struct slice message, const char *authserv_id)
{
	struct header_field f;

	while (header_next_anyhow(&message, &f))
		if (slice_ieq_str(f.name, "ARC-Authentication-Results") && authres_claims(f.value, true, authserv_id))
			return true;
	return false;
}

unsigned authres_remove_forged(struct slice message, const char *authserv_id, bool arc, struct buffer *out)
{
	struct slice rest = message, kept = message;
	struct header_field f;
	unsigned removed = 0;

	while (header_next_anyhow(&rest, &f)) {
		bool ours = slice_ieq_str(f.name, "Authentication-Results") ? authres_claims(f.value, false, authserv_id)
			    : arc && slice_ieq_str(f.name, "ARC-Authentication-Results") && authres_claims(f.value, true, authserv_id);

		if (!ours)
			continue;
		buffer_append(out, kept.data, (size_t) (f.raw.data - kept.data));
		kept = rest;
		removed++;
	}
	buffer_append_slice(out, kept);
	return removed;
}
