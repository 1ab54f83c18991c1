/* Bodies and envelopes, straight from the segment files. A reader pins the segments of its message, so that their
 * files stay open when the message is moved or removed meanwhile. Each chunk is checked as a whole before any of
 * its bytes are given out. */
#include <stdlib.h>

#include "spool/state.h"

struct spool_reader {
	unsigned magic;
	struct spool *spool;
	msgid_t id;
	uint64_t size;
	struct extent *extents;
	struct segment **segments; /* one for each extent, each pinned for it */
	struct extent one_extent;  /* most messages have one */
	struct segment *one_segment;
	uint32_t extent_count;
	uint32_t current;        /* the extent that is at hand */
	uint64_t current_start;  /* where it begins in the body */
	unsigned char *record;   /* its bytes; NULL: not read yet */
};

int read_record(struct spool *s, struct segment *g, uint32_t offset, uint32_t length, struct record *ret,
		unsigned char **ret_data)
{
	_cleanup_(freep) unsigned char *data = malloc(length);
	struct record record;
	struct file *f;
	ssize_t n;
	int r;

	if (!data)
		return -ENOMEM;
	r = segment_open(s, g, &f);
	if (r < 0)
		return r;
	n = file_pread(f, data, length, offset);
	if (n < 0)
		return (int) n;
	if (record_decode(data, (size_t) n, g->key, offset, &record) < 0 || record_size(&record) != length ||
	    (size_t) n < length ||
	    !record_payload_valid(&record, data + RECORD_HEADER + record.extents * RECORD_EXTENT))
		return -EBADMSG;
	*ret = record;
	*ret_data = TAKE_PTR(data);
	return 0;
}

int spool_reader_open(struct spool *s, msgid_t id, struct spool_reader **ret)
{
	_cleanup_(freep) struct spool_reader *r = calloc(1, sizeof(*r));
	struct entry *e;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	if (!r)
		return -ENOMEM;
	spool_lock(s);
	e = index_find(&s->index, id);
	if (!e || e->flags & ENTRY_REMOVING) {
		spool_unlock(s);
		return -ENOENT;
	}
	r->extent_count = e->extents;
	r->size = e->size;
	if (e->extents == 1) {
		r->extents = &r->one_extent;
		r->segments = &r->one_segment;
	} else if (e->extents > 0) {
		r->extents = malloc(e->extents * (sizeof(struct extent) + sizeof(struct segment *)) + sizeof(void *));
		if (!r->extents) {
			spool_unlock(s);
			return -ENOMEM;
		}
		/* The pointers first, for their alignment. */
		r->segments = (struct segment **) r->extents;
		r->extents = (struct extent *) (r->segments + e->extents);
	}
	if (e->extents > 0)
		memcpy(r->extents, entry_extents(e), e->extents * sizeof(struct extent));
	for (uint32_t i = 0; i < r->extent_count; i++) {
		r->segments[i] = segments_find(&s->segments, r->extents[i].segment);
		segment_use(s, r->segments[i]);
	}
	spool_unlock(s);
	r->magic = SPOOL_READER_MAGIC;
	r->spool = s;
	r->id = id;
	*ret = TAKE_PTR(r);
	return 0;
}

uint64_t spool_reader_size(const struct spool_reader *r)
{
	CHECK_MAGIC(r, SPOOL_READER_MAGIC);
	return r->size;
}

/* Is that its offset? A chunk that was put in front does not count for those behind it. */
static bool is_offset(const struct spool_reader *r, uint64_t aux)
{
	return aux == r->current_start || (r->current > 0 && aux == r->current_start - r->extents[0].length);
}

/* Makes the chunk that holds `offset` the current one, which must lie before the end. */
static int go_to(struct spool_reader *r, uint64_t offset)
{
	const struct extent *x;
	struct record record;
	struct record shape;
	int e;

	if (offset < r->current_start) {
		freep(&r->record);
		r->record = NULL;
		r->current = 0;
		r->current_start = 0;
	}
	while (offset - r->current_start >= r->extents[r->current].length) {
		freep(&r->record);
		r->record = NULL;
		r->current_start += r->extents[r->current].length;
		if (++r->current == r->extent_count)
			return -EBADMSG;
	}
	if (r->record)
		return 0;
	x = &r->extents[r->current];
	shape = (struct record) { .length = x->length };
	e = read_record(r->spool, r->segments[r->current], x->offset, record_size(&shape), &record, &r->record);
	if (e < 0)
		return e;
	if (record.type != RECORD_CHUNK || record.id != r->id || record.length != x->length ||
	    !is_offset(r, record.aux)) {
		freep(&r->record);
		r->record = NULL;
		return -EBADMSG;
	}
	return 0;
}

int spool_reader_view(struct spool_reader *r, uint64_t offset, struct slice *ret)
{
	struct slice chunk;
	int e;

	CHECK_MAGIC(r, SPOOL_READER_MAGIC);
	if (offset >= r->size) {
		*ret = SLICE_NULL;
		return 0;
	}
	e = go_to(r, offset);
	if (e < 0)
		return e;
	chunk = slice_new((const char *) r->record + RECORD_HEADER, r->extents[r->current].length);
	*ret = slice_skip(chunk, (size_t) (offset - r->current_start));
	return 0;
}

ssize_t spool_reader_read(struct spool_reader *r, uint64_t offset, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct slice s;
		int e = spool_reader_view(r, offset + done, &s);

		if (e < 0)
			return done > 0 ? (ssize_t) done : e;
		if (s.len == 0)
			break;
		s = slice_head(s, len - done);
		memcpy((char *) data + done, s.data, s.len);
		done += s.len;
	}
	return (ssize_t) done;
}

void spool_reader_close(struct spool_reader *r)
{
	if (!r)
		return;
	CHECK_MAGIC(r, SPOOL_READER_MAGIC);
	for (uint32_t i = 0; i < r->extent_count; i++)
		segment_unuse(r->spool, r->segments[i]);
	if (r->segments != &r->one_segment)
		free(r->segments);
	free(r->record);
	r->magic = 0;
	free(r);
}

int spool_envelope(struct spool *s, msgid_t id, char **ret, size_t *ret_len)
{
	_cleanup_(freep) unsigned char *data = NULL;
	uint32_t offset = 0, length = 0;
	struct segment *g = NULL;
	struct record record;
	struct slice envelope;
	struct entry *e;
	int r;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	spool_lock(s);
	e = index_find(&s->index, id);
	if (e && !(e->flags & ENTRY_REMOVING)) {
		g = segments_find(&s->segments, e->commit_segment);
		offset = e->commit_offset;
		length = e->commit_length;
		segment_use(s, g);
	}
	spool_unlock(s);
	if (!g)
		return -ENOENT;
	r = read_record(s, g, offset, length, &record, &data);
	segment_unuse(s, g);
	if (r < 0)
		return r;
	if (record.type != RECORD_COMMIT || record.id != id)
		return -EBADMSG;
	envelope = slice_new((const char *) data + RECORD_HEADER + record.extents * RECORD_EXTENT, record.length);
	envelope = slice_skip(envelope, record.note_length);
	*ret = slice_dup(envelope);
	if (!*ret)
		return -ENOMEM;
	*ret_len = envelope.len;
	return 0;
}
