#include "unit/spool_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "world/file.h"

static wall_t scene_wall(void *context)
{
	return 0;
}

static void count_line(void *context, const char *line, size_t len)
{
	struct scene *c = context;

	for (int level = 0; level <= LOG_CRITICAL; level++) {
		char text[48];
		int n = snprintf(text, sizeof(text), "\"level\":\"%s\"", log_level_name((enum log_level) level));

		if (memmem(line, len, text, (size_t) n))
			c->lines[level]++;
	}
	if (getenv("SCENE_LOG"))
		(void) fwrite(line, 1, len, stderr);
}

static void boot(struct scene *c)
{
	assert_int_equal(loop_new(c->world, "scene", 0, 0, &c->loop), 0);
	assert_int_equal(loop_start(c->loop), 0);
}

void scene_begin(struct scene *c, uint64_t seed)
{
	struct sim_options o = { .seed = seed };

	memset(c, 0, sizeof(*c));
	c->log = (struct log) { .level = LOG_DEBUG, .json = true, .now = scene_wall, .write = count_line, .context = c };
	c->config = (struct spool_config) { .path = "/spool", .segment_size = 64u << 10, .reserve = 1 };
	assert_int_equal(sim_new(&o, &c->sim), 0);
	assert_int_equal(sim_host_new(c->sim, "host", "192.0.2.1", &c->host, &c->world), 0);
	boot(c);
}

static void halt(struct scene *c)
{
	scene_close(c);
	loop_stop(c->loop);
	loop_free(c->loop);
	world_free(c->world);
}

void scene_end(struct scene *c)
{
	halt(c);
	sim_free(c->sim);
}

static int keep_found(const struct spool_found *m, void *context)
{
	struct scene *c = context;
	struct scene_message *k = &c->found[c->found_count];
	char text[64];

	if (c->stop_found)
		return -ECANCELED;
	assert_true(c->found_count < SCENE_MESSAGES);
	c->found_count++;
	*k = (struct scene_message) { .id = m->id, .size = m->body_size };
	(void) snprintf(text, sizeof(text), "envelope of %llu", (unsigned long long) m->id);
	k->wrong = !slice_eq_str(m->envelope, text);
	if (m->note.len > 0) {
		unsigned long long id = 0;
		unsigned note = 0;

		(void) slice_copy(m->note, text, sizeof(text));
		k->wrong |= sscanf(text, "note %u of %llu", &note, &id) != 2 || id != m->id;
		k->note = note;
	}
	return 0;
}

int scene_open(struct scene *c)
{
	c->found_count = 0;
	memset(c->lines, 0, sizeof(c->lines));
	return spool_open(c->world, &c->log, &c->config, keep_found, c, &c->recovery, &c->spool);
}

void scene_close(struct scene *c)
{
	spool_close(c->spool);
	c->spool = NULL;
}

void scene_reopen(struct scene *c)
{
	scene_close(c);
	assert_int_equal(scene_open(c), 0);
}

void scene_restart(struct scene *c)
{
	halt(c);
	assert_int_equal(sim_host_restart(c->host, &c->world), 0);
	boot(c);
}

void scene_crash(struct scene *c)
{
	sim_host_crash(c->host);
	scene_restart(c);
	assert_int_equal(scene_open(c), 0);
}

struct run {
	struct scene *scene;
	int (*fn)(struct scene *c, void *arg);
	void *arg;
	int result;
	bool done;
};

static void run_main(void *arg)
{
	struct run *run = arg;

	run->result = run->fn(run->scene, run->arg);
	run->done = true;
}

static bool run_done(void *arg)
{
	return ((struct run *) arg)->done;
}

int scene_run(struct scene *c, int (*fn)(struct scene *c, void *arg), void *arg)
{
	struct run run = { .scene = c, .fn = fn, .arg = arg };

	assert_int_equal(loop_spawn(c->loop, "test", run_main, &run), 0);
	assert_true(sim_run_until(c->sim, run_done, &run, sim_now(c->sim) + USEC_DAY));
	return run.result;
}

void scene_pass(struct scene *c, usec_t time)
{
	sim_run(c->sim, sim_now(c->sim) + time);
}

