/* A site is a destination as a whole: all mail for one set of receiving hosts, whatever its domains.
 *
 * It has one owner, the loop that its key hashes to, and everything it knows lives there as plain
 * variables: the deliveries that wait (taken in turn by sender), the window of concurrent connections
 * (opens with success, closes with failure and throttling), the back-off of the site as a whole.
 *
 * The window's places are slots. When there is work and room in the window, the queue starts the courier
 * (deliver) in a new fiber with a slot; the courier takes deliveries from the slot one after the other,
 * over one connection as long as that lasts, and gives each back with its outcomes:
 *
 *	while (slot_next(slot, idle_deadline, &d) == 0) {
 *		connect if there is no connection; send d; fill d->recipients[i].outcome
 *		slot_done(slot, TAKE_PTR(d));
 *	}
 *
 * slot_next with an idle deadline keeps a connection open a moment for the next message. */
#pragma once

#include "mail/envelope.h"
#include "queue/outcome.h"
#include "route/route.h"
#include "spool/spool.h"

struct slot;
struct stream;

struct delivery_recipient {
	unsigned index;      /* in the envelope */
	const char *address;
	struct outcome outcome; /* filled by the courier */
};

/* The recipients of one message that go to one site in one transaction. */
struct delivery {
	msgid_t id;
	struct arena *arena;             /* of this delivery; replies and names of the outcomes go here */
	const struct envelope *envelope; /* unpacked, in the arena */
	unsigned n_recipients;
	struct delivery_recipient *recipients;
	unsigned attempts;               /* how often it was tried before */
	usec_t final_reply;              /* filled by the courier: from the end of the content to its reply; 0: not known */
};

/* What the courier is told about the site; valid as long as the slot. */
struct slot_info {
	const char *site;          /* key */
	const struct hop *hop;
	const struct target *target;
	const char *domain;
	unsigned messages_per_connection; /* at most; 0: not said */
};
const struct slot_info *slot_info(const struct slot *s);

/* Takes the next delivery, waiting for one until the deadline. 0; -ETIMEDOUT: nothing came; -ENOLINK: this slot
 * is to end now (the window has closed, the site is held, the server stops). The delivery belongs to the courier
 * until slot_done. */
int slot_next(struct slot *s, usec_t deadline, struct delivery **ret);
/* Gives it back with its outcomes; never fails, doesn't wait for the disk. */
void slot_done(struct slot *s, struct delivery *d);
/* The courier is looking for a server that answers, and has said nothing yet about the delivery: a stop does not wait for
 * that, and cancels its fiber. */
void slot_searches(struct slot *s, bool searching);

/* Set by deliver, called by queue in a fresh fiber of the site's owner; returns when the slot is finished. */
struct courier {
	void (*run)(struct courier *c, struct slot *s);
	/* A reply means that the site blocks the source of ours that the outcome names. May be NULL. Doesn't wait. */
	void (*blocked)(struct courier *c, const char *site, const char *source);
	/* Carries mail over a connection that a client has opened and turned around (pickup.h): takes the stream, serves the slots
	 * that next gives, one after the other, and ends when it gives NULL or the connection breaks. tls: what protects it, or
	 * NULL. May be NULL. */
	void (*reversed)(struct courier *c, struct stream *stream, const char *tls, struct slot *(*next)(void *context), void *context);
};
