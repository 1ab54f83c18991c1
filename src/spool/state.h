/* The inside of the spool, shared by the files of this room and by nobody else.
 *
 *	spool.c      opening, closing, notes, removals, statistics
 *	writer.c     a body on its way into the log
 *	committer.c  the fiber that owns the log: takes what gathered, writes, syncs, answers
 *	batch.c      what becomes of the items of one batch: places in the segment, index, answers
 *	tidy.c       the fiber behind it: next segment, free space, dead segments
 *	spare.c      files for busy times, made in quiet ones
 *	compact.c    moving the living out of mostly dead segments
 *	recovery.c   reading the log at start; quarantine.c: setting aside what is damaged
 *	reader.c     bodies and envelopes
 *	record, walk, index, segment, handover: the parts */
#pragma once

#include <pthread.h>

#include "spool/handover.h"
#include "spool/index.h"
#include "spool/segment.h"
#include "spool/spare.h"
#include "spool/spool.h"

#define SPOOL_MAGIC 0x5b001001u
#define SPOOL_WRITER_MAGIC 0x5b001002u
#define SPOOL_READER_MAGIC 0x5b001003u

#define CHUNK_LARGE (128u << 10)
#define CHUNK_SMALL 16384u
#define CHUNKS_UNDER_WAY 2 /* of one writer */
/* Chunks gather to pieces of this size, each of which is one write. Not more: the page cache gives a larger write larger
 * blocks of memory, which a virtual machine may first have to get back from its host. */
#define WRITE_PIECE (1u << 20)
/* So much that was written is given to the disk at once, without waiting for a sync. */
#define WRITE_BEHIND (256u << 10)
#define LAZY_WRITE (2 * USEC_MS) /* so long lazy records gather before they are written */
#define RETRY_ROOM USEC_SEC      /* how often a full disk is asked again */
/* How long commits wait for others that are coming: as long as a sync takes, within these bounds. */
#define GATHER_MIN ((usec_t) 50)
#define GATHER_MAX USEC_MS
#define FAILURES_MAX 3           /* in a row, then the spool stops accepting */
#define POOL_BYTES (8u << 20)    /* of free chunks kept, of each size */

/* A piece of a body: what is written is head and data in one, so the bytes are not copied again. */
struct chunk {
	struct item item;
	struct spool_writer *writer;
	uint64_t body_offset;
	uint32_t len, capacity, crc;
	bool front; /* it comes first in the body, though the log has it last */
	unsigned char head[RECORD_HEADER];
	unsigned char data[]; /* capacity, and RECORD_ALIGN more for the padding */
};

/* A note, a removal or a list of them, on its way; on the heap, the committer frees it. */
struct state_item {
	struct item item;
	uint32_t crc, len;
	uint32_t target;          /* REMOVE: where the commit is that stays dead */
	bool applied;             /* REMOVE: the entry is gone already, the record has to be written again */
	bool copy;                /* NOTE: moved by compaction: only while the newest note still lies in the source */
	uint32_t source_segment, source_offset;
	uint32_t segment, offset, size; /* where the record was placed */
	unsigned char data[];
};

struct spool_writer {
	unsigned magic;
	struct item item; /* the commit */
	struct spool *spool;
	msgid_t id;
	uint64_t size;
	struct chunk *chunk; /* being filled */
	struct chunk *front; /* goes to the log with the commit, and comes first in its list; mostly NULL */
	unsigned under_way;  /* chunks handed over and not waited for */
	uint32_t handed_over; /* chunks in all */
	bool coming;          /* counted in spool->coming: its commit may be expected */
	atomic_uint refs;    /* the session and each chunk under way */
	atomic_int error;    /* a chunk was lost: negative errno */

	/* The committer's: where the chunks are. */
	struct extent *extents, first_extent;
	uint32_t extent_count, extent_capacity;

	/* The commit. */
	struct slice envelope, note;
	uint32_t payload_crc;
	uint32_t segment, offset, length; /* where its record was placed */
	/* Compaction: only while commit and newest note still lie where they were read. */
	bool copy;
	uint32_t source_segment, source_offset, source_note_segment, source_note_offset;
};

#define BATCH_IOV 1000
#define BATCH_STAGING (256u << 10)
#define STAGED_MAX (8u << 10) /* longer payloads are written from where they are */

/* What only the committer's fiber touches. */
struct committer {
	struct item_list queue;    /* taken from the inbox */
	struct item_list held;     /* lazy items for which the disk has no room */
	struct item_list placed;   /* the batch under way */
	struct item_list unsynced; /* lazy items that are written and applied, kept in case that the sync fails */
	struct iovec *iov;
	int iov_count;
	unsigned char *staging;
	uint32_t staging_used;
	uint32_t iov_bytes;
	uint32_t batch_start;   /* where the batch begins in the head */
	uint32_t write_at;      /* where the iov goes */
	uint32_t begun;         /* below that the disk has begun to write, or is done */
	bool released;          /* chunks of this batch were given back: it can't be taken out of the segment again */
	uint32_t new_entries;   /* reserved in the index for the batch */
	bool need_sync;
	usec_t lazy_write_at, lazy_sync_at; /* 0: nothing waits for it */
	usec_t notes_until; /* behind commits come notes about them: until then it looks for them by itself, and none wakes it */
	usec_t sync_takes; /* lately, smoothed */
	usec_t no_segment_until, no_write_until; /* the disk was full: when to try again */
	int no_segment_reason;
	unsigned failures;
	struct waiter_batch answers;
};

