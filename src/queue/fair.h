/* The line in front of a site: who waits, by priority, and among those of the same taken in turn by sender.
 *
 * Every sender with something waiting has a queue of its own; the senders stand in a ring. The one in front
 * gives its oldest item and goes to the end. So a newsletter of 100,000 messages delays a password reset by
 * one message, not by 100,000.
 *
 * Nearly all mail has the priority 0, so the other levels (RFC 6710) are made when they are needed. A higher one goes
 * first, always.
 *
 * Items are intrusive; adding one cannot fail: without memory for a sender of its own it joins a common one. */
#pragma once

#include "base/hash.h"
#include "base/list.h"

struct fair_level {
	struct link link;  /* on fair->levels, the highest first */
	struct list ring;
	int priority;
};

struct fair_sender {
	struct hash_node node;
	struct link ring;
	struct list items;
	struct fair_level *level;
	uint64_t key;
};

struct fair_item {
	struct link link;
	struct fair_sender *sender; /* while it waits, else NULL */
};

struct fair {
	struct hash senders;
	struct list levels;      /* those with something waiting; the usual one always */
	struct fair_level usual;
	struct list spare; /* senders without items, for the next */
	unsigned n_spare;
	unsigned len;
	struct fair_sender common;
};

void fair_init(struct fair *f);
/* Frees the senders; the items are left to their owner. */
void fair_done(struct fair *f);
void fair_push(struct fair *f, struct fair_item *item, uint64_t sender, int priority);
/* The next in turn, or NULL. */
struct fair_item *fair_pop(struct fair *f);
/* Gives back memory that is kept for the next items. */
void fair_trim(struct fair *f);
/* Nothing when it doesn't wait. */
void fair_remove(struct fair *f, struct fair_item *item);
/* The one that fair_pop would give, or NULL. */
struct fair_item *fair_first(const struct fair *f);
static inline bool fair_waits(const struct fair_item *item) { return item->sender != NULL; }
