#include "deliver/remembered.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define WAYS 4u /* entries that a name may stand in */

struct entry {
	uint64_t hash; /* of kind and name, by a key of ours: two names with the same are not to be met */
	usec_t until;
	uint8_t value; /* 0: empty */
};

struct remembered {
	struct world *world;
	pthread_mutex_t lock;
	struct hash_key key;
	unsigned n_sets;
	struct entry entries[]; /* sets of WAYS */
};

int remembered_new(struct world *w, unsigned entries, struct remembered **ret)
{
	unsigned sets = (MAX(entries, 1u) + WAYS - 1) / WAYS;
	struct remembered *m = calloc(1, sizeof(*m) + (size_t) sets * WAYS * sizeof(m->entries[0]));

	if (!m)
		return -ENOMEM;
	m->world = w;
	m->n_sets = sets;
	world_random(w, &m->key, sizeof(m->key));
	pthread_mutex_init(&m->lock, NULL);
	*ret = m;
	return 0;
}

void remembered_free(struct remembered *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static uint64_t hash_of(const struct remembered *m, enum remembered_kind kind, const char *name)
{
	return hash_u64(hash_bytes_nocase(&m->key, name, strlen(name)) + kind);
}

/* The entry of this hash, or else the one that is to make room. */
static struct entry *find(struct remembered *m, uint64_t hash, usec_t t, bool *ret_found)
{
	struct entry *set = &m->entries[(hash % m->n_sets) * WAYS], *oldest = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].until <= t)
			set[i] = (struct entry) { 0 };
		if (set[i].value && set[i].hash == hash) {
			*ret_found = true;
			return &set[i];
		}
		if (set[i].until < oldest->until)
			oldest = &set[i];
	}
	*ret_found = false;
	return oldest;
}

void remember(struct remembered *m, enum remembered_kind kind, const char *name, uint8_t value, usec_t keep)
{
	usec_t t = world_now(m->world);
	uint64_t hash = hash_of(m, kind, name);
	bool found;

	pthread_mutex_lock(&m->lock);
	*find(m, hash, t, &found) = (struct entry) { .hash = hash, .until = deadline_after(t, keep), .value = value };
	pthread_mutex_unlock(&m->lock);
}

uint8_t recall(struct remembered *m, enum remembered_kind kind, const char *name)
{
	uint64_t hash = hash_of(m, kind, name);
	struct entry *e;
	uint8_t value;
	bool found;

	pthread_mutex_lock(&m->lock);
	e = find(m, hash, world_now(m->world), &found);
	value = found ? e->value : 0;
	pthread_mutex_unlock(&m->lock);
	return value;
}
