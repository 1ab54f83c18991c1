/* A body on its way into the log: gathered in chunks, handed over when they are full, committed at the end. */
#include <stdlib.h>

#include "base/crc32c.h"
#include "spool/state.h"

/* --- chunks ----------------------------------------------------------------------------------- */

static struct chunk *chunk_get(struct spool *s, bool large)
{
	struct chunk_pool *pool = large ? &s->large_chunks : &s->small_chunks;
	uint32_t capacity = large ? s->chunk_large : s->chunk_small;
	struct chunk *k = NULL;

	pthread_mutex_lock(&s->pool_mutex);
	if (pool->free) {
		k = container_of(pool->free, struct chunk, item);
		pool->free = k->item.next;
		pool->count--;
	}
	pthread_mutex_unlock(&s->pool_mutex);
	if (!k) {
		k = malloc(sizeof(*k) + capacity + RECORD_ALIGN);
		if (!k)
			return NULL;
		k->capacity = capacity;
	}
	k->len = 0;
	return k;
}

void chunk_put(struct spool *s, struct chunk *k)
{
	struct chunk_pool *pool = k->capacity == s->chunk_large ? &s->large_chunks : &s->small_chunks;

	pthread_mutex_lock(&s->pool_mutex);
	if (pool->count < POOL_BYTES / k->capacity) {
		k->item.next = pool->free;
		pool->free = &k->item;
		pool->count++;
		k = NULL;
	}
	pthread_mutex_unlock(&s->pool_mutex);
	free(k);
}

static void pool_done(struct chunk_pool *pool)
{
	while (pool->free) {
		struct chunk *k = container_of(pool->free, struct chunk, item);

		pool->free = k->item.next;
		free(k);
	}
	pool->count = 0;
}

void chunk_pools_done(struct spool *s)
{
	pool_done(&s->small_chunks);
	pool_done(&s->large_chunks);
}

/* --- the writer ------------------------------------------------------------------------------- */

int writer_new(struct spool *s, msgid_t id, struct spool_writer **ret)
{
	struct spool_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->magic = SPOOL_WRITER_MAGIC;
	w->item.kind = ITEM_COMMIT;
	w->item.id = w->id = id;
	w->spool = s;
	w->extents = &w->first_extent;
	w->extent_capacity = 1;
	atomic_init(&w->refs, 1);
	*ret = w;
	return 0;
}

int spool_writer_new(struct spool *s, msgid_t id, struct spool_writer **ret)
{
	int r;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	if (id == MSGID_NONE)
		return -EINVAL;
	if (atomic_load_explicit(&s->failed, memory_order_relaxed))
		return -EROFS;
	/* The look at the free space is tidy's, which may block; here it is only reminded. */
	if (now() >= atomic_load_explicit(&s->space_checked, memory_order_relaxed) + RETRY_ROOM)
		tidy_wake(s);
	if (atomic_load_explicit(&s->full, memory_order_relaxed))
		return -ENOSPC;
	r = writer_new(s, id, ret);
	if (r < 0)
		return r;
	(*ret)->coming = true;
	atomic_fetch_add(&s->coming, 1);
	return 0;
}

/* The last one gives back the space of what was not committed. */
void writer_unref(struct spool_writer *w)
{
	struct spool *s = w->spool;
	bool wake = false;

	if (atomic_fetch_sub(&w->refs, 1) > 1)
		return;
	if (w->extent_count > 0) {
		spool_lock(s);
		for (uint32_t i = 0; i < w->extent_count; i++) {
			const struct extent *x = &w->extents[i];
			struct record r = { .length = x->length };
			struct segment *g = segments_find(&s->segments, x->segment);

			if (segment_release(g, record_size(&r), s->config.compact_percent))
				wake = true;
		}
		spool_unlock(s);
	}
	if (wake)
		tidy_wake(s);
	if (w->chunk)
		chunk_put(s, w->chunk);
	if (w->front)
		chunk_put(s, w->front);
	if (w->extents != &w->first_extent)
		free(w->extents);
	w->magic = 0;
	free(w);
}

