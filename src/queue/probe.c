/* Probes of sites that back off: whose turn it is, and who goes. A site whose mail is all parked has nobody in its line, so
 * it calls one message from the homes in turn; when it works again, it calls them all. */
#include <limits.h>
#include <stdlib.h>

#include "queue/owner.h"

#define PROBES_A_SECOND 100u
#define CALL_AGAIN (30 * USEC_SEC)
#define PROBES_AT_ONCE USEC_SEC           /* those of one second may go together */

/* --- calling what is parked ------------------------------------------------------------------- */

struct call {
	struct post post;
	struct link link; /* on queue->calls: a loop that ends before it runs the post leaves it there */
	struct home *home;
	struct path *path;
	unsigned n;
	unsigned others;   /* homes to be asked after this one when it has none */
	unsigned failures; /* of the site when it called */
};

static void call_free(struct call *c)
{
	struct queue *q = c->home->queue;

	pthread_mutex_lock(&q->calls_lock);
	link_remove(&c->link);
	pthread_mutex_unlock(&q->calls_lock);
	path_unref(c->path);
	free(c);
}

void calls_free_all(struct queue *q)
{
	struct link *k;

	while ((k = list_first(&q->calls)))
		call_free(container_of(k, struct call, link));
}

/* On the owner's loop: no home had any for the probe. */
static void call_in_vain(struct post *p)
{
	struct call *c = container_of(p, struct call, post);
	struct site *s = owner_find_for_path(&c->home->queue->homes[c->path->owner], c->path);

	/* Who comes in this state is not parked. */
	if (s && s->mode == SITE_PROBING && s->failures == c->failures && !site_is_being_tried(s))
		s->parked = false;
	call_free(c);
}

static void call_run(struct post *p)
{
	struct call *c = container_of(p, struct call, post);
	struct queue *q = c->home->queue;

	if (lot_call(c->home, c->path, c->n) || c->home->stopping || c->n > 1) {
		call_free(c);
		return;
	}
	if (c->others > 0) {
		c->others--;
		c->home = &q->homes[(c->home->index + 1) % q->n_homes];
		loop_post(c->home->loop, &c->post);
		return;
	}
	c->post.run = call_in_vain;
	loop_post(q->homes[c->path->owner].loop, &c->post);
}

static bool call_home(struct site *s, unsigned home, unsigned n, unsigned others)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	*c = (struct call) { .post.run = call_run, .home = &s->home->queue->homes[home], .path = path_ref(s->path),
			     .n = n, .others = others, .failures = s->failures };
	pthread_mutex_lock(&s->home->queue->calls_lock);
	list_append(&s->home->queue->calls, &c->link);
	pthread_mutex_unlock(&s->home->queue->calls_lock);
	loop_post(c->home->loop, &c->post);
	return true;
}

/* Asks for one message that is parked for the site, or for all of them. False: memory; they come by themselves, but
 * much later. */
static bool call_one(struct site *s)
{
	unsigned homes = s->home->queue->n_homes;

	return call_home(s, (s->home->index + s->failures) % homes, 1, homes - 1);
}

bool site_call_all(struct site *s)
{
	for (unsigned i = 0; i < s->home->queue->n_homes; i++)
		if (!call_home(s, i, UINT_MAX, 0))
			return false;
	return true;
}

/* --- probes, and how many ---------------------------------------------------------------------- */

/* What one probe takes of the time of its home, at the configured rate. */
static usec_t probe_share(const struct home *h)
{
	unsigned all = queue_configuration(h->queue)->probes;

	return USEC_SEC * h->queue->n_homes / (all ? all : PROBES_A_SECOND);
}

usec_t owner_probe_time(const struct home *h)
{
	return h->probes_paid > PROBES_AT_ONCE ? h->probes_paid - PROBES_AT_ONCE : 0;
}

/* A site whose back-off is over stands in a row with all others of its loop. Is it its turn? */
bool site_take_turn(struct site *s, usec_t t)
{
	struct home *h = s->home;

	if (!link_linked(&s->turn))
		list_append(&h->turns, &s->turn);
	if (list_first(&h->turns) != &s->turn || owner_probe_time(h) > t)
		return false;
	h->probes_paid = MAX(h->probes_paid, t) + probe_share(h);
	return true;
}

void owner_give_back_turn(struct home *h)
{
	h->probes_paid -= MIN(h->probes_paid, probe_share(h));
	if (!list_empty(&h->turns))
		home_due(h, owner_probe_time(h));
}

/* Time for a probe: somebody has to be there for it. Who was called may be gone before it reaches the line. */
void site_probe(struct site *s)
{
	s->mode = SITE_PROBING;
	link_remove(&s->turn);
	if (s->line.len > 0 || !s->parked)
		return;
	if (call_one(s)) {
		s->call_again = deadline_after(now(), CALL_AGAIN);
		site_set_timer(s, s->call_again);
		return;
	}
	s->mode = SITE_BACKOFF;
	s->until = deadline_after(now(), USEC_SEC);
	site_set_timer(s, s->until);
}
