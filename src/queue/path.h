/* A path: one hop, and what it means for a domain at the moment: its hosts and its site.
 *
 * It is made when a destination was resolved, never changes, and is shared by everybody who holds a reference:
 * the destination at the message's home, the jobs that travel, the site and its slots. Whoever lets go last
 * frees it, on whatever thread. */
#pragma once

#include <stdatomic.h>

#include "route/route.h"

struct path {
	atomic_uint references;
	struct arena *arena;  /* holds the path itself, too */
	struct hop hop;       /* a copy; what it points to belongs to the configuration, which stays */
	struct target target; /* status TARGET_OK */
	uint64_t hash;        /* of the site's key */
	unsigned owner;       /* index of the home whose loop owns the site */
	usec_t made;
};

static inline const char *path_site(const struct path *p) { return p->target.site; }
static inline struct path *path_ref(struct path *p)
{
	atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
	return p;
}
void path_unref(struct path *p); /* NULL is fine */
DEFINE_FREEP(struct path, path_unref)
