/* What must hold at any time of a simulation, looked at while it runs.
 *
 * watch_moment is asked whenever no fiber is ready, and looks each time or now and then at what is cheap: that nobody
 * waits for ever, and that windows and limits are kept. watch_disks is asked by the test from time to time and looks
 * at what is on the disks: it copies them into a universe of their own and recovers them there, beside the running
 * servers. */
#pragma once

#include "sim/scene.h"

/* Every fiber of a server that waits has a deadline, within a week, or is one of the few named in watch.c that sleep
 * until they are woken, or has waited for less than five minutes for something that another fiber of the server
 * surely does. A site has not more slots than its window was ever allowed to have, their number is the number of those
 * that live, a server has not more slots than it may have connections, and not more connections than slots. */
void watch_moment(struct scene *s);

enum watch_end {
	WATCH_KILL,  /* as if all processes were killed now */
	WATCH_POWER, /* as if the power of all machines went now: one of the states that this may leave */
};
/* Every recipient of every letter that was accepted has it, or its sender was told, or it is in a spool. What is in a
 * spool is whole. Nothing had to be set aside, unless a disk failed. WATCH_KILL: and the index of a server that is up
 * equals the one that a recovery of its disk makes. Not from a fiber. */
void watch_disks(struct scene *s, enum watch_end end);

/* Bytes of memory that the servers hold (the simulator's and the scene's own taken off, and the buffers that the
 * servers' loops keep for the next connection), as far as the allocator can tell; 0 under a sanitizer. */
size_t watch_memory(const struct scene *s);
/* An hour, in which the servers forget what they know of sites, and more while one is remembered: a site that refused us
 * is for up to six. */
void watch_forgetting(struct scene *s);
/* Nothing is to be done: no server has a message, a session, a site, a slot or a connection, and its books say so. */
void watch_rest(struct scene *s);
