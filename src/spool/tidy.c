/* The fiber behind the committer, on a loop of its own where it may block: it prepares the next segment before the
 * present one is full, watches the free space, retires dead segments and has mostly dead ones compacted. */
#include <stdlib.h>

#include "spool/state.h"

#define RETRY_TIDY (10 * USEC_SEC)
#define RETRY_DAMAGED USEC_HOUR
#define PERCENT_WHEN_FULL 80u

void tidy_wake(struct spool *s)
{
	if (!atomic_exchange(&s->tidy_asked, true))
		waker_wake(&s->tidy_waker, false);
}

/* --- the next segment ------------------------------------------------------------------------- */

int spool_next_segment(struct spool *s, struct segment **ret)
{
	struct waiter waiter;
	int r;

	spool_lock(s);
	while (!s->prepared && s->creating) {
		waiter_init(&waiter);
		s->creation_waiter = &waiter;
		spool_unlock(s);
		(void) waiter_wait(&waiter, "the next segment");
		spool_lock(s);
	}
	*ret = s->prepared;
	s->prepared = NULL;
	if (!*ret)
		s->creating = true;
	spool_unlock(s);
	if (*ret)
		return 0;
	r = segment_create(s, true, ret);
	spool_lock(s);
	s->creating = false;
	spool_unlock(s);
	return r;
}

/* 1: made one. 0: not needed. */
static int prepare_next(struct spool *s)
{
	struct waiter_batch answers = { .count = 0 };
	struct segment *g = NULL;
	int r;

	spool_lock(s);
	if (s->prepared || s->creating || atomic_load(&s->failed)) {
		spool_unlock(s);
		return 0;
	}
	s->creating = true;
	spool_unlock(s);
	r = segment_create(s, true, &g);
	spool_lock(s);
	s->creating = false;
	if (r >= 0)
		s->prepared = g;
	if (s->creation_waiter)
		waiter_batch_add(&answers, TAKE_PTR(s->creation_waiter), 0);
	spool_unlock(s);
	waiter_batch_post(&answers);
	return r < 0 ? r : 1;
}

/* --- space ------------------------------------------------------------------------------------ */

/* The files kept for recycling are the first to go. */
static bool drop_free_files(struct spool *s)
{
	char *path = malloc(SPOOL_PATH_MAX);
	bool dropped = false;

	while (path) {
		uint32_t number;

		spool_lock(s);
		if (s->segments.free_count == 0) {
			spool_unlock(s);
			break;
		}
		number = s->segments.free_files[--s->segments.free_count];
		s->segments.bytes_on_disk -= s->config.segment_size;
		spool_unlock(s);
		(void) path_unlink(s->world, segment_free_path(s, number, path));
		dropped = true;
	}
	free(path);
	return dropped;
}

/* prepared: what prepare_next returned. After each new segment the space is looked at in any case. */
static void check_space(struct spool *s, int prepared)
{
	bool no_segment = prepared == -ENOSPC;
	uint64_t unused = 0, total;
	bool before, full;
	int r;

	if (prepared == 0 && now() < atomic_load(&s->space_checked) + RETRY_ROOM)
		return;
	r = path_space(s->world, s->path, &unused, &total);
	full = no_segment || (r >= 0 && unused < s->config.reserve);
	if (full && drop_free_files(s)) {
		r = path_space(s->world, s->path, &unused, &total);
		full = no_segment || (r >= 0 && unused < s->config.reserve);
	}
	atomic_store(&s->space_checked, now());
	atomic_store(&s->full, full);
	spool_lock(s);
	before = s->stats.full;
	s->stats.full = full;
	spool_unlock(s);
	if (before == full)
		return;
	if (full)
		LOG(s->log, LOG_ERROR, "the disk of the spool is nearly full: new mail is refused until there is space",
		    F_STR("spool", s->path), F_UINT("free", unused), F_UINT("reserve", s->config.reserve));
	else
		LOG(s->log, LOG_NOTICE, "the disk of the spool has space again: mail is accepted",
		    F_STR("spool", s->path), F_UINT("free", unused));
}

