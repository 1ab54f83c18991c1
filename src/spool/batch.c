/* What becomes of the items of one batch: each gets its place in the head segment and its bytes into the gather
 * list; when they are on disk the index learns of them and their waiters are answered. All of this runs in the
 * committer's fiber.
 *
 * Bodies and long payloads are written from where they are. Headers and short payloads are laid one behind the
 * other in a staging area, where neighbours become one element of the gather list. */
#include <stdlib.h>

#include "spool/state.h"

/* --- the gather list -------------------------------------------------------------------------- */

static void gather(struct committer *c, const void *data, size_t len)
{
	struct iovec *last = c->iov_count > 0 ? &c->iov[c->iov_count - 1] : NULL;

	if (len == 0)
		return;
	c->iov_bytes += (uint32_t) len;
	if (last && (const char *) last->iov_base + last->iov_len == data) {
		last->iov_len += len;
		return;
	}
	assert(c->iov_count < BATCH_IOV);
	c->iov[c->iov_count++] = (struct iovec) { .iov_base = (void *) (uintptr_t) data, .iov_len = len };
}

/* Room in the staging area, which the caller fills at once. Asked for before by has_room. */
static unsigned char *stage(struct committer *c, uint32_t len)
{
	unsigned char *at = c->staging + c->staging_used;

	assert(len <= BATCH_STAGING - c->staging_used);
	c->staging_used += len;
	gather(c, at, len);
	return at;
}

static void stage_or_gather(struct committer *c, struct slice data)
{
	if (data.len == 0)
		return;
	if (data.len <= STAGED_MAX)
		memcpy(stage(c, (uint32_t) data.len), data.data, data.len);
	else
		gather(c, data.data, data.len);
}

/* The header with its list, up to two payload parts, padding. */
static bool has_room(const struct committer *c, const struct record *r)
{
	uint32_t staged = RECORD_HEADER + r->extents * RECORD_EXTENT + 2 * STAGED_MAX + RECORD_ALIGN;

	_Static_assert(RECORD_HEADER + RECORD_MAX_EXTENTS * RECORD_EXTENT + 2 * STAGED_MAX + RECORD_ALIGN <=
			       BATCH_STAGING, "the largest record fits into an empty staging area");
	return c->iov_count + 6 <= BATCH_IOV && c->staging_used + staged <= BATCH_STAGING;
}

static void settle(struct spool *s, struct item *i, int result, struct waiter_batch *answers);

/* Once written, chunks are done with: their buffers, which the caches still hold, serve the next messages while this
 * batch is synced. When their segment fails later, the commit that relies on them finds it out (check_commit). But a batch
 * that can still run out of space is cut off again, and its chunks must be told. */
static void release_chunks(struct spool *s)
{
	struct committer *c = &s->committer;
	struct item_list placed = c->placed;
	unsigned n = 0;

	if (s->head->on_disk < s->config.segment_size)
		return;
	c->placed = (struct item_list) { NULL, NULL };
	for (struct item *i; (i = item_list_pop(&placed));)
		if (i->kind == ITEM_CHUNK) {
			settle(s, i, 0, &c->answers);
			n++;
		} else
			item_list_append(&c->placed, i);
	if (n == 0)
		return;
	c->released = true;
	waiter_batch_post(&c->answers);
	spool_lock(s);
	s->stats.records += n;
	spool_unlock(s);
}

int batch_write(struct spool *s)
{
	struct committer *c = &s->committer;
	int r;

	if (c->iov_count == 0)
		return 0;
	r = file_pwritev(s->head->file, c->iov, c->iov_count, c->write_at);
	c->iov_count = 0;
	c->iov_bytes = c->staging_used = 0;
	c->write_at = s->head->used;
	if (r >= 0)
		release_chunks(s);
	return r;
}

/* --- placing ---------------------------------------------------------------------------------- */

/* Bytes of the head kept for notes and removals when there is no other segment: without them a full disk
 * could not even note what was delivered. */
static uint32_t kept_for_notes(const struct spool *s, const struct item *i)
{
	if (i->lazy || atomic_load(&s->prepared))
		return 0;
	return (uint32_t) MIN(s->config.segment_size / 8, (uint64_t) 4 << 20);
}

