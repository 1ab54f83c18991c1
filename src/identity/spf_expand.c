#include "identity/spf_expand.h"

#include "identity/spf_record.h"
#include "identity/tags.h"

#define NAME_MAX_OCTETS 253u

/* --- the validated name of an address ------------------------------------------------------------------------ */

/* Does the name have the client's address? 1, 0 (also when the DNS is in trouble: section 5.5), -errno. */
static int has_client(const struct spf_scene *s, const char *name)
{
	enum dns_type type = s->client.family == 4 ? DNS_A : DNS_AAAA;
	struct dns_answer answer;
	int r = dns_query(s->resolver, name, type, s->deadline, s->arena, &answer);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < answer.n_records; i++)
		if (ip_equal(&answer.records[i].ip, &s->client))
			return 1;
	return 0;
}

int spf_validated_name(const struct spf_scene *s, const char *domain, bool any, const char **ret, bool *ret_void)
{
	const char *question = dns_reverse_name(s->arena, &s->client, NULL), *below = NULL, *other = NULL, *same = NULL;
	struct dns_answer answer;
	int r;

	if (!question)
		return -ENOMEM;
	r = dns_query(s->resolver, question, DNS_PTR, s->deadline, s->arena, &answer);
	if (r < 0)
		return r;
	*ret_void = answer.status == DNS_NXDOMAIN || answer.status == DNS_NODATA;
	for (unsigned i = 0; i < answer.n_records && i < s->max_names && !same; i++) {
		const char *name = answer.records[i].name;
		bool within = name_is_within(slice_from(name), slice_from(domain));

		if (!within && !any)
			continue;
		r = has_client(s, name);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (within && strlen(name) == strlen(domain))
			same = name;
		else if (within && !below)
			below = name;
		else if (!within && !other)
			other = name;
	}
	*ret = same ? same : below ? below : other;
	return 0;
}

/* --- letters ------------------------------------------------------------------------------------------------- */

/* RFC 7208 section 7.3: for IPv6, the nibbles with dots between them. */
static void append_address(const struct ip *ip, struct buffer *out)
{
	char text[IP_TEXT];

	if (ip->family == 4) {
		buffer_append_str(out, ip_format(ip, text));
		return;
	}
	for (unsigned i = 0; i < 32; i++) {
		unsigned nibble = i % 2 ? ip->bytes[i / 2] & 15u : ip->bytes[i / 2] >> 4;

		if (i > 0)
			buffer_append_char(out, '.');
		buffer_append_char(out, "0123456789abcdef"[nibble]);
	}
}

static int append_validated_name(const struct spf_scene *s, const char *domain, struct buffer *out)
{
	const char *name = NULL;
	bool empty;
	int r = spf_validated_name(s, domain, true, &name, &empty);

	if (r < 0)
		return r;
	buffer_append_str(out, name ? name : "unknown");
	return 0;
}

static int append_letter(const struct spf_scene *s, const char *domain, char letter, struct buffer *out)
{
	char text[IP_TEXT];

	switch (letter) {
	case 's':
		buffer_printf(out, "%s@%s", s->local, s->sender_domain);
		return 0;
	case 'l':
		buffer_append_str(out, s->local);
		return 0;
	case 'o':
		buffer_append_str(out, s->sender_domain);
		return 0;
	case 'd':
		buffer_append_str(out, domain);
		return 0;
	case 'i':
		append_address(&s->client, out);
		return 0;
	case 'p':
		return append_validated_name(s, domain, out);
	case 'v':
		buffer_append_str(out, s->client.family == 4 ? "in-addr" : "ip6");
		return 0;
	case 'h':
		buffer_append_str(out, s->helo);
		return 0;
	case 'c':
		buffer_append_str(out, ip_format(&s->client, text));
		return 0;
	case 'r':
		buffer_append_str(out, s->receiver);
		return 0;
	default:
		buffer_printf(out, "%lld", (long long) (s->time / (wall_t) USEC_SEC));
		return 0;
	}
}

/* --- transformers ---------------------------------------------------------------------------------------------- */

/* Cut at the delimiters, turned round, the right-hand parts taken, joined with dots (section 7.3). */
static int append_parts(struct arena *a, struct slice value, const struct spf_macro *m, struct buffer *out)
{
	struct slice delimiters = m->delimiters.len ? m->delimiters : SLICE(".");
	struct slice *parts = arena_new_array(a, struct slice, value.len + 1);
	size_t n = 0, start = 0, first;

	if (!parts)
		return -ENOMEM;
	for (size_t i = 0; i <= value.len; i++) {
		if (i < value.len && slice_find(delimiters, value.data[i]) < 0)
			continue;
		parts[n++] = slice_new(value.data + start, i - start);
		start = i + 1;
	}
	first = m->digits && m->digits < n ? n - m->digits : 0;
	for (size_t i = first; i < n; i++) {
		if (i > first)
			buffer_append_char(out, '.');
		buffer_append_slice(out, parts[m->reverse ? n - 1 - i : i]);
	}
	return 0;
}

/* RFC 7208 section 7.3: what is not "unreserved" (RFC 3986 section 2.3) as %XX. */
static void append_escaped(struct slice value, struct buffer *out)
{
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char) value.data[i];

		if (ascii_is_alnum((char) c) || (c && strchr("-._~", c)))
			buffer_append_char(out, (char) c);
		else
			buffer_printf(out, "%%%02X", c);
	}
}

static int append_macro(const struct spf_scene *s, const char *domain, const struct spf_macro *m, struct buffer *out)
{
	_cleanup_buffer_ struct buffer value = { 0 }, parts = { 0 };
	int r = append_letter(s, domain, m->letter, &value);

	if (r < 0)
		return r;
	if (m->transformed)
		r = append_parts(s->arena, buffer_slice(&value), m, &parts);
	else
		buffer_append_slice(&parts, buffer_slice(&value));
	if (r >= 0)
		r = buffer_error(&value);
	if (r >= 0)
		r = buffer_error(&parts);
	if (r < 0)
		return r;
	if (m->escape)
		append_escaped(buffer_slice(&parts), out);
	else
		buffer_append_slice(out, buffer_slice(&parts));
	return 0;
}

int spf_expand(const struct spf_scene *s, const char *domain, struct slice text, bool explain, struct buffer *out)
{
	while (text.len > 0) {
		struct spf_macro m;
		int r = spf_macro_next(&text, explain, &m);

		if (r < 0)
			return r;
		if (m.kind == SPF_MACRO_LITERAL)
			buffer_append_slice(out, m.text);
		else if ((r = append_macro(s, domain, &m, out)) < 0)
			return r;
	}
	return buffer_error(out);
}

int spf_expand_name(const struct spf_scene *s, const char *domain, struct slice text, const char **ret)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice name;
	int r = spf_expand(s, domain, text, false, &out);

	if (r < 0)
		return r;
	name = buffer_slice(&out);
	if (name.len > 0 && name.data[name.len - 1] == '.')
		name.len--;
	while (name.len > NAME_MAX_OCTETS) {
		ssize_t dot = slice_find(name, '.');

		if (dot < 0)
			break;
		name = slice_skip(name, (size_t) dot + 1);
	}
	*ret = arena_slice(s->arena, name);
	return *ret ? 0 : -ENOMEM;
}
