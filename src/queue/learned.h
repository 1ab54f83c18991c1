/* What was learned of a site, as it is written to a file, so that a restart doesn't begin anew. Pure functions.
 *
 * The file is text: a first line with the format's version, then a line for each site,
 *
 *	WINDOW THRESHOLD INTERVAL USUAL WHEN SITE
 *
 * (connections; connections; microseconds between two messages, 0 for none; milliseconds to a final reply, 0 for unknown;
 * seconds since 1970), and a last line with their number and the CRC-32C of everything before it. A file that isn't
 * exactly so is not used at all. */
#pragma once

#include "base/buffer.h"
#include "base/time.h"

#define LEARNED_SITES_MAX 100000u
#define LEARNED_KEY_MAX 2000u
#define LEARNED_FILE_MAX (64u << 20)

struct learned {
	unsigned window, threshold;
	usec_t interval, usual;
	wall_t at; /* when it was seen last */
};

void learned_begin(struct buffer *out);
/* A key that can't stand in a line is left out. Returns how many were added. */
unsigned learned_add(struct buffer *out, const struct learned *l, const char *key);
void learned_end(struct buffer *out, unsigned n);
/* Calls each() for each site; whatever that returns other than 0 ends it. Nothing is called for a file that is damaged:
 * -EBADMSG. */
int learned_read(struct slice text, int (*each)(const struct learned *l, struct slice key, void *context), void *context);
