#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "admin/journal_files.h"
#include "world/sim.h"

#define DIRECTORY "/spool/journal"
#define ID_A ((msgid_t) 0x123456789abcdef)
#define ID_B ((msgid_t) 0x123456789abcdf0)

/* A simulated machine, so that days pass and disks fill as the test likes. */
struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop, *other;
	struct journal *journal;
	struct journal_config config;
	struct buffer found; /* lines of a search, one after the other */
	unsigned lines;
	int result;
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 11 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.1", &s->host, &s->world), 0);
	*state = s;
	return 0;
}

static void open_journal(struct scene *s)
{
	assert_int_equal(loop_new(s->world, "journal", LOOP_BLOCKING, 0, &s->loop), 0);
	assert_int_equal(loop_new(s->world, "other", 0, 0, &s->other), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(loop_start(s->other), 0);
	assert_int_equal(journal_new(s->world, NULL, &s->config, DIRECTORY, &s->journal), 0);
	assert_int_equal(journal_start(s->journal, s->loop), 0);
}

static void close_journal(struct scene *s)
{
	if (!s->journal)
		return;
	journal_stop(s->journal);
	loop_stop(s->loop);
	loop_stop(s->other);
	journal_free(TAKE_PTR(s->journal));
	loop_free(TAKE_PTR(s->loop));
	loop_free(TAKE_PTR(s->other));
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	close_journal(s);
	buffer_done(&s->found);
	world_free(s->world);
	sim_free(s->sim);
	free(s);
	return 0;
}

static void pass(struct scene *s, usec_t time)
{
	sim_run(s->sim, sim_now(s->sim) + time);
}

static int keep_line(struct slice line, void *context)
{
	struct scene *s = context;

	s->lines++;
	buffer_append_slice(&s->found, line);
	buffer_append_char(&s->found, '\n');
	return 0;
}

static unsigned search(struct scene *s, msgid_t id)
{
	buffer_clear(&s->found);
	s->lines = 0;
	assert_int_equal(journal_search(s->world, DIRECTORY, id, keep_line, s), 0);
	return s->lines;
}

static int count_name(const char *name, void *context)
{
	unsigned *n = context;

	(*n)++;
	return 0;
}

static unsigned count_files(struct scene *s)
{
	unsigned n = 0;

	assert_int_equal(path_list(s->world, DIRECTORY, count_name, &n), 0);
	return n;
}

/* --- writing and finding ------------------------------------------------------------------------------------ */

static void test_what_is_emitted_is_found_by_its_id(void **state)
{
	struct scene *s = *state;
	const struct event_sink *sink;
	json_t *event;

	open_journal(s);
	sink = journal_sink(s->journal);
	EVENT(sink, ID_A, EVENT_RECEIVED, F_STR("from", "a\"b\xff@example.org"), F_UINT("size", 17), F_STR("tls", NULL));
	EVENT(sink, ID_B, EVENT_RECEIVED, F_STR("from", "other"));
	EVENT(sink, ID_A, EVENT_DONE);
	pass(s, USEC_SEC);
	assert_int_equal(search(s, ID_A), 2);
	event = json_loadb(s->found.data, (size_t) slice_find(buffer_slice(&s->found), '\n'), 0, NULL);
	assert_non_null(event);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "received");
	assert_int_equal(json_integer_value(json_object_get(event, "size")), 17);
	assert_null(json_object_get(event, "tls"));
	json_decref(event);
	assert_int_equal(search(s, ID_B), 1);
	assert_int_equal(search(s, ID_B + 1), 0);
	assert_int_equal(search(s, MSGID_NONE), 3);
}

static void test_events_of_a_moment_are_written_together(void **state)
{
	struct scene *s = *state;
	struct journal_stats stats;

	open_journal(s);
	pass(s, USEC_SEC);
	for (unsigned i = 0; i < 1000; i++)
		EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT, F_UINT("n", i));
	pass(s, USEC_MS);
	assert_int_equal(search(s, ID_A), 0); /* gathering */
	pass(s, 50 * USEC_MS);
	assert_int_equal(search(s, ID_A), 1000);
	journal_stats(s->journal, &stats);
	assert_int_equal(stats.events, 1000);
	assert_int_equal(stats.dropped, 0);
}

static void test_a_stop_writes_what_is_left(void **state)
{
	struct scene *s = *state;

	open_journal(s);
	pass(s, USEC_SEC);
	EVENT(journal_sink(s->journal), ID_A, EVENT_DONE);
	close_journal(s);
	assert_int_equal(search(s, ID_A), 1);
}

