#include "mail/dsn.h"

#include <stdio.h>

#include "base/utf8.h"
#include "mail/dsn_text.h"
#include "mail/encoding.h"
#include "mail/header.h"
#include "mail/text.h"
#include "mail/xtext.h"

#define CONTENT_DEFAULT 50000u
#define HEADER_DEFAULT 65536u
#define PIECE 16384u
#define DIAGNOSTIC_MAX 2000 /* octets */
#define FIELD_WIDTH 76
#define WORD_MAX 300 /* longer ones are cut: no line may come near 998 */
#define BOUNDARY_TEXT 64

const char *dsn_action_name(enum dsn_action action)
{
	switch (action) {
	case DSN_FAILED:
		return "failed";
	case DSN_DELAYED:
		return "delayed";
	case DSN_DELIVERED:
		return "delivered";
	case DSN_RELAYED:
		return "relayed";
	case DSN_EXPANDED:
		return "expanded";
	}
	return "failed";
}

/* --- the original ----------------------------------------------------------------------------------------- */

enum encoding { ENCODING_7BIT, ENCODING_8BIT, ENCODING_QUOTED_PRINTABLE, ENCODING_BASE64 };

static const char *const encoding_names[] = { "7bit", "8bit", "quoted-printable", "base64" };

struct original {
	struct arena *arena;
	struct buffer bytes;
	struct slice returned; /* all of it, or its header section; data NULL: nothing */
	bool full;
	enum encoding encoding;
	struct dsn_about about;
};

static void original_done(struct original *o)
{
	buffer_done(&o->bytes);
	arena_free(o->arena);
}

/* Reads up to limit octets; *ret_all when that was everything. */
static int read_original(const struct dsn_input *in, uint64_t limit, struct buffer *out, bool *ret_all)
{
	*ret_all = false;
	while (out->len <= limit) {
		char *place = buffer_reserve(out, PIECE);
		ssize_t n;

		if (!place)
			return -ENOMEM;
		n = in->read(in->context, out->len, place, PIECE);
		if (n < 0)
			return (int) n;
		if (n == 0) {
			*ret_all = true;
			return 0;
		}
		buffer_commit(out, (size_t) n);
	}
	return 0;
}

/* RFC 3461 section 4.3: the whole message only where something failed, and only if the sender did not ask for less.
 * RFC 8689 section 5: never for a message with REQUIRETLS. A binary one can't be part of a multipart. */
static bool wants_full(const struct dsn_input *in)
{
	const struct envelope *e = in->original;

	return dsn_worst(in) == DSN_FAILED && e->ret != DSN_RET_HDRS && e->body != BODY_BINARYMIME &&
	       !(e->flags & ENVELOPE_REQUIRETLS);
}

/* The header section of what was read, cut behind the last whole line within max. */
static struct slice header_part(struct slice bytes, uint64_t max)
{
	struct slice head = slice_head(bytes, MIN((uint64_t) bytes.len, max));
	size_t len = header_section_length(head);

	while (len > 0 && head.data[len - 1] != '\n')
		len--;
	return slice_head(head, len);
}

static enum encoding choose_encoding(const struct original *o, bool utf8_message, bool smtputf8)
{
	struct encoding_needs needs = encoding_look(o->returned);

	if (!needs.eight_bit && !needs.binary)
		return ENCODING_7BIT;
	if (o->full && !utf8_message)
		return ENCODING_8BIT; /* message/rfc822 knows no other encoding (RFC 2046 section 5.2.1) */
	/* RFC 6533 section 4.5: what may pass servers without SMTPUTF8 is encoded. */
	if (smtputf8 && !needs.binary)
		return ENCODING_8BIT;
	return utf8_message ? ENCODING_BASE64 : ENCODING_QUOTED_PRINTABLE;
}

/* A message identifier that may be repeated in a field of ours. */
static bool is_message_id(struct slice s)
{
	if (s.len < 3 || s.len > 250 || s.data[0] != '<' || s.data[s.len - 1] != '>')
		return false;
	for (size_t i = 1; i < s.len - 1; i++)
		if (s.data[i] <= ' ' || s.data[i] > '~' || s.data[i] == '<' || s.data[i] == '>')
			return false;
	return true;
}

static int find_about(struct original *o, struct slice header)
{
	struct header_field f;
	char *text;

	if (header_find(header, "Subject", &f)) {
		text = header_unfold(o->arena, f.value);
		if (!text)
			return -ENOMEM;
		o->about.subject = text;
	}
	if (header_find(header, "Message-ID", &f)) {
		text = header_unfold(o->arena, f.value);
		if (!text)
			return -ENOMEM;
		if (is_message_id(slice_from(text)))
			o->about.message_id = text;
	}
	return 0;
}

