/* The fiber that owns the log. It takes what gathered in the inbox, gives everything its place, writes it with one
 * call, syncs once if somebody waits for that, and answers all waiters together. While it writes and syncs, the
 * next batch gathers; a lonely writer finds it asleep and has it for itself. When other messages are on their way, a
 * commit waits for them for a moment, at most as long as a sync takes: so much later, but with half the syncs.
 *
 * When the disk fails a write or a sync, nobody of that batch gets a yes, the segment is cut at what was synced
 * (by truncation if that still works, and in any case by a note in the header of the next segment), and the log
 * goes on in a new segment. After several failures in a row the spool stops accepting. */
#include <stdlib.h>

#include "spool/state.h"

int committer_init(struct spool *s)
{
	struct committer *c = &s->committer;

	c->iov = malloc(BATCH_IOV * sizeof(struct iovec));
	c->staging = malloc(BATCH_STAGING);
	return c->iov && c->staging ? 0 : -ENOMEM;
}

static void free_state_items(struct item_list *l)
{
	for (struct item *i; (i = item_list_pop(l));)
		free(container_of(i, struct state_item, item));
}

void committer_done(struct spool *s)
{
	free_state_items(&s->committer.held);
	free_state_items(&s->committer.unsynced);
	free(s->committer.iov);
	free(s->committer.staging);
}

void entry_release(struct spool *s, const struct entry *e, bool *wake_tidy)
{
	const struct extent *x = entry_extents(e);
	unsigned percent = s->config.compact_percent;

	for (uint32_t i = 0; i < e->extents; i++) {
		struct record r = { .length = x[i].length };

		if (segment_release(segments_find(&s->segments, x[i].segment), record_size(&r), percent))
			*wake_tidy = true;
	}
	if (segment_release(segments_find(&s->segments, e->commit_segment), e->commit_length, percent))
		*wake_tidy = true;
	if (e->note_length > 0 && segment_release(segments_find(&s->segments, e->note_segment), e->note_length, percent))
		*wake_tidy = true;
}

static void push_front(struct item_list *l, struct item *i)
{
	struct item_list one = { i, i };

	i->next = NULL;
	item_list_splice_front(l, &one);
}

/* --- failing ---------------------------------------------------------------------------------- */

static void stop_accepting(struct spool *s)
{
	if (atomic_exchange(&s->failed, true))
		return;
	LOG(s->log, LOG_CRITICAL,
	    "the spool stops accepting mail: its disk failed several times in a row; check the disk, then restart",
	    F_STR("spool", s->path), F_UINT("failures", s->committer.failures));
}

/* Takes the next segment as the head. What is in the present one is durable or void. */
static void change_head(struct spool *s, struct segment *next)
{
	struct committer *c = &s->committer;
	struct segment *old = s->head;

	spool_lock(s);
	old->state = SEGMENT_SEALED;
	next->state = SEGMENT_HEAD;
	s->head = next;
	spool_unlock(s);
	segment_unuse(s, old);
	c->batch_start = c->write_at = c->begun = next->used;
	c->released = false;
	tidy_wake(s);
}

/* After the head failed: the next segment says in its header where the failed ones end, before anything is in it. */
static int leave_failed_head(struct spool *s)
{
	struct committer *c = &s->committer;

	while (c->failures < FAILURES_MAX) {
		struct segment *next;
		int r = spool_next_segment(s, &next);

		if (r >= 0) {
			r = segment_write_header(s, next);
			if (r >= 0) {
				change_head(s, next);
				return 0;
			}
			spool_lock(s);
			next->failed = true;
			next->cut = SEGMENT_START;
			next->state = SEGMENT_SEALED;
			spool_unlock(s);
			segment_unuse(s, next);
		}
		if (r == -ENOSPC)
			return r; /* tried again later */
		c->failures++;
		LOG(s->log, LOG_ERROR, "cannot begin a new segment of the spool", F_STR("spool", s->path),
		    F_ERRNO("error", r));
	}
	stop_accepting(s);
	return -EROFS;
}

