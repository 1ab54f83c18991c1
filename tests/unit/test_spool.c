#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "spool/record.h"
#include "unit/spool_scene.h"
#include "world/file.h"

static int set_up(void **state)
{
	struct scene *c = malloc(sizeof(*c));

	if (!c)
		return -1;
	scene_begin(c, 1);
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *c = *state;

	scene_end(c);
	free(c);
	return 0;
}

static int open_scene(void **state)
{
	int r = set_up(state);

	return r < 0 ? r : scene_open(*state);
}

static struct spool_stats stats_of(struct scene *c)
{
	struct spool_stats stats;

	spool_stats(c->spool, &stats);
	return stats;
}

struct one {
	msgid_t id;
	uint64_t size;
};

static int commit_one(struct scene *c, void *arg)
{
	const struct one *one = arg;

	return scene_commit(c, one->id, one->size);
}

static int check_one(struct scene *c, void *arg)
{
	const struct one *one = arg;

	return scene_check(c, one->id, one->size);
}

/* --- writing and reading ------------------------------------------------------------------------------ */

static const uint64_t sizes[] = { 0, 1, 7, 8, 4096, 16239, 16240, 16241, 16384, 16385, 40000, 500000 };

static int commit_all_sizes(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
		assert_int_equal(scene_commit(c, i + 1, sizes[i]), 0);
	return 0;
}

static int check_all_sizes(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
		assert_int_equal(scene_check(c, i + 1, sizes[i]), 0);
	return 0;
}

static void test_a_committed_message_reads_back_whole(void **state)
{
	struct scene *c = *state;

	scene_run(c, commit_all_sizes, NULL);
	scene_run(c, check_all_sizes, NULL);
	scene_reopen(c);
	assert_int_equal(c->found_count, ARRAY_LEN(sizes));
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		assert_int_equal(c->found[i].id, i + 1); /* in the order of the commits */
		assert_int_equal(c->found[i].size, sizes[i]);
		assert_false(c->found[i].wrong);
		assert_int_equal(c->found[i].note, 0);
	}
	assert_int_equal(c->recovery.highest_id, ARRAY_LEN(sizes));
	assert_int_equal(c->recovery.torn_bytes, 0);
	scene_run(c, check_all_sizes, NULL);
}

static void test_what_was_acknowledged_survives_a_power_cut(void **state)
{
	struct scene *c = *state;

	scene_run(c, commit_all_sizes, NULL);
	scene_crash(c);
	assert_int_equal(c->found_count, ARRAY_LEN(sizes));
	scene_run(c, check_all_sizes, NULL);
}

static int read_in_pieces(struct scene *c, void *arg)
{
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	char data[3000];

	assert_int_equal(scene_commit(c, 9, 100000), 0);
	assert_int_equal(spool_reader_open(c->spool, 9, &r), 0);
	for (uint64_t at = 100000; at > 0;) { /* backwards, over the borders of chunks */
		uint64_t n = MIN(at, sizeof(data));

		at -= n;
		assert_int_equal(spool_reader_read(r, at, data, (size_t) n), n);
		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(data[i], scene_byte(9, at + i));
	}
	assert_int_equal(spool_reader_read(r, 99999, data, 50), 1);
	assert_int_equal(spool_reader_read(r, 100000, data, 50), 0);
	assert_int_equal(spool_reader_read(r, UINT64_MAX, data, 50), 0);
	return 0;
}

static void test_a_reader_reads_anywhere(void **state)
{
	scene_run(*state, read_in_pieces, NULL);
}

