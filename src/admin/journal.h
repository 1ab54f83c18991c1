/* The journal of events: what happened to every message, on disk, and the search that `yizhan trace` makes.
 *
 * Any thread emits through the sink; the event becomes a line of JSON there and then and is put into a
 * buffer, which a writer fiber on the journal's own loop writes to <spool>/journal/ in batches. The buffer
 * is bounded: when the disk can't keep up, events are counted as lost, and mail goes on. The files are named
 * events-YYYYMMDD-NNNN.jsonl, begin anew each day and at a size, and the oldest go when there are too many.
 *
 * Each line begins {"time":"2026-11-23T04:05:06.789Z","id":"0123456789abc","event":"received" so that a
 * search looks at 13 bytes of it. The journal tells what happened and decides nothing: it is not synced. */
#pragma once

#include "base/event.h"
#include "world/fiber.h"
#include "world/file.h"

struct journal_config {
	usec_t keep;        /* 0: 7 days */
	uint64_t size;      /* of all files; 0: 1 GiB */
	uint64_t file_size; /* of one; 0: 64 MiB */
};

struct journal;
/* Nothing is touched on disk yet; events may be emitted from now on. directory: <spool>/journal; copied. */
int journal_new(struct world *w, const struct log *log, const struct journal_config *config, const char *directory,
		struct journal **ret);
/* Makes the directory and begins to write, on a loop that may block (LOOP_BLOCKING), running or not yet. */
int journal_start(struct journal *j, struct loop *loop);
const struct event_sink *journal_sink(struct journal *j);
/* Returns when everything emitted before is in the file. From a fiber of any loop; -ETIMEDOUT,
 * -ESHUTDOWN before the start and after the stop. */
int journal_flush(struct journal *j, usec_t deadline);
/* Writes what is left; later events are lost. Before the loop stops; from outside of it or from a fiber. */
void journal_stop(struct journal *j);
void journal_free(struct journal *j);
DEFINE_FREEP(struct journal, journal_free)

struct journal_stats {
	uint64_t events, bytes, dropped, failed_writes;
};
void journal_stats(struct journal *j, struct journal_stats *ret);

/* Calls each() with every line about the message (without its newline), oldest first; id MSGID_NONE: with all
 * lines. A non-zero return ends the walk and is returned. Works without a running server. -ENOENT when there
 * is no journal. */
int journal_search(struct world *w, const char *directory, msgid_t id, int (*each)(struct slice line, void *context),
		   void *context);
