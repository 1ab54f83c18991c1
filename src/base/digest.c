#include "base/digest.h"

#define BLOCK 32u /* bytes */

/* Both halves of the product of 128 bits, folded into one word. */
static inline uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128) a * b;

	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

static inline uint64_t load(const char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

void digest_init(struct digest *d, const struct digest_key *key)
{
	d->key = key;
	for (unsigned i = 0; i < ARRAY_LEN(d->words); i++)
		d->words[i] = mix(key->k[i] ^ 0x9e3779b97f4a7c15, key->k[(i + 1) % 4] | 1);
	d->len = 0;
	d->n_begun = 0;
}

/* What was taken in before turns the words of this pair, so that their order counts; the sum keeps a product of zero from
 * wiping it out. */
static inline void take_pair(const struct digest_key *key, uint64_t words[static 2], const char *p)
{
	uint64_t a = load(p), b = load(p + 8);

	words[0] = (words[0] ^ a) + mix(a ^ key->k[0] ^ words[0], b ^ key->k[1]);
	words[1] = (words[1] ^ b) + mix(a ^ key->k[2], b ^ key->k[3] ^ words[1]);
}

static inline void take_block(const struct digest_key *key, uint64_t words[static 4], const char *p)
{
	take_pair(key, words, p);
	take_pair(key, words + 2, p + 16);
}

void digest_feed(struct digest *d, struct slice piece)
{
	uint64_t words[4];
	size_t i = 0;

	d->len += piece.len;
	memcpy(words, d->words, sizeof(words));
	if (d->n_begun > 0) {
		i = MIN(piece.len, (size_t) (BLOCK - d->n_begun));
		if (i > 0)
			memcpy(d->begun + d->n_begun, piece.data, i);
		d->n_begun += (unsigned) i;
		if (d->n_begun < BLOCK)
			return;
		take_block(d->key, words, d->begun);
		d->n_begun = 0;
	}
	for (; piece.len - i >= BLOCK; i += BLOCK)
		take_block(d->key, words, piece.data + i);
	if (i < piece.len) {
		d->n_begun = (unsigned) (piece.len - i);
		memcpy(d->begun, piece.data + i, d->n_begun);
	}
	memcpy(d->words, words, sizeof(words));
}

struct digest_value digest_finish(const struct digest *d)
{
	char last[BLOCK] = { 0 };
	uint64_t words[4];

	memcpy(words, d->words, sizeof(words));
	memcpy(last, d->begun, d->n_begun);
	take_block(d->key, words, last);
	memset(last, 0, sizeof(last));
	memcpy(last, &d->len, sizeof(d->len)); /* "a" and "a\0" differ */
	memcpy(last + 16, words, 16); /* what the even pairs made goes over the odd ones' way as well */
	take_block(d->key, words, last);
	return (struct digest_value) { {
		mix(words[0] ^ d->key->k[3], words[2] ^ d->key->k[0]) + words[2],
		mix(words[1] ^ d->key->k[1], words[3] ^ d->key->k[2]) + words[3],
	} };
}
