/* The content transfer encodings of MIME (RFC 2045 section 6), for what we write ourselves. */
#pragma once

#include "base/buffer.h"

#define ENCODING_LINE_MAX 998 /* RFC 5322 section 2.1.1, without CRLF */

/* What the content would need to travel as it is. */
struct encoding_needs {
	bool eight_bit;
	bool binary; /* bare CR, bare LF, NUL, or a line that is too long */
};
struct encoding_needs encoding_look(struct slice content);

/* Text whose lines end with CRLF; bare CRs and LFs are encoded, as is what some gateways spoil at the end of a
 * line. In pieces of any size; all zeros to begin with. */
struct quoted_printable {
	unsigned column;
	unsigned n_held; /* octets of which the next one decides: blanks, CR */
	char held[2];
};
void quoted_printable_feed(struct quoted_printable *q, struct slice text, struct buffer *out);
void quoted_printable_end(struct quoted_printable *q, struct buffer *out);
void quoted_printable_encode(struct slice text, struct buffer *out);

/* Lines of 76 characters, each with CRLF. In pieces of any size; all zeros to begin with. */
struct base64_lines {
	unsigned column;
	unsigned n_held;
	unsigned char held[3];
};
void base64_lines_feed(struct base64_lines *b, struct slice data, struct buffer *out);
void base64_lines_end(struct base64_lines *b, struct buffer *out);
void base64_encode_lines(struct slice data, struct buffer *out);