static int original_load(const struct dsn_input *in, bool smtputf8, struct original *o)
{
	uint64_t max_content = in->max_content ? in->max_content : CONTENT_DEFAULT;
	uint64_t max_header = in->max_header ? in->max_header : HEADER_DEFAULT;
	bool all, full = wants_full(in);
	struct slice bytes;
	int r;

	r = arena_new(0, &o->arena);
	if (r < 0 || !in->read)
		return r;
	r = read_original(in, full ? MAX(max_content, max_header) : max_header, &o->bytes, &all);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return 0; /* a notification without the original is better than none */
	bytes = buffer_slice(&o->bytes);
	o->full = full && all && bytes.len <= max_content && !encoding_look(bytes).binary;
	o->returned = o->full ? bytes : header_part(bytes, max_header);
	o->encoding = choose_encoding(o, in->original->flags & ENVELOPE_SMTPUTF8, smtputf8);
	return find_about(o, header_part(bytes, max_header));
}

/* --- machine-readable fields ---------------------------------------------------------------------------------- */

/* "Name: text", folded where there are spaces. In a 7-bit part what is not ASCII is shown as "?". */
static void append_field(struct buffer *out, const char *name, struct slice text, bool utf8)
{
	size_t column = strlen(name) + 1;
	bool keep = utf8 && utf8_valid(text);

	buffer_printf(out, "%s:", name);
	while (text.len > 0) {
		size_t n = 0;

		while (n < text.len && (unsigned char) text.data[n] > ' ' && text.data[n] != 0x7f)
			n++;
		n = text_head(slice_head(text, n), WORD_MAX).len;
		if (n == 0) {
			text = slice_skip(text, 1);
			continue;
		}
		if (column + 1 + n > FIELD_WIDTH && column > strlen(name) + 1) {
			buffer_append_str(out, "\r\n");
			column = 0;
		}
		buffer_append_char(out, ' ');
		for (size_t i = 0; i < n; i++)
			buffer_append_char(out, (unsigned char) text.data[i] >= 0x80 && !keep ? '?' : text.data[i]);
		column += 1 + n;
		text = slice_skip(text, n);
	}
	buffer_append_str(out, "\r\n");
}

/* "Name: type; text". */
static void append_typed(struct buffer *out, const char *name, const char *type, const char *text, bool utf8)
{
	_cleanup_buffer_ struct buffer value = { 0 };

	buffer_printf(&value, "%s; ", type);
	buffer_append_slice(&value, text_head(slice_from(text), DIAGNOSTIC_MAX));
	if (buffer_error(&value) < 0)
		out->failed = true;
	append_field(out, name, buffer_slice(&value), utf8);
}

static void append_date(struct buffer *out, const char *name, wall_t when)
{
	char date[40];

	if (when)
		buffer_printf(out, "%s: %s\r\n", name, wall_format_rfc5322(when, date, sizeof(date)));
}

/* An address with its type: rfc822, or utf-8 in the form that the part can hold (RFC 6533 section 3). */
static void append_address(struct buffer *out, const char *name, struct slice type, struct slice address, bool utf8)
{
	buffer_printf(out, "%s: ", name);
	text_append_clean(out, type);
	buffer_append_str(out, "; ");
	if (text_is_ascii(address) && !slice_eq_str(type, "utf-8"))
		text_append_clean(out, address);
	else if (utf8)
		text_append_clean(out, address);
	else if (unitext_encode(address, out) < 0)
		buffer_append_str(out, "unprintable");
	buffer_append_str(out, "\r\n");
}

static void append_recipient_addresses(struct buffer *out, const struct dsn_recipient *r, bool utf8)
{
	struct slice final = slice_from(r->final), address, type;

	if (r->orcpt) {
		type = slice_cut(slice_from(r->orcpt), ';', &address);
		append_address(out, "Original-Recipient", type, address, utf8);
	}
	append_address(out, "Final-Recipient", text_is_ascii(final) ? SLICE("rfc822") : SLICE("utf-8"), final, utf8);
}

static struct status status_of(const struct dsn_recipient *r)
{
	if (r->status.class)
		return r->status;
	if (r->action == DSN_FAILED)
		return (struct status) { 5, 0, 0 };
	return (struct status) { r->action == DSN_DELAYED ? 4 : 2, 0, 0 };
}

/* RFC 3464 section 2.3.5; the address stands in a comment, as it does in Received-From-MTA. */
static void append_remote(struct buffer *out, const struct dsn_recipient *r, bool utf8)
{
	_cleanup_buffer_ struct buffer name = { 0 };

	if (!r->remote_mta)
		return;
	buffer_append_str(&name, r->remote_mta);
	if (r->remote_address)
		buffer_printf(&name, " (%s)", r->remote_address);
	if (buffer_error(&name) < 0)
		out->failed = true;
	else
		append_typed(out, "Remote-MTA", "dns", name.data, utf8);
}

