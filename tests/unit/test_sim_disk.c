/* The simulated disk: what its calls do, and how they can be made to fail. */
#include "sim_disk_fixture.h"

/* --- what the calls do ---------------------------------------------------------------------------- */

static void test_reading_gives_what_was_written(void **state)
{
	struct iovec iov[3] = { { (void *) "one ", 4 }, { NULL, 0 }, { (void *) "two", 3 } };
	struct file_info info;
	struct file *file;
	struct fixture f;
	uint64_t size;
	char part[8];

	set_up(&f, 1);
	file = open_file(&f, "/a", FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE);
	assert_int_equal(file_pwritev(file, iov, 3, 0), 0);
	assert_int_equal(write_at(file, "end", 10), 0); /* a hole of three bytes */
	assert_int_equal(file_size(file, &size), 0);
	assert_int_equal(size, 13);
	assert_int_equal(file_pread(file, part, sizeof(part), 6), 7);
	assert_memory_equal(part, "o\0\0\0end", 7);
	assert_int_equal(file_truncate(file, 3), 0);
	assert_int_equal(file_append(file, SLICE(" more")), 0);
	assert_content(&f, "a", "one more");
	assert_int_equal(path_info(f.world, "/./x/../a", &info), 0);
	assert_int_equal(info.size, 8);
	assert_int_equal(info.mode, 0600);
	assert_int_equal(info.modified, world_wall(f.world));
	assert_int_equal(file_fd(file), -1);
	file_close(file);
	tear_down(&f);
}

static void test_open_and_its_flags(void **state)
{
	struct file *file, *other;
	struct fixture f;

	set_up(&f, 1);
	assert_int_equal(file_open(f.world, "/a", FILE_READ, 0, &other), -ENOENT);
	assert_int_equal(file_open(f.world, "/no/a", FILE_WRITE | FILE_CREATE, 0600, &other), -ENOENT);
	make_file(&f, "/a", "text");
	assert_int_equal(file_open(f.world, "/a", FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, 0600, &other), -EEXIST);
	assert_int_equal(file_open(f.world, "/a/b", FILE_READ, 0, &other), -ENOTDIR);
	assert_int_equal(file_open(f.world, "/", FILE_READ, 0, &other), -EISDIR);
	file = open_file(&f, "/a", FILE_READ);
	assert_int_equal(file_append(file, SLICE("x")), -EBADF);
	file_close(file);
	file = open_file(&f, "/a", FILE_WRITE | FILE_APPEND);
	assert_int_equal(write_at(file, " more", 0), 0); /* at the end all the same */
	assert_content(&f, "/a", "text more");
	file_close(file);
	file = open_file(&f, "/a", FILE_WRITE | FILE_TRUNCATE);
	assert_content(&f, "/a", "");
	file_close(file);
	tear_down(&f);
}

static int add_name(const char *name, void *context)
{
	strcat(context, name);
	strcat(context, " ");
	return strcmp(name, "stop") == 0 ? 7 : 0;
}