/* Takes the place in the segment: its offset, or why not. */
static int take_place(struct spool *s, const struct item *i, const struct record *r, uint32_t *ret_offset)
{
	struct segment *g = s->head;
	uint64_t limit = s->config.segment_size - RECORD_HEADER; /* the seal */
	uint64_t size = record_size(r);

	if (SEGMENT_START + size > limit)
		return -EFBIG;
	if (g->used > SEGMENT_START && g->used + size + kept_for_notes(s, i) > limit)
		return -EAGAIN;
	if (!has_room(&s->committer, r))
		return -EBUSY;
	*ret_offset = g->used;
	g->used += (uint32_t) size;
	return 0;
}

static void stage_record(struct spool *s, const struct record *r, const struct extent *extents, uint32_t offset,
			 struct slice payload, struct slice more)
{
	struct committer *c = &s->committer;
	uint32_t bare = RECORD_HEADER + r->extents * RECORD_EXTENT;
	uint32_t padding = record_size(r) - bare - r->length;

	record_encode(r, extents, s->head->key, offset, stage(c, bare));
	stage_or_gather(c, payload);
	stage_or_gather(c, more);
	memset(stage(c, padding), 0, padding);
}

static int keep_extent(struct spool_writer *w, struct extent x, bool front)
{
	if (w->extent_count == w->extent_capacity) {
		uint32_t capacity = MIN(2 * w->extent_capacity + 6, RECORD_MAX_EXTENTS);
		struct extent *grown;

		if (w->extent_count == RECORD_MAX_EXTENTS)
			return -EFBIG;
		grown = reallocarray(w->extents == &w->first_extent ? NULL : w->extents, capacity, sizeof(struct extent));
		if (!grown)
			return -ENOMEM;
		if (w->extents == &w->first_extent)
			grown[0] = w->first_extent;
		w->extents = grown;
		w->extent_capacity = capacity;
	}
	if (front)
		memmove(w->extents + 1, w->extents, w->extent_count * sizeof(x));
	w->extents[front ? 0 : w->extent_count] = x;
	w->extent_count++;
	return 0;
}

static int place_chunk(struct spool *s, struct chunk *k)
{
	struct spool_writer *w = k->writer;
	struct record r = { .type = RECORD_CHUNK, .length = k->len, .payload_crc = k->crc, .durable = s->head->durable,
			    .id = w->id, .aux = k->body_offset };
	uint32_t size = record_size(&r), offset;
	int e = atomic_load_explicit(&w->error, memory_order_relaxed);

	if (e < 0)
		return e;
	e = take_place(s, &k->item, &r, &offset);
	if (e < 0)
		return e;
	e = keep_extent(w, (struct extent) { .segment = s->head->number, .offset = offset, .length = k->len },
			k->front);
	if (e < 0) {
		s->head->used = offset;
		return e;
	}
	record_encode(&r, NULL, s->head->key, offset, k->head);
	memset(k->data + k->len, 0, RECORD_ALIGN);
	gather(&s->committer, k->head, size);
	spool_lock(s);
	s->head->living += size;
	spool_unlock(s);
	return 0;
}

/* What a commit relies on: its chunks are in segments that did not fail meanwhile, nobody has its id, and what
 * compaction copied is still what counts. With the mutex. */
static int check_commit(struct spool *s, const struct spool_writer *w)
{
	const struct entry *e = index_find(&s->index, w->id);

	for (uint32_t i = 0; i < w->extent_count; i++) {
		const struct segment *g = segments_find(&s->segments, w->extents[i].segment);

		if (!g || (g->failed && w->extents[i].offset >= g->cut))
			return -EIO;
	}
	if (!w->copy)
		return e ? -EEXIST : 0;
	if (e && e->flags & ENTRY_TOUCHED)
		return -EDEADLK;
	if (!e || e->commit_segment != w->source_segment || e->commit_offset != w->source_offset ||
	    e->note_segment != w->source_note_segment || e->note_offset != w->source_note_offset)
		return -ESTALE;
	return 0;
}

static int place_commit(struct spool *s, struct spool_writer *w)
{
	struct record r = { .type = RECORD_COMMIT, .length = (uint32_t) (w->note.len + w->envelope.len),
			    .payload_crc = w->payload_crc, .durable = s->head->durable, .id = w->id, .aux = w->size,
			    .note_length = (uint32_t) w->note.len, .extents = (uint16_t) w->extent_count };
	int e = atomic_load_explicit(&w->error, memory_order_relaxed);

	if (e < 0)
		return e;
	spool_lock(s);
	e = check_commit(s, w);
	if (e >= 0)
		e = index_reserve(&s->index, s->committer.new_entries + 1);
	spool_unlock(s);
	if (e < 0)
		return e;
	e = take_place(s, &w->item, &r, &w->offset);
	if (e < 0)
		return e;
	w->segment = s->head->number;
	w->length = record_size(&r);
	stage_record(s, &r, w->extents, w->offset, w->note, w->envelope);
	s->committer.new_entries++;
	s->committer.need_sync = true;
	return 0;
}

