/* One recipient of a waiting message, as compact as we can: a million of them may wait.
 *
 * Its life: WAITING at the message's home until `next`; then POSTED, in a job that waits for a destination or
 * stands in the line of a site or is being delivered; back to WAITING when that was deferred, or when its site
 * does not work and it is parked (parking.h); HELD for as long as an administrator or a route says; DONE at last.
 * A recipient that is done may still owe its sender a notification, which keeps the message alive.
 *
 * The address stands in the envelope, which mostly lies in the spool (message.h). Here is the domain alone, one
 * copy for all who have it (name.h), so that a filter can rule out a recipient without reading anything; and one
 * copy of what a site answers serves all recipients to whom it says the same. */
#pragma once

#include "base/hash.h"
#include "base/time.h"
#include "queue/name.h"
#include "queue/outcome.h"

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
	RECIPIENT_FLAGS = 127,      /* those that the note keeps */
	RECIPIENT_PARKED = 128,     /* WAITING for its site to work again, or for `next` */
};

#define LAST_HOST_MAX 255
#define LAST_TEXT_MAX 2000
#define ATTEMPTS_MAX 4095u

/* What was answered, by a server or by ourselves. One allocation. */
struct last_reply {
	struct hash_node node;    /* when it is shared */
	struct hash *shared;      /* the table that it stands in, or NULL */
	unsigned references;
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
	struct last_reply *last;   /* NULL: never tried */
	usec_t next;               /* WAITING: not before; 0: now */
	struct name *domain;       /* NULL: not known, look into the envelope */
	uint32_t last_at;          /* when `last` was said, in seconds since 1970 */
	unsigned attempts : 12;    /* stops at ATTEMPTS_MAX */
	unsigned state : 2, untried : 2; /* untried: how often in a row it came back so */
	unsigned flags : 8;
	unsigned rung : 8;         /* in this round */
};
_Static_assert(sizeof(struct recipient) == 32, "a million of them may wait");

/* Copies the reply of an outcome, cut to the limits above. NULL: memory. */
struct last_reply *last_reply_new(const struct outcome *o);
/* An empty one with room for these texts, which are copied. NULL: memory. */
struct last_reply *last_reply_alloc(struct slice host, struct slice text);
/* One that says the same, from the table if it is there, else this one, put there. Takes l, which nobody else has. */
struct last_reply *last_reply_share(struct hash *table, const struct hash_key *key, struct last_reply *l);
static inline struct last_reply *last_reply_ref(struct last_reply *l)
{
	l->references++;
	return l;
}
void last_reply_unref(struct last_reply *l); /* NULL is fine */
/* "550 5.1.1 text", or the text alone when there was no reply; for people. Returns out. */
const char *last_reply_describe(const struct last_reply *l, char *out, size_t size);
void recipient_set_last(struct recipient *r, struct last_reply *l, wall_t at); /* takes l; NULL leaves the old one */
