#include "base/hash.h"

#include <stdlib.h>

#define SMALLEST 16

/* SipHash-2-4 (Aumasson and Bernstein, 2012): four words of state, two rounds for each word of
 * input, four at the end. */
struct sip {
	uint64_t v[4];
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[static 4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->v[3] ^= word;
	sip_round(s->v);
	sip_round(s->v);
	s->v[0] ^= word;
}

/* Eight bytes as a little-endian word, the missing ones zero. */
static inline uint64_t load_word(const unsigned char *p, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++)
		word |= (uint64_t) p[i] << (8 * i);
	return word;
}

/* Adds 0x20 to each byte that is an upper-case ASCII letter, all eight at once: the high bit of each
 * byte of `upper` tells whether the byte (without its own high bit) is at least 'A' and not above 'Z'. */
static inline uint64_t fold_word(uint64_t word)
{
	uint64_t low = word & 0x7f7f7f7f7f7f7f7f;
	uint64_t from_a = low + 0x3f3f3f3f3f3f3f3f; /* 0x80 - 'A' */
	uint64_t after_z = low + 0x2525252525252525; /* 0x80 - 'Z' - 1 */
	uint64_t upper = from_a & ~after_z & ~word & 0x8080808080808080;

	return word + (upper >> 2);
}

static inline uint64_t sip_hash(const struct hash_key *key, const void *data, size_t len, bool fold)
{
	const unsigned char *p = data;
	struct sip s = { {
		key->k[0] ^ 0x736f6d6570736575,
		key->k[1] ^ 0x646f72616e646f6d,
		key->k[0] ^ 0x6c7967656e657261,
		key->k[1] ^ 0x7465646279746573,
	} };
	uint64_t word;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8) {
		word = load_word(p, 8);
		sip_word(&s, fold ? fold_word(word) : word);
	}
	word = left ? load_word(p, left) : 0;
	if (fold)
		word = fold_word(word);
	sip_word(&s, word | (uint64_t) len << 56);
	s.v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(s.v);
	return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len)
{
	return sip_hash(key, data, len, false);
}

uint64_t hash_bytes_nocase(const struct hash_key *key, const void *data, size_t len)
{
	return sip_hash(key, data, len, true);
}

/* The finaliser of MurmurHash3: each bit of v moves about half the bits of the result, and no two
 * values meet. */
uint64_t hash_u64(uint64_t v)
{
	v ^= v >> 33;
	v *= 0xff51afd7ed558ccd;
	v ^= v >> 33;
	v *= 0xc4ceb9fe1a85ec53;
	v ^= v >> 33;
	return v;
}

static int hash_grow(struct hash *h)
{
	size_t n = h->buckets ? 2 * (h->mask + 1) : SMALLEST;
	struct hash_node **buckets = n ? calloc(n, sizeof(*buckets)) : NULL;

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; h->buckets && i <= h->mask; i++) {
		struct hash_node *node = h->buckets[i];

		while (node) {
			struct hash_node *next = node->next;
			struct hash_node **place = &buckets[node->hash & (n - 1)];

			node->next = *place;
			*place = node;
			node = next;
		}
	}
	free(h->buckets);
	h->buckets = buckets;
	h->mask = n - 1;
	return 0;
}

int hash_insert(struct hash *h, struct hash_node *n, uint64_t hash)
{
	struct hash_node **place;

	if (!h->buckets || h->len > h->mask) {
		int r = hash_grow(h);

		if (r < 0)
			return r;
	}
	place = &h->buckets[hash & h->mask];
	n->hash = hash;
	n->next = *place;
	*place = n;
	h->len++;
	return 0;
}

static struct hash_node *first_of(struct hash_node *n, uint64_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hash_node *hash_find(const struct hash *h, uint64_t hash)
{
	return h->buckets ? first_of(h->buckets[hash & h->mask], hash) : NULL;
}

struct hash_node *hash_find_next(const struct hash_node *n)
{
	return first_of(n->next, n->hash);
}

void hash_remove(struct hash *h, struct hash_node *n)
{
	struct hash_node **place;

	assert(h->buckets);
	for (place = &h->buckets[n->hash & h->mask]; *place != n; place = &(*place)->next)
		assert(*place); /* not in this table */
	*place = n->next;
	n->next = NULL;
	h->len--;
}

struct hash_node *hash_walk(const struct hash *h, struct hash_node *previous)
{
	size_t bucket = 0;

	if (!h->buckets)
		return NULL;
	if (previous) {
		if (previous->next)
			return previous->next;
		bucket = (size_t) (previous->hash & h->mask) + 1;
	}
	for (; bucket <= h->mask; bucket++)
		if (h->buckets[bucket])
			return h->buckets[bucket];
	return NULL;
}

void hash_done(struct hash *h)
{
	free(h->buckets);
	*h = (struct hash) { 0 };
}
