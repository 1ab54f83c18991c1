/* Every allocation fails once: for tests that are linked with --wrap (meson.build: programs named test_faults_*).
 *
 * A walk runs a scenario once to count the allocations that it makes between faults_begin and faults_end, and then
 * again and again, the n-th of them failing, for each n: SQLite's manner. The scenario judges for itself whether
 * what succeeded did what it promised, and what failed left no trace; the walk adds that no allocation is left
 * alive afterwards. Calls of malloc and its family count, strdup, asprintf, mmap of stacks (world/stack.c) and what
 * the libraries do that let themselves be given an allocator (jansson); the simulator's own memory never fails.
 *
 *	static void scenario(void *context)
 *	{
 *		set up;
 *		faults_begin(NULL, NULL);
 *		r = the_call(&result);
 *		faults_end();
 *		assert(r == 0 ? result does what it should : r == -ENOMEM);
 *		tear down;
 *	}
 *	faults_walk(&(struct faults_walk) { .name = "the call", .scenario = scenario });
 *
 * FAULT=n (environment) runs the n-th alone; FAULTS=n takes so many points of each walk, 0: every one.
 * Whatever thread allocates is counted; faults_pause and the other calls are for one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct faults_walk {
	const char *name;
	void (*scenario)(void *context);
	void *context;
	uint64_t times; /* so many in a row fail; 0: all that follow, until faults_end */
	uint64_t most; /* at most so many points, spread over the whole; 0: every one */
};
/* Returns the number of points that failed. Fails the test when something is left alive. */
uint64_t faults_walk(const struct faults_walk *w);
/* Each one alone, and then each one with all that follow; the sum of both. */
uint64_t faults_walk_both(const char *name, void (*scenario)(void *context), void *context, uint64_t most);

/* How many of so many points FAULTS asks for; without it at most `most`, 0: all. */
uint64_t faults_points(uint64_t total, uint64_t most);
/* Whether so many points failed, or as many as FAULT or FAULTS asked for: then there may be fewer. */
bool faults_enough(uint64_t failed, uint64_t least);

/* Within a scenario. applies (may be NULL): whether the present call counts. */
void faults_begin(bool (*applies)(void *context), void *context);
void faults_end(void);
/* Work of the test itself, which neither counts nor fails. They nest. */
void faults_pause(void);
void faults_resume(void);
bool faults_fired(void); /* in this run of the scenario */
uint64_t faults_point(void); /* which one this run was to fail; 0: none, it only counts */
/* Prints where the failure was. For a test that is about to fail. */
void faults_print(void);
/* For cmocka_unit_test_teardown: the same when a scenario did not come to its end. */
int faults_teardown(void **state);

/* Allocations that are alive and were made since; print: and says where. */
uint64_t faults_now(void);
size_t faults_alive(uint64_t since, bool print);

/* An assertion that says which point it was. */
#define faults_check(holds)                                                                              \
	do {                                                                                             \
		if (!(holds)) {                                                                          \
			faults_print();                                                                  \
			fail_msg("%s:%d: does not hold: %s", __FILE__, __LINE__, #holds);                \
		}                                                                                        \
	} while (0)
