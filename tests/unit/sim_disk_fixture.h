/* For tests of the simulated disk: one machine, used from outside of fibers. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world/fiber.h"
#include "world/file.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
};

static inline void set_up(struct fixture *f, uint64_t seed)
{
	struct sim_options o = { .seed = seed };

	assert_int_equal(sim_new(&o, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "host", "192.0.2.1", &f->host, &f->world), 0);
}

static inline void tear_down(struct fixture *f)
{
	world_free(f->world);
	sim_free(f->sim);
}

static inline void crash_and_restart(struct fixture *f)
{
	sim_host_crash(f->host);
	world_free(f->world);
	assert_int_equal(sim_host_restart(f->host, &f->world), 0);
}

static inline struct file *open_file(struct fixture *f, const char *path, unsigned flags)
{
	struct file *file;

	assert_int_equal(file_open(f->world, path, flags, 0600, &file), 0);
	return file;
}

static inline int write_at(struct file *file, const char *text, uint64_t offset)
{
	struct iovec iov = { .iov_base = (void *) (uintptr_t) text, .iov_len = strlen(text) };

	return file_pwritev(file, &iov, 1, offset);
}

/* Creates a file that is durable, name and all. */
static inline void make_file(struct fixture *f, const char *path, const char *text)
{
	assert_int_equal(file_write_atomically(f->world, path, slice_from(text), 0600), 0);
}

static inline bool exists(struct fixture *f, const char *path)
{
	struct file_info info;
	int r = path_info(f->world, path, &info);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

/* The content, to be freed; NULL when there is no such file. */
static inline char *content(struct fixture *f, const char *path, size_t *ret_len)
{
	char *text = NULL;
	size_t len = 0;
	int r = file_read_all(f->world, path, 1u << 30, &text, &len);

	assert_true(r == 0 || r == -ENOENT);
	if (ret_len)
		*ret_len = len;
	return text;
}

static inline void assert_content(struct fixture *f, const char *path, const char *expected)
{
	_cleanup_(freep) char *text = content(f, path, NULL);

	assert_non_null(text);
	assert_string_equal(text, expected);
}
