/* BDAT: content in counted chunks (RFC 3030). There is no end mark, so nothing can be smuggled by one;
 * but what came this way may leave by DATA, so bare CRs, bare LFs and NULs are noted all the same.
 *
 * The life of a message: content_check_init; for each BDAT command bdat_parse and smtp_copy_chunk (also
 * when the command is refused: the octets of the chunk follow in any case); after the last chunk
 * content_check_finish. */
#pragma once

#include "smtp/data.h"

/* The arguments of BDAT: "1000" or "1000 LAST". -EINVAL; -ERANGE when the number is beyond 63 bits. */
int bdat_parse(struct slice args, uint64_t *ret_size, bool *ret_last);

/* Looks at content that goes by in pieces. */
struct content_check {
	unsigned defects;       /* enum content_defect */
	uint64_t defect_offset; /* of the first */
	uint64_t octets;
	bool eight_bit;
	bool ends_with_crlf;    /* so far */
	bool after_cr;          /* inside: the last octet was a CR */
};
void content_check_init(struct content_check *c);
void content_check_feed(struct content_check *c, struct slice piece);
void content_check_finish(struct content_check *c); /* a CR at the very end is a bare one */

/* Copies exactly `size` octets. c->octets counts over all chunks and is what max_octets is compared with.
 * sink NULL: read and drop them. 0; -E2BIG: the message became too large; what the sink returned; in these
 * two cases the chunk was read to its end (*ret_ended), unless max_drain was passed. When its size says already that it
 * would be, nothing is read. Other errors: the connection is lost. Defects are not an error here: look at c->defects in the end. */
int smtp_copy_chunk(struct stream *s, uint64_t size, struct content_check *c, const struct content_sink *sink,
		    const struct content_limits *limits, bool *ret_ended);
