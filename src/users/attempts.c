#include "users/attempts.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"

#define ENTRIES_MAX 100000u

struct entry {
	struct hash_node node;
	uint64_t second;   /* the other half of the digest */
	struct link link;  /* in the order of use */
	unsigned failures; /* in this window */
	unsigned running;
	usec_t window_end, locked_until;
};

struct attempts {
	struct world *world;
	struct hash_key keys[2];
	pthread_mutex_t lock;
	struct hash hash;
	struct list used; /* the longest unused first */
};

int attempts_new(struct world *w, struct attempts **ret)
{
	struct attempts *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->world = w;
	world_random(w, a->keys, sizeof(a->keys));
	pthread_mutex_init(&a->lock, NULL);
	list_init(&a->used);
	*ret = a;
	return 0;
}

static void drop(struct attempts *a, struct entry *e)
{
	hash_remove(&a->hash, &e->node);
	link_remove(&e->link);
	free(e);
}

void attempts_free(struct attempts *a)
{
	if (!a)
		return;
	for (LIST_EACH_SAFE(&a->used, k))
		drop(a, container_of(k, struct entry, link));
	hash_done(&a->hash);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static void digest(const struct attempts *a, enum attempts_key key, const void *data, size_t len, struct attempt *t)
{
	for (unsigned i = 0; i < 2; i++)
		t->digest[key][i] = hash_bytes(&a->keys[i], data, len) + key;
	t->has[key] = true;
}

void attempt_init(const struct attempts *a, const struct ip *ip, struct attempt *ret)
{
	*ret = (struct attempt) { 0 };
	if (ip)
		digest(a, ATTEMPTS_ADDRESS, ip->bytes, ip->family == 4 ? 4 : 8, ret);
}

void attempt_set_account(const struct attempts *a, struct slice folded_name, struct attempt *t)
{
	digest(a, ATTEMPTS_ACCOUNT, folded_name.data, folded_name.len, t);
}

/* With the lock held, like all that follow. */
static struct entry *find(struct attempts *a, const struct attempt *t, enum attempts_key key)
{
	for (struct hash_node *n = hash_find(&a->hash, t->digest[key][0]); n; n = hash_find_next(n)) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->second == t->digest[key][1]) {
			link_remove(&e->link);
			list_append(&a->used, &e->link);
			return e;
		}
	}
	return NULL;
}

static struct entry *add(struct attempts *a, const struct attempt *t, enum attempts_key key)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	if (a->hash.len >= ENTRIES_MAX)
		drop(a, container_of(list_first(&a->used), struct entry, link));
	if (hash_insert(&a->hash, &e->node, t->digest[key][0]) < 0) {
		free(e);
		return NULL;
	}
	e->second = t->digest[key][1];
	list_append(&a->used, &e->link);
	return e;
}

static unsigned limit_of(const struct users_limits *limits, enum attempts_key key)
{
	return key == ATTEMPTS_ADDRESS ? limits->per_address : limits->per_account;
}

bool attempts_locked(struct attempts *a, const struct attempt *t, enum attempts_key key, usec_t *ret_left)
{
	usec_t time = world_now(a->world);
	bool locked = false;
	struct entry *e;

	if (!t->has[key])
		return false;
	pthread_mutex_lock(&a->lock);
	e = find(a, t, key);
	if (e && time < e->locked_until) {
		locked = true;
		*ret_left = e->locked_until - time;
	}
	pthread_mutex_unlock(&a->lock);
	return locked;
}

static int begin(struct attempts *a, const struct users_limits *limits, const struct attempt *t, enum attempts_key key,
		 usec_t *ret_left)
{
	struct entry *e = find(a, t, key);
	usec_t time = world_now(a->world);

	if (!e)
		e = add(a, t, key);
	if (!e)
		return -ENOMEM;
	if (time < e->locked_until) {
		*ret_left = e->locked_until - time;
		return -EBUSY;
	}
	if (time >= e->window_end) {
		e->failures = 0;
		e->window_end = time + limits->window;
	}
	if (e->failures + e->running >= limit_of(limits, key))
		return -EAGAIN;
	e->running++;
	return 0;
}

/* It isn't under way any more. */
static void end(struct attempts *a, const struct attempt *t, enum attempts_key key, bool forgive)
{
	struct entry *e = find(a, t, key);

	if (!e)
		return;
	e->running -= e->running > 0;
	e->failures = forgive ? 0 : e->failures;
	if (e->failures == 0 && e->running == 0 && e->locked_until <= world_now(a->world))
		drop(a, e);
}

int attempts_begin(struct attempts *a, const struct users_limits *limits, const struct attempt *t, enum attempts_key *ret_key,
		   usec_t *ret_left)
{
	enum attempts_key k;
	int r = 0;

	pthread_mutex_lock(&a->lock);
	for (k = 0; k < ATTEMPTS_KEYS && r == 0; k++)
		if (t->has[k] && limit_of(limits, k) > 0)
			r = begin(a, limits, t, k, ret_left);
	if (r < 0) {
		*ret_key = --k;
		while (k-- > 0)
			if (t->has[k] && limit_of(limits, k) > 0)
				end(a, t, k, false);
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

static bool failed(struct attempts *a, const struct users_limits *limits, const struct attempt *t, enum attempts_key key)
{
	struct entry *e = find(a, t, key);
	usec_t time = world_now(a->world);

	if (!e)
		return false;
	e->running -= e->running > 0;
	e->failures++;
	if (e->failures < limit_of(limits, key) || time < e->locked_until)
		return false;
	e->locked_until = time + limits->lockout;
	e->failures = 0;
	e->window_end = 0;
	return true;
}

unsigned attempts_failed(struct attempts *a, const struct users_limits *limits, const struct attempt *t)
{
	unsigned locks = 0;

	pthread_mutex_lock(&a->lock);
	for (enum attempts_key k = 0; k < ATTEMPTS_KEYS; k++)
		if (t->has[k] && limit_of(limits, k) > 0 && failed(a, limits, t, k))
			locks |= 1u << k;
	pthread_mutex_unlock(&a->lock);
	return locks;
}

void attempts_succeeded(struct attempts *a, const struct attempt *t)
{
	pthread_mutex_lock(&a->lock);
	for (enum attempts_key k = 0; k < ATTEMPTS_KEYS; k++)
		if (t->has[k])
			end(a, t, k, k == ATTEMPTS_ACCOUNT);
	pthread_mutex_unlock(&a->lock);
}

void attempts_undecided(struct attempts *a, const struct attempt *t)
{
	pthread_mutex_lock(&a->lock);
	for (enum attempts_key k = 0; k < ATTEMPTS_KEYS; k++)
		if (t->has[k])
			end(a, t, k, false);
	pthread_mutex_unlock(&a->lock);
}