static int abort_some(struct scene *c, void *arg)
{
	struct spool_writer *w;
	char text[1000] = { 0 };

	assert_int_equal(scene_commit(c, 1, 10), 0);
	assert_int_equal(spool_writer_new(c->spool, 2, &w), 0);
	spool_writer_abort(w);
	assert_int_equal(spool_writer_new(c->spool, 3, &w), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(spool_writer_append(w, slice_new(text, sizeof(text))), 0);
	spool_writer_abort(w);
	spool_writer_abort(NULL);
	assert_int_equal(scene_check(c, 2, 0), -ENOENT);
	assert_int_equal(scene_check(c, 3, 200000), -ENOENT);
	assert_int_equal(scene_commit(c, 1, 10), -EEXIST);
	assert_int_equal(scene_check(c, 1, 10), 0);
	assert_int_equal(scene_commit(c, 4, 10), 0);
	return 0;
}

static void test_an_aborted_message_never_existed(void **state)
{
	struct scene *c = *state;

	scene_run(c, abort_some, NULL);
	assert_int_equal(stats_of(c).bytes_living, 2 * (64 + 80)); /* chunk and commit records of 1 and 4 */
	scene_reopen(c);
	assert_int_equal(c->found_count, 2);
	assert_int_equal(c->recovery.lost_messages, 0);
}

static int note_and_remove(struct scene *c, void *arg)
{
	char *envelope;
	size_t len;

	for (msgid_t id = 1; id <= 4; id++)
		assert_int_equal(scene_commit(c, id, 100), 0);
	assert_int_equal(scene_note(c, 1, 10, false), 0);
	assert_int_equal(scene_note(c, 1, 11, false), 0);
	assert_int_equal(scene_note(c, 2, 20, true), 0);
	assert_int_equal(scene_note(c, 3, 30, false), 0);
	assert_int_equal(spool_remove(c->spool, 3), 0);
	assert_int_equal(spool_remove(c->spool, 3), -ENOENT);
	assert_int_equal(scene_note(c, 3, 31, false), -ENOENT);
	assert_int_equal(scene_note(c, 99, 1, true), -ENOENT);
	assert_int_equal(scene_check(c, 3, 100), -ENOENT);
	assert_int_equal(spool_envelope(c->spool, 3, &envelope, &len), -ENOENT);
	assert_int_equal(spool_envelope(c->spool, 2, &envelope, &len), 0);
	assert_string_equal(envelope, "envelope of 2");
	free(envelope);
	return 0;
}

static void test_the_newest_note_counts_and_the_removed_stay_away(void **state)
{
	struct scene *c = *state;

	scene_run(c, note_and_remove, NULL);
	for (unsigned round = 0; round < 2; round++) {
		scene_reopen(c);
		assert_int_equal(c->found_count, 3);
		assert_int_equal(scene_find(c, 1)->note, 11);
		assert_int_equal(scene_find(c, 2)->note, 20);
		assert_null(scene_find(c, 3));
		assert_int_equal(scene_find(c, 4)->note, 0);
	}
}

static void test_lazy_notes_are_durable_after_their_time(void **state)
{
	struct scene *c = *state;

	scene_run(c, note_and_remove, NULL);
	scene_pass(c, 200 * USEC_MS);
	scene_crash(c);
	assert_int_equal(c->found_count, 3);
	assert_int_equal(scene_find(c, 1)->note, 11);
}

/* --- batches ------------------------------------------------------------------------------------------------ */

struct crowd {
	struct scene *scene;
	msgid_t next;
	unsigned running, failed;
};

static void one_of_the_crowd(void *arg)
{
	struct crowd *k = arg;

	for (unsigned i = 0; i < 20; i++)
		k->failed += scene_commit(k->scene, k->next++, 300) < 0;
	k->running--;
}

static int let_a_crowd_commit(struct scene *c, void *arg)
{
	struct crowd k = { .scene = c, .next = 1, .running = 50 };

	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(fiber_spawn("crowd", one_of_the_crowd, &k, NULL), 0);
	while (k.running > 0)
		assert_int_equal(fiber_sleep_until(now() + USEC_MS), 0);
	assert_int_equal(k.failed, 0);
	return 0;
}

static void test_many_writers_share_a_sync_and_one_alone_has_its_own(void **state)
{
	struct scene *c = *state;
	uint64_t before;

	scene_run(c, let_a_crowd_commit, NULL);
	assert_int_equal(stats_of(c).commits, 1000);
	assert_true(stats_of(c).syncs <= 100);
	scene_pass(c, USEC_SEC);
	before = stats_of(c).syncs;
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 5000, 300 }), 0);
	assert_int_equal(stats_of(c).syncs - before, 1);
	scene_reopen(c);
	assert_int_equal(c->found_count, 1001);
}

static void one_that_comes_soon(void *arg)
{
	struct crowd *k = arg;
	struct spool_writer *w;

	assert_int_equal(spool_writer_new(k->scene->spool, 8000, &w), 0);
	assert_int_equal(fiber_sleep_until(now() + 30), 0);
	k->failed += spool_writer_commit(w, slice_from("later"), SLICE_NULL) < 0;
	k->running--;
}

