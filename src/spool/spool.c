/* Opening and closing, notes and removals, statistics. */
#include "spool/spool.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "spool/state.h"

/* --- notes and removals ----------------------------------------------------------------------- */

void spool_submit(struct spool *s, struct item *first, enum urgency urgency)
{
	bool lazy = urgency == URGENCY_LAZY;

	if (urgency == URGENCY_NOW) /* while more is expected, nothing wakes a committer that waits for it */
		lazy = atomic_load(&s->gathering) && atomic_load(&s->coming) > 0;
	inbox_push(&s->inbox, first);
	if (unlikely(atomic_load(&s->ended)))
		committer_refuse_late(s);
	else
		waker_wake(&s->committer_waker, lazy);
}

int spool_sync(struct spool *s)
{
	struct item item = { .kind = ITEM_SYNC };
	struct waiter waiter;

	waiter_init(&waiter);
	item.waiter = &waiter;
	spool_submit(s, &item, URGENCY_NOW);
	return waiter_wait(&waiter, "a sync of the spool");
}

int state_item_new(enum item_kind kind, msgid_t id, struct slice data, struct state_item **ret)
{
	struct state_item *t;

	if (data.len > RECORD_MAX_PAYLOAD)
		return -EFBIG;
	t = malloc(sizeof(*t) + data.len);
	if (!t)
		return -ENOMEM;
	*t = (struct state_item) { .item = { .kind = kind, .lazy = true, .id = id }, .len = (uint32_t) data.len };
	if (data.len > 0)
		memcpy(t->data, data.data, data.len);
	t->crc = crc32c(0, data.data, data.len);
	*ret = t;
	return 0;
}

/* -ENOENT when there is no such message. */
static int check_message(struct spool *s, msgid_t id, bool remove)
{
	struct entry *e;
	bool there;

	if (atomic_load_explicit(&s->failed, memory_order_relaxed))
		return -EROFS;
	spool_lock(s);
	e = index_find(&s->index, id);
	there = e && !(e->flags & ENTRY_REMOVING);
	if (there && remove)
		e->flags |= ENTRY_REMOVING;
	spool_unlock(s);
	return there ? 0 : -ENOENT;
}

/* The largest note that fits into a segment; a larger one would only fail later, where nobody listens. */
static bool fits(const struct spool *s, size_t len)
{
	return len + SEGMENT_START + 3 * RECORD_HEADER <= s->config.segment_size;
}

int spool_note(struct spool *s, msgid_t id, struct slice note)
{
	struct state_item *t;
	int r;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	r = fits(s, note.len) ? check_message(s, id, false) : -EFBIG;
	if (r >= 0)
		r = state_item_new(ITEM_NOTE, id, note, &t);
	if (r < 0)
		return r;
	spool_submit(s, &t->item, URGENCY_LAZY);
	return 0;
}

int spool_note_sync(struct spool *s, msgid_t id, struct slice note)
{
	struct state_item *t;
	struct waiter waiter;
	int r;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	r = check_message(s, id, false);
	if (r >= 0)
		r = state_item_new(ITEM_NOTE, id, note, &t);
	if (r < 0)
		return r;
	waiter_init(&waiter);
	t->item.lazy = false;
	t->item.waiter = &waiter;
	spool_submit(s, &t->item, URGENCY_NOW);
	return waiter_wait(&waiter, "a durable note");
}