struct chunk_pool {
	struct item *free;
	unsigned count;
};

struct spool {
	unsigned magic;
	struct world *world;
	const struct log *log;
	struct spool_config config; /* defaults filled in; path is ours */
	char *path;
	struct hash_key secret;
	struct file *lock;
	uint32_t chunk_large, chunk_small; /* body bytes */

	pthread_mutex_t mutex; /* over straight code only: the index, the segments, what follows */
	struct index index;
	struct segments segments;
	struct segment *head;     /* the committer's; pinned */
	_Atomic(struct segment *) prepared; /* the next one; pinned */
	bool creating;            /* somebody makes one */
	struct waiter *creation_waiter;
	struct spool_stats stats;

	pthread_mutex_t pool_mutex;
	struct chunk_pool small_chunks, large_chunks;

	struct spare spare;
	atomic_bool renew_head; /* the committer is asked to change to the prepared segment */
	atomic_bool full, failed, tidy_asked;
	atomic_uint coming;    /* writers on their way to a commit */
	atomic_uint chunk_bytes; /* handed over since the beginning; wraps */
	atomic_bool gathering; /* the committer waits for them */
	atomic_bool ended; /* the committer has: nothing is taken any more */
	_Atomic(usec_t) space_checked;
	struct inbox inbox;
	struct committer committer;
	struct loop *log_loop, *tidy_loop;
	struct waker committer_waker, tidy_waker;
};

static inline void spool_lock(struct spool *s) { pthread_mutex_lock(&s->mutex); }
static inline void spool_unlock(struct spool *s) { pthread_mutex_unlock(&s->mutex); }

/* --- spool.c --- */
enum urgency {
	URGENCY_LAZY,  /* it may lie for a moment */
	URGENCY_NOW,   /* a sleeping committer is woken, unless it waits for commits that are coming */
	URGENCY_STILL, /* even then */
};
/* Hands over first.. (linked by next). */
void spool_submit(struct spool *s, struct item *first, enum urgency urgency);
/* Until everything submitted before is durable. In a fiber. */
int spool_sync(struct spool *s);
int state_item_new(enum item_kind kind, msgid_t id, struct slice data, struct state_item **ret);

/* --- writer.c --- */
int writer_new(struct spool *s, msgid_t id, struct spool_writer **ret); /* without asking whether the disk is full */
/* Hands the commit over and returns; envelope and note must stay until waiter is done, then writer_unref. */
int writer_submit(struct spool_writer *w, struct slice envelope, struct slice note, struct waiter *waiter);
void writer_unref(struct spool_writer *w);
void chunk_put(struct spool *s, struct chunk *k);
void chunk_pools_done(struct spool *s);

/* --- committer.c --- */
void committer_main(void *spool);
void committer_refuse_late(struct spool *s);
int committer_init(struct spool *s);
void committer_done(struct spool *s);
/* Takes the space of what an entry points to off its segments. With the mutex. */
void entry_release(struct spool *s, const struct entry *e, bool *wake_tidy);

/* --- batch.c --- */
/* 0: placed. -EBUSY: first write what is gathered. -EAGAIN: no room in this segment. -EDEADLK: first finish the
 * batch. Else: the item's failure. */
int batch_place(struct spool *s, struct item *i);
int batch_write(struct spool *s);   /* what was placed and not written yet */
void batch_apply(struct spool *s);  /* all placed are on disk, durable if they asked for it: index, answers */
/* One item that comes to nothing. */
void batch_refuse(struct spool *s, struct item *i, int error, struct waiter_batch *answers);
/* All placed come to nothing; lazy ones, and on request those written since the last sync, are queued again. */
void batch_fail(struct spool *s, int error, bool unsynced_too);

/* --- tidy.c --- */
void tidy_main(void *spool);
void tidy_wake(struct spool *s);
/* The next segment, made here or taken over from tidying. */
int spool_next_segment(struct spool *s, struct segment **ret);

/* --- compact.c --- */
/* Moves what is needed out of it. 0: now nothing in it is (unless writers are still at it). */
int compact_segment(struct spool *s, struct segment *g);

/* --- reader.c --- */
/* Reads and checks the record at a place of a segment in use; *ret_data is the whole record, on the heap. */
int read_record(struct spool *s, struct segment *g, uint32_t offset, uint32_t length, struct record *ret,
		unsigned char **ret_data);

/* --- recovery.c, quarantine.c --- */
int recover(struct spool *s, int (*found)(const struct spool_found *m, void *context), void *context,
	    struct spool_recovery *stats);
/* Copies bytes of a segment to quarantine/NUMBER-OFFSET.record. 1: done now, 0: was there already. */
int quarantine_bytes(struct spool *s, struct segment *g, struct file *f, uint32_t offset, uint32_t length);
/* Keeps what can be read of a message whose commit is there: quarantine/ID.envelope and ID.body, with zeros where
 * bytes are lost. */
int quarantine_message(struct spool *s, struct segment *g, uint32_t offset, uint32_t length);
int quarantine_segment(struct spool *s, uint32_t number); /* a file without a valid header, as a whole */
