#include "mail/dsn_text.h"

#include "base/utf8.h"
#include "mail/text.h"

#define WIDTH 74
#define ANSWER_MAX 2000 /* octets of a server's answer that are shown */

/* --- writing paragraphs --------------------------------------------------------------------------------- */

/* Appends words with each line indented and no longer than WIDTH where that can be. Control characters are
 * taken for spaces. */
static void wrap(struct buffer *out, const char *indent, struct slice text)
{
	size_t column = 0, margin = strlen(indent);

	while (text.len > 0) {
		size_t n = 0;

		while (n < text.len && (unsigned char) text.data[n] > ' ' && text.data[n] != 0x7f)
			n++;
		if (n > 0) {
			if (column > 0 && column + 1 + n > WIDTH) {
				buffer_append_str(out, "\r\n");
				column = 0;
			}
			buffer_append_str(out, column == 0 ? indent : " ");
			column += (column == 0 ? margin : 1) + n;
			buffer_append(out, text.data, n);
		} else {
			n = 1;
		}
		text = slice_skip(text, n);
	}
	buffer_append_str(out, "\r\n");
}

static void paragraph(struct buffer *out, const char *text)
{
	wrap(out, "", slice_from(text));
	buffer_append_str(out, "\r\n");
}

/* --- one recipient ---------------------------------------------------------------------------------------- */

static void write_answer(const struct dsn_recipient *r, struct buffer *out)
{
	struct slice answer = text_head(slice_from(r->diagnostic), ANSWER_MAX);

	if (r->remote_mta) {
		buffer_append_str(out, "    The server ");
		text_append_clean(out, slice_from(r->remote_mta));
		if (r->remote_address)
			buffer_printf(out, " (%s)", r->remote_address);
		buffer_append_str(out, " answered:\r\n");
	} else {
		buffer_append_str(out, "    The answer was:\r\n");
	}
	wrap(out, "      ", answer);
}

static void write_recipient(const struct dsn_recipient *r, struct buffer *out)
{
	bool bad = r->action == DSN_FAILED || r->action == DSN_DELAYED;

	buffer_append_str(out, "  <");
	text_append_clean(out, slice_from(r->final));
	buffer_append_str(out, ">\r\n");
	if (bad && r->meaning)
		wrap(out, "    ", slice_from(r->meaning));
	else if (bad && r->status.class)
		wrap(out, "    ", slice_from(status_for_people(r->status)));
	if (bad && r->reason)
		wrap(out, "    ", slice_from(r->reason));
	if (bad && r->diagnostic)
		write_answer(r, out);
	buffer_append_str(out, "\r\n");
}

/* --- groups of recipients ----------------------------------------------------------------------------------- */

static unsigned count(const struct dsn_input *in, enum dsn_action action)
{
	unsigned n = 0;

	for (unsigned i = 0; i < in->n_recipients; i++)
		n += in->recipients[i].action == action;
	return n;
}

static wall_t retry_until(const struct dsn_input *in)
{
	wall_t until = 0;

	for (unsigned i = 0; i < in->n_recipients; i++)
		if (in->recipients[i].action == DSN_DELAYED)
			until = MAX(until, in->recipients[i].retry_until);
	return until;
}

static const struct {
	enum dsn_action action;
	const char *one, *many;
} groups[] = {
	{ DSN_FAILED, "Your message could not be delivered to this recipient. The server has given up trying.",
	  "Your message could not be delivered to these recipients. The server has given up trying." },
	{ DSN_DELAYED, "Your message has not been delivered to this recipient yet.",
	  "Your message has not been delivered to these recipients yet." },
	{ DSN_DELIVERED, "Your message was delivered into this mailbox.",
	  "Your message was delivered into these mailboxes." },
	{ DSN_RELAYED,
	  "Your message was handed on for this recipient to a mail system that does not confirm deliveries. You will "
	  "hear again only if something goes wrong there.",
	  "Your message was handed on for these recipients to a mail system that does not confirm deliveries. You will "
	  "hear again only if something goes wrong there." },
	{ DSN_EXPANDED, "This address stands for several recipients. Your message was handed on to them.",
	  "These addresses stand for several recipients each. Your message was handed on to them." },
};

