#include "queue/site_facts.h"

#include "queue/owner.h"

struct look {
	const char *key;
	uint64_t hash;
	struct arena *arena;
	struct site_facts facts;
	bool no_memory;
};

static wall_t wall_of(struct home *h, usec_t t)
{
	return (wall_t) t + queue_wall_offset(h->queue);
}

static void look_at_site(struct home *h, void *context)
{
	struct look *l = context;
	const struct site *s = owner_find(h, l->key);
	struct site_facts *f = &l->facts;
	usec_t t = now();

	if (!s)
		return;
	*f = (struct site_facts) {
		.known = true,
		.state = site_state(s, t),
		.escapes = site_escapes(s, t),
		.failures = s->failures,
		.backs_off = s->mode != SITE_OPEN,
		.next = s->mode == SITE_BACKOFF ? wall_of(h, s->until) : 0,
		.cool = s->cool,
		.cool_until = s->cool ? wall_of(h, s->cool_until) : 0,
		.cool_times = s->cool_times,
		.canary = s->canary,
		.window = s->window.size,
		.window_most = s->window.max,
		.connections = s->slots,
		.waiting = s->line.len,
		.provider = s->path->provider ? s->path->provider->name : NULL,
		.rate = shape_rate(s),
		.interval = s->shape ? s->shape->learned.pace.interval : 0,
		.usual = s->latency.n >= LATENCY_KNOWN ? latency_usual(&s->latency) : 0,
	};
	if (s->error) {
		f->last_error = arena_strdup(l->arena, s->error);
		l->no_memory = !f->last_error;
	}
}

/* What is parked at home waits for the site, too. */
static void count_parked(struct home *h, void *context)
{
	struct look *l = context;

	l->facts.waiting += lot_size(h, l->hash, l->key);
}

int queue_site_facts(struct queue *q, const char *key, struct slice domain, struct arena *a, struct site_facts *ret)
{
	struct look l = { .key = key, .hash = hash_bytes(&q->key, key, strlen(key)), .arena = a };

	home_visit(&q->homes[shape_owner_by_key(q, slice_from(key), l.hash)], look_at_site, &l);
	for (unsigned i = 0; i < q->n_homes; i++)
		home_visit(&q->homes[i], count_parked, &l);
	if (l.no_memory)
		return -ENOMEM;
	l.facts.held = queue_site_is_held(q, key, domain);
	*ret = l.facts;
	return 0;
}
