/* A priority queue of 64-bit keys (mostly times), smallest first, with the node inside the object:
 * insert, remove and re-key in O(log n), the smallest in O(1). Equal keys come out in the order in
 * which they were inserted, so that a simulation repeats itself exactly. */
#pragma once

#include "base/macro.h"

#define HEAP_NOWHERE UINT32_MAX

struct heap_node {
	uint64_t key;
	uint64_t order;
	uint32_t index; /* HEAP_NOWHERE when in no heap */
};

struct heap {
	struct heap_node **nodes;
	uint32_t len, capacity;
	uint64_t next_order;
};

static inline void heap_node_init(struct heap_node *n) { n->index = HEAP_NOWHERE; }
static inline bool heap_node_linked(const struct heap_node *n) { return n->index != HEAP_NOWHERE; }
static inline struct heap_node *heap_first(const struct heap *h) { return h->len ? h->nodes[0] : NULL; }

/* -ENOMEM when the array cannot grow; the node is then not inserted. heap_reserve makes room first,
 * so that the insert afterwards cannot fail. */
int heap_reserve(struct heap *h, uint32_t more);
int heap_insert(struct heap *h, struct heap_node *n, uint64_t key);
void heap_remove(struct heap *h, struct heap_node *n); /* nothing when it is not in */
void heap_update(struct heap *h, struct heap_node *n, uint64_t key);
void heap_done(struct heap *h);
