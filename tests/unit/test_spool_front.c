/* What is put in front of a body at its end: it comes first for every reader, now, after a restart, after a power cut and
 * after compaction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "spool/record.h"
#include "unit/spool_scene.h"
#include "world/file.h"

#define FIRST "/spool/00000001.log"

static int set_up(void **state)
{
	struct scene *c = malloc(sizeof(*c));

	if (!c)
		return -1;
	scene_begin(c, 1);
	*state = c;
	return scene_open(c);
}

static int tear_down(void **state)
{
	struct scene *c = *state;

	scene_end(c);
	free(c);
	return 0;
}

static struct spool_stats stats_of(struct scene *c)
{
	struct spool_stats stats;

	spool_stats(c->spool, &stats);
	return stats;
}

/* --- all sizes ------------------------------------------------------------------------------------------- */

static const struct {
	uint64_t size, front;
} shapes[] = {
	{ 1, 1 }, { 700, 300 }, { 300, 300 }, { 16000, 15000 }, { 16384, 1 }, { 16384, 384 }, { 17000, 700 }, { 20000, 500 },
	{ 40000, 16000 }, { 100000, 600 }, { 500000, 1 }, { 500000, 9000 }, { 1000000, 15000 },
};

static int commit_shapes(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
		assert_int_equal(scene_commit_front(c, i + 1, shapes[i].size, shapes[i].front), 0);
	return 0;
}

static int check_shapes(struct scene *c, void *arg)
{
	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++)
		assert_int_equal(scene_check(c, i + 1, shapes[i].size), 0);
	return 0;
}

static void test_what_is_put_in_front_comes_first(void **state)
{
	struct scene *c = *state;

	scene_run(c, commit_shapes, NULL);
	scene_run(c, check_shapes, NULL);
	scene_reopen(c);
	assert_int_equal(c->found_count, ARRAY_LEN(shapes));
	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
		assert_int_equal(c->found[i].size, shapes[i].size);
		assert_false(c->found[i].wrong);
	}
	scene_run(c, check_shapes, NULL);
	scene_crash(c);
	assert_int_equal(c->found_count, ARRAY_LEN(shapes));
	assert_int_equal(c->recovery.lost_messages, 0);
	scene_run(c, check_shapes, NULL);
}

static int read_backwards(struct scene *c, void *arg)
{
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	char data[3000];

	assert_int_equal(scene_commit_front(c, 9, 100000, 700), 0);
	assert_int_equal(spool_reader_open(c->spool, 9, &r), 0);
	for (uint64_t at = 100000; at > 0;) {
		uint64_t n = MIN(at, sizeof(data));

		at -= n;
		assert_int_equal(spool_reader_read(r, at, data, (size_t) n), n);
		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(data[i], scene_byte(9, at + i));
	}
	return 0;
}

static void test_a_reader_reads_anywhere_behind_a_front(void **state)
{
	scene_run(*state, read_backwards, NULL);
}

/* --- the writer -------------------------------------------------------------------------------------------- */

static int commit_pair(struct scene *c, void *arg)
{
	uint64_t plain;

	assert_int_equal(scene_commit(c, 1, 5000), 0);
	plain = stats_of(c).bytes_living;
	assert_int_equal(scene_commit_front(c, 2, 5000, 600), 0);
	assert_int_equal(stats_of(c).bytes_living, 2 * plain); /* no record of its own */
	return 0;
}

static void test_a_short_message_takes_its_front_into_its_only_chunk(void **state)
{
	scene_run(*state, commit_pair, NULL);
}

