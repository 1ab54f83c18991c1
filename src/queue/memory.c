#include "queue/memory.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "queue/owner.h"
#include "world/file.h"

#define FRESH (10 * USEC_MIN) /* so long a wide window is believed */

struct memory {
	struct hash_node node;
	struct link link; /* on home->memories_by_use, the oldest first */
	struct learned learned;
	char key[];
};

static wall_t wall_of(const struct home *h)
{
	return world_wall(h->queue->world);
}

/* --- one site --------------------------------------------------------------------------------- */

static struct memory *find(const struct home *h, uint64_t hash, const char *key)
{
	for (struct hash_node *n = hash_find(&h->memories, hash); n; n = hash_find_next(n)) {
		struct memory *m = container_of(n, struct memory, node);

		if (strcmp(m->key, key) == 0)
			return m;
	}
	return NULL;
}

static void forget(struct home *h, struct memory *m)
{
	hash_remove(&h->memories, &m->node);
	link_remove(&m->link);
	free(m);
}

static int remember(struct home *h, uint64_t hash, struct slice key, const struct learned *l)
{
	struct memory *m = calloc(1, sizeof(*m) + key.len + 1);

	if (!m)
		return -ENOMEM;
	m->learned = *l;
	memcpy(m->key, key.data, key.len);
	if (hash_insert(&h->memories, &m->node, hash) < 0) {
		free(m);
		return -ENOMEM;
	}
	list_append(&h->memories_by_use, &m->link);
	if (h->memories.len > MEMORIES_MAX)
		forget(h, container_of(list_first(&h->memories_by_use), struct memory, link));
	return 0;
}

/* What makes a site other than a new one. False: nothing. */
static bool learned_of(const struct site *s, struct learned *ret)
{
	const struct window *w = &s->window;
	usec_t interval = s->shape ? s->shape->learned.pace.interval : 0;

	if (w->size == w->initial && w->threshold == w->max && interval == 0)
		return false;
	*ret = (struct learned) {
		.window = w->size,
		.threshold = w->threshold,
		.interval = interval,
		.usual = s->latency.n >= LATENCY_KNOWN ? latency_usual(&s->latency) : 0,
		.at = (wall_t) s->used + queue_wall_offset(s->home->queue),
	};
	return true;
}

void memory_keep(struct site *s)
{
	struct home *h = s->home;
	struct memory *old = find(h, s->node.hash, path_site(s->path));
	struct learned l;

	if (old)
		forget(h, old);
	/* Without memory it is forgotten, as it would be without this. */
	if (!h->stopping && learned_of(s, &l))
		(void) remember(h, s->node.hash, slice_from(path_site(s->path)), &l);
}

void memory_recall(struct site *s)
{
	struct home *h = s->home;
	struct memory *m = h->memories.len > 0 ? find(h, s->node.hash, path_site(s->path)) : NULL;
	usec_t age;

	if (!m)
		return;
	age = wall_of(h) > m->learned.at ? (usec_t) (wall_of(h) - m->learned.at) : 0;
	if (age < MEMORY_AGES) {
		window_recall(&s->window, m->learned.window, m->learned.threshold, age < FRESH);
		if (m->learned.usual > 0)
			latency_recall(&s->latency, m->learned.usual);
		shape_recall(s, m->learned.interval, age);
	}
	forget(h, m);
}

void memory_free_all(struct home *h)
{
	struct link *k;

	while ((k = list_first(&h->memories_by_use)))
		forget(h, container_of(k, struct memory, link));
	hash_done(&h->memories);
	buffer_done(&h->learned);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int take_line(const struct learned *l, struct slice key, void *context)
{
	struct queue *q = context;
	uint64_t hash = hash_bytes(&q->key, key.data, key.len);
	wall_t t = world_wall(q->world);

	if (l->at + (wall_t) MEMORY_AGES < t || l->at > t + (wall_t) USEC_DAY)
		return 0;
	return remember(&q->homes[shape_owner_by_key(q, key, hash)], hash, key, l);
}

int memory_load(struct queue *q)
{
	const char *path = queue_configuration(q)->learned;
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	int r;

	if (!path)
		return 0;
	r = file_read_all(q->world, path, LEARNED_FILE_MAX, &text, &len);
	if (r == -ENOENT)
		return 0;
	if (r >= 0) {
		q->learned_sum = crc32c(0, text, len);
		r = learned_read(slice_new(text, len), take_line, q);
	}
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		LOG(q->log, LOG_WARNING, "What was learned of receivers can't be read; all begin anew", F_STR("file", path),
		    F_ERRNO("error", r));
	return 0;
}

/* --- writing ---------------------------------------------------------------------------------- */

static unsigned add_all(struct home *h, struct buffer *out)
{
	wall_t old = wall_of(h) - (wall_t) MEMORY_AGES;
	unsigned n = 0;

	for (struct hash_node *k = hash_walk(&h->sites, NULL); k; k = hash_walk(&h->sites, k)) {
		const struct site *s = container_of(k, struct site, node);
		struct learned l;

		if (learned_of(s, &l))
			n += learned_add(out, &l, path_site(s->path));
	}
	for (LIST_EACH(&h->memories_by_use, k)) {
		const struct memory *m = container_of(k, struct memory, link);

		if (m->learned.at >= old)
			n += learned_add(out, &m->learned, m->key);
	}
	return n;
}

static void write_file(struct queue *q, const struct buffer *b)
{
	const char *path = queue_configuration(q)->learned;
	uint32_t sum = crc32c(0, b->data, b->len);
	int r = buffer_error(b);

	if (!path || (r >= 0 && sum == q->learned_sum))
		return;
	if (r >= 0)
		r = file_write_atomically(q->world, path, buffer_slice(b), 0600);
	if (r >= 0)
		q->learned_sum = sum;
	else
		LOG(q->log, LOG_WARNING, "What was learned of receivers could not be written; a restart may begin anew with some",
		    F_STR("file", path), F_ERRNO("error", r));
}

struct collection {
	struct buffer text;
	unsigned n;
};

static void visit(struct home *h, void *context)
{
	struct collection *c = context;

	c->n += add_all(h, &c->text);
}

static void save(void *arg)
{
	struct home *first = arg;
	struct queue *q = first->queue;
	struct collection c = { 0 };

	learned_begin(&c.text);
	for (unsigned i = 0; i < q->n_homes; i++)
		home_visit(&q->homes[i], visit, &c);
	if (c.n > 0 || q->learned_sum != 0) {
		learned_end(&c.text, c.n);
		write_file(q, &c.text);
	}
	buffer_done(&c.text);
	first->savers--;
	cond_broadcast(&first->quiet);
}

void memory_save_soon(struct home *h)
{
	h->save_at = deadline_after(now(), MEMORY_INTERVAL);
	if (!queue_configuration(h->queue)->learned || h->savers > 0 || h->stopping)
		return;
	if (fiber_group_spawn(&h->helpers, "learned", save, h) >= 0)
		h->savers++;
}

void memory_collect(struct home *h)
{
	buffer_done(&h->learned);
	h->n_learned = add_all(h, &h->learned);
}

void memory_save_last(struct queue *q)
{
	struct buffer text = { 0 };
	unsigned n = 0;

	learned_begin(&text);
	for (unsigned i = 0; i < q->n_homes; i++) {
		struct buffer *part = &q->homes[i].learned;

		if (buffer_error(part) < 0)
			continue;
		buffer_append(&text, part->data, part->len);
		n += q->homes[i].n_learned;
	}
	if (n > 0 || q->learned_sum != 0) {
		learned_end(&text, n);
		write_file(q, &text);
	}
	buffer_done(&text);
}
