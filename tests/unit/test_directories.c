/* Directories that have to be there after a power cut, on the simulated disk: also when somebody else made them and
 * died before he could say so to the disk. */
#include "sim_disk_fixture.h"

static void test_directories_made_durably_survive_a_power_cut(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct fixture f;

		set_up(&f, seed);
		assert_int_equal(path_make_directories_durably(f.world, "/var/lib/yizhan", 0700), 0);
		crash_and_restart(&f);
		assert_true(exists(&f, "/var/lib/yizhan"));
		tear_down(&f);
	}
}

static void test_a_half_made_path_becomes_durable_at_the_next_attempt(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		for (uint64_t n = 0; n < 6; n++) { /* three directories are made, then three synced */
			struct fixture f;

			set_up(&f, seed);
			sim_host_add_fault(f.host, &(struct sim_fault) { .ops = SIM_CHANGES, .error = -EIO, .skip = n, .times = 1 });
			assert_int_equal(path_make_directories_durably(f.world, "/var/lib/yizhan", 0700), -EIO);
			assert_int_equal(path_make_directories_durably(f.world, "/var/lib/yizhan", 0700), 0);
			crash_and_restart(&f);
			assert_true(exists(&f, "/var/lib/yizhan"));
			tear_down(&f);
		}
	}
}

static void test_a_directory_that_others_own_and_hide_is_passed_over(void **state)
{
	struct fixture f;

	set_up(&f, 1);
	assert_int_equal(path_make_directories(f.world, "/home/alice", 0700), 0);
	sim_host_add_fault(f.host, &(struct sim_fault) { .ops = SIM_SYNC_DIRECTORY, .error = -EACCES });
	assert_int_equal(path_make_directories_durably(f.world, "/home/alice/mail", 0700), 0);
	assert_true(exists(&f, "/home/alice/mail"));
	tear_down(&f);
}

static void test_a_file_in_the_way_is_said_to_be_one(void **state)
{
	struct fixture f;

	set_up(&f, 1);
	make_file(&f, "/a", "text");
	assert_int_equal(path_make_directories_durably(f.world, "/a", 0700), -ENOTDIR);
	assert_int_equal(path_make_directories_durably(f.world, "/a/b", 0700), -ENOTDIR);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directories_made_durably_survive_a_power_cut),
		cmocka_unit_test(test_a_half_made_path_becomes_durable_at_the_next_attempt),
		cmocka_unit_test(test_a_directory_that_others_own_and_hide_is_passed_over),
		cmocka_unit_test(test_a_file_in_the_way_is_said_to_be_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
