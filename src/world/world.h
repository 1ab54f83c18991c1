/* The world: everything that is outside of the program, behind one interface.
 *
 * There are two. world/linux.h makes the real one: the kernel's clock, sockets and files, one thread
 * per loop. world/sim.h makes a simulated one: virtual time, a lossy network, a disk that loses what
 * was not synced, all loops in one thread, everything repeatable from a seed. The rest of the program
 * can't tell which it lives in, and makes no system calls of its own.
 *
 *	world/world.h     clock, random, loops, blocking work           (this file)
 *	world/fiber.h     fibers, waiting, cancelling, cross-loop work
 *	world/stream.h    connections: transports, buffered streams, listeners
 *	world/file.h      files and directories */
#pragma once

#include "base/log.h"
#include "base/time.h"

struct world;
struct loop;

usec_t world_now(struct world *w);  /* monotonic */
wall_t world_wall(struct world *w); /* calendar time */
void world_random(struct world *w, void *out, size_t len); /* good enough for keys */
uint64_t world_random_below(struct world *w, uint64_t n);  /* uniform in [0, n); 0 for n == 0 */
const struct log *world_log(struct world *w);
bool world_is_simulated(const struct world *w);
void world_free(struct world *w); /* all loops must have been freed */

/* What this process has of the memory, and how much there is for it: what its control group allows, or what the machine
 * has. Bytes; 0: not known (in a simulation). Reads files: call it from world_offload, or where blocking does no harm. */
struct world_memory {
	uint64_t resident, limit;
};
void world_memory(struct world *w, struct world_memory *ret);

/* A loop runs fibers. In the real world each has a thread of its own. */
enum loop_flags {
	LOOP_BLOCKING = 1, /* file calls of its fibers may block the thread: for loops that do nothing else */
};
/* name: static, up to 15 characters. max_fibers: 0 for the default of 100,000. */
int loop_new(struct world *w, const char *name, unsigned flags, unsigned max_fibers, struct loop **ret);
struct world *loop_world(const struct loop *l);
unsigned loop_index(const struct loop *l); /* 0, 1, 2... in order of creation */
/* Starts running (a thread; nothing in a simulation, whose driver runs all loops). */
int loop_start(struct loop *l);
/* Cancels all fibers of the loop, waits until they have unwound and the thread ended. Not from the
 * loop itself. */
void loop_stop(struct loop *l);
void loop_free(struct loop *l); /* stopped before */
static inline void loop_freep(struct loop **l) { if (*l) loop_free(*l); }
/* Fibers alive now. From any thread, approximate. */
unsigned loop_fiber_count(const struct loop *l);

/* Runs fn(arg) where it may block: on the worker pool, while the calling fiber sleeps (it is not
 * cancellable meanwhile). In a simulation, and outside of fibers, fn runs at once. Inside fn the calls
 * of world/file.h block the worker; nothing else of world/ may be used there. Returns what fn returned,
 * or -ENOMEM. */
int world_offload(struct world *w, int (*fn)(void *arg), void *arg);
