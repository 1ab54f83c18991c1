/* Words and RDATA of master files. */
#include "dns/zone_text.h"

#include <stdlib.h>

#define RDATA_MAX 65535u
#define STRING_MAX 255u

void zone_entry_done(struct zone_entry *e)
{
	free(e->words);
	*e = (struct zone_entry) { .kind = ZONE_END };
}

/* --- words ----------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static void skip_to_line_end(struct zone_lexer *l)
{
	ssize_t end = slice_find(l->rest, '\n');

	l->rest = slice_skip(l->rest, end < 0 ? l->rest.len : (size_t) end);
}

static void skip_newline(struct zone_lexer *l)
{
	if (l->rest.len > 0) {
		l->rest = slice_skip(l->rest, 1);
		l->line++;
	}
}

static int add_word(struct zone_entry *e, struct slice text, bool quoted)
{
	if (e->n_words == e->capacity) {
		unsigned capacity = e->capacity ? 2 * e->capacity : 16;
		struct zone_word *words;

		if (e->n_words >= ZONE_WORDS_MAX)
			return -EBADMSG;
		words = realloc(e->words, capacity * sizeof(*words));
		if (!words)
			return -ENOMEM;
		e->words = words;
		e->capacity = capacity;
	}
	e->words[e->n_words++] = (struct zone_word) { text, quoted };
	return 0;
}

/* A quoted string stays on its line. */
static int take_quoted(struct zone_lexer *l, struct zone_entry *e, const char **ret_error)
{
	struct slice s = slice_skip(l->rest, 1);
	size_t n = 0;

	while (n < s.len && s.data[n] != '"' && s.data[n] != '\n')
		n += s.data[n] == '\\' && n + 1 < s.len && s.data[n + 1] != '\n' ? 2 : 1;
	if (n >= s.len || s.data[n] != '"') {
		*ret_error = "a quoted string has no end on its line";
		return -EBADMSG;
	}
	l->rest = slice_skip(s, n + 1);
	return add_word(e, slice_head(s, n), true);
}

static int take_word(struct zone_lexer *l, struct zone_entry *e)
{
	struct slice s = l->rest;
	size_t n = 0;

	while (n < s.len && !is_blank(s.data[n]) && !strchr("\n;()\"", s.data[n] ? s.data[n] : 'x'))
		n += s.data[n] == '\\' && n + 1 < s.len && s.data[n + 1] != '\n' ? 2 : 1;
	l->rest = slice_skip(s, n);
	return add_word(e, slice_head(s, n), false);
}

/* The rest of a line at the front of which nothing stood: blank, or a comment. */
static bool take_comment_line(struct zone_lexer *l, struct zone_entry *e)
{
	struct slice s = l->rest;
	ssize_t end;

	if (s.len == 0 || *s.data != ';')
		return false;
	end = slice_find(s, '\n');
	if (end >= 0)
		s = slice_head(s, (size_t) end);
	s = slice_skip(s, 1);
	if (s.len > 0 && s.data[s.len - 1] == '\r')
		s.len--;
	e->kind = ZONE_COMMENT;
	e->comment = slice_trim(s);
	skip_to_line_end(l);
	skip_newline(l);
	return true;
}

/* From the first word to the end of the entry. */
static int take_words(struct zone_lexer *l, struct zone_entry *e, const char **ret_error)
{
	unsigned depth = 0;
	int r = 0;

	while (l->rest.len > 0 && r >= 0) {
		char c = *l->rest.data;

		if (c == '\n') {
			skip_newline(l);
			if (depth == 0)
				return 0;
		} else if (is_blank(c)) {
			l->rest = slice_skip(l->rest, 1);
		} else if (c == ';') {
			skip_to_line_end(l);
		} else if (c == '(' || c == ')') {
			if (c == ')' && depth == 0) {
				*ret_error = "')' without '('";
				return -EBADMSG;
			}
			depth = c == '(' ? depth + 1 : depth - 1;
			l->rest = slice_skip(l->rest, 1);
		} else if (c == '"') {
			r = take_quoted(l, e, ret_error);
		} else {
			r = take_word(l, e);
		}
	}
	if (r == -EBADMSG && !*ret_error)
		*ret_error = "the entry has too many words";
	if (r >= 0 && depth > 0) {
		*ret_error = "'(' without ')'";
		return -EBADMSG;
	}
	return r;
}

