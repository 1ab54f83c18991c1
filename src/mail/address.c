#include "mail/address.h"

#include <idn2.h>

#include "base/utf8.h"
#include "mail/text.h"

#define LABEL_MAX 63

/* --- single characters -------------------------------------------------------------------------------- */

static bool is_atext(char c)
{
	return ascii_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* RFC 6531 section 3.3 adds UTF8-non-ascii to the grammar. Takes one such character off the front of *s. The C1
 * controls are left out, as RFC 5198 section 2 asks for text in general. */
static int take_utf8(struct slice *s, unsigned flags)
{
	uint32_t c;
	size_t n;

	if (!(flags & ADDRESS_ALLOW_UTF8))
		return -EILSEQ;
	n = utf8_decode(*s, &c);
	if (n == 0 || c < 0xa0)
		return -EILSEQ;
	*s = slice_skip(*s, n);
	return 0;
}

/* --- the local part ------------------------------------------------------------------------------------ */

/* Each of these takes something off the front of *s. */

static int take_dot_string(struct slice *s, unsigned flags)
{
	bool atom_begun = false;

	while (s->len > 0) {
		char c = s->data[0];

		if ((unsigned char) c >= 0x80) {
			int r = take_utf8(s, flags);

			if (r < 0)
				return r;
			atom_begun = true;
			continue;
		}
		if (c == '.' ? !atom_begun : !is_atext(c))
			break;
		atom_begun = c != '.';
		*s = slice_skip(*s, 1);
	}
	return atom_begun ? 0 : -EINVAL;
}

/* The grammar of RFC 5321 section 4.1.2 lets "" be empty; nobody's mailbox is called that, and its successor
 * takes it back. */
static int take_quoted_string(struct slice *s, unsigned flags)
{
	size_t before = s->len - 1;

	*s = slice_skip(*s, 1);
	while (s->len > 0 && s->data[0] != '"') {
		char c = s->data[0];

		if ((unsigned char) c >= 0x80) {
			int r = take_utf8(s, flags);

			if (r < 0)
				return r;
			continue;
		}
		if (c == '\\') {
			*s = slice_skip(*s, 1);
			if (s->len == 0)
				return -EINVAL;
			c = s->data[0];
		}
		if (c < ' ' || c > '~')
			return -EINVAL;
		*s = slice_skip(*s, 1);
	}
	if (s->len == 0 || s->len == before)
		return -EINVAL;
	*s = slice_skip(*s, 1);
	return 0;
}

static int take_local(struct slice *s, unsigned flags, struct slice *ret)
{
	struct slice all = *s;
	size_t max = flags & ADDRESS_ALLOW_LONG ? LOCAL_PART_ACCEPT : LOCAL_PART_MAX;
	int r;

	if (s->len == 0)
		return -EINVAL;
	r = s->data[0] == '"' ? take_quoted_string(s, flags) : take_dot_string(s, flags);
	if (r < 0)
		return r;
	*ret = slice_head(all, all.len - s->len);
	return ret->len > max ? -E2BIG : 0;
}

/* --- the domain ---------------------------------------------------------------------------------------- */

/* All of s is one label of ASCII. Underscores are against RFC 5321 section 4.1.2, but are in use. */
static bool label_is_valid(struct slice s)
{
	if (s.len == 0 || s.len > LABEL_MAX || s.data[0] == '-' || s.data[s.len - 1] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && s.data[i] != '-' && s.data[i] != '_')
			return false;
	return true;
}

static bool ascii_domain_is_valid(struct slice s)
{
	if (s.len == 0 || s.len > DOMAIN_MAX)
		return false;
	do {
		if (!label_is_valid(slice_cut(s, '.', &s)))
			return false;
	} while (s.data);
	return true;
}

/* A name with U-labels as A-labels. *ret is libidn2's to free. */
static int idna_to_ascii(struct slice s, char **ret)
{
	char text[DOMAIN_MAX + 1];
	int r;

	if (s.len > DOMAIN_MAX || !utf8_valid(s) || text_has_control(s))
		return -EINVAL;
	slice_copy(s, text, sizeof(text));
	r = idn2_lookup_u8((const uint8_t *) text, (uint8_t **) ret, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (r == IDN2_MALLOC)
		return -ENOMEM;
	return r == IDN2_OK ? 0 : -EINVAL;
}

bool domain_is_valid(struct slice s, bool allow_utf8)
{
	char *ascii;
	bool valid;

	if (text_is_ascii(s))
		return ascii_domain_is_valid(s);
	if (!allow_utf8 || idna_to_ascii(s, &ascii) < 0)
		return false;
	valid = ascii_domain_is_valid(slice_from(ascii));
	idn2_free(ascii);
	return valid;
}

int domain_to_ascii(struct arena *a, struct slice domain, const char **ret)
{
	char *copy, *ascii;
	int r;

	if (text_is_ascii(domain)) {
		if (!ascii_domain_is_valid(domain))
			return -EINVAL;
		copy = arena_slice(a, domain);
	} else {
		r = idna_to_ascii(domain, &ascii);
		if (r < 0)
			return r;
		r = ascii_domain_is_valid(slice_from(ascii)) ? 0 : -EINVAL;
		copy = arena_strdup(a, ascii);
		idn2_free(ascii);
		if (r < 0)
			return r;
	}
	if (!copy)
		return -ENOMEM;
	for (char *p = copy; *p; p++)
		*p = ascii_lower(*p);
	*ret = copy;
	return 0;
}

static int take_domain(struct slice *s, unsigned flags, struct slice *ret)
{
	struct slice all = *s;

	while (s->len > 0) {
		char c = s->data[0];

		if ((unsigned char) c >= 0x80) {
			int r = take_utf8(s, flags);

			if (r < 0)
				return r;
			continue;
		}
		if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.')
			break;
		*s = slice_skip(*s, 1);
	}
	*ret = slice_head(all, all.len - s->len);
	if (ret->len > DOMAIN_MAX)
		return -E2BIG;
	return domain_is_valid(*ret, flags & ADDRESS_ALLOW_UTF8) ? 0 : -EINVAL;
}

/* What stands between the brackets, RFC 5321 section 4.1.3. */
static int literal_parse(struct slice s, struct ip *ret)
{
	struct slice content, tag = slice_cut(s, ':', &content);
	struct ip ip = { 0 };

	if (!content.data) {
		if (ip_parse(s, &ip) < 0)
			return -EINVAL;
	} else if (slice_ieq_str(tag, "IPv6")) {
		if (slice_find(content, ':') < 0 || ip_parse(content, &ip) < 0)
			return -EINVAL;
	} else {
		/* A General-address-literal: no such tag was ever registered, but it is grammar. An IPv6 address
		 * without its tag would pass for one, too. */
		if (content.len == 0 || !label_is_valid(tag) || slice_find(tag, '_') >= 0 || ip_parse(s, &ip) == 0)
			return -EINVAL;
	}
	*ret = ip;
	return 0;
}

static int take_literal(struct slice *s, struct address *address)
{
	struct slice all = *s;
	size_t i = 1;

	/* dcontent: printable ASCII without brackets and backslash */
	while (i < s->len && s->data[i] > ' ' && s->data[i] <= '~' && !strchr("[\\]", s->data[i]))
		i++;
	if (i == s->len || s->data[i] != ']')
		return -EINVAL;
	if (i + 1 > DOMAIN_MAX)
		return -E2BIG;
	address->domain = slice_head(all, i + 1);
	address->literal = true;
	*s = slice_skip(*s, i + 1);
	return literal_parse(slice_new(all.data + 1, i - 1), &address->ip);
}

/* --- mailbox and path ------------------------------------------------------------------------------------ */

static int take_mailbox(struct slice *s, unsigned flags, struct address *ret)
{
	struct address address = { 0 };
	struct slice all = *s;
	int r;

	r = take_local(s, flags, &address.local);
	if (r < 0)
		return r;
	if (s->len > 0 && s->data[0] == '@') {
		*s = slice_skip(*s, 1);
		if (s->len > 0 && s->data[0] == '[')
			r = take_literal(s, &address);
		else
			r = take_domain(s, flags, &address.domain);
		if (r < 0)
			return r;
	} else if (!(flags & ADDRESS_ALLOW_POSTMASTER) || !slice_ieq_str(address.local, "postmaster")) {
		return -EINVAL;
	}
	address.text = slice_head(all, all.len - s->len);
	address.utf8 = !text_is_ascii(address.text);
	if (!(flags & ADDRESS_ALLOW_LONG) && address.text.len + 2 > PATH_MAX_OCTETS)
		return -E2BIG;
	*ret = address;
	return 0;
}

/* "@one,@two:" before the mailbox: checked and dropped. */
static int skip_source_route(struct slice *s, unsigned flags)
{
	while (s->len > 0 && s->data[0] == '@') {
		struct slice domain;
		int r;

		*s = slice_skip(*s, 1);
		r = take_domain(s, flags, &domain);
		if (r < 0)
			return r;
		if (s->len < 2 || (s->data[0] != ':' && (s->data[0] != ',' || s->data[1] != '@')))
			return -EINVAL;
		if (s->data[0] == ':') {
			*s = slice_skip(*s, 1);
			return 0;
		}
		*s = slice_skip(*s, 1);
	}
	return 0;
}

int path_parse(struct slice *s, unsigned flags, struct address *ret)
{
	struct slice rest = *s;
	struct address address = { 0 };
	int r;

	if (rest.len < 2 || rest.data[0] != '<')
		return -EINVAL;
	rest = slice_skip(rest, 1);
	if (rest.data[0] == '>' && (flags & ADDRESS_ALLOW_NULL)) {
		address.text = slice_head(rest, 0);
	} else {
		r = skip_source_route(&rest, flags);
		if (r < 0)
			return r;
		r = take_mailbox(&rest, flags, &address);
		if (r < 0)
			return r;
	}
	if (rest.len == 0 || rest.data[0] != '>')
		return -EINVAL;
	*s = slice_skip(rest, 1);
	*ret = address;
	return 0;
}

int address_parse(struct slice s, unsigned flags, struct address *ret)
{
	struct address address = { 0 };
	int r;

	if (s.len == 0 && (flags & ADDRESS_ALLOW_NULL)) {
		*ret = address;
		return 0;
	}
	r = take_mailbox(&s, flags, &address);
	if (r < 0)
		return r;
	if (s.len > 0)
		return -EINVAL;
	*ret = address;
	return 0;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

/* The next octet of a local part as it is meant, without quotes and backslashes: -1 at the end. */
static int next_plain(struct slice *s, bool quoted)
{
	unsigned char c;

	if (quoted && s->len > 0 && s->data[0] == '"')
		*s = slice_skip(*s, 1); /* the opening or the closing one: others have a backslash */
	if (quoted && s->len > 1 && s->data[0] == '\\')
		*s = slice_skip(*s, 1);
	if (s->len == 0)
		return -1;
	c = (unsigned char) s->data[0];
	*s = slice_skip(*s, 1);
	return c;
}

static bool is_quoted(struct slice local)
{
	return local.len > 0 && local.data[0] == '"';
}

/* RFC 5321 section 4.1.2: all quoted forms are equivalent. */
static bool local_equal(struct slice a, struct slice b)
{
	bool a_quoted = is_quoted(a), b_quoted = is_quoted(b);
	int c, d;

	if (slice_eq(a, b))
		return true;
	if (slice_ieq_str(a, "postmaster") && slice_ieq_str(b, "postmaster"))
		return true;
	if (!a_quoted && !b_quoted)
		return false;
	do {
		c = next_plain(&a, a_quoted);
		d = next_plain(&b, b_quoted);
	} while (c == d && c >= 0);
	return c == d;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return slice_ieq(a->domain, b->domain) && local_equal(a->local, b->local);
}

char *address_local_plain(struct arena *a, const struct address *addr)
{
	bool quoted = is_quoted(addr->local);
	struct slice rest = addr->local;
	char *plain = arena_alloc(a, rest.len + 1);
	size_t n = 0;
	int c;

	if (!plain)
		return NULL;
	while ((c = next_plain(&rest, quoted)) >= 0)
		plain[n++] = (char) c;
	plain[n] = '\0';
	return plain;
}
