/* What each record means, in the order of the log: the index as the server had it is built again. */
#include <stdlib.h>

#include "spool/recovery.h"

struct pending {
	struct hash_node node;
	msgid_t id;
	uint32_t count, capacity;
	struct pending_chunk {
		struct extent extent;
		uint64_t body_offset;
	} *chunks, first;
};

static struct pending *find_pending(struct recovery *v, msgid_t id)
{
	for (struct hash_node *n = hash_find(&v->pending, hash_u64(id)); n; n = hash_find_next(n)) {
		struct pending *p = container_of(n, struct pending, node);

		if (p->id == id)
			return p;
	}
	return NULL;
}

static void drop_pending(struct recovery *v, struct pending *p)
{
	if (!p)
		return;
	hash_remove(&v->pending, &p->node);
	if (p->chunks != &p->first)
		free(p->chunks);
	free(p);
}

static struct lost_message *find_lost(struct recovery *v, msgid_t id)
{
	for (struct hash_node *n = hash_find(&v->lost, hash_u64(id)); n; n = hash_find_next(n)) {
		struct lost_message *l = container_of(n, struct lost_message, node);

		if (l->id == id)
			return l;
	}
	return NULL;
}

static void drop_lost(struct recovery *v, struct lost_message *l)
{
	if (!l)
		return;
	hash_remove(&v->lost, &l->node);
	free(l);
}

int replay_lost(struct recovery *v, struct segment *g, msgid_t id, uint32_t offset, uint32_t length, bool no_commit)
{
	struct lost_message *l = find_lost(v, id);
	int r;

	if (!l) {
		l = calloc(1, sizeof(*l));
		if (!l)
			return -ENOMEM;
		l->id = id;
		r = hash_insert(&v->lost, &l->node, hash_u64(id));
		if (r < 0) {
			free(l);
			return r;
		}
	}
	l->segment = g->number;
	l->offset = offset;
	l->length = length;
	l->no_commit = no_commit;
	return 0;
}

static int replay_chunk(struct recovery *v, struct segment *g, const struct walk_item *item)
{
	struct pending *p = find_pending(v, item->record.id);
	int r;

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		p->id = item->record.id;
		p->chunks = &p->first;
		p->capacity = 1;
		r = hash_insert(&v->pending, &p->node, hash_u64(p->id));
		if (r < 0) {
			free(p);
			return r;
		}
	}
	if (p->count == p->capacity) {
		uint32_t capacity = 2 * p->capacity + 2;
		struct pending_chunk *grown;

		grown = reallocarray(p->chunks == &p->first ? NULL : p->chunks, capacity, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		if (p->chunks == &p->first)
			grown[0] = p->first;
		p->chunks = grown;
		p->capacity = capacity;
	}
	p->chunks[p->count++] = (struct pending_chunk) {
		.extent = { .segment = g->number, .offset = item->offset, .length = item->record.length },
		.body_offset = item->record.aux,
	};
	return 0;
}

/* The index of the chunk at this place, looked for from `at` on; p->count: it was not found. */
static uint32_t find_chunk(const struct pending *p, uint32_t at, struct extent x)
{
	while (at < p->count && (p->chunks[at].extent.segment != x.segment || p->chunks[at].extent.offset != x.offset))
		at++;
	return at;
}

/* Whether all chunks that the commit lists were found, and make a body without holes. Both are in the order of the
 * log, so one pass over the chunks is enough; but the first of the list may have been written last, to stand in front:
 * then the others count without it. */
static bool is_whole(const struct pending *p, const struct walk_item *item)
{
	unsigned n = item->record.extents;
	uint64_t size = 0, front = 0;
	uint32_t at = 0;

	if (n > 0 && !p)
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct extent x = record_extent(item->extents_at, i);

		at = find_chunk(p, at, x);
		if (at == p->count && i == 1) {
			front = size;
			at = find_chunk(p, 0, x);
		}
		if (at == p->count || p->chunks[at].extent.length != x.length || p->chunks[at].body_offset != size - front)
			return false;
		size += x.length;
	}
	return size == item->record.aux;
}

