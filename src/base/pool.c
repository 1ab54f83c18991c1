#include "base/pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory_check.h"

#define SLAB ((size_t) 32768 - 64) /* malloc has a header, too */

struct slab {
	struct link link; /* on its pool's list, when it has room */
	struct pool *pool;
	struct piece *free; /* pieces that were given back */
	unsigned used;
	unsigned fresh;   /* so many were ever given out */
	char pieces[] __attribute__((aligned(8)));
};

/* With the address of its slab in front: slabs at round addresses would not need it, but malloc would leave holes
 * between them. */
struct piece {
	struct slab *slab;
	union {
		struct piece *next; /* while it is free */
		char data[1];
	};
};

#define FRONT offsetof(struct piece, data)

static unsigned pieces_of_slab(const struct pool *p)
{
	return (unsigned) ((SLAB - sizeof(struct slab)) / (FRONT + p->size));
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
	struct slab *s = malloc(SLAB);

	if (!s)
		return NULL;
	*s = (struct slab) { .pool = p };
	memory_close(s->pieces, (FRONT + p->size) * pieces_of_slab(p));
	list_prepend(&p->partial, &s->link);
	p->slabs++;
	return s;
}

static void slab_free(struct slab *s)
{
	struct pool *p = s->pool;

	link_remove(&s->link);
	p->slabs--;
	free(s);
}

void *pool_take(struct pool *p)
{
	struct link *k = list_first(&p->partial);
	struct slab *s = k ? container_of(k, struct slab, link) : slab_new(p);
	struct piece *piece;

	if (!s)
		return NULL;
	if (s->free) {
		piece = s->free;
		s->free = piece->next;
	} else {
		piece = (struct piece *) (s->pieces + (FRONT + p->size) * s->fresh++);
		memory_open(piece, FRONT);
		piece->slab = s;
	}
	if (++s->used == pieces_of_slab(p))
		link_remove(&s->link);
	p->used++;
	memory_open(piece->data, p->size);
	memset(piece->data, 0, p->size);
	return piece->data;
}

void pool_give(void *data)
{
	struct piece *piece;
	struct slab *s;
	struct pool *p;

	if (!data)
		return;
	piece = container_of(data, struct piece, data);
	s = piece->slab;
	p = s->pool;
	assert(s->used > 0);
	memory_close(piece->data, p->size);
	memory_open(piece->data, sizeof(piece->next));
	piece->next = s->free;
	s->free = piece;
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
