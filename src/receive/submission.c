#include "receive/submission.h"

#include "dns/mx.h"
#include "mail/address.h"
#include "mail/header.h"
#include "receive/session.h"
#include "world/fiber.h"

#define LOOKUP_TIME (10 * USEC_SEC)

/* --- addresses in fields ---------------------------------------------------------------------------------------- */

/* Comments (RFC 5322 section 3.2.2) and quoted names are passed over; *i stands behind it. */
static bool skip_aside(struct slice v, size_t *i)
{
	unsigned depth = 0;

	if (v.data[*i] == '"') {
		for (++*i; *i < v.len && v.data[*i] != '"'; ++*i)
			*i += v.data[*i] == '\\';
		++*i;
		return true;
	}
	if (v.data[*i] != '(')
		return false;
	for (; *i < v.len; ++*i) {
		char c = v.data[*i];

		if (c == '\\')
			++*i;
		else if (c == '(')
			depth++;
		else if (c == ')' && --depth == 0)
			break;
	}
	++*i;
	return true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without folds and spaces at both ends. */
static struct slice trim_folds(struct slice s)
{
	while (s.len > 0 && is_space(s.data[0]))
		s = slice_skip(s, 1);
	while (s.len > 0 && is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

static bool parse(struct slice text, struct address *ret)
{
	text = trim_folds(text);
	return text.len > 0 && address_parse(text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_LONG, ret) == 0 && ret->domain.len > 0;
}

/* <a@b>: from the bracket on. A quoted local part may have a bracket of its own. */
static bool in_brackets(struct slice v, size_t from, struct address *ret)
{
	size_t i = from + 1;

	while (i < v.len && v.data[i] != '>')
		if (v.data[i] != '"' || !skip_aside(v, &i))
			i++;
	return i < v.len && parse(slice_new(v.data + from + 1, i - from - 1), ret);
}

bool submission_field_address(struct slice value, struct address *ret)
{
	size_t i = 0, word = 0;

	while (i < value.len) {
		char c = value.data[i];

		if (c == '<')
			return in_brackets(value, i, ret);
		/* A quoted local part begins with its quote: it belongs to the word. */
		if (c == '(' && parse(slice_new(value.data + word, i - word), ret))
			return true;
		if (c == '(' && skip_aside(value, &i)) {
			word = i;
			continue;
		}
		if (c == '"' && skip_aside(value, &i))
			continue;
		if (c == ',' || c == ';') {
			if (parse(slice_new(value.data + word, i - word), ret))
				return true;
			word = i + 1;
		}
		if (c == ':')
			word = i + 1; /* the name of a group */
		i++;
	}
	return word < value.len && parse(slice_skip(value, word), ret);
}

static struct slice skip_blanks(struct slice v)
{
	size_t i = 0;

	while (i < v.len && (is_space(v.data[i]) || v.data[i] == '('))
		if (v.data[i] != '(' || !skip_aside(v, &i))
			i++;
	return slice_skip(v, MIN(i, v.len));
}

/* "Undisclosed:;" has no address and is right all the same (RFC 6854 section 2). */
static bool is_empty_group(struct slice v)
{
	size_t i = 0;

	v = skip_blanks(v);
	while (i < v.len && !strchr(":;,<>", v.data[i]))
		if (!skip_aside(v, &i))
			i++;
	if (i == 0 || i >= v.len || v.data[i] != ':')
		return false;
	v = skip_blanks(slice_skip(v, i + 1));
	return slice_istarts(v, ";") && skip_blanks(slice_skip(v, 1)).len == 0;
}

/* --- the header ----------------------------------------------------------------------------------------------------- */

bool submission_changes_headers(const struct submission_config *c)
{
	return c->complete || c->remove_bcc || c->add_sender || c->missing_from != MISSING_FROM_ACCEPT;
}

struct found {
	unsigned from, sender, date, message_id;
	struct slice from_value;
};

static bool is_blind(const struct header_field *f)
{
	return slice_ieq_str(f->name, "bcc") || slice_ieq_str(f->name, "resent-bcc");
}

/* Copies the fields, all but those that go, and notes what is there. Returns what stands behind them. */
static struct slice copy_fields(const struct submission_config *c, struct slice begin, struct found *found, struct buffer *out)
{
	struct slice rest = begin;
	struct header_field f;

	while (header_next(&rest, &f)) {
		if (slice_ieq_str(f.name, "from") && found->from++ == 0)
			found->from_value = f.value;
		found->sender += slice_ieq_str(f.name, "sender");
		found->date += slice_ieq_str(f.name, "date");
		found->message_id += slice_ieq_str(f.name, "message-id");
		if (!c->remove_bcc || !is_blind(&f))
			buffer_append(out, f.raw.data, f.raw.len);
	}
	return rest;
}

static int check_from(const struct submission_config *c, const struct found *found, struct address *ret)
{
	bool has_address = found->from > 0 && (submission_field_address(found->from_value, ret) || is_empty_group(found->from_value));

	if (c->missing_from == MISSING_FROM_ACCEPT)
		return 0;
	if (found->from > 1)
		return SUBMISSION_TWO_FROM;
	if (found->from == 0)
		return c->missing_from == MISSING_FROM_REFUSE ? SUBMISSION_NO_FROM : 0;
	return has_address ? 0 : SUBMISSION_BAD_FROM;
}

static void add_missing(const struct submission_config *c, const struct submission_facts *facts, const struct found *found,
			const struct address *from, struct buffer *out)
{
	struct address sender;
	bool has_sender = facts->sender[0] && address_parse(slice_from(facts->sender), ADDRESS_OF_ENVELOPE, &sender) == 0;
	char date[40];

	if (found->from == 0 && c->missing_from == MISSING_FROM_ADD)
		buffer_printf(out, "From: <%s>\r\n", has_sender ? facts->sender : "");
	else if (c->add_sender && has_sender && found->sender == 0 && from->text.len > 0 && !address_equal(from, &sender))
		buffer_printf(out, "Sender: <%s>\r\n", facts->sender);
	if (c->complete && found->date == 0)
		buffer_printf(out, "Date: %s\r\n", wall_format_rfc5322(facts->when, date, sizeof(date)));
	if (c->complete && found->message_id == 0)
		buffer_printf(out, "Message-ID: <%s@%s>\r\n", facts->id, facts->hostname);
}

int submission_rewrite(const struct submission_config *c, const struct submission_facts *facts, struct slice begin, struct buffer *out)
{
	struct found found = { 0 };
	struct address from = { .text = SLICE_NULL };
	struct slice rest = copy_fields(c, begin, &found, out);
	int r = check_from(c, &found, &from);

	if (r < 0)
		return r;
	if (found.from == 0 && c->missing_from == MISSING_FROM_ADD && !facts->sender[0])
		return SUBMISSION_NO_FROM; /* there is no address to add */
	if (out->len > 0 && out->data[out->len - 1] != '\n')
		buffer_append_str(out, "\r\n"); /* the message ends inside of its header */
	add_missing(c, facts, &found, &from, out);
	/* What is neither a field nor the blank line begins the body. */
	if (rest.len > 0 && rest.data[0] != '\n' && !slice_istarts(rest, "\r\n"))
		buffer_append_str(out, "\r\n");
	buffer_append(out, rest.data, rest.len);
	return buffer_error(out);
}

/* --- domains ----------------------------------------------------------------------------------------------------------- */

static enum mx_status look_up(struct session *s, const struct address *a)
{
	struct arena *arena = s->mail_arena ? s->mail_arena : s->arena;
	const char *domain;
	struct mx_set set;

	if (domain_to_ascii(arena, a->domain, &domain) < 0)
		return MX_NO_DOMAIN;
	if (dns_mx(session_shared(s)->resolver, domain, deadline_after(now(), LOOKUP_TIME), arena, &set) < 0)
		return MX_TEMPORARY;
	return set.status;
}

static bool is_checked(const struct session *s, const struct address *a)
{
	return s->role == ROLE_SUBMISSION && s->settings->config->submission.check_domains && a->domain.len > 0 && !a->literal;
}

enum reply_id submission_check_sender(struct session *s, const struct address *sender)
{
	if (!is_checked(s, sender) || route_locality(session_shared(s)->router, sender) != LOCALITY_REMOTE)
		return REPLY_SENDER_OK;
	switch (look_up(s, sender)) {
	case MX_NO_DOMAIN:
	case MX_NO_HOST:
		return REPLY_SENDER_DOMAIN;
	case MX_NULL:
		return REPLY_SENDER_NULL_MX;
	default:
		return REPLY_SENDER_OK;
	}
}

/* Is its mail sent where the DNS says? Routes may send it anywhere else. */
static bool goes_by_dns(struct session *s, const struct address *to, const struct address *from)
{
	const struct route_facts facts = { .from = from, .user = s->user, .content_unknown = true };
	struct ladder ladder;

	return route_locality(session_shared(s)->router, to) == LOCALITY_REMOTE &&
	       route_find(session_shared(s)->router, to, &facts, s->mail_arena, &ladder) >= 0 && ladder.n_hops > 0 &&
	       ladder.hops[0].kind == HOP_MX;
}

enum reply_id submission_check_recipient(struct session *s, const struct address *to, const struct address *from)
{
	if (!is_checked(s, to) || !goes_by_dns(s, to, from))
		return REPLY_RECIPIENT_OK;
	switch (look_up(s, to)) {
	case MX_NO_DOMAIN:
	case MX_NO_HOST:
		return REPLY_RECIPIENT_DOMAIN;
	case MX_NULL:
		return REPLY_RECIPIENT_NULL_MX;
	default:
		return REPLY_RECIPIENT_OK;
	}
}