static int commit_with_company(struct scene *c, void *arg)
{
	struct crowd k = { .scene = c, .running = 1 };

	assert_int_equal(fiber_spawn("later", one_that_comes_soon, &k, NULL), 0);
	fiber_yield();
	assert_int_equal(scene_commit(c, 8001, 300), 0);
	fiber_yield();
	assert_int_equal(k.running, 0); /* one sync answered both */
	assert_int_equal(k.failed, 0);
	return 0;
}

static int commit_beside_an_idle_one(struct scene *c, void *arg)
{
	struct spool_writer *w;
	usec_t began;

	assert_int_equal(spool_writer_new(c->spool, 8002, &w), 0);
	began = now();
	assert_int_equal(scene_commit(c, 8003, 300), 0);
	assert_true(now() - began < 3 * USEC_MS); /* the other was waited for, but not for long */
	spool_writer_abort(w);
	began = now();
	assert_int_equal(scene_commit(c, 8004, 300), 0);
	assert_true(now() - began < 1200); /* nobody is waited for */
	return 0;
}

static void test_a_commit_waits_a_moment_for_those_that_are_coming(void **state)
{
	struct scene *c = *state;
	uint64_t before;

	scene_run(c, commit_one, &(struct one) { 1, 300 }); /* so that it knows how long a sync takes */
	before = stats_of(c).syncs;
	scene_run(c, commit_with_company, NULL);
	assert_int_equal(stats_of(c).syncs - before, 1);
	scene_run(c, commit_beside_an_idle_one, NULL);
	scene_run(c, commit_one, &(struct one) { 2, 300 });
}

/* --- opening -------------------------------------------------------------------------------------------------- */

static void test_a_second_server_is_kept_out(void **state)
{
	struct scene *c = *state;
	struct spool *second;

	assert_int_equal(spool_open(c->world, NULL, &c->config, NULL, NULL, NULL, &second), -EWOULDBLOCK);
	scene_reopen(c);
}

static void test_a_newer_format_is_refused_and_left_alone(void **state)
{
	struct segment_header h = { .version = SPOOL_VERSION + 1, .number = 255 };
	unsigned char bytes[SEGMENT_START];
	struct scene *c = *state;
	unsigned char *after;
	size_t len;

	scene_run(c, commit_all_sizes, NULL);
	scene_close(c);
	segment_header_encode(&h, bytes);
	scene_write_file(c, "/spool/000000ff.log", bytes, sizeof(bytes));
	assert_int_equal(scene_open(c), -EPROTONOSUPPORT);
	assert_int_equal(c->lines[LOG_CRITICAL], 1);
	after = scene_file(c, "/spool/000000ff.log", &len);
	assert_int_equal(len, sizeof(bytes));
	assert_memory_equal(after, bytes, len);
	free(after);
	assert_int_equal(path_unlink(c->world, "/spool/000000ff.log"), 0);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, ARRAY_LEN(sizes));
}

static void test_a_caller_that_gives_up_ends_the_opening(void **state)
{
	struct scene *c = *state;

	scene_run(c, commit_all_sizes, NULL);
	scene_close(c);
	c->stop_found = true;
	assert_int_equal(scene_open(c), -ECANCELED);
	c->stop_found = false;
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, ARRAY_LEN(sizes));
}

/* --- space ------------------------------------------------------------------------------------------------------ */

static int commit_and_remove(struct scene *c, void *arg)
{
	for (msgid_t id = 1000; id < 1600; id++) {
		assert_int_equal(scene_commit(c, id, 3000), 0);
		assert_int_equal(spool_remove(c->spool, id), 0);
	}
	return 0;
}

static void test_finished_segments_go_and_their_files_are_used_again(void **state)
{
	struct scene *c = *state;

	scene_run(c, commit_and_remove, NULL); /* 1.8 MB through segments of 64 KiB */
	scene_pass(c, USEC_SEC);
	assert_in_range(stats_of(c).segments, 1, 3);
	assert_true(scene_count_files(c, "/spool", "free-") >= 1);
	assert_int_equal(stats_of(c).compacted_bytes, 0);
	assert_int_equal(stats_of(c).messages, 0);
	scene_reopen(c);
	assert_int_equal(c->found_count, 0);
	scene_pass(c, USEC_SEC);
	assert_int_equal(stats_of(c).segments, 2); /* the head and the next */
}