/* What a note or a removal means now. With the mutex. */
static int check_state(struct spool *s, struct state_item *t)
{
	struct entry *e;

	if (t->item.kind == ITEM_REMOVES || t->applied)
		return 0;
	e = index_find(&s->index, t->item.id);
	if (t->copy && e && e->flags & ENTRY_TOUCHED)
		return -EDEADLK;
	if (!e || (t->copy && (e->note_segment != t->source_segment || e->note_offset != t->source_offset)))
		return t->copy ? -ESTALE : -ENOENT;
	if (t->item.kind == ITEM_REMOVE)
		t->target = e->commit_segment;
	e->flags |= ENTRY_TOUCHED;
	return 0;
}

static int place_state(struct spool *s, struct state_item *t)
{
	static const uint8_t types[] = { [ITEM_NOTE] = RECORD_NOTE, [ITEM_REMOVE] = RECORD_REMOVE,
					 [ITEM_REMOVES] = RECORD_REMOVES };
	struct record r = { .type = types[t->item.kind], .length = t->len, .payload_crc = t->crc,
			    .durable = s->head->durable, .id = t->item.id };
	int e;

	spool_lock(s);
	e = check_state(s, t);
	spool_unlock(s);
	if (e < 0)
		return e;
	if (t->item.kind == ITEM_REMOVE)
		r.aux = t->target;
	e = take_place(s, &t->item, &r, &t->offset);
	if (e < 0)
		return e;
	t->segment = s->head->number;
	t->size = record_size(&r);
	stage_record(s, &r, NULL, t->offset, slice_new((const char *) t->data, t->len), SLICE_NULL);
	if (!t->item.lazy)
		s->committer.need_sync = true;
	return 0;
}

int batch_place(struct spool *s, struct item *i)
{
	int r = 0;

	switch (i->kind) {
	case ITEM_CHUNK:
		r = place_chunk(s, container_of(i, struct chunk, item));
		break;
	case ITEM_COMMIT:
		r = place_commit(s, container_of(i, struct spool_writer, item));
		break;
	case ITEM_NOTE:
	case ITEM_REMOVE:
	case ITEM_REMOVES:
		r = place_state(s, container_of(i, struct state_item, item));
		break;
	case ITEM_SYNC:
		s->committer.need_sync = true;
		break;
	}
	if (r >= 0)
		item_list_append(&s->committer.placed, i);
	return r;
}

/* --- when it is on disk ----------------------------------------------------------------------- */

static void apply_commit(struct spool *s, struct spool_writer *w, bool *wake_tidy)
{
	struct entry *e = index_find(&s->index, w->id);

	/* Without copy it is there only if two in this batch have the same id: the later one counts, as in recovery. */
	if (e) {
		entry_release(s, e, wake_tidy);
		segments_set_emptied(&s->segments, segments_find(&s->segments, e->commit_segment));
	} else
		e = index_insert(&s->index, w->id);
	if (w->copy)
		s->stats.compacted_bytes += w->size + w->length;
	else if (s->stats.commits++ == 0)
		*wake_tidy = true; /* the first: from now on quiet times count */
	e->size = w->size;
	e->commit_segment = w->segment;
	e->commit_offset = w->offset;
	e->commit_length = w->length;
	e->note_segment = e->note_offset = e->note_length = 0;
	index_set_extents(&s->index, e, w->extents, w->extent_count);
	if (w->extent_count > 1) {
		w->extents = &w->first_extent;
		w->extent_capacity = 1;
	}
	w->extent_count = 0; /* the index owns them now */
	s->head->living += w->length;
}

static void apply_note(struct spool *s, const struct state_item *t, bool *wake_tidy)
{
	struct entry *e = index_find(&s->index, t->item.id);
	struct segment *g;

	if (!e)
		return;
	if (e->note_length > 0) {
		g = segments_find(&s->segments, e->note_segment);
		if (segment_release(g, e->note_length, s->config.compact_percent))
			*wake_tidy = true;
	}
	e->flags &= (uint8_t) ~ENTRY_TOUCHED;
	e->note_segment = t->segment;
	e->note_offset = t->offset;
	e->note_length = t->size;
	s->head->living += t->size;
}

