#include "queue/parking.h"

#include <stdlib.h>

#include "queue/home.h"

#define GO_BATCH 64u /* messages between two looks at the other fibers */

static struct lot *find(const struct home *h, uint64_t hash, const char *site)
{
	for (struct hash_node *n = hash_find(&h->lots, hash); n; n = hash_find_next(n)) {
		struct lot *l = container_of(n, struct lot, node);

		if (strcmp(path_site(l->path), site) == 0)
			return l;
	}
	return NULL;
}

static struct lot *lot_new(struct home *h, struct path *p)
{
	struct lot *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (hash_insert(&h->lots, &l->node, p->hash) < 0) {
		free(l);
		return NULL;
	}
	l->home = h;
	l->path = path_ref(p);
	list_init(&l->parked);
	return l;
}

static void lot_free(struct lot *l)
{
	hash_remove(&l->home->lots, &l->node);
	link_remove(&l->called);
	path_unref(l->path);
	free(l);
}

bool lot_park(struct home *h, struct message *m, struct path *p)
{
	struct lot *l = find(h, p->hash, path_site(p));

	if (m->lot)
		return m->lot == l;
	if (link_linked(&m->work))
		return false;
	if (!l)
		l = lot_new(h, p);
	if (!l)
		return false;
	list_append(&l->parked, &m->work);
	l->n++;
	m->lot = l;
	return true;
}

void lot_leave(struct message *m, usec_t not_before)
{
	struct lot *l = m->lot;

	if (!l)
		return;
	for (unsigned i = 0; i < m->n_recipients; i++) {
		struct recipient *r = &m->recipients[i];

		if (!(r->flags & RECIPIENT_PARKED))
			continue;
		r->flags &= RECIPIENT_FLAGS;
		r->next = not_before;
	}
	link_remove(&m->work);
	m->lot = NULL;
	if (--l->n == 0)
		lot_free(l);
}

void lot_look_after(struct message *m)
{
	if (!m->lot)
		return;
	for (unsigned i = 0; i < m->n_recipients; i++)
		if (m->recipients[i].flags & RECIPIENT_PARKED)
			return;
	lot_leave(m, 0);
}

bool lot_call(struct home *h, const struct path *p, unsigned n)
{
	struct lot *l = find(h, p->hash, path_site(p));

	if (!l || h->stopping)
		return false;
	/* Those that come from now on are not meant: when the site fails again, they would go to and fro. */
	l->wanted = MAX(l->wanted, MIN(n, l->n));
	if (!link_linked(&l->called))
		list_append(&h->called, &l->called);
	home_due(h, 0);
	return true;
}

/* While a message is read from the disk anything may happen, so each turn looks at the lists anew. */
void lots_tick(struct home *h)
{
	for (unsigned i = 0; i < GO_BATCH && !h->stopping; i++) {
		struct link *k = list_first(&h->called);
		struct message *m;
		struct lot *l;

		if (!k)
			return;
		l = container_of(k, struct lot, called);
		m = container_of(list_first(&l->parked), struct message, work);
		if (--l->wanted == 0)
			link_remove(&l->called);
		lot_leave(m, 0);
		home_load_and_settle(h, m);
	}
}

unsigned lot_size(const struct home *h, uint64_t hash, const char *site)
{
	const struct lot *l = find(h, hash, site);

	return l ? l->n : 0;
}

void lots_free_all(struct home *h)
{
	struct hash_node *n;

	while ((n = hash_walk(&h->lots, NULL)))
		lot_free(container_of(n, struct lot, node));
	hash_done(&h->lots);
}
