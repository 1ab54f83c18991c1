/* Content for a server that can't take it as it is (RFC 6152 section 3, RFC 3030 section 3): the parts with 8-bit or
 * binary content are encoded, text as quoted-printable or base64, everything else as base64 (RFC 2045 section 6); what
 * needs nothing stays as it is, octet for octet.
 *
 * The message goes by twice. The first time, the parts are looked at; then it is known whether it can be done, and what
 * would break; the second time it is written:
 *
 *	downgrade_begin(d, arena, EIGHT_BIT or SEVEN_BIT)
 *	downgrade_look(d, piece)...
 *	downgrade_plan(d, &plan)
 *	downgrade_write(d, piece, out)...
 *	downgrade_end(d, out)
 *
 * Pieces may have any size. A message within a message (message/rfc822) may not be encoded as a whole (RFC 2046 section
 * 5.2.1), so its own parts are. A field of the header with 8-bit text is left alone. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"

enum downgrade_goal {
	SEVEN_BIT, /* lines of ASCII */
	EIGHT_BIT, /* lines: BINARYMIME alone is missing */
};

struct downgrade_plan {
	unsigned parts;    /* that will be encoded */
	bool signatures;   /* some signature in or over the message will not hold any more */
};

struct downgrade;
/* It lies in the arena; downgrade_done lets go of what doesn't. -ENOMEM. */
int downgrade_begin(struct arena *a, enum downgrade_goal goal, struct downgrade **ret);
void downgrade_done(struct downgrade *d); /* NULL is fine */
static inline void downgrade_freep(struct downgrade **d) { downgrade_done(*d); }

/* -E2BIG: a header section, or too many parts; -EINVAL: what is encoded already has 8-bit content all the same, or a
 * type that may not be encoded has it; -ENOMEM. */
int downgrade_look(struct downgrade *d, struct slice piece);
/* The message has been looked at to its end. The same errors. */
int downgrade_plan(struct downgrade *d, struct downgrade_plan *ret);
/* Appends what the piece becomes. -ENOMEM; -EBADMSG: it is not the message that was looked at. */
int downgrade_write(struct downgrade *d, struct slice piece, struct buffer *out);
int downgrade_end(struct downgrade *d, struct buffer *out);
