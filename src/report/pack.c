#include "report/pack.h"

#include <zlib.h>

#include "mail/encoding.h"

#define PIECE 32768u
#define GZIP_WINDOW (MAX_WBITS + 16) /* zlib: with a header of gzip, which names neither file nor time */

int report_gzip(struct slice data, struct buffer *out)
{
	z_stream z = { .next_in = (Bytef *) data.data, .avail_in = (uInt) data.len };
	int r = Z_OK;

	if (data.len > UINT32_MAX || deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	while (r == Z_OK) {
		char *room = buffer_reserve(out, PIECE);

		if (!room)
			break;
		z.next_out = (Bytef *) room;
		z.avail_out = PIECE;
		r = deflate(&z, Z_FINISH);
		buffer_commit(out, PIECE - z.avail_out);
	}
	deflateEnd(&z);
	return r == Z_STREAM_END ? buffer_error(out) : -ENOMEM;
}

/* "=_" stands in no base64 and in none of our words. */
#define BOUNDARY "=_report_%lld"

static void write_header(const struct report_mail *m, struct buffer *out)
{
	char date[32];

	buffer_printf(out, "From: <%s>\r\nTo: <%s>\r\n", m->from, m->to);
	buffer_printf(out, "Date: %s\r\n", wall_format_rfc5322(m->date, date, sizeof(date)));
	buffer_printf(out, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s>\r\n", m->domain, m->submitter, m->id);
	buffer_printf(out, "Message-ID: <%s>\r\n", m->id);
	if (m->kind == REPORT_TLS)
		buffer_printf(out, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\n", m->domain, m->submitter);
	/* RFC 8460 section 3: delivered whatever is wrong with TLS there. RFC 8689 section 3 is how that is said. */
	buffer_append_str(out, "TLS-Required: No\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
	buffer_printf(out, "Content-Type: %s;\r\n boundary=\"" BOUNDARY "\"\r\n\r\n",
		      m->kind == REPORT_TLS ? "multipart/report; report-type=\"tlsrpt\"" : "multipart/mixed",
		      (long long) (m->begin / (wall_t) USEC_SEC));
}

static void write_text(const struct report_mail *m, struct buffer *out)
{
	char begin[25], end[25];

	buffer_append_str(out, "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
	buffer_printf(out, "This is %s from %s\r\nabout %s,\r\nfor the time from %s to %s.\r\n",
		      m->kind == REPORT_TLS ? "a report on TLS connections (RFC 8460)" : "an aggregate report of DMARC (RFC 9990)",
		      m->submitter, m->domain, wall_format_seconds(m->begin, begin, sizeof(begin)),
		      wall_format_seconds(m->end, end, sizeof(end)));
	buffer_append_str(out, "\r\nIt is made by a machine for a machine: the attachment has the figures.\r\n");
}

void report_mail_write(const struct report_mail *m, struct buffer *out)
{
	const char *type = m->kind == REPORT_TLS ? "application/tlsrpt+gzip" : "application/gzip";
	long long mark = (long long) (m->begin / (wall_t) USEC_SEC);

	write_header(m, out);
	buffer_printf(out, "--" BOUNDARY "\r\n", mark);
	write_text(m, out);
	buffer_printf(out, "\r\n--" BOUNDARY "\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n", mark, type);
	buffer_printf(out, "Content-Disposition: attachment;\r\n filename=\"%s\"\r\n\r\n", m->filename);
	base64_encode_lines(m->report, out);
	buffer_printf(out, "\r\n--" BOUNDARY "--\r\n", mark);
}
