#include "route/health.h"

#include <stdio.h>
#include <stdlib.h>

#include "route/router.h"

#define SICK_FIRST USEC_MIN
#define SICK_MOST (15 * USEC_MIN)
#define KEY_TEXT (DOMAIN_MAX + 96u)

struct patient {
	struct hash_node node;
	struct link link; /* by the time of the last failure, the oldest first */
	struct host_health health;
	char key[];
};

static void key_of(const struct target_host *host, const struct source_pool *source, char out[static KEY_TEXT])
{
	char ip[IP_TEXT];

	snprintf(out, KEY_TEXT, "%.*s:%u%s%.64s", (int) DOMAIN_MAX, host->name ? host->name : ip_format(&host->ip, ip), host->port,
		 source ? ";" : "", source ? source->name : "");
}

static struct patient *find(struct router *r, const char *key, uint64_t hash)
{
	for (struct hash_node *n = hash_find(&r->sick, hash); n; n = hash_find_next(n)) {
		struct patient *p = container_of(n, struct patient, node);

		if (strcmp(p->key, key) == 0)
			return p;
	}
	return NULL;
}

static void discharge(struct router *r, struct patient *p)
{
	hash_remove(&r->sick, &p->node);
	link_remove(&p->link);
	r->n_sick--;
	free(p);
}

/* NULL: memory; then it counts as well. */
static struct patient *admit(struct router *r, const char *key, uint64_t hash)
{
	struct patient *p = calloc(1, sizeof(*p) + strlen(key) + 1);

	if (!p)
		return NULL;
	strcpy(p->key, key);
	if (hash_insert(&r->sick, &p->node, hash) < 0) {
		free(p);
		return NULL;
	}
	list_append(&r->sick_in_order, &p->link);
	if (++r->n_sick > HEALTH_HOSTS_MAX)
		discharge(r, container_of(list_first(&r->sick_in_order), struct patient, link));
	return p;
}

static void note_failure(struct patient *p, usec_t t, const char *why)
{
	struct host_health *h = &p->health;
	usec_t time = SICK_FIRST;

	/* The others of a row of connections that failed together say nothing new. */
	if (h->sick_until > t) {
		snprintf(h->why, sizeof(h->why), "%s", why);
		return;
	}
	for (unsigned i = 0; i < h->failures && time < SICK_MOST; i++)
		time *= 2;
	h->failures++;
	h->sick_until = deadline_after(t, MIN(time, SICK_MOST));
	snprintf(h->why, sizeof(h->why), "%s", why);
}

void route_health_failed(struct router *r, const struct target_host *host, const struct source_pool *source, const char *why)
{
	usec_t t = world_now(r->world);
	char key[KEY_TEXT];
	struct patient *p;
	uint64_t hash;

	key_of(host, source, key);
	hash = hash_bytes(&r->key, key, strlen(key));
	pthread_mutex_lock(&r->sick_lock);
	p = find(r, key, hash);
	if (!p)
		p = admit(r, key, hash);
	if (p) {
		note_failure(p, t, why ? why : "");
		link_remove(&p->link);
		list_append(&r->sick_in_order, &p->link);
	}
	pthread_mutex_unlock(&r->sick_lock);
}

void route_health_worked(struct router *r, const struct target_host *host, const struct source_pool *source)
{
	char key[KEY_TEXT];
	struct patient *p;

	if (__atomic_load_n(&r->n_sick, __ATOMIC_RELAXED) == 0)
		return; /* nearly always */
	key_of(host, source, key);
	pthread_mutex_lock(&r->sick_lock);
	p = find(r, key, hash_bytes(&r->key, key, strlen(key)));
	if (p)
		discharge(r, p);
	pthread_mutex_unlock(&r->sick_lock);
}

bool route_health_get(struct router *r, const struct target_host *host, const struct source_pool *source, struct host_health *ret)
{
	struct host_health health = { 0 };
	char key[KEY_TEXT];
	struct patient *p;

	if (__atomic_load_n(&r->n_sick, __ATOMIC_RELAXED) > 0) {
		key_of(host, source, key);
		pthread_mutex_lock(&r->sick_lock);
		p = find(r, key, hash_bytes(&r->key, key, strlen(key)));
		if (p)
			health = p->health;
		pthread_mutex_unlock(&r->sick_lock);
	}
	if (ret)
		*ret = health;
	return health.sick_until > world_now(r->world);
}

void route_health_init(struct router *r)
{
	pthread_mutex_init(&r->sick_lock, NULL);
	list_init(&r->sick_in_order);
}

void route_health_done(struct router *r)
{
	struct link *k;

	while ((k = list_first(&r->sick_in_order)))
		discharge(r, container_of(k, struct patient, link));
	hash_done(&r->sick);
	pthread_mutex_destroy(&r->sick_lock);
}