static void test_names(void **state)
{
	struct file *file;
	char names[200] = "";
	struct fixture f;
	char part[4];

	set_up(&f, 1);
	assert_int_equal(path_make_directories(f.world, "/d/e", 0700), 0);
	assert_int_equal(path_make_directory(f.world, "/d/e", 0700), -EEXIST);
	make_file(&f, "/d/b", "b");
	make_file(&f, "/d/a", "a");
	assert_int_equal(path_link(f.world, "/d/b", "/d/c"), 0);
	assert_int_equal(path_link(f.world, "/d/b", "/d/a"), -EEXIST);
	assert_int_equal(path_link(f.world, "/d/x", "/d/y"), -ENOENT);
	assert_int_equal(path_link(f.world, "/d/e", "/d/y"), -EPERM);
	assert_int_equal(path_list(f.world, "/d", add_name, names), 0);
	assert_string_equal(names, "a b c e ");
	assert_int_equal(path_rename(f.world, "/d/a", "/d/c"), 0);
	assert_content(&f, "/d/c", "a");
	assert_content(&f, "/d/b", "b");
	assert_int_equal(path_rename(f.world, "/d/a", "/d/c"), -ENOENT);
	assert_int_equal(path_rename(f.world, "/d/b", "/d/e"), -EISDIR);
	assert_int_equal(path_rename(f.world, "/d/e", "/d/b"), -ENOTDIR);
	assert_int_equal(path_rename(f.world, "/d", "/d/e/f"), -EINVAL);
	assert_int_equal(path_rename(f.world, "/d/b", "/d/stop"), 0);
	assert_int_equal(path_list(f.world, "/d", add_name, names), 7);
	assert_int_equal(path_unlink(f.world, "/d/e"), -EISDIR);
	assert_int_equal(path_unlink(f.world, "/d/none"), -ENOENT);
	assert_int_equal(path_sync_directory(f.world, "/d/none"), -ENOENT);
	assert_int_equal(path_sync_directory(f.world, "/d/c"), -ENOTDIR);

	file = open_file(&f, "/d/c", FILE_READ);
	assert_int_equal(path_unlink(f.world, "/d/c"), 0);
	assert_int_equal(file_pread(file, part, 4, 0), 1); /* what is open lives on */
	file_close(file);
	tear_down(&f);
}

static void test_one_handle_at_a_time_holds_the_lock(void **state)
{
	struct world *other;
	struct file *a, *b;
	struct fixture f;

	set_up(&f, 1);
	assert_int_equal(sim_host_process(f.host, &other), 0);
	a = open_file(&f, "/lock", FILE_WRITE | FILE_CREATE);
	assert_int_equal(file_open(other, "/lock", FILE_WRITE, 0, &b), 0);
	assert_int_equal(file_lock(a), 0);
	assert_int_equal(file_lock(a), 0);
	assert_int_equal(file_lock(b), -EWOULDBLOCK);
	sim_world_kill(f.world); /* the lock ends with the process, before its memory is freed */
	assert_int_equal(file_lock(b), 0);
	file_close(a);
	assert_int_equal(file_append(b, SLICE("alive")), 0);
	file_close(b);
	world_free(f.world);
	f.world = other;
	tear_down(&f);
}

/* --- space ---------------------------------------------------------------------------------------- */

static const char block[4096];

static void test_a_full_disk(void **state)
{
	uint64_t left, total;
	struct file *file, *other;
	struct fixture f;

	set_up(&f, 1);
	sim_host_set_capacity(f.host, 10 * 4096);
	file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	for (int i = 0; i < 9; i++)
		assert_int_equal(file_append(file, slice_new(block, sizeof(block))), 0);
	assert_int_equal(path_space(f.world, "/", &left, &total), 0);
	assert_int_equal(total, 10 * 4096);
	assert_int_equal(left, 4096);
	for (int i = 0; i < 2; i++)
		(void) file_append(file, slice_new(block, 3000));
	assert_int_equal(file_append(file, slice_new(block, 3000)), -ENOSPC);
	assert_int_equal(file_open(f.world, "/b", FILE_WRITE | FILE_CREATE, 0600, &other), -ENOSPC);
	assert_int_equal(path_make_directory(f.world, "/d", 0700), -ENOSPC);
	assert_int_equal(write_at(file, "over what is there", 0), 0);
	assert_int_equal(path_unlink(f.world, "/a"), 0);
	assert_int_equal(sim_host_disk_used(f.host), 10 * 4096); /* it is still open */
	file_close(file);
	assert_int_equal(sim_host_disk_used(f.host), 0);
	tear_down(&f);
}

