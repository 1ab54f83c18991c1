#include "queue/fair.h"

#include <stdlib.h>

#define SPARE_MAX 16

void fair_init(struct fair *f)
{
	*f = (struct fair) { .len = 0 };
	list_init(&f->levels);
	list_init(&f->usual.ring);
	list_append(&f->levels, &f->usual.link);
	list_init(&f->spare);
	list_init(&f->common.items);
	f->common.level = &f->usual;
}

/* --- levels ----------------------------------------------------------------------------------- */

/* Without memory for a level of its own: the usual one. */
static struct fair_level *level_of(struct fair *f, int priority)
{
	struct fair_level *new;
	struct link *k;

	for (k = list_first(&f->levels); k; k = list_next(&f->levels, k)) {
		struct fair_level *l = container_of(k, struct fair_level, link);

		if (l->priority == priority)
			return l;
		if (l->priority < priority)
			break;
	}
	new = calloc(1, sizeof(*new));
	if (!new)
		return &f->usual;
	new->priority = priority;
	list_init(&new->ring);
	if (k)
		link_insert_between(&new->link, k->prev, k);
	else
		list_append(&f->levels, &new->link);
	return new;
}

static void level_is_empty(struct fair *f, struct fair_level *l)
{
	if (l == &f->usual || !list_empty(&l->ring))
		return;
	link_remove(&l->link);
	free(l);
}

/* The one whose turn it is; NULL: nobody waits. */
static struct fair_sender *first_sender(const struct fair *f)
{
	for (LIST_EACH(&f->levels, k)) {
		struct link *first = list_first(&container_of(k, struct fair_level, link)->ring);

		if (first)
			return container_of(first, struct fair_sender, ring);
	}
	return NULL;
}

/* --- senders ---------------------------------------------------------------------------------- */

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
	struct fair_sender *s;

	while ((s = first_sender(f))) {
		struct fair_level *l = s->level;

		link_remove(&s->ring);
		if (s != &f->common) {
			hash_remove(&f->senders, &s->node);
			free(s);
		}
		level_is_empty(f, l);
	}
	fair_trim(f);
	hash_done(&f->senders);
}

static struct fair_sender *find_sender(struct fair *f, uint64_t key, const struct fair_level *l)
{
	for (struct hash_node *n = hash_find(&f->senders, hash_u64(key)); n; n = hash_find_next(n)) {
		struct fair_sender *s = container_of(n, struct fair_sender, node);

		if (s->key == key && s->level == l)
			return s;
	}
	return NULL;
}

static struct fair_sender *new_sender(struct fair *f, uint64_t key, struct fair_level *l)
{
	struct link *k = list_pop(&f->spare);
	struct fair_sender *s = k ? container_of(k, struct fair_sender, ring) : calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (k)
		f->n_spare--;
	s->key = key;
	s->level = l;
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
	level_is_empty(f, s->level);
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

void fair_push(struct fair *f, struct fair_item *item, uint64_t sender, int priority)
{
	struct fair_level *l = level_of(f, priority);
	struct fair_sender *s = find_sender(f, sender, l);

	if (!s)
		s = new_sender(f, sender, l);
	if (!s) {
		level_is_empty(f, l);
		s = &f->common;
	}
	if (list_empty(&s->items))
		list_append(&s->level->ring, &s->ring);
	item->sender = s;
	list_append(&s->items, &item->link);
	f->len++;
}

struct fair_item *fair_first(const struct fair *f)
{
	struct fair_sender *s = first_sender(f);

	return s ? container_of(list_first(&s->items), struct fair_item, link) : NULL;
}

struct fair_item *fair_pop(struct fair *f)
{
	struct fair_item *item = fair_first(f);
	struct fair_sender *s;

	if (!item)
		return NULL;
	s = item->sender;
	link_remove(&s->ring);
	list_append(&s->level->ring, &s->ring);
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
