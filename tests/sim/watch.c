#include "sim/watch.h"

#include <malloc.h>

#include "queue/owner.h"
#include "sim/letter.h"
#include "sim/remote.h"
#include "world/loop.h"

#define MOMENTS 16u /* between two looks */
#define PATIENCE (5 * USEC_MIN)
#define FARTHEST (7 * USEC_DAY)
#define SMTP_PORT 25u
#define HOURS_REMEMBERED 7u /* a little more than a site may be cool (queue/site.c) */

/* --- waiting ----------------------------------------------------------------------------------------- */

/* Those that sleep until somebody needs them. */
static const struct sleeper {
	const char *fiber, *what;
} sleepers[] = {
	{ "accept", "connections" },
	{ "journal", "events for the journal" },
	{ "spool-committer", "work" },
	{ "spool-tidy", "something to tidy" },
};

static bool may_sleep(const struct sim_wait *w)
{
	for (size_t i = 0; i < ARRAY_LEN(sleepers); i++)
		if (strcmp(w->fiber, sleepers[i].fiber) == 0 && strcmp(w->what, sleepers[i].what) == 0)
			return true;
	return false;
}

static void judge_wait(void *context, const struct sim_wait *w)
{
	struct scene *s = context;
	const struct node *n = scene_node_of(s, w->host);

	if (!n)
		return;
	if (w->deadline == DEADLINE_NEVER)
		scene_check(s, may_sleep(w) || scene_now(s) <= deadline_after(w->since, PATIENCE),
			    "a fiber waits without a deadline: \"%s\" of %s waits for \"%s\" since %.6f", w->fiber, n->name, w->what,
			    (double) w->since / 1e6);
	else
		scene_check(s, w->deadline <= deadline_after(scene_now(s), FARTHEST),
			    "a fiber waits too long: \"%s\" of %s waits for \"%s\" until %.6f", w->fiber, n->name, w->what, (double) w->deadline / 1e6);
}

/* --- windows and limits -------------------------------------------------------------------------------- */

struct counts {
	unsigned slots, starting, good;
};

static struct counts count_slots(const struct home *h, const struct site *site)
{
	struct counts c = { 0 };

	for (LIST_EACH(&h->slots, k)) {
		const struct slot *slot = container_of(k, struct slot, all);

		if (slot->site != site)
			continue;
		c.slots++;
		c.starting += !slot->asked;
		c.good += slot->successes > 0;
	}
	return c;
}

static void watch_site(struct scene *s, const struct node *n, struct home *h, const struct site *site)
{
	struct counts c = count_slots(h, site);
	const char *name = path_site(site->path);
	unsigned idle = 0;

	for (LIST_EACH(&site->idle, k))
		idle++;
	scene_check(s, c.slots == site->slots && c.starting == site->starting && c.good == site->good && idle == site->n_idle,
		    "a window leaks: %s has %u slots to %s, and counts %u (%u of %u starting, %u of %u good, %u of %u idle)", n->name, c.slots,
		    name, site->slots, c.starting, site->starting, c.good, site->good, idle, site->n_idle);
	scene_check(s, site->slots <= site->window.max && site->window.size <= site->window.max && site->window.size > 0,
		    "a limit is not kept: %s has %u slots to %s, its window is %u, and the widest %u", n->name, site->slots, name,
		    site->window.size, site->window.max);
	scene_check(s, site->mode != SITE_BACKOFF || site->until <= deadline_after(scene_now(s), USEC_HOUR),
		    "a site rests too long: %s leaves %s alone until %.6f", n->name, name, (double) site->until / 1e6);
}

static void watch_homes(struct scene *s, const struct node *n)
{
	struct queue *q = server_queue(n->server);
	unsigned all = 0, made;

	for (unsigned i = 0; i < q->n_homes; i++) {
		struct home *h = &q->homes[i];
		unsigned slots = 0;

		for (struct hash_node *k = hash_walk(&h->sites, NULL); k; k = hash_walk(&h->sites, k)) {
			const struct site *site = container_of(k, struct site, node);

			watch_site(s, n, h, site);
			slots += site->slots;
		}
		scene_check(s, slots == h->n_slots, "a window leaks: home %u of %s counts %u slots, and its sites %u", i, n->name, h->n_slots, slots);
		scene_check(s, slots <= MAX(s->connections / q->n_homes, 1u) || s->connections == 0, "a limit is not kept: home %u of %s has %u slots", i, n->name, slots);
		all += slots;
	}
	made = sim_connections_made(s->sim, n->host, NULL, SMTP_PORT);
	scene_check(s, made <= all, "a limit is not kept: %s has %u connections out and %u slots", n->name, made, all);
}

