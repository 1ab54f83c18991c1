/* Files and directories of the real world. Every function here may block. */
#include "world/linux_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define IOV_AT_ONCE 1024

struct linux_file {
	struct file file;
	int fd;
};

static int fd_of(const struct file *f)
{
	return container_of(f, const struct linux_file, file)->fd;
}

static int open_file(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret)
{
	struct linux_file *f;
	int how = O_CLOEXEC, fd;

	how |= flags & FILE_WRITE ? (flags & FILE_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
	if (flags & FILE_CREATE)
		how |= O_CREAT | O_NOFOLLOW;
	if (flags & FILE_EXCLUSIVE)
		how |= O_EXCL;
	if (flags & FILE_TRUNCATE)
		how |= O_TRUNC;
	if (flags & FILE_APPEND)
		how |= O_APPEND;
	fd = open(path, how, (mode_t) mode);
	if (fd < 0)
		return -errno;
	f = calloc(1, sizeof(*f));
	if (!f) {
		(void) close(fd);
		return -ENOMEM;
	}
	f->file.world = w;
	f->fd = fd;
	*ret = &f->file;
	return 0;
}

static void close_file(struct file *f)
{
	(void) close(fd_of(f));
	free(container_of(f, struct linux_file, file));
}

/* nowait: only what is in the page cache, -EAGAIN for the rest. */
static ssize_t pread_file(struct file *f, void *data, size_t len, uint64_t offset, bool nowait)
{
	struct iovec iov = { .iov_base = data, .iov_len = len };
	size_t done = 0;

	while (done < len) {
		ssize_t n;

		iov.iov_base = (char *) data + done;
		iov.iov_len = len - done;
		n = preadv2(fd_of(f), &iov, 1, (off_t) (offset + done), nowait ? RWF_NOWAIT : 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && nowait && (errno == EOPNOTSUPP || errno == EAGAIN))
			return -EAGAIN;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t) n;
	}
	return (ssize_t) done;
}

/* offset < 0: append. */
static int write_all(int fd, const struct iovec *iov, int n, off_t offset)
{
	size_t skip = 0; /* of the first element: written already */

	while (n > 0) {
		struct iovec first = { .iov_base = (char *) iov->iov_base + skip, .iov_len = iov->iov_len - skip };
		ssize_t written;

		if (first.iov_len == 0) {
			iov++;
			n--;
			skip = 0;
			continue;
		}
		if (skip > 0 || n == 1)
			written = offset < 0 ? writev(fd, &first, 1) : pwritev(fd, &first, 1, offset);
		else
			written = offset < 0 ? writev(fd, iov, MIN(n, IOV_AT_ONCE))
					     : pwritev(fd, iov, MIN(n, IOV_AT_ONCE), offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		if (written == 0)
			return -EIO;
		if (offset >= 0)
			offset += written;
		skip += (size_t) written;
		while (n > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			n--;
		}
	}
	return 0;
}

static int pwritev_file(struct file *f, const struct iovec *iov, int n, uint64_t offset)
{
	return write_all(fd_of(f), iov, n, (off_t) offset);
}

static int append_file(struct file *f, struct slice data)
{
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data.data, .iov_len = data.len };

	return write_all(fd_of(f), &iov, 1, -1);
}

static int sync_file(struct file *f)
{
	return fdatasync(fd_of(f)) < 0 ? -errno : 0;
}

/* Neither waits for the writing nor takes note of its errors: those are left for the sync. */
static void write_behind(struct file *f, uint64_t offset, uint64_t len)
{
	(void) sync_file_range(fd_of(f), (off_t) offset, (off_t) len, SYNC_FILE_RANGE_WRITE);
}

static int size_of_file(struct file *f, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd_of(f), &st) < 0)
		return -errno;
	*ret = (uint64_t) st.st_size;
	return 0;
}

static int truncate_file(struct file *f, uint64_t size)
{
	return ftruncate(fd_of(f), (off_t) size) < 0 ? -errno : 0;
}

static int allocate_file(struct file *f, uint64_t size)
{
	return fallocate(fd_of(f), FALLOC_FL_KEEP_SIZE, 0, (off_t) size) < 0 ? -errno : 0;
}

static int lock_file(struct file *f)
{
	return flock(fd_of(f), LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int descriptor(const struct file *f)
{
	return fd_of(f);
}

static int info_of_path(struct world *w, const char *path, struct file_info *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	*ret = (struct file_info) {
		.size = (uint64_t) st.st_size,
		.modified = (wall_t) st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000,
		.is_directory = S_ISDIR(st.st_mode),
		.mode = st.st_mode & 07777,
		.uid = st.st_uid,
		.gid = st.st_gid,
	};
	return 0;
}

static int make_directory(struct world *w, const char *path, unsigned mode)
{
	return mkdir(path, (mode_t) mode) < 0 ? -errno : 0;
}

static int rename_path(struct world *w, const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

static int link_path(struct world *w, const char *from, const char *to)
{
	return link(from, to) < 0 ? -errno : 0;
}

static int unlink_path(struct world *w, const char *path)
{
	return unlink(path) < 0 ? -errno : 0;
}

static int sync_directory(struct world *w, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	(void) close(fd);
	return r;
}

static int space_of_path(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return -errno;
	*ret_free = (uint64_t) st.f_bavail * st.f_frsize;
	*ret_total = (uint64_t) st.f_blocks * st.f_frsize;
	return 0;
}

static int files_of_path(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return -errno;
	*ret_free = st.f_favail;
	*ret_total = st.f_files;
	return 0;
}

static int list_path(struct world *w, const char *path, int (*each)(const char *, void *), void *context)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort), r = 0;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;

		if (r == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			r = each(name, context);
		free(entries[i]);
	}
	free(entries);
	return r;
}

void linux_file_ops(struct world_ops *ops)
{
	ops->file_open = open_file;
	ops->file_close = close_file;
	ops->file_pread = pread_file;
	ops->file_pwritev = pwritev_file;
	ops->file_append = append_file;
	ops->file_sync = sync_file;
	ops->file_write_behind = write_behind;
	ops->file_size = size_of_file;
	ops->file_truncate = truncate_file;
	ops->file_allocate = allocate_file;
	ops->file_lock = lock_file;
	ops->file_fd = descriptor;
	ops->path_info = info_of_path;
	ops->path_make_directory = make_directory;
	ops->path_rename = rename_path;
	ops->path_link = link_path;
	ops->path_unlink = unlink_path;
	ops->path_sync_directory = sync_directory;
	ops->path_space = space_of_path;
	ops->path_files = files_of_path;
	ops->path_list = list_path;
}
