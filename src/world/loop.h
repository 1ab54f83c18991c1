/* The inside of a loop, for the worlds themselves (linux_*.c, sim_*.c) and for nobody else.
 *
 * A loop is a ready list, a heap of deadlines, a mailbox and a pool of stacks and buffers. What makes
 * it turn differs: in the real world its thread alternates loop_step with epoll_wait; in a simulation
 * the driver calls loop_step for one loop after the other and moves the clock when none had work. */
#pragma once

#include <stdatomic.h>

#include "base/heap.h"
#include "base/list.h"
#include "world/context.h"
#include "world/fiber.h"
#include "world/stream.h"
#include "world/world_ops.h"

#define FIBER_MAGIC 0xf1be7001u
#define LOOP_MAGIC 0x100b0001u

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_WAITING, FIBER_ENDED };

struct fiber {
	unsigned magic;
	enum fiber_state state;
	struct context context; /* where it will go on */
	struct loop *loop;
	const char *name;
	const char *waits_for; /* text, while waiting */
	usec_t since;          /* when the wait began */
	struct link ready;     /* on loop->ready */
	struct link all;       /* on loop->fibers */
	struct heap_node timer;
	int wake_result; /* what fiber_wait returns */
	bool cancelled, uncancellable;
	struct link group_link;
	struct fiber_group *group;
	void (*fn)(void *arg);
	void *arg;
	void *stack; /* lowest usable byte */
	size_t stack_size;
	unsigned valgrind_id;
};

struct stack_pool; /* world/stack.h */

struct loop {
	unsigned magic;
	struct world *world;
	const char *name;
	unsigned index, flags, max_fibers;
	struct list ready;
	struct list fibers;
	atomic_uint fiber_count;
	struct post *unborn; /* fibers for which there was no stack yet; they count in fiber_count */
	usec_t unborn_at;    /* when they are tried again */
	struct heap timers;
	_Atomic(struct post *) mailbox; /* pushed by others, newest first */
	atomic_uint posters;            /* threads inside loop_post */
	struct fiber *running;
	struct context scheduler; /* the loop's own place to go back to */
	struct stack_pool *stacks;
	void *free_buffers; /* a chain of STREAM_BUFFER-sized buffers */
	unsigned free_buffer_count;
	atomic_bool stopping;
	usec_t slice_start; /* when the running fiber was resumed, for the watchdog */
	void *backend;      /* epoll descriptor and thread of linux_loop.c, or what sim needs */
};

/* Takes the mailbox, expires the deadlines up to `looked`, runs every fiber that is ready now (not those that become
 * ready meanwhile). Returns whether anything was done. Sets loop_current while it runs. What had happened by `looked`
 * must have woken its fibers: input that came in time is not late because its reader is. */
bool loop_step(struct loop *l, usec_t looked);
/* When the next deadline comes: DEADLINE_NEVER without one, 0 when a fiber is ready or mail waits. */
usec_t loop_next_deadline(const struct loop *l);
/* Cancels every fiber; they unwind in the following steps. */
void loop_cancel_all(struct loop *l);
/* Makes l the current loop of this thread (NULL: none). */
void loop_set_current(struct loop *l);

/* Buffers of STREAM_BUFFER bytes for the streams of the current loop. */
char *loop_buffer_get(struct loop *l); /* NULL when memory is out */
void loop_buffer_put(struct loop *l, char *buffer);