static int set_entry(struct recovery *v, struct segment *g, const struct walk_item *item)
{
	struct spool *s = v->spool;
	struct entry *e = index_find(&s->index, item->record.id);
	uint32_t n = item->record.extents;
	struct extent one = { 0 }, *extents = &one;
	bool wake;

	if (n > 1) {
		extents = malloc(n * sizeof(struct extent));
		if (!extents)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++)
		extents[i] = record_extent(item->extents_at, i);
	if (e) {
		/* Compaction had moved it when the server stopped; the old place was not freed yet. */
		entry_release(s, e, &wake);
		segments_set_emptied(&s->segments, segments_find(&s->segments, e->commit_segment));
	} else
		e = index_insert(&s->index, item->record.id);
	if (!e) {
		if (n > 1)
			free(extents);
		return -ENOMEM;
	}
	e->size = item->record.aux;
	e->commit_segment = g->number;
	e->commit_offset = item->offset;
	e->commit_length = item->length;
	e->note_segment = e->note_offset = e->note_length = 0;
	index_set_extents(&s->index, e, extents, n);
	g->living += item->length;
	for (uint32_t i = 0; i < n; i++) {
		struct record shape = { .length = entry_extents(e)[i].length };

		segments_find(&s->segments, entry_extents(e)[i].segment)->living += record_size(&shape);
	}
	return 0;
}

static int replay_commit(struct recovery *v, struct segment *g, const struct walk_item *item)
{
	struct pending *p = find_pending(v, item->record.id);
	struct lost_message *l = find_lost(v, item->record.id);
	struct segments *t = &v->spool->segments;
	int r = 0;

	if (item->record.id == MSGID_NONE)
		return 0;
	/* Of several commits of one message all but the newest are what compaction left behind. */
	if (l)
		segments_set_emptied(t, segments_find(t, l->segment));
	if (is_whole(p, item)) {
		r = set_entry(v, g, item);
		drop_lost(v, l);
	} else if (index_find(&v->spool->index, item->record.id))
		segments_set_emptied(t, g);
	else
		r = replay_lost(v, g, item->record.id, item->offset, item->length, false);
	drop_pending(v, p);
	return r;
}

static void replay_note(struct recovery *v, struct segment *g, const struct walk_item *item)
{
	struct spool *s = v->spool;
	struct entry *e = index_find(&s->index, item->record.id);

	if (!e)
		return;
	if (e->note_length > 0)
		(void) segment_release(segments_find(&s->segments, e->note_segment), e->note_length, 0);
	e->note_segment = g->number;
	e->note_offset = item->offset;
	e->note_length = item->length;
	g->living += item->length;
}

static void replay_remove(struct recovery *v, struct segment *g, struct removed removed)
{
	struct spool *s = v->spool;
	struct entry *e = index_find(&s->index, removed.id);
	struct lost_message *l = find_lost(v, removed.id);
	bool wake;

	/* A commit in another segment than the removal says is one that compaction left behind. */
	if (e && e->commit_segment != removed.segment)
		segments_set_emptied(&s->segments, segments_find(&s->segments, e->commit_segment));
	if (l && l->segment != removed.segment)
		segments_set_emptied(&s->segments, segments_find(&s->segments, l->segment));
	segments_add_target(&s->segments, g, removed.segment);
	drop_pending(v, find_pending(v, removed.id));
	drop_lost(v, l);
	if (!e)
		return;
	entry_release(s, e, &wake);
	index_remove(&s->index, e);
}

int replay_record(struct recovery *v, struct segment *g, const struct walk_item *item)
{
	const unsigned char *payload = (const unsigned char *) item->payload.data;

	v->stats->records++;
	v->stats->highest_id = MAX(v->stats->highest_id, item->record.id);
	switch (item->record.type) {
	case RECORD_CHUNK:
		return replay_chunk(v, g, item);
	case RECORD_COMMIT:
		return replay_commit(v, g, item);
	case RECORD_NOTE:
		replay_note(v, g, item);
		return 0;
	case RECORD_REMOVE:
		replay_remove(v, g, (struct removed) { .id = item->record.id, .segment = (uint32_t) item->record.aux });
		return 0;
	case RECORD_REMOVES:
		for (size_t at = 0; at + RECORD_REMOVES_ENTRY <= item->payload.len; at += RECORD_REMOVES_ENTRY)
			replay_remove(v, g, removes_decode(payload + at));
		return 0;
	default:
		return 0;
	}
}

void replay_forget_torn(struct recovery *v, struct segment *g, uint32_t durable)
{
	for (struct hash_node *n = hash_walk(&v->lost, NULL), *next; n; n = next) {
		struct lost_message *l = container_of(n, struct lost_message, node);

		next = hash_walk(&v->lost, n);
		if (l->segment == g->number && l->offset >= durable)
			drop_lost(v, l);
	}
}

void replay_done(struct recovery *v)
{
	for (struct hash_node *n = hash_walk(&v->pending, NULL), *next; n; n = next) {
		next = hash_walk(&v->pending, n);
		drop_pending(v, container_of(n, struct pending, node));
	}
	for (struct hash_node *n = hash_walk(&v->lost, NULL), *next; n; n = next) {
		next = hash_walk(&v->lost, n);
		drop_lost(v, container_of(n, struct lost_message, node));
	}
	hash_done(&v->pending);
	hash_done(&v->lost);
	free(v->gaps);
}
