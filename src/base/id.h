/* Every message has one id from its first byte to its last reply. It is a 64-bit number that grows
 * with time (milliseconds since 2020 in the high 42 bits, then 4 bits of the loop that made it and
 * an 18-bit counter); people see it as 13 characters of lower-case base32 (digits and letters
 * without i, l, o and u), which sort like the numbers. */
#pragma once

#include "base/slice.h"
#include "base/time.h"

typedef uint64_t msgid_t;
#define MSGID_NONE ((msgid_t) 0)
#define MSGID_TEXT 14 /* 13 characters and a NUL */

/* One per loop; `maker` is 0..15. */
struct id_source {
	uint64_t last;
	unsigned maker;
};

/* Ids of one source always grow, also when the clock steps back. */
msgid_t id_next(struct id_source *source, wall_t now);
/* Never hand out ids at or below this one again (what recovery found in the spool). */
void id_floor(struct id_source *source, msgid_t highest);
wall_t id_time(msgid_t id);
const char *id_format(msgid_t id, char out[static MSGID_TEXT]);
int id_parse(struct slice text, msgid_t *ret); /* -EINVAL; upper case is accepted */
