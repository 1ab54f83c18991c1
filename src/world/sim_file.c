/* The file calls of a simulated world: each takes a little time in a fiber, may be made to fail, and may be
 * the one in which the power goes. */
#include <stdlib.h>
#include <string.h>

#include "world/sim_impl.h"

#define LARGEST_FILE (UINT64_C(1) << 40)
#define UNLIMITED_SPACE (UINT64_C(1) << 42) /* what path_space says of a disk without a capacity */

/* --- faults --------------------------------------------------------------------------------------- */

struct fault {
	struct link link; /* on host->faults */
	struct sim_fault f;
	uint64_t seen, failed;
	char *path;
};

void sim_host_add_fault(struct sim_host *h, const struct sim_fault *f)
{
	struct fault *x = sim_zalloc(sizeof(*x));

	assert(f->error < 0);
	x->f = *f;
	x->path = f->path ? sim_strdup(f->path) : NULL;
	list_append(&h->faults, &x->link);
}

void sim_faults_clear(struct sim_host *h)
{
	struct link *k;

	while ((k = list_pop(&h->faults))) {
		struct fault *x = container_of(k, struct fault, link);

		free(x->path);
		free(x);
	}
}

void sim_host_clear_faults(struct sim_host *h)
{
	sim_faults_clear(h);
}

static int injected(struct sim_host *h, enum sim_disk_op op, const char *path)
{
	for (LIST_EACH(&h->faults, k)) {
		struct fault *x = container_of(k, struct fault, link);

		if (!(x->f.ops & op) || (x->path && !strstr(path, x->path)))
			continue;
		if (x->seen++ < x->f.skip || (x->f.times > 0 && x->failed >= x->f.times))
			continue;
		if (x->f.per_mille > 0 && !sim_chance(h->sim, x->f.per_mille))
			continue;
		x->failed++;
		return x->f.error;
	}
	return 0;
}

/* --- the frame of every call ---------------------------------------------------------------------- */

struct op {
	struct sim_world *world;
	struct sim_disk *disk;
	int fault;       /* what it is to fail with */
	bool crash_after; /* the power goes when it is done */
};

/* The time it takes passes first, so that what it sees and does is of the moment of its return. */
static int op_begin(struct op *o, struct world *w, enum sim_disk_op kind, const char *path)
{
	struct sim_world *sw = sim_world_of(w);
	struct sim_host *h = sw->host;
	usec_t least = kind == SIM_SYNC || kind == SIM_SYNC_DIRECTORY ? h->sync_time : h->call_time;

	*o = (struct op) { .world = sw, .disk = h->disk };
	if (sw->dead)
		return -EIO;
	sim_pause(sw, least + sim_below(sw->sim, least + 1));
	if (sw->dead)
		return -EIO;
	sim_trace(sw->sim, h, "disk", kind, sim_digest(path, strlen(path)));
	if (kind & SIM_CHANGES) {
		h->changes++;
		if (h->changes == h->crash_at) {
			o->crash_after = sim_below(sw->sim, 2) != 0;
			if (!o->crash_after) {
				sim_host_crash(h);
				return -EIO;
			}
		}
	}
	o->fault = injected(h, kind, path);
	if (o->fault)
		sim_trace(sw->sim, h, "fault", kind, (uint64_t) -o->fault);
	return 0;
}

/* r: what the call would return. */
static ssize_t op_end(struct op *o, ssize_t r)
{
	if (!o->crash_after)
		return r;
	sim_host_crash(o->world->host);
	return -EIO;
}

/* For calls that do nothing at all when they are made to fail. */
static int op_begin_or_fail(struct op *o, struct world *w, enum sim_disk_op kind, const char *path)
{
	int r = op_begin(o, w, kind, path);

	return r >= 0 && o->fault ? (int) op_end(o, o->fault) : r;
}

static wall_t op_wall(const struct op *o)
{
	return world_wall(&o->world->base);
}

/* --- open and close ------------------------------------------------------------------------------- */

static struct sim_file *file_of(const struct file *f)
{
	struct sim_file *sf = container_of(f, struct sim_file, base);

	CHECK_MAGIC(sf, SIM_FILE_MAGIC);
	return sf;
}

static int create_file(struct op *o, const char *path, unsigned mode, struct sim_inode **ret)
{
	char name[SIM_NAME_MAX];
	struct sim_inode *dir, *i;
	int r = sim_disk_find_parent(o->disk, path, &dir, name);

	if (r < 0)
		return r;
	if (sim_disk_full(o->disk))
		return -ENOSPC;
	i = sim_inode_new(o->disk, false, mode, op_wall(o));
	sim_disk_change(o->disk, NULL, NULL, dir, name, i);
	sim_inode_unref(o->disk, i); /* the name holds it now */
	*ret = i;
	return 0;
}

