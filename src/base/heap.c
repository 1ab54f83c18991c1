#include "base/heap.h"

#include <stdlib.h>

#define SMALLEST 16u

/* The heap has four children to a node: half as deep as a binary one, and the four lie together. */
#define CHILDREN 4u

static bool before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key < b->key || (a->key == b->key && a->order < b->order);
}

static void put(struct heap *h, struct heap_node *n, uint32_t index)
{
	h->nodes[index] = n;
	n->index = index;
}

static void sift_up(struct heap *h, struct heap_node *n, uint32_t index)
{
	while (index > 0) {
		uint32_t parent = (index - 1) / CHILDREN;

		if (!before(n, h->nodes[parent]))
			break;
		put(h, h->nodes[parent], index);
		index = parent;
	}
	put(h, n, index);
}

static void sift_down(struct heap *h, struct heap_node *n, uint32_t index)
{
	for (;;) {
		uint64_t first = (uint64_t) index * CHILDREN + 1;
		uint64_t end = MIN(first + CHILDREN, (uint64_t) h->len);
		struct heap_node *smallest = n;

		for (uint64_t child = first; child < end; child++)
			if (before(h->nodes[child], smallest))
				smallest = h->nodes[child];
		if (smallest == n)
			break;
		first = smallest->index;
		put(h, smallest, index);
		index = (uint32_t) first;
	}
	put(h, n, index);
}

/* n stands at index (or will): up or down, wherever its key belongs. */
static void settle(struct heap *h, struct heap_node *n, uint32_t index)
{
	if (index > 0 && before(n, h->nodes[(index - 1) / CHILDREN]))
		sift_up(h, n, index);
	else
		sift_down(h, n, index);
}

int heap_reserve(struct heap *h, uint32_t more)
{
	struct heap_node **nodes;
	uint64_t need = (uint64_t) h->len + more, capacity;

	if (need <= h->capacity)
		return 0;
	if (need > HEAP_NOWHERE)
		return -ENOMEM;
	capacity = MAX(MAX(2 * (uint64_t) h->capacity, need), (uint64_t) SMALLEST);
	capacity = MIN(capacity, (uint64_t) HEAP_NOWHERE);
	nodes = reallocarray(h->nodes, (size_t) capacity, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	h->nodes = nodes;
	h->capacity = (uint32_t) capacity;
	return 0;
}

int heap_insert(struct heap *h, struct heap_node *n, uint64_t key)
{
	int r;

	assert(!heap_node_linked(n));
	r = heap_reserve(h, 1);
	if (r < 0)
		return r;
	n->key = key;
	n->order = h->next_order++;
	h->len++;
	sift_up(h, n, h->len - 1);
	return 0;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	struct heap_node *last;
	uint32_t index = n->index;

	if (!heap_node_linked(n))
		return;
	assert(index < h->len && h->nodes[index] == n);
	n->index = HEAP_NOWHERE;
	last = h->nodes[--h->len];
	if (last != n)
		settle(h, last, index);
}

/* With a new key the node stands behind those that had that key before; with its old key it keeps
 * its place. */
void heap_update(struct heap *h, struct heap_node *n, uint64_t key)
{
	assert(n->index < h->len && h->nodes[n->index] == n);
	if (n->key == key)
		return;
	n->key = key;
	n->order = h->next_order++;
	settle(h, n, n->index);
}

void heap_done(struct heap *h)
{
	for (uint32_t i = 0; i < h->len; i++)
		h->nodes[i]->index = HEAP_NOWHERE;
	free(h->nodes);
	*h = (struct heap) { 0 };
}
