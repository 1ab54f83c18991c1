#include "smtp/command.h"

#include "mail/text.h"

static const struct {
	enum verb verb;
	const char *name;
} verbs[] = {
	/* The most frequent first. */
	{ VERB_RCPT, "RCPT" },
	{ VERB_MAIL, "MAIL" },
	{ VERB_DATA, "DATA" },
	{ VERB_BDAT, "BDAT" },
	{ VERB_EHLO, "EHLO" },
	{ VERB_QUIT, "QUIT" },
	{ VERB_RSET, "RSET" },
	{ VERB_STARTTLS, "STARTTLS" },
	{ VERB_AUTH, "AUTH" },
	{ VERB_NOOP, "NOOP" },
	{ VERB_HELO, "HELO" },
	{ VERB_LHLO, "LHLO" },
	{ VERB_VRFY, "VRFY" },
	{ VERB_EXPN, "EXPN" },
	{ VERB_HELP, "HELP" },
	{ VERB_ETRN, "ETRN" },
	{ VERB_ATRN, "ATRN" },
	{ VERB_XCLIENT, "XCLIENT" },
	{ VERB_XFORWARD, "XFORWARD" },
	/* Methods of HTTP and SIP: a browser was led to our port. */
	{ VERB_FOREIGN, "GET" },
	{ VERB_FOREIGN, "PRI" }, /* HTTP/2 */
	{ VERB_FOREIGN, "POST" },
	{ VERB_FOREIGN, "PUT" },
	{ VERB_FOREIGN, "HEAD" },
	{ VERB_FOREIGN, "CONNECT" },
	{ VERB_FOREIGN, "OPTIONS" },
	{ VERB_FOREIGN, "DELETE" },
	{ VERB_FOREIGN, "PATCH" },
	{ VERB_FOREIGN, "TRACE" },
	{ VERB_FOREIGN, "INVITE" },
	{ VERB_FOREIGN, "REGISTER" },
};

const char *verb_name(enum verb v)
{
	if (v == VERB_FOREIGN)
		return "foreign";
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].verb == v)
			return verbs[i].name;
	return "unknown";
}

int command_parse(struct slice line, struct command *ret)
{
	struct slice rest, name = slice_cut(line, ' ', &rest);
	enum verb verb = VERB_UNKNOWN;

	if (text_has_control(line))
		return -EILSEQ;
	if (name.len == 0 || !ascii_is_alpha(name.data[0]) || !text_is_ascii(name))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (slice_ieq_str(name, verbs[i].name)) {
			verb = verbs[i].verb;
			break;
		}
	}
	*ret = (struct command) { .verb = verb, .name = name, .args = slice_trim(rest) };
	return 0;
}

/* esmtp-keyword, RFC 5321 section 4.1.2. */
static bool keyword_is_valid(struct slice s)
{
	if (s.len == 0 || !ascii_is_alnum(s.data[0]))
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (!ascii_is_alnum(s.data[i]) && s.data[i] != '-')
			return false;
	return true;
}

/* esmtp-value, with the octets of UTF-8 that RFC 6531 section 3.3 adds. What they spell is checked where the
 * value is understood. "=" is allowed, against the grammar: AUTH=<> and base64 values of some clients have it. */
static bool value_is_valid(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char) s.data[i];

		if (c <= ' ' || c == 0x7f)
			return false;
	}
	return s.len > 0;
}

static int parameters_split(struct slice rest, struct path_args *ret)
{
	ret->n_parameters = 0;
	while (rest.len > 0) {
		struct parameter p = { 0 };
		struct slice word = slice_cut(rest, ' ', &rest);

		if (word.len == 0)
			continue; /* more than one space: harmless */
		p.keyword = slice_cut(word, '=', &p.value);
		if (!keyword_is_valid(p.keyword) || (p.value.data && !value_is_valid(p.value)))
			return -EBADMSG;
		if (ret->n_parameters == PARAMETERS_MAX)
			return -ENOBUFS;
		ret->parameters[ret->n_parameters++] = p;
	}
	return 0;
}

/* RFC 5321 section 3.3: spaces are not permitted on either side of the colon. One behind it is taken all the
 * same, many clients send it. */
static int args_parse(struct slice args, const char *prefix, unsigned flags, struct path_args *ret)
{
	struct path_args result;
	int r;

	if (!slice_istarts(args, prefix))
		return -EINVAL;
	args = slice_skip(args, strlen(prefix));
	if (args.len > 0 && args.data[0] == ' ')
		args = slice_skip(args, 1);
	r = path_parse(&args, flags, &result.path);
	if (r < 0)
		return r;
	if (args.len > 0 && args.data[0] != ' ')
		return -EINVAL;
	r = parameters_split(args, &result);
	if (r < 0)
		return r;
	*ret = result;
	return 0;
}

int mail_args_parse(struct slice args, bool allow_utf8, struct path_args *ret)
{
	unsigned flags = ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_LONG;

	return args_parse(args, "FROM:", flags | (allow_utf8 ? ADDRESS_ALLOW_UTF8 : 0), ret);
}

int rcpt_args_parse(struct slice args, bool allow_utf8, struct path_args *ret)
{
	unsigned flags = ADDRESS_ALLOW_POSTMASTER | ADDRESS_ALLOW_LONG;

	return args_parse(args, "TO:", flags | (allow_utf8 ? ADDRESS_ALLOW_UTF8 : 0), ret);
}

static bool is_address_literal(struct slice s)
{
	struct address parsed;
	char text[DOMAIN_MAX + 3] = "x@";

	if (s.len < 2 || s.len > DOMAIN_MAX || s.data[0] != '[')
		return false;
	memcpy(text + 2, s.data, s.len);
	return address_parse(slice_new(text, s.len + 2), 0, &parsed) == 0 && parsed.literal;
}

/* [2001:db8::1] without "IPv6:", from a widespread mail library. */
static bool is_untagged_ipv6(struct slice s)
{
	struct ip ip;

	return s.len > 2 && s.data[s.len - 1] == ']' && ip_parse(slice_new(s.data + 1, s.len - 2), &ip) >= 0 && ip.family == 6;
}

int helo_parse(struct slice args, bool lenient, struct slice *ret)
{
	if (args.len == 0 || args.len > DOMAIN_MAX)
		return -EINVAL;
	if (args.data[0] == '[') {
		if (!is_address_literal(args) && !(lenient && is_untagged_ipv6(args)))
			return -EINVAL;
	} else if (!lenient) {
		if (!domain_is_valid(args, true))
			return -EINVAL;
	} else {
		for (size_t i = 0; i < args.len; i++) {
			char c = args.data[i];

			if (c <= ' ' || c >= 0x7f || strchr("()<>[]\"\\,;@", c))
				return -EINVAL;
		}
	}
	*ret = args;
	return 0;
}
