#include "admin/journal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/journal_files.h"

#define JOURNAL_MAGIC 0x10e41a01u
#define PENDING_MAX (8u << 20)         /* bytes that wait for the disk; more is lost and counted */
#define GATHER_TIME (20 * USEC_MS)     /* events of this long are written together */

struct journal {
	unsigned magic;
	struct world *world;
	const struct log *log;
	struct journal_config config;
	char *directory;
	struct event_sink sink;

	/* Shared by all threads. The lock is held for a copy of a line, never over a wait. */
	pthread_mutex_t lock;
	struct buffer pending;
	struct journal_stats stats;
	uint64_t emitted; /* lines put into pending so far, for flush */
	struct loop *loop; /* NULL until started and after the stop */
	bool awake;        /* the writer will look by itself */
	bool posted;       /* wake is in the loop's mailbox */
	bool stopping;
	struct post wake;

	/* The writer's own. */
	struct fiber *writer; /* while it waits */
	struct buffer batch;
	struct journal_files *files;
	uint64_t written; /* lines handled; read by those who flush, on the same loop */
	uint64_t dropped_told;
	bool failing; /* the last write failed and the log knows */
	struct cond progress;
	bool ended;
};

/* --- emitting, on any thread ------------------------------------------------------------------------------ */

/* On the writer's loop. */
static void run_wake(struct post *p)
{
	struct journal *j = container_of(p, struct journal, wake);

	pthread_mutex_lock(&j->lock);
	j->posted = false;
	pthread_mutex_unlock(&j->lock);
	if (j->writer)
		fiber_wake(j->writer);
}

static void format_event(struct buffer *line, wall_t when, msgid_t id, const char *kind, const struct field *fields, size_t n)
{
	char time[32], text[MSGID_TEXT];

	buffer_append_str(line, "{\"time\":\"");
	buffer_append_str(line, wall_format_rfc3339(when, time, sizeof(time)));
	buffer_append_str(line, "\",\"id\":\"");
	buffer_append_str(line, id_format(id, text));
	buffer_append_str(line, "\",\"event\":\"");
	buffer_append_str(line, kind);
	buffer_append_char(line, '"');
	fields_to_json(line, fields, n);
	buffer_append(line, "}\n", 2);
}

