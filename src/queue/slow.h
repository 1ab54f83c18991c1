/* Senders whose mail a receiver wants more slowly than that of others: Gmail's 4.7.28 names a domain, and means the mail
 * of that domain alone, not all that comes from us.
 *
 * Each such domain has a pace of its own (pace.h) at the provider, or at the site when it has none. Its messages that may
 * not go yet are sent home (JOB_LATER) with a time at which they may; so they are not in the way of others, and wait
 * without memory of their own. Times are given one after the other; when more wait than go in SLOW_AHEAD, the others come
 * back then and ask again. Who was not too fast for a day is forgotten. */
#pragma once

#include "base/hash.h"
#include "queue/pace.h"

#define SLOW_AHEAD USEC_HOUR
#define SLOW_MOST 1000u /* domains; more are not slowed down by themselves */

struct slow_keys {
	struct hash keys;
};

/* This key was too fast. usual: the mean time between two messages of all keys. Without memory nothing is learned. */
void slow_down(struct slow_keys *k, uint64_t key, usec_t usual, usec_t t);
/* May one with this key go? 0: yes, and it counts as gone; else the time at which to ask again. */
usec_t slow_ask(struct slow_keys *k, uint64_t key, usec_t t);
/* One was taken. */
void slow_taken(struct slow_keys *k, uint64_t key, usec_t t);
/* The pace of a key, as a time between two messages; 0: none. */
usec_t slow_interval(const struct slow_keys *k, uint64_t key);
void slow_done(struct slow_keys *k);