static int find_or_create(struct op *o, const char *path, unsigned flags, unsigned mode, struct sim_inode **ret)
{
	struct sim_inode *i;
	int r = sim_disk_find(o->disk, path, &i);

	if (r == -ENOENT && (flags & FILE_CREATE))
		return create_file(o, path, mode, ret);
	if (r < 0)
		return r;
	if ((flags & FILE_CREATE) && (flags & FILE_EXCLUSIVE))
		return -EEXIST;
	if (i->directory)
		return -EISDIR;
	if ((flags & FILE_TRUNCATE) && (flags & FILE_WRITE))
		r = sim_inode_truncate(o->disk, i, 0);
	*ret = i;
	return r;
}

int sim_file_open(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret)
{
	struct sim_inode *i = NULL;
	struct sim_file *f;
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_OPEN, path);

	if (r < 0)
		return r;
	r = find_or_create(&o, path, flags, mode, &i);
	if (r >= 0 && o.crash_after)
		r = -EIO;
	if (r < 0)
		return (int) op_end(&o, r);
	f = sim_zalloc(sizeof(*f));
	f->base.world = w;
	f->magic = SIM_FILE_MAGIC;
	f->world = o.world;
	f->inode = i;
	f->flags = flags;
	f->path = sim_strdup(path);
	i->refs++;
	i->handles++;
	sim_inode_charge(o.disk, i);
	list_append(&o.world->files, &f->link);
	*ret = &f->base;
	return 0;
}

static void drop_handle(struct sim_file *f)
{
	struct sim_inode *i = f->inode;

	if (i->lock == f)
		i->lock = NULL;
	i->handles--;
	sim_inode_charge(f->world->host->disk, i);
}

void sim_file_close(struct file *base)
{
	struct sim_file *f = file_of(base);

	if (!f->world->dead)
		drop_handle(f);
	sim_inode_unref(f->world->host->disk, f->inode);
	link_remove(&f->link);
	f->magic = 0;
	free(f->path);
	free(f);
}

/* The kernel closes what a process had open: its locks end. */
void sim_file_world_died(struct sim_world *w)
{
	for (LIST_EACH(&w->files, k))
		drop_handle(container_of(k, struct sim_file, link));
}

/* --- reading and writing -------------------------------------------------------------------------- */

ssize_t sim_file_pread(struct file *base, void *data, size_t len, uint64_t offset, bool nowait)
{
	struct sim_file *f = file_of(base);
	struct op o = { .world = f->world };
	size_t n = 0;
	int r;

	if (nowait && !f->world->dead && sim_below(f->world->sim, 4) == 0)
		return -EAGAIN; /* not in the page cache */
	if (nowait && !f->world->dead)
		r = injected(f->world->host, SIM_READ, f->path);
	else
		r = op_begin_or_fail(&o, base->world, SIM_READ, f->path);
	if (r < 0)
		return r;
	if (f->world->dead)
		return -EIO;
	if (!(f->flags & FILE_READ))
		return -EBADF;
	if (offset < f->inode->size)
		n = (size_t) MIN((uint64_t) len, f->inode->size - offset);
	if (n > 0)
		memcpy(data, f->inode->data + offset, n);
	return op_end(&o, (ssize_t) n);
}

