#include "simulate/memory.h"

#include <stdlib.h>
#include <string.h>

#define GREYLIST_KEEP USEC_DAY

struct entry {
	struct hash_node node;
	struct link used;
	double level;  /* of the bucket */
	usec_t first, last;
	size_t len;
	char name[];
};

void memory_init(struct memory *m, const struct hash_key *key)
{
	*m = (struct memory) { .key = *key };
	list_init(&m->used);
}

static void forget(struct memory *m, struct entry *e)
{
	hash_remove(&m->table, &e->node);
	link_remove(&e->used);
	free(e);
}

void memory_done(struct memory *m)
{
	while (!list_empty(&m->used))
		forget(m, container_of(list_first(&m->used), struct entry, used));
	hash_done(&m->table);
}

/* The entry of a name, made when it isn't there (last == 0); NULL without memory. */
static struct entry *find(struct memory *m, struct slice name)
{
	uint64_t hash = hash_bytes(&m->key, name.data, name.len);
	struct entry *e;

	for (struct hash_node *n = hash_find(&m->table, hash); n; n = hash_find_next(n)) {
		e = container_of(n, struct entry, node);
		if (!slice_eq(slice_new(e->name, e->len), name))
			continue;
		link_remove(&e->used);
		list_append(&m->used, &e->used);
		return e;
	}
	if (m->table.len >= MEMORY_MAX)
		forget(m, container_of(list_first(&m->used), struct entry, used));
	e = calloc(1, sizeof(*e) + name.len);
	if (!e)
		return NULL;
	e->len = name.len;
	memcpy(e->name, name.data, name.len);
	if (hash_insert(&m->table, &e->node, hash) < 0) {
		free(e);
		return NULL;
	}
	list_append(&m->used, &e->used);
	return e;
}

bool memory_is_above(struct memory *m, struct slice name, uint32_t count, usec_t per, usec_t now)
{
	struct entry *e = find(m, name);

	if (!e)
		return false;
	if (e->last)
		e->level -= (double) (now - e->last) * count / (double) per;
	if (e->level < 0)
		e->level = 0;
	e->last = now;
	if (e->level + 1 > count)
		return true;
	e->level++;
	return false;
}

bool memory_is_new(struct memory *m, struct slice name, usec_t after, usec_t now)
{
	struct entry *e = find(m, name);

	if (!e)
		return false;
	if (!e->last || now - e->last > GREYLIST_KEEP)
		e->first = now;
	e->last = now;
	return now - e->first < after;
}
