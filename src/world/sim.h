/* A simulated universe: hosts with addresses and disks, the network between them, and one clock.
 *
 * Its life: sim_new makes an empty universe from a seed; sim_host_new puts machines into it, each with a
 * struct world that the program can't tell from the real one; the test starts servers on them (outside
 * of any fiber, like a main function) and turns the universe with sim_run. Fibers run until none is
 * ready, then the clock jumps to the next timer, packet or end of a disk operation. Nothing sleeps, and
 * no thread exists: what happens depends on the seed alone, and sim_trace_hash tells whether two runs
 * were the same.
 *
 * Things go wrong as they do outside: the network delays, cuts the byte stream anywhere, resets, goes
 * silent; a power cut (sim_host_crash) keeps of each file what was synced and any part of the rest, and
 * of each directory what was synced and any part of the changes since; a process dies (sim_host_kill)
 * and the kernel's cache survives it. After either, everything the old world's fibers do or wait for
 * fails at once, so that they unwind and free what they hold: stop and free the server as always, then
 * its world, and boot the machine again with sim_host_restart.
 *
 *	sim_new(&(struct sim_options) { .seed = 7 }, &sim);
 *	sim_host_new(sim, "mx1", "192.0.2.1 2001:db8::1", &host, &world);
 *	loop_new(world, "main", 0, 0, &loop); loop_start(loop); loop_spawn(loop, "server", serve, x);
 *	sim_run(sim, 10 * USEC_SEC);
 *	sim_host_crash(host); loop_stop(loop); loop_free(loop); world_free(world);
 *	sim_host_restart(host, &world); ...
 *
 * One thread uses a universe. When memory runs out, or when fibers keep each other busy for ever
 * without time passing, the simulator says so on standard error and aborts: it is for tests. */
#pragma once

#include <stdio.h>

#include "base/net.h"
#include "world/world.h"

struct sim;
struct sim_host;

struct sim_options {
	uint64_t seed;
	const struct log *log; /* what the worlds hand out; may be NULL */
	wall_t start;          /* calendar time at the beginning; 0: 2026-01-01 */
	size_t stack_size;     /* per fiber; 0: 128 KiB, 512 KiB under AddressSanitizer */
	FILE *trace;           /* each event as a line of text; may be NULL */
};
int sim_new(const struct sim_options *o, struct sim **ret);
/* All worlds must have been freed. NULL is fine. */
void sim_free(struct sim *sim);
DEFINE_FREEP(struct sim, sim_free)

/* --- time ----------------------------------------------------------------------------------------- */

/* Turns the universe until its clock shows `until`, or with DEADLINE_NEVER until nothing is left that
 * could ever happen. Not from a fiber. */
void sim_run(struct sim *sim, usec_t until);
/* The same until done(context) holds, which is asked whenever no fiber is ready. Returns whether it does;
 * false: the clock shows `limit`, or nothing is left that could happen. */
bool sim_run_until(struct sim *sim, bool (*done)(void *context), void *context, usec_t limit);
usec_t sim_now(const struct sim *sim); /* begins at 1 second */
uint64_t sim_random_below(struct sim *sim, uint64_t n); /* for tests, from the same seed; 0 for n == 0 */
/* Over everything that happened so far: fibers that ran, bytes that arrived, disk operations. Two runs
 * of one program with one seed agree, unless it takes randomness from elsewhere (OpenSSL does). */
uint64_t sim_trace_hash(const struct sim *sim);
uint64_t sim_event_count(const struct sim *sim);

/* --- hosts ---------------------------------------------------------------------------------------- */

/* name: copied, for traces. ips: addresses separated by spaces, may be empty; every host has 127.0.0.0/8
 * and ::1 for itself. The host belongs to the universe, the world to the caller (world_free, which the
 * host and its disk survive). -EINVAL for a bad address, -EEXIST when another host has it. */
int sim_host_new(struct sim *sim, const char *name, const char *ips, struct sim_host **ret,
		 struct world **ret_world);
/* One more process on the same machine: its disk, its addresses. -EHOSTDOWN when it is down. */
int sim_host_process(struct sim_host *h, struct world **ret);
/* The power goes: see above. Connections are reset towards their peers. May be called from a fiber. */
void sim_host_crash(struct sim_host *h);
/* All processes of the host die, its kernel lives on: what was written stays, connections end with a
 * FIN, or a reset where unread input was left. */
