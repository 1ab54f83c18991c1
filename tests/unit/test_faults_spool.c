/* The spool, each of whose allocations and calls of the disk fails once: what was committed is there, whole, now and
 * after a restart and after a power cut; what was refused is not, or (after -EIO) only after a power cut; and nothing
 * is left in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "unit/spool_scene.h"
#include "world/file.h"

#define MESSAGES 12u

enum fate { FATE_NONE, FATE_REFUSED, FATE_COMMITTED, FATE_REMOVED, FATE_UNSURE };

/* A life of a spool: what was done to each message and what came back. */
struct life {
	struct scene scene;
	enum fate fates[MESSAGES];
	uint32_t notes[MESSAGES]; /* the last one that was taken */
	bool note_unsure[MESSAGES];
	struct sim_fault disk; /* ops 0: allocations fail */
	bool cut;              /* ends with a power cut, not in good order */
	bool opening;
};

static uint64_t size_of(unsigned i)
{
	return i % 3 == 0 ? 200000 : 700;
}

/* The reason for a failure must be one that was injected. */
static int expect(struct life *l, int r)
{
	if (r >= 0)
		return r;
	if (l->disk.ops)
		faults_check(r == l->disk.error || r == -EIO || r == -EROFS || r == -ENOSPC);
	else
		faults_check(r == -ENOMEM && faults_fired());
	return r;
}

static int live(struct scene *c, void *arg)
{
	struct life *l = arg;

	for (unsigned i = 0; i < MESSAGES; i++) {
		int r = expect(l, scene_commit_front(c, i + 1, size_of(i), i % 5 < 2 ? 500 : 0));

		l->fates[i] = r >= 0 ? FATE_COMMITTED : r == -EIO ? FATE_UNSURE : FATE_REFUSED;
		if (r >= 0 && i % 2 == 1) {
			r = expect(l, scene_note(c, i + 1, i, i % 4 == 1));
			if (r >= 0)
				l->notes[i] = i;
			else
				l->note_unsure[i] = true;
		}
		if (l->fates[i] == FATE_COMMITTED && i % 4 == 2) {
			r = expect(l, spool_remove(c->spool, i + 1));
			if (r >= 0)
				l->fates[i] = FATE_REMOVED;
		}
	}
	return 0;
}

static int look(struct scene *c, void *arg)
{
	struct life *l = arg;

	for (unsigned i = 0; i < MESSAGES; i++) {
		int r = scene_check(c, i + 1, size_of(i));

		if (r == -ENOMEM || (l->disk.ops & SIM_READ && r == l->disk.error))
			r = scene_check(c, i + 1, size_of(i)); /* it fails once only */
		if (l->fates[i] == FATE_COMMITTED)
			faults_check(r == 0);
		else
			faults_check(r == -ENOENT || (r == 0 && l->fates[i] == FATE_UNSURE));
	}
	return 0;
}

/* What a new start finds. Lazy notes and removals may be lost by a power cut, commits may not. */
static void judge(struct life *l, bool first)
{
	struct scene *c = &l->scene;

	for (unsigned i = 0; i < MESSAGES; i++) {
		const struct scene_message *m = scene_find(c, i + 1);

		/* What can't be read is named in the log, and stays for the next start. */
		if (l->fates[i] == FATE_COMMITTED && !(l->disk.ops & SIM_READ && !m && first))
			faults_check(m && !m->wrong && m->size == size_of(i));
		if (l->fates[i] == FATE_REFUSED && !l->disk.ops)
			faults_check(!m);
		if (l->fates[i] == FATE_REMOVED && !l->cut && !l->disk.ops)
			faults_check(!m);
		if (l->fates[i] == FATE_COMMITTED && !l->cut && !l->disk.ops && !l->note_unsure[i])
			faults_check(m && m->note == l->notes[i]);
		if (m)
			faults_check(!m->wrong);
	}
}

/* The test's own work is done outside of loops, but for the opening. */
static bool in_the_spool(void *context)
{
	const struct life *l = context;

	return l->opening || loop_current();
}

static int open_spool(struct life *l)
{
	int r;

	l->opening = true;
	r = scene_open(&l->scene);

	if (r < 0) {
		(void) expect(l, r);
		faults_check(!l->scene.spool);
		r = scene_open(&l->scene); /* it fails once only */
		if (r < 0)
			(void) expect(l, r);
	}
	l->opening = false;
	return r;
}

static void play(void *context)
{
	static struct life l; /* too large for a frame */
	struct scene *c = &l.scene;
	bool open;

	l = *(const struct life *) context;
	scene_begin(c, 7);
	c->config.compact_percent = 90;
	c->config.compact_after = USEC_SEC;
	if (l.disk.ops)
		sim_host_add_fault(c->host, &l.disk);
	else
		faults_begin(in_the_spool, &l);
	open = open_spool(&l) >= 0;
	if (open) {
		(void) scene_run(c, live, &l);
		scene_pass(c, 10 * USEC_SEC); /* it compacts */
		(void) scene_run(c, look, &l);
	}
	if (l.cut) {
		sim_host_crash(c->host);
		scene_restart(c);
	} else {
		scene_close(c);
	}
	if (open_spool(&l) >= 0) {
		judge(&l, true);
		faults_end();
		sim_host_clear_faults(c->host);
		scene_reopen(c);
		judge(&l, false);
	} else {
		faults_check(!open);
	}
	faults_end();
	scene_end(c);
}

/* --- the tests ---------------------------------------------------------------------------------------------------- */

static void test_an_allocation_fails(void **state)
{
	static struct life l;
	struct faults_walk w = { .name = "a spool", .scenario = play, .context = &l, .times = 1 };

	assert_true(faults_enough(faults_walk(&w), 51));
	l.cut = true;
	w.name = "a spool and a power cut";
	assert_true(faults_enough(faults_walk(&w), 51));
}

struct disk_case {
	const char *name;
	enum sim_disk_op op;
	int error;
};

static void test_a_call_of_the_disk_fails(void **state)
{
	static const struct disk_case cases[] = {
		{ "open", SIM_OPEN, -EMFILE },	     { "read", SIM_READ, -EIO },	       { "write", SIM_WRITE, -EIO },
		{ "write", SIM_WRITE, -ENOSPC },     { "sync", SIM_SYNC, -EIO },	       { "allocate", SIM_ALLOCATE, -ENOSPC },
		{ "rename", SIM_RENAME, -EIO },	     { "unlink", SIM_UNLINK, -EIO },	       { "mkdir", SIM_MAKE_DIRECTORY, -ENOSPC },
		{ "stat", SIM_INFO, -EIO },	     { "sync of a directory", SIM_SYNC_DIRECTORY, -EIO },
	};

	for (unsigned i = 0; i < 2 * ARRAY_LEN(cases); i++) {
		const struct disk_case *k = &cases[i / 2];
		unsigned calls = k->op == SIM_READ ? 100 : k->op == SIM_WRITE ? 60 : 25;
		unsigned points = (unsigned) faults_points(calls, 0);

		for (unsigned n = 0; n < points; n++) {
			static struct life l;

			l.disk = (struct sim_fault) { .ops = k->op, .error = k->error, .skip = n * calls / points, .times = 1 };
			l.cut = i % 2;
			play(&l);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_an_allocation_fails, faults_teardown),
		cmocka_unit_test(test_a_call_of_the_disk_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
