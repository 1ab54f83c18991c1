/* The routes have changed: what stands on a rung of the old ones?
 *
 * A recipient's place on its ladder is a number, which means another rung in another ladder. So every round begins again
 * at the first rung, with the new one. What waits for a site to which no route leads any more, because its relay or its
 * source has gone from the configuration, is called back and routed anew; what is being delivered there at the moment goes on,
 * with the settings that it began with. */
#include <stdlib.h>

#include "queue/home.h"
#include "queue/owner.h"

struct rerouting {
	struct post post;
	struct home *home;
};

static bool has_relay(const struct route_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_relays; i++)
		if (strcmp(c->relays[i].name, name) == 0)
			return true;
	return false;
}

static bool has_source(const struct route_config *c, const struct source_pool *pool)
{
	for (unsigned i = 0; i < c->n_sources; i++)
		if (strcmp(c->sources[i].name, pool->name) == 0)
			return true;
	return false;
}

/* A relay's own proxy is a pool that has no place among the others. */
static bool has_gone(const struct route_config *c, const struct path *p)
{
	const struct hop *hop = p->hop;

	if (hop->kind == HOP_RELAY)
		return !has_relay(c, hop->relay->name) ||
		       (hop->source && hop->source != hop->relay->source && !has_source(c, hop->source));
	return hop->source && !has_source(c, hop->source);
}

static void begin_again(struct message *m)
{
	for (unsigned i = 0; i < m->n_recipients; i++)
		m->recipients[i].rung = 0;
}

static bool stands_where_none_leads(const struct route_config *c, const struct message *m)
{
	if (m->lot && has_gone(c, m->lot->path))
		return true;
	for (const struct job *j = m->jobs; j; j = j->next)
		if (j->path && has_gone(c, j->path))
			return true;
	return false;
}

static void call_back(struct home *h, struct message *m)
{
	lot_leave(m, 0);
	home_recall(h, m);
	home_settle_soon(h, m);
}

static void reroute(struct post *post)
{
	struct rerouting *r = container_of(post, struct rerouting, post);
	struct home *h = r->home;
	const struct route_config *c = router_config(h->queue->router);

	free(r);
	for (LIST_EACH(&h->messages, k)) {
		struct entry *e = container_of(k, struct entry, link);
		struct message *m = container_of(e, struct message, entry);

		if (e->id == MSGID_NONE)
			continue;
		begin_again(m);
		if (!h->stopping && stands_where_none_leads(c, m))
			call_back(h, m);
	}
}

void queue_reroute(struct queue *q)
{
	for (unsigned i = 0; i < q->n_homes; i++) {
		struct rerouting *r = calloc(1, sizeof(*r));

		if (!r)
			return; /* then it is noticed when it comes back by itself */
		*r = (struct rerouting) { .post.run = reroute, .home = &q->homes[i] };
		loop_post(q->homes[i].loop, &r->post);
	}
}
