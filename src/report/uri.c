#include "report/uri.h"

#include "identity/tags.h"
#include "mail/address.h"
#include "mail/text.h"

#define URI_MAX 1000u /* octets; a longer one is nobody's address */

static int hex(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 section 2.1. NULL data: a mangled escape; *ret_memory false: no memory. */
static int percent_decode(struct arena *a, struct slice s, struct slice *ret)
{
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] != '%') {
			out[n++] = s.data[i];
			continue;
		}
		if (s.len - i < 3 || hex(s.data[i + 1]) < 0 || hex(s.data[i + 2]) < 0)
			return -EINVAL;
		out[n++] = (char) (hex(s.data[i + 1]) << 4 | hex(s.data[i + 2]));
		i += 2;
	}
	out[n] = '\0';
	*ret = slice_new(out, n);
	return 0;
}

/* "10m" behind the exclamation mark. */
static int read_size(struct slice s, uint64_t *ret)
{
	static const char units[] = "kmgt";
	const char *unit = s.len ? strchr(units, ascii_lower(s.data[s.len - 1])) : NULL;
	unsigned shift = unit && *unit ? 10 * (unsigned) (unit - units + 1) : 0;
	uint64_t n;

	if (slice_to_u64(shift ? slice_head(s, s.len - 1) : s, &n) < 0 || n > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

/* One mailbox, in ASCII: what our own command lines will say. */
static int read_mailto(struct arena *a, struct slice rest, struct report_uri *u)
{
	struct slice fields, text;
	struct address address;
	int r = percent_decode(a, slice_cut(rest, '?', &fields), &text);

	if (r < 0)
		return r;
	if (!text_is_printable_ascii(text) || address_parse(text, ADDRESS_ALLOW_LONG, &address) < 0 || address.literal ||
	    !address.domain.len)
		return -EINVAL;
	u->address = arena_slice(a, text);
	return u->address ? domain_to_ascii(a, address.domain, &u->host) : -ENOMEM;
}

/* "//host:port/path": a name, no address, and nobody's password. */
static int read_https(struct arena *a, struct slice rest, struct report_uri *u)
{
	struct slice authority, port;
	uint64_t number = 443;
	size_t n = 0;

	if (!slice_istarts(rest, "//"))
		return -EINVAL;
	authority = slice_skip(rest, 2);
	while (n < authority.len && !strchr("/?#", authority.data[n]))
		n++;
	authority = slice_cut(slice_head(authority, n), ':', &port);
	if (port.data && (slice_to_u64(port, &number) < 0 || number == 0 || number > UINT16_MAX))
		return -EINVAL;
	if (!domain_is_valid(authority, false) || ip_parse(authority, &(struct ip) { 0 }) == 0)
		return -EINVAL;
	u->port = (uint16_t) number;
	return domain_to_ascii(a, authority, &u->host);
}

/* 0, -EINVAL: not one for us, -ENOMEM. */
static int read_uri(struct arena *a, struct slice s, unsigned schemes, struct report_uri *ret)
{
	struct slice size, rest, uri = slice_cut(s, '!', &size), scheme = slice_cut(uri, ':', &rest);
	struct report_uri u = { 0 };
	int r = -EINVAL;

	if (!rest.data || !text_is_printable_ascii(uri) || slice_find(uri, ' ') >= 0 || uri.len > URI_MAX)
		return -EINVAL;
	if (size.data && read_size(size, &u.size) < 0)
		return -EINVAL;
	if (slice_ieq_str(scheme, "mailto")) {
		u.scheme = REPORT_MAILTO;
		r = read_mailto(a, rest, &u);
	} else if (slice_ieq_str(scheme, "https")) {
		u.scheme = REPORT_HTTPS;
		r = read_https(a, rest, &u);
	}
	if (r < 0)
		return r;
	if (!(u.scheme & schemes))
		return -EINVAL;
	u.text = arena_slice(a, uri);
	if (!u.text)
		return -ENOMEM;
	*ret = u;
	return 0;
}

int report_uris_parse(struct arena *a, struct slice list, unsigned schemes, struct report_uri ret[static REPORT_URIS_MAX],
		      unsigned *ret_n)
{
	struct slice word;
	unsigned n = 0;

	while (n < REPORT_URIS_MAX && fws_word(&list, ',', &word)) {
		int r = read_uri(a, word, schemes, &ret[n]);

		if (r == -ENOMEM)
			return r;
		if (r == 0)
			n++;
	}
	*ret_n = n;
	return 0;
}
