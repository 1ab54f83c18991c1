/* The universe: its clock, its queue of events, its dice, and the driver that turns its loops. */
#include "world/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "world/sim_impl.h"

#define FIRST_MOMENT USEC_SEC /* not 0, so that a time of 0 is always past */
#define YEAR_2026 (INT64_C(1767225600) * (int64_t) USEC_SEC)
#define SPINS_MAX 2000000u
#define STOP_MAX USEC_HOUR /* for the fibers of a loop to unwind */

/* --- memory and dice ------------------------------------------------------------------------------ */

_noreturn_ static void out_of_memory(void)
{
	fputs("simulation: out of memory\n", stderr);
	abort();
}

void *sim_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *sim_realloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *sim_strdup(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		out_of_memory();
	return copy;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

/* splitmix64 spreads the seed over the state, xoshiro256** draws from it (Blackman and Vigna, 2018). */
void sim_rng_seed(struct sim_rng *g, uint64_t seed)
{
	for (size_t i = 0; i < ARRAY_LEN(g->s); i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		g->s[i] = z ^ z >> 31;
	}
}

uint64_t sim_rng_next(struct sim_rng *g)
{
	uint64_t *s = g->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t sim_rng_below(struct sim_rng *g, uint64_t n)
{
	if (n == 0)
		return 0;
	return (uint64_t) ((unsigned __int128) sim_rng_next(g) * n >> 64);
}

uint64_t sim_random_below(struct sim *s, uint64_t n)
{
	return sim_rng_below(&s->test_rng, n);
}

/* --- trace ---------------------------------------------------------------------------------------- */

/* Nobody chooses what goes in here, so mixing eight octets at a time is enough, and a third of SipHash's time. */
uint64_t sim_digest(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = len, word;

	for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = (rotate(h, 29) ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	word = 0;
	if (len > 0)
		memcpy(&word, p, len);
	return hash_u64(rotate(h, 29) ^ word);
}

void sim_trace(struct sim *s, const struct sim_host *h, const char *what, uint64_t a, uint64_t b)
{
	uint64_t parts[5] = { s->now, h ? h->index : UINT64_MAX, sim_digest(what, strlen(what)), a, b };

	s->event_count++;
	s->hash = hash_u64(s->hash + sim_digest(parts, sizeof(parts)));
	if (s->trace)
		fprintf(s->trace, "%14.6f %-10s %-16s %" PRIu64 " %" PRIu64 "\n", (double) s->now / 1e6,
			h ? h->name : "-", what, a, b);
}

uint64_t sim_trace_hash(const struct sim *s)
{
	return s->hash;
}

uint64_t sim_event_count(const struct sim *s)
{
	return s->event_count;
}

/* --- events --------------------------------------------------------------------------------------- */

void sim_event_init(struct sim_event *e, void (*fire)(struct sim *, struct sim_event *))
{
	heap_node_init(&e->node);
	e->fire = fire;
}

void sim_event_arm(struct sim *s, struct sim_event *e, usec_t at)
{
	heap_remove(&s->events, &e->node);
	if (heap_insert(&s->events, &e->node, at) < 0)
		out_of_memory();
}

void sim_event_disarm(struct sim *s, struct sim_event *e)
{
	heap_remove(&s->events, &e->node);
}

/* --- the driver ----------------------------------------------------------------------------------- */

static void list_fibers(const struct sim *s)
{
	for (LIST_EACH(&s->loops, k)) {
		struct sim_loop *sl = container_of(k, struct sim_loop, link);

		for (LIST_EACH(&sl->loop->fibers, m)) {
			struct fiber *f = container_of(m, struct fiber, all);

			fprintf(stderr, "  %s, loop %s: fiber %s, %s%s\n", sl->world->host->name, sl->loop->name, f->name,
				f->waits_for ? f->waits_for : "ready", f->cancelled ? ", cancelled" : "");
		}
	}
}

_noreturn_ void sim_give_up(struct sim *s, const char *why)
{
	fprintf(stderr, "simulation of seed %" PRIu64 " at %" PRIu64 " us: %s\n", s->seed, s->now, why);
	list_fibers(s);
	abort();
}

static bool can_run(const struct sim_loop *sl)
{
	if (sl->state == SIM_LOOP_STOPPED)
		return false;
	return sl->state == SIM_LOOP_STARTED || atomic_load(&sl->loop->stopping);
}

/* When this loop has something to do; DEADLINE_NEVER: not by itself. */
static usec_t next_of(const struct sim_loop *sl)
{
	usec_t next = can_run(sl) ? loop_next_deadline(sl->loop) : DEADLINE_NEVER;

	if (next != DEADLINE_NEVER && !sl->world->dead)
		next = MAX(next, sl->busy_until);
	return next;
}

static bool step(struct sim *s, struct sim_loop *sl)
{
	if (next_of(sl) > s->now || !loop_step(sl->loop, s->now))
		return false;
	sim_trace(s, sl->world->host, "step", sl->number, loop_fiber_count(sl->loop));
	return true;
}

/* Lets every loop (only: those of this world) run once what is ready. In the real world they run side by
 * side, so here any of them may be first. Returns whether anything was done. */
static bool turn(struct sim *s, const struct sim_world *only)
{
	uint64_t first = s->n_loops > 1 ? sim_below(s, s->n_loops) : 0;
	bool worked = false;

	while (first-- > 0)
		list_append(&s->loops, list_pop(&s->loops));
	for (LIST_EACH_SAFE(&s->loops, k)) {
		struct sim_loop *sl = container_of(k, struct sim_loop, link);

		if (!only || sl->world == only)
			worked |= step(s, sl);
	}
	if (worked && ++s->spins > SPINS_MAX)
		sim_give_up(s, "fibers run for ever without time passing");
	return worked;
}

static usec_t next_moment(const struct sim *s)
{
	struct heap_node *n = heap_first(&s->events);
	usec_t next = n ? n->key : DEADLINE_NEVER;

	for (LIST_EACH(&s->loops, k))
		next = MIN(next, next_of(container_of(k, struct sim_loop, link)));
	return next;
}

/* Moves the clock to the next moment at which something happens and lets it happen. Returns false, with the
 * clock where it was, when that is after `limit` or never. */
static bool advance(struct sim *s, usec_t limit)
{
	usec_t next = next_moment(s);
	struct heap_node *n;

	if (next == DEADLINE_NEVER || next > limit)
		return false;
	if (next > s->now) {
		s->now = next;
		s->spins = 0;
	} else if (++s->spins > SPINS_MAX)
		sim_give_up(s, "events follow each other for ever without time passing");
	while ((n = heap_first(&s->events)) && n->key <= s->now) {
		struct sim_event *e = container_of(n, struct sim_event, node);

		heap_remove(&s->events, n);
		e->fire(s, e);
	}
	return true;
}

bool sim_run_until(struct sim *s, bool (*done)(void *context), void *context, usec_t limit)
{
	assert(!loop_current());
	for (;;) {
		while (turn(s, NULL))
			;
		if (done && done(context))
			return true;
		if (!advance(s, limit))
			break;
	}
	if (limit != DEADLINE_NEVER && limit > s->now) {
		s->now = limit;
		s->spins = 0;
	}
	return false;
}

void sim_run(struct sim *s, usec_t until)
{
	(void) sim_run_until(s, NULL, NULL, until);
}

usec_t sim_now(const struct sim *s)
{
	return s->now;
}

/* --- loops ---------------------------------------------------------------------------------------- */

int sim_loop_init(struct loop *l)
{
	struct sim_world *w = sim_world_of(l->world);
	struct sim_loop *sl = sim_zalloc(sizeof(*sl));

	sl->loop = l;
	sl->world = w;
	sl->number = w->sim->loops_made++;
	l->backend = sl;
	list_append(&w->sim->loops, &sl->link);
	w->sim->n_loops++;
	w->n_loops++;
	return 0;
}

void sim_loop_done(struct loop *l)
{
	struct sim_loop *sl = l->backend;

	sl->world->sim->n_loops--;
	sl->world->n_loops--;
	link_remove(&sl->link);
	free(sl);
	l->backend = NULL;
}

int sim_loop_start(struct loop *l)
{
	struct sim_loop *sl = l->backend;

	sl->state = SIM_LOOP_STARTED;
	return 0;
}

/* The rest of the universe goes on while a loop unwinds, since it may have to wait for its disk or for other
 * loops of its world. A dead world needs no time for that: its fibers are let go first, at the moment. */
void sim_loop_stop(struct loop *l)
{
	struct sim_loop *sl = l->backend;
	struct sim *s = sl->world->sim;
	usec_t limit = deadline_after(s->now, STOP_MAX);

	assert(!loop_current());
	if (sl->state == SIM_LOOP_STOPPED)
		return;
	loop_cancel_all(l);
	while (loop_fiber_count(l) > 0 || atomic_load(&l->mailbox)) {
		if (sl->world->dead && turn(s, sl->world))
			continue;
		if (!turn(s, NULL) && !advance(s, limit))
			sim_give_up(s, "a loop can't be stopped: its fibers wait for what doesn't come");
	}
	sl->state = SIM_LOOP_STOPPED;
	sim_trace(s, sl->world->host, "loop stopped", sl->number, 0);
}

void sim_loop_wake(struct loop *l)
{
	(void) l; /* the driver looks into every mailbox in each round */
}

/* --- the universe --------------------------------------------------------------------------------- */

struct sim_link sim_link_default(void)
{
	return (struct sim_link) {
		.latency = 5 * USEC_MS,
		.jitter = 5 * USEC_MS,
		.segment_max = 1448,
		.send_buffer = 16384,
		.receive_buffer = 16384,
	};
}

static size_t default_stack_size(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return 512 * 1024;
#else
	return 128 * 1024;
#endif
}

int sim_new(const struct sim_options *o, struct sim **ret)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->now = FIRST_MOMENT;
	s->start = (o->start ? o->start : YEAR_2026) - (wall_t) FIRST_MOMENT;
	s->seed = o->seed;
	s->hash = hash_u64(o->seed);
	s->log = o->log;
	s->trace = o->trace;
	s->stack_size = o->stack_size ? o->stack_size : default_stack_size();
	sim_rng_seed(&s->rng, o->seed);
	sim_rng_seed(&s->test_rng, ~o->seed);
	list_init(&s->loops);
	list_init(&s->hosts);
	list_init(&s->connections);
	list_init(&s->links);
	list_init(&s->partitions);
	s->default_link = s->local_link = sim_link_default();
	s->local_link.latency = s->local_link.jitter = 10;
	*ret = s;
	return 0;
}