static void emit(void *context, msgid_t id, const char *kind, const struct field *fields, size_t n)
{
	struct journal *j = context;
	char room[1024];
	_cleanup_buffer_ struct buffer line = buffer_in(room, sizeof(room));
	struct loop *wake = NULL;

	CHECK_MAGIC(j, JOURNAL_MAGIC);
	format_event(&line, world_wall(j->world), id, kind, fields, n);

	pthread_mutex_lock(&j->lock);
	if (j->stopping || buffer_error(&line) < 0 || j->pending.len + line.len > PENDING_MAX) {
		j->stats.dropped++;
	} else {
		buffer_append(&j->pending, line.data, line.len);
		if (buffer_error(&j->pending) < 0)
			j->stats.dropped++; /* the writer empties it, which mends it */
		else
			j->stats.events++;
		j->emitted++;
		if (j->loop && !j->awake && !j->posted) {
			j->posted = true;
			wake = j->loop;
		}
	}
	pthread_mutex_unlock(&j->lock);
	if (wake)
		loop_post(wake, &j->wake);
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static void write_failed(struct journal *j, int error)
{
	pthread_mutex_lock(&j->lock);
	j->stats.failed_writes++;
	pthread_mutex_unlock(&j->lock);
	if (!j->failing)
		LOG(j->log, LOG_ERROR, "the journal cannot be written; events are lost until it can",
		    F_STR("directory", j->directory), F_ERRNO("error", error));
	j->failing = true;
}

/* Takes what is pending. Returns the number of the last line in it. */
static uint64_t take_batch(struct journal *j)
{
	struct buffer taken;
	uint64_t upto;

	pthread_mutex_lock(&j->lock);
	taken = j->pending;
	j->pending = j->batch;
	j->batch = taken;
	upto = j->emitted;
	pthread_mutex_unlock(&j->lock);
	return upto;
}

static void write_batch(struct journal *j)
{
	uint64_t upto = take_batch(j);
	size_t len = j->batch.len;

	if (len) {
		int r = journal_files_append(j->files, world_wall(j->world), buffer_slice(&j->batch));

		if (r < 0) {
			write_failed(j, r);
		} else {
			if (j->failing)
				LOG(j->log, LOG_NOTICE, "the journal is written again", F_STR("directory", j->directory));
			j->failing = false;
			pthread_mutex_lock(&j->lock);
			j->stats.bytes += len;
			pthread_mutex_unlock(&j->lock);
		}
	}
	buffer_clear(&j->batch);
	j->written = upto;
	cond_broadcast(&j->progress);
}

static void tell_dropped(struct journal *j)
{
	struct journal_stats s;

	journal_stats(j, &s);
	if (s.dropped > j->dropped_told)
		LOG(j->log, LOG_WARNING, "events were lost: the disk of the journal is too slow",
		    F_UINT("events", s.dropped - j->dropped_told));
	j->dropped_told = s.dropped;
}

static bool has_pending(struct journal *j, bool *ret_stopping)
{
	bool pending;

	pthread_mutex_lock(&j->lock);
	pending = j->pending.len > 0 || j->pending.failed;
	*ret_stopping = j->stopping;
	j->awake = pending; /* if not, the next event posts */
	pthread_mutex_unlock(&j->lock);
	return pending;
}

/* The writer: sleeps until something comes, gives it a moment to gather, writes it. Cancelling it means to
 * stop. */
static void writer(void *arg)
{
	struct journal *j = arg;
	bool stopping = false;

	while (!stopping && !fiber_cancelled()) {
		if (!has_pending(j, &stopping)) {
			if (stopping)
				break;
			j->writer = fiber_self();
			fiber_wait("events for the journal", DEADLINE_NEVER);
			j->writer = NULL;
			continue;
		}
		if (!stopping) {
			j->writer = fiber_self();
			fiber_wait("more events for the journal", deadline_after(now(), GATHER_TIME));
			j->writer = NULL;
		}
		write_batch(j);
		tell_dropped(j);
	}
	write_batch(j);
	journal_files_close(j->files);
	j->ended = true;
	cond_broadcast(&j->progress);
}

/* On the writer's loop. */
static int flush_here(struct journal *j, uint64_t upto, usec_t deadline)
{
	while (j->written < upto && !j->ended) {
		int r;

		if (j->writer)
			fiber_wake(j->writer);
		r = cond_wait(&j->progress, "the journal", deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

struct flush {
	struct journal *journal;
	uint64_t upto;
	usec_t deadline;
	struct completion done;
};

static void flush_fiber(void *arg)
{
	struct flush *f = arg;

	completion_done(&f->done, flush_here(f->journal, f->upto, f->deadline));
}

int journal_flush(struct journal *j, usec_t deadline)
{
	struct flush f = { .journal = j, .deadline = deadline };
	struct loop *loop;
	int r;

	CHECK_MAGIC(j, JOURNAL_MAGIC);
	pthread_mutex_lock(&j->lock);
	f.upto = j->emitted;
	loop = j->stopping ? NULL : j->loop;
	pthread_mutex_unlock(&j->lock);
	if (!loop)
		return -ESHUTDOWN;
	if (loop == loop_current())
		return flush_here(j, f.upto, deadline);
	completion_init(&f.done);
	r = loop_spawn(loop, "journal-flush", flush_fiber, &f);
	return r < 0 ? r : completion_wait(&f.done);
}

/* --- life --------------------------------------------------------------------------------------------------- */

int journal_new(struct world *w, const struct log *log, const struct journal_config *config, const char *directory,
		struct journal **ret)
{
	_cleanup_(journal_freep) struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->magic = JOURNAL_MAGIC;
	pthread_mutex_init(&j->lock, NULL);
	cond_init(&j->progress);
	j->world = w;
	j->log = log;
	j->config = *config;
	j->config.keep = config->keep ? config->keep : 7 * USEC_DAY;
	j->config.size = config->size ? config->size : UINT64_C(1) << 30;
	j->config.file_size = config->file_size ? config->file_size : 64u << 20;
	j->wake.run = run_wake;
	j->sink = (struct event_sink) { .emit = emit, .context = j };
	j->directory = strdup(directory);
	if (!j->directory)
		return -ENOMEM;
	*ret = TAKE_PTR(j);
	return 0;
}

int journal_start(struct journal *j, struct loop *loop)
{
	int r;

	CHECK_MAGIC(j, JOURNAL_MAGIC);
	r = journal_files_new(j->world, j->directory, &j->config, &j->files);
	if (r < 0)
		return r;
	pthread_mutex_lock(&j->lock);
	j->loop = loop;
	j->awake = true; /* the writer looks by itself when it begins */
	pthread_mutex_unlock(&j->lock);
	r = loop_spawn(loop, "journal", writer, j);
	if (r < 0)
		j->loop = NULL;
	return r;
}

const struct event_sink *journal_sink(struct journal *j)
{
	return &j->sink;
}

void journal_stop(struct journal *j)
{
	bool post;

	CHECK_MAGIC(j, JOURNAL_MAGIC);
	pthread_mutex_lock(&j->lock);
	j->stopping = true;
	post = j->loop && !j->posted;
	j->posted |= post;
	pthread_mutex_unlock(&j->lock);
	if (post)
		loop_post(j->loop, &j->wake);
	/* The writer sees it at once or at the end of its gathering; loop_stop cancels and waits for it, and it
	 * writes what is left before it ends. */
}

void journal_stats(struct journal *j, struct journal_stats *ret)
{
	pthread_mutex_lock(&j->lock);
	*ret = j->stats;
	pthread_mutex_unlock(&j->lock);
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	CHECK_MAGIC(j, JOURNAL_MAGIC);
	j->magic = 0;
	journal_files_free(j->files);
	buffer_done(&j->pending);
	buffer_done(&j->batch);
	pthread_mutex_destroy(&j->lock);
	free(j->directory);
	free(j);
}
