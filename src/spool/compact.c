/* Moving what lives in a mostly dead segment to the head, so that its file can go: messages as a whole (also the
 * parts that lie elsewhere), notes, and removals that still keep something dead.
 *
 * Copies go through the committer like everything else, in groups with one sync each. It checks at the moment of
 * writing that what was copied is still what counts; a message that got a note or was removed meanwhile is simply
 * left. Between groups there is a pause of three times the work, unless the disk is full. */
#include <stdlib.h>

#include "base/crc32c.h"
#include "spool/state.h"
#include "spool/walk.h"

#define GROUP 64
#define GROUP_BYTES (4u << 20)
#define REMOVES_AT_ONCE 4096
#define PAUSE 3

struct copy {
	msgid_t id;
	struct spool_writer *writer; /* a message; else a note or removals, which the committer frees */
	struct waiter waiter;
	unsigned char *commit_record, *note_record;
};

struct compaction {
	struct spool *spool;
	struct segment *segment;
	struct copy *group;
	unsigned count;
	uint64_t bytes;
	usec_t started;
	unsigned char *removes;
	uint32_t removes_len;
	int error; /* the first that keeps the segment from being freed */
};

static void note_error(struct compaction *c, int r)
{
	if (r < 0 && r != -ESTALE && r != -ENOENT && c->error == 0)
		c->error = r;
}

/* Waits for the group; then the pause. -ECANCELED: the spool is closing. */
static int finish_group(struct compaction *c)
{
	usec_t took;

	for (unsigned i = 0; i < c->count; i++) {
		struct copy *k = &c->group[i];

		note_error(c, waiter_wait(&k->waiter, "the commit of a copy"));
		if (k->writer)
			writer_unref(k->writer);
		free(k->commit_record);
		free(k->note_record);
	}
	c->count = 0;
	c->bytes = 0;
	if (fiber_cancelled())
		return -ECANCELED;
	took = now() - c->started;
	if (!atomic_load(&c->spool->full) && fiber_sleep_until(now() + PAUSE * took) < 0)
		return -ECANCELED;
	c->started = now();
	return 0;
}

/* The copies of a group take effect together, so the same message shows up again until then. */
static bool in_group(const struct compaction *c, msgid_t id)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->group[i].id == id)
			return true;
	return false;
}