/* RFC 3464 section 2.3. */
static void append_recipient(struct buffer *out, const struct dsn_recipient *r, bool utf8)
{
	char status[STATUS_TEXT];

	buffer_append_str(out, "\r\n");
	append_recipient_addresses(out, r, utf8);
	buffer_printf(out, "Action: %s\r\nStatus: %s\r\n", dsn_action_name(r->action),
		      status_format(status_of(r), status));
	append_remote(out, r, utf8);
	if (r->diagnostic)
		append_typed(out, "Diagnostic-Code", "smtp", r->diagnostic, utf8);
	else if (r->reason)
		append_typed(out, "Diagnostic-Code", "X-Yizhan", r->reason, utf8);
	append_date(out, "Last-Attempt-Date", r->last_attempt);
	if (r->log_id)
		append_field(out, "Final-Log-ID", slice_from(r->log_id), utf8);
	if (r->action == DSN_DELAYED)
		append_date(out, "Will-Retry-Until", r->retry_until);
}

/* RFC 3464 section 2.2. */
static void append_message_fields(struct buffer *out, const struct dsn_input *in)
{
	const struct envelope *e = in->original;
	char id[MSGID_TEXT], until[32];

	if (e->envid)
		append_field(out, "Original-Envelope-Id", slice_from(e->envid), false);
	buffer_printf(out, "Reporting-MTA: dns; %s\r\n", in->host);
	if (e->helo && e->helo[0] && e->client_ip && text_is_printable_ascii(slice_from(e->helo))) {
		_cleanup_buffer_ struct buffer from = { 0 };

		buffer_printf(&from, "%s (%s)", e->helo, e->client_ip);
		if (!buffer_error(&from))
			append_typed(out, "Received-From-MTA", "dns", from.data, false);
	}
	append_date(out, "Arrival-Date", e->arrival);
	if (e->deliver_by) /* RFC 2852 section 5 */
		append_date(out, "Deliver-By-Date", e->deliver_by);
	/* RFC 4865 section 5.1: the value is what the sender said. */
	if (e->hold_until && (e->flags & ENVELOPE_HOLD_FOR))
		buffer_printf(out, "Future-Release-Request: for;%llu\r\n",
			      (unsigned long long) ((e->hold_until - e->arrival) / (wall_t) USEC_SEC));
	else if (e->hold_until)
		buffer_printf(out, "Future-Release-Request: until;%s\r\n", wall_format_seconds(e->hold_until, until, sizeof(until)));
	buffer_printf(out, "X-Yizhan-Message-Id: %s\r\n", id_format(e->id, id));
}

/* --- the parts ------------------------------------------------------------------------------------------------- */

static void append_encoded(struct buffer *out, struct slice content, enum encoding encoding)
{
	if (encoding == ENCODING_QUOTED_PRINTABLE)
		quoted_printable_encode(content, out);
	else if (encoding == ENCODING_BASE64)
		base64_encode_lines(content, out);
	else
		buffer_append_slice(out, content);
}

static int append_text_part(struct buffer *out, const struct dsn_input *in, const struct original *o,
			    const char *boundary)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	bool ascii;

	dsn_text(in, &o->about, o->returned.data != NULL, o->full, &text);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	ascii = text_is_ascii(buffer_slice(&text)) && !encoding_look(buffer_slice(&text)).binary;
	buffer_printf(out,
		      "--%s\r\nContent-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n"
		      "Content-Description: Notification\r\n\r\n",
		      boundary, ascii ? "us-ascii" : "utf-8",
		      encoding_names[ascii ? ENCODING_7BIT : ENCODING_QUOTED_PRINTABLE]);
	append_encoded(out, buffer_slice(&text), ascii ? ENCODING_7BIT : ENCODING_QUOTED_PRINTABLE);
	return 0;
}

/* RFC 6533 section 4: message/global-delivery-status only where something in it is not ASCII and it may travel so. */
static int append_status_part(struct buffer *out, const struct dsn_input *in, bool smtputf8, const char *boundary,
			      bool *ret_eight_bit)
{
	_cleanup_buffer_ struct buffer fields = { 0 };
	bool eight_bit;

	append_message_fields(&fields, in);
	for (unsigned i = 0; i < in->n_recipients; i++)
		append_recipient(&fields, &in->recipients[i], smtputf8);
	if (buffer_error(&fields) < 0)
		return -ENOMEM;
	eight_bit = !text_is_ascii(buffer_slice(&fields));
	buffer_printf(out, "\r\n--%s\r\nContent-Type: message/%sdelivery-status\r\n", boundary,
		      eight_bit ? "global-" : "");
	if (eight_bit)
		buffer_append_str(out, "Content-Transfer-Encoding: 8bit\r\n");
	buffer_append_str(out, "Content-Description: Delivery report\r\n\r\n");
	buffer_append_slice(out, buffer_slice(&fields));
	*ret_eight_bit = eight_bit;
	return 0;
}

