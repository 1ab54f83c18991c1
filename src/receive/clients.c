#include "receive/clients.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

/* The hash is over this, so it has no padding that isn't zero. */
struct place_key {
	struct ip network;
	uint32_t kind; /* enum kind */
};
enum kind { OF_ADDRESS, OF_NETWORK, KINDS };

struct client_place {
	struct hash_node node;
	struct place_key key;
	unsigned connections;
	bool limited;
	struct client_place *around; /* of an address: that of its network */
};

struct clients {
	const struct log *log;
	pthread_mutex_t lock;
	struct hash_key key;
	struct hash places;
	unsigned n[KINDS], limited[KINDS];
	uint64_t refused[KINDS];
};

int clients_new(struct world *w, const struct log *log, struct clients **ret)
{
	struct clients *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->log = log;
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

unsigned client_limit_ends(unsigned limit, unsigned relief)
{
	unsigned share = (unsigned) ((uint64_t) limit * MIN(relief, 100u) / 100);

	return limit - MIN(limit, MAX(share, 1u));
}

/* --- with the lock held ---------------------------------------------------------------------------------- */

static struct client_place *find(struct clients *c, const struct place_key *key, uint64_t hash)
{
	for (struct hash_node *n = hash_find(&c->places, hash); n; n = hash_find_next(n)) {
		struct client_place *p = container_of(n, struct client_place, node);

		if (p->key.kind == key->kind && ip_equal(&p->key.network, &key->network))
			return p;
	}
	return NULL;
}

static int find_or_make(struct clients *c, enum kind kind, const struct ip *ip, unsigned prefix, struct client_place **ret)
{
	struct place_key key;
	uint64_t hash;
	struct client_place *p;
	int r;

	memset(&key, 0, sizeof(key));
	key.network = ip_network(ip, prefix);
	key.kind = kind;
	hash = hash_bytes(&c->key, &key, sizeof(key));
	p = find(c, &key, hash);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		p->key = key;
		r = hash_insert(&c->places, &p->node, hash);
		if (r < 0) {
			free(p);
			return r;
		}
		c->n[kind]++;
	}
	*ret = p;
	return 0;
}

static void set_limited(struct clients *c, struct client_place *p, bool limited, unsigned limit)
{
	static const char *const texts[KINDS][2] = {
		[OF_ADDRESS] = { "the address may connect again", "too many connections from one address: more are refused" },
		[OF_NETWORK] = { "the network may connect again", "too many connections from one network: more are refused" },
	};
	char text[IP_TEXT];

	if (p->limited == limited)
		return;
	p->limited = limited;
	c->limited[p->key.kind] += limited ? 1 : -1u;
	LOG(c->log, limited ? LOG_NOTICE : LOG_INFO, texts[p->key.kind][limited], F_STR("client", ip_format(&p->key.network, text)),
	    F_UINT("connections", p->connections), limit ? F_UINT("limit", limit) : F_STR("limit", NULL));
}

/* Is there room for one more? */
static bool has_room(struct clients *c, struct client_place *p, unsigned limit, unsigned relief)
{
	if (p->connections >= limit && limit > 0)
		set_limited(c, p, true, limit);
	else if (p->connections <= client_limit_ends(limit, relief) || limit == 0)
		set_limited(c, p, false, limit);
	if (p->limited)
		c->refused[p->key.kind]++;
	return !p->limited;
}

static void drop_if_unused(struct clients *c, struct client_place *p)
{
	if (p->connections > 0)
		return;
	set_limited(c, p, false, 0);
	c->n[p->key.kind]--;
	hash_remove(&c->places, &p->node);
	free(p);
}

static int enter_locked(struct clients *c, const struct ip *ip, const struct client_limits *l, struct client_place **ret)
{
	struct client_place *address, *network;
	int r;

	r = find_or_make(c, OF_NETWORK, ip, ip->family == 6 ? l->prefix6 : l->prefix4, &network);
	if (r < 0)
		return r;
	r = find_or_make(c, OF_ADDRESS, ip, ip->family == 6 ? 128 : 32, &address);
	if (r < 0) {
		drop_if_unused(c, network);
		return r;
	}
	r = !has_room(c, address, l->per_address, l->relief)   ? -EUSERS
	    : !has_room(c, network, l->per_network, l->relief) ? -EDQUOT
							       : 0;
	if (r < 0) {
		drop_if_unused(c, address);
		drop_if_unused(c, network);
		return r;
	}
	/* A reload may have changed the size of networks: who is here already stays where it was counted. */
	if (address->connections == 0)
		address->around = network;
	address->connections++;
	address->around->connections++;
	if (address->around != network)
		drop_if_unused(c, network);
	*ret = address;
	return 0;
}

/* --- from outside ------------------------------------------------------------------------------------------ */

int clients_enter(struct clients *c, const struct ip *ip, const struct client_limits *l, struct client_place **ret)
{
	int r;

	pthread_mutex_lock(&c->lock);
	r = enter_locked(c, ip, l, ret);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void clients_leave(struct clients *c, struct client_place *p)
{
	struct client_place *around;

	if (!p)
		return;
	pthread_mutex_lock(&c->lock);
	around = p->around;
	p->connections--;
	around->connections--;
	drop_if_unused(c, p);
	drop_if_unused(c, around);
	pthread_mutex_unlock(&c->lock);
}

void clients_count(struct clients *c, struct client_counts *ret)
{
	pthread_mutex_lock(&c->lock);
	*ret = (struct client_counts) {
		.addresses = c->n[OF_ADDRESS],
		.networks = c->n[OF_NETWORK],
		.limited_addresses = c->limited[OF_ADDRESS],
		.limited_networks = c->limited[OF_NETWORK],
		.refused_addresses = c->refused[OF_ADDRESS],
		.refused_networks = c->refused[OF_NETWORK],
	};
	pthread_mutex_unlock(&c->lock);
}
