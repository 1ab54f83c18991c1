/* What a simulated provider remembers of its clients: how fast they were, and who was here before. Bounded: beyond
 * MEMORY_MAX entries the one that was used least recently is forgotten. */
#pragma once

#include "base/hash.h"
#include "base/list.h"
#include "base/time.h"

#define MEMORY_MAX 100000u

struct memory {
	struct hash table;
	struct list used; /* the most recent last */
	struct hash_key key;
};
void memory_init(struct memory *m, const struct hash_key *key);
void memory_done(struct memory *m);

/* One more for `name` (any bytes, "rule number + key"). True when that is more than `count` in a time `per`: then it is not
 * counted. A bucket that leaks evenly, so a burst of `count` passes. False, too, when there is no memory. */
bool memory_is_above(struct memory *m, struct slice name, uint32_t count, usec_t per, usec_t now);
/* Greylisting: true as long as `name` was first seen less than `after` ago, or not within the last day. */
bool memory_is_new(struct memory *m, struct slice name, usec_t after, usec_t now);
