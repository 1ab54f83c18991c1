/* A remote: the mail server of somebody else, played by a script. It takes mail for its domain and keeps what it said
 * 250 to; until `good_from` each connection draws a behaviour from those it was given, afterwards it is well.
 *
 * What a remote takes it hands to letter_arrived at once. A connection that it drops behind the final dot may have
 * been taken or not; the letter's `unsure` says how often it was. */
#pragma once

#include "sim/letter.h"

enum behaviour {
	REMOTE_WELL = 0,
	REMOTE_SLOW = 1,           /* up to a minute before each reply */
	REMOTE_BUSY = 2,           /* 421 as greeting */
	REMOTE_THROTTLES = 4,      /* 421 to the second MAIL of a connection */
	REMOTE_DEFERS = 8,         /* 450 to some RCPT */
	REMOTE_DEFERS_CONTENT = 16,/* 451 to the final dot */
	REMOTE_DROPS = 32,         /* closes after some bytes, wherever that is */
	REMOTE_SILENT_AT_DOT = 64, /* takes the message or not, and closes without a reply */
	REMOTE_LIES = 128,         /* announces a SIZE and refuses by 552 what is much smaller */
	REMOTE_BABBLES = 256,      /* something that is not SMTP, in place of one reply */
	REMOTE_ALL = 511,
};

struct remote {
	struct scene *scene;
	struct machine machine;
	struct listener *listener;
	unsigned behaviours; /* the set to draw from */
	usec_t good_from;
	unsigned connections, taken;
};

/* Begins at once; belongs to the scene. The name resolves by the scene's zone. */
struct remote *remote_new(struct scene *s, const char *name, const char *ip, unsigned behaviours, usec_t good_from);
void remote_free(struct remote *r);
