#include "queue/fair.h"

#include <stdlib.h>

#define SPARE_MAX 16

void fair_init(struct fair *f)
{
	*f = (struct fair) { .len = 0 };
	list_init(&f->ring);
	list_init(&f->spare);
	list_init(&f->common.items);
}

void fair_trim(struct fair *f)
{
	struct link *k;

	while ((k = list_pop(&f->spare)))
		free(container_of(k, struct fair_sender, ring));
	f->n_spare = 0;
	if (f->senders.len == 0)
		hash_done(&f->senders);
}

void fair_done(struct fair *f)
{
	struct link *k;

	while ((k = list_pop(&f->ring))) {
		struct fair_sender *s = container_of(k, struct fair_sender, ring);

		if (s == &f->common)
			continue;
		hash_remove(&f->senders, &s->node);
		free(s);
	}
	fair_trim(f);
	hash_done(&f->senders);
}

static struct fair_sender *find_sender(struct fair *f, uint64_t key)
{
	for (struct hash_node *n = hash_find(&f->senders, hash_u64(key)); n; n = hash_find_next(n)) {
		struct fair_sender *s = container_of(n, struct fair_sender, node);

		if (s->key == key)
			return s;
	}
	return NULL;
}

static struct fair_sender *new_sender(struct fair *f, uint64_t key)
{
	struct link *k = list_pop(&f->spare);
	struct fair_sender *s = k ? container_of(k, struct fair_sender, ring) : calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (k)
		f->n_spare--;
	s->key = key;
	list_init(&s->items);
	if (hash_insert(&f->senders, &s->node, hash_u64(key)) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

static void sender_is_done(struct fair *f, struct fair_sender *s)
{
	link_remove(&s->ring);
	if (s == &f->common)
		return;
	hash_remove(&f->senders, &s->node);
	if (f->n_spare >= SPARE_MAX) {
		free(s);
		return;
	}
	list_append(&f->spare, &s->ring);
	f->n_spare++;
}

void fair_push(struct fair *f, struct fair_item *item, uint64_t sender)
{
	struct fair_sender *s = find_sender(f, sender);

	if (!s)
		s = new_sender(f, sender);
	if (!s)
		s = &f->common;
	if (list_empty(&s->items))
		list_append(&f->ring, &s->ring);
	item->sender = s;
	list_append(&s->items, &item->link);
	f->len++;
}

struct fair_item *fair_first(const struct fair *f)
{
	struct link *k = list_first(&f->ring);

	return k ? container_of(list_first(&container_of(k, struct fair_sender, ring)->items), struct fair_item,
				link)
		 : NULL;
}

struct fair_item *fair_pop(struct fair *f)
{
	struct fair_item *item = fair_first(f);
	struct fair_sender *s;

	if (!item)
		return NULL;
	s = item->sender;
	link_remove(&s->ring);
	list_append(&f->ring, &s->ring);
	fair_remove(f, item);
	return item;
}

void fair_remove(struct fair *f, struct fair_item *item)
{
	struct fair_sender *s = item->sender;

	if (!s)
		return;
	link_remove(&item->link);
	item->sender = NULL;
	f->len--;
	if (list_empty(&s->items))
		sender_is_done(f, s);
}