static int next_copy(struct compaction *c, msgid_t id, struct copy **ret)
{
	if (c->count == GROUP || c->bytes >= GROUP_BYTES) {
		int r = finish_group(c);

		if (r < 0)
			return r;
	}
	*ret = &c->group[c->count];
	**ret = (struct copy) { .id = id };
	waiter_init(&(*ret)->waiter);
	return 0;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Whether the message lives and one of its records is the one at `offset` of the segment. With the mutex. */
static bool refers_here(const struct compaction *c, const struct entry *e, uint32_t offset)
{
	const struct extent *x;

	if (!e || e->flags & ENTRY_REMOVING)
		return false;
	if (e->commit_segment == c->segment->number && e->commit_offset == offset)
		return true;
	x = entry_extents(e);
	for (uint32_t i = 0; i < e->extents; i++)
		if (x[i].segment == c->segment->number && x[i].offset == offset)
			return true;
	return false;
}

static int copy_body(struct spool *s, struct spool_writer *w)
{
	_cleanup_(spool_reader_closep) struct spool_reader *reader = NULL;
	uint64_t size;
	int r = spool_reader_open(s, w->id, &reader);

	if (r < 0)
		return r;
	size = spool_reader_size(reader);
	while (w->size < size) {
		struct slice data;

		r = spool_reader_view(reader, w->size, &data);
		if (r >= 0)
			r = spool_writer_append(w, data);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The record at a place, whose segment is pinned by the caller. */
static int read_part(struct spool *s, struct segment *g, uint32_t offset, uint32_t length, struct slice *ret_note,
		     struct slice *ret_envelope, unsigned char **ret_record)
{
	struct record record;
	struct slice payload;
	int r = read_record(s, g, offset, length, &record, ret_record);

	if (r < 0)
		return r;
	payload = slice_new((const char *) *ret_record + RECORD_HEADER + record.extents * RECORD_EXTENT, record.length);
	*ret_note = record.type == RECORD_COMMIT ? slice_head(payload, record.note_length) : payload;
	if (ret_envelope)
		*ret_envelope = slice_skip(payload, record.note_length);
	return 0;
}

static int copy_message(struct compaction *c, struct copy *k, const struct entry *e, struct segment *commit_segment,
			struct segment *note_segment)
{
	struct spool *s = c->spool;
	struct spool_writer *w = k->writer;
	struct slice envelope, note;
	int r;

	w->copy = true;
	w->source_segment = e->commit_segment;
	w->source_offset = e->commit_offset;
	w->source_note_segment = e->note_segment;
	w->source_note_offset = e->note_offset;
	r = read_part(s, commit_segment, e->commit_offset, e->commit_length, &note, &envelope, &k->commit_record);
	if (r >= 0 && note_segment)
		r = read_part(s, note_segment, e->note_offset, e->note_length, &note, NULL, &k->note_record);
	if (r >= 0)
		r = copy_body(s, w);
	if (r >= 0 && w->size != e->size)
		r = -ESTALE;
	return r < 0 ? r : writer_submit(w, envelope, note, &k->waiter);
}

static int move_message(struct compaction *c, msgid_t id, uint32_t offset)
{
	struct segment *commit_segment = NULL, *note_segment = NULL;
	struct spool *s = c->spool;
	struct entry copy, *e;
	struct copy *k;
	int r;

	if (in_group(c, id))
		return 0;
	r = next_copy(c, id, &k);
	if (r < 0)
		return r;
	spool_lock(s);
	e = index_find(&s->index, id);
	if (!refers_here(c, e, offset)) {
		spool_unlock(s);
		return 0;
	}
	copy = *e;
	commit_segment = segments_find(&s->segments, e->commit_segment);
	segment_use(s, commit_segment);
	if (e->note_length > 0) {
		note_segment = segments_find(&s->segments, e->note_segment);
		segment_use(s, note_segment);
	}
	spool_unlock(s);

	r = writer_new(s, id, &k->writer);
	if (r >= 0)
		r = copy_message(c, k, &copy, commit_segment, note_segment);
	segment_unuse(s, commit_segment);
	if (note_segment)
		segment_unuse(s, note_segment);
	if (r < 0) {
		if (k->writer)
			writer_unref(k->writer);
		free(k->commit_record);
		free(k->note_record);
		note_error(c, r);
		if (r == -EBADMSG || r == -EIO)
			LOG(s->log, LOG_ERROR, "a message in the spool can't be read whole and stays where it is",
			    F_ID("id", id), F_UINT("segment", c->segment->number), F_UINT("offset", offset),
			    F_ERRNO("error", r));
		return 0;
	}
	c->count++;
	c->bytes += copy.size;
	return 0;
}

/* --- notes and removals ----------------------------------------------------------------------- */

static void submit_state(struct compaction *c, struct copy *k, struct state_item *t)
{
	t->item.lazy = false;
	t->item.waiter = &k->waiter;
	c->count++;
	c->bytes += t->len;
	spool_submit(c->spool, &t->item, URGENCY_NOW);
}

static int move_note(struct compaction *c, msgid_t id, uint32_t offset, struct slice note)
{
	struct spool *s = c->spool;
	struct state_item *t;
	struct entry *e;
	struct copy *k;
	bool current;
	int r;

	spool_lock(s);
	e = index_find(&s->index, id);
	current = e && !(e->flags & ENTRY_REMOVING) && e->note_length > 0 &&
		  e->note_segment == c->segment->number && e->note_offset == offset;
	spool_unlock(s);
	if (!current || in_group(c, id))
		return 0;
	r = next_copy(c, id, &k);
	if (r >= 0)
		r = state_item_new(ITEM_NOTE, id, note, &t);
	if (r < 0)
		return r;
	t->copy = true;
	t->source_segment = c->segment->number;
	t->source_offset = offset;
	submit_state(c, k, t);
	return 0;
}

static int flush_removes(struct compaction *c)
{
	struct slice data = slice_new((const char *) c->removes, c->removes_len);
	struct state_item *t;
	struct copy *k;
	int r;

	if (c->removes_len == 0)
		return 0;
	r = next_copy(c, MSGID_NONE, &k);
	if (r >= 0)
		r = state_item_new(ITEM_REMOVES, MSGID_NONE, data, &t);
	if (r < 0)
		return r;
	c->removes_len = 0;
	submit_state(c, k, t);
	return 0;
}

static int move_removal(struct compaction *c, struct removed removed)
{
	struct spool *s = c->spool;
	bool needed;

	spool_lock(s);
	needed = removed.segment != c->segment->number && segments_find(&s->segments, removed.segment);
	/* Dead copies may also lie in other segments that were emptied and are still there. */
	needed |= s->segments.emptied > (c->segment->emptied ? 1u : 0u);
	spool_unlock(s);
	if (!needed)
		return 0;
	removes_encode(removed, c->removes + c->removes_len);
	c->removes_len += RECORD_REMOVES_ENTRY;
	return c->removes_len == REMOVES_AT_ONCE * RECORD_REMOVES_ENTRY ? flush_removes(c) : 0;
}

static int move_item(struct compaction *c, const struct walk_item *item)
{
	const unsigned char *payload = (const unsigned char *) item->payload.data;
	int r = 0;

	switch (item->record.type) {
	case RECORD_CHUNK:
	case RECORD_COMMIT:
		return move_message(c, item->record.id, item->offset);
	case RECORD_NOTE:
		return move_note(c, item->record.id, item->offset, item->payload);
	case RECORD_REMOVE:
		return move_removal(c, (struct removed) { .id = item->record.id,
							  .segment = (uint32_t) item->record.aux });
	case RECORD_REMOVES:
		for (size_t at = 0; r >= 0 && at + RECORD_REMOVES_ENTRY <= item->payload.len; at += RECORD_REMOVES_ENTRY)
			r = move_removal(c, removes_decode(payload + at));
		return r;
	default:
		return 0;
	}
}

static ssize_t read_segment(void *file, void *data, size_t len, uint64_t offset)
{
	return file_pread(file, data, len, offset);
}

static int walk_and_move(struct compaction *c, struct file *f)
{
	struct walk_source source = { .read = read_segment, .context = f,
				      .size = c->segment->failed ? c->segment->cut : c->segment->used };
	struct walk_item item;
	struct walk walk;
	int r, end;

	walk_init(&walk, &source, c->segment->key);
	while ((r = walk_next(&walk, &item)) > 0) {
		if (item.kind != WALK_RECORD)
			continue;
		r = move_item(c, &item);
		if (r < 0 || fiber_cancelled())
			break;
	}
	if (r >= 0 && fiber_cancelled())
		r = -ECANCELED;
	if (r >= 0)
		r = flush_removes(c);
	end = finish_group(c);
	walk_done(&walk);
	return r < 0 ? r : end;
}

int compact_segment(struct spool *s, struct segment *g)
{
	struct compaction c = { .spool = s, .segment = g, .started = now() };
	uint64_t living;
	struct file *f;
	int r;

	spool_lock(s);
	segment_use(s, g);
	living = g->living;
	spool_unlock(s);
	c.group = malloc(GROUP * sizeof(struct copy));
	c.removes = malloc(REMOVES_AT_ONCE * RECORD_REMOVES_ENTRY);
	r = c.group && c.removes ? segment_open(s, g, &f) : -ENOMEM;
	if (r >= 0)
		r = walk_and_move(&c, f);
	if (r >= 0)
		r = c.error;
	spool_lock(s);
	if (r >= 0)
		g->target_count = 0; /* its removals are elsewhere now */
	living -= MIN(living, g->living);
	spool_unlock(s);
	segment_unuse(s, g);
	free(c.group);
	free(c.removes);
	LOG(s->log, LOG_DEBUG, "compacted a segment of the spool", F_UINT("segment", g->number), F_UINT("moved", living),
	    F_ERRNO("result", r));
	return r;
}