static void segment_failed(struct spool *s, int error, const char *what)
{
	struct committer *c = &s->committer;
	struct segment *g = s->head;

	LOG(s->log, LOG_CRITICAL,
	    "the disk failed under the spool: the messages of this batch are refused, the log goes on in a new segment",
	    F_STR("spool", s->path), F_STR("call", what), F_ERRNO("error", error), F_UINT("segment", g->number),
	    F_UINT("offset", g->durable));
	spool_lock(s);
	g->failed = true;
	g->cut = g->durable;
	s->stats.failed_syncs++;
	spool_unlock(s);
	c->failures++;
	/* So that even after a crash of the process alone the page cache does not bring back what was refused. */
	if (file_truncate(g->file, g->cut) >= 0)
		(void) file_sync(g->file);
	batch_fail(s, -EIO, true);
	(void) leave_failed_head(s);
}

/* No space below a write: only where space can't be reserved. What came before the batch is untouched. */
static bool write_ran_out(struct spool *s)
{
	struct committer *c = &s->committer;

	if (c->released || file_truncate(s->head->file, c->batch_start) < 0)
		return false;
	s->head->used = c->write_at = c->batch_start;
	c->begun = MIN(c->begun, c->batch_start);
	c->no_write_until = now() + RETRY_ROOM;
	atomic_store(&s->full, true);
	tidy_wake(s);
	batch_fail(s, -ENOSPC, false);
	return true;
}

static void write_failed(struct spool *s, int error)
{
	if (error != -ENOSPC || !write_ran_out(s))
		segment_failed(s, error, "write");
}

/* --- a batch ---------------------------------------------------------------------------------- */

static int sync_head(struct spool *s)
{
	struct committer *c = &s->committer;
	usec_t began = now();
	int r = s->config.no_sync ? 0 : file_sync(s->head->file);

	c->sync_takes = (7 * c->sync_takes + (now() - began)) / 8;
	return r;
}

/* What is written may go to the disk while more comes. The last page is not full yet. */
static void write_behind(struct spool *s)
{
	struct committer *c = &s->committer;
	uint32_t end = s->head->used & ~4095u;

	if (s->config.no_sync || end < c->begun + WRITE_BEHIND)
		return;
	file_write_behind(s->head->file, c->begun, end - c->begun);
	c->begun = end;
}

/* A part of the batch, because it is large or the lists are full. */
static void write_part(struct spool *s)
{
	int r = batch_write(s);

	if (r < 0)
		write_failed(s, r);
	else
		write_behind(s);
}

/* Writes what was placed, syncs if need be, applies and answers. After a failure all of that is settled, too. */
static int finish_batch(struct spool *s)
{
	struct committer *c = &s->committer;
	bool sync = c->need_sync;
	int r = batch_write(s);

	if (r < 0) {
		write_failed(s, r);
		return r;
	}
	if (sync && s->head->used > s->head->durable) {
		r = sync_head(s);
		if (r < 0) {
			segment_failed(s, r, "fdatasync");
			return r;
		}
		s->head->durable = s->head->used;
		c->begun = s->head->used & ~4095u;
		c->failures = 0;
		spool_lock(s);
		s->stats.syncs++;
		spool_unlock(s);
	} else
		write_behind(s);
	c->need_sync = false;
	batch_apply(s);
	c->batch_start = c->write_at = s->head->used;
	c->released = false;
	if (sync) {
		free_state_items(&c->unsynced);
		c->lazy_sync_at = 0;
	} else if (c->unsynced.first && c->lazy_sync_at == 0)
		c->lazy_sync_at = now() + s->config.lazy_sync;
	return 0;
}

/* The last record of a segment. All of it was synced, so no harm is done when this one fails. */
static void seal(struct spool *s)
{
	struct segment *g = s->head;
	struct record r = { .type = RECORD_SEAL, .durable = g->durable };
	unsigned char bytes[RECORD_HEADER];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };

	if (g->failed || g->used != g->durable)
		return;
	record_encode(&r, NULL, g->key, g->used, bytes);
	if (file_pwritev(g->file, &iov, 1, g->used) < 0)
		return;
	g->used += RECORD_HEADER;
	(void) file_sync(g->file);
}

/* The head is full. */
static int rotate(struct spool *s)
{
	struct committer *c = &s->committer;
	struct segment *next;
	int r;

	if (c->no_segment_until > now() && !atomic_load(&s->prepared))
		return c->no_segment_reason;
	r = spool_next_segment(s, &next);
	if (r < 0) {
		if (c->no_segment_reason != r)
			LOG(s->log, LOG_ERROR, "cannot begin a new segment of the spool; tried again every second",
			    F_STR("spool", s->path), F_ERRNO("error", r));
		c->no_segment_until = now() + RETRY_ROOM;
		c->no_segment_reason = r;
		if (r == -ENOSPC)
			atomic_store(&s->full, true);
		tidy_wake(s);
		return r;
	}
	c->no_segment_until = 0;
	c->no_segment_reason = 0;
	seal(s);
	change_head(s, next);
	return 0;
}

