/* Pressure: memory, disk space or files run short, and mail must be refused before it hurts.
 *
 * There are two levels for each. At the first no new mail is taken: MAIL gets 452, and where memory is short new
 * sessions get 421. At the second no connection is accepted: the kernel keeps a few newcomers, and the others turn to
 * another server. A level begins at its mark and ends at a mark that lies a little further back, so that it does not
 * flap; each change is one line in the log.
 *
 * Nothing runs by itself here: whoever needs to know looks (pressure_look), and the first who looks after an interval
 * measures for all. So an idle server costs nothing, and a busy one two short reads of /proc and one statvfs each
 * second, on the worker pool. */
#pragma once

#include <stdatomic.h>

#include "receive/receive.h"
#include "receive/replies.h"

/* Where a level begins, and what the value must reach to end it. */
struct pressure_marks {
	uint64_t high, critical, high_ends, critical_ends; /* high 0: there is no level */
	bool below;                                        /* a small value is the bad one */
};
/* The level of this value, when it was `before`. Pure. */
enum pressure_level pressure_judge(enum pressure_level before, uint64_t value, const struct pressure_marks *m);

struct pressure_gauge {
	atomic_uint level;
	atomic_ullong value, mark; /* as measured last, and the mark of the first level */
	atomic_ullong refused;     /* sessions and messages, because of it */
};
struct pressure {
	struct world *world;
	const struct log *log;
	_Atomic(const struct pressure_config *) config;
	atomic_ullong next; /* measured again at this time */
	atomic_bool measuring, measured;
	struct pressure_gauge gauges[PRESSURE_KINDS];
};
void pressure_init(struct pressure *p, struct world *w, const struct log *log);
/* From now on; it must stay valid as long as p. */
void pressure_configure(struct pressure *p, const struct pressure_config *c);
/* Measures when it is time. From any fiber, which it may let sleep, or from a thread that may block. */
void pressure_look(struct pressure *p);
const char *pressure_name(enum pressure_kind kind); /* "memory", "disk", "files" */

/* May a message begin? REPLY_SENDER_OK, or why not. Counts. */
enum reply_id pressure_on_message(struct pressure *p);
/* May a session begin? REPLY_DONE, or why not. Counts. */
enum reply_id pressure_on_session(struct pressure *p);
/* Should no connection be accepted? Looks by itself only as long as that is so. */
bool pressure_keeps_doors_shut(struct pressure *p);