static void test_allocated_space_is_there_later(void **state)
{
	struct file *a, *b;
	struct fixture f;
	uint64_t size;

	set_up(&f, 1);
	sim_host_set_capacity(f.host, 10 * 4096);
	a = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	b = open_file(&f, "/b", FILE_WRITE | FILE_CREATE);
	assert_int_equal(file_allocate(a, 11 * 4096), -ENOSPC);
	assert_int_equal(file_allocate(a, 8 * 4096), 0);
	assert_int_equal(file_size(a, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(file_append(b, slice_new(block, 4096)), 0);
	assert_int_equal(file_append(b, slice_new(block, 4096)), 0);
	assert_int_equal(file_append(b, slice_new(block, 1)), -ENOSPC);
	for (int i = 0; i < 8; i++)
		assert_int_equal(file_append(a, slice_new(block, 4096)), 0);
	assert_int_equal(file_append(a, slice_new(block, 1)), -ENOSPC);
	file_close(a);
	file_close(b);
	tear_down(&f);
}

/* --- faults --------------------------------------------------------------------------------------- */

static void test_faults_come_as_ordered(void **state)
{
	struct sim_fault second_write = { .ops = SIM_WRITE, .path = "/a", .error = -EIO, .skip = 1, .times = 1 };
	struct sim_fault no_rename = { .ops = SIM_RENAME, .error = -EROFS };
	struct file *a, *b;
	struct fixture f;

	set_up(&f, 1);
	sim_host_add_fault(f.host, &second_write);
	sim_host_add_fault(f.host, &no_rename);
	a = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	b = open_file(&f, "/b", FILE_WRITE | FILE_CREATE);
	assert_int_equal(file_append(a, SLICE("1")), 0);
	assert_int_equal(file_append(b, SLICE("1")), 0);
	assert_int_equal(file_append(a, SLICE("2")), -EIO);
	assert_int_equal(file_append(a, SLICE("3")), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(path_rename(f.world, "/a", "/c"), -EROFS);
	assert_int_equal(file_write_atomically(f.world, "/d", SLICE("x"), 0600), -EROFS);
	assert_false(exists(&f, "/d.tmp"));
	sim_host_clear_faults(f.host);
	assert_int_equal(path_rename(f.world, "/a", "/c"), 0);
	file_close(a);
	file_close(b);
	tear_down(&f);
}

static void test_a_failed_write_may_leave_a_part(void **state)
{
	struct sim_fault fault = { .ops = SIM_WRITE, .error = -EIO };
	unsigned parts = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		struct file *file;
		struct fixture f;
		uint64_t size;

		set_up(&f, seed);
		sim_host_add_fault(f.host, &fault);
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		assert_int_equal(file_append(file, SLICE("0123456789")), -EIO);
		assert_int_equal(file_size(file, &size), 0);
		parts += size > 0 && size < 10;
		file_close(file);
		tear_down(&f);
	}
	assert_true(parts > 10);
}

/* The page cache can't be trusted after a failed sync: the next one succeeds and keeps nothing of it. */
static void test_after_a_failed_sync_a_later_one_proves_nothing(void **state)
{
	struct sim_fault fault = { .ops = SIM_SYNC, .error = -EIO, .times = 1 };
	unsigned lost = 0;

	for (uint64_t seed = 0; seed < 100; seed++) {
		_cleanup_(freep) char *text = NULL;
		struct file *file;
		struct fixture f;

		set_up(&f, seed);
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		sim_host_sync(f.host);
		sim_host_add_fault(f.host, &fault);
		assert_int_equal(file_append(file, SLICE("first ")), 0);
		assert_int_equal(file_sync(file), -EIO);
		assert_int_equal(file_append(file, SLICE("second")), 0);
		assert_int_equal(file_sync(file), 0);
		assert_content(&f, "/a", "first second"); /* the cache still shows it */
		sim_host_crash(f.host);
		file_close(file);
		crash_and_restart(&f);
		text = content(&f, "/a", NULL);
		if (strcmp(text, "first second") != 0) {
			size_t len;

			lost++;
			free(text);
			text = content(&f, "/a", &len);
			assert_int_equal(len, 12);
			assert_memory_equal(text + 6, "second", 6); /* that one was synced */
		}
		tear_down(&f);
	}
	assert_in_range(lost, 20, 90);
}

/* --- short writes and copies ------------------------------------------------------------------------ */

static void test_a_short_write_goes_on_and_costs_more_operations(void **state)
{
	struct file *file;
	struct fixture f;
	uint64_t before;

	set_up(&f, 1);
	sim_host_set_short_writes(f.host, 1000);
	file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	before = sim_host_changes(f.host);
	assert_int_equal(write_at(file, "a text of some length", 0), 0);
	assert_in_range(sim_host_changes(f.host) - before, 2, 21);
	assert_int_equal(file_append(file, SLICE(", and more")), 0);
	file_close(file);
	assert_content(&f, "/a", "a text of some length, and more");
	tear_down(&f);
}

/* The power may go between its parts: what came before is as uncertain as any unsynced write. */
static void test_the_power_goes_in_the_middle_of_a_short_write(void **state)
{
	unsigned parts = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct file *file;
		struct fixture f;
		size_t len;

		set_up(&f, seed);
		make_file(&f, "/a", "");
		sim_host_set_short_writes(f.host, 1000);
		file = open_file(&f, "/a", FILE_WRITE);
		sim_host_crash_at(f.host, 2);
		assert_int_equal(write_at(file, "a text of some length", 0), -EIO);
		assert_false(sim_host_is_up(f.host));
		file_close(file);
		crash_and_restart(&f);
		free(content(&f, "/a", &len));
		parts += len > 0 && len < 21;
		tear_down(&f);
	}
	assert_true(parts > 0);
}

static void test_a_copied_disk_has_what_is_written_or_what_is_durable(void **state)
{
	unsigned kept = 0, lost = 0;
	struct fixture f, copy;
	struct file *file;

	set_up(&f, 1);
	make_file(&f, "/a", "durable");
	file = open_file(&f, "/a", FILE_WRITE);
	assert_int_equal(write_at(file, "written", 0), 0);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		_cleanup_(freep) char *text = NULL;

		assert_int_equal(sim_new(&(struct sim_options) { .seed = seed }, &copy.sim), 0);
		sim_host_clone(f.host, copy.sim, false, &copy.host, &copy.world);
		assert_content(&copy, "/a", "written");
		tear_down(&copy);
		assert_int_equal(sim_new(&(struct sim_options) { .seed = seed }, &copy.sim), 0);
		sim_host_clone(f.host, copy.sim, true, &copy.host, &copy.world);
		text = content(&copy, "/a", NULL);
		kept += strcmp(text, "written") == 0;
		lost += strcmp(text, "durable") == 0;
		make_file(&copy, "/a", "other");
		tear_down(&copy);
	}
	assert_true(kept > 0 && lost > 0);
	assert_content(&f, "/a", "written"); /* and the first has felt nothing of it */
	file_close(file);
	crash_and_restart(&f);
	tear_down(&f);
}

