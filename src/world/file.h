/* Files and directories. Each call may block, so it takes care where it runs: in a fiber of an ordinary
 * loop it is carried out by the worker pool while the fiber sleeps; on a LOOP_BLOCKING loop, inside
 * world_offload and outside of loops it is carried out at once. None of them can be cancelled. All
 * return 0 (or a size) or -errno.
 *
 * A path is absolute or relative to the working directory; nothing here follows a symbolic link in the
 * last component when it creates. */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "world/world.h"

struct file;

enum file_flags {
	FILE_READ = 1,
	FILE_WRITE = 2,
	FILE_CREATE = 4,
	FILE_EXCLUSIVE = 8, /* with CREATE: -EEXIST when it is there */
	FILE_TRUNCATE = 16,
	FILE_APPEND = 32,
};
int file_open(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret);
void file_close(struct file *f); /* NULL is fine. Doesn't sync */
DEFINE_FREEP(struct file, file_close)

/* Bytes read, fewer only at the end of the file. Tries the page cache first, without the pool. */
ssize_t file_pread(struct file *f, void *data, size_t len, uint64_t offset);
/* Writes everything or fails; what a failed write left on the disk is undefined. */
int file_pwritev(struct file *f, const struct iovec *iov, int n, uint64_t offset);
/* Appends all of it (files opened with FILE_APPEND). */
int file_append(struct file *f, struct slice data);
int file_sync(struct file *f); /* fdatasync. After a failure the file is not to be trusted again */
/* The disk may begin with what was written there, so that a later sync has less to wait for. Promises nothing: only a
 * sync says whether it arrived. */
void file_write_behind(struct file *f, uint64_t offset, uint64_t len);
int file_size(struct file *f, uint64_t *ret);
int file_truncate(struct file *f, uint64_t size);
/* Reserves space, so that later writes below `size` can't fail for lack of it. -EOPNOTSUPP is harmless. */
int file_allocate(struct file *f, uint64_t size);
/* An exclusive lock that ends with the process. -EWOULDBLOCK when another process (or another open file
 * of this one) holds it. */
int file_lock(struct file *f);
/* The descriptor, for sendfile; -1 in a simulation. */
int file_fd(const struct file *f);

/* Reads a whole file of at most max bytes into a terminated string. -EFBIG when it is larger. */
int file_read_all(struct world *w, const char *path, size_t max, char **ret, size_t *ret_len);
/* Writes a temporary file beside it, syncs, renames it over path and syncs the directory. */
int file_write_atomically(struct world *w, const char *path, struct slice data, unsigned mode);

struct file_info {
	uint64_t size;
	wall_t modified;
	bool is_directory;
	unsigned mode, uid, gid;
};
int path_info(struct world *w, const char *path, struct file_info *ret); /* -ENOENT... */
int path_make_directory(struct world *w, const char *path, unsigned mode); /* -EEXIST as mkdir(2) */
int path_make_directories(struct world *w, const char *path, unsigned mode); /* with parents; fine when there */
/* The same, and afterwards the path survives a power cut, whoever made it and however far that came: every directory
 * above it is synced. Those that we may not read are others' and have stood before. */
int path_make_directories_durably(struct world *w, const char *path, unsigned mode);
int path_rename(struct world *w, const char *from, const char *to);
int path_link(struct world *w, const char *from, const char *to); /* hard link; -EEXIST */
int path_unlink(struct world *w, const char *path);
int path_sync_directory(struct world *w, const char *path);
/* Free space for an ordinary user, and the size of the file system, in bytes. */
int path_space(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
/* The same for files: how many more an ordinary user can make, and how many there can be; total 0: without limit. */
int path_files(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
/* Calls each(name, context) for every entry but . and .., in the order of the names; a non-zero return
 * ends the walk and is returned. */
int path_list(struct world *w, const char *path, int (*each)(const char *name, void *context), void *context);
