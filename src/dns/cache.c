/* A bounded table of answers, the longest unused leaves first. */
#include "dns/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"
#include "dns/rdata.h"

#define ENTRIES_DEFAULT 50000u
#define POSITIVE_MAX 86400u        /* seconds */
#define NEGATIVE_MAX (15u * 60)
#define NEGATIVE_MIN 5u
#define SERVFAIL_LIFETIME 15u
#define TIMEOUT_LIFETIME 10u
#define BOGUS_LIFETIME 30u
#define ANSWER_SIZE_MAX (32u * 1024) /* larger ones are asked for again each time */

struct entry {
	struct hash_node node;
	struct link lru; /* first: used last */
	enum dns_type type;
	usec_t expires;
	size_t packed_size;
	struct dns_answer answer; /* points into block */
	const char *name;         /* in block, too */
	struct dns_record block[];
};

struct dns_cache {
	struct world *world;
	struct hash_key key;
	unsigned max_entries;
	pthread_mutex_t mutex; /* for all below */
	struct hash table;
	struct list lru;
	uint64_t hits, misses;
};

int dns_cache_new(struct world *w, unsigned max_entries, struct dns_cache **ret)
{
	struct dns_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->world = w;
	c->max_entries = max_entries ? max_entries : ENTRIES_DEFAULT;
	world_random(w, &c->key, sizeof(c->key));
	(void) pthread_mutex_init(&c->mutex, NULL); /* can't fail for a default mutex */
	list_init(&c->lru);
	*ret = c;
	return 0;
}

static void drop(struct dns_cache *c, struct entry *e)
{
	hash_remove(&c->table, &e->node);
	link_remove(&e->lru);
	free(e);
}

void dns_cache_clear(struct dns_cache *c)
{
	pthread_mutex_lock(&c->mutex);
	while (!list_empty(&c->lru))
		drop(c, container_of(list_first(&c->lru), struct entry, lru));
	pthread_mutex_unlock(&c->mutex);
}

void dns_cache_free(struct dns_cache *c)
{
	if (!c)
		return;
	dns_cache_clear(c);
	hash_done(&c->table);
	(void) pthread_mutex_destroy(&c->mutex);
	free(c);
}

uint32_t dns_cache_lifetime(const struct dns_answer *answer)
{
	switch (answer->status) {
	case DNS_OK:
		return MIN(answer->ttl, POSITIVE_MAX);
	case DNS_NODATA:
	case DNS_NXDOMAIN:
		/* RFC 2308 section 5: the time comes from the SOA record; a server that sent none or 0 is not
		 * asked for every message of a burst either. */
		return MAX(MIN(answer->ttl, NEGATIVE_MAX), NEGATIVE_MIN);
	case DNS_SERVFAIL:
		return SERVFAIL_LIFETIME; /* RFC 2308 section 7.1 allows up to 5 minutes */
	case DNS_TIMEOUT:
		return TIMEOUT_LIFETIME;
	case DNS_BOGUS:
		return BOGUS_LIFETIME;
	}
	return 0;
}

static uint64_t hash_of(const struct dns_cache *c, const char *name, enum dns_type type)
{
	return hash_bytes(&c->key, name, strlen(name)) ^ hash_u64((uint64_t) type);
}

static struct entry *find(struct dns_cache *c, const char *name, enum dns_type type, uint64_t hash)
{
	for (struct hash_node *n = hash_find(&c->table, hash); n; n = hash_find_next(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->type == type && strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

static int get_locked(struct dns_cache *c, const char *name, enum dns_type type, uint64_t hash, struct arena *a,
		      struct dns_answer *ret)
{
	struct entry *e = find(c, name, type, hash);
	usec_t time;
	void *block;

	if (!e)
		return 0;
	time = world_now(c->world);
	if (e->expires <= time) {
		drop(c, e);
		return 0;
	}
	block = arena_alloc(a, e->packed_size);
	if (!block)
		return -ENOMEM;
	link_remove(&e->lru);
	list_prepend(&c->lru, &e->lru);
	dns_answer_pack(&e->answer, block, ret);
	ret->ttl = (uint32_t) ((e->expires - time + USEC_SEC - 1) / USEC_SEC);
	return 1;
}

int dns_cache_get(struct dns_cache *c, const char *name, enum dns_type type, struct arena *a, struct dns_answer *ret)
{
	uint64_t hash = hash_of(c, name, type);
	int r;

	pthread_mutex_lock(&c->mutex);
	r = get_locked(c, name, type, hash, a, ret);
	if (r > 0)
		c->hits++;
	else
		c->misses++;
	pthread_mutex_unlock(&c->mutex);
	return r;
}

static struct entry *entry_new(const char *name, enum dns_type type, const struct dns_answer *answer)
{
	size_t size = dns_answer_packed_size(answer), name_size = strlen(name) + 1;
	struct entry *e;

	if (size > ANSWER_SIZE_MAX)
		return NULL;
	e = malloc(sizeof(*e) + size + name_size);
	if (!e)
		return NULL;
	*e = (struct entry) { .type = type, .packed_size = size };
	dns_answer_pack(answer, e->block, &e->answer);
	e->name = memcpy((char *) e->block + size, name, name_size);
	return e;
}

void dns_cache_put(struct dns_cache *c, const char *name, enum dns_type type, const struct dns_answer *answer)
{
	uint32_t lifetime = dns_cache_lifetime(answer);
	uint64_t hash = hash_of(c, name, type);
	struct entry *old, *e;

	if (lifetime == 0)
		return;
	e = entry_new(name, type, answer);
	if (!e)
		return;
	e->expires = deadline_after(world_now(c->world), lifetime * USEC_SEC);

	pthread_mutex_lock(&c->mutex);
	old = find(c, name, type, hash);
	if (old)
		drop(c, old);
	while (c->table.len >= c->max_entries)
		drop(c, container_of(list_last(&c->lru), struct entry, lru));
	if (hash_insert(&c->table, &e->node, hash) < 0)
		free(e);
	else
		list_prepend(&c->lru, &e->lru);
	pthread_mutex_unlock(&c->mutex);
}

struct dns_cache_stats dns_cache_stats(struct dns_cache *c)
{
	struct dns_cache_stats stats;

	pthread_mutex_lock(&c->mutex);
	stats = (struct dns_cache_stats) { .hits = c->hits, .misses = c->misses, .entries = (unsigned) c->table.len };
	pthread_mutex_unlock(&c->mutex);
	return stats;
}
