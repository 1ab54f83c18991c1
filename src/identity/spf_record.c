#include "identity/spf_record.h"

/* --- macros ------------------------------------------------------------------------------------------------ */

/* "%{" letter digits "r" delimiters "}" (RFC 7208 section 7.1). */
static int take_macro_letter(struct slice *rest, bool explain, struct spf_macro *ret)
{
	struct slice s = slice_skip(*rest, 2);
	const char *letters = explain ? "slodiphcrtv" : "slodiphv";
	struct spf_macro m = { .kind = SPF_MACRO_LETTER };
	size_t n = 0;

	if (s.len == 0 || !ascii_is_alpha(*s.data))
		return -EINVAL;
	m.letter = ascii_lower(*s.data);
	m.escape = m.letter != *s.data;
	if (!strchr(letters, m.letter))
		return -EINVAL;
	s = slice_skip(s, 1);
	while (n < s.len && ascii_is_digit(s.data[n])) {
		m.digits = MIN(m.digits * 10 + (unsigned) (s.data[n] - '0'), 1000u);
		n++;
	}
	if (n > 0 && m.digits == 0)
		return -EINVAL; /* RFC 7208 section 7.3: the value must not be zero */
	s = slice_skip(s, n);
	m.transformed = n > 0;
	if (s.len > 0 && ascii_lower(*s.data) == 'r') {
		m.reverse = m.transformed = true;
		s = slice_skip(s, 1);
	}
	for (n = 0; n < s.len && s.data[n] && strchr(".-+,/_=", s.data[n]);)
		n++;
	m.delimiters = slice_head(s, n);
	m.transformed = m.transformed || n > 0;
	if (n == s.len || s.data[n] != '}')
		return -EINVAL;
	*rest = slice_skip(s, n + 1);
	*ret = m;
	return 0;
}

int spf_macro_next(struct slice *rest, bool explain, struct spf_macro *ret)
{
	struct slice s = *rest;
	size_t n = 0;

	if (s.len == 0)
		return -EINVAL;
	if (*s.data == '%') {
		char c = s.len > 1 ? s.data[1] : '\0';

		if (c == '{')
			return take_macro_letter(rest, explain, ret);
		if (c != '%' && c != '_' && c != '-')
			return -EINVAL;
		*ret = (struct spf_macro) { .text = c == '%' ? SLICE("%") : c == '_' ? SLICE(" ") : SLICE("%20") };
		*rest = slice_skip(s, 2);
		return 0;
	}
	while (n < s.len && s.data[n] != '%') {
		unsigned char c = (unsigned char) s.data[n];

		if (c > 0x7e || c < (explain ? 0x20 : 0x21))
			return -EINVAL;
		n++;
	}
	*ret = (struct spf_macro) { .text = slice_head(s, n) };
	*rest = slice_skip(s, n);
	return 0;
}

/* What an unknown modifier may say: by the grammar also the letters c, r and t. Spaces can't stand in a term. */
static bool is_macro_string(struct slice s)
{
	struct spf_macro m;

	while (s.len > 0)
		if (spf_macro_next(&s, true, &m) < 0)
			return false;
	return true;
}

/* toplabel: letters, digits and hyphens, not digits alone, no hyphen at an end. */
static bool is_toplabel(struct slice s)
{
	bool digits = true;

	if (s.len == 0 || s.data[0] == '-' || s.data[s.len - 1] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_is_alnum(s.data[i]) && s.data[i] != '-')
			return false;
		digits = digits && ascii_is_digit(s.data[i]);
	}
	return !digits;
}

/* domain-spec = macro-string domain-end (RFC 7208 section 7.1): it ends with a macro, or with a dot and a label that
 * could be a top-level domain. */
static bool is_domain_spec(struct slice s)
{
	struct slice rest = s, tail = SLICE_NULL;
	struct spf_macro m;
	size_t dot;

	if (s.len == 0)
		return false;
	while (rest.len > 0) {
		bool literal = *rest.data != '%';

		if (spf_macro_next(&rest, false, &m) < 0)
			return false;
		tail = literal ? m.text : SLICE_NULL;
	}
	if (!tail.data)
		return true;
	if (tail.len > 0 && tail.data[tail.len - 1] == '.')
		tail.len--;
	for (dot = tail.len; dot > 0 && tail.data[dot - 1] != '.';)
		dot--;
	return dot > 0 && is_toplabel(slice_skip(tail, dot));
}

/* --- terms ---------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum spf_mechanism mechanism;
} mechanisms[] = {
	{ "all", SPF_ALL }, { "include", SPF_INCLUDE }, { "a", SPF_A },     { "mx", SPF_MX },
	{ "ptr", SPF_PTR }, { "ip4", SPF_IP4 },         { "ip6", SPF_IP6 }, { "exists", SPF_EXISTS },
};

/* "/24" at the end of *s, behind one slash or two: 1 and taken off, 0 when there is none, -EINVAL beyond max. Leading
 * zeros are none of its syntax. */
static int take_cidr(struct slice *s, unsigned slashes, unsigned max, uint8_t *ret)
{
	size_t n = s->len;
	uint64_t bits;

	while (n > 0 && ascii_is_digit(s->data[n - 1]))
		n--;
	if (n == s->len || n < slashes || (s->data[n] == '0' && s->len - n > 1))
		return 0;
	for (unsigned i = 1; i <= slashes; i++)
		if (s->data[n - i] != '/')
			return 0;
	if (slice_to_u64(slice_skip(*s, n), &bits) < 0 || bits > max)
		return -EINVAL;
	*ret = (uint8_t) bits;
	s->len = n - slashes;
	return 1;
}