char scene_byte(msgid_t id, uint64_t i)
{
	return (char) (id * 31 + i * 7 + (i >> 8) + (i >> 16));
}

static int put_in_front(struct spool_writer *w, msgid_t id, uint64_t front)
{
	char *data = malloc((size_t) front);
	int r = data ? 0 : -ENOMEM;

	for (uint64_t i = 0; data && i < front; i++)
		data[i] = scene_byte(id, i);
	if (r >= 0)
		r = spool_writer_front(w, slice_new(data, (size_t) front));
	free(data);
	return r;
}

int scene_commit(struct scene *c, msgid_t id, uint64_t size)
{
	return scene_commit_front(c, id, size, 0);
}

int scene_commit_front(struct scene *c, msgid_t id, uint64_t size, uint64_t front)
{
	struct spool_writer *w;
	char text[64];
	int r = spool_writer_new(c->spool, id, &w);

	if (r < 0)
		return r;
	while (r >= 0 && spool_writer_size(w) < size - front) {
		uint64_t done = spool_writer_size(w);
		size_t room = 0;
		char *at;

		r = spool_writer_reserve(w, (size_t) (size - front - done), &at, &room);
		for (size_t i = 0; r >= 0 && i < room; i++)
			at[i] = scene_byte(id, front + done + i);
		if (r >= 0)
			spool_writer_used(w, room);
	}
	if (r >= 0 && front > 0)
		r = put_in_front(w, id, front);
	if (r < 0) {
		spool_writer_abort(w);
		return r;
	}
	(void) snprintf(text, sizeof(text), "envelope of %llu", (unsigned long long) id);
	return spool_writer_commit(w, slice_from(text), SLICE_NULL);
}

int scene_note(struct scene *c, msgid_t id, uint32_t note, bool sync)
{
	char text[64];

	(void) snprintf(text, sizeof(text), "note %u of %llu", note, (unsigned long long) id);
	return sync ? spool_note_sync(c->spool, id, slice_from(text)) : spool_note(c->spool, id, slice_from(text));
}

int scene_check(struct scene *c, msgid_t id, uint64_t size)
{
	_cleanup_(spool_reader_closep) struct spool_reader *reader = NULL;
	uint64_t at = 0;
	int r = spool_reader_open(c->spool, id, &reader);

	if (r < 0)
		return r;
	if (spool_reader_size(reader) != size)
		return -EILSEQ;
	for (;;) {
		struct slice s;

		r = spool_reader_view(reader, at, &s);
		if (r < 0)
			return r;
		if (s.len == 0)
			return at == size ? 0 : -EILSEQ;
		for (size_t i = 0; i < s.len; i++)
			if (s.data[i] != scene_byte(id, at + i))
				return -EILSEQ;
		at += s.len;
	}
}

const struct scene_message *scene_find(const struct scene *c, msgid_t id)
{
	for (unsigned i = 0; i < c->found_count; i++)
		if (c->found[i].id == id)
			return &c->found[i];
	return NULL;
}

unsigned char *scene_file(struct scene *c, const char *path, size_t *ret_len)
{
	char *data;

	assert_int_equal(file_read_all(c->world, path, 1u << 30, &data, ret_len), 0);
	return (unsigned char *) data;
}

void scene_write_file(struct scene *c, const char *path, const unsigned char *data, size_t len)
{
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data, .iov_len = len };
	struct file *f;

	assert_int_equal(file_open(c->world, path, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, 0600, &f), 0);
	assert_int_equal(len > 0 ? file_pwritev(f, &iov, 1, 0) : 0, 0);
	file_close(f);
}

struct counting {
	const char *containing;
	unsigned n;
};

static int count_name(const char *name, void *context)
{
	struct counting *k = context;

	k->n += strstr(name, k->containing) != NULL;
	return 0;
}

unsigned scene_count_files(struct scene *c, const char *directory, const char *containing)
{
	struct counting k = { .containing = containing };
	int r = path_list(c->world, directory, count_name, &k);

	assert_true(r == 0 || r == -ENOENT);
	return k.n;
}
