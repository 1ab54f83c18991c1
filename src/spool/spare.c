#include "spool/spare.h"

#include <stdio.h>
#include <stdlib.h>

#include "spool/state.h"

#define QUIET (2 * USEC_SEC)
#define RETRY_SPARE USEC_MIN
#define STEP (1u << 20)
#define SYNC_EVERY (8u << 20) /* what is not synced yet would lengthen the next sync of the log */

static const char *spare_path(const struct spool *s, char *out)
{
	(void) snprintf(out, SPOOL_PATH_MAX, "%s/spare.log", s->path);
	return out;
}

void spare_drop(struct spool *s)
{
	char *path = malloc(SPOOL_PATH_MAX);

	file_close(TAKE_PTR(s->spare.file));
	if (path)
		(void) path_unlink(s->world, spare_path(s, path));
	free(path);
}

/* --- making ----------------------------------------------------------------------------------- */

static int begin(struct spool *s, char *path)
{
	uint64_t unused, total;
	int r = path_space(s->world, s->path, &unused, &total);

	if (r < 0)
		return r;
	if (unused < s->config.reserve + 4 * s->config.segment_size || unused - s->config.segment_size < total / 10)
		return -ENOSPC;
	s->spare.written = 0;
	return file_open(s->world, spare_path(s, path), FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, 0600,
			 &s->spare.file);
}

static int write_zeros(struct spool *s)
{
	struct spare *p = &s->spare;
	size_t len = MIN((uint64_t) STEP, s->config.segment_size - p->written);
	_cleanup_(freep) char *zeros = calloc(1, len);
	struct iovec iov = { .iov_base = zeros, .iov_len = len };
	int r;

	if (!zeros)
		return -ENOMEM;
	r = file_pwritev(p->file, &iov, 1, p->written);
	if (r < 0)
		return r;
	p->written += len;
	return p->written % SYNC_EVERY == 0 || p->written == s->config.segment_size ? file_sync(p->file) : 0;
}

/* It is whole and synced: now it lies there like the file of a finished segment. */
static int add(struct spool *s, char *from, char *to)
{
	uint32_t number;
	int r;

	spool_lock(s);
	number = s->segments.next_number == UINT32_MAX ? 0 : s->segments.next_number++;
	spool_unlock(s);
	if (number == 0)
		return -EOVERFLOW;
	file_close(TAKE_PTR(s->spare.file));
	r = path_rename(s->world, spare_path(s, from), segment_free_path(s, number, to));
	if (r >= 0)
		r = path_sync_directory(s->world, s->path);
	if (r < 0)
		return r;
	spool_lock(s);
	s->segments.free_files[s->segments.free_count++] = number;
	s->segments.bytes_on_disk += s->config.segment_size;
	spool_unlock(s);
	return 0;
}

static int make(struct spool *s)
{
	_cleanup_(freep) char *paths = malloc(2 * SPOOL_PATH_MAX);
	int r = paths ? 0 : -ENOMEM;

	if (r >= 0 && !s->spare.file)
		r = begin(s, paths);
	if (r >= 0)
		r = write_zeros(s);
	if (r >= 0 && s->spare.written == s->config.segment_size)
		r = add(s, paths, paths + SPOOL_PATH_MAX);
	if (r < 0)
		spare_drop(s);
	return r;
}

/* --- using ------------------------------------------------------------------------------------ */

/* The prepared segment lies in new blocks: tidying retires it and makes one of a spare file in its next turn. Not before
 * there are two: the head needs the other. */
static bool renew_prepared(struct spool *s)
{
	struct segment *g;

	spool_lock(s);
	g = s->prepared;
	if (!g || !g->fresh || s->segments.free_count < MIN(s->config.spare, 2u)) {
		spool_unlock(s);
		return false;
	}
	s->prepared = NULL;
	g->state = SEGMENT_SEALED;
	spool_unlock(s);
	segment_unuse(s, g);
	return true;
}

/* The committer changes to the prepared one when it has nothing else to do. */
static void renew_head(struct spool *s, usec_t *deadline)
{
	struct segment *prepared;
	bool renew;

	spool_lock(s);
	prepared = s->prepared;
	renew = s->head->fresh && prepared && !prepared->fresh && !atomic_load(&s->renew_head);
	spool_unlock(s);
	if (!renew)
		return;
	atomic_store(&s->renew_head, true);
	waker_wake(&s->committer_waker, false);
	*deadline = MIN(*deadline, now() + QUIET); /* in case that it could not */
}

/* --- when ------------------------------------------------------------------------------------- */

/* Whether mail has come, but nothing was written for a while. */
static bool is_quiet(struct spool *s, usec_t *deadline)
{
	struct spare *p = &s->spare;
	usec_t time = now();
	uint64_t records;
	bool begun;

	spool_lock(s);
	begun = s->stats.commits > 0;
	records = s->stats.records;
	spool_unlock(s);
	if (!begun)
		return false; /* the first commit wakes tidying */
	if (records != p->records) {
		p->records = records;
		p->quiet_since = time;
	}
	if (time < MAX(p->quiet_since + QUIET, p->not_before)) {
		*deadline = MIN(*deadline, MAX(p->quiet_since + QUIET, p->not_before));
		return false;
	}
	return true;
}

bool spare_step(struct spool *s, usec_t *deadline)
{
	bool enough;
	int r;

	spool_lock(s);
	enough = s->segments.free_count >= s->config.spare && !(s->config.spare > 0 && s->head->fresh);
	spool_unlock(s);
	if (s->spare.file && atomic_load(&s->full))
		spare_drop(s); /* what it has is wanted for mail */
	if (enough || atomic_load(&s->full) || atomic_load(&s->failed) || !is_quiet(s, deadline))
		return false;
	if (renew_prepared(s))
		return true;
	renew_head(s, deadline);
	if (s->segments.free_count >= s->config.spare)
		return false;
	r = make(s);
	(void) fiber_yield();
	if (r < 0) {
		if (r != -ENOSPC)
			LOG(s->log, LOG_WARNING, "cannot prepare a spare file of the spool; tried again in a minute",
			    F_STR("spool", s->path), F_ERRNO("error", r));
		s->spare.not_before = now() + RETRY_SPARE;
		*deadline = MIN(*deadline, s->spare.not_before);
	}
	return r >= 0;
}