/* An item for which there is no room: who waits is told, notes and removals are kept until there is. */
static void no_room(struct spool *s, struct item *i, int reason)
{
	if (i->lazy)
		item_list_append(&s->committer.held, i);
	else
		batch_refuse(s, i, reason, &s->committer.answers);
}

/* Whether the head can take anything at all now. */
static int head_usable(struct spool *s)
{
	struct committer *c = &s->committer;
	int r;

	if (c->no_write_until > 0 && c->no_write_until > now())
		return -ENOSPC;
	if (!s->head->failed)
		return 0;
	if (c->no_segment_until > now())
		return -ENOSPC;
	r = leave_failed_head(s);
	if (r < 0)
		c->no_segment_until = now() + RETRY_ROOM;
	return r;
}

static void handle(struct spool *s, struct item *i)
{
	struct committer *c = &s->committer;
	int r = atomic_load(&s->failed) ? -EROFS : head_usable(s);

	if (r == -EROFS) {
		batch_refuse(s, i, r, &s->committer.answers);
		return;
	}
	if (r < 0) {
		no_room(s, i, r);
		return;
	}
	r = batch_place(s, i);
	switch (r) {
	case 0:
		if (c->iov_bytes >= WRITE_PIECE)
			write_part(s);
		return;
	case -EBUSY:
		push_front(&c->queue, i);
		write_part(s);
		return;
	case -EDEADLK: /* compaction copied what this batch changes */
		if (c->placed.first) {
			push_front(&c->queue, i);
			(void) finish_batch(s);
		} else
			batch_refuse(s, i, -ESTALE, &s->committer.answers);
		return;
	case -EAGAIN:
		c->need_sync = true;
		r = finish_batch(s);
		if (r >= 0)
			r = rotate(s);
		else
			r = 0; /* settled; in the new head, if there is one, the item may fit */
		if (r >= 0)
			push_front(&c->queue, i);
		else
			no_room(s, i, r);
		return;
	default:
		batch_refuse(s, i, r, &s->committer.answers);
	}
}

static void handle_queue(struct spool *s)
{
	for (struct item *i; (i = item_list_pop(&s->committer.queue));)
		handle(s, i);
}

static void handle_all(struct spool *s)
{
	struct committer *c = &s->committer;

	do {
		handle_queue(s);
		if (c->placed.first)
			(void) finish_batch(s);
	} while (c->queue.first); /* a failure may have put some back */
	waiter_batch_post(&c->answers);
	c->lazy_write_at = 0;
	if (atomic_load(&s->failed)) {
		free_state_items(&c->held);
		free_state_items(&c->unsynced);
		c->lazy_sync_at = 0;
	}
}

/* --- the fiber -------------------------------------------------------------------------------- */

static bool more_is_coming(void *spool)
{
	return atomic_load(&((struct spool *) spool)->coming) > 0;
}

/* A commit has come: others may be about to. What comes meanwhile is written when it fills a piece, so that little is
 * left to do when no more comes. */
static void gather(struct spool *s)
{
	struct committer *c = &s->committer;
	usec_t until = now() + MIN(MAX(c->sync_takes, GATHER_MIN), GATHER_MAX);
	struct item_list taken = { NULL, NULL };

	if (!more_is_coming(s))
		return;
	atomic_store(&s->gathering, true);
	while (waker_sleep(&s->committer_waker, true, more_is_coming, s, "commits that are coming", until) == 0 &&
	       more_is_coming(s) && now() < until) {
		inbox_take(&s->inbox, &taken);
		item_list_splice(&c->queue, &taken);
		handle_queue(s);
	}
	atomic_store(&s->gathering, false);
	inbox_take(&s->inbox, &taken); /* who saw us gathering did not wake us */
	item_list_splice(&c->queue, &taken);
}

/* Returns whether something has come that should not lie. */
static bool take_new(struct spool *s)
{
	struct committer *c = &s->committer;
	struct item_list taken = { NULL, NULL };
	bool urgent = false, commit = false;

	inbox_take(&s->inbox, &taken);
	if (!taken.first)
		return false;
	for (struct item *i = taken.first; i; i = i->next) {
		urgent |= !i->lazy && !i->patient;
		commit |= i->kind == ITEM_COMMIT;
	}
	item_list_splice(&c->queue, &taken);
	if (commit)
		gather(s);
	if (!urgent && c->lazy_write_at == 0)
		c->lazy_write_at = now() + LAZY_WRITE;
	return urgent;
}