/* Whether with these the next WRITE_PIECE bytes of chunks are complete. */
static bool fills_a_piece(struct spool *s, uint32_t bytes)
{
	unsigned before = atomic_fetch_add_explicit(&s->chunk_bytes, bytes, memory_order_relaxed);

	return before / WRITE_PIECE != (before + bytes) / WRITE_PIECE;
}

static struct item *ready(struct spool_writer *w, struct chunk *k, bool front, uint64_t body_offset)
{
	k->item = (struct item) { .kind = ITEM_CHUNK, .id = w->id };
	k->writer = w;
	k->front = front;
	k->body_offset = body_offset;
	k->crc = crc32c(0, k->data, k->len);
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return &k->item;
}

/* Its offset is the one in what was appended: how long the front will be is not known yet. */
static struct item *chunk_ready(struct spool_writer *w)
{
	struct chunk *k = TAKE_PTR(w->chunk);

	w->handed_over++;
	return ready(w, k, false, w->size - (w->front ? w->front->len : 0) - k->len);
}

/* Hands the full chunk over; waits when that makes too many, so that a fast sender can't fill the memory. */
static int chunk_hand_over(struct spool_writer *w)
{
	struct waiter waiter;
	uint32_t len = w->chunk->len;
	struct item *i = chunk_ready(w);
	bool wait = ++w->under_way >= CHUNKS_UNDER_WAY;
	bool urgent = fills_a_piece(w->spool, len) || wait;

	if (wait) {
		waiter_init(&waiter);
		i->waiter = &waiter;
	}
	i->patient = !urgent;
	spool_submit(w->spool, i, urgent ? URGENCY_STILL : URGENCY_LAZY);
	if (wait) {
		(void) waiter_wait(&waiter, "the spool to write");
		w->under_way = 0; /* items are handled in order: the earlier ones are done, too */
	}
	return atomic_load_explicit(&w->error, memory_order_relaxed);
}

/* Most messages fit into a small chunk; one that doesn't goes on in a large one with what it has, which is little when
 * the first read showed it. */
static int chunk_grow(struct spool_writer *w)
{
	struct chunk *large = chunk_get(w->spool, true);

	if (!large)
		return -ENOMEM;
	memcpy(large->data, w->chunk->data, w->chunk->len);
	large->len = w->chunk->len;
	chunk_put(w->spool, w->chunk);
	w->chunk = large;
	return 0;
}

/* Its commit is handed over now, or will never be. */
static void arrived(struct spool_writer *w)
{
	if (w->coming)
		atomic_fetch_sub(&w->spool->coming, 1);
	w->coming = false;
}

int spool_writer_reserve(struct spool_writer *w, size_t want, char **ret, size_t *ret_len)
{
	int r;

	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	r = atomic_load_explicit(&w->error, memory_order_relaxed);
	if (r < 0)
		return r;
	if (w->chunk && w->chunk->capacity < w->spool->chunk_large && want > w->chunk->capacity - w->chunk->len)
		r = chunk_grow(w);
	else if (w->chunk && w->chunk->len == w->chunk->capacity)
		r = chunk_hand_over(w);
	if (r < 0)
		return r;
	if (!w->chunk) {
		if (w->handed_over == RECORD_MAX_EXTENTS - 1) /* and one may come in front */
			return -EFBIG;
		w->chunk = chunk_get(w->spool, w->size > 0);
		if (!w->chunk)
			return -ENOMEM;
	}
	*ret = (char *) w->chunk->data + w->chunk->len;
	*ret_len = MIN(MAX(want, (size_t) 1), (size_t) (w->chunk->capacity - w->chunk->len));
	return 0;
}

void spool_writer_used(struct spool_writer *w, size_t len)
{
	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	if (len == 0)
		return;
	assert(w->chunk && len <= w->chunk->capacity - w->chunk->len);
	w->chunk->len += (uint32_t) len;
	w->size += len;
}