int zone_lexer_next(struct zone_lexer *l, struct zone_entry *e, const char **ret_error)
{
	int r;

	*ret_error = NULL;
	e->n_words = 0;
	for (;;) {
		e->indented = l->rest.len > 0 && is_blank(*l->rest.data);
		e->line = l->line;
		while (l->rest.len > 0 && is_blank(*l->rest.data))
			l->rest = slice_skip(l->rest, 1);
		if (l->rest.len == 0) {
			e->kind = ZONE_END;
			return 0;
		}
		if (take_comment_line(l, e))
			return 0;
		if (*l->rest.data != '\n')
			break;
		skip_newline(l);
	}
	e->kind = ZONE_WORDS;
	r = take_words(l, e, ret_error);
	if (r == -EBADMSG) {
		skip_to_line_end(l);
		skip_newline(l);
	}
	return r;
}

/* --- types and times ---------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint16_t type;
	bool ignored;
} types[] = {
	{ "A", DNS_A, false },        { "NS", DNS_NS, false },       { "CNAME", DNS_CNAME, false },
	{ "SOA", DNS_SOA, true },     { "PTR", DNS_PTR, false },     { "MX", DNS_MX, false },
	{ "TXT", DNS_TXT, false },    { "AAAA", DNS_AAAA, false },   { "SRV", DNS_SRV, false },
	{ "TLSA", DNS_TLSA, false },  { "SPF", 99, true },           { "HINFO", 13, true },
	{ "RP", 17, true },           { "LOC", 29, true },           { "NAPTR", 35, true },
	{ "DS", 43, true },           { "SSHFP", 44, true },         { "RRSIG", 46, true },
	{ "NSEC", 47, true },         { "DNSKEY", 48, true },        { "NSEC3", 50, true },
	{ "NSEC3PARAM", 51, true },   { "SMIMEA", 53, true },        { "CDS", 59, true },
	{ "CDNSKEY", 60, true },      { "OPENPGPKEY", 61, true },    { "SVCB", 64, true },
	{ "HTTPS", 65, true },        { "CAA", 257, true },
};

int zone_type_parse(struct slice text, enum dns_type *ret, bool *ret_ignored)
{
	uint64_t number;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (slice_ieq_str(text, types[i].name)) {
			*ret = (enum dns_type) types[i].type;
			*ret_ignored = types[i].ignored;
			return 0;
		}
	}
	/* RFC 3597 section 5. What is below 1 or only ever stands in questions can't be in a zone. */
	if (!slice_istarts(text, "TYPE") || slice_to_u64(slice_skip(text, 4), &number) < 0 || number == 0 || number > 65535)
		return -EINVAL;
	if (number == 41 || (number >= 128 && number <= 255))
		return -EINVAL;
	*ret = (enum dns_type) number;
	*ret_ignored = number == DNS_SOA;
	return 0;
}

static uint64_t unit_seconds(char c)
{
	switch (ascii_lower(c)) {
	case 's': return 1;
	case 'm': return 60;
	case 'h': return 3600;
	case 'd': return 86400;
	case 'w': return 7 * 86400;
	}
	return 0;
}

