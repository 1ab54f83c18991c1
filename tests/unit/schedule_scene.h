/* A queue's schedule without its messages: N of them wait for their time, or in the lines of S sites, and one step
 * picks what is next, as a home and the owner of a site do it: the message that is due first (home.c, settle_due), the
 * site whose time has come (site.c, owner_tick) and the next in its line, in turn by sender (site_take). What was
 * picked goes back to wait, so that the sizes stay. For tests/unit/test_schedule.c and bench/schedule.c. */
#pragma once

#include <stdlib.h>

#include "base/hash.h"
#include "base/heap.h"
#include "queue/fair.h"

#define SCHEDULE_SENDERS 1000u

struct waiting_message {
	struct heap_node due;
	struct fair_item line;
	uint64_t sender;
};
struct waiting_site {
	struct heap_node timer;
	struct fair line;
};
struct schedule {
	uint64_t n_messages, n_sites, random;
	struct waiting_message *messages;
	struct waiting_site *sites;
	struct heap due, timers;
};

static uint64_t schedule_random(struct schedule *s)
{
	return hash_u64(++s->random);
}

/* 20 messages to a site, and at most 50,000 sites. False: memory. */
static bool schedule_fill(struct schedule *s, uint64_t n)
{
	*s = (struct schedule) { .n_messages = n, .n_sites = n / 20 < 50000 ? n / 20 : 50000 };
	s->messages = calloc(n, sizeof(*s->messages));
	s->sites = calloc(s->n_sites, sizeof(*s->sites));
	if (!s->messages || !s->sites)
		return false;
	for (uint64_t i = 0; i < s->n_sites; i++) {
		heap_node_init(&s->sites[i].timer);
		fair_init(&s->sites[i].line);
		if (heap_insert(&s->timers, &s->sites[i].timer, schedule_random(s) % n) < 0)
			return false;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct waiting_message *m = &s->messages[i];

		heap_node_init(&m->due);
		m->sender = schedule_random(s) % SCHEDULE_SENDERS;
		if (heap_insert(&s->due, &m->due, schedule_random(s) % n) < 0)
			return false;
		fair_push(&s->sites[i % s->n_sites].line, &m->line, m->sender, 0);
	}
	return true;
}

static _noinline_ void schedule_pick(struct schedule *s)
{
	struct heap_node *first = heap_first(&s->due);
	struct waiting_site *site = container_of(heap_first(&s->timers), struct waiting_site, timer);
	struct fair_item *next;
	uint64_t later;

	heap_remove(&s->due, first);
	later = first->key + 1 + schedule_random(s) % s->n_messages;
	(void) heap_insert(&s->due, first, later); /* there is room: one has just left */

	next = fair_pop(&site->line);
	if (next)
		fair_push(&site->line, next, container_of(next, struct waiting_message, line)->sender, 0);
	heap_update(&s->timers, &site->timer, site->timer.key + 1 + schedule_random(s) % s->n_messages);
}

static void schedule_done(struct schedule *s)
{
	for (uint64_t i = 0; i < s->n_messages; i++)
		fair_remove(&s->sites[i % s->n_sites].line, &s->messages[i].line);
	for (uint64_t i = 0; i < s->n_sites; i++)
		fair_done(&s->sites[i].line);
	heap_done(&s->due);
	heap_done(&s->timers);
	free(s->messages);
	free(s->sites);
}
