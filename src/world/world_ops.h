/* What a world has to provide. Private to src/world/: the functions of the public headers dispatch here. */
#pragma once

#include "world/file.h"
#include "world/fiber.h"
#include "world/program.h"
#include "world/stream.h"

struct world_ops {
	usec_t (*now)(struct world *w);
	wall_t (*wall)(struct world *w);
	void (*random)(struct world *w, void *out, size_t len);
	void (*free)(struct world *w);

	void (*memory)(struct world *w, struct world_memory *ret); /* NULL: nothing is known */

	int (*loop_init)(struct loop *l);  /* sets l->backend */
	void (*loop_done)(struct loop *l);
	int (*loop_start)(struct loop *l);
	void (*loop_stop)(struct loop *l); /* l->stopping is set already */
	void (*loop_wake)(struct loop *l); /* somebody posted into the empty mailbox, from any thread */
	int (*wait_fd)(struct loop *l, int fd, unsigned what, usec_t deadline);
	int (*offload)(struct world *w, int (*fn)(void *), void *arg); /* from a fiber of an ordinary loop */

	/* As net_connect_start and net_connect_wait. */
	int (*connect)(struct world *w, const struct endpoint *to, const struct endpoint *from, struct transport **ret);
	int (*connect_wait)(struct transport *t, usec_t deadline);
	/* NULL: no programs. The rest of world/program.h is that of the one world that has them. */
	int (*program_start)(struct world *w, const struct program_options *o, struct program **ret);
	int (*listen)(struct world *w, const struct endpoint *at, const struct listen_options *o, struct listener **ret);
	int (*listen_fd)(struct world *w, int fd, struct listener **ret);
	int (*accept)(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer);
	void (*listener_close)(struct listener *l);
	int (*local_endpoint)(struct transport *t, struct endpoint *ret);

	/* Files: these block (a simulation lets the fiber sleep); world/file.c decides where they run. */
	int (*file_open)(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret);
	void (*file_close)(struct file *f);
	ssize_t (*file_pread)(struct file *f, void *data, size_t len, uint64_t offset, bool nowait); /* -EAGAIN: would block */
	int (*file_pwritev)(struct file *f, const struct iovec *iov, int n, uint64_t offset);
	int (*file_append)(struct file *f, struct slice data);
	int (*file_sync)(struct file *f);
	void (*file_write_behind)(struct file *f, uint64_t offset, uint64_t len); /* NULL: nothing to be won */
	int (*file_size)(struct file *f, uint64_t *ret);
	int (*file_truncate)(struct file *f, uint64_t size);
	int (*file_allocate)(struct file *f, uint64_t size);
	int (*file_lock)(struct file *f);
	int (*file_fd)(const struct file *f);
	int (*path_info)(struct world *w, const char *path, struct file_info *ret);
	int (*path_make_directory)(struct world *w, const char *path, unsigned mode);
	int (*path_rename)(struct world *w, const char *from, const char *to);
	int (*path_link)(struct world *w, const char *from, const char *to);
	int (*path_unlink)(struct world *w, const char *path);
	int (*path_sync_directory)(struct world *w, const char *path);
	int (*path_space)(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
	int (*path_files)(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
	int (*path_list)(struct world *w, const char *path, int (*each)(const char *, void *), void *context);
};

/* Every world begins with this. */
struct world {
	const struct world_ops *ops;
	const struct log *log;
	bool simulated;
	size_t stack_size;
	unsigned loop_count;
};
/* Every listener and every file of a world begins with these. */
struct listener {
	struct world *world;
	struct endpoint endpoint;
};
struct file {
	struct world *world;
};
