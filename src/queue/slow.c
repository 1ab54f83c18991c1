#include "queue/slow.h"

#include <stdlib.h>

#define SLOW_KEPT USEC_DAY

struct slow_key {
	struct hash_node node;
	uint64_t key;
	struct learned_pace learned;
	usec_t booked; /* until then each has its time */
};

static struct slow_key *find(const struct slow_keys *k, uint64_t key)
{
	for (struct hash_node *n = hash_find(&k->keys, hash_u64(key)); n; n = hash_find_next(n)) {
		struct slow_key *s = container_of(n, struct slow_key, node);

		if (s->key == key)
			return s;
	}
	return NULL;
}

static void forget(struct slow_keys *k, struct slow_key *s)
{
	hash_remove(&k->keys, &s->node);
	free(s);
	if (k->keys.len == 0)
		hash_done(&k->keys);
}

static void forget_old(struct slow_keys *k, usec_t t)
{
	struct hash_node *n = hash_walk(&k->keys, NULL), *next;

	for (; n; n = next) {
		struct slow_key *s = container_of(n, struct slow_key, node);

		next = hash_walk(&k->keys, n);
		if (s->learned.pace.interval == 0 || t >= deadline_after(s->learned.changed, SLOW_KEPT)) {
			hash_remove(&k->keys, n);
			free(s);
		}
	}
}

static struct slow_key *make(struct slow_keys *k, uint64_t key, usec_t t)
{
	struct slow_key *s;

	if (k->keys.len >= SLOW_MOST)
		forget_old(k, t);
	s = k->keys.len < SLOW_MOST ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	s->key = key;
	if (hash_insert(&k->keys, &s->node, hash_u64(key)) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void slow_down(struct slow_keys *k, uint64_t key, usec_t usual, usec_t t)
{
	struct slow_key *s = find(k, key);

	if (!s)
		s = make(k, key, t);
	if (s)
		learned_slow_down(&s->learned, usual, t);
}

usec_t slow_ask(struct slow_keys *k, uint64_t key, usec_t t)
{
	struct slow_key *s = k->keys.len > 0 ? find(k, key) : NULL;
	struct pace *p;

	if (!s || s->learned.pace.interval == 0)
		return 0;
	p = &s->learned.pace;
	if (pace_next(p) <= t) {
		pace_take(p, t);
		s->booked = MAX(s->booked, p->at);
		return 0;
	}
	s->booked = MAX(s->booked, p->at);
	if (s->booked > deadline_after(t, SLOW_AHEAD))
		return deadline_after(t, SLOW_AHEAD);
	s->booked = deadline_after(s->booked, p->interval);
	return s->booked - p->interval;
}

void slow_taken(struct slow_keys *k, uint64_t key, usec_t t)
{
	struct slow_key *s = k->keys.len > 0 ? find(k, key) : NULL;

	if (!s)
		return;
	learned_taken(&s->learned, t);
	if (s->learned.pace.interval == 0)
		forget(k, s);
}

usec_t slow_interval(const struct slow_keys *k, uint64_t key)
{
	const struct slow_key *s = k->keys.len > 0 ? find(k, key) : NULL;

	return s ? s->learned.pace.interval : 0;
}

void slow_done(struct slow_keys *k)
{
	struct hash_node *n;

	while ((n = hash_walk(&k->keys, NULL)))
		forget(k, container_of(n, struct slow_key, node));
	hash_done(&k->keys);
}