static int commit_with_stragglers(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 300; id++) {
		assert_int_equal(scene_commit(c, id, 3000), 0);
		if (id % 10 == 0)
			assert_int_equal(scene_note(c, id, (uint32_t) id, false), 0);
	}
	for (msgid_t id = 1; id <= 300; id++)
		if (id % 10 != 0)
			assert_int_equal(spool_remove(c->spool, id), 0);
	return 0;
}

static int check_stragglers(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 300; id++)
		assert_int_equal(scene_check(c, id, 3000), id % 10 == 0 ? 0 : -ENOENT);
	return 0;
}

static void expect_stragglers(struct scene *c)
{
	assert_int_equal(c->found_count, 30);
	for (msgid_t id = 10; id <= 300; id += 10) {
		assert_non_null(scene_find(c, id));
		assert_int_equal(scene_find(c, id)->note, id);
		assert_false(scene_find(c, id)->wrong);
	}
	scene_run(c, check_stragglers, NULL);
}

static void test_stragglers_are_moved_out_of_mostly_dead_segments(void **state)
{
	struct scene *c = *state;
	struct spool_stats before, after;

	scene_run(c, commit_with_stragglers, NULL);
	before = stats_of(c);
	assert_true(before.segments >= 15);
	scene_pass(c, 5 * USEC_MIN);
	after = stats_of(c);
	assert_true(after.segments <= 6);
	assert_true(after.compacted_bytes > 0);
	assert_int_equal(after.messages, 30);
	scene_run(c, check_stragglers, NULL);
	scene_crash(c);
	expect_stragglers(c);
	scene_pass(c, 5 * USEC_MIN);
	scene_reopen(c);
	expect_stragglers(c);
}

static int hold_a_reader(struct scene *c, void *arg)
{
	struct spool_reader **ret = arg;

	return spool_reader_open(c->spool, 10, ret);
}

static int use_the_reader(struct scene *c, void *arg)
{
	struct spool_reader *r = arg;
	char data[3000];

	assert_int_equal(spool_reader_read(r, 0, data, sizeof(data)), sizeof(data));
	for (unsigned i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], scene_byte(10, i));
	spool_reader_close(r);
	return 0;
}

static void test_an_open_reader_reads_on_when_its_segment_is_gone(void **state)
{
	struct scene *c = *state;
	struct spool_reader *r = NULL;

	scene_run(c, commit_with_stragglers, NULL);
	scene_run(c, hold_a_reader, &r);
	scene_pass(c, 5 * USEC_MIN);
	assert_int_equal(scene_count_files(c, "/spool", "00000001.log"), 0);
	scene_run(c, commit_and_remove, NULL); /* recycled files are written over */
	scene_pass(c, USEC_MIN);
	scene_run(c, use_the_reader, r);
	scene_reopen(c);
	expect_stragglers(c);
}

/* A removal must outlast every copy of its commit: messages 1 to 20 stay in the first segment beside many dead. */
static int remove_from_a_full_segment(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 40; id++)
		assert_int_equal(scene_commit(c, id, 1000), 0);
	for (msgid_t id = 21; id <= 30; id++)
		assert_int_equal(spool_remove(c->spool, id), 0);
	return 0;
}

static void test_removals_outlast_what_they_keep_dead(void **state)
{
	struct scene *c = *state;

	scene_run(c, remove_from_a_full_segment, NULL);
	for (unsigned round = 0; round < 3; round++) {
		scene_run(c, commit_and_remove, NULL);
		scene_pass(c, 5 * USEC_MIN);
		assert_true(stats_of(c).segments <= 5);
		scene_crash(c);
		assert_int_equal(c->found_count, 30);
		assert_null(scene_find(c, 21));
	}
}

static int fill_the_disk(struct scene *c, void *arg)
{
	unsigned *n = arg;
	int r;

	do
		r = scene_commit(c, 1 + (*n)++, 10000);
	while (r >= 0);
	--*n;
	return r;
}

static int note_all(struct scene *c, void *arg)
{
	unsigned *n = arg;

	for (msgid_t id = 1; id <= *n; id++)
		assert_int_equal(scene_note(c, id, 5, false), 0);
	return 0;
}

static int remove_half(struct scene *c, void *arg)
{
	unsigned *n = arg;

	for (msgid_t id = 1; id <= *n; id += 2)
		assert_int_equal(spool_remove(c->spool, id), 0);
	return 0;
}

