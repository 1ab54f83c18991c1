/* An intrusive, doubly linked list: the links live inside the object, so that being on a list costs
 * no allocation and cannot fail. A zeroed link is on no list. */
#pragma once

#include "base/macro.h"

struct link {
	struct link *prev, *next;
};

struct list {
	struct link head; /* a ring: head.next is the first, head.prev the last */
};

static inline void list_init(struct list *l) { l->head.prev = l->head.next = &l->head; }
static inline bool list_empty(const struct list *l) { return l->head.next == &l->head; }
static inline bool link_linked(const struct link *k) { return k->next != NULL; }

static inline void link_insert_between(struct link *k, struct link *prev, struct link *next)
{
	assert(!link_linked(k));
	k->prev = prev;
	k->next = next;
	prev->next = k;
	next->prev = k;
}
static inline void list_append(struct list *l, struct link *k) { link_insert_between(k, l->head.prev, &l->head); }
static inline void list_prepend(struct list *l, struct link *k) { link_insert_between(k, &l->head, l->head.next); }
/* Does nothing when it is on no list. */
static inline void link_remove(struct link *k)
{
	if (!link_linked(k))
		return;
	k->prev->next = k->next;
	k->next->prev = k->prev;
	k->prev = k->next = NULL;
}
static inline struct link *list_first(const struct list *l) { return list_empty(l) ? NULL : l->head.next; }
static inline struct link *list_last(const struct list *l) { return list_empty(l) ? NULL : l->head.prev; }
static inline struct link *list_next(const struct list *l, const struct link *k)
{
	return k->next == &l->head ? NULL : k->next;
}
static inline struct link *list_pop(struct list *l)
{
	struct link *k = list_first(l);
	if (k)
		link_remove(k);
	return k;
}
/* Moves everything from `from` to the end of `to`. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->head.next->prev = to->head.prev;
	to->head.prev->next = from->head.next;
	from->head.prev->next = &to->head;
	to->head.prev = from->head.prev;
	list_init(from);
}

/* for (LIST_EACH(&l, k)) { struct x *x = container_of(k, struct x, link); ... }
 * LIST_EACH_SAFE allows removing k inside the loop. */
#define LIST_EACH(l, k) struct link *k = (l)->head.next; k != &(l)->head; k = k->next
#define LIST_EACH_SAFE(l, k) \
	struct link *k = (l)->head.next, *k##_next = k->next; k != &(l)->head; k = k##_next, k##_next = k->next
