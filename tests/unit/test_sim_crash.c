/* The simulated disk: what a power cut leaves. */
#include "sim_disk_fixture.h"

/* --- the power goes ------------------------------------------------------------------------------- */

static void test_what_was_synced_survives(void **state)
{
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct file *file;
		struct fixture f;

		set_up(&f, seed);
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		assert_int_equal(write_at(file, "first second", 0), 0);
		assert_int_equal(file_truncate(file, 5), 0);
		assert_int_equal(file_append(file, SLICE(" third")), 0);
		assert_int_equal(file_sync(file), 0);
		assert_int_equal(path_sync_directory(f.world, "/"), 0);
		file_close(file);
		crash_and_restart(&f);
		assert_content(&f, "/a", "first third");
		tear_down(&f);
	}
}

static void test_what_was_not_synced_may_be_lost_or_torn(void **state)
{
	unsigned lost = 0, kept = 0, torn = 0, holes = 0;
	char old[1000], new[1000];

	memset(old, 'o', sizeof(old));
	memset(new, 'n', sizeof(new));
	for (uint64_t seed = 0; seed < 400; seed++) {
		_cleanup_(freep) char *text = NULL;
		size_t len, n = 0;
		struct file *file;
		struct fixture f;

		set_up(&f, seed);
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		assert_int_equal(file_append(file, slice_new(old, 1000)), 0);
		assert_int_equal(file_sync(file), 0);
		sim_host_sync(f.host);
		assert_int_equal(file_append(file, slice_new(new, 1000)), 0);
		assert_int_equal(file_append(file, slice_new(new, 1000)), 0);
		sim_host_crash(f.host);
		assert_int_equal(file_append(file, SLICE("x")), -EIO);
		file_close(file);
		crash_and_restart(&f);
		text = content(&f, "/a", &len);
		assert_in_range(len, 1000, 3000);
		assert_true(len >= 1000 && memcmp(text, old, 1000) == 0);
		for (size_t i = 1000; i < len; i++)
			n += text[i] == 'n';
		lost += len == 1000;
		kept += n == 2000;
		torn += n > 0 && n < 2000 && n % 1000 != 0;
		holes += n < len - 1000;
		tear_down(&f);
	}
	assert_true(lost > 50 && kept > 50 && torn > 50 && holes > 10);
}

static void test_an_overwrite_can_be_taken_back(void **state)
{
	unsigned old = 0, new = 0, between = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		_cleanup_(freep) char *text = NULL;
		struct file *file;
		struct fixture f;
		size_t len;

		set_up(&f, seed);
		make_file(&f, "/a", "aaaaaaaaaaaaaaaa");
		file = open_file(&f, "/a", FILE_WRITE);
		assert_int_equal(write_at(file, "bbbbbbbb", 4), 0);
		assert_int_equal(file_truncate(file, 6), 0);
		assert_int_equal(write_at(file, "cc", 9), 0);
		assert_content(&f, "/a", "aaaabb"); /* and a hole */
		sim_host_crash(f.host);
		file_close(file);
		crash_and_restart(&f);
		text = content(&f, "/a", &len);
		old += strcmp(text, "aaaaaaaaaaaaaaaa") == 0;
		new += len == 11 && memcmp(text, "aaaabb\0\0\0cc", 11) == 0;
		between += strcmp(text, "aaaabbbbbbbbaaaa") == 0;
		tear_down(&f);
	}
	assert_true(old > 20 && new > 20 && between > 5);
}

#define MODEL_SIZE 300u

/* A file as the test knows it: its bytes, those of the last sync, and which values each byte has had since. */
struct model {
	char now[MODEL_SIZE], synced[MODEL_SIZE];
	bool had[MODEL_SIZE][256];
	uint64_t size, synced_size;
};

static void change_at_random(struct fixture *f, struct file *file, struct model *m)
{
	uint64_t a = sim_random_below(f->sim, MODEL_SIZE), b = sim_random_below(f->sim, MODEL_SIZE);
	char part[MODEL_SIZE];
	struct iovec iov = { .iov_base = part, .iov_len = (size_t) MIN(b, MODEL_SIZE - a) };

	if (sim_random_below(f->sim, 4) == 0) {
		assert_int_equal(file_truncate(file, a), 0);
		if (a < m->size)
			memset(m->now + a, 0, m->size - a);
		m->size = a;
		return;
	}
	memset(part, (int) (1 + sim_random_below(f->sim, 255)), sizeof(part));
	assert_int_equal(file_pwritev(file, &iov, 1, a), 0);
	memcpy(m->now + a, part, iov.iov_len);
	for (size_t i = 0; i < iov.iov_len; i++)
		m->had[a + i][(unsigned char) part[0]] = true;
	if (iov.iov_len > 0)
		m->size = MAX(m->size, a + iov.iov_len);
}

