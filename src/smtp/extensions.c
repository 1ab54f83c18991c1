#include "smtp/extensions.h"

/* The EHLO keywords, in the order in which we announce them. */
static const struct {
	unsigned bit;
	const char *keyword;
} table[] = {
	{ EXT_PIPELINING, "PIPELINING" },
	{ EXT_SIZE, "SIZE" },
	{ EXT_ETRN, "ETRN" },
	{ EXT_ATRN, "ATRN" },
	{ EXT_STARTTLS, "STARTTLS" },
	{ EXT_AUTH, "AUTH" },
	{ EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES" },
	{ EXT_8BITMIME, "8BITMIME" },
	{ EXT_DSN, "DSN" },
	{ EXT_SMTPUTF8, "SMTPUTF8" },
	{ EXT_CHUNKING, "CHUNKING" },
	{ EXT_BINARYMIME, "BINARYMIME" },
	{ EXT_REQUIRETLS, "REQUIRETLS" },
	{ EXT_LIMITS, "LIMITS" },
	{ EXT_DELIVERBY, "DELIVERBY" },
	{ EXT_MT_PRIORITY, "MT-PRIORITY" },
	{ EXT_FUTURERELEASE, "FUTURERELEASE" },
	{ EXT_RRVS, "RRVS" },
	{ EXT_NO_SOLICITING, "NO-SOLICITING" },
	{ EXT_XCLIENT, "XCLIENT" },
	{ EXT_XFORWARD, "XFORWARD" },
	{ EXT_VRFY, "VRFY" },
	{ EXT_EXPN, "EXPN" },
	{ EXT_HELP, "HELP" },
};

/* The strongest first: clients often take the first that they know. */
static const struct {
	unsigned bit;
	const char *name;
} mechanisms[] = {
	{ AUTH_SCRAM_SHA_256_PLUS, "SCRAM-SHA-256-PLUS" },
	{ AUTH_SCRAM_SHA_256, "SCRAM-SHA-256" },
	{ AUTH_SCRAM_SHA_1_PLUS, "SCRAM-SHA-1-PLUS" },
	{ AUTH_SCRAM_SHA_1, "SCRAM-SHA-1" },
	{ AUTH_EXTERNAL, "EXTERNAL" },
	{ AUTH_OAUTHBEARER, "OAUTHBEARER" },
	{ AUTH_XOAUTH2, "XOAUTH2" },
	{ AUTH_CRAM_MD5, "CRAM-MD5" },
	{ AUTH_PLAIN, "PLAIN" },
	{ AUTH_LOGIN, "LOGIN" },
};

const char *auth_mechanism_name(unsigned mechanism)
{
	for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
		if (mechanisms[i].bit == mechanism)
			return mechanisms[i].name;
	return NULL;
}

unsigned auth_mechanism_from_name(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
		if (slice_ieq_str(name, mechanisms[i].name))
			return mechanisms[i].bit;
	return 0;
}

const char *extension_name(unsigned bit)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].bit == bit)
			return table[i].keyword;
	return NULL;
}

unsigned extension_from_name(struct slice keyword)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (slice_ieq_str(keyword, table[i].keyword))
			return table[i].bit;
	return 0;
}

/* --- what we announce ---------------------------------------------------------------------------------- */

static void format_limit(struct buffer *out, const char *name, unsigned value)
{
	if (value)
		buffer_printf(out, " %s=%u", name, value);
}