static int put_twice(struct scene *c, void *arg)
{
	uint64_t middle = *(const uint64_t *) arg;
	_cleanup_(spool_reader_closep) struct spool_reader *r = NULL;
	struct spool_writer *w;
	char data[32];

	assert_int_equal(spool_writer_new(c->spool, 1, &w), 0);
	assert_int_equal(spool_writer_front(w, SLICE("two, ")), 0);
	assert_int_equal(spool_writer_front(w, SLICE_NULL), 0);
	for (uint64_t i = 0; i < middle; i++)
		assert_int_equal(spool_writer_append(w, SLICE(".")), 0);
	assert_int_equal(spool_writer_front(w, SLICE("one, ")), 0);
	assert_int_equal(spool_writer_append(w, SLICE("three")), 0);
	assert_int_equal(spool_writer_front(w, SLICE("null, ")), 0);
	assert_int_equal(spool_writer_size(w), middle + 21);
	assert_int_equal(spool_writer_commit(w, SLICE("envelope of 1"), SLICE_NULL), 0);
	assert_int_equal(spool_reader_open(c->spool, 1, &r), 0);
	assert_int_equal(spool_reader_size(r), middle + 21);
	assert_int_equal(spool_reader_read(r, 0, data, 16), 16);
	assert_memory_equal(data, "null, one, two, ", 16);
	assert_int_equal(spool_reader_read(r, middle + 16, data, sizeof(data)), 5);
	assert_memory_equal(data, "three", 5);
	return 0;
}

static void test_it_may_come_in_pieces_and_at_any_time(void **state)
{
	static const uint64_t middles[] = { 0, 10, 16370, 16384, 16385, 60000 };
	struct scene *c = *state;

	for (unsigned i = 0; i < ARRAY_LEN(middles); i++) {
		uint64_t middle = middles[i];

		scene_run(c, put_twice, &middle);
		scene_reopen(c);
		assert_int_equal(c->found_count, 1);
		assert_int_equal(c->found[0].size, middle + 21);
		scene_end(c);
		scene_begin(c, 1);
		assert_int_equal(scene_open(c), 0);
	}
}

static int put_too_much(struct scene *c, void *arg)
{
	struct spool_writer *w;
	size_t len = 200000;
	char *data = calloc(1, len);

	assert_non_null(data);
	assert_int_equal(spool_writer_new(c->spool, 1, &w), 0);
	assert_int_equal(spool_writer_append(w, slice_new(data, 5000)), 0);
	assert_int_equal(spool_writer_front(w, slice_new(data, len)), -EFBIG);
	assert_int_equal(spool_writer_size(w), 5000);
	assert_int_equal(spool_writer_front(w, slice_new(data, 7000)), 0);
	assert_int_equal(spool_writer_front(w, slice_new(data, 7000)), 0); /* the chunk is full, this goes into another */
	assert_int_equal(spool_writer_front(w, slice_new(data, len)), -EFBIG);
	assert_int_equal(spool_writer_size(w), 19000);
	assert_int_equal(spool_writer_commit(w, SLICE("envelope of 1"), SLICE_NULL), 0);
	assert_int_equal(spool_writer_new(c->spool, 2, &w), 0);
	assert_int_equal(spool_writer_append(w, slice_new(data, len)), 0);
	assert_int_equal(spool_writer_front(w, slice_new(data, 100)), 0);
	spool_writer_abort(w);
	free(data);
	return 0;
}

static void test_too_much_is_refused_and_changes_nothing(void **state)
{
	struct scene *c = *state;

	scene_run(c, put_too_much, NULL);
	scene_reopen(c);
	assert_int_equal(c->found_count, 1);
	assert_int_equal(c->found[0].size, 19000);
}

/* --- damage ------------------------------------------------------------------------------------------------- */

static int two_long_messages(struct scene *c, void *arg)
{
	assert_int_equal(scene_commit_front(c, 1, 20000, 300), 0);
	assert_int_equal(scene_commit_front(c, 2, 20000, 300), 0);
	return 0;
}

