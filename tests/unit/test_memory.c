/* What is learned of receivers: shown, remembered when a site is forgotten, and kept over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "queue/learned.h"
#include "unit/queue_office.h"
#include "world/file.h"

#define FILE_OF_LEARNED "/learned"

struct look {
	const char *key;
	bool found;
	struct site_row row;
};

static int take_row(const struct site_row *row, void *context)
{
	struct look *l = context;

	if (strcmp(row->key, l->key) == 0) {
		l->found = true;
		l->row = *row;
	}
	return 0;
}

static struct site_row row_of(struct office *s, const char *key)
{
	struct look l = { .key = key };

	assert_int_equal(queue_sites(s->queue, take_row, &l), 0);
	assert_true(l.found);
	return l.row;
}

/* --- slow replies ----------------------------------------------------------------------------- */

static usec_t reply_takes;

static void takes_time(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	((struct delivery *) (uintptr_t) d)->final_reply = reply_takes; /* as a courier would */
	r->outcome = (struct outcome) { .kind = OUTCOME_DELIVERED, .from_remote = true, .stage = STAGE_DOT, .host = "mx.example",
					.reply = { 250, { 2, 0, 0 }, "OK" } };
}

static void timed(struct office *s)
{
	s->answer = takes_time;
	s->config.learned = FILE_OF_LEARNED;
	s->service = 100 * USEC_MS;
	reply_takes = 50 * USEC_MS;
}

static void send(struct office *s, unsigned n, const char *to)
{
	for (unsigned i = 0; i < n; i++)
		office_submit(s, "a@sender.example", to);
}

static void gets_slow(struct office *s)
{
	unsigned wide;

	send(s, 1000, "b@one.example");
	office_wait(10 * USEC_SEC);
	wide = row_of(s, "mx:mx1.one.example").window;
	assert_int_equal(wide, 20);
	assert_in_range(row_of(s, "mx:mx1.one.example").usual, 45 * USEC_MS, 55 * USEC_MS);
	reply_takes = 5 * USEC_SEC;
	send(s, 100, "b@one.example");
	office_wait(2 * USEC_SEC);
	assert_true(row_of(s, "mx:mx1.one.example").window < wide / 2);
	reply_takes = 50 * USEC_MS;
	send(s, 5000, "b@one.example");
	office_wait(USEC_MIN);
	assert_true(row_of(s, "mx:mx1.one.example").window > wide / 2);
}

static void test_the_window_closes_when_final_replies_come_late(void **state)
{
	office_play(timed, gets_slow, NULL);
}

/* --- remembering ------------------------------------------------------------------------------ */

static void always_too_fast(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	if (strstr(info->site, "one"))
		answer_reply(r, STAGE_MAIL, 421, 7, 0, "too many connections, slow down");
	else
		takes_time(s, info, d, r);
}

static void learning(struct office *s)
{
	static const usec_t day[] = { USEC_DAY };

	timed(s);
	s->answer = always_too_fast;
	s->config.retry = day;
	s->config.n_retry = 1;
}

static void learn(struct office *s)
{
	send(s, 100, "b@one.example");
	send(s, 1000, "b@two.example");
	office_wait(USEC_MIN);
	assert_int_equal(row_of(s, "mx:mx1.one.example").window, 1);
	assert_true(row_of(s, "mx:mx1.one.example").interval >= 30 * USEC_SEC);
	assert_int_equal(row_of(s, "mx:mx1.two.example").window, 20);
}

static void still_known(struct office *s)
{
	s->service = 3 * USEC_SEC;
	send(s, 1, "b@one.example");
	send(s, 1, "b@two.example");
	office_wait(100 * USEC_MS);
	assert_int_equal(row_of(s, "mx:mx1.one.example").window, 1);
	assert_true(row_of(s, "mx:mx1.one.example").interval >= 30 * USEC_SEC);
	assert_int_equal(row_of(s, "mx:mx1.two.example").window, 20);
	assert_in_range(row_of(s, "mx:mx1.two.example").usual, 45 * USEC_MS, 55 * USEC_MS);
}

static void test_a_restart_forgets_nothing(void **state)
{
	office_play(learning, learn, still_known);
}

static void forgotten_and_back(struct office *s)
{
	struct look l = { .key = "mx:mx1.two.example" };

	learn(s);
	office_wait(2 * USEC_HOUR);
	assert_int_equal(queue_sites(s->queue, take_row, &l), 0);
	assert_false(l.found);
	send(s, 1, "b@two.example");
	office_wait(USEC_SEC);
	assert_int_equal(row_of(s, "mx:mx1.two.example").window, 5); /* it was wide two hours ago */
	assert_in_range(row_of(s, "mx:mx1.two.example").usual, 45 * USEC_MS, 55 * USEC_MS);
}

static void test_a_site_that_was_forgotten_is_remembered(void **state)
{
	office_play(learning, forgotten_and_back, NULL);
}

static void written_in_between(struct office *s)
{
	char *text;
	size_t len;

	learn(s);
	office_wait(11 * USEC_MIN);
	assert_int_equal(file_read_all(s->world, FILE_OF_LEARNED, 10000, &text, &len), 0);
	assert_non_null(strstr(text, " mx:mx1.one.example\n"));
	free(text);
}

static void still_narrow(struct office *s)
{
	s->service = 3 * USEC_SEC;
	send(s, 1, "b@one.example");
	send(s, 1, "b@two.example");
	office_wait(100 * USEC_MS);
	assert_int_equal(row_of(s, "mx:mx1.one.example").window, 1);
	assert_int_equal(row_of(s, "mx:mx1.two.example").window, 5); /* it was wide eleven minutes ago */
}

static void test_it_is_written_without_a_good_end(void **state)
{
	office_play_and_cut(learning, written_in_between, still_narrow);
}

static void damage(struct office *s)
{
	struct file *f;
	struct iovec v = { .iov_base = (char []) { "7" }, .iov_len = 1 };

	learn(s);
	office_wait(11 * USEC_MIN);
	assert_int_equal(file_open(s->world, FILE_OF_LEARNED, FILE_WRITE, 0, &f), 0);
	assert_int_equal(file_pwritev(f, &v, 1, 20), 0);
	assert_int_equal(file_sync(f), 0);
	file_close(f);
}

static void anew(struct office *s)
{
	s->service = 3 * USEC_SEC;
	send(s, 1, "b@one.example");
	office_wait(100 * USEC_MS);
	assert_int_equal(row_of(s, "mx:mx1.one.example").window, 5);
	assert_true(row_of(s, "mx:mx1.one.example").interval == 0);
}

static void test_a_damaged_file_means_to_begin_anew(void **state)
{
	office_play_and_cut(learning, damage, anew);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_window_closes_when_final_replies_come_late),
		cmocka_unit_test(test_a_restart_forgets_nothing),
		cmocka_unit_test(test_a_site_that_was_forgotten_is_remembered),
		cmocka_unit_test(test_it_is_written_without_a_good_end),
		cmocka_unit_test(test_a_damaged_file_means_to_begin_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