static void format_arguments(const struct extensions *e, unsigned bit, struct buffer *out)
{
	char until[32];

	switch (bit) {
	case EXT_SIZE:
		if (e->size)
			buffer_printf(out, " %llu", (unsigned long long) e->size);
		break;
	case EXT_AUTH:
		for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
			if (e->auth & mechanisms[i].bit)
				buffer_printf(out, " %s", mechanisms[i].name);
		break;
	case EXT_LIMITS:
		format_limit(out, "MAILMAX", e->mail_max);
		format_limit(out, "RCPTMAX", e->rcpt_max);
		format_limit(out, "RCPTDOMAINMAX", e->rcpt_domain_max);
		break;
	case EXT_DELIVERBY:
		if (e->by_min)
			buffer_printf(out, " %u", e->by_min);
		break;
	case EXT_FUTURERELEASE:
		buffer_printf(out, " %u %s", e->hold_max, wall_format_seconds(e->hold_until, until, sizeof(until)));
		break;
	case EXT_NO_SOLICITING:
		if (e->solicit)
			buffer_printf(out, " %s", e->solicit);
		break;
	case EXT_XCLIENT:
		buffer_append_str(out, " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
		break;
	case EXT_XFORWARD:
		buffer_append_str(out, " NAME ADDR PORT PROTO HELO IDENT SOURCE");
		break;
	default:
		break;
	}
}

void extensions_format(const struct extensions *e, const char *host, const char *greeting, struct buffer *out)
{
	unsigned left = e->bits;

	/* Keywords that say nothing without arguments are not announced without them. */
	if (e->auth == 0)
		left &= ~(unsigned) EXT_AUTH;
	if (!e->mail_max && !e->rcpt_max && !e->rcpt_domain_max)
		left &= ~(unsigned) EXT_LIMITS;
	if (!e->hold_max)
		left &= ~(unsigned) EXT_FUTURERELEASE;
	buffer_printf(out, "250%c%s", left ? '-' : ' ', host);
	if (greeting)
		buffer_printf(out, " %s", greeting);
	buffer_append_str(out, "\r\n");
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (!(left & table[i].bit))
			continue;
		left &= ~table[i].bit;
		buffer_printf(out, "250%c%s", left ? '-' : ' ', table[i].keyword);
		format_arguments(e, table[i].bit, out);
		buffer_append_str(out, "\r\n");
	}
}

/* --- what a peer announces ------------------------------------------------------------------------------ */

static void parse_auth(struct slice arguments, struct extensions *e)
{
	while (arguments.len > 0)
		e->auth |= auth_mechanism_from_name(slice_cut(arguments, ' ', &arguments));
}

/* RFC 9422 section 4: zero is not a limit, and a limit that is no number is as if it were not there. */
static void parse_limit(struct slice word, const char *name, unsigned *limit)
{
	struct slice value, key = slice_cut(word, '=', &value);
	uint64_t n;

	if (!slice_ieq_str(key, name) || slice_to_u64(value, &n) < 0 || n == 0)
		return;
	*limit = (unsigned) MIN(n, (uint64_t) 1000000);
}

static void parse_limits(struct slice arguments, struct extensions *e)
{
	while (arguments.len > 0) {
		struct slice word = slice_cut(arguments, ' ', &arguments);

		parse_limit(word, "MAILMAX", &e->mail_max);
		parse_limit(word, "RCPTMAX", &e->rcpt_max);
		parse_limit(word, "RCPTDOMAINMAX", &e->rcpt_domain_max);
	}
}

/* RFC 2852 section 2: without a number, or with a strange one, there is no minimum. */
static unsigned parse_seconds(struct slice text)
{
	uint64_t n;

	return slice_to_u64(slice_cut(text, ' ', &text), &n) < 0 ? 0 : (unsigned) MIN(n, (uint64_t) 999999999);
}

void extensions_parse_line(struct slice line, struct extensions *e)
{
	struct slice rest, word = slice_cut(slice_trim(line), ' ', &rest);

	rest = slice_trim(rest);
	/* Servers of the last century wrote "AUTH=LOGIN". */
	if (slice_istarts(word, "AUTH=")) {
		parse_auth(slice_skip(word, strlen("AUTH=")), e);
		parse_auth(rest, e);
		e->bits |= EXT_AUTH;
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (!slice_ieq_str(word, table[i].keyword))
			continue;
		e->bits |= table[i].bit;
		if (table[i].bit == EXT_SIZE && slice_to_u64(rest, &e->size) < 0)
			e->size = 0;
		else if (table[i].bit == EXT_AUTH)
			parse_auth(rest, e);
		else if (table[i].bit == EXT_LIMITS)
			parse_limits(rest, e);
		else if (table[i].bit == EXT_DELIVERBY)
			e->by_min = parse_seconds(rest);
		else if (table[i].bit == EXT_FUTURERELEASE)
			e->hold_max = parse_seconds(rest);
		return;
	}
}

void extensions_parse(struct slice lines, struct extensions *ret)
{
	struct extensions e = { 0 };

	slice_cut(lines, '\n', &lines); /* the greeting */
	while (lines.len > 0)
		extensions_parse_line(slice_cut(lines, '\n', &lines), &e);
	*ret = e;
}