static size_t iov_total(const struct iovec *iov, int n)
{
	size_t total = 0;

	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

static char *flatten(const struct iovec *iov, int n, size_t total)
{
	char *data = sim_zalloc(total);
	size_t len = 0;

	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > 0)
			memcpy(data + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return data;
}

/* One call of the kernel, which may take only a part. Returns how many bytes it took. */
static ssize_t write_some(struct sim_file *f, struct slice data, uint64_t offset, bool append)
{
	size_t most = data.len, taken;
	struct op o;
	int r = op_begin(&o, f->base.world, SIM_WRITE, f->path);

	if (r < 0)
		return r;
	if (!(f->flags & FILE_WRITE))
		return op_end(&o, -EBADF);
	if (append)
		offset = f->inode->size;
	if (data.len > LARGEST_FILE || offset > LARGEST_FILE - data.len)
		return op_end(&o, -EFBIG);
	if (o.fault)
		most = (size_t) sim_below(o.world->sim, data.len + 1);
	else if (data.len > 1 && sim_chance(o.world->sim, o.world->host->short_writes))
		most = 1 + (size_t) sim_below(o.world->sim, data.len - 1);
	sim_trace(o.world->sim, o.world->host, "write", offset, sim_digest(data.data, most));
	f->inode->modified = op_wall(&o);
	taken = sim_inode_write(o.disk, f->inode, offset, data.data, most);
	if (taken < most && !o.fault)
		return op_end(&o, -ENOSPC);
	return op_end(&o, o.fault ? o.fault : (ssize_t) taken);
}

/* All of it, as a program does that goes on after a short write. */
static int write_at(struct sim_file *f, const struct iovec *iov, int n, uint64_t offset, bool append)
{
	size_t total = iov_total(iov, n), done = 0;
	_cleanup_(freep) char *data = flatten(iov, n, total);

	append |= (f->flags & FILE_APPEND) != 0;
	do {
		ssize_t r = write_some(f, slice_new(data + done, total - done), offset + done, append);

		if (r < 0)
			return (int) r;
		done += (size_t) r;
	} while (done < total);
	return 0;
}

int sim_file_pwritev(struct file *base, const struct iovec *iov, int n, uint64_t offset)
{
	return write_at(file_of(base), iov, n, offset, false);
}

int sim_file_append(struct file *base, struct slice data)
{
	struct iovec iov = { .iov_base = (void *) (uintptr_t) data.data, .iov_len = data.len };

	return write_at(file_of(base), &iov, 1, 0, true);
}

int sim_file_sync(struct file *base)
{
	struct sim_file *f = file_of(base);
	uint64_t up_to = f->world->host->disk->number; /* what is written while it runs is not of this sync */
	struct op o;
	int r = op_begin(&o, base->world, SIM_SYNC, f->path);

	if (r < 0)
		return r;
	if (o.fault)
		sim_inode_sync_failed(f->inode, up_to);
	else
		sim_inode_synced(f->inode, up_to);
	return (int) op_end(&o, o.fault);
}

int sim_file_size(struct file *base, uint64_t *ret)
{
	struct sim_file *f = file_of(base);
	struct op o;
	int r = op_begin_or_fail(&o, base->world, SIM_INFO, f->path);

	if (r >= 0)
		*ret = f->inode->size;
	return r;
}

int sim_file_truncate(struct file *base, uint64_t size)
{
	struct sim_file *f = file_of(base);
	struct op o;
	int r = op_begin_or_fail(&o, base->world, SIM_TRUNCATE, f->path);

	if (r < 0)
		return r;
	if (!(f->flags & FILE_WRITE))
		r = -EINVAL;
	else if (size > LARGEST_FILE)
		r = -EFBIG;
	else
		r = sim_inode_truncate(o.disk, f->inode, size);
	return (int) op_end(&o, r);
}

int sim_file_allocate(struct file *base, uint64_t size)
{
	struct sim_file *f = file_of(base);
	struct op o;
	int r = op_begin_or_fail(&o, base->world, SIM_ALLOCATE, f->path);

	if (r < 0)
		return r;
	if (!(f->flags & FILE_WRITE))
		r = -EBADF;
	else if (size > LARGEST_FILE)
		r = -EFBIG;
	else
		r = sim_inode_allocate(o.disk, f->inode, size);
	return (int) op_end(&o, r);
}

int sim_file_lock(struct file *base)
{
	struct sim_file *f = file_of(base);
	struct op o;
	int r = op_begin_or_fail(&o, base->world, SIM_LOCK, f->path);

	if (r < 0)
		return r;
	if (f->inode->lock && f->inode->lock != f)
		return -EWOULDBLOCK;
	f->inode->lock = f;
	return 0;
}

int sim_file_fd(const struct file *f)
{
	return -1;
}

/* --- paths ---------------------------------------------------------------------------------------- */

int sim_path_info(struct world *w, const char *path, struct file_info *ret)
{
	struct sim_inode *i;
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_INFO, path);

	if (r >= 0)
		r = sim_disk_find(o.disk, path, &i);
	if (r < 0)
		return r;
	*ret = (struct file_info) {
		.size = i->size,
		.modified = i->modified,
		.is_directory = i->directory,
		.mode = i->mode,
	};
	return 0;
}

static int make_directory(struct op *o, const char *path, unsigned mode)
{
	char name[SIM_NAME_MAX];
	struct sim_inode *dir, *i;
	int r = sim_disk_find(o->disk, path, &i);

	if (r >= 0)
		return -EEXIST;
	r = sim_disk_find_parent(o->disk, path, &dir, name);
	if (r < 0)
		return r;
	if (sim_disk_full(o->disk))
		return -ENOSPC;
	i = sim_inode_new(o->disk, true, mode, op_wall(o));
	sim_disk_change(o->disk, NULL, NULL, dir, name, i);
	sim_inode_unref(o->disk, i);
	return 0;
}

int sim_path_make_directory(struct world *w, const char *path, unsigned mode)
{
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_MAKE_DIRECTORY, path);

	return r < 0 ? r : (int) op_end(&o, make_directory(&o, path, mode));
}