static void sync_model(struct file *file, struct model *m)
{
	assert_int_equal(file_sync(file), 0);
	memcpy(m->synced, m->now, sizeof(m->now));
	m->synced_size = m->size;
	memset(m->had, 0, sizeof(m->had));
	for (size_t i = 0; i < MODEL_SIZE; i++)
		m->had[i][0] = m->had[i][(unsigned char) m->now[i]] = true;
}

static void test_each_byte_after_a_crash_is_one_it_had_since_the_last_sync(void **state)
{
	_cleanup_(freep) struct model *m = malloc(sizeof(*m));
	unsigned all = 0, none = 0;

	assert_non_null(m);
	for (uint64_t seed = 0; seed < 500; seed++) {
		_cleanup_(freep) char *before = NULL, *after = NULL;
		struct file *file;
		struct fixture f;
		size_t len;

		set_up(&f, seed);
		memset(m, 0, sizeof(*m));
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		sim_host_sync(f.host);
		for (uint64_t n = sim_random_below(f.sim, 10); n > 0; n--)
			change_at_random(&f, file, m);
		sync_model(file, m);
		for (uint64_t n = 1 + sim_random_below(f.sim, 10); n > 0; n--)
			change_at_random(&f, file, m);
		before = content(&f, "/a", &len);
		assert_int_equal(len, m->size);
		assert_true(memcmp(before, m->now, len) == 0);
		sim_host_crash(f.host);
		file_close(file);
		crash_and_restart(&f);
		after = content(&f, "/a", &len);
		assert_true(len <= MODEL_SIZE);
		for (size_t i = 0; i < len; i++)
			assert_true(m->had[i][(unsigned char) after[i]]);
		none += len == m->synced_size && memcmp(after, m->synced, len) == 0;
		all += len == m->size && memcmp(after, m->now, len) == 0;
		tear_down(&f);
	}
	assert_true(all > 100 && none > 100);
}

static void test_an_ordered_disk_is_torn_at_the_end_only(void **state)
{
	for (uint64_t seed = 0; seed < 200; seed++) {
		_cleanup_(freep) char *text = NULL;
		struct file *file;
		struct fixture f;
		size_t len;

		set_up(&f, seed);
		sim_host_set_ordered(f.host, true);
		file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
		sim_host_sync(f.host);
		for (int i = 0; i < 26; i++) {
			char part[40];

			memset(part, 'a' + i, sizeof(part));
			assert_int_equal(file_append(file, slice_new(part, sizeof(part))), 0);
		}
		sim_host_crash(f.host);
		file_close(file);
		crash_and_restart(&f);
		text = content(&f, "/a", &len);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(text[i], 'a' + i / 40);
		tear_down(&f);
	}
}

static void test_an_unsynced_rename_may_be_undone_but_loses_nothing(void **state)
{
	unsigned old = 0, new = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		_cleanup_(freep) char *text = NULL;
		struct fixture f;
		bool temporary;

		set_up(&f, seed);
		assert_int_equal(path_make_directories(f.world, "/tmp", 0700), 0);
		make_file(&f, "/a", "old");
		make_file(&f, "/tmp/a", "new");
		sim_host_sync(f.host);
		assert_int_equal(path_rename(f.world, "/tmp/a", "/a"), 0);
		crash_and_restart(&f);
		text = content(&f, "/a", NULL);
		temporary = exists(&f, "/tmp/a");
		assert_non_null(text);
		assert_string_equal(text, temporary ? "old" : "new");
		old += temporary;
		new += !temporary;
		tear_down(&f);
	}
	assert_true(old > 40 && new > 40);
}

