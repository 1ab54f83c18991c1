#include "receive/duplicates.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/list.h"

#define SLOTS 1024u /* of the filter: nearly all messages are told from those remembered by one look at it */

struct entry {
	struct hash_node node;
	struct link link; /* on order, the oldest first */
	struct duplicate_key key;
	msgid_t id;
	usec_t until;
};

struct duplicates {
	struct world *world;
	struct digest_key digest_key;
	struct hash_key who_key;
	unsigned most;
	atomic_ushort filter[SLOTS]; /* entries whose `who` falls there */
	pthread_mutex_t lock;        /* of the following */
	struct hash entries;
	struct list order;
	uint64_t recognized;
};

int duplicates_new(struct world *w, unsigned entries, struct duplicates **ret)
{
	struct duplicates *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->world = w;
	d->most = entries;
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->order);
	world_random(w, &d->digest_key, sizeof(d->digest_key));
	world_random(w, &d->who_key, sizeof(d->who_key));
	*ret = d;
	return 0;
}

static void entry_drop(struct duplicates *d, struct entry *e)
{
	atomic_fetch_sub_explicit(&d->filter[e->key.who % SLOTS], 1, memory_order_relaxed);
	hash_remove(&d->entries, &e->node);
	link_remove(&e->link);
	free(e);
}

void duplicates_free(struct duplicates *d)
{
	if (!d)
		return;
	while (!list_empty(&d->order))
		entry_drop(d, container_of(list_first(&d->order), struct entry, link));
	hash_done(&d->entries);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* --- keys ----------------------------------------------------------------------------------------------------- */

void duplicates_begin(const struct duplicates *d, struct digest *content)
{
	digest_init(content, &d->digest_key);
}

static uint64_t hash_text(const struct duplicates *d, const char *text)
{
	return hash_bytes(&d->who_key, text, strlen(text));
}

void duplicates_key(const struct duplicates *d, const char *client, const struct envelope *e, const struct digest *content,
		    struct duplicate_key *ret)
{
	uint64_t parts[3] = { hash_text(d, client), hash_text(d, e->reverse_path), 0 };

	for (unsigned i = 0; i < e->n_recipients; i++)
		parts[2] += hash_text(d, e->recipients[i].address);
	*ret = (struct duplicate_key) {
		.who = hash_bytes(&d->who_key, parts, sizeof(parts)),
		.size = content->len,
		.content = digest_finish(content),
	};
}

static bool same_key(const struct duplicate_key *a, const struct duplicate_key *b)
{
	return a->who == b->who && a->size == b->size && digest_equal(&a->content, &b->content);
}

/* --- remembering ------------------------------------------------------------------------------------------------ */

static struct entry *find_locked(struct duplicates *d, const struct duplicate_key *key)
{
	for (struct hash_node *n = hash_find(&d->entries, key->who); n; n = hash_find_next(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (same_key(&e->key, key))
			return e;
	}
	return NULL;
}

/* The window may have been changed by a reload, so an old entry can stand behind a younger one that ends earlier: it
 * goes when it comes to the front, and is found no more before that. */
static void drop_old(struct duplicates *d, usec_t at)
{
	while (!list_empty(&d->order)) {
		struct entry *e = container_of(list_first(&d->order), struct entry, link);

		if (e->until > at && d->entries.len < d->most)
			break;
		entry_drop(d, e);
	}
}

void duplicates_remember(struct duplicates *d, const struct duplicate_key *key, msgid_t id, usec_t window)
{
	usec_t at = world_now(d->world);
	struct entry *e;

	if (d->most == 0 || window == 0)
		return;
	e = calloc(1, sizeof(*e));
	if (!e)
		return; /* then it may be delivered twice: nothing worse */
	e->key = *key;
	e->id = id;
	e->until = deadline_after(at, window);
	pthread_mutex_lock(&d->lock);
	drop_old(d, at);
	if (hash_insert(&d->entries, &e->node, key->who) < 0) {
		free(e);
	} else {
		list_append(&d->order, &e->link);
		atomic_fetch_add_explicit(&d->filter[key->who % SLOTS], 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&d->lock);
}

bool duplicates_find(struct duplicates *d, const struct duplicate_key *key, msgid_t *ret_id)
{
	usec_t at;
	struct entry *e;
	bool found;

	if (atomic_load_explicit(&d->filter[key->who % SLOTS], memory_order_relaxed) == 0)
		return false;
	at = world_now(d->world);
	pthread_mutex_lock(&d->lock);
	e = find_locked(d, key);
	found = e && e->until > at;
	if (found) {
		*ret_id = e->id;
		d->recognized++;
	}
	pthread_mutex_unlock(&d->lock);
	return found;
}

void duplicates_count(struct duplicates *d, struct duplicates_counts *ret)
{
	pthread_mutex_lock(&d->lock);
	drop_old(d, world_now(d->world));
	*ret = (struct duplicates_counts) { .remembered = (unsigned) d->entries.len, .recognized = d->recognized };
	pthread_mutex_unlock(&d->lock);
}