static void apply_remove(struct spool *s, struct state_item *t, bool *wake_tidy)
{
	struct entry *e = t->applied ? NULL : index_find(&s->index, t->item.id);

	segments_add_target(&s->segments, s->head, t->target);
	t->applied = true;
	if (!e)
		return;
	entry_release(s, e, wake_tidy);
	index_remove(&s->index, e);
}

static void apply_removes(struct spool *s, const struct state_item *t)
{
	for (uint32_t at = 0; at + RECORD_REMOVES_ENTRY <= t->len; at += RECORD_REMOVES_ENTRY)
		segments_add_target(&s->segments, s->head, removes_decode(t->data + at).segment);
}

static void apply_state(struct spool *s, struct state_item *t, bool *wake_tidy)
{
	if (t->item.kind == ITEM_NOTE)
		apply_note(s, t, wake_tidy);
	else if (t->item.kind == ITEM_REMOVE)
		apply_remove(s, t, wake_tidy);
	else
		apply_removes(s, t);
}

/* Frees or keeps the item after its waiter was put on the list of answers. */
static void settle(struct spool *s, struct item *i, int result, struct waiter_batch *answers)
{
	if (i->waiter)
		waiter_batch_add(answers, i->waiter, result);
	switch (i->kind) {
	case ITEM_CHUNK: {
		struct chunk *k = container_of(i, struct chunk, item);
		struct spool_writer *w = k->writer;

		chunk_put(s, k);
		writer_unref(w);
		break;
	}
	case ITEM_NOTE:
	case ITEM_REMOVE:
	case ITEM_REMOVES:
		if (i->lazy && result >= 0)
			item_list_append(&s->committer.unsynced, i);
		else
			free(container_of(i, struct state_item, item));
		break;
	case ITEM_COMMIT:
	case ITEM_SYNC:
		break; /* the waiter's */
	}
}

void batch_apply(struct spool *s)
{
	struct item_list placed = s->committer.placed;
	bool wake_tidy = false;

	s->committer.placed = (struct item_list) { NULL, NULL };
	s->committer.new_entries = 0;
	spool_lock(s);
	s->stats.batches++;
	for (struct item *i = placed.first; i; i = i->next) {
		if (i->kind != ITEM_SYNC)
			s->stats.records++;
		if (i->kind == ITEM_COMMIT)
			apply_commit(s, container_of(i, struct spool_writer, item), &wake_tidy);
		else if (i->kind != ITEM_CHUNK && i->kind != ITEM_SYNC)
			apply_state(s, container_of(i, struct state_item, item), &wake_tidy);
	}
	spool_unlock(s);
	for (struct item *i; (i = item_list_pop(&placed));)
		settle(s, i, 0, &s->committer.answers);
	waiter_batch_post(&s->committer.answers);
	if (wake_tidy)
		tidy_wake(s);
}

/* --- when it is not --------------------------------------------------------------------------- */

void batch_refuse(struct spool *s, struct item *i, int error, struct waiter_batch *answers)
{
	if (i->kind == ITEM_CHUNK) {
		struct chunk *k = container_of(i, struct chunk, item);
		int none = 0;

		/* The first reason stays: what follows is only because of it. */
		atomic_compare_exchange_strong(&k->writer->error, &none, error);
	} else if (i->kind == ITEM_NOTE || i->kind == ITEM_REMOVE) {
		struct entry *e;

		spool_lock(s);
		e = index_find(&s->index, i->id);
		if (e)
			e->flags &= (uint8_t) ~ENTRY_TOUCHED;
		spool_unlock(s);
	}
	settle(s, i, error, answers);
}

void batch_fail(struct spool *s, int error, bool unsynced_too)
{
	struct committer *c = &s->committer;
	struct item_list placed = c->placed, again = { NULL, NULL };

	c->placed = (struct item_list) { NULL, NULL };
	if (unsynced_too)
		item_list_splice(&again, &c->unsynced);
	c->new_entries = 0;
	c->iov_count = 0;
	c->iov_bytes = c->staging_used = 0;
	c->need_sync = false;
	for (struct item *i; (i = item_list_pop(&placed));) {
		if (i->lazy)
			item_list_append(&again, i);
		else
			batch_refuse(s, i, error, &c->answers);
	}
	item_list_splice_front(&c->queue, &again);
	waiter_batch_post(&c->answers);
}
