/* Where a file call runs: at once, or on the worker pool while the fiber sleeps. */
#include "world/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world/loop.h"

enum call {
	CALL_OPEN, CALL_PREAD, CALL_PWRITEV, CALL_APPEND, CALL_SYNC, CALL_WRITE_BEHIND, CALL_SIZE, CALL_TRUNCATE, CALL_ALLOCATE, CALL_LOCK,
	CALL_CLOSE, CALL_INFO, CALL_MKDIR, CALL_RENAME, CALL_LINK, CALL_UNLINK, CALL_SYNC_DIR, CALL_SPACE,
	CALL_FILES, CALL_LIST,
};

/* One call with all arguments that any of them has. */
struct request {
	enum call call;
	struct world *world;
	struct file *file, **ret_file;
	const char *path, *to;
	unsigned flags, mode;
	void *data;
	size_t len;
	const struct iovec *iov;
	int n_iov;
	uint64_t offset;
	uint64_t *ret_u64, *ret_u64_2;
	struct file_info *ret_info;
	int (*each)(const char *name, void *context);
	void *context;
	ssize_t result;
};

static ssize_t call_now(struct request *q)
{
	const struct world_ops *ops = q->world->ops;

	switch (q->call) {
	case CALL_OPEN: return ops->file_open(q->world, q->path, q->flags, q->mode, q->ret_file);
	case CALL_PREAD: return ops->file_pread(q->file, q->data, q->len, q->offset, false);
	case CALL_PWRITEV: return ops->file_pwritev(q->file, q->iov, q->n_iov, q->offset);
	case CALL_APPEND: return ops->file_append(q->file, slice_new(q->data, q->len));
	case CALL_SYNC: return ops->file_sync(q->file);
	case CALL_WRITE_BEHIND: ops->file_write_behind(q->file, q->offset, q->len); return 0;
	case CALL_SIZE: return ops->file_size(q->file, q->ret_u64);
	case CALL_TRUNCATE: return ops->file_truncate(q->file, q->offset);
	case CALL_ALLOCATE: return ops->file_allocate(q->file, q->offset);
	case CALL_LOCK: return ops->file_lock(q->file);
	case CALL_CLOSE: ops->file_close(q->file); return 0;
	case CALL_INFO: return ops->path_info(q->world, q->path, q->ret_info);
	case CALL_MKDIR: return ops->path_make_directory(q->world, q->path, q->mode);
	case CALL_RENAME: return ops->path_rename(q->world, q->path, q->to);
	case CALL_LINK: return ops->path_link(q->world, q->path, q->to);
	case CALL_UNLINK: return ops->path_unlink(q->world, q->path);
	case CALL_SYNC_DIR: return ops->path_sync_directory(q->world, q->path);
	case CALL_SPACE: return ops->path_space(q->world, q->path, q->ret_u64, q->ret_u64_2);
	case CALL_FILES: return ops->path_files(q->world, q->path, q->ret_u64, q->ret_u64_2);
	case CALL_LIST: return ops->path_list(q->world, q->path, q->each, q->context);
	}
	return -EINVAL;
}

static int call_in_worker(void *arg)
{
	struct request *q = arg;

	q->result = call_now(q);
	return 0;
}

static ssize_t carry_out(struct request *q)
{
	struct loop *l = loop_current();
	int r;

	if (l && l->flags & LOOP_BLOCKING)
		return call_now(q);
	r = world_offload(q->world, call_in_worker, q);
	return r < 0 ? r : q->result;
}

int file_open(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret)
{
	struct request q = { .call = CALL_OPEN, .world = w, .path = path, .flags = flags, .mode = mode, .ret_file = ret };

	return (int) carry_out(&q);
}

void file_close(struct file *f)
{
	struct request q = { .call = CALL_CLOSE };

	if (!f)
		return;
	q.world = f->world;
	q.file = f;
	if (carry_out(&q) < 0)
		(void) call_now(&q); /* no worker to be had: a close must not be lost */
}

ssize_t file_pread(struct file *f, void *data, size_t len, uint64_t offset)
{
	struct request q = { .call = CALL_PREAD, .world = f->world, .file = f, .data = data, .len = len, .offset = offset };
	struct loop *l = loop_current();

	if (l && l->running && !(l->flags & LOOP_BLOCKING)) {
		ssize_t n = f->world->ops->file_pread(f, data, len, offset, true);

		if (n != -EAGAIN)
			return n;
	}
	return carry_out(&q);
}

int file_pwritev(struct file *f, const struct iovec *iov, int n, uint64_t offset)
{
	struct request q = { .call = CALL_PWRITEV, .world = f->world, .file = f, .iov = iov, .n_iov = n, .offset = offset };

	return (int) carry_out(&q);
}

int file_append(struct file *f, struct slice data)
{
	struct request q = { .call = CALL_APPEND, .world = f->world, .file = f,
			     .data = (void *) (uintptr_t) data.data, .len = data.len };

	return (int) carry_out(&q);
}

int file_sync(struct file *f)
{
	struct request q = { .call = CALL_SYNC, .world = f->world, .file = f };

	return (int) carry_out(&q);
}

void file_write_behind(struct file *f, uint64_t offset, uint64_t len)
{
	struct request q = { .call = CALL_WRITE_BEHIND, .world = f->world, .file = f, .offset = offset, .len = len };

	if (f->world->ops->file_write_behind)
		(void) carry_out(&q);
}