void watch_moment(struct scene *s)
{
	if (s->moments++ % MOMENTS != 0)
		return;
	sim_each_wait(s->sim, judge_wait, s);
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].state == NODE_UP && sim_host_is_up(s->nodes[i].host))
			watch_homes(s, &s->nodes[i]);
}

/* --- memory ---------------------------------------------------------------------------------------------- */

static size_t size_of(const void *p)
{
	return p ? malloc_usable_size((void *) (uintptr_t) p) + sizeof(size_t) : 0;
}

/* That a loop keeps for its next connections. */
static size_t buffers_of(const struct loop *l)
{
	return l->free_buffer_count * (STREAM_BUFFER + 2 * sizeof(size_t));
}

size_t watch_memory(const struct scene *s)
{
	struct mallinfo2 m = mallinfo2();
	size_t own = sim_footprint(s->sim) + size_of(s->letters) + size_of(s->copies) + size_of(s->troubles) + size_of(s->story.data);
	size_t all = m.uordblks + m.hblkhd;

	for (unsigned i = 0; i < s->n_letters; i++)
		own += size_of(s->letters[i]) + size_of(s->letters[i]->plain.data);
	for (unsigned i = 0; i < s->n_remotes; i++)
		own += buffers_of(s->remotes[i]->machine.loop);
	for (unsigned i = 0; i < s->n_nodes; i++)
		for (unsigned k = 0; k < s->nodes[i].threads && s->nodes[i].state == NODE_UP; k++)
			own += buffers_of(server_loop(s->nodes[i].server, k));
	return all > own ? all - own : 0;
}

static bool is_site_remembered(const struct scene *s)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		const struct queue *q = s->nodes[i].state == NODE_UP ? server_queue(s->nodes[i].server) : NULL;

		for (unsigned k = 0; q && k < q->n_homes; k++)
			if (q->homes[k].n_sites > 0)
				return true;
	}
	return false;
}

void watch_forgetting(struct scene *s)
{
	for (unsigned hours = 0; hours < 1 || (hours < HOURS_REMEMBERED && is_site_remembered(s)); hours++)
		scene_run_for(s, USEC_HOUR);
}

void watch_rest(struct scene *s)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];
		struct queue *q = server_queue(n->server);
		/* On each loop: the queue's keeper and the door of the only listener. */
		unsigned expected = 2 * n->threads, sites = 0;
		struct queue_summary sum = { 0 };

		for (unsigned k = 0; k < q->n_homes; k++) {
			sites += q->homes[k].n_sites;
			sum.messages += q->homes[k].n_messages;
			sum.bytes += q->homes[k].bytes;
			sum.recipients += q->homes[k].n_recipients;
			sum.held += q->homes[k].held;
			sum.deferred += q->homes[k].deferred;
		}
		scene_check(s, node_messages(n) == 0, "%s has messages left in its spool", n->name);
		scene_check(s, node_fibers(n) == expected, "%s has %u fibers when nothing is to be done, not %u", n->name, node_fibers(n), expected);
		scene_check(s, sites == 0 && sum.messages == 0 && sum.bytes == 0 && sum.recipients == 0 && sum.held == 0 && sum.deferred == 0,
			    "the books of %s are not empty: %u sites, %llu messages, %llu bytes, %llu recipients, %llu held, %llu deferred", n->name,
			    sites, (unsigned long long) sum.messages, (unsigned long long) sum.bytes, (unsigned long long) sum.recipients,
			    (unsigned long long) sum.held, (unsigned long long) sum.deferred);
	}
	scene_check(s, sim_connection_count(s->sim) == 0, "%u connections are open when nothing is to be done", sim_connection_count(s->sim));
}