/* [":" domain-spec] [dual-cidr-length] of a and mx. */
static int parse_dual(struct slice rest, struct spf_directive *d)
{
	int r = take_cidr(&rest, 2, 128, &d->cidr6);

	if (r < 0)
		return r;
	if (take_cidr(&rest, 1, 32, &d->cidr4) < 0)
		return -EINVAL;
	if (rest.len == 0)
		return 0;
	d->domain = slice_skip(rest, 1);
	return rest.data[0] == ':' && is_domain_spec(d->domain) ? 0 : -EINVAL;
}

static int parse_network(struct slice rest, struct spf_directive *d)
{
	bool four = d->mechanism == SPF_IP4;

	if (rest.len < 2 || *rest.data != ':')
		return -EINVAL;
	rest = slice_skip(rest, 1);
	if (take_cidr(&rest, 1, four ? 32 : 128, four ? &d->cidr4 : &d->cidr6) < 0)
		return -EINVAL;
	if (ip_parse(rest, &d->ip) < 0 || (slice_find(rest, ':') < 0) != four)
		return -EINVAL;
	if (!four && d->ip.family == 4)
		d->ip = (struct ip) { .family = 0 }; /* a client with such an address is an IPv4 client */
	return 0;
}

static int parse_directive(struct slice term, struct spf_directive *d)
{
	struct slice rest;
	size_t n = 0, i;

	*d = (struct spf_directive) { .qualifier = '+', .text = term, .cidr4 = 32, .cidr6 = 128 };
	if (*term.data && strchr("+-~?", *term.data)) {
		d->qualifier = *term.data;
		term = slice_skip(term, 1);
	}
	while (n < term.len && term.data[n] != ':' && term.data[n] != '/')
		n++;
	rest = slice_skip(term, n);
	term = slice_head(term, n);
	for (i = 0; i < ARRAY_LEN(mechanisms) && !slice_ieq_str(term, mechanisms[i].name);)
		i++;
	if (i == ARRAY_LEN(mechanisms))
		return -EINVAL;
	d->mechanism = mechanisms[i].mechanism;
	switch (d->mechanism) {
	case SPF_ALL:
		return rest.len == 0 ? 0 : -EINVAL;
	case SPF_A:
	case SPF_MX:
		return parse_dual(rest, d);
	case SPF_IP4:
	case SPF_IP6:
		return parse_network(rest, d);
	case SPF_PTR:
		if (rest.len == 0)
			return 0;
		break;
	case SPF_INCLUDE:
	case SPF_EXISTS:
		break;
	}
	if (rest.len == 0 || *rest.data != ':')
		return -EINVAL;
	d->domain = slice_skip(rest, 1);
	return is_domain_spec(d->domain) ? 0 : -EINVAL;
}

/* The octets of a modifier's name, 0 when the term is none. */
static size_t modifier_name(struct slice term)
{
	size_t n = 0;

	if (term.len == 0 || !ascii_is_alpha(*term.data))
		return 0;
	while (n < term.len && (ascii_is_alnum(term.data[n]) || (term.data[n] && strchr("-_.", term.data[n]))))
		n++;
	return n < term.len && term.data[n] == '=' ? n : 0;
}

static int parse_modifier(struct slice term, size_t n, struct spf_record *record)
{
	struct slice name = slice_head(term, n), value = slice_skip(term, n + 1), *known = NULL;

	if (slice_ieq_str(name, "redirect"))
		known = &record->redirect;
	else if (slice_ieq_str(name, "exp"))
		known = &record->explanation;
	if (!known)
		return is_macro_string(value) ? 0 : -EINVAL;
	/* RFC 7208 section 6: neither may appear twice. */
	if (known->data || !is_domain_spec(value))
		return -EINVAL;
	*known = value;
	return 0;
}

bool spf_record_is(struct slice text)
{
	return slice_istarts(text, "v=spf1") && (text.len == 6 || text.data[6] == ' ');
}

int spf_record_parse(struct slice text, struct arena *a, struct spf_record *ret, const char **ret_why)
{
	struct spf_record record = { .n_directives = 0 };
	struct slice rest = slice_skip(text, 6);
	unsigned terms = 1;
	char shown[128];

	for (size_t i = 0; i < rest.len; i++)
		terms += rest.data[i] == ' ';
	record.directives = arena_new_array(a, struct spf_directive, terms);
	if (!record.directives)
		return -ENOMEM;
	while (rest.data) {
		struct slice term = slice_cut(rest, ' ', &rest);
		size_t n = modifier_name(term);
		int r;

		if (term.len == 0)
			continue;
		r = n > 0 ? parse_modifier(term, n, &record) : parse_directive(term, &record.directives[record.n_directives]);
		if (r < 0) {
			*ret_why = arena_printf(a, "syntax error at \"%s\"", slice_escape(term, shown, sizeof(shown)));
			return *ret_why ? -EINVAL : -ENOMEM;
		}
		record.n_directives += n == 0;
	}
	*ret = record;
	return 0;
}