static void write_group(const struct dsn_input *in, size_t group, struct buffer *out)
{
	enum dsn_action action = groups[group].action;
	unsigned n = count(in, action);
	char date[40];

	if (n == 0)
		return;
	paragraph(out, n == 1 ? groups[group].one : groups[group].many);
	if (action == DSN_DELAYED) {
		wall_t until = retry_until(in);

		if (until)
			buffer_printf(out, "The server keeps trying until %s.\r\n",
				      wall_format_rfc5322(until, date, sizeof(date)));
		paragraph(out, "You don't need to do anything, and you need not send it again. You will be told if it "
			       "can't be delivered in the end.");
	}
	for (unsigned i = 0; i < in->n_recipients; i++)
		if (in->recipients[i].action == action)
			write_recipient(&in->recipients[i], out);
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

enum dsn_action dsn_worst(const struct dsn_input *in)
{
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		if (count(in, groups[i].action) > 0)
			return groups[i].action;
	return DSN_FAILED;
}

void dsn_subject(const struct dsn_input *in, struct buffer *out)
{
	enum dsn_action worst = dsn_worst(in);
	unsigned n = count(in, worst);
	const char *what = "Undeliverable";

	if (worst == DSN_DELAYED)
		what = "Delayed";
	else if (worst == DSN_DELIVERED)
		what = "Delivered";
	else if (worst != DSN_FAILED)
		what = "Handed on";
	buffer_printf(out, "%s: your message to ", what);
	if (n > 1) {
		buffer_printf(out, "%u recipients", n);
		return;
	}
	for (unsigned i = 0; i < in->n_recipients; i++) {
		struct slice final = slice_from(in->recipients[i].final);

		if (in->recipients[i].action != worst)
			continue;
		if (final.len <= 200 && text_is_printable_ascii(final))
			buffer_append_slice(out, final);
		else
			buffer_append_str(out, "one recipient");
	}
}

static void write_about(const struct dsn_input *in, const struct dsn_about *about, struct buffer *out)
{
	char date[40], id[MSGID_TEXT];

	buffer_printf(out, "Your message reached this server on %s.\r\n",
		      wall_format_rfc5322(in->original->arrival, date, sizeof(date)));
	/* An encoded subject would be no help to anybody. */
	if (about->subject && about->subject[0] && !strstr(about->subject, "=?") && utf8_valid(slice_from(about->subject))) {
		buffer_append_str(out, "  Subject:    ");
		text_append_clean(out, text_head(slice_from(about->subject), 200));
		buffer_append_str(out, "\r\n");
	}
	if (about->message_id)
		buffer_printf(out, "  Message-ID: %s\r\n", about->message_id);
	buffer_printf(out, "  Reference:  %s\r\n\r\n", id_format(in->original->id, id));
}

static void write_contact(const struct dsn_input *in, struct buffer *out)
{
	char id[MSGID_TEXT];

	if (!in->contact)
		return;
	buffer_printf(out, "If you need help, write to <");
	text_append_clean(out, slice_from(in->contact));
	buffer_printf(out, ">\r\nand mention the reference %s.\r\n\r\n", id_format(in->original->id, id));
}

void dsn_text(const struct dsn_input *in, const struct dsn_about *about, bool returned, bool full, struct buffer *out)
{
	buffer_printf(out, "This is the mail server %s.\r\n\r\n", in->host);
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		write_group(in, i, out);
	write_about(in, about, out);
	write_contact(in, out);
	if (!returned)
		paragraph(out, "Details for programs and administrators follow.");
	else if (full)
		paragraph(out, "Details for programs and administrators follow, then your message.");
	else
		paragraph(out, "Details for programs and administrators follow, then the header of your message.");
}
