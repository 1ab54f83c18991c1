/* What goes wrong in a simulation: a list of faults, drawn from the seed before anything happens, each with a number,
 * a time and all that it needs. That a fault is left out (ONLY, sim/seeds.h) changes nothing about the others, so a
 * failure can be traced to the few that it takes. */
#pragma once

#include "sim/letter.h"

enum fault_kind {
	FAULT_POWER,        /* the power of a server goes, between two of its steps... */
	FAULT_BREAK,        /* ...or in the n-th change of its disk from then on, or in the middle of it */
	FAULT_KILL,         /* its process is killed */
	FAULT_STOP,         /* it is stopped in good order */
	FAULT_RIVAL,        /* a second server is started on its spool */
	FAULT_DISK,         /* operations on its disk fail: once, some times, or all until the fault is over */
	FAULT_FULL,         /* its disk is nearly full */
	FAULT_SLOW_DISK,    /* syncs take up to seconds */
	FAULT_SHORT_WRITES, /* writes are taken in parts */
	FAULT_RESET,        /* all its connections are reset */
	FAULT_PARTITION,    /* nothing gets through between it and another */
	FAULT_BAD_LINES,    /* all ways lose, delay, cut into single bytes, reset and hang */
	FAULT_DNS,          /* questions to the DNS fail or take long */
	FAULT_DNS_MOVES,    /* the DNS gives other answers */
	FAULT_REMOTE,       /* a remote behaves badly... */
	FAULT_REMOTE_GONE,  /* ...or can't be reached at all */
	FAULT_KINDS,
};

struct fault {
	unsigned number;
	enum fault_kind kind;
	usec_t at, until;    /* until: when it is over, for those that last */
	unsigned node, other, remote, behaviours, zone;
	uint64_t amount;
	usec_t pause;        /* before a server boots again */
	struct sim_fault disk;
	struct sim_link link;
	enum { FAULT_TO_COME, FAULT_LASTS, FAULT_OVER } state;
};

/* Which kinds there are in this seed, and how likely each is against the others; 0: not at all. */
struct fault_mix {
	unsigned weights[FAULT_KINDS];
	usec_t gap;   /* between two faults, on average */
	usec_t lasts; /* at most, of those that last */
	const char *const *zones; /* for FAULT_DNS_MOVES; the first is the one at the beginning */
	unsigned n_zones;
};

struct faults {
	struct scene *scene;
	const struct fault_mix *mix;
	struct fault *list;
	unsigned n;
	unsigned happened[FAULT_KINDS];
};

/* Draws those of the time from now until `until` and tells them in the story. */
void scene_faults_draw(struct scene *s, const struct fault_mix *mix, usec_t until, struct faults *ret);
/* Turns the world until then and lets happen what is due. */
void scene_faults_run(struct faults *f, usec_t until);
/* Everything that still lasts is over. */
void scene_faults_end(struct faults *f);
void scene_faults_done(struct faults *f);
