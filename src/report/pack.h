/* Reports on the way out: compressed, and in a message. Pure. */
#pragma once

#include "base/buffer.h"
#include "base/time.h"

/* Appends data as gzip (RFC 1952), always the same bytes for the same data. On a worker or another deep stack. 0 or
 * -ENOMEM. */
int report_gzip(struct slice data, struct buffer *out);

enum report_kind { REPORT_DMARC, REPORT_TLS };

/* A message with a report (RFC 9990 section 2.5.2, RFC 8460 section 5.3). */
struct report_mail {
	enum report_kind kind;
	const char *from, *to;  /* addresses */
	const char *domain;     /* whom the report is about */
	const char *submitter;  /* our domain */
	const char *id;         /* left@right, also that of the message */
	const char *filename;
	wall_t date;            /* of the message */
	wall_t begin, end;      /* of the report */
	struct slice report;    /* compressed */
};
/* Appends it, in 7bit, with CRLF. Check the buffer's error. */
void report_mail_write(const struct report_mail *mail, struct buffer *out);
