/* The spool: where an accepted message lives until the last recipient is done.
 *
 * It is one append-only log, cut into segment files, and one committer that serves all sessions. The life
 * of a message here:
 *
 *   spool_writer_new      a session begins to take a body
 *   spool_writer_append   body bytes as they come; full chunks go to the log at once, not synced
 *   spool_writer_commit   the commit record (the packed envelope) follows; returns when everything of the
 *                         message is on stable storage. Now it exists. Before that a crash leaves nothing.
 *   spool_note            outcome and state records: what became of its recipients (opaque to the spool,
 *                         except that the newest note replaces the older ones)
 *   spool_remove          the last record: the message is done, its space may be used again
 *
 * Batches form by themselves: while the committer syncs, the next records gather. A lonely writer waits
 * for nobody. After a failed sync nothing of that segment is acknowledged; the spool goes on in a new one.
 *
 * Recovery reads the segments once, stops cleanly at a torn tail of the last one, sets aside what has a bad
 * checksum in the middle (and says so), and hands every living message to its caller.
 *
 * The layout on disk is described in docs/SPOOL.md and spool/record.h. Functions may be called from fibers
 * of any loop unless they say otherwise. */
#pragma once

#include "base/event.h"
#include "base/id.h"
#include "world/file.h"
#include "world/stream.h"

struct spool;
struct spool_writer;

struct spool_config {
	const char *path;          /* the directory; made when it is missing (mode 0700) */
	uint64_t segment_size;     /* bytes; 0: 64 MiB */
	uint64_t reserve;          /* free bytes of the file system below which nothing new is taken; 0: two segments */
	unsigned spare;            /* files written over ahead of use in quiet times; 0: none; at most 64 */
	usec_t lazy_sync;          /* a note that nobody waits for is synced at the latest after this; 0: 50 ms */
	unsigned compact_percent;  /* a full segment with less living than this is compacted; 0: 30 */
	usec_t compact_after;      /* so long after it fell below that share: most of it goes by itself; 0: 30 s */
	bool no_sync;              /* for benchmarks only: said loudly in the log at start */
};

/* A living message as recovery finds it. The slices are valid during the callback only. */
struct spool_found {
	msgid_t id;
	uint64_t body_size;
	struct slice envelope; /* as committed */
	struct slice note;     /* the newest one, or empty */
};
struct spool_recovery {
	uint64_t messages, bytes, segments, records;
	uint64_t torn_bytes;        /* cut off the tail of the last segment: normal after a crash */
	uint64_t quarantined;       /* records with bad checksums, moved aside */
	uint64_t lost_messages;     /* messages of which a part was quarantined */
	msgid_t highest_id;
};

/* Opens the spool: locks it (-EWOULDBLOCK: another server has it), checks the version (-EPROTONOSUPPORT: a
 * newer format), recovers. found() is called for every living message, in the order of their commits; a negative
 * return ends the opening with it. Starts the committer on a loop of its own (made and started here).
 * The log, the config and the world must outlive the spool. Not from a fiber of an ordinary loop in the real
 * world (it blocks); in a simulation from a fiber. */
int spool_open(struct world *w, const struct log *log, const struct spool_config *config,
	       int (*found)(const struct spool_found *m, void *context), void *context,
	       struct spool_recovery *ret_recovery, struct spool **ret);
/* Writes and syncs what is pending and stops the committer. All writers must have ended. (What comes after the
 * committer was cancelled with its world, in a simulation, is refused with -ESHUTDOWN.) */
void spool_close(struct spool *s);
DEFINE_FREEP(struct spool, spool_close)

/* --- writing --------------------------------------------------------------------------------------- */

/* -ENOSPC when the disk is nearly full, -EROFS after a failure that stopped the spool, -ENOMEM, -EINVAL (no id).
 * The chunk buffer is taken on the first append, so a writer that is never used costs little. */
