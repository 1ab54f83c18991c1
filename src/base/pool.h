/* Many small pieces of one size that live long, apart from everything else.
 *
 * What lives for hours must not lie between what lives for milliseconds: the short-lived leave holes, and from then
 * on malloc gives out memory that has not been touched for long, a cache miss for each of its lines. A pool takes
 * slabs of 32 KiB and gives out their pieces, each with 8 bytes of its own in front, of the slab last given back to first. A slab that is empty goes back
 * to malloc, but for the last one.
 *
 * Not locked. Nothing is reserved: a pool that is zeroed but for `size` is ready and empty. */
#pragma once

#include "base/list.h"

struct pool {
	size_t size;         /* of a piece in bytes, at most POOL_PIECE_MAX; rounded up to 8, which is the alignment, too */
	struct list partial; /* slabs with room */
	size_t slabs, used;  /* used: pieces */
};

#define POOL_PIECE_MAX 4096u

void pool_init(struct pool *p, size_t size);
/* Zeroed. NULL: memory. */
void *pool_take(struct pool *p);
/* NULL is fine. */
void pool_give(void *data);
/* All pieces have been given back. */
void pool_done(struct pool *p);