int spool_remove(struct spool *s, msgid_t id)
{
	struct state_item *t;
	int r;

	CHECK_MAGIC(s, SPOOL_MAGIC);
	r = state_item_new(ITEM_REMOVE, id, SLICE_NULL, &t);
	if (r < 0)
		return r;
	r = check_message(s, id, true);
	if (r < 0) {
		free(t);
		return r;
	}
	spool_submit(s, &t->item, URGENCY_LAZY);
	return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int fill_config(struct spool *s, const struct spool_config *config)
{
	struct spool_config *c = &s->config;

	*c = *config;
	if (!c->path || c->path[0] == '\0')
		return -EINVAL;
	if (strlen(c->path) > SPOOL_PATH_MAX - 64)
		return -ENAMETOOLONG;
	s->path = strdup(c->path);
	if (!s->path)
		return -ENOMEM;
	c->path = s->path;
	if (c->segment_size == 0)
		c->segment_size = 64u << 20;
	c->segment_size = MAX(MIN(c->segment_size, (uint64_t) SEGMENT_MAX_SIZE), (uint64_t) SEGMENT_MIN_SIZE);
	c->segment_size &= ~(uint64_t) (RECORD_ALIGN - 1);
	if (c->reserve == 0)
		c->reserve = 2 * c->segment_size; /* so that compaction can go on: it needs space to make space */
	c->spare = MIN(c->spare, (unsigned) SPOOL_SPARE_MAX);
	if (c->lazy_sync == 0)
		c->lazy_sync = 50 * USEC_MS;
	if (c->compact_percent == 0)
		c->compact_percent = 30;
	c->compact_percent = MIN(c->compact_percent, 90u);
	if (c->compact_after == 0)
		c->compact_after = 30 * USEC_SEC;
	/* Several chunks fit into the smallest segment. What malloc gives should be a round number. */
	s->chunk_large = (uint32_t) MIN((uint64_t) CHUNK_LARGE, c->segment_size / 4);
	s->chunk_small = MIN(CHUNK_SMALL, s->chunk_large) - (uint32_t) sizeof(struct chunk) - RECORD_ALIGN;
	return 0;
}

static int take_lock(struct spool *s)
{
	_cleanup_(freep) char *path = malloc(SPOOL_PATH_MAX);
	int r;

	if (!path)
		return -ENOMEM;
	(void) snprintf(path, SPOOL_PATH_MAX, "%s/lock", s->path);
	r = file_open(s->world, path, FILE_READ | FILE_WRITE | FILE_CREATE, 0600, &s->lock);
	return r < 0 ? r : file_lock(s->lock);
}

static int begin_head(struct spool *s)
{
	int r = segment_create(s, true, &s->head);

	/* On a full disk a few blocks are enough to note what is delivered, which then makes space. */
	if (r == -ENOSPC) {
		atomic_store(&s->full, true);
		r = segment_create(s, false, &s->head);
	}
	if (r < 0)
		return r;
	s->head->state = SEGMENT_HEAD;
	s->committer.batch_start = s->committer.write_at = s->head->used;
	return 0;
}

static int start_loops(struct spool *s)
{
	int r = loop_new(s->world, "spool-log", LOOP_BLOCKING, 8, &s->log_loop);

	if (r >= 0)
		r = loop_new(s->world, "spool-tidy", LOOP_BLOCKING, 8, &s->tidy_loop);
	if (r < 0)
		return r;
	waker_init(&s->committer_waker, s->log_loop);
	waker_init(&s->tidy_waker, s->tidy_loop);
	r = loop_spawn(s->log_loop, "spool-committer", committer_main, s);
	if (r >= 0)
		r = loop_spawn(s->tidy_loop, "spool-tidy", tidy_main, s);
	if (r >= 0)
		r = loop_start(s->log_loop);
	return r < 0 ? r : loop_start(s->tidy_loop);
}

/* Frees whatever an opening got as far as to make. The loops do not run. */
static void spool_free(struct spool *s)
{
	if (s->tidy_loop)
		loop_free(s->tidy_loop);
	if (s->log_loop)
		loop_free(s->log_loop);
	committer_done(s);
	segments_done(&s->segments);
	index_done(&s->index);
	chunk_pools_done(s);
	file_close(s->lock);
	pthread_mutex_destroy(&s->mutex);
	pthread_mutex_destroy(&s->pool_mutex);
	free(s->path);
	s->magic = 0;
	free(s);
}
DEFINE_FREEP(struct spool, spool_free)

static void log_opening(const struct spool *s, const struct spool_recovery *found)
{
	LOG(s->log, LOG_INFO, "the spool is open", F_STR("spool", s->path), F_UINT("messages", found->messages),
	    F_UINT("bytes", found->bytes), F_UINT("segments", found->segments), F_UINT("torn_bytes", found->torn_bytes));
	if (found->quarantined > 0 || found->lost_messages > 0)
		LOG(s->log, LOG_CRITICAL,
		    "the spool is damaged: what could not be read was set aside, look into its quarantine directory",
		    F_STR("spool", s->path), F_UINT("records", found->quarantined),
		    F_UINT("lost_messages", found->lost_messages));
	if (s->config.no_sync)
		LOG(s->log, LOG_WARNING,
		    "the spool does not sync: mail that was accepted is lost when the machine stops; never use this for mail",
		    F_STR("spool", s->path));
}

int spool_open(struct world *w, const struct log *log, const struct spool_config *config,
	       int (*found)(const struct spool_found *m, void *context), void *context,
	       struct spool_recovery *ret_recovery, struct spool **ret)
{
	struct spool_recovery recovery = { .messages = 0 };
	_cleanup_(spool_freep) struct spool *s = NULL;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->magic = SPOOL_MAGIC;
	s->world = w;
	s->log = log;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_mutex_init(&s->pool_mutex, NULL);
	index_init(&s->index);
	r = fill_config(s, config);
	if (r >= 0)
		r = committer_init(s);
	if (r >= 0)
		r = path_make_directories_durably(w, s->path, 0700);
	if (r >= 0)
		r = take_lock(s);
	if (r >= 0) {
		spare_drop(s);
		r = recover(s, found, context, &recovery);
	}
	if (r >= 0)
		r = begin_head(s);
	if (r < 0)
		return r;

	r = start_loops(s);
	if (r < 0) {
		if (s->log_loop)
			loop_stop(s->log_loop);
		if (s->tidy_loop)
			loop_stop(s->tidy_loop);
		return r;
	}
	log_opening(s, &recovery);
	if (ret_recovery)
		*ret_recovery = recovery;
	*ret = TAKE_PTR(s);
	return 0;
}

/* The segment that was made ready and is not needed. */
static void drop_prepared(struct spool *s)
{
	struct segment *g = s->prepared;
	char *path = g ? malloc(SPOOL_PATH_MAX) : NULL;

	if (path)
		(void) path_unlink(s->world, segment_path(s, g->number, path));
	free(path);
}

void spool_close(struct spool *s)
{
	if (!s)
		return;
	CHECK_MAGIC(s, SPOOL_MAGIC);
	/* Tidying may wait for the committer, which therefore goes last. */
	loop_stop(s->tidy_loop);
	loop_stop(s->log_loop);
	drop_prepared(s);
	if (s->spare.file)
		spare_drop(s);
	spool_free(s);
}

void spool_stats(struct spool *s, struct spool_stats *ret)
{
	CHECK_MAGIC(s, SPOOL_MAGIC);
	spool_lock(s);
	*ret = s->stats;
	ret->messages = s->index.len;
	ret->segments = s->segments.count;
	ret->bytes_on_disk = s->segments.bytes_on_disk;
	ret->bytes_living = 0;
	for (uint32_t i = 0; i < s->segments.count; i++)
		ret->bytes_living += s->segments.list[i]->living;
	ret->index_bytes = index_footprint(&s->index);
	ret->full = atomic_load(&s->full);
	ret->failed = atomic_load(&s->failed);
	spool_unlock(s);
}
