#include "mail/received.h"

#include "mail/address.h"
#include "mail/text.h"

#define COMMENT_MAX 128 /* octets of a wrong HELO name that are shown */

/* RFC 3848 section 1 and RFC 6531 section 4.3. Without EHLO there are no extensions to speak of. */
const char *transmission_name(unsigned transmission)
{
	static const char *const names[] = {
		"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA",
		"LMTP", "LMTPS", "LMTPA", "LMTPSA",
		"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA",
		"UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA",
	};
	unsigned index = 0;

	if (!(transmission & (TRANSMISSION_EXTENDED | TRANSMISSION_LMTP)))
		return "SMTP";
	if (transmission & TRANSMISSION_TLS)
		index += 1;
	if (transmission & TRANSMISSION_AUTH)
		index += 2;
	if (transmission & TRANSMISSION_LMTP)
		index += 4;
	if (transmission & TRANSMISSION_UTF8)
		index += 8;
	return names[index];
}

/* An address literal of RFC 5321 section 4.1.3. */
static void append_literal(struct buffer *out, const struct ip *ip)
{
	char text[IP_TEXT];

	buffer_printf(out, "[%s%s]", ip->family == 6 ? "IPv6:" : "", ip_format(ip, text));
}

static bool name_fits(const char *name)
{
	struct slice s = slice_from(name ? name : "");
	struct address literal;
	char text[DOMAIN_MAX + 3] = "x@";

	if (s.len == 0 || s.len > DOMAIN_MAX)
		return false;
	if (s.data[0] != '[')
		return domain_is_valid(s, false);
	memcpy(text + 2, s.data, s.len);
	return address_parse(slice_new(text, s.len + 2), 0, &literal) == 0;
}

/* The inside of a comment: what could end it, nest it or begin a line is shown as "?". */
static void append_comment_text(struct buffer *out, const char *text)
{
	for (size_t i = 0; text[i] && i < COMMENT_MAX; i++) {
		char c = text[i];

		buffer_append_char(out, c < ' ' || c > '~' || strchr("()\\", c) ? '?' : c);
	}
}

/* "from name (reverse.name [192.0.2.1])". The grammar wants a domain or a literal behind "from": when the client
 * did not give one, its address stands there, and what it said in a comment. */
static void append_from(struct buffer *out, const struct received *r)
{
	bool fits = name_fits(r->helo);

	if (fits)
		buffer_printf(out, "from %s", r->helo);
	else if (r->client)
		buffer_append_str(out, "from "), append_literal(out, r->client);
	else
		return;
	if (r->client) {
		buffer_append_str(out, " (");
		if (name_fits(r->client_name))
			buffer_printf(out, "%s ", r->client_name);
		append_literal(out, r->client);
		buffer_append_str(out, ")");
	}
	if (!fits && r->helo && r->helo[0]) {
		buffer_append_str(out, "\r\n\t(HELO ");
		append_comment_text(out, r->helo);
		buffer_append_str(out, ")");
	}
	buffer_append_str(out, "\r\n\t");
}

static void append_tls(struct buffer *out, const struct received *r)
{
	if (!r->tls_version || !r->tls_cipher)
		return;
	buffer_append_str(out, "\r\n\t(using ");
	append_comment_text(out, r->tls_version);
	buffer_append_str(out, " with ");
	append_comment_text(out, r->tls_cipher);
	if (r->tls_bits)
		buffer_printf(out, ", %u bits", r->tls_bits);
	if (r->tls_group && r->tls_group[0]) {
		buffer_append_str(out, ", ");
		append_comment_text(out, r->tls_group);
	}
	buffer_append_str(out, ")");
	if (!r->tls_client)
		return;
	buffer_append_str(out, "\r\n\t(client certificate ");
	append_comment_text(out, r->tls_client);
	buffer_append_str(out, r->tls_client_verified ? ", verified)" : ", not verified)");
}

/* The recipient passed the grammar of addresses when it was accepted. In a message without SMTPUTF8 an address in
 * UTF-8 can't be written (RFC 6531 section 3.7.3). */
static bool may_name_recipient(const struct received *r)
{
	struct slice s;

	if (!r->recipient || !r->recipient[0])
		return false;
	s = slice_from(r->recipient);
	if (text_has_control(s))
		return false;
	return text_is_ascii(s) || strncmp(r->protocol, "UTF8", 4) == 0;
}

/* A comment behind the protocol, folded behind the commas (RFC 3865 section 2.6). */
static void append_solicit(struct buffer *out, const char *classes)
{
	struct slice rest = slice_from(classes);

	if (!classes)
		return;
	buffer_append_str(out, "\r\n\t(SOLICIT=");
	while (rest.data) {
		struct slice class = slice_cut(rest, ',', &rest);

		buffer_append_slice(out, class);
		if (rest.data)
			buffer_append_str(out, ",\r\n\t ");
	}
	buffer_append_str(out, ")\r\n\t");
}

void received_format(const struct received *r, struct buffer *out)
{
	char date[40];

	buffer_append_str(out, "Received: ");
	append_from(out, r);
	buffer_printf(out, "by %s with %s", r->host, r->protocol);
	append_solicit(out, r->solicit);
	buffer_printf(out, " id %s", r->id);
	append_tls(out, r);
	if (may_name_recipient(r))
		buffer_printf(out, "\r\n\tfor <%s>", r->recipient);
	if (r->priority)
		buffer_printf(out, "\r\n\tPRIORITY %d", *r->priority);
	buffer_printf(out, ";\r\n\t%s\r\n", wall_format_rfc5322(r->when, date, sizeof(date)));
}

void return_path_format(const char *reverse_path, struct buffer *out)
{
	buffer_append_str(out, "Return-Path: <");
	text_append_clean(out, slice_from(reverse_path));
	buffer_append_str(out, ">\r\n");
}
