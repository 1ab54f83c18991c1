#include "spool/walk.h"

#include <stdlib.h>

#define WINDOW (1u << 20)
#define PAGE 4096u

void walk_init(struct walk *w, const struct walk_source *source, struct segment_key key)
{
	*w = (struct walk) { .source = *source, .key = key, .position = SEGMENT_START };
	if (w->source.size > SEGMENT_MAX_SIZE + PAGE)
		w->source.size = SEGMENT_MAX_SIZE + PAGE; /* no segment of ours is larger, and offsets have 32 bits */
}

void walk_done(struct walk *w)
{
	free(w->window);
	w->window = NULL;
}

/* After -EIO: page by page, with zeros for those that the disk won't give. */
static ssize_t read_around(struct walk *w, unsigned char *data, size_t len, uint64_t offset)
{
	for (size_t done = 0, n; done < len; done += n) {
		ssize_t r;

		n = MIN(len - done, PAGE - (offset + done) % PAGE);
		r = w->source.read(w->source.context, data + done, n, offset + done);
		if (r == -EIO) {
			memset(data + done, 0, n);
			w->unreadable += (uint32_t) n;
		} else if (r < 0)
			return r;
		else if ((size_t) r < n)
			return (ssize_t) done + r;
	}
	return (ssize_t) len;
}

/* Makes `len` bytes from `offset` on available, or as many as there are: returns how many. */
static ssize_t window_at(struct walk *w, uint64_t offset, size_t len, const unsigned char **ret)
{
	uint64_t end = w->window_start + w->window_len;
	size_t keep = 0, want;
	ssize_t r;

	if (offset >= w->source.size)
		return 0;
	len = (size_t) MIN((uint64_t) len, w->source.size - offset);
	if (offset >= w->window_start && offset + len <= end) {
		*ret = w->window + (offset - w->window_start);
		return (ssize_t) MIN((uint64_t) w->window_len, end - offset);
	}

	want = (size_t) MIN((uint64_t) MAX(len, (size_t) WINDOW), w->source.size - offset);
	if (want > w->window_capacity) {
		unsigned char *grown = realloc(w->window, want);

		if (!grown)
			return -ENOMEM;
		w->window = grown;
		w->window_capacity = want;
	}
	if (offset >= w->window_start && offset < end) {
		keep = (size_t) (end - offset);
		memmove(w->window, w->window + (offset - w->window_start), keep);
	}
	w->window_start = offset;
	w->window_len = keep;
	r = w->source.read(w->source.context, w->window + keep, want - keep, offset + keep);
	if (r == -EIO)
		r = read_around(w, w->window + keep, want - keep, offset + keep);
	if (r < 0)
		return r;
	w->window_len = keep + (size_t) r;
	if (w->window_len < want) /* the file shrank under us, or was never that long */
		w->source.size = offset + w->window_len;
	*ret = w->window;
	return (ssize_t) w->window_len;
}

/* The header at `offset`: 1 when a record stands there, 0 when not. */
static int header_at(struct walk *w, uint32_t offset, struct record *ret)
{
	const size_t longest = RECORD_HEADER + RECORD_MAX_EXTENTS * RECORD_EXTENT;
	const unsigned char *data;
	ssize_t n;

	_Static_assert(RECORD_HEADER + RECORD_MAX_EXTENTS * RECORD_EXTENT <= WINDOW, "a header fits into the window");
	n = window_at(w, offset, RECORD_HEADER, &data);
	if (n < (ssize_t) RECORD_HEADER)
		return n < 0 ? (int) n : 0;
	if (record_decode(data, (size_t) n, w->key, offset, ret) == 0)
		return 1;
	if ((size_t) n >= longest || !record_has_magic(data, w->key))
		return 0;
	n = window_at(w, offset, longest, &data); /* perhaps only its list is not in the window yet */
	if (n < 0)
		return (int) n;
	return record_decode(data, (size_t) n, w->key, offset, ret) == 0;
}

/* The next place behind `offset` where a record stands; the end of the file when there is none. */
static int resync(struct walk *w, uint32_t offset, uint32_t *ret)
{
	uint64_t at = ((uint64_t) offset + RECORD_ALIGN) & ~(uint64_t) (RECORD_ALIGN - 1);

	while (at + RECORD_HEADER <= w->source.size) {
		const unsigned char *data;
		struct record record;
		ssize_t n = window_at(w, at, RECORD_HEADER, &data);
		size_t i;
		int r;

		if (n < 0)
			return (int) n;
		for (i = 0; i + RECORD_HEADER <= (size_t) n; i += RECORD_ALIGN)
			if (record_has_magic(data + i, w->key))
				break;
		at += i;
		if (i + RECORD_HEADER > (size_t) n)
			continue;
		r = header_at(w, (uint32_t) at, &record);
		if (r != 0) {
			*ret = (uint32_t) at;
			return MIN(r, 0);
		}
		at += RECORD_ALIGN;
	}
	*ret = (uint32_t) w->source.size;
	return 0;
}

static int nothing_recognised(struct walk *w, struct walk_item *ret)
{
	uint32_t next = w->position;
	int r = resync(w, w->position, &next);

	if (r < 0)
		return r;
	ret->kind = next < w->source.size ? WALK_GAP : WALK_TAIL;
	ret->length = next > w->position ? next - w->position : 0;
	w->position = next;
	return ret->length > 0;
}

int walk_next(struct walk *w, struct walk_item *ret)
{
	const unsigned char *data;
	uint32_t size, front;
	ssize_t n;
	int r;

	if (w->position >= w->source.size)
		return 0;
	*ret = (struct walk_item) { .offset = w->position };
	r = header_at(w, w->position, &ret->record);
	if (r < 0)
		return r;
	if (r == 0)
		return nothing_recognised(w, ret);

	size = record_size(&ret->record);
	n = window_at(w, w->position, size, &data);
	if (n < 0)
		return (int) n;
	front = RECORD_HEADER + ret->record.extents * RECORD_EXTENT;
	if ((size_t) n < front + (size_t) ret->record.length) {
		ret->kind = WALK_DAMAGED;
		ret->length = (uint32_t) (w->source.size - w->position);
	} else {
		ret->kind = record_payload_valid(&ret->record, data + front) ? WALK_RECORD : WALK_DAMAGED;
		ret->length = size;
		ret->payload = slice_new((const char *) data + front, ret->record.length);
		ret->extents_at = data;
	}
	w->position = ret->record.type == RECORD_SEAL ? (uint32_t) w->source.size : w->position + ret->length;
	return 1;
}