static void test_an_error_for_ever_lasts_until_it_is_taken_away(void **state)
{
	struct file *file;
	struct fixture f;

	set_up(&f, 1);
	file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	sim_host_add_fault(f.host, &(struct sim_fault) { .ops = SIM_SYNC, .error = -EIO });
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(file_sync(file), -EIO);
	sim_host_clear_faults(f.host);
	assert_int_equal(file_sync(file), 0);
	file_close(file);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_short_write_goes_on_and_costs_more_operations),
		cmocka_unit_test(test_the_power_goes_in_the_middle_of_a_short_write),
		cmocka_unit_test(test_a_copied_disk_has_what_is_written_or_what_is_durable),
		cmocka_unit_test(test_an_error_for_ever_lasts_until_it_is_taken_away),
		cmocka_unit_test(test_reading_gives_what_was_written),
		cmocka_unit_test(test_open_and_its_flags),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_one_handle_at_a_time_holds_the_lock),
		cmocka_unit_test(test_a_full_disk),
		cmocka_unit_test(test_allocated_space_is_there_later),
		cmocka_unit_test(test_faults_come_as_ordered),
		cmocka_unit_test(test_a_failed_write_may_leave_a_part),
		cmocka_unit_test(test_after_a_failed_sync_a_later_one_proves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