static void test_unsynced_names_may_vanish_and_come_back(void **state)
{
	unsigned created = 0, linked = 0, unlinked = 0, directory = 0;

	for (uint64_t seed = 0; seed < 200; seed++) {
		struct file *file;
		struct fixture f;

		set_up(&f, seed);
		make_file(&f, "/old", "old");
		file = open_file(&f, "/new", FILE_WRITE | FILE_CREATE);
		assert_int_equal(file_append(file, SLICE("new")), 0);
		assert_int_equal(file_sync(file), 0); /* the content, not the name */
		file_close(file);
		assert_int_equal(path_link(f.world, "/old", "/link"), 0);
		assert_int_equal(path_unlink(f.world, "/old"), 0);
		assert_int_equal(path_make_directory(f.world, "/d", 0700), 0);
		crash_and_restart(&f);
		created += exists(&f, "/new");
		linked += exists(&f, "/link");
		unlinked += !exists(&f, "/old");
		directory += exists(&f, "/d");
		if (exists(&f, "/new"))
			assert_content(&f, "/new", "new");
		tear_down(&f);
	}
	assert_in_range(created, 40, 160);
	assert_in_range(linked, 40, 160);
	assert_in_range(unlinked, 40, 160);
	assert_in_range(directory, 40, 160);
}

static void test_a_synced_directory_keeps_its_names(void **state)
{
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct fixture f;

		set_up(&f, seed);
		assert_int_equal(path_make_directory(f.world, "/from", 0700), 0);
		assert_int_equal(path_make_directory(f.world, "/to", 0700), 0);
		assert_int_equal(path_sync_directory(f.world, "/"), 0);
		file_close(open_file(&f, "/from/a", FILE_WRITE | FILE_CREATE));
		assert_int_equal(path_rename(f.world, "/from/a", "/to/a"), 0);
		assert_int_equal(path_sync_directory(f.world, "/to"), 0); /* brings the rest of the rename along */
		crash_and_restart(&f);
		assert_true(exists(&f, "/to/a"));
		assert_false(exists(&f, "/from/a"));
		tear_down(&f);
	}
}

static void test_a_killed_process_loses_nothing_it_wrote(void **state)
{
	struct file *file;
	struct fixture f;

	set_up(&f, 1);
	file = open_file(&f, "/a", FILE_WRITE | FILE_CREATE);
	assert_int_equal(file_append(file, SLICE("text")), 0);
	sim_host_kill(f.host);
	assert_int_equal(file_sync(file), -EIO);
	file_close(file);
	world_free(f.world);
	assert_int_equal(sim_host_restart(f.host, &f.world), 0);
	assert_content(&f, "/a", "text");
	tear_down(&f);
}

/* --- the power goes inside a call, in a fiber ----------------------------------------------------- */

struct replacing {
	struct fixture f;
	struct loop *loop;
	int result;
	unsigned done;
};

static void replace(void *arg)
{
	static const char *const texts[] = { "one", "two", "three" };
	struct replacing *x = arg;

	x->result = 0;
	for (size_t i = 0; i < ARRAY_LEN(texts) && x->result >= 0; i++) {
		x->result = file_write_atomically(x->f.world, "/a", slice_from(texts[i]), 0600);
		x->done += x->result >= 0;
	}
}

static void replace_once(uint64_t seed, uint64_t crash_at, struct replacing *x)
{
	set_up(&x->f, seed);
	assert_int_equal(loop_new(x->f.world, "main", 0, 0, &x->loop), 0);
	assert_int_equal(loop_start(x->loop), 0);
	assert_int_equal(loop_spawn(x->loop, "replace", replace, x), 0);
	sim_host_crash_at(x->f.host, crash_at);
	sim_run(x->f.sim, DEADLINE_NEVER);
	loop_stop(x->loop);
	loop_free(x->loop);
}

/* For each call in which the power may go: what was reported as done is there afterwards, or the text after
 * it, and never anything else. */
static void test_an_atomic_write_survives_a_crash_in_each_of_its_calls(void **state)
{
	static const char *const texts[] = { NULL, "one", "two", "three" };
	uint64_t calls = 0;

	for (uint64_t seed = 0; seed < 30; seed++)
		for (uint64_t at = 1;; at++) {
			_cleanup_(freep) char *text = NULL;
			struct replacing x = { .result = 1 };

			replace_once(seed, at, &x);
			if (x.result >= 0) { /* it was over before that call */
				tear_down(&x.f);
				calls = at - 1;
				break;
			}
			assert_int_equal(x.result, -EIO);
			assert_false(sim_host_is_up(x.f.host));
			crash_and_restart(&x.f);
			text = content(&x.f, "/a", NULL);
			assert_in_range(x.done, 0, 2);
			if (text)
				assert_true((x.done > 0 && strcmp(text, texts[x.done]) == 0) ||
					    strcmp(text, texts[x.done + 1]) == 0);
			else
				assert_int_equal(x.done, 0);
			tear_down(&x.f);
		}
	assert_int_equal(calls, 15); /* open, write, sync, rename, sync of the directory; three times */
}