static void test_a_front_torn_at_any_byte_costs_only_its_message(void **state)
{
	struct scene *c = *state;
	uint32_t commit, front;
	unsigned char *image;
	size_t len;

	scene_run(c, two_long_messages, NULL);
	scene_pass(c, USEC_SEC);
	image = scene_file(c, FIRST, &len);
	commit = (uint32_t) len - (48 + 3 * 12 + 20); /* three chunks: the front, 16384 bytes, the rest */
	scene_close(c);
	front = commit - (48 + 304);
	for (uint32_t cut = front - 20; cut < len; cut += 3) {
		scene_write_file(c, FIRST, image, cut);
		assert_int_equal(scene_open(c), 0);
		assert_int_equal(c->found_count, cut >= commit + 48 + 36 + 13 ? 2 : 1);
		assert_int_equal(c->recovery.quarantined, 0);
		assert_int_equal(c->recovery.lost_messages, 0);
		assert_int_equal(c->found[0].size, 20000);
		scene_close(c);
	}
	free(image);
	assert_int_equal(scene_open(c), 0);
}

/* Where a byte of each chunk of the first message lies: of 16384 bytes, of the rest, and of the front. */
#define IN_LARGE (SEGMENT_START + 48 + 5000)
#define IN_REST (SEGMENT_START + 48 + 16384 + 48 + 3000)
#define IN_FRONT (SEGMENT_START + 48 + 16384 + 48 + 3320 + 48 + 100)

static void test_of_a_damaged_message_each_byte_is_kept_in_its_place(void **state)
{
	static const struct {
		size_t place;
		unsigned right; /* of the bytes at least so many are there */
	} holes[] = { { IN_LARGE, 20000 - 16384 }, { IN_REST, 300 + 16384 }, { IN_FRONT, 20000 - 300 } };
	struct scene *c = *state;

	for (unsigned i = 0; i < ARRAY_LEN(holes); i++) {
		unsigned char *image, *body;
		unsigned right = 0;
		size_t len;

		scene_run(c, two_long_messages, NULL);
		scene_close(c);
		image = scene_file(c, FIRST, &len);
		image[holes[i].place] ^= 4;
		scene_write_file(c, FIRST, image, len);
		free(image);
		assert_int_equal(scene_open(c), 0);
		assert_int_equal(c->found_count, 1);
		assert_int_equal(c->recovery.lost_messages, 1);
		body = scene_file(c, "/spool/quarantine/0000000000001.body", &len);
		for (size_t k = 0; k < len; k++)
			right += (char) body[k] == scene_byte(1, k);
		assert_in_range(right, holes[i].right, 19999);
		free(body);
		scene_end(c);
		scene_begin(c, 1);
		assert_int_equal(scene_open(c), 0);
	}
}

/* --- compaction ------------------------------------------------------------------------------------------------ */

static int commit_with_stragglers(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 100; id++)
		assert_int_equal(scene_commit_front(c, id, 20000, 300 + id), 0);
	for (msgid_t id = 1; id <= 100; id++)
		if (id % 10 != 0)
			assert_int_equal(spool_remove(c->spool, id), 0);
	return 0;
}

static int check_stragglers(struct scene *c, void *arg)
{
	for (msgid_t id = 1; id <= 100; id++)
		assert_int_equal(scene_check(c, id, 20000), id % 10 == 0 ? 0 : -ENOENT);
	return 0;
}

static void test_compaction_writes_the_body_in_order(void **state)
{
	struct scene *c = *state;

	c->config.compact_percent = 60;
	scene_reopen(c);
	scene_run(c, commit_with_stragglers, NULL);
	scene_pass(c, 5 * USEC_MIN);
	assert_true(stats_of(c).compacted_bytes >= 5 * 20000);
	scene_run(c, check_stragglers, NULL);
	scene_crash(c);
	assert_int_equal(c->found_count, 10);
	assert_int_equal(c->recovery.lost_messages, 0);
	scene_run(c, check_stragglers, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_put_in_front_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_reader_reads_anywhere_behind_a_front, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_short_message_takes_its_front_into_its_only_chunk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_it_may_come_in_pieces_and_at_any_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_much_is_refused_and_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_front_torn_at_any_byte_costs_only_its_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_of_a_damaged_message_each_byte_is_kept_in_its_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_compaction_writes_the_body_in_order, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
