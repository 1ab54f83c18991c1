/* How often, and how many at a time: limits by any key, counted for all loops together.
 *
 * A rate is a bucket that holds as many tokens as are allowed in the period and fills evenly: who was quiet may come
 * at once with all of them, later they come one by one. Concurrency is a count of places that are taken and left. Both
 * live in one table in memory, which is bounded: the bucket that was not touched for the longest time is forgotten
 * first (a full one means nothing anyway), places never.
 *
 * All functions may be called from any thread and do not wait. */
#pragma once

#include "world/world.h"

enum rate_key { RATE_CLIENT, RATE_NETWORK, RATE_USER, RATE_SENDER, RATE_SENDER_DOMAIN, RATE_RECIPIENT, RATE_RECIPIENT_DOMAIN };
extern const char *const rate_key_words[]; /* in the order of the enum; ends with NULL */
enum rate_unit { RATE_CONNECTIONS, RATE_MESSAGES, RATE_RECIPIENTS, RATE_UNITS };
extern const char *const rate_unit_words[];

struct rate_rule {
	int key;                       /* enum rate_key */
	unsigned allowed[RATE_UNITS];  /* in a period; 0: no limit */
	usec_t per;
	bool trusted;                  /* counts trusted clients, too */
};
struct concurrency_rule {
	int key;                       /* enum rate_key */
	unsigned sessions;             /* at the same time; by sender and recipient: that are busy with such a message */
	bool trusted;
};

struct rates;
struct rate_place;
/* max_entries: 0 for 100,000. */
int rates_new(struct world *w, unsigned max_entries, struct rates **ret);
void rates_free(struct rates *r); /* all places must have been left */
DEFINE_FREEP(struct rates, rates_free)

/* Takes one token. 0; -EBUSY with *ret_wait (when the next one comes); -ENOMEM. */
int rates_take(struct rates *r, const struct rate_rule *rule, enum rate_unit unit, struct slice key, usec_t at, usec_t *ret_wait);
/* 0; -EUSERS when all are taken; -ENOMEM. */
int rates_enter(struct rates *r, const struct concurrency_rule *rule, struct slice key, struct rate_place **ret);
void rates_leave(struct rates *r, struct rate_place *p); /* NULL is fine */