static void test_a_full_disk_refuses_mail_but_not_notes(void **state)
{
	struct scene *c = *state;
	unsigned n = 0, kept;

	scene_close(c);
	sim_host_set_capacity(c->host, 1u << 20);
	c->config.reserve = 0;
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(scene_run(c, fill_the_disk, &n), -ENOSPC);
	assert_in_range(n, 60, 105);
	kept = n;
	scene_run(c, note_all, &n);
	scene_pass(c, 2 * USEC_SEC);
	assert_true(stats_of(c).full);
	assert_true(c->lines[LOG_ERROR] > 0);
	scene_run(c, remove_half, &n);
	scene_pass(c, 5 * USEC_MIN);
	assert_false(stats_of(c).full);
	n += 1000;
	assert_int_equal(scene_run(c, fill_the_disk, &n), -ENOSPC);
	assert_true(n > 1010); /* mail was taken again */
	scene_crash(c);
	for (msgid_t id = 1; id <= kept; id++) {
		const struct scene_message *m = scene_find(c, id);

		assert_int_equal(m == NULL, id % 2 == 1);
		if (m)
			assert_int_equal(m->note, 5);
	}
}

static void test_the_reserve_is_kept_free(void **state)
{
	struct scene *c = *state;
	unsigned n = 0;

	scene_close(c);
	sim_host_set_capacity(c->host, 2u << 20);
	c->config.reserve = 1u << 20;
	assert_int_equal(scene_open(c), 0);
	while (scene_run(c, fill_the_disk, &n) == -ENOSPC && !stats_of(c).full)
		scene_pass(c, USEC_SEC);
	scene_pass(c, 2 * USEC_SEC);
	assert_true(stats_of(c).full);
	assert_true(n <= 1000);
	assert_int_equal(scene_run(c, fill_the_disk, &n), -ENOSPC);
}

/* --- failures ------------------------------------------------------------------------------------------------------ */

static void fail_once(struct scene *c, unsigned ops, int error)
{
	sim_host_add_fault(c->host, &(struct sim_fault) { .ops = ops, .path = ".log", .error = error, .times = 1 });
}

static void a_failure_refuses_the_batch(struct scene *c, unsigned ops)
{
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 1, 500 }), 0);
	scene_pass(c, USEC_SEC);
	fail_once(c, ops, -EIO);
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 2, 500 }), -EIO);
	assert_int_equal(scene_run(c, check_one, &(struct one) { 2, 500 }), -ENOENT);
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 3, 500 }), 0);
	assert_int_equal(scene_run(c, check_one, &(struct one) { 1, 500 }), 0);
	assert_int_equal(c->lines[LOG_CRITICAL], 1);
	assert_int_equal(stats_of(c).failed_syncs, 1);
	scene_crash(c);
	assert_int_equal(c->found_count, 2);
	assert_null(scene_find(c, 2));
	assert_int_equal(c->recovery.lost_messages, 0);
}

static void test_a_failed_sync_refuses_and_the_refused_never_comes_back(void **state)
{
	a_failure_refuses_the_batch(*state, SIM_SYNC);
}

static void test_a_failed_write_refuses_and_the_refused_never_comes_back(void **state)
{
	a_failure_refuses_the_batch(*state, SIM_WRITE);
}

static void test_what_a_failed_sync_held_is_void_even_when_the_file_can_not_be_cut(void **state)
{
	struct scene *c = *state;

	assert_int_equal(scene_run(c, commit_one, &(struct one) { 1, 500 }), 0);
	scene_pass(c, USEC_SEC);
	fail_once(c, SIM_SYNC, -EIO);
	fail_once(c, SIM_TRUNCATE, -EIO);
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 2, 500 }), -EIO);
	sim_host_kill(c->host); /* the kernel still has the bytes */
	scene_restart(c);
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(c->found_count, 1);
	assert_null(scene_find(c, 2));
}

static void test_a_failed_segment_is_emptied(void **state)
{
	struct scene *c = *state;

	a_failure_refuses_the_batch(c, SIM_SYNC);
	scene_pass(c, USEC_MIN);
	assert_int_equal(scene_count_files(c, "/spool", "00000001.log"), 0);
	assert_int_equal(scene_run(c, check_one, &(struct one) { 1, 500 }), 0);
	scene_reopen(c);
	assert_int_equal(c->found_count, 2);
}