static void test_events_before_the_start_are_kept(void **state)
{
	struct scene *s = *state;

	assert_int_equal(loop_new(s->world, "journal", LOOP_BLOCKING, 0, &s->loop), 0);
	assert_int_equal(loop_new(s->world, "other", 0, 0, &s->other), 0);
	assert_int_equal(journal_new(s->world, NULL, &s->config, DIRECTORY, &s->journal), 0);
	EVENT(journal_sink(s->journal), ID_A, EVENT_RECEIVED);
	assert_int_equal(journal_start(s->journal, s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	pass(s, USEC_SEC);
	assert_int_equal(search(s, ID_A), 1);
}

static void flush_fiber(void *arg)
{
	struct scene *s = arg;

	EVENT(journal_sink(s->journal), ID_A, EVENT_DONE);
	s->result = journal_flush(s->journal, deadline_after(now(), USEC_SEC));
	search(s, ID_A);
}

static void test_a_flush_returns_when_it_is_in_the_file(void **state)
{
	struct scene *s = *state;

	open_journal(s);
	pass(s, USEC_SEC);
	s->result = 1;
	assert_int_equal(loop_spawn(s->other, "flush", flush_fiber, s), 0);
	pass(s, USEC_SEC);
	assert_int_equal(s->result, 0);
	assert_int_equal(s->lines, 1);
}

/* --- limits --------------------------------------------------------------------------------------------------- */

static void test_what_the_disk_cannot_take_is_counted_and_forgotten(void **state)
{
	struct scene *s = *state;
	struct journal_stats stats;

	open_journal(s);
	pass(s, USEC_SEC);
	for (unsigned i = 0; i < 100000; i++)
		EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT, F_STR("reply", "a reply of some length, as they come"));
	journal_stats(s->journal, &stats);
	assert_true(stats.dropped > 0);
	assert_int_equal(stats.events + stats.dropped, 100000);
	pass(s, USEC_SEC);
	assert_int_equal(search(s, ID_A), stats.events);
}

static void test_a_full_disk_loses_events_and_nothing_else(void **state)
{
	struct scene *s = *state;
	struct journal_stats stats;

	open_journal(s);
	EVENT(journal_sink(s->journal), ID_A, EVENT_RECEIVED);
	pass(s, USEC_SEC);
	sim_host_add_fault(s->host, &(struct sim_fault) { .ops = SIM_WRITE, .error = -ENOSPC, .times = 2 });
	EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT);
	pass(s, USEC_SEC);
	EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT);
	pass(s, USEC_SEC);
	sim_host_clear_faults(s->host);
	EVENT(journal_sink(s->journal), ID_A, EVENT_DONE);
	pass(s, USEC_SEC);
	assert_int_equal(search(s, ID_A), 2); /* the torn lines of the failed writes are passed over */
	journal_stats(s->journal, &stats);
	assert_int_equal(stats.failed_writes, 2);
}

static void test_a_torn_line_does_not_spoil_the_next_one(void **state)
{
	struct scene *s = *state;

	open_journal(s);
	EVENT(journal_sink(s->journal), ID_A, EVENT_RECEIVED);
	pass(s, USEC_SEC);
	close_journal(s);
	{
		_cleanup_(file_closep) struct file *f = NULL;
		char path[128], name[JOURNAL_NAME];

		snprintf(path, sizeof(path), DIRECTORY "/%s",
			 journal_name_format(journal_day(world_wall(s->world)) + 1, name));
		assert_int_equal(file_open(s->world, path, FILE_WRITE | FILE_APPEND, 0, &f), 0);
		assert_int_equal(file_append(f, SLICE("{\"time\":\"2026-01-")), 0);
	}
	open_journal(s);
	EVENT(journal_sink(s->journal), ID_A, EVENT_DONE);
	pass(s, USEC_SEC);
	assert_int_equal(search(s, ID_A), 2);
	assert_int_equal(count_files(s), 1); /* the same file is gone on with */
}

static void test_files_begin_anew_each_day_and_old_ones_go(void **state)
{
	struct scene *s = *state;

	s->config.keep = 3 * USEC_DAY;
	open_journal(s);
	for (unsigned day = 0; day < 10; day++) {
		EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT);
		pass(s, USEC_DAY);
	}
	assert_int_equal(count_files(s), 4); /* today and three days before */
}

static void test_files_begin_anew_at_a_size_and_their_sum_is_bounded(void **state)
{
	struct scene *s = *state;

	s->config.file_size = 10000;
	s->config.size = 50000;
	open_journal(s);
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned k = 0; k < 20; k++)
			EVENT(journal_sink(s->journal), ID_A, EVENT_ATTEMPT, F_STR("reply", "some text of about fifty bytes, more or less"));
		pass(s, 100 * USEC_MS);
	}
	assert_in_range(count_files(s), 3, 5);
	assert_true(sim_host_disk_used(s->host) < 80000);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void test_names_are_numbers_that_grow_with_time(void **state)
{
	char name[JOURNAL_NAME];
	uint64_t n;

	assert_string_equal(journal_name_format(UINT64_C(202611230007), name), "events-20261123-0007.jsonl");
	assert_int_equal(journal_name_parse(name, &n), 0);
	assert_true(n == UINT64_C(202611230007));
	assert_int_equal(journal_name_parse("events-2026112x-0007.jsonl", &n), -EINVAL);
	assert_int_equal(journal_name_parse("events-20261123-0007.jsonl~", &n), -EINVAL);
	assert_int_equal(journal_name_parse("", &n), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_is_emitted_is_found_by_its_id),
		T(test_events_of_a_moment_are_written_together),
		T(test_a_stop_writes_what_is_left),
		T(test_events_before_the_start_are_kept),
		T(test_a_flush_returns_when_it_is_in_the_file),
		T(test_what_the_disk_cannot_take_is_counted_and_forgotten),
		T(test_a_full_disk_loses_events_and_nothing_else),
		T(test_a_torn_line_does_not_spoil_the_next_one),
		T(test_files_begin_anew_each_day_and_old_ones_go),
		T(test_files_begin_anew_at_a_size_and_their_sum_is_bounded),
		cmocka_unit_test(test_names_are_numbers_that_grow_with_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
