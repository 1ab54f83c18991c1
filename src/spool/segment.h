/* The files of the log.
 *
 * A segment is prepared in good time (space reserved, header written, file and directory synced), becomes the
 * head, is filled by the committer, is sealed, and stays until nothing in it lives and nothing in it is needed to
 * keep the dead of other segments dead. Then its file is kept for the next segment (overwriting blocks that the
 * file has already makes a sync much cheaper than growing into new ones) or unlinked. Numbers only grow.
 *
 * `living` counts the bytes of records that living messages and open writers need. A removal written into this
 * segment keeps a commit in another one dead: the others are its targets. Everything but the file's content is
 * guarded by the spool's mutex; the functions say whether they take it. */
#pragma once

#include "spool/record.h"
#include "world/file.h"

struct spool;

enum segment_state { SEGMENT_PREPARED, SEGMENT_HEAD, SEGMENT_SEALED };

struct segment {
	uint32_t number;
	enum segment_state state;
	struct segment_key key;
	uint32_t used;    /* where the next record goes */
	uint32_t durable; /* synced below; the committer's */
	uint64_t on_disk; /* bytes that the file occupies, about */
	uint64_t living;
	bool failed;      /* a write or sync failed: cut at `cut`, to be emptied */
	bool damaged;     /* recovery found bad records: to be emptied */
	uint32_t cut;
	bool fresh;       /* in blocks newly reserved, not in a file that was written over before */
	bool emptied;     /* compaction moved messages out of it: dead copies of living ones are in here */
	usec_t low_since;  /* when tidying saw first that little lives in it; 0: never */
	usec_t not_before; /* tidying failed: when to try again */
	uint32_t *targets; /* sorted */
	uint32_t target_count, target_capacity;
	struct file *file; /* NULL: not open */
	unsigned users;    /* who need the file now */
	uint64_t last_use;
	bool gone;         /* from the table: the last user frees it */
};

#define SPOOL_FREE_FILES 4   /* kept in any case, when there is space */
#define SPOOL_SPARE_MAX 64
#define SPOOL_PATH_MAX 1024

struct segments {
	struct segment **list; /* by number */
	uint32_t count, capacity;
	unsigned open_files;
	uint64_t use_clock;
	uint64_t bytes_on_disk;
	uint32_t free_files[SPOOL_SPARE_MAX]; /* the numbers of the files kept for recycling */
	unsigned free_count;
	uint32_t next_number;
	uint32_t emptied; /* how many are */
};

/* PATH/NUMBER.log, PATH/free-NUMBER.log; returns out (SPOOL_PATH_MAX bytes). */
const char *segment_path(const struct spool *s, uint32_t number, char *out);
const char *segment_free_path(const struct spool *s, uint32_t number, char *out);

/* With the mutex held. */
struct segment *segments_find(const struct segments *t, uint32_t number);
/* A new one at its place in the table. -ENOMEM. */
int segments_add(struct segments *t, uint32_t number, struct segment **ret);
/* n bytes fewer live in it. Returns whether that made it worth looking at for tidying. */
bool segment_release(struct segment *g, uint32_t n, unsigned compact_percent);
/* A removal was written into g: what it keeps dead is in `target`, and in those that compaction emptied but that
 * are still there. Without memory for the list, g is kept from being retired until the next start. */
void segments_add_target(struct segments *t, struct segment *g, uint32_t target);
void segments_set_emptied(struct segments *t, struct segment *g);
bool segment_has_living_target(const struct segments *t, const struct segment *g);
void segments_done(struct segments *t); /* closes and frees all; nobody uses them any more */

/* Without the mutex. */
/* A new file, or a recycled one, as the segment with the next number: header and directory are synced, it is in the
 * table as SEGMENT_PREPARED, its file open. reserve: with space for all of it. -ENOSPC, -EIO... One caller at a
 * time. */
int segment_create(struct spool *s, bool reserve, struct segment **ret);
/* Writes and syncs the header with the present list of cuts. */
int segment_write_header(struct spool *s, struct segment *g);
/* Pins it (the mutex is held for segment_use), then makes sure that the file is open. Each use ends with a
 * segment_unuse, also when segment_open fails. */
void segment_use(struct spool *s, struct segment *g);
int segment_open(struct spool *s, struct segment *g, struct file **ret);
void segment_unuse(struct spool *s, struct segment *g);
/* Takes a dead one off the table and its file off the directory; what was written elsewhere to replace it must be
 * durable. After a failure it is still there. */
int segment_retire(struct spool *s, struct segment *g);
