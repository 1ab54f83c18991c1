/* A hash table of intrusive nodes, chained, that grows by doubling. Keys stay in the objects; the
 * caller gives the hash and compares. Hashing of bytes from the network uses SipHash-2-4 with a key
 * that the owner drew at random, so that nobody can choose colliding names. */
#pragma once

#include "base/slice.h"

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash {
	struct hash_node **buckets;
	size_t len;
	size_t mask; /* number of buckets - 1; 0 with buckets == NULL: nothing allocated yet */
};

struct hash_key {
	uint64_t k[2];
};

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);
uint64_t hash_bytes_nocase(const struct hash_key *key, const void *data, size_t len); /* ASCII folded */
uint64_t hash_u64(uint64_t v); /* for ids that we made ourselves: mixing only */

/* -ENOMEM when the table cannot grow; the node is then not inserted. */
int hash_insert(struct hash *h, struct hash_node *n, uint64_t hash);
/* First node with this hash, and the next one; the caller compares the real key. */
struct hash_node *hash_find(const struct hash *h, uint64_t hash);
struct hash_node *hash_find_next(const struct hash_node *n);
void hash_remove(struct hash *h, struct hash_node *n);
/* Any order: start with NULL, ends with NULL. The table must not change while walking, except that
 * the node handed out last may be removed after its successor was asked for. */
struct hash_node *hash_walk(const struct hash *h, struct hash_node *previous);
void hash_done(struct hash *h); /* frees the table, not the nodes */
