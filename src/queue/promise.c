#include "queue/promise.h"

#include <stdlib.h>

#include "queue/home.h"

static struct promise *find(const struct home *h, const struct message *m)
{
	for (struct hash_node *n = hash_find(&h->promises, hash_u64(m->entry.id)); n; n = hash_find_next(n)) {
		struct promise *p = container_of(n, struct promise, node);

		if (p->message == m)
			return p;
	}
	return NULL;
}

int promise_make(struct home *h, struct message *m, usec_t by, char mode)
{
	struct promise *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct promise) { .message = m, .by = by, .look = DEADLINE_NEVER, .mode = mode };
	r = hash_insert(&h->promises, &p->node, hash_u64(m->entry.id));
	if (r < 0) {
		free(p);
		return r;
	}
	m->flags |= MESSAGE_TIMED;
	return 0;
}

int promise_look(struct home *h, struct message *m, usec_t at)
{
	struct promise *p = promise_of(h, m);

	if (!p) {
		int r = promise_make(h, m, DEADLINE_NEVER, 0);

		if (r < 0)
			return r;
		p = promise_of(h, m);
	}
	p->look = MIN(p->look, at);
	return 0;
}

struct promise *promise_of(const struct home *h, const struct message *m)
{
	return m->flags & MESSAGE_TIMED ? find(h, m) : NULL;
}

void promise_forget(struct home *h, struct message *m)
{
	struct promise *p = m->flags & MESSAGE_TIMED ? find(h, m) : NULL;

	m->flags &= (uint16_t) ~MESSAGE_TIMED;
	if (!p)
		return;
	hash_remove(&h->promises, &p->node);
	free(p);
	if (h->promises.len == 0)
		hash_done(&h->promises);
}