static int notes_and_a_failing_commit(struct scene *c, void *arg)
{
	assert_int_equal(scene_commit(c, 1, 100), 0);
	assert_int_equal(scene_commit(c, 2, 100), 0);
	assert_int_equal(scene_note(c, 1, 77, false), 0);
	assert_int_equal(spool_remove(c->spool, 2), 0);
	fiber_sleep_until(now() + 10 * USEC_MS); /* written, not synced */
	fail_once(c, SIM_SYNC, -EIO);
	assert_int_equal(scene_commit(c, 3, 100), -EIO);
	fiber_sleep_until(now() + USEC_SEC);
	return 0;
}

static void test_lazy_notes_and_removals_survive_a_failed_sync(void **state)
{
	struct scene *c = *state;

	scene_run(c, notes_and_a_failing_commit, NULL);
	scene_crash(c);
	assert_int_equal(c->found_count, 1);
	assert_int_equal(scene_find(c, 1)->note, 77);
}

static int stream_over_a_failure(struct scene *c, void *arg)
{
	struct spool_writer *w;
	char data[1000] = { 0 };
	int r = 0;

	assert_int_equal(spool_writer_new(c->spool, 50, &w), 0);
	for (unsigned i = 0; i < 280; i++) /* two chunks are written and waited for */
		assert_int_equal(spool_writer_append(w, slice_new(data, sizeof(data))), 0);
	fail_once(c, SIM_SYNC, -EIO);
	assert_int_equal(scene_commit(c, 51, 100), -EIO);
	for (unsigned i = 0; i < 70 && r >= 0; i++)
		r = spool_writer_append(w, slice_new(data, sizeof(data)));
	if (r < 0)
		spool_writer_abort(w);
	else
		r = spool_writer_commit(w, SLICE("envelope"), SLICE_NULL);
	return r;
}

static void test_a_message_whose_chunks_were_in_a_failed_sync_is_refused(void **state)
{
	struct scene *c = *state;

	c->config.segment_size = 1u << 20;
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(scene_run(c, stream_over_a_failure, NULL), -EIO);
	scene_crash(c);
	assert_int_equal(c->found_count, 0);
	assert_int_equal(c->recovery.lost_messages, 0);
}

static void test_a_disk_that_keeps_failing_stops_the_spool(void **state)
{
	struct scene *c = *state;

	assert_int_equal(scene_run(c, commit_one, &(struct one) { 1, 500 }), 0);
	sim_host_add_fault(c->host, &(struct sim_fault) { .ops = SIM_SYNC, .error = -EIO });
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 2, 500 }), -EIO);
	(void) scene_run(c, commit_one, &(struct one) { 3, 500 });
	(void) scene_run(c, commit_one, &(struct one) { 4, 500 });
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 5, 500 }), -EROFS);
	assert_true(stats_of(c).failed);
	assert_int_equal(scene_run(c, check_one, &(struct one) { 1, 500 }), 0); /* reading goes on */
	sim_host_clear_faults(c->host);
	assert_int_equal(scene_run(c, commit_one, &(struct one) { 6, 500 }), -EROFS);
	scene_crash(c);
	assert_int_equal(c->found_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_committed_message_reads_back_whole, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_what_was_acknowledged_survives_a_power_cut, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_reader_reads_anywhere, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_an_aborted_message_never_existed, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_the_newest_note_counts_and_the_removed_stay_away, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_lazy_notes_are_durable_after_their_time, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_many_writers_share_a_sync_and_one_alone_has_its_own, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_commit_waits_a_moment_for_those_that_are_coming, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_second_server_is_kept_out, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_newer_format_is_refused_and_left_alone, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_caller_that_gives_up_ends_the_opening, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_finished_segments_go_and_their_files_are_used_again, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_stragglers_are_moved_out_of_mostly_dead_segments, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_an_open_reader_reads_on_when_its_segment_is_gone, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_removals_outlast_what_they_keep_dead, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_disk_refuses_mail_but_not_notes, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_the_reserve_is_kept_free, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_failed_sync_refuses_and_the_refused_never_comes_back, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_failed_write_refuses_and_the_refused_never_comes_back, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_what_a_failed_sync_held_is_void_even_when_the_file_can_not_be_cut, open_scene,
						tear_down),
		cmocka_unit_test_setup_teardown(test_a_failed_segment_is_emptied, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_lazy_notes_and_removals_survive_a_failed_sync, open_scene, tear_down),
		cmocka_unit_test_setup_teardown(test_a_message_whose_chunks_were_in_a_failed_sync_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_disk_that_keeps_failing_stops_the_spool, open_scene, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
