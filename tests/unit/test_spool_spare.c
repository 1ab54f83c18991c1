/* Spare files of the spool: made when it is quiet, used when it is not, gone when space is short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/spool_scene.h"

#define QUIET (5 * USEC_SEC)

static int commit_ten(struct scene *c, void *arg)
{
	const msgid_t *first = arg;

	for (msgid_t id = *first; id < *first + 10; id++)
		assert_int_equal(scene_commit(c, id, 3000), 0);
	return 0;
}

static int check_ten(struct scene *c, void *arg)
{
	const msgid_t *first = arg;

	for (msgid_t id = *first; id < *first + 10; id++)
		assert_int_equal(scene_check(c, id, 3000), 0);
	return 0;
}

static void commit(struct scene *c, msgid_t first)
{
	scene_run(c, commit_ten, &first);
}

static void check(struct scene *c, msgid_t first)
{
	scene_run(c, check_ten, &first);
}

static unsigned spares(struct scene *c)
{
	return scene_count_files(c, "/spool", "free-");
}

static int set_up(void **state)
{
	struct scene *c = calloc(1, sizeof(*c));

	scene_begin(c, 7);
	c->config.spare = 3;
	assert_int_equal(scene_open(c), 0);
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	scene_end(*state);
	free(*state);
	return 0;
}

static void test_spare_files_are_made_when_it_is_quiet_after_mail(void **state)
{
	struct scene *c = *state;

	scene_pass(c, USEC_MIN);
	assert_int_equal(spares(c), 0); /* who never gets mail needs none */
	commit(c, 1);
	scene_pass(c, USEC_SEC);
	assert_int_equal(spares(c), 0);
	scene_pass(c, QUIET);
	assert_int_equal(spares(c), 3);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 0);
}

static void test_no_spare_file_is_made_while_mail_comes(void **state)
{
	struct scene *c = *state;

	for (msgid_t id = 1; id < 200; id += 10) {
		commit(c, id);
		scene_pass(c, USEC_SEC);
	}
	assert_int_equal(spares(c), 0);
}

static void test_head_and_next_segment_change_to_spare_files(void **state)
{
	struct scene *c = *state;
	struct spool_stats stats;

	commit(c, 1);
	assert_int_equal(scene_count_files(c, "/spool", "00000001.log"), 1);
	scene_pass(c, QUIET);
	/* The first segment is sealed with what it had, the one prepared behind it is gone, two came from spare files. */
	spool_stats(c->spool, &stats);
	assert_int_equal(stats.segments, 3);
	assert_true(stats.bytes_on_disk < 5 * c->config.segment_size + 64 * 1024);
	check(c, 1);
	commit(c, 100);
	scene_crash(c);
	assert_int_equal(c->found_count, 20);
	check(c, 1);
	check(c, 100);
	assert_int_equal(c->recovery.quarantined, 0);
}

static void test_spare_files_are_used_and_made_again(void **state)
{
	struct scene *c = *state;

	commit(c, 1);
	scene_pass(c, QUIET);
	for (msgid_t id = 100; id < 200; id += 10) /* 300 KB through segments of 64 KiB */
		commit(c, id);
	assert_true(spares(c) < 3);
	scene_pass(c, QUIET);
	assert_int_equal(spares(c), 3);
	for (msgid_t id = 100; id < 200; id += 10)
		check(c, id);
}

static void test_what_a_crash_left_of_a_spare_file_is_taken_away(void **state)
{
	struct scene *c = *state;
	static const unsigned char text[] = "half of it";

	scene_close(c);
	scene_write_file(c, "/spool/spare.log", text, sizeof(text));
	assert_int_equal(scene_open(c), 0);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 0);
}

static void test_a_small_disk_gets_no_spare_files(void **state)
{
	struct scene *c = *state;

	scene_close(c);
	sim_host_set_capacity(c->host, 400u << 10);
	c->config.reserve = 100u << 10;
	assert_int_equal(scene_open(c), 0);
	commit(c, 1);
	scene_pass(c, QUIET);
	assert_int_equal(spares(c), 0);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 0);
	commit(c, 100);
	check(c, 100);
}

static void test_half_a_spare_file_goes_when_the_disk_fills_up(void **state)
{
	struct scene *c = *state;

	scene_close(c);
	c->config.segment_size = 8u << 20; /* eight steps */
	c->config.reserve = 4u << 20;
	assert_int_equal(scene_open(c), 0);
	commit(c, 1);
	sim_host_set_disk_speed(c->host, 200 * USEC_MS, 0);
	for (unsigned i = 0; i < 600 && scene_count_files(c, "/spool", "spare.log") == 0; i++)
		scene_pass(c, 100 * USEC_MS);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 1);
	sim_host_set_capacity(c->host, sim_host_disk_used(c->host) + (2u << 20));
	scene_pass(c, QUIET);
	sim_host_set_disk_speed(c->host, 0, 0);
	scene_pass(c, USEC_MIN);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 0);
	check(c, 1);
}

static void test_a_disk_that_fails_a_spare_file_costs_no_mail(void **state)
{
	struct scene *c = *state;

	commit(c, 1);
	sim_host_add_fault(c->host, &(struct sim_fault) { .ops = SIM_SYNC, .path = "spare.log", .error = -EIO, .times = 1 });
	scene_pass(c, QUIET);
	assert_int_equal(spares(c), 0);
	assert_int_equal(scene_count_files(c, "/spool", "spare"), 0);
	assert_int_equal(c->lines[LOG_WARNING], 1);
	commit(c, 100);
	scene_pass(c, 2 * USEC_MIN);
	assert_int_equal(spares(c), 3);
	check(c, 1);
	check(c, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_spare_files_are_made_when_it_is_quiet_after_mail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_spare_file_is_made_while_mail_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_head_and_next_segment_change_to_spare_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_spare_files_are_used_and_made_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_a_crash_left_of_a_spare_file_is_taken_away, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_small_disk_gets_no_spare_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_half_a_spare_file_goes_when_the_disk_fills_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_disk_that_fails_a_spare_file_costs_no_mail, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
