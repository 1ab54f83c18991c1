#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/file_watch.h"
#include "world/sim.h"

static void write_file(struct world *w, const char *path, const char *text)
{
	assert_int_equal(file_write_atomically(w, path, slice_from(text), 0600), 0);
}

static void test_a_change_of_time_or_size_and_a_file_that_comes_or_goes_are_seen(void **state)
{
	struct sim *sim;
	struct sim_host *host;
	struct world *w;
	struct file_watch f = { 0 };

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "server", "192.0.2.25", &host, &w), 0);
	write_file(w, "/a", "one");
	assert_int_equal(file_watch_add(&f, w, "/a"), 0);
	assert_int_equal(file_watch_add(&f, w, "/a"), 0);
	assert_int_equal(file_watch_add(&f, w, "/b"), 0);
	assert_int_equal(file_watch_add(&f, w, NULL), 0);
	assert_int_equal(f.n, 2);
	assert_false(file_watch_changed(&f, w));

	write_file(w, "/a", "three");
	assert_true(file_watch_changed(&f, w));
	file_watch_done(&f);
	assert_int_equal(file_watch_add(&f, w, "/a"), 0);
	assert_int_equal(file_watch_add(&f, w, "/b"), 0);
	assert_false(file_watch_changed(&f, w));
	write_file(w, "/b", "here now");
	assert_true(file_watch_changed(&f, w));
	file_watch_done(&f);
	assert_int_equal(file_watch_add(&f, w, "/a"), 0);
	sim_run(sim, sim_now(sim) + USEC_SEC);
	write_file(w, "/a", "seven"); /* as long as before */
	assert_true(file_watch_changed(&f, w));
	file_watch_done(&f);
	assert_int_equal(file_watch_add(&f, w, "/a"), 0);
	assert_int_equal(path_unlink(w, "/a"), 0);
	assert_true(file_watch_changed(&f, w));
	file_watch_done(&f);
	world_free(w);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_change_of_time_or_size_and_a_file_that_comes_or_goes_are_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
