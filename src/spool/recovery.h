/* The parts of recovery, for recovery.c and replay.c alone.
 *
 * recovery.c finds the segments, walks through each once and sets aside what is damaged; replay.c says what each
 * record means for the index. */
#pragma once

#include "spool/state.h"
#include "spool/walk.h"

/* Something in the segment under the walk that is no valid record. */
struct gap {
	uint32_t offset, length;
	bool has_record; /* the header holds */
	struct record record;
};

struct recovery {
	struct spool *spool;
	struct spool_recovery *stats;
	struct hash pending; /* chunks without a commit so far, by message */
	struct hash lost;    /* commits whose message is not whole */
	struct gap *gaps;
	uint32_t gap_count, gap_capacity;
};

/* A commit that can't be honoured. */
struct lost_message {
	struct hash_node node;
	msgid_t id;
	uint32_t segment, offset, length;
	bool no_commit; /* the commit record itself is damaged */
};

/* One valid record of segment g. -ENOMEM; what makes no sense is ignored. */
int replay_record(struct recovery *v, struct segment *g, const struct walk_item *item);
/* A damaged commit of this id. */
int replay_lost(struct recovery *v, struct segment *g, msgid_t id, uint32_t offset, uint32_t length, bool no_commit);
/* At the end of a segment: commits at or behind `durable` were never acknowledged, so they are no loss. */
void replay_forget_torn(struct recovery *v, struct segment *g, uint32_t durable);
/* Forgets the chunks that never got a commit: dead space. */
void replay_done(struct recovery *v);