void sim_host_kill(struct sim_host *h);
/* Only this process dies. */
void sim_world_kill(struct world *w);
/* A new world after a crash or a kill; the dead ones need not be freed yet. -EBUSY when one is alive. */
int sim_host_restart(struct sim_host *h, struct world **ret);
bool sim_host_is_up(const struct sim_host *h); /* some process of it lives */
usec_t sim_host_died_at(const struct sim_host *h); /* the last time that a process of it was ended by a crash or a kill */
struct sim_host *sim_host_of(struct world *w);
const char *sim_host_name(const struct sim_host *h);
/* Sets its calendar apart from the universe's, in microseconds; it may jump. */
void sim_host_set_clock(struct sim_host *h, int64_t offset);

/* --- network -------------------------------------------------------------------------------------- */

/* How the way between two hosts is. Connections keep what held when they were made. */
struct sim_link {
	usec_t latency, jitter;        /* one way; jitter is added, uniform in [0, jitter] */
	uint64_t bandwidth;            /* bytes per second each way; 0: unlimited */
	unsigned segment_max;          /* bytes that arrive together at most; 1 is the hardest */
	unsigned send_buffer, receive_buffer;
	unsigned loss_per_mille;       /* of segments, each costs a retransmission (200 ms, doubling) */
	unsigned refuse_per_mille;     /* of connections: refused */
	unsigned blackhole_per_mille;  /* of connections: never answered */
	unsigned reset_per_mille;      /* of connections: reset after some bytes (fewer is likelier)... */
	unsigned stall_per_mille;      /* of connections: go silent after some bytes... */
	uint64_t within;               /* ...of this many in one direction; 0: 65536 */
};
/* 5 ms + 5 ms, 1448 bytes, buffers of 16 KiB, nothing fails. */
struct sim_link sim_link_default(void);
/* Both NULL: for all hosts without a link of their own. b NULL: between a and all others. a == b: within a
 * (by itself 10 µs and faultless). The latest setting that fits holds. */
void sim_set_link(struct sim *sim, struct sim_host *a, struct sim_host *b, const struct sim_link *link);
/* Nothing gets through between a and b (b NULL: between a and all others) until healed. Connections
 * survive it for 15 minutes of sending into the void. */
void sim_partition(struct sim *sim, struct sim_host *a, struct sim_host *b);
void sim_heal(struct sim *sim, struct sim_host *a, struct sim_host *b);
void sim_heal_all(struct sim *sim);
/* Resets all connections between a and b (NULL: any host), at both ends. Returns how many. */
unsigned sim_reset_connections(struct sim *sim, struct sim_host *a, struct sim_host *b);
unsigned sim_connection_count(const struct sim *sim); /* that at least one end still has open */
/* Connections that `from` has made, or is making, to this port of `to` (NULL: of any host) and not closed. */
unsigned sim_connections_made(const struct sim *sim, const struct sim_host *from, const struct sim_host *to, uint16_t port);

enum sim_fate_kind {
	SIM_PASS,        /* nothing special, the link's chances do not apply either */
	SIM_CHANCE,      /* what the link's chances say (what the hook finds set) */
	SIM_REFUSE,      /* -ECONNREFUSED */
	SIM_UNREACHABLE, /* -EHOSTUNREACH */
	SIM_BLACKHOLE,   /* no answer; -ETIMEDOUT at the deadline or after 127 seconds */
	SIM_RESET,       /* a reset at both ends as soon as `after` bytes have arrived */
	SIM_STALL,       /* nothing arrives any more in either direction as soon as `after` bytes have arrived */
};
struct sim_fate {
	enum sim_fate_kind kind;
	bool from_server; /* count the bytes from the listening side; else those from the connecting side */
	uint64_t after;   /* 0: at the first byte, which is lost */
};
struct sim_connect {
	struct sim_host *from, *to; /* to is NULL when no host has the address */
	const struct endpoint *at;
	uint64_t number; /* of this connection in the universe, from 0 */
};
/* Asked at each connect; NULL takes it away. */
void sim_set_connect_hook(struct sim *sim,
			  void (*hook)(void *context, const struct sim_connect *c, struct sim_fate *fate),
			  void *context);