int file_size(struct file *f, uint64_t *ret)
{
	struct request q = { .call = CALL_SIZE, .world = f->world, .file = f, .ret_u64 = ret };

	return (int) carry_out(&q);
}

int file_truncate(struct file *f, uint64_t size)
{
	struct request q = { .call = CALL_TRUNCATE, .world = f->world, .file = f, .offset = size };

	return (int) carry_out(&q);
}

int file_allocate(struct file *f, uint64_t size)
{
	struct request q = { .call = CALL_ALLOCATE, .world = f->world, .file = f, .offset = size };

	return (int) carry_out(&q);
}

int file_lock(struct file *f)
{
	struct request q = { .call = CALL_LOCK, .world = f->world, .file = f };

	return (int) carry_out(&q);
}

int file_fd(const struct file *f)
{
	return f->world->ops->file_fd(f);
}

int path_info(struct world *w, const char *path, struct file_info *ret)
{
	struct request q = { .call = CALL_INFO, .world = w, .path = path, .ret_info = ret };

	return (int) carry_out(&q);
}

int path_make_directory(struct world *w, const char *path, unsigned mode)
{
	struct request q = { .call = CALL_MKDIR, .world = w, .path = path, .mode = mode };

	return (int) carry_out(&q);
}

int path_make_directories(struct world *w, const char *path, unsigned mode)
{
	_cleanup_(freep) char *copy = strdup(path);
	struct file_info info;
	int r;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		r = path_make_directory(w, copy, mode);
		if (r < 0 && r != -EEXIST)
			return r;
		*p = c;
		if (c == '\0')
			break;
	}
	r = path_info(w, path, &info);
	if (r < 0)
		return r;
	return info.is_directory ? 0 : -ENOTDIR;
}

int path_make_directories_durably(struct world *w, const char *path, unsigned mode)
{
	_cleanup_(freep) char *above = strdup(path);
	char *slash;
	int r = above ? path_make_directories(w, path, mode) : -ENOMEM;

	while (r >= 0 && (slash = strrchr(above, '/')) && slash > above) {
		*slash = '\0';
		r = path_sync_directory(w, above);
		if (r == -EACCES || r == -EPERM)
			r = 0;
	}
	if (r >= 0)
		r = path_sync_directory(w, path[0] == '/' ? "/" : ".");
	return r == -EACCES || r == -EPERM ? 0 : r;
}

int path_rename(struct world *w, const char *from, const char *to)
{
	struct request q = { .call = CALL_RENAME, .world = w, .path = from, .to = to };

	return (int) carry_out(&q);
}

int path_link(struct world *w, const char *from, const char *to)
{
	struct request q = { .call = CALL_LINK, .world = w, .path = from, .to = to };

	return (int) carry_out(&q);
}

int path_unlink(struct world *w, const char *path)
{
	struct request q = { .call = CALL_UNLINK, .world = w, .path = path };

	return (int) carry_out(&q);
}

int path_sync_directory(struct world *w, const char *path)
{
	struct request q = { .call = CALL_SYNC_DIR, .world = w, .path = path };

	return (int) carry_out(&q);
}

int path_space(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	struct request q = { .call = CALL_SPACE, .world = w, .path = path, .ret_u64 = ret_free, .ret_u64_2 = ret_total };

	return (int) carry_out(&q);
}

int path_files(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	struct request q = { .call = CALL_FILES, .world = w, .path = path, .ret_u64 = ret_free, .ret_u64_2 = ret_total };

	return (int) carry_out(&q);
}

int path_list(struct world *w, const char *path, int (*each)(const char *, void *), void *context)
{
	struct request q = { .call = CALL_LIST, .world = w, .path = path, .each = each, .context = context };

	return (int) carry_out(&q);
}

int file_read_all(struct world *w, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_(file_closep) struct file *f = NULL;
	_cleanup_(freep) char *data = NULL;
	uint64_t size;
	size_t len = 0;
	ssize_t n;
	int r;

	r = file_open(w, path, FILE_READ, 0, &f);
	if (r < 0)
		return r;
	r = file_size(f, &size);
	if (r < 0)
		return r;
	if (size > max)
		return -EFBIG;
	data = malloc(size + 1);
	if (!data)
		return -ENOMEM;
	while (len < size && (n = file_pread(f, data + len, size - len, len)) != 0) {
		if (n < 0)
			return (int) n;
		len += (size_t) n;
	}
	data[len] = '\0';
	*ret = TAKE_PTR(data);
	*ret_len = len;
	return 0;
}

static int write_whole(struct world *w, const char *path, struct slice data, unsigned mode)
{
	_cleanup_(file_closep) struct file *f = NULL;
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data.data, .iov_len = data.len };
	int r = file_open(w, path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, mode, &f);

	if (r >= 0 && data.len > 0)
		r = file_pwritev(f, &iov, 1, 0);
	if (r >= 0)
		r = file_sync(f);
	return r;
}

int file_write_atomically(struct world *w, const char *path, struct slice data, unsigned mode)
{
	_cleanup_(freep) char *temporary = NULL, *directory = strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	int r;

	if (!directory || asprintf(&temporary, "%s.tmp", path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	r = write_whole(w, temporary, data, mode);
	if (r >= 0)
		r = path_rename(w, temporary, path);
	if (r < 0) {
		(void) path_unlink(w, temporary);
		return r;
	}
	if (slash == directory)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	return path_sync_directory(w, slash ? directory : ".");
}
