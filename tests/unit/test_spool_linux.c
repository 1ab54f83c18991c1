/* The spool in the real world: threads, a real directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "spool/spool.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/linux.h"

#define WRITERS 16
#define MESSAGES 40 /* of each */
#define LOOPS 2

struct real {
	char directory[64], path[128];
	struct world *world;
	struct loop *loops[LOOPS];
	struct spool *spool;
	atomic_uint running, wrong;
	atomic_ullong next;
	unsigned found;
	uint64_t found_bytes;
};

static int count_found(const struct spool_found *m, void *context)
{
	struct real *k = context;

	k->found++;
	k->found_bytes += m->body_size;
	if (m->body_size != m->id * 37 % 100000 || !slice_eq_str(m->envelope, "envelope"))
		atomic_fetch_add(&k->wrong, 1);
	return 0;
}

static void open_spool(struct real *k)
{
	struct spool_config config = { .path = k->path, .segment_size = 1u << 20, .reserve = 1, .compact_after = USEC_MS };

	k->found = 0;
	assert_int_equal(spool_open(k->world, NULL, &config, count_found, k, NULL, &k->spool), 0);
	for (unsigned i = 0; i < LOOPS; i++) {
		assert_int_equal(loop_new(k->world, "test", 0, 0, &k->loops[i]), 0);
		assert_int_equal(loop_start(k->loops[i]), 0);
	}
}

static void close_spool(struct real *k)
{
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(k->loops[i]);
		loop_free(k->loops[i]);
	}
	spool_close(k->spool);
}

static int set_up(void **state)
{
	struct real *k = calloc(1, sizeof(*k));

	(void) snprintf(k->directory, sizeof(k->directory), "/tmp/yizhan-spool-XXXXXX");
	if (!mkdtemp(k->directory) || world_linux_new(NULL, &k->world) < 0)
		return -1;
	(void) snprintf(k->path, sizeof(k->path), "%s/a/spool", k->directory);
	atomic_store(&k->next, 1);
	*state = k;
	return 0;
}

static int remove_entry(const char *name, void *context)
{
	struct real *k = context;
	char path[512];

	(void) snprintf(path, sizeof(path), "%s/%s", k->path, name);
	return path_unlink(k->world, path);
}

static int tear_down(void **state)
{
	struct real *k = *state;
	char path[128];

	(void) path_list(k->world, k->path, remove_entry, k);
	(void) rmdir(k->path);
	(void) snprintf(path, sizeof(path), "%s/a", k->directory);
	(void) rmdir(path);
	(void) rmdir(k->directory);
	world_free(k->world);
	free(k);
	return 0;
}

static char byte_of(msgid_t id, uint64_t i)
{
	return (char) (id * 13 + i * 3 + (i >> 9));
}

static int commit(struct real *k, msgid_t id)
{
	uint64_t size = id * 37 % 100000;
	struct spool_writer *w;
	int r = spool_writer_new(k->spool, id, &w);

	if (r < 0)
		return r;
	while (spool_writer_size(w) < size) {
		uint64_t done = spool_writer_size(w);
		size_t room;
		char *at;

		r = spool_writer_reserve(w, (size_t) (size - done), &at, &room);
		if (r < 0) {
			spool_writer_abort(w);
			return r;
		}
		for (size_t i = 0; i < room; i++)
			at[i] = byte_of(id, done + i);
		spool_writer_used(w, room);
	}
	return spool_writer_commit(w, SLICE("envelope"), SLICE_NULL);
}

static int check(struct real *k, msgid_t id)
{
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	struct slice s;
	int e = spool_reader_open(k->spool, id, &r);

	for (uint64_t at = 0; e >= 0; at += s.len) {
		e = spool_reader_view(r, at, &s);
		if (e < 0 || s.len == 0)
			break;
		for (size_t i = 0; i < s.len; i++)
			if (s.data[i] != byte_of(id, at + i))
				return -EILSEQ;
	}
	return e;
}

static void writer(void *arg)
{
	struct real *k = arg;

	for (unsigned i = 0; i < MESSAGES; i++) {
		msgid_t id = atomic_fetch_add(&k->next, 1);
		int r = commit(k, id);

		if (r >= 0)
			r = check(k, id);
		if (r >= 0)
			r = spool_note(k->spool, id, SLICE("a note"));
		if (r >= 0 && id % 5 != 0)
			r = spool_remove(k->spool, id);
		if (r < 0)
			atomic_fetch_add(&k->wrong, 1);
	}
	atomic_fetch_sub(&k->running, 1);
}

static void let_them_write(struct real *k)
{
	atomic_store(&k->running, WRITERS);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(loop_spawn(k->loops[i % LOOPS], "writer", writer, k), 0);
	for (unsigned i = 0; i < 60000 && atomic_load(&k->running) > 0; i++)
		(void) usleep(1000);
	assert_int_equal(atomic_load(&k->running), 0);
	assert_int_equal(atomic_load(&k->wrong), 0);
}

static void test_writers_of_several_threads_share_the_log(void **state)
{
	struct real *k = *state;
	struct spool_stats stats;

	for (unsigned round = 1; round <= 3; round++) {
		open_spool(k);
		assert_int_equal(k->found, (round - 1) * WRITERS * MESSAGES / 5);
		let_them_write(k);
		spool_stats(k->spool, &stats);
		assert_int_equal(stats.commits, WRITERS * MESSAGES);
		assert_true(stats.syncs <= 2 * WRITERS * MESSAGES);
		close_spool(k);
		assert_int_equal(atomic_load(&k->wrong), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_writers_of_several_threads_share_the_log, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
