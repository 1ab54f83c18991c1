/* A path: one hop, and what it means for a domain at the moment: its hosts and its site.
 *
 * It is made when a destination was resolved, never changes, and is shared by everybody who holds a reference:
 * the destination at the message's home, the jobs that travel, the site, its slots and its lots. Whoever lets go last
 * frees it, on whatever thread. It is one piece of memory, made to measure: there may be 100,000 of them. */
#pragma once

#include <stdatomic.h>

#include "route/route.h"

struct provider;
struct shaping_rule;
struct path {
	atomic_uint references;
	unsigned owner;       /* index of the home whose loop owns the site */
	uint64_t hash;        /* of the site's key */
	usec_t made;
	const struct hop *hop; /* of the configuration, which stays; or a copy (hop_keep) */
	const struct provider *provider;  /* whose limits hold (shaping.h), or NULL; stays as long as the queue */
	const struct shaping_rule *rule;  /* of the configuration for this site, or NULL */
	struct target target; /* status TARGET_OK */
};

/* A hop that route_find gave, for longer than its arena lives: those of address literals are copied to `room`, which
 * is part of whoever keeps it and needs this size. */
static inline size_t hop_room(const struct hop *h) { return h->kind == HOP_HOST ? sizeof(*h) : 0; }
const struct hop *hop_keep(const struct hop *h, void *room);

/* Everything is copied. `owner`, `hash`, `made`, `provider` and `rule` are left to the caller. NULL: memory. */
struct path *path_new(const struct hop *hop, const struct target *t);

static inline const char *path_site(const struct path *p) { return p->target.site; }
static inline struct path *path_ref(struct path *p)
{
	atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
	return p;
}
void path_unref(struct path *p); /* NULL is fine */
DEFINE_FREEP(struct path, path_unref)