static int sync_inside(void *arg)
{
	return file_sync(arg);
}

static void write_and_look_at_the_clock(void *arg)
{
	_cleanup_(file_closep) struct file *file = NULL;
	struct replacing *x = arg;
	usec_t start = now();

	assert_int_equal(file_open(x->f.world, "/a", FILE_WRITE | FILE_CREATE, 0600, &file), 0);
	assert_true(now() > start);
	start = now();
	assert_int_equal(world_offload(x->f.world, sync_inside, file), 0);
	assert_in_range(now() - start, 5000, 10000);
	x->result = 0;
}

static void test_calls_take_time_in_a_fiber(void **state)
{
	struct replacing x = { .result = 1 };
	usec_t start;

	set_up(&x.f, 1);
	sim_host_set_disk_speed(x.f.host, 100, 5000);
	start = sim_now(x.f.sim);
	make_file(&x.f, "/b", "outside of fibers they take none");
	assert_int_equal(sim_now(x.f.sim), start);
	assert_int_equal(loop_new(x.f.world, "main", 0, 0, &x.loop), 0);
	assert_int_equal(loop_start(x.loop), 0);
	assert_int_equal(loop_spawn(x.loop, "clock", write_and_look_at_the_clock, &x), 0);
	sim_run(x.f.sim, DEADLINE_NEVER);
	assert_int_equal(x.result, 0);
	loop_stop(x.loop);
	loop_free(x.loop);
	tear_down(&x.f);
}

/* A loop that blocks stands still while it writes: its fibers don't see each other's calls half done. */
struct blocking {
	struct replacing x;
	unsigned inside, most, turns;
	usec_t last;
};

static void write_blocking(void *arg)
{
	struct blocking *b = arg;
	char path[16];

	snprintf(path, sizeof(path), "/%u", b->turns++);
	b->inside++;
	b->most = MAX(b->most, b->inside);
	assert_int_equal(file_write_atomically(b->x.f.world, path, SLICE("x"), 0600), 0);
	b->inside--;
	assert_int_equal(fiber_yield(), 0);
	b->last = now();
}

static void test_a_blocking_loop_stands_still_meanwhile(void **state)
{
	struct blocking b = { .inside = 0 };
	usec_t start;

	set_up(&b.x.f, 1);
	start = sim_now(b.x.f.sim);
	assert_int_equal(loop_new(b.x.f.world, "main", LOOP_BLOCKING, 0, &b.x.loop), 0);
	assert_int_equal(loop_start(b.x.loop), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_spawn(b.x.loop, "write", write_blocking, &b), 0);
	sim_run(b.x.f.sim, DEADLINE_NEVER);
	assert_int_equal(b.most, 1);
	assert_in_range(b.last - start, 3 * 2 * 500, 10000);
	loop_stop(b.x.loop);
	loop_free(b.x.loop);
	tear_down(&b.x.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_synced_survives),
		cmocka_unit_test(test_what_was_not_synced_may_be_lost_or_torn),
		cmocka_unit_test(test_an_overwrite_can_be_taken_back),
		cmocka_unit_test(test_each_byte_after_a_crash_is_one_it_had_since_the_last_sync),
		cmocka_unit_test(test_an_ordered_disk_is_torn_at_the_end_only),
		cmocka_unit_test(test_an_unsynced_rename_may_be_undone_but_loses_nothing),
		cmocka_unit_test(test_unsynced_names_may_vanish_and_come_back),
		cmocka_unit_test(test_a_synced_directory_keeps_its_names),
		cmocka_unit_test(test_a_killed_process_loses_nothing_it_wrote),
		cmocka_unit_test(test_an_atomic_write_survives_a_crash_in_each_of_its_calls),
		cmocka_unit_test(test_calls_take_time_in_a_fiber),
		cmocka_unit_test(test_a_blocking_loop_stands_still_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