/* --- dead and nearly dead --------------------------------------------------------------------- */

/* The first segment that can go as it is, or is due to be compacted; when none, the time when one will be. */
static struct segment *choose(struct spool *s, usec_t time, bool *ret_dead, usec_t *deadline)
{
	struct segment *due = NULL;
	/* When space is short, it is worth moving a lot for a little. */
	unsigned percent = atomic_load(&s->full) ? MAX(PERCENT_WHEN_FULL, s->config.compact_percent)
						 : s->config.compact_percent;

	for (uint32_t i = 0; i < s->segments.count; i++) {
		struct segment *g = s->segments.list[i];
		usec_t when;

		if (g->state != SEGMENT_SEALED)
			continue;
		*ret_dead = g->living == 0 && !segment_has_living_target(&s->segments, g);
		if (*ret_dead && g->not_before <= time)
			return g;
		if (!g->failed && !g->damaged && g->living * 100 >= (uint64_t) g->used * percent) {
			g->low_since = 0;
			continue;
		}
		if (g->low_since == 0)
			g->low_since = time;
		when = g->failed || g->damaged ? time : g->low_since + s->config.compact_after;
		when = MAX(when, g->not_before);
		if (when <= time && !due)
			due = g;
		else if (when > time)
			*deadline = MIN(*deadline, when);
	}
	*ret_dead = false;
	return due;
}

static void later(struct spool *s, struct segment *g, usec_t after)
{
	spool_lock(s);
	g->not_before = now() + after;
	spool_unlock(s);
}

/* What made it dead has to be durable first: removals elsewhere, or its messages' copies. */
static void retire(struct spool *s, struct segment *g)
{
	uint32_t number = g->number;
	int r = spool_sync(s);

	if (r >= 0)
		r = segment_retire(s, g);
	if (r >= 0)
		return;
	later(s, g, RETRY_TIDY);
	if (r != -EROFS)
		LOG(s->log, LOG_ERROR, "cannot remove a finished segment of the spool; tried again soon",
		    F_STR("spool", s->path), F_UINT("segment", number), F_ERRNO("error", r));
}

static void compact(struct spool *s, struct segment *g)
{
	bool free_now;
	int r = compact_segment(s, g);

	spool_lock(s);
	free_now = r >= 0 && g->living == 0;
	spool_unlock(s);
	if (free_now || r == -ECANCELED)
		return;
	/* A message that can't be read was named in the log and keeps its segment. */
	later(s, g, r == -EBADMSG || r == -EIO ? RETRY_DAMAGED : RETRY_TIDY);
	if (r < 0 && r != -EBADMSG && r != -EIO && r != -EROFS && r != -ENOSPC)
		LOG(s->log, LOG_WARNING, "cannot compact a segment of the spool; tried again soon",
		    F_STR("spool", s->path), F_UINT("segment", g->number), F_ERRNO("error", r));
}

/* One step. Returns whether there may be more to do at once. */
static bool reclaim(struct spool *s, usec_t *deadline)
{
	struct segment *g;
	bool dead;

	if (atomic_load(&s->failed))
		return false;
	spool_lock(s);
	g = choose(s, now(), &dead, deadline);
	spool_unlock(s);
	if (!g)
		return false;
	if (dead)
		retire(s, g);
	else
		compact(s, g);
	return true;
}

static bool not_asked(void *spool)
{
	return !atomic_load(&((struct spool *) spool)->tidy_asked);
}

void tidy_main(void *spool)
{
	struct spool *s = spool;

	while (!fiber_cancelled()) {
		usec_t deadline = DEADLINE_NEVER;
		int r;

		atomic_store(&s->tidy_asked, false);
		r = prepare_next(s);
		check_space(s, r);
		if (reclaim(s, &deadline) || spare_step(s, &deadline))
			continue;
		if (r < 0 || atomic_load(&s->full))
			deadline = MIN(deadline, now() + RETRY_ROOM);
		if (waker_sleep(&s->tidy_waker, false, not_asked, s, "something to tidy", deadline) == -ECANCELED)
			break;
	}
}