static bool nothing_new(void *spool)
{
	return inbox_empty(&((struct spool *) spool)->inbox);
}

static usec_t held_until(const struct spool *s)
{
	const struct committer *c = &s->committer;

	return c->held.first ? MAX(c->no_segment_until, c->no_write_until) : DEADLINE_NEVER;
}

/* Gives up a head in new blocks for the next one, and the space that was reserved in it. */
static void renew_head(struct spool *s)
{
	struct segment *old = s->head;

	atomic_store(&s->renew_head, false);
	if (!old->fresh || old->failed || old->used != old->durable || !atomic_load(&s->prepared))
		return;
	spool_lock(s);
	segment_use(s, old);
	spool_unlock(s);
	if (rotate(s) >= 0 && file_truncate(old->file, old->used) >= 0) {
		spool_lock(s);
		if (!old->gone && old->on_disk > old->used) {
			s->segments.bytes_on_disk -= old->on_disk - old->used;
			old->on_disk = old->used;
		}
		spool_unlock(s);
	}
	segment_unuse(s, old);
}

/* What is due without anybody asking. */
static void do_what_is_due(struct spool *s)
{
	struct committer *c = &s->committer;
	usec_t time = now();

	if (held_until(s) <= time) {
		item_list_splice_front(&c->queue, &c->held);
		c->lazy_write_at = time;
	}
	if (c->queue.first && c->lazy_write_at <= time)
		handle_all(s);
	if (c->lazy_sync_at > 0 && c->lazy_sync_at <= time && !atomic_load(&s->failed)) {
		c->need_sync = true;
		(void) finish_batch(s);
		handle_all(s);
	}
	if (atomic_load(&s->renew_head) && !c->queue.first && !c->unsynced.first)
		renew_head(s);
}

static int sleep_until_needed(struct spool *s)
{
	struct committer *c = &s->committer;
	usec_t deadline = held_until(s);

	if (c->queue.first)
		deadline = MIN(deadline, c->lazy_write_at);
	if (c->lazy_sync_at > 0)
		deadline = MIN(deadline, c->lazy_sync_at);
	if (c->notes_until > now())
		deadline = MIN(deadline, c->notes_until);
	else
		c->notes_until = 0;
	return waker_sleep(&s->committer_waker, c->queue.first || c->notes_until > 0, nothing_new, s, "work", deadline);
}

/* All writers have ended and tidying, too: the last batch, and a clean end of the log. */
static void finish_log(struct spool *s)
{
	struct committer *c = &s->committer;

	do {
		(void) take_new(s);
		item_list_splice_front(&c->queue, &c->held);
		c->no_segment_until = c->no_write_until = 0;
		handle_all(s);
	} while (!nothing_new(s));
	if (!atomic_load(&s->failed) && !s->head->failed) {
		c->need_sync = true;
		if (finish_batch(s) >= 0)
			seal(s);
		else
			handle_all(s);
	}
	if (c->held.first || (c->unsynced.first && !atomic_load(&s->failed)))
		LOG(s->log, LOG_ERROR, "the last notes could not be written: some mail may be delivered again",
		    F_STR("spool", s->path));
	if (s->head->used == s->head->durable + RECORD_HEADER)
		(void) file_truncate(s->head->file, s->head->used); /* gives back what was reserved */
}

/* What comes after the end is refused, by whoever sees it first: the committer or the one who brings it. */
void committer_refuse_late(struct spool *s)
{
	struct waiter_batch answers = { .count = 0 };
	struct item_list late = { NULL, NULL };

	inbox_take(&s->inbox, &late);
	for (struct item *i; (i = item_list_pop(&late));)
		batch_refuse(s, i, -ESHUTDOWN, &answers);
	waiter_batch_post(&answers);
}

void committer_main(void *spool)
{
	struct spool *s = spool;

	for (;;) {
		if (take_new(s)) {
			handle_all(s);
			s->committer.notes_until = now() + LAZY_WRITE;
		}
		do_what_is_due(s);
		if (sleep_until_needed(s) == -ECANCELED)
			break;
	}
	finish_log(s);
	atomic_store(&s->ended, true);
	committer_refuse_late(s);
}