int zone_ttl_parse(struct slice text, uint32_t *ret)
{
	uint64_t total = 0;

	if (text.len == 0)
		return -EINVAL;
	while (text.len > 0) {
		uint64_t value = 0, unit = 1;
		size_t n = 0;

		for (; n < text.len && ascii_is_digit(text.data[n]); n++) {
			value = value * 10 + (uint64_t) (text.data[n] - '0');
			if (value > INT32_MAX)
				return -ERANGE;
		}
		if (n == 0)
			return -EINVAL;
		if (n < text.len) {
			unit = unit_seconds(text.data[n++]);
			if (unit == 0)
				return -EINVAL;
		}
		total += value * unit;
		if (total > INT32_MAX) /* RFC 2181 section 8 */
			return -ERANGE;
		text = slice_skip(text, n);
	}
	*ret = (uint32_t) total;
	return 0;
}

/* --- rdata --------------------------------------------------------------------------------------------------- */

static int put_number(struct slice word, unsigned bytes, struct buffer *out)
{
	uint64_t v;

	if (slice_to_u64(word, &v) < 0 || v >> (8 * bytes))
		return -EBADMSG;
	while (bytes-- > 0)
		buffer_append_char(out, (char) (v >> (8 * bytes)));
	return 0;
}

static int put_name(struct slice word, const struct dns_name *origin, struct buffer *out, const char **ret_error)
{
	struct dns_name name;
	int r;

	if (slice_eq_str(word, "@"))
		name = *origin;
	else if ((r = dns_name_parse(word, origin, &name)) < 0) {
		*ret_error = r == -ENAMETOOLONG ? "the name in the record is too long" : "the name in the record is not a domain name";
		return -EBADMSG;
	}
	buffer_append(out, name.wire, name.len);
	return 0;
}

