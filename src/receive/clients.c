#include "receive/clients.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

struct client_place {
	struct hash_node node;
	struct ip network;
	unsigned connections;
};

struct clients {
	pthread_mutex_t lock;
	struct hash_key key;
	struct hash places;
};

int clients_new(struct world *w, struct clients **ret)
{
	struct clients *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	world_random(w, &c->key, sizeof(c->key));
	*ret = c;
	return 0;
}

void clients_free(struct clients *c)
{
	if (!c)
		return;
	assert(c->places.len == 0);
	hash_done(&c->places);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct client_place *find(struct clients *c, const struct ip *network, uint64_t hash)
{
	for (struct hash_node *n = hash_find(&c->places, hash); n; n = hash_find_next(n)) {
		struct client_place *p = container_of(n, struct client_place, node);

		if (ip_equal(&p->network, network))
			return p;
	}
	return NULL;
}

static int enter_locked(struct clients *c, const struct ip *network, unsigned limit, struct client_place **ret)
{
	uint64_t hash = hash_bytes(&c->key, network, sizeof(*network));
	struct client_place *p = find(c, network, hash);
	int r;

	if (p) {
		if (p->connections >= limit)
			return -EUSERS;
		p->connections++;
		*ret = p;
		return 0;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->network = *network;
	p->connections = 1;
	r = hash_insert(&c->places, &p->node, hash);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int clients_enter(struct clients *c, const struct ip *ip, unsigned limit, struct client_place **ret)
{
	struct ip network = ip_network(ip, ip->family == 6 ? 64 : 32);
	int r;

	pthread_mutex_lock(&c->lock);
	r = enter_locked(c, &network, limit, ret);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void clients_leave(struct clients *c, struct client_place *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&c->lock);
	if (--p->connections == 0) {
		hash_remove(&c->places, &p->node);
		free(p);
	}
	pthread_mutex_unlock(&c->lock);
}
