#include "spool/index.h"

#include <stdlib.h>

#define SLAB_BITS 12
#define SLAB (1u << SLAB_BITS)
#define NONE UINT32_MAX
#define FIRST_BUCKETS 1024u

void index_init(struct index *x)
{
	*x = (struct index) { .free = NONE };
}

static struct entry *entry_at(const struct index *x, uint32_t i)
{
	return &x->slabs[i >> SLAB_BITS][i & (SLAB - 1)];
}

void index_done(struct index *x)
{
	uint32_t cursor = 0;

	for (struct entry *e; (e = index_each(x, &cursor));)
		if (e->extents > 1)
			free(e->many);
	for (uint32_t i = 0; i < x->slab_count; i++)
		free(x->slabs[i]);
	free(x->slabs);
	free(x->buckets);
	index_init(x);
}

/* Linear hashing: with n buckets, 2^k <= n < 2^(k+1), those below n - 2^k are split already and use one bit more. */
static uint32_t bucket_of(const struct index *x, msgid_t id)
{
	uint32_t high = 1u << (31 - __builtin_clz(x->bucket_count));
	uint64_t h = hash_u64(id);
	uint32_t b = (uint32_t) h & (2 * high - 1);

	return b < x->bucket_count ? b : b & (high - 1);
}

static int add_slab(struct index *x)
{
	struct entry *slab;

	if (x->slab_count == NONE >> SLAB_BITS)
		return -ENOMEM;
	if (x->slab_count == x->slab_capacity) {
		uint32_t capacity = x->slab_capacity ? 2 * x->slab_capacity : 16;
		struct entry **grown = reallocarray(x->slabs, capacity, sizeof(struct entry *));

		if (!grown)
			return -ENOMEM;
		x->slabs = grown;
		x->slab_capacity = capacity;
	}
	slab = aligned_alloc(sizeof(struct entry), SLAB * sizeof(struct entry));
	if (!slab)
		return -ENOMEM;
	x->slabs[x->slab_count++] = slab;
	return 0;
}

int index_reserve(struct index *x, uint32_t more)
{
	int r;

	if (x->bucket_capacity == 0) {
		x->buckets = malloc(FIRST_BUCKETS * sizeof(uint32_t));
		if (!x->buckets)
			return -ENOMEM;
		memset(x->buckets, 0xff, FIRST_BUCKETS * sizeof(uint32_t));
		x->bucket_capacity = x->bucket_count = FIRST_BUCKETS;
	}
	/* Free entries are not counted on: that costs at most a slab more. */
	while ((uint64_t) x->used + more > (uint64_t) x->slab_count << SLAB_BITS) {
		r = add_slab(x);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Splits the next bucket in turn. Failing for lack of memory only makes the chains longer. */
static void split_one(struct index *x)
{
	uint32_t old, chain;

	if (x->bucket_count == x->bucket_capacity) {
		uint32_t *grown;

		if (x->bucket_capacity > NONE / 2)
			return;
		grown = reallocarray(x->buckets, 2 * (size_t) x->bucket_capacity, sizeof(uint32_t));
		if (!grown)
			return;
		x->buckets = grown;
		x->bucket_capacity *= 2;
	}
	old = x->bucket_count - (1u << (31 - __builtin_clz(x->bucket_count)));
	x->buckets[x->bucket_count++] = NONE;
	chain = x->buckets[old];
	x->buckets[old] = NONE;
	while (chain != NONE) {
		struct entry *e = entry_at(x, chain);
		uint32_t next = e->next, b = bucket_of(x, e->id);

		e->next = x->buckets[b];
		x->buckets[b] = chain;
		chain = next;
	}
}

struct entry *index_insert(struct index *x, msgid_t id)
{
	struct entry *e;
	uint32_t i, b;

	if (index_reserve(x, x->free == NONE ? 1 : 0) < 0)
		return NULL;
	if (x->len >= x->bucket_count)
		split_one(x);
	if (x->free != NONE) {
		i = x->free;
		x->free = entry_at(x, i)->next;
	} else
		i = x->used++;
	e = entry_at(x, i);
	b = bucket_of(x, id);
	*e = (struct entry) { .id = id, .next = x->buckets[b] };
	x->buckets[b] = i;
	x->len++;
	return e;
}

struct entry *index_find(const struct index *x, msgid_t id)
{
	if (x->len == 0 || id == MSGID_NONE)
		return NULL;
	for (uint32_t i = x->buckets[bucket_of(x, id)]; i != NONE;) {
		struct entry *e = entry_at(x, i);

		if (e->id == id)
			return e;
		i = e->next;
	}
	return NULL;
}

static void drop_extents(struct index *x, struct entry *e)
{
	if (e->extents > 1) {
		free(e->many);
		x->extent_count -= e->extents;
	}
	e->extents = 0;
}

void index_remove(struct index *x, struct entry *e)
{
	uint32_t *link = &x->buckets[bucket_of(x, e->id)];
	uint32_t i;

	while (entry_at(x, *link) != e)
		link = &entry_at(x, *link)->next;
	i = *link;
	*link = e->next;
	drop_extents(x, e);
	*e = (struct entry) { .id = MSGID_NONE, .next = x->free };
	x->free = i;
	x->len--;
}

void index_set_extents(struct index *x, struct entry *e, struct extent *extents, uint32_t n)
{
	assert(n <= RECORD_MAX_EXTENTS);
	drop_extents(x, e);
	e->extents = (uint16_t) n;
	if (n > 1) {
		e->many = extents;
		x->extent_count += n;
	} else if (n == 1)
		e->one = extents[0];
}

struct entry *index_each(const struct index *x, uint32_t *cursor)
{
	while (*cursor < x->used) {
		struct entry *e = entry_at(x, (*cursor)++);

		if (e->id != MSGID_NONE)
			return e;
	}
	return NULL;
}

uint64_t index_footprint(const struct index *x)
{
	return (uint64_t) x->slab_count * SLAB * sizeof(struct entry) + x->bucket_capacity * sizeof(uint32_t) +
	       x->extent_count * sizeof(struct extent);
}