static void append_original_part(struct buffer *out, const struct dsn_input *in, const struct original *o,
				 const char *boundary)
{
	bool utf8 = in->original->flags & ENVELOPE_SMTPUTF8;
	const char *type;

	if (!o->returned.data)
		return;
	if (o->full)
		type = utf8 ? "message/global" : "message/rfc822";
	else
		type = utf8 ? "message/global-headers" : "text/rfc822-headers";
	buffer_printf(out, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\nContent-Description: %s\r\n\r\n",
		      boundary, type, encoding_names[o->encoding],
		      o->full ? "Undelivered message" : "Header of the message");
	append_encoded(out, o->returned, o->encoding);
}

/* --- the notification ------------------------------------------------------------------------------------------- */

/* A line that occurs nowhere in what is returned. */
static void choose_boundary(const struct dsn_input *in, const struct original *o, char out[static BOUNDARY_TEXT])
{
	char id[MSGID_TEXT];
	uint64_t random = in->random;

	id_format(in->id, id);
	do
		snprintf(out, BOUNDARY_TEXT, "=_%s_%016llx", id, (unsigned long long) random++);
	while (o->returned.len > 0 && memmem(o->returned.data, o->returned.len, out, strlen(out)));
}

static void append_header(struct buffer *out, const struct dsn_input *in, const struct original *o, const char *boundary)
{
	char date[40], id[MSGID_TEXT];

	buffer_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <", in->host);
	text_append_clean(out, slice_from(in->original->reverse_path));
	buffer_append_str(out, ">\r\n");
	/* RFC 3464 section 2: an answer should reach a person. */
	if (in->contact && text_is_printable_ascii(slice_from(in->contact)))
		buffer_printf(out, "Reply-To: <%s>\r\n", in->contact);
	buffer_append_str(out, "Subject: ");
	dsn_subject(in, out);
	buffer_printf(out, "\r\nDate: %s\r\nMessage-ID: <%s.%llx@%s>\r\n", wall_format_rfc5322(in->now, date, sizeof(date)),
		      id_format(in->id, id), (unsigned long long) in->random, in->host);
	if (o->about.message_id)
		buffer_printf(out, "In-Reply-To: %s\r\nReferences: %s\r\n", o->about.message_id, o->about.message_id);
	/* RFC 3834 section 5: nobody answers this by machine. */
	buffer_printf(out,
		      "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		      "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n",
		      boundary);
}

static int write_parts(const struct dsn_input *in, struct original *o, struct buffer *out, struct dsn_result *result)
{
	_cleanup_buffer_ struct buffer body = { 0 };
	char boundary[BOUNDARY_TEXT];
	bool eight_bit = false;
	int r;

	choose_boundary(in, o, boundary);
	r = append_text_part(&body, in, o, boundary);
	if (r < 0)
		return r;
	r = append_status_part(&body, in, result->smtputf8, boundary, &eight_bit);
	if (r < 0)
		return r;
	append_original_part(&body, in, o, boundary);
	buffer_printf(&body, "\r\n--%s--\r\n", boundary);
	if (buffer_error(&body) < 0)
		return -ENOMEM;
	eight_bit |= o->returned.data && o->encoding == ENCODING_8BIT;
	append_header(out, in, o, boundary);
	buffer_printf(out, "Content-Transfer-Encoding: %s\r\n\r\n", eight_bit ? "8bit" : "7bit");
	buffer_append_slice(out, buffer_slice(&body));
	result->body = eight_bit || result->smtputf8 ? BODY_8BITMIME : BODY_7BIT;
	result->full = o->full;
	return buffer_error(out);
}

int dsn_write(const struct dsn_input *in, struct buffer *out, struct dsn_result *ret)
{
	_cleanup_(original_done) struct original o = { 0 };
	struct dsn_result result = { 0 };
	int r;

	if (in->n_recipients == 0 || !in->original->reverse_path || !in->original->reverse_path[0])
		return -EINVAL;
	result.smtputf8 = !text_is_ascii(slice_from(in->original->reverse_path));
	r = original_load(in, result.smtputf8, &o);
	if (r < 0)
		return r;
	r = write_parts(in, &o, out, &result);
	if (r < 0)
		return r;
	*ret = result;
	return 0;
}
