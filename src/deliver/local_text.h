/* A message as programs and mailbox files of this machine want it: Return-Path and Delivered-To in front, lines ending in LF.
 * Read from the spool piece by piece; a message that fits in 256 KiB is one piece. */
#pragma once

#include "deliver/deliverer.h"

#define LOCAL_TEXT_LOOP (-ELOOP) /* it was delivered to this address before: RFC 9228 section 3 */

struct local_text {
	struct spool_reader *reader;
	char *buffer; /* one octet more than room: local_text_convert's */
	size_t room;
};
/* Opens the content. What goes wrong is told in *failure. 0 or -errno. */
int local_text_open(struct deliverer *d, const struct delivery *delivery, struct local_text *ret, struct outcome *failure);
void local_text_close(struct local_text *t);

/* Gives all pieces for one recipient to each(), whose negative return ends it; last: nothing follows. Returns that,
 * LOCAL_TEXT_LOOP, or what the spool says. The head comes before, separately. */
int local_text_copy(struct local_text *t, const char *address, int (*each)(struct slice piece, bool last, void *context),
		    void *context);
/* The two fields that are put in front. -ENOMEM. */
int local_text_head(const struct envelope *e, const char *address, struct buffer *out);

/* CRLF to LF, in place. *after_cr: the piece before ended with a CR, which was held back; the same for the next
 * piece. A held-back CR that no LF follows is written to out[0], so room for one octet must lie before data: data is
 * out + 1. Returns the octets at out. */
size_t local_text_convert(char *out, size_t len, bool *after_cr, bool last);
