/* Enhanced status codes (RFC 3463, with the registry of RFC 5248): "5.1.1". */
#pragma once

#include "base/buffer.h"

#define STATUS_TEXT 12 /* "5.999.999" and a NUL */

struct status {
	int class, subject, detail; /* 2, 4 or 5, then 0..999 each; class 0: none */
};

/* Takes a code off the front of *s; it must be followed by a space or the end, and the space is taken,
 * too. -EINVAL when there is none; *s is then untouched. */
int status_parse(struct slice *s, struct status *ret);
const char *status_format(struct status s, char out[static STATUS_TEXT]);

/* What it means, as a sentence for a person who is no administrator ("The address does not exist. ...").
 * Static text; for codes that are not known the subject's general sentence, never NULL. */
const char *status_for_people(struct status s);
