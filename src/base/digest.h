/* A keyed digest of 128 bits over bytes that come in pieces: for knowing content again that was seen a while ago, at a third
 * of a microsecond for 4 KB. Each 16 bytes go into two words of it by a multiplication of 64 by 64 bits each, with other keys.
 *
 * Two contents with one digest do not occur by chance (2^-128 for each pair), and whoever doesn't know the key can't look for
 * them. It is no signature: for what others must believe there is SHA-256. The cut into pieces makes no difference. */
#pragma once

#include "base/hash.h"

struct digest_key {
	uint64_t k[4]; /* random */
};
struct digest_value {
	uint64_t half[2];
};
struct digest {
	const struct digest_key *key;
	uint64_t words[4]; /* two that take the even pairs of words, two for the odd ones: side by side in the processor */
	uint64_t len;      /* bytes so far */
	unsigned n_begun;  /* bytes of a block that isn't complete yet */
	char begun[32];
};
void digest_init(struct digest *d, const struct digest_key *key);
void digest_feed(struct digest *d, struct slice piece);
struct digest_value digest_finish(const struct digest *d); /* of all bytes so far; more may follow */

static inline bool digest_equal(const struct digest_value *a, const struct digest_value *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}