static int put_address(struct slice word, uint8_t family, struct buffer *out, const char **ret_error)
{
	struct ip ip;

	/* An IPv4 address written as IPv6 (::ffff:192.0.2.1) comes back as IPv4: still right for AAAA. */
	if (ip_parse(word, &ip) < 0 || (family == 4 && (ip.family != 4 || slice_find(word, ':') >= 0)) ||
	    (family == 6 && slice_find(word, ':') < 0)) {
		*ret_error = family == 4 ? "not an IPv4 address" : "not an IPv6 address";
		return -EBADMSG;
	}
	if (family == 6 && ip.family == 4)
		buffer_append(out, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
	buffer_append(out, ip.bytes, ip.family == 4 ? 4 : 16);
	return 0;
}

/* One string with its escapes (RFC 1035 section 5.1). One that is longer than 255 bytes becomes several: who
 * reads them joins them anyway. */
static int put_string(struct slice word, struct buffer *out, const char **ret_error)
{
	char piece[STRING_MAX];
	unsigned len = 0;

	do {
		len = 0;
		while (word.len > 0 && len < STRING_MAX) {
			const char *p = word.data;
			unsigned used = 1, v = (uint8_t) p[0];

			if (p[0] == '\\' && word.len >= 4 && ascii_is_digit(p[1]) && ascii_is_digit(p[2]) && ascii_is_digit(p[3])) {
				v = (unsigned) (p[1] - '0') * 100 + (unsigned) (p[2] - '0') * 10 + (unsigned) (p[3] - '0');
				used = 4;
			} else if (p[0] == '\\' && word.len >= 2 && !ascii_is_digit(p[1])) {
				v = (uint8_t) p[1];
				used = 2;
			} else if (p[0] == '\\') {
				v = 256;
			}
			if (v > 255) {
				*ret_error = "a backslash must be followed by three digits up to 255 or by another character";
				return -EBADMSG;
			}
			piece[len++] = (char) v;
			word = slice_skip(word, used);
		}
		buffer_append_char(out, (char) len);
		buffer_append(out, piece, len);
	} while (word.len > 0);
	return 0;
}

static int hex_digit(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal digits, which blanks may cut anywhere. */
static int put_hex(const struct zone_word *words, unsigned n, struct buffer *out, const char **ret_error)
{
	int high = -1;

	for (unsigned i = 0; i < n; i++) {
		for (size_t k = 0; k < words[i].text.len; k++) {
			int digit = hex_digit(words[i].text.data[k]);

			if (digit < 0) {
				*ret_error = "not hexadecimal digits";
				return -EBADMSG;
			}
			if (high >= 0)
				buffer_append_char(out, (char) (high << 4 | digit));
			high = high >= 0 ? -1 : digit;
		}
	}
	if (high >= 0) {
		*ret_error = "an odd number of hexadecimal digits";
		return -EBADMSG;
	}
	return 0;
}

/* RFC 3597 section 5: \# length hex... for any type. */
static int put_generic(const struct zone_word *words, unsigned n, struct buffer *out, const char **ret_error)
{
	size_t before = out->len;
	uint64_t len;
	int r;

	if (n < 2 || slice_to_u64(words[1].text, &len) < 0 || len > RDATA_MAX) {
		*ret_error = "'\\#' must be followed by a length and hexadecimal digits";
		return -EBADMSG;
	}
	r = put_hex(words + 2, n - 2, out, ret_error);
	if (r < 0)
		return r;
	if (out->len - before != len) {
		*ret_error = "the length after '\\#' is not that of the digits";
		return -EBADMSG;
	}
	return 0;
}

static int put_fields(enum dns_type type, const struct zone_word *words, unsigned n, const struct dns_name *origin,
		      struct buffer *out, const char **ret_error)
{
	/* How many numbers of how many bytes stand in front. */
	unsigned numbers = type == DNS_MX ? 1 : type == DNS_SRV || type == DNS_TLSA ? 3 : 0;
	unsigned bytes = type == DNS_TLSA ? 1 : 2;
	int r;

	for (unsigned i = 0; i < numbers; i++) {
		if (put_number(words[i].text, bytes, out) < 0) {
			*ret_error = bytes == 1 ? "not a number from 0 to 255" : "not a number from 0 to 65535";
			return -EBADMSG;
		}
	}
	words += numbers;
	n -= numbers;
	switch (type) {
	case DNS_A:
		return put_address(words[0].text, 4, out, ret_error);
	case DNS_AAAA:
		return put_address(words[0].text, 6, out, ret_error);
	case DNS_TLSA:
		return put_hex(words, n, out, ret_error);
	case DNS_TXT:
		for (unsigned i = 0; i < n; i++) {
			r = put_string(words[i].text, out, ret_error);
			if (r < 0)
				return r;
		}
		return 0;
	default:
		return put_name(words[0].text, origin, out, ret_error);
	}
}

int zone_rdata_parse(enum dns_type type, const struct zone_word *words, unsigned n, const struct dns_name *origin,
		     struct buffer *out, const char **ret_error)
{
	unsigned least = 1, most = 1;
	size_t before = out->len;
	int r;

	if (n > 0 && !words[0].quoted && slice_eq_str(words[0].text, "\\#")) {
		r = put_generic(words, n, out, ret_error);
	} else {
		switch (type) {
		case DNS_MX: least = most = 2; break;
		case DNS_SRV: least = most = 4; break;
		case DNS_TLSA: least = 4; most = ZONE_WORDS_MAX; break;
		case DNS_TXT: most = ZONE_WORDS_MAX; break;
		case DNS_A: case DNS_AAAA: case DNS_NS: case DNS_CNAME: case DNS_PTR: break;
		default:
			*ret_error = "records of this type are written as '\\# length hexadecimal' (RFC 3597 section 5)";
			return -EBADMSG;
		}
		if (n < least || n > most) {
			*ret_error = n < least ? "the record is not complete" : "there is too much after the record";
			return -EBADMSG;
		}
		r = put_fields(type, words, n, origin, out, ret_error);
	}
	if (r >= 0 && out->len - before > RDATA_MAX) {
		*ret_error = "the record is longer than 65535 bytes";
		r = -EBADMSG;
	}
	return r < 0 ? r : buffer_error(out);
}
