/* Walking through a segment, from the first record to the last, over whatever damage lies between.
 *
 * walk_init says where the bytes come from; each walk_next gives the next thing that stands there: a record, a
 * record whose header holds but whose payload doesn't, a gap in which nothing can be recognised (then the walk
 * goes on at the next valid record), or the tail behind the last record. The bytes are read in large pieces, once,
 * in order. Every length field is checked before it is used: the image may be hostile. */
#pragma once

#include "spool/record.h"

struct walk_source {
	/* Like pread: bytes read, fewer only at the end; negative errno. -EIO makes the walk read around the bad place. */
	ssize_t (*read)(void *context, void *data, size_t len, uint64_t offset);
	void *context;
	uint64_t size;
};

enum walk_kind {
	WALK_RECORD,
	WALK_DAMAGED, /* the header holds, the payload does not (or is cut off by the end of the file) */
	WALK_GAP,     /* no record here, but one behind it */
	WALK_TAIL,    /* no record from here to the end; always the last */
};

struct walk_item {
	enum walk_kind kind;
	uint32_t offset, length;        /* of the whole thing in the file */
	struct record record;           /* RECORD and DAMAGED */
	struct slice payload;           /* RECORD: valid until the next call */
	const unsigned char *extents_at; /* RECORD: for record_extent */
};

struct walk {
	struct walk_source source;
	struct segment_key key;
	uint32_t position;
	unsigned char *window;
	size_t window_len, window_capacity;
	uint64_t window_start;
	uint32_t unreadable; /* bytes that the disk would not give; taken as zeros */
};

void walk_init(struct walk *w, const struct walk_source *source, struct segment_key key);
/* 1: *ret is filled. 0: the end. -ENOMEM, or what the source said. */
int walk_next(struct walk *w, struct walk_item *ret);
void walk_done(struct walk *w);
