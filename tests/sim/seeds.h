/* Many seeds of one simulation: on all cores, each process of its own, and what to do when one fails.
 *
 * seeds_run forks as many workers as there are cores; each runs its share of the seeds one after the other and adds
 * up what it counted. A worker that dies, of a failed check, an assertion, a sanitizer or its time limit, ends all
 * of them, and the failing seed is made small: it is run again and again with fewer of its faults (each has a
 * number, sim/faults.h), until no fault can be left out. Then its story is printed, and the command that repeats it.
 *
 *	SEED=n      that seed alone, in this process, for a debugger; with ONLY=3,17 none but these faults (ONLY=none)
 *	SEEDS=n     so many, from FROM (1) on;  JOBS=n  on so many cores
 *	SHRINK=n    so many seconds for making a failure small (60; 0: not at all)
 *	LOG=1       the servers' logs;  TRACE=1  all events */
#pragma once

#include "base/macro.h"

#define SEEDS_FAULTS 250u /* of one seed at most */

struct seeds {
	unsigned n; /* when the environment doesn't say how many */
	void (*run)(uint64_t seed, void *totals);
	unsigned *totals; /* counters, added up over all seeds */
	size_t n_totals;
};

/* Returns how many seeds there were. Fails the test when one failed. */
unsigned seeds_run(const struct seeds *s);
/* Runs it in a process of its own. False: it failed. */
bool seeds_run_apart(void (*run)(uint64_t seed, void *totals), uint64_t seed, unsigned *totals, size_t n_totals);

/* The faults without which it does not fail as it did, by their numbers; how many of them. Takes so many seconds at
 * most. */
unsigned seeds_shrink(void (*run)(uint64_t seed, void *totals), uint64_t seed, unsigned seconds, unsigned ret[static SEEDS_FAULTS]);

/* --- for the scene and its faults ------------------------------------------------------------------- */

/* Is this fault to happen? */
bool seeds_want_fault(unsigned number);
/* It has happened. */
void seeds_note_fault(unsigned number);
/* A failure: kind is the same text for all failures of one kind. Returns whether its story is wanted. */
bool seeds_note_failure(const char *kind, const char *text);
/* SEED=..., with the faults that are to happen, as a person would type it. Returns out. */
const char *seeds_command(uint64_t seed, char *out, size_t size);
/* Ends the process of a failed seed; returns when this is not one of the forked ones. */
void seeds_end_failed(void);
bool seeds_asked_for(const char *name); /* an environment variable that is neither empty nor 0 */
