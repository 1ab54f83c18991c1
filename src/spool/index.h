/* Where every living message lies, in memory: 64 bytes each, and 12 more for each chunk of a long one.
 *
 * An entry is made when the commit of its message is durable, changes when a note is written or compaction moves
 * the message, and goes when the message is removed. Recovery builds the same from the log. The table grows by
 * splitting one bucket at a time, so that no insertion pays for all. Not locked here: the spool's mutex is. */
#pragma once

#include "spool/record.h"

enum entry_flags {
	ENTRY_REMOVING = 1, /* spool_remove was called: for the outside it is gone */
	ENTRY_TOUCHED = 2,  /* a note or removal is placed in the batch under way; compaction keeps off */
};

struct entry {
	msgid_t id;
	uint64_t size; /* of the body */
	union {
		struct extent one;
		struct extent *many; /* on the heap */
	};
	uint32_t next; /* in the bucket, or in the list of free entries */
	uint32_t commit_segment, commit_offset, commit_length;
	uint32_t note_segment, note_offset, note_length; /* length 0: the note in the commit is the newest */
	uint16_t extents;
	uint8_t flags;
};
_Static_assert(sizeof(struct entry) == 64, "an entry is one cache line");

static inline const struct extent *entry_extents(const struct entry *e)
{
	return e->extents > 1 ? e->many : &e->one;
}

struct index {
	struct entry **slabs;
	uint32_t slab_count, slab_capacity;
	uint32_t free; /* the first free entry, or none */
	uint32_t used; /* entries of the slabs that were ever handed out */
	uint32_t *buckets;
	uint32_t bucket_count, bucket_capacity; /* the count grows one by one */
	uint64_t len, extent_count;
};

void index_init(struct index *x);
void index_done(struct index *x);
/* Makes sure that the next `more` insertions can't fail. -ENOMEM. */
int index_reserve(struct index *x, uint32_t more);
/* A zeroed entry with this id, which must not be there yet. NULL when memory is out: never after a reservation. */
struct entry *index_insert(struct index *x, msgid_t id);
struct entry *index_find(const struct index *x, msgid_t id);
/* Frees its extents, too. */
void index_remove(struct index *x, struct entry *e);
/* n > 1: takes over `extents`, which must be on the heap. Otherwise copies what is there. */
void index_set_extents(struct index *x, struct entry *e, struct extent *extents, uint32_t n);
/* Walks over all, in no order: start with *cursor 0; NULL at the end. */
struct entry *index_each(const struct index *x, uint32_t *cursor);
/* Bytes of memory. */
uint64_t index_footprint(const struct index *x);
