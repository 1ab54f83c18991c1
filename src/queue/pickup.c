#include "queue/pickup.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/owner.h"
#include "route/router.h"

#define SITE_PREFIX "atrn:" /* route/target.c */

/* What one domain's mail is to a pickup. */
struct errand {
	struct link link; /* on the list of those that are under way */
	char site[sizeof(SITE_PREFIX) + DOMAIN_MAX];
	unsigned owner;
	struct site *at;
	unsigned waiting; /* messages, at the beginning */
};

struct pickup {
	struct queue *queue;
	struct home *home;
	struct slot *slot; /* the one in the courier's hands */
	bool stopping;
	unsigned answered;
	unsigned n, next;
	struct errand errands[];
};

static const struct hop by_atrn = { .kind = HOP_ATRN };

/* --- who is picking up what --------------------------------------------------------------------- */

struct pickups {
	pthread_mutex_t lock;
	atomic_uint n;
	struct list errands;
};

int pickups_new(struct pickups **ret)
{
	struct pickups *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	list_init(&p->errands);
	*ret = p;
	return 0;
}

void pickups_free(struct pickups *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct errand *find(const struct pickups *p, const char *site)
{
	for (LIST_EACH(&p->errands, k)) {
		const struct errand *e = container_of(k, struct errand, link);

		if (strcmp(e->site, site) == 0)
			return e;
	}
	return NULL;
}

int pickups_owner(struct pickups *p, const char *site)
{
	const struct errand *e;
	int owner;

	if (atomic_load_explicit(&p->n, memory_order_acquire) == 0)
		return -ENOENT;
	pthread_mutex_lock(&p->lock);
	e = find(p, site);
	owner = e ? (int) e->owner : -ENOENT;
	pthread_mutex_unlock(&p->lock);
	return owner;
}

static int claim(struct pickup *p)
{
	struct pickups *all = p->queue->pickups;
	int r = 0;

	pthread_mutex_lock(&all->lock);
	for (unsigned i = 0; i < p->n; i++)
		if (find(all, p->errands[i].site))
			r = -EBUSY;
	for (unsigned i = 0; i < p->n && r >= 0; i++) {
		list_append(&all->errands, &p->errands[i].link);
		all->n++;
	}
	pthread_mutex_unlock(&all->lock);
	return r;
}

static void disclaim(struct pickup *p)
{
	struct pickups *all = p->queue->pickups;

	pthread_mutex_lock(&all->lock);
	for (unsigned i = 0; i < p->n; i++) {
		if (!link_linked(&p->errands[i].link))
			continue;
		link_remove(&p->errands[i].link);
		all->n--;
	}
	pthread_mutex_unlock(&all->lock);
}

/* --- beginning ---------------------------------------------------------------------------------- */

/* The site as the one who picks up has it: here, and with nobody but him to serve it. */
static int open_site(struct pickup *p, struct errand *e)
{
	struct target t = { .status = TARGET_OK, .ttl = UINT32_MAX, .site = e->site, .domain = e->site + strlen(SITE_PREFIX) };
	_cleanup_(path_unrefp) struct path *path = path_new(&by_atrn, &t);

	if (!path)
		return -ENOMEM;
	path->made = now();
	path->hash = hash_bytes(&p->queue->key, e->site, strlen(e->site));
	path->owner = p->home->index;
	e->at = owner_open_pickup(p->home, path, p);
	return e->at ? 0 : -ENOMEM;
}

/* Calls the mail: all that waits for its turn or its next try. */
static int call(struct pickup *p, struct errand *e)
{
	struct queue_filter f = { .site = e->site + strlen(SITE_PREFIX) };

	return queue_act(p->queue, QUEUE_RETRY, &f, &e->waiting);
}

static int take_domains(struct pickup *p, const struct slice *domains, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct errand *e = &p->errands[p->n];
		char name[DOMAIN_MAX + 1];
		bool again = false;
		int r = route_domain_text(domains[i], name);

		if (r < 0)
			return r;
		snprintf(e->site, sizeof(e->site), SITE_PREFIX "%s", name);
		e->owner = p->home->index;
		for (unsigned k = 0; k < p->n && !again; k++)
			again = strcmp(p->errands[k].site, e->site) == 0;
		p->n += !again;
	}
	return 0;
}

int queue_pickup_begin(struct queue *q, const struct slice *domains, unsigned n, struct pickup **ret, unsigned *ret_messages)
{
	_cleanup_(queue_pickup_endp) struct pickup *p = NULL;
	unsigned messages = 0;
	int r;

	if (n == 0 || n > PICKUP_DOMAINS_MAX)
		return -EINVAL;
	p = calloc(1, sizeof(*p) + n * sizeof(p->errands[0]));
	if (!p)
		return -ENOMEM;
	p->queue = q;
	p->home = queue_home_here(q);
	assert(p->home);
	r = take_domains(p, domains, n);
	if (r >= 0)
		r = claim(p);
	for (unsigned i = 0; i < p->n && r >= 0; i++)
		r = open_site(p, &p->errands[i]);
	for (unsigned i = 0; i < p->n && r >= 0; i++) {
		r = call(p, &p->errands[i]);
		messages += p->errands[i].waiting;
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	*ret_messages = messages;
	return 0;
}

/* --- carrying ----------------------------------------------------------------------------------- */

static void give_back(struct pickup *p)
{
	if (!p->slot)
		return;
	p->answered += p->slot->successes;
	slot_give_back(TAKE_PTR(p->slot));
}

/* The next domain for which something waited. */
static struct slot *next_slot(void *context)
{
	struct pickup *p = context;

	give_back(p);
	while (p->next < p->n && !p->stopping && !p->slot) {
		struct errand *e = &p->errands[p->next++];

		if (e->waiting > 0)
			p->slot = slot_lend(e->at);
	}
	return p->slot;
}

unsigned queue_pickup_run(struct pickup *p, struct stream *stream, const char *tls)
{
	struct courier *c = p->queue->courier;

	if (c->reversed)
		c->reversed(c, stream, tls, next_slot, p);
	else
		stream_free(stream);
	give_back(p);
	return p->answered;
}

void queue_pickup_stop(struct pickup *p)
{
	p->stopping = true;
	if (!p->slot)
		return;
	p->slot->ending = true;
	if (link_linked(&p->slot->idle))
		slot_end_idle(p->slot);
}

void queue_pickup_end(struct pickup *p)
{
	if (!p)
		return;
	disclaim(p); /* from now on what comes is parked */
	give_back(p);
	for (unsigned i = 0; i < p->n; i++)
		if (p->errands[i].at)
			owner_close_pickup(p->errands[i].at);
	free(p);
}