int spool_writer_append(struct spool_writer *w, struct slice data)
{
	while (data.len > 0) {
		size_t room;
		char *at;
		int r = spool_writer_reserve(w, data.len, &at, &room);

		if (r < 0)
			return r;
		memcpy(at, data.data, room);
		spool_writer_used(w, room);
		data = slice_skip(data, room);
	}
	return 0;
}

/* The place for len bytes before what the chunk has; NULL: it has no room. */
static unsigned char *make_room_before(struct chunk *k, size_t len)
{
	if (!k || len > k->capacity - k->len)
		return NULL;
	memmove(k->data + len, k->data, k->len);
	k->len += (uint32_t) len;
	return k->data;
}

/* What is in front already moves to a chunk that has room for more before it. */
static int front_grow(struct spool_writer *w, size_t len)
{
	size_t had = w->front ? w->front->len : 0;
	struct chunk *k;

	if (len > w->spool->chunk_large - had)
		return -EFBIG;
	k = chunk_get(w->spool, had + len > w->spool->chunk_small);
	if (!k)
		return -ENOMEM;
	if (w->front) {
		memcpy(k->data, w->front->data, had);
		k->len = (uint32_t) had;
		chunk_put(w->spool, w->front);
	}
	w->front = k;
	return 0;
}

int spool_writer_front(struct spool_writer *w, struct slice data)
{
	unsigned char *at;
	int r;

	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	r = atomic_load_explicit(&w->error, memory_order_relaxed);
	if (r < 0 || data.len == 0)
		return r;
	/* Most messages still lie in their only chunk. */
	at = make_room_before(w->front || w->handed_over ? w->front : w->chunk, data.len);
	if (!at) {
		r = front_grow(w, data.len);
		if (r < 0)
			return r;
		at = make_room_before(w->front, data.len);
	}
	memcpy(at, data.data, data.len);
	w->size += data.len;
	return 0;
}

uint64_t spool_writer_size(const struct spool_writer *w)
{
	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	return w->size;
}

/* What is not in the log yet of the body, in front of the commit. Returns the first. */
static struct item *last_chunks(struct spool_writer *w)
{
	struct item *first = &w->item, *i;

	w->item.next = NULL;
	if (w->front) {
		i = ready(w, w->front, true, 0);
		i->next = first;
		first = i;
	}
	if (w->chunk && w->chunk->len > 0) {
		i = chunk_ready(w);
		i->next = first;
		first = i;
	}
	w->front = NULL;
	return first;
}

int writer_submit(struct spool_writer *w, struct slice envelope, struct slice note, struct waiter *waiter)
{
	uint32_t bytes = (w->chunk ? w->chunk->len : 0) + (w->front ? w->front->len : 0);
	enum urgency urgency;
	int r = atomic_load_explicit(&w->error, memory_order_relaxed);

	if (r < 0)
		return r;
	if (envelope.len > RECORD_MAX_PAYLOAD || note.len > RECORD_MAX_PAYLOAD ||
	    envelope.len + note.len > RECORD_MAX_PAYLOAD)
		return -EFBIG;
	w->envelope = envelope;
	w->note = note;
	w->payload_crc = crc32c(crc32c(0, note.data, note.len), envelope.data, envelope.len);
	w->item.waiter = waiter;
	urgency = bytes > 0 && fills_a_piece(w->spool, bytes) ? URGENCY_STILL : URGENCY_NOW;
	arrived(w);
	spool_submit(w->spool, last_chunks(w), urgency);
	return 0;
}

int spool_writer_commit(struct spool_writer *w, struct slice envelope, struct slice note)
{
	struct waiter waiter;
	int r;

	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	waiter_init(&waiter);
	r = writer_submit(w, envelope, note, &waiter);
	if (r >= 0)
		r = waiter_wait(&waiter, "the commit of a message");
	else
		arrived(w);
	writer_unref(w);
	return r;
}

void spool_writer_abort(struct spool_writer *w)
{
	if (!w)
		return;
	CHECK_MAGIC(w, SPOOL_WRITER_MAGIC);
	arrived(w);
	writer_unref(w);
}