/* May `what` take the place of `there`? 1: they are one file, and nothing is to be done. */
static int check_replace(const struct sim_inode *what, const struct sim_inode *there, const struct sim_inode *into)
{
	if (what->directory && sim_inode_contains(what, into))
		return -EINVAL;
	if (!there)
		return 0;
	if (there == what)
		return 1;
	if (there->directory && !what->directory)
		return -EISDIR;
	if (!there->directory && what->directory)
		return -ENOTDIR;
	return there->directory && there->live.len > 0 ? -ENOTEMPTY : 0;
}

static int rename_path(struct op *o, const char *from, const char *to)
{
	char from_name[SIM_NAME_MAX], to_name[SIM_NAME_MAX];
	struct sim_inode *from_dir, *to_dir, *what;
	int r = sim_disk_find_parent(o->disk, from, &from_dir, from_name);

	if (r >= 0)
		r = sim_disk_find_parent(o->disk, to, &to_dir, to_name);
	if (r < 0)
		return r;
	what = sim_names_find(&from_dir->live, from_name);
	if (!what)
		return -ENOENT;
	r = check_replace(what, sim_names_find(&to_dir->live, to_name), to_dir);
	if (r < 0)
		return r;
	if (r == 0)
		sim_disk_change(o->disk, from_dir, from_name, to_dir, to_name, what);
	return 0;
}

int sim_path_rename(struct world *w, const char *from, const char *to)
{
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_RENAME, from);

	return r < 0 ? r : (int) op_end(&o, rename_path(&o, from, to));
}

static int link_path(struct op *o, const char *from, const char *to)
{
	char name[SIM_NAME_MAX];
	struct sim_inode *what, *dir;
	int r = sim_disk_find(o->disk, from, &what);

	if (r >= 0)
		r = sim_disk_find_parent(o->disk, to, &dir, name);
	if (r < 0)
		return r;
	if (what->directory)
		return -EPERM;
	if (sim_names_find(&dir->live, name))
		return -EEXIST;
	sim_disk_change(o->disk, NULL, NULL, dir, name, what);
	return 0;
}

int sim_path_link(struct world *w, const char *from, const char *to)
{
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_LINK, to);

	return r < 0 ? r : (int) op_end(&o, link_path(&o, from, to));
}

static int unlink_path(struct op *o, const char *path)
{
	char name[SIM_NAME_MAX];
	struct sim_inode *dir, *i;
	int r = sim_disk_find_parent(o->disk, path, &dir, name);

	if (r < 0)
		return r;
	i = sim_names_find(&dir->live, name);
	if (!i)
		return -ENOENT;
	if (i->directory)
		return -EISDIR;
	sim_disk_change(o->disk, dir, name, NULL, NULL, NULL);
	return 0;
}

int sim_path_unlink(struct world *w, const char *path)
{
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_UNLINK, path);

	return r < 0 ? r : (int) op_end(&o, unlink_path(&o, path));
}

int sim_path_sync_directory(struct world *w, const char *path)
{
	uint64_t up_to = sim_world_of(w)->host->disk->number;
	struct sim_inode *i;
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_SYNC_DIRECTORY, path);

	if (r < 0)
		return r;
	r = sim_disk_find(o.disk, path, &i);
	if (r >= 0 && !i->directory)
		r = -ENOTDIR;
	if (r >= 0)
		sim_disk_sync_directory(o.disk, i, up_to);
	return (int) op_end(&o, r);
}

int sim_path_space(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	struct sim_inode *i;
	struct op o;
	int r = op_begin_or_fail(&o, w, SIM_INFO, path);

	if (r >= 0)
		r = sim_disk_find(o.disk, path, &i);
	if (r < 0)
		return r;
	*ret_total = o.disk->capacity ? o.disk->capacity : UNLIMITED_SPACE;
	*ret_free = *ret_total > o.disk->used ? *ret_total - o.disk->used : 0;
	return 0;
}

int sim_path_files(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
	*ret_free = *ret_total = 0;
	return 0;
}

/* The names as they are now: what `each` does may change the directory. */
static size_t copy_names(const struct sim_names *n, char ***ret)
{
	char **names = sim_zalloc(n->len * sizeof(*names));

	for (size_t i = 0; i < n->len; i++)
		names[i] = sim_strdup(n->list[i].name);
	*ret = names;
	return n->len;
}

int sim_path_list(struct world *w, const char *path, int (*each)(const char *, void *), void *context)
{
	struct sim_inode *i;
	struct op o;
	char **names;
	size_t n;
	int r = op_begin_or_fail(&o, w, SIM_INFO, path);

	if (r >= 0)
		r = sim_disk_find(o.disk, path, &i);
	if (r >= 0 && !i->directory)
		r = -ENOTDIR;
	if (r < 0)
		return r;
	n = copy_names(&i->live, &names);
	for (size_t k = 0; k < n; k++) {
		if (r == 0)
			r = each(names[k], context);
		free(names[k]);
	}
	free(names);
	return r;
}
