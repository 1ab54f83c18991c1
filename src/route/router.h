/* The inside of the router, for the files of this folder.
 *
 * What can be looked up fast is prepared once per configuration, in an index that never changes afterwards.
 * A reload puts a new index in front; the old ones stay until the end, because a question on another thread
 * may be reading one. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/list.h"
#include "route/route.h"

struct domain_entry {
	struct hash_node node; /* by name */
	const struct route_domain *domain;
	char *rule; /* "domains: example.org" */
};
struct user_entry {
	struct hash_node node; /* by name and domain */
	const struct route_domain *domain;
	const char *name;
};

struct route_index {
	struct route_index *older;
	const struct route_config *config;
	struct hash_key key;
	struct domain_entry *domains;
	struct user_entry *users;
	struct hash by_domain, by_user;
};

struct router {
	struct world *world;
	const struct log *log;
	struct resolver *resolver;
	struct sts *sts; /* may be NULL */
	struct hash_key key;
	_Atomic(struct route_index *) index;
	pthread_mutex_t sick_lock; /* around the rest (health.c); held over straight code only */
	struct hash sick;
	struct list sick_in_order;
	unsigned n_sick;
};

void route_health_init(struct router *r);
void route_health_done(struct router *r);

static inline const struct route_index *router_index(const struct router *r)
{
	return atomic_load_explicit(&r->index, memory_order_acquire);
}

int route_index_new(struct router *r, const struct route_config *config, struct route_index **ret);
/* The domain of ours that this name (lower case, A-labels) is or falls under; NULL: none. */
const struct domain_entry *route_index_domain(const struct route_index *i, struct slice name);
bool route_index_has_user(const struct route_index *i, const struct route_domain *d, struct slice name);

/* The domain in lower case and as A-labels, with a terminator. -EINVAL when it has no such form, -ENOMEM. */
int route_domain_text(struct slice domain, char out[static DOMAIN_MAX + 1]);

static inline uint16_t route_mx_port(const struct route_config *c) { return c->mx_port ? c->mx_port : 25; }
