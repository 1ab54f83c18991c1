/* The parts of a MIME message (RFC 2045, RFC 2046 section 5.1), for who looks for an attachment in it. Pure, and lenient as
 * readers of mail are: what is mangled is text/plain, a part without an end goes on to the end. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

#define MIME_DEPTH_MAX 8u  /* parts in parts, and messages in messages */
#define MIME_PARTS_MAX 1000u

struct mime_part {
	char type[80];        /* "application/gzip", in lower case; what is longer is cut */
	struct slice name;    /* filename of Content-Disposition, or name of Content-Type, as written; data NULL: none */
	struct slice encoding; /* Content-Transfer-Encoding, as written; data NULL: none */
	struct slice body;    /* encoded */
};

/* Calls each() for every part that has no parts, in the order of the message; what is not 0 ends the walk and is returned.
 * A message/rfc822 is walked, too, when it isn't encoded. -E2BIG: more than the limits above. */
int mime_walk(struct slice message, int (*each)(const struct mime_part *part, void *context), void *context);
/* The content, decoded; it lies in the arena, or is the body itself. -EINVAL: it isn't in this encoding, or the encoding is
 * not known; -ENOMEM. */
int mime_decode(const struct mime_part *part, struct arena *a, struct slice *ret);
/* The value of a parameter of a field like Content-Type, without its quotes; data NULL: it isn't there. */
struct slice mime_parameter(struct slice value, const char *name);
