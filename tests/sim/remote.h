/* A remote: the mail server of somebody else, played by a script. It takes mail for its domain and keeps what it said
 * 250 to; each connection draws a behaviour from those that the remote has at that time.
 *
 * What a remote takes it hands to letter_arrived at once. A connection that it drops behind the final dot, or anywhere,
 * may have been taken or not; the letter's `unsure` says how often it was. */
#pragma once

#include "sim/letter.h"

enum behaviour {
	REMOTE_WELL = 0,
	REMOTE_SLOW = 1,           /* up to a minute before each reply */
	REMOTE_BUSY = 2,           /* 421 as greeting */
	REMOTE_THROTTLES = 4,      /* 421 to the second MAIL of a connection */
	REMOTE_DEFERS = 8,         /* 450 to some RCPT */
	REMOTE_DEFERS_CONTENT = 16,/* 451 to the final dot */
	REMOTE_DROPS = 32,         /* closes after some byte that it got or gave, wherever that is */
	REMOTE_SILENT_AT_DOT = 64, /* takes the message or not, and closes without a reply */
	REMOTE_LIES = 128,         /* announces one SIZE and refuses by 552 what is much smaller, or takes what is larger */
	REMOTE_BABBLES = 256,      /* something that is not SMTP, in place of one reply */
	REMOTE_REFUSES = 512,      /* 554 as greeting, or 550 to every recipient, or 554 to the content */
	REMOTE_ALL = 1023,
};
const char *behaviour_name(enum behaviour b); /* of a single one: "slow" */

struct remote {
	struct scene *scene;
	struct machine machine;
	char name[20];
	struct listener *listener;
	unsigned behaviours; /* the set to draw from... */
	bool always;         /* ...for every connection; else some are well */
	usec_t good_from;    /* from then on all are */
	unsigned connections, taken;
};

/* Begins at once; belongs to the scene. What its name is in the DNS the scene's zone says. */
struct remote *remote_new(struct scene *s, const char *name, const char *ip, unsigned behaviours, usec_t good_from);
void remote_free(struct remote *r);
