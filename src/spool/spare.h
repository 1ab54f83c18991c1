/* Spare files: segments written over with zeros in quiet times, for the busy ones.
 *
 * A sync that only overwrites blocks of a file needs no journal commit of the file system, one that writes into newly
 * reserved ones does, and takes up to twice as long. Files of finished segments are such overwritten files; but a server
 * whose first burst comes, or whose queue only grows, has none. So when nothing was written for a while, tidying
 * makes some (spool_config.spare), in small steps that end at once when mail comes. A head and a prepared segment that are
 * still in new blocks are then given up for spare ones. No more than a tenth of the file system is left without. */
#pragma once

#include "world/file.h"

struct spool;

/* The one that is being made; tidying's. */
struct spare {
	struct file *file;
	uint64_t written;
	uint64_t records;   /* of the spool when it was last looked at */
	usec_t quiet_since;
	usec_t not_before;  /* it failed, or there was no space: when to try again */
};

/* In tidying's fiber: one step, at most 1 MiB and a sync of 8. Returns whether there is more to do at once; if not, and
 * there is something to do later, *deadline becomes that time when it is earlier. */
bool spare_step(struct spool *s, usec_t *deadline);
/* Forgets the one that is being made, and takes its file away. Also at start, for what a crash left. */
void spare_drop(struct spool *s);