int spool_writer_new(struct spool *s, msgid_t id, struct spool_writer **ret);
/* Waits only when too many chunks of this writer are under way. Bytes are copied once. -EIO, -ENOSPC when an earlier
 * chunk was lost, -ENOMEM, -EFBIG beyond 2 GiB. */
int spool_writer_append(struct spool_writer *w, struct slice data);
/* Room in the chunk buffer for writing in place (at least 1 byte, at most `want`): then commit what was used. */
int spool_writer_reserve(struct spool_writer *w, size_t want, char **ret, size_t *ret_len);
void spool_writer_used(struct spool_writer *w, size_t len);
/* Puts data before everything there is so far: for what is known only when the content was seen. Best called once, when
 * all is appended; without it nothing is held back or copied for its sake. While the body still lies in its only chunk it
 * goes there, else into one of its own, which the commit then lists first (docs/SPOOL.md). Never waits. Bytes are copied.
 * Errors as above, nothing changed then; -EFBIG: more than a chunk of 128 KiB in all. */
int spool_writer_front(struct spool_writer *w, struct slice data);
uint64_t spool_writer_size(const struct spool_writer *w); /* bytes appended and put in front so far */
/* Makes the message exist; returns when it is durable (0), or -errno: then it does not exist, and won't after
 * a recovery either, except that after -EIO a crash may still bring it back (say 4xx). Not cancellable.
 * -EIO: the disk failed. -ENOSPC, -EROFS as above. -EEXIST: there is a message with this id. -EFBIG: the envelope and
 * note don't fit into a segment. -ENOMEM.
 * The writer is freed in any case. note: first state to keep with it, may be empty. */
int spool_writer_commit(struct spool_writer *w, struct slice envelope, struct slice note);
/* Forgets the message; NULL is fine. What was written of it is dead space. */
void spool_writer_abort(struct spool_writer *w);
DEFINE_FREEP(struct spool_writer, spool_writer_abort)

/* Replaces the note of a message, lazily durable: it is written soon and synced with whatever is synced
 * next, at the latest after lazy_sync. Does not wait. -ENOENT: no such message; -EROFS, -EFBIG, -ENOMEM. */
int spool_note(struct spool *s, msgid_t id, struct slice note);
/* The same, but returns when it is durable. */
int spool_note_sync(struct spool *s, msgid_t id, struct slice note);
/* The message is done; lazily durable, doesn't wait. To the outside it is gone at once (-ENOENT), readers that are
 * open read on. -ENOENT, -EROFS, -ENOMEM. */
int spool_remove(struct spool *s, msgid_t id);

/* --- reading --------------------------------------------------------------------------------------- */

struct spool_reader;
/* -ENOENT: no such message. While a reader is open, the message's bytes stay where they are readable. */
int spool_reader_open(struct spool *s, msgid_t id, struct spool_reader **ret);
uint64_t spool_reader_size(const struct spool_reader *r);
/* Body bytes from offset: 0 at the end. -EBADMSG when the checksum of the chunk does not hold. */
ssize_t spool_reader_read(struct spool_reader *r, uint64_t offset, void *data, size_t len);
/* The same without a copy: the bytes from offset to the end of their chunk (at most 128 KiB), checked, until the next
 * call for this reader. Empty at the end. */
int spool_reader_view(struct spool_reader *r, uint64_t offset, struct slice *ret);
void spool_reader_close(struct spool_reader *r);
DEFINE_FREEP(struct spool_reader, spool_reader_close)
/* The packed envelope as committed, on the heap; the caller frees it. */
int spool_envelope(struct spool *s, msgid_t id, char **ret, size_t *ret_len);

/* --- looking --------------------------------------------------------------------------------------- */

struct spool_stats {
	uint64_t messages, bytes_living, bytes_on_disk, segments;
	uint64_t commits, syncs, batches, records; /* since start */
	uint64_t compacted_bytes, failed_syncs;
	uint64_t index_bytes; /* of memory */
	bool full;   /* refusing for lack of space */
	bool failed; /* refusing after a failure of the disk */
};
void spool_stats(struct spool *s, struct spool_stats *ret);
