#include "receive/rate.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"

#define MAX_ENTRIES 100000u
#define KEY_MAX 400u /* octets of a key that are compared */

const char *const rate_key_words[] = { "client", "network", "user", "sender", "sender_domain", "recipient", "recipient_domain", NULL };
const char *const rate_unit_words[] = { "connections", "messages", "recipients", NULL };

/* A bucket, or the places of a concurrency limit. */
struct rate_place {
	struct hash_node node;
	struct link link;   /* on rates->entries while nobody is in it, the longest untouched first */
	unsigned taken;     /* places */
	double tokens;      /* of a bucket */
	usec_t touched;
	uint16_t len;
	char key[];
};

struct rates {
	pthread_mutex_t lock;
	struct hash_key hash_key;
	struct hash table;
	struct list entries;
	unsigned max_entries;
};

int rates_new(struct world *w, unsigned max_entries, struct rates **ret)
{
	struct rates *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	world_random(w, &r->hash_key, sizeof(r->hash_key));
	list_init(&r->entries);
	r->max_entries = max_entries ? max_entries : MAX_ENTRIES;
	*ret = r;
	return 0;
}

static void forget(struct rates *r, struct rate_place *p)
{
	hash_remove(&r->table, &p->node);
	link_remove(&p->link);
	free(p);
}

void rates_free(struct rates *r)
{
	if (!r)
		return;
	for (LIST_EACH_SAFE(&r->entries, k))
		forget(r, container_of(k, struct rate_place, link));
	assert(r->table.len == 0);
	hash_done(&r->table);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* What is counted apart, in front of the key itself: the same limit after a reload is the same bucket. */
static size_t full_key(char out[static KEY_MAX], const void *rule, size_t rule_len, unsigned unit, struct slice key)
{
	size_t n = slice_copy(key, out + rule_len + 1, KEY_MAX - rule_len - 1);

	memcpy(out, rule, rule_len);
	out[rule_len] = (char) unit;
	/* Nobody gets a second bucket by writing an address in other letters. */
	for (size_t i = rule_len + 1; i <= rule_len + n; i++)
		out[i] = ascii_lower(out[i]);
	return rule_len + 1 + n;
}

static struct rate_place *find(struct rates *r, uint64_t hash, const char *key, size_t len)
{
	for (struct hash_node *n = hash_find(&r->table, hash); n; n = hash_find_next(n)) {
		struct rate_place *p = container_of(n, struct rate_place, node);

		if (p->len == len && memcmp(p->key, key, len) == 0)
			return p;
	}
	return NULL;
}

/* Finds or makes it. A new bucket is full. */
static int get(struct rates *r, const char *key, size_t len, double tokens, usec_t at, struct rate_place **ret)
{
	uint64_t hash = hash_bytes(&r->hash_key, key, len);
	struct rate_place *p = find(r, hash, key, len);
	int result;

	if (p) {
		*ret = p;
		return 0;
	}
	if (r->table.len >= r->max_entries && !list_empty(&r->entries))
		forget(r, container_of(list_first(&r->entries), struct rate_place, link));
	p = calloc(1, sizeof(*p) + len);
	if (!p)
		return -ENOMEM;
	p->len = (uint16_t) len;
	memcpy(p->key, key, len);
	p->tokens = tokens;
	p->touched = at;
	result = hash_insert(&r->table, &p->node, hash);
	if (result < 0) {
		free(p);
		return result;
	}
	list_append(&r->entries, &p->link);
	*ret = p;
	return 0;
}

static int take_locked(struct rates *r, const char *key, size_t len, unsigned allowed, usec_t per, usec_t at, usec_t *ret_wait)
{
	double each = (double) per / allowed;
	struct rate_place *p;
	int result = get(r, key, len, allowed, at, &p);

	if (result < 0)
		return result;
	if (at > p->touched) {
		p->tokens = MIN((double) allowed, p->tokens + (double) (at - p->touched) / each);
		p->touched = at;
	}
	link_remove(&p->link);
	list_append(&r->entries, &p->link);
	if (p->tokens < 1) {
		*ret_wait = (usec_t) ((1 - p->tokens) * each) + 1;
		return -EBUSY;
	}
	p->tokens--;
	return 0;
}

int rates_take(struct rates *r, const struct rate_rule *rule, enum rate_unit unit, struct slice key, usec_t at, usec_t *ret_wait)
{
	const struct { usec_t per; unsigned allowed, key; } limit = { rule->per, rule->allowed[unit], (unsigned) rule->key };
	char full[KEY_MAX];
	size_t len;
	int result;

	if (limit.allowed == 0 || limit.per == 0)
		return 0;
	len = full_key(full, &limit, sizeof(limit), unit, key);
	pthread_mutex_lock(&r->lock);
	result = take_locked(r, full, len, limit.allowed, limit.per, at, ret_wait);
	pthread_mutex_unlock(&r->lock);
	return result;
}

int rates_enter(struct rates *r, const struct concurrency_rule *rule, struct slice key, struct rate_place **ret)
{
	const unsigned kind = (unsigned) rule->key;
	char full[KEY_MAX];
	size_t len = full_key(full, &kind, sizeof(kind), RATE_UNITS, key);
	struct rate_place *p;
	int result;

	pthread_mutex_lock(&r->lock);
	result = get(r, full, len, 0, 0, &p);
	if (result >= 0 && p->taken >= rule->sessions) {
		result = -EUSERS;
	} else if (result >= 0) {
		p->taken++;
		link_remove(&p->link);
		*ret = p;
	}
	pthread_mutex_unlock(&r->lock);
	return result;
}

void rates_leave(struct rates *r, struct rate_place *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&r->lock);
	if (--p->taken == 0)
		forget(r, p);
	pthread_mutex_unlock(&r->lock);
}
