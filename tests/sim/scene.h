/* A small internet in one process, for tests of whole servers in the simulated world.
 *
 * The life of a scene: scene_new makes the universe and its Yizhan servers, each a machine of its own with address,
 * disk, configuration file and zone file on that disk; node_boot starts one as its main function would; clients
 * (sim/client.h) hand letters in, remotes (sim/remote.h) play the servers of others; scene_run turns the world
 * and boots what is due. The test crashes, kills and stops servers between its turns. scene_drain waits until
 * nothing is left in any queue; then sim/letter.h tells what became of every letter. scene_free stops what still
 * runs and checks that nothing was left behind.
 *
 * The servers are a, b, c...: mx.a.example at 192.0.2.11, mx.b.example at 192.0.2.12..., each with mailboxes for
 * its own domain. Everything that a test does to the scene stands in its story, which a failure prints together
 * with the command that repeats it:
 *
 * (sim/seeds.h). While it runs, sim/watch.h looks on. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "main/server.h"
#include "world/fiber.h"
#include "world/sim.h"

#define SCENE_SERVERS 4
#define SCENE_REMOTES 4

struct scene;
struct letter;
struct copy;
struct remote;

/* A host with one process that runs one loop of ours: for clients and remotes. */
struct machine {
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
};

enum node_state { NODE_DOWN, NODE_STARTING, NODE_UP, NODE_STOPPING, NODE_FAILED };

/* One Yizhan server. */
struct node {
	struct scene *scene;
	unsigned index;
	char name[8], domain[32], ip[IP_TEXT];
	struct sim_host *host;
	struct log log;
	unsigned threads;
	struct spool_config spool; /* sizes and times, drawn from the seed */
	enum node_state state;
	usec_t boot_at;       /* while it is down: when scene_run boots it; DEADLINE_NEVER: nobody does */
	usec_t break_pause;   /* how long it will be down after node_break_at */
	/* All NULL while it is down. */
	struct world *world;
	struct loop *loop;    /* runs what a main function would */
	struct server *server;
	struct spool_recovery found; /* by the last start */
	usec_t up_since;
	uint64_t left;               /* messages in the index when it stopped; UINT64_MAX: unknown */
	unsigned starts, failed_starts;
	int stop_result;
};

enum trouble_kind {
	TROUBLE_DEATH,   /* a crash or a kill of node */
	TROUBLE_DISK,    /* its disk failed */
	TROUBLE_NETWORK, /* connections between node and other (NULL: all) were cut or hung */
};
/* Something that may part a delivery from its record. */
struct trouble {
	enum trouble_kind kind;
	const struct node *node, *other;
	usec_t from, until;
};

struct scene {
	uint64_t seed;
	struct sim *sim;
	unsigned n_nodes;
	struct node nodes[SCENE_SERVERS];
	const char *config; /* further YAML for each server */
	unsigned connections; /* going out of one server; 0: as many as it likes */
	unsigned dns_trouble; /* per cent of questions to the DNS that fail or take long */
	struct buffer zone, story;
	bool zone_changed; /* since the zone files were written */
	usec_t slowest_sync; /* that a disk was told to have */
	unsigned moments;  /* at which watch_moment was asked */
	int64_t wall_offset; /* calendar time - time of the simulation */
	struct trouble *troubles;
	unsigned n_troubles;
	struct letter **letters;
	unsigned n_letters;
	struct copy *copies;
	unsigned n_copies;
	struct remote *remotes[SCENE_REMOTES];
	unsigned n_remotes;
};

struct scene_options {
	unsigned n_servers;
	const char *config; /* further YAML for each server, at the top level; static; may be NULL */
	const char *zone;   /* further records; may be NULL */
	unsigned connections; /* going out of one server; 0: as many as it likes */
};

/* --- the scene -------------------------------------------------------------------------------------- */

/* The servers are down at first. */
void scene_new(uint64_t seed, const struct scene_options *o, struct scene **ret);
/* Stops servers that run, in good order. */
void scene_free(struct scene *s);
/* Turns the world until its clock shows `until`; boots servers whose time has come, buries those that died. */
void scene_run(struct scene *s, usec_t until);
/* The same for so long. */
void scene_run_for(struct scene *s, usec_t time);
/* Runs until all servers are up and have empty spools; false when that takes until `limit`. Starts again what asks
 * for it in its log. */
bool scene_drain(struct scene *s, usec_t limit);
usec_t scene_now(const struct scene *s);
uint64_t scene_dice(struct scene *s, uint64_t n); /* uniform in [0, n) */
bool scene_chance(struct scene *s, unsigned per_cent);
/* From now on the DNS has other records than those that scene_options named; caches keep what they have. */
void scene_change_zone(struct scene *s, const char *more);
/* A machine for a client or a remote server. */
void scene_machine_new(struct scene *s, const char *name, const char *ips, struct machine *ret);
void scene_machine_free(struct machine *m);

/* --- what happened ------------------------------------------------------------------------------------ */

/* Adds a line to the story. */
void scene_tell(struct scene *s, const char *format, ...) _printf_(2, 3);
/* A trouble, for the question whether a letter may have come twice. Told by the caller. */
void scene_trouble(struct scene *s, enum trouble_kind kind, const struct node *node, const struct node *other, usec_t from,
		   usec_t until);
/* Was there one of these within [from, until]? node NULL: at any. */
bool scene_was_troubled(const struct scene *s, enum trouble_kind kind, const struct node *node, usec_t from, usec_t until);
/* Prints the story, the seed and how to repeat it, and fails the test. Does not return. */
_noreturn_ void scene_fail(struct scene *s, const char *format, ...) _printf_(2, 3);
#define scene_check(s, holds, ...)                      \
	do {                                            \
		if (!(holds))                           \
			scene_fail((s), __VA_ARGS__);   \
	} while (0)

/* --- servers ------------------------------------------------------------------------------------------ */

/* Starts a server that is down; scene_run goes on with it. */
void node_boot(struct node *n);
/* The power goes, or the process dies, or (node_break_at) the power goes in the n-th change of its disk from now; 0 takes
 * that back.
 * It boots again after `pause`; DEADLINE_NEVER: not by itself. */
void node_crash(struct node *n, usec_t pause);
void node_kill(struct node *n, usec_t pause);
void node_break_at(struct node *n, uint64_t changes, usec_t pause);
/* Stops it as SIGTERM would and waits for its end. The next start must find what its index held, if its disk is well.
 * It boots again after `pause`; DEADLINE_NEVER: not by itself. */
void node_stop(struct node *n, usec_t pause);
/* Starts a second server on its spool and its disk, at another port: it must be told that there is one already. */
void node_rival(struct node *n);
/* Boots it and waits until it is up. */
void node_start(struct node *n);
/* Living messages in its spool; 0 while it is not up. */
uint64_t node_messages(const struct node *n);
/* Fibers on the loops of sessions and deliveries. */
unsigned node_fibers(const struct node *n);
struct node *scene_node_of(struct scene *s, const struct sim_host *host); /* NULL: none */
