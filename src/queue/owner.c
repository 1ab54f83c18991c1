/* The sites of an owner, as others ask for them. */
#include "queue/owner.h"

struct site *owner_find(struct home *h, const char *key)
{
	uint64_t hash = hash_bytes(&h->queue->key, key, strlen(key));

	for (struct hash_node *n = hash_find(&h->sites, hash); n; n = hash_find_next(n)) {
		struct site *s = container_of(n, struct site, node);

		if (strcmp(path_site(s->path), key) == 0)
			return s;
	}
	return NULL;
}

struct site *owner_find_for_path(struct home *h, const struct path *p)
{
	for (struct hash_node *n = hash_find(&h->sites, p->hash); n; n = hash_find_next(n)) {
		struct site *s = container_of(n, struct site, node);

		if (s->path == p || strcmp(path_site(s->path), path_site(p)) == 0)
			return s;
	}
	return NULL;
}

void owner_cancel(struct home *h)
{
	for (LIST_EACH(&h->slots, k)) {
		struct slot *slot = container_of(k, struct slot, all);

		if (slot->fiber)
			fiber_cancel(slot->fiber);
	}
}

const char *site_state(const struct site *s, usec_t t)
{
	if (s->held)
		return "held";
	if (s->mode == SITE_BACKOFF)
		return "backing off";
	if (s->mode == SITE_PROBING)
		return "being probed";
	if (s->cool && t < s->cool_until)
		return s->cool & WHEN_BLOCKED ? "blocking us"
		       : s->cool & WHEN_TLS   ? "without good TLS"
					      : "throttling us";
	return s->slots > 0 || s->line.len > 0 ? "open" : "idle";
}
