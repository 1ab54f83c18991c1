/* Reading lines off a stream, for both sides of SMTP.
 *
 * A line ends with CRLF and with nothing else (RFC 5321 section 2.3.8). A line with a bare CR, a bare LF or
 * a NUL in it is refused as a whole, up to its CRLF: what follows a bare LF is not taken for another
 * command. Only when nothing at all follows it for a second is such a line given up and refused without its
 * CRLF, so that a person who types with bare LFs gets an answer, not silence.
 *
 * The life of a reader: line_reader_init after the stream was opened; smtp_read_line for each line. */
#pragma once

#include "smtp/reply.h"
#include "world/stream.h"

/* RFC 5321 section 4.5.3.1.4 asks for 512; our extensions add to that: SIZE 26, 8BITMIME 17, DSN 631,
 * SMTPUTF8 10, AUTH (RFC 4954 section 4: 12,288 for the exchange, 500 for MAIL). */
#define COMMAND_LINE_MAX 2048
#define AUTH_LINE_MAX 12288
/* Octets of one refused line that are read in search of its end. */
#define LINE_DROP_MAX (1024u * 1024)

enum line_defect {
	LINE_BARE_CR = 1,
	LINE_BARE_LF = 2,
	LINE_NUL = 4,
};

struct line_reader {
	struct stream *stream;
	bool accept_bare_lf; /* for replies of old servers: a LF alone ends a line as well */
	unsigned defects;    /* of the line that was refused last, enum line_defect */
};
void line_reader_init(struct line_reader *r, struct stream *s);

/* Reads one line of at most max octets without its CRLF (max < STREAM_BUFFER - 2), flushing the output
 * first when it has to wait. *ret lies in the stream's buffer: it is valid until something is read from the
 * stream again (stream_fill, stream_has_input, the next line); copy what you keep.
 * -EBADMSG: bare CR, bare LF or NUL, r->defects says which. -E2BIG: too long. After both, read on: the
 * whole line is passed over. -EMSGSIZE: no end came within LINE_DROP_MAX octets; we are in the middle of a
 * line, and nothing sensible can be read any more. -ENODATA: the stream ended between two lines; -ECONNRESET:
 * in the middle of one. And what stream_fill returns (-ETIMEDOUT, -ECANCELED, -ECONNRESET...). */
int smtp_read_line(struct line_reader *r, size_t max, usec_t deadline, struct slice *ret);

/* Reads a whole reply of a server; its text lies in the arena. -EPROTO when it is none, -E2BIG when it has
 * no end, -ENODATA when the server closed instead, and as above. */
int smtp_read_reply(struct line_reader *r, struct arena *a, usec_t deadline, struct reply *ret);
/* The same for the reply that says whether a message was taken: want of memory must not make us send it again. Then its
 * text is cut, or NULL. */
int smtp_read_verdict(struct line_reader *r, struct arena *a, usec_t deadline, struct reply *ret);
