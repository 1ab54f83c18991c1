#include "base/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory_check.h"

/* A slab lies at a multiple of ALIGNMENT, so that a piece finds it; it is a little smaller, so that malloc's own
 * header fits between two of them. */
#define ALIGNMENT ((size_t) 32768)
#define SLAB (ALIGNMENT - 64)

struct slab {
	struct link link; /* on its pool's list, when it has room */
	struct pool *pool;
	void *free;       /* pieces that were given back, each with the address of the next */
	unsigned used;
	unsigned fresh;   /* so many were ever given out */
	char pieces[] __attribute__((aligned(8)));
};

static unsigned pieces_of_slab(const struct pool *p)
{
	return (unsigned) ((SLAB - sizeof(struct slab)) / p->size);
}

void pool_init(struct pool *p, size_t size)
{
	size = (MAX(size, sizeof(void *)) + 7) & ~(size_t) 7;
	assert(size <= POOL_PIECE_MAX);
	*p = (struct pool) { .size = size };
	list_init(&p->partial);
}

static struct slab *slab_new(struct pool *p)
{
	void *memory = NULL;
	struct slab *s;

	if (posix_memalign(&memory, ALIGNMENT, SLAB) != 0)
		return NULL;
	s = memory;
	*s = (struct slab) { .pool = p };
	memory_close(s->pieces, p->size * pieces_of_slab(p));
	list_prepend(&p->partial, &s->link);
	p->slabs++;
	return s;
}

static void slab_free(struct slab *s)
{
	struct pool *p = s->pool;

	link_remove(&s->link);
	p->slabs--;
	memory_open(s->pieces, p->size * pieces_of_slab(p));
	free(s);
}

void *pool_take(struct pool *p)
{
	struct link *k = list_first(&p->partial);
	struct slab *s = k ? container_of(k, struct slab, link) : slab_new(p);
	void *piece;

	if (!s)
		return NULL;
	if (s->free) {
		piece = s->free;
		memory_open((char *) piece + sizeof(void *), p->size - sizeof(void *));
		memcpy(&s->free, piece, sizeof(void *));
	} else {
		piece = s->pieces + p->size * s->fresh++;
		memory_open(piece, p->size);
	}
	if (++s->used == pieces_of_slab(p))
		link_remove(&s->link);
	p->used++;
	memset(piece, 0, p->size);
	return piece;
}

void pool_give(void *piece)
{
	struct slab *s = (struct slab *) ((uintptr_t) piece & ~(uintptr_t) (ALIGNMENT - 1));
	struct pool *p;

	if (!piece)
		return;
	p = s->pool;
	assert(s->used > 0 && ((size_t) ((char *) piece - s->pieces)) % p->size == 0);
	memcpy(piece, &s->free, sizeof(void *));
	s->free = piece;
	memory_close((char *) piece + sizeof(void *), p->size - sizeof(void *));
	p->used--;
	if (s->used-- == pieces_of_slab(p))
		list_prepend(&p->partial, &s->link);
	if (s->used == 0 && p->slabs > 1)
		slab_free(s);
}

void pool_done(struct pool *p)
{
	struct link *k;

	assert(p->used == 0);
	while ((k = list_first(&p->partial)))
		slab_free(container_of(k, struct slab, link));
}
