/* One recipient of a waiting message, as compact as we can: a million of them may wait.
 *
 * Its life: WAITING at the message's home until `next`; then POSTED, in a job that waits for a destination or
 * stands in the line of a site or is being delivered; back to WAITING when that was deferred; HELD for as long
 * as an administrator or a route says; DONE at last. A recipient that is done may still owe its sender a
 * notification, which keeps the message alive. */
#pragma once

#include "queue/outcome.h"
#include "base/time.h"

enum recipient_state { STATE_WAITING, STATE_POSTED, STATE_HELD, STATE_DONE };

enum recipient_flags {
	RECIPIENT_WARNED = 1,       /* the delay notification is sent, or was not wanted */
	RECIPIENT_RELEASED = 2,     /* an administrator let it go: a route's hold no longer counts */
	RECIPIENT_EXPIRED = 4,      /* given up for its age; `last` is what was said last */
	RECIPIENT_OWES_FAILURE = 8, /* notifications that are due */
	RECIPIENT_OWES_DELAY = 16,
	RECIPIENT_OWES_DELIVERED = 32,
	RECIPIENT_OWES_RELAYED = 64,
	RECIPIENT_OWES = RECIPIENT_OWES_FAILURE | RECIPIENT_OWES_DELAY | RECIPIENT_OWES_DELIVERED | RECIPIENT_OWES_RELAYED,
	RECIPIENT_FLAGS = 127,
};

#define LAST_HOST_MAX 255
#define LAST_TEXT_MAX 1000

/* What was answered last, by a server or by ourselves. One allocation. */
struct last_reply {
	wall_t at;
	uint16_t code, enhanced[3];
	uint8_t class, stage;
	bool from_remote;
	struct ip ip;      /* family 0: none */
	uint16_t host_len; /* 0: none */
	uint16_t text_len;
	char data[];       /* host, NUL, text, NUL */
};
static inline const char *last_host(const struct last_reply *l) { return l->host_len > 0 ? l->data : NULL; }
static inline const char *last_text(const struct last_reply *l) { return l->data + l->host_len + 1; }

struct recipient {
	struct last_reply *last; /* NULL: never tried */
	usec_t next;             /* WAITING: not before; 0: now */
	uint16_t attempts;       /* stops at 65535 */
	uint8_t state, flags;
	uint8_t rung;            /* in this round */
	uint8_t untried;         /* how often in a row it came back untried */
};

/* Copies the reply of an outcome, cut to the limits above. NULL: memory. */
struct last_reply *last_reply_new(const struct outcome *o, wall_t at);
/* "550 5.1.1 text", or the text alone when there was no reply; for people. Returns out. */
const char *last_reply_describe(const struct last_reply *l, char *out, size_t size);
void recipient_set_last(struct recipient *r, struct last_reply *l); /* takes l; NULL leaves the old one */