/* --- disk ----------------------------------------------------------------------------------------- */

enum sim_disk_op {
	SIM_OPEN = 1,
	SIM_READ = 2,
	SIM_WRITE = 4, /* pwritev, append; a random part of it is written before it fails */
	SIM_SYNC = 8,  /* after a failure what it should have kept may be lost, whatever later syncs say */
	SIM_TRUNCATE = 16,
	SIM_ALLOCATE = 32,
	SIM_LOCK = 64,
	SIM_INFO = 128, /* path_info, path_list, path_space, file_size */
	SIM_RENAME = 256,
	SIM_LINK = 512,
	SIM_UNLINK = 1024,
	SIM_MAKE_DIRECTORY = 2048,
	SIM_SYNC_DIRECTORY = 4096,
	SIM_ALL_OPS = 8191,
	/* What a crash can fall between. */
	SIM_CHANGES = SIM_OPEN | SIM_WRITE | SIM_SYNC | SIM_TRUNCATE | SIM_ALLOCATE | SIM_RENAME | SIM_LINK |
		      SIM_UNLINK | SIM_MAKE_DIRECTORY | SIM_SYNC_DIRECTORY,
};
struct sim_fault {
	unsigned ops;     /* which operations */
	const char *path; /* those on paths with this in them; NULL: all */
	int error;        /* what they return, a negative errno */
	uint64_t skip;    /* so many succeed first */
	uint64_t times;   /* so many fail then; 0: all */
	unsigned per_mille; /* chance of each; 0: certain */
};
void sim_host_add_fault(struct sim_host *h, const struct sim_fault *f); /* copied. The first that fits holds */
void sim_host_clear_faults(struct sim_host *h);
/* Bytes the file system holds; 0: unlimited. Files count in blocks of 4096 bytes. */
void sim_host_set_capacity(struct sim_host *h, uint64_t bytes);
uint64_t sim_host_disk_used(const struct sim_host *h);
/* How long calls from fibers take: uniform in [min, 2 min]. On a LOOP_BLOCKING loop they happen at once and
 * the loop stands still for that time afterwards. At first 20 µs and 500 µs. */
void sim_host_set_disk_speed(struct sim_host *h, usec_t call, usec_t sync);
/* A crash keeps writes and changes of directories in their order, torn only at the end, like a file
 * system with ordered data. At first it may keep any of them. */
void sim_host_set_ordered(struct sim_host *h, bool ordered);
/* So many of 1000 writes are short: the kernel takes a part, and the rest is one more operation, before which the
 * power may go, or which fails. */
void sim_host_set_short_writes(struct sim_host *h, unsigned per_mille);
/* The power goes in the n-th operation from now on that is one of SIM_CHANGES (1: the next); 0: never. It
 * fails with -EIO, and what it did is as uncertain as all that was not synced. */
void sim_host_crash_at(struct sim_host *h, uint64_t n);
uint64_t sim_host_changes(const struct sim_host *h); /* operations of SIM_CHANGES so far */
/* Everything written so far becomes durable, as by sync(2). For setting scenes. */
void sim_host_sync(struct sim_host *h);
/* A machine in another universe with a copy of this one's disk: as it is now, or (power_cut) as one of the states
 * that a power cut would leave at this moment. Nothing changes on the first. Neither addresses nor faults nor the
 * limit of its size are copied. */
void sim_host_clone(const struct sim_host *h, struct sim *into, bool power_cut, struct sim_host **ret, struct world **ret_world);

/* --- looking inside ------------------------------------------------------------------------------- */

/* A fiber that waits. */
struct sim_wait {
	const struct sim_host *host;
	const char *loop, *fiber, *what;
	usec_t since, deadline; /* DEADLINE_NEVER: it has none */
};
/* Calls each() for every fiber that waits in a living process, but for those inside a call of the disk, whose end is
 * certain. */
void sim_each_wait(const struct sim *sim, void (*each)(void *context, const struct sim_wait *w), void *context);
/* Bytes of memory that the simulator itself holds on the heap: disks, connections, what is on its way. */
size_t sim_footprint(const struct sim *sim);
