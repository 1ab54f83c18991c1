/* LD_PRELOAD: writes down everything that a process does to the files below one directory, in the order in which it
 * happens, so that a power cut at any moment can be played afterwards (tests/e2e/disk.py).
 *
 *	YIZHAN_RECORD=FILE         where the record goes (appended)
 *	YIZHAN_RECORD_ROOT=DIR     what is recorded: files and directories at or below it, by absolute path
 *	YIZHAN_RECORD_DELAY=USEC   each sync takes up to so much longer, as on a disk (0)
 *	YIZHAN_RECORD_KILL=N       the process kills itself when it has recorded so many things
 *
 * One mutex is held around each change and its line in the record, so the order is that of the disk, and a process
 * that kills itself dies between two changes, not inside of one. Syncs run beside all that: their begin and their end
 * are two lines, and what was done before the begin is safe at the end. The moments that a test needs stand in the
 * same order: "queued as" that goes out on a socket is written down before it is sent, and "250 2.0.0 taken" that
 * comes in after it was received.
 *
 * Calls that this file does not know would go unseen; the test therefore compares what the record says with what the
 * directory really holds. It is linked with nothing of Yizhan and works with any program. */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 4096
#define LOG_FD 4000 /* out of the way of the program's own descriptors */
#define SYSCALL_IOV 1024

enum kind {
	KIND_START = 'S',     /* a process begins: nothing is open */
	KIND_OPEN = 'o',      /* fd, a: flags; the path */
	KIND_CLOSE = 'c',     /* fd */
	KIND_WRITE = 'w',     /* fd, a: offset, or -1: at the end; the bytes */
	KIND_TRUNCATE = 't',  /* fd, a: size */
	KIND_ALLOCATE = 'a',  /* fd, a: size, b: mode */
	KIND_RENAME = 'r',    /* two paths with a NUL between them */
	KIND_LINK = 'l',
	KIND_UNLINK = 'u',
	KIND_RMDIR = 'd',
	KIND_MKDIR = 'm',
	KIND_SYNC_BEGIN = 'b', /* fd, a: number of this sync, b: 1 for fsync, 0 for fdatasync */
	KIND_SYNC_END = 'e',   /* fd, a: its number */
	KIND_SENT = 'q',       /* a line that is about to go out on a socket */
	KIND_RECEIVED = 'p',   /* a line that came in */
};

struct line {
	uint32_t length; /* of what follows this struct */
	uint32_t kind;
	uint64_t sequence, nanoseconds;
	int64_t fd, a, b;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int state; /* 0: nothing was asked so far, 1: begin runs, 2: it has run */
static char root[1024];
static size_t root_length;
static unsigned delay;
static uint64_t sequence, kill_at, syncs;
static int log_fd = -1;
static unsigned char followed[FDS]; /* descriptors of ours */

#define REAL(name) ((__typeof__(&(name))) real(#name))
static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

/* With the mutex. */
static void put(enum kind kind, int64_t fd, int64_t a, int64_t b, const struct iovec *data, int n, size_t length)
{
	static struct iovec iov[1 + SYSCALL_IOV]; /* the stacks of fibers are small */
	struct timespec t;
	struct line l = { .length = (uint32_t) length, .kind = kind, .sequence = ++sequence, .fd = fd, .a = a, .b = b };
	size_t left = length;
	int used = 1;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	l.nanoseconds = (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
	iov[0] = (struct iovec) { &l, sizeof(l) };
	for (int i = 0; i < n && left > 0 && used <= SYSCALL_IOV - 1; i++) {
		iov[used] = data[i];
		if (iov[used].iov_len > left)
			iov[used].iov_len = left;
		left -= iov[used++].iov_len;
	}
	if (left > 0 || syscall(SYS_writev, log_fd, iov, used) != (long) (sizeof(l) + length))
		abort(); /* a record with holes proves nothing */
	if (kill_at > 0 && sequence >= kill_at)
		(void) syscall(SYS_kill, getpid(), SIGKILL);
}

static void put_text(enum kind kind, int64_t fd, int64_t a, const char *text, size_t length)
{
	struct iovec iov = { (void *) (uintptr_t) text, length };

	put(kind, fd, a, 0, &iov, 1, length);
}

static void begin(void)
{
	const char *to = getenv("YIZHAN_RECORD"), *below = getenv("YIZHAN_RECORD_ROOT");
	const char *slower = getenv("YIZHAN_RECORD_DELAY"), *end = getenv("YIZHAN_RECORD_KILL");
	int fd;

	if (!to || !below || strlen(below) >= sizeof(root))
		return;
	fd = (int) syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	log_fd = (int) syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOG_FD);
	if (log_fd < 0)
		log_fd = fd;
	else
		(void) syscall(SYS_close, fd);
	strcpy(root, below);
	root_length = strlen(root);
	delay = slower ? (unsigned) atoi(slower) : 0;
	kill_at = end ? strtoull(end, NULL, 10) : 0;
	put(KIND_START, getpid(), 0, 0, NULL, 0, 0);
}

static int recording(void)
{
	int before = 0;

	/* ThreadSanitizer makes a directory before there is an environment, and before it is ready for a pthread_once. */
	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == 2 || !environ)
		return log_fd >= 0;
	if (__atomic_compare_exchange_n(&state, &before, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		begin();
		__atomic_store_n(&state, 2, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 2)
		(void) sched_yield();
	return log_fd >= 0;
}

static int ours(const char *path)
{
	return recording() && strncmp(path, root, root_length) == 0 &&
	       (path[root_length] == '/' || path[root_length] == '\0');
}

static int follows(int fd)
{
	return fd >= 0 && fd < FDS && followed[fd] && recording();
}

static void take(void) { (void) pthread_mutex_lock(&lock); }
static void give(void) { (void) pthread_mutex_unlock(&lock); }

/* --- opening --------------------------------------------------------------------------------------------- */

static int open_ours(const char *path, int flags, mode_t mode)
{
	int fd;

	take();
	fd = (int) syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (fd >= FDS)
		abort();
	if (fd >= 0) {
		followed[fd] = 1;
		put_text(KIND_OPEN, fd, flags, path, strlen(path));
	}
	give();
	return fd;
}

static mode_t mode_of(int flags, va_list args)
{
	return flags & (O_CREAT | __O_TMPFILE) ? (mode_t) va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return ours(path) ? open_ours(path, flags, mode) : REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return ours(path) ? open_ours(path, flags | O_LARGEFILE, mode) : REAL(open64)(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return ours(path) ? open_ours(path, flags, mode) : REAL(openat)(dir, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
	return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
	int r;

	if (!follows(fd))
		return REAL(close)(fd);
	take();
	followed[fd] = 0;
	put(KIND_CLOSE, fd, 0, 0, NULL, 0, 0);
	r = (int) syscall(SYS_close, fd);
	give();
	return r;
}

/* --- writing --------------------------------------------------------------------------------------------- */

static ssize_t written(int fd, const struct iovec *iov, int n, int64_t offset)
{
	ssize_t r;

	take();
	r = offset < 0 ? syscall(SYS_writev, fd, iov, n) : syscall(SYS_pwritev, fd, iov, (long) n, (long) offset, 0L);
	if (r > 0)
		put(KIND_WRITE, fd, offset, 0, iov, n, (size_t) r);
	give();
	return r;
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	return follows(fd) ? written(fd, iov, n, offset) : REAL(pwritev)(fd, iov, n, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
	return follows(fd) ? written(fd, iov, n, offset) : REAL(pwritev64)(fd, iov, n, offset);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	return follows(fd) ? written(fd, iov, n, offset) : REAL(pwritev2)(fd, iov, n, offset, flags);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	struct iovec iov = { (void *) (uintptr_t) data, length };

	return follows(fd) ? written(fd, &iov, 1, offset) : REAL(pwrite)(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return pwrite(fd, data, length, offset);
}

int ftruncate(int fd, off_t size)
{
	int r;

	if (!follows(fd))
		return REAL(ftruncate)(fd, size);
	take();
	r = (int) syscall(SYS_ftruncate, fd, size);
	if (r == 0)
		put(KIND_TRUNCATE, fd, size, 0, NULL, 0, 0);
	give();
	return r;
}

int ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	int r;

	if (!follows(fd))
		return REAL(fallocate)(fd, mode, offset, length);
	take();
	r = (int) syscall(SYS_fallocate, fd, mode, offset, length);
	if (r == 0)
		put(KIND_ALLOCATE, fd, offset + length, mode, NULL, 0, 0);
	give();
	return r;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	return fallocate(fd, mode, offset, length);
}

/* --- syncing --------------------------------------------------------------------------------------------- */

static int synced(int fd, long call, int64_t kind)
{
	int64_t number;
	unsigned wait;
	int r, error;

	take();
	number = (int64_t) ++syncs;
	put(KIND_SYNC_BEGIN, fd, number, kind, NULL, 0, 0);
	wait = delay > 0 ? (unsigned) (((uint64_t) number * 2654435761u >> 7) % delay) : 0;
	give();
	if (wait > 0) {
		struct timespec t = { .tv_nsec = (long) (wait % 1000000) * 1000 };

		(void) syscall(SYS_nanosleep, &t, NULL);
	}
	r = (int) syscall(call, fd);
	error = errno;
	if (r == 0) {
		take();
		put(KIND_SYNC_END, fd, number, kind, NULL, 0, 0);
		give();
	}
	errno = error;
	return r;
}

int fsync(int fd)
{
	return follows(fd) ? synced(fd, SYS_fsync, 1) : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return follows(fd) ? synced(fd, SYS_fdatasync, 0) : REAL(fdatasync)(fd);
}

/* --- names ----------------------------------------------------------------------------------------------- */

static int two_names(enum kind kind, long call, const char *from, const char *to)
{
	struct iovec iov[2] = { { (void *) (uintptr_t) from, strlen(from) + 1 }, { (void *) (uintptr_t) to, strlen(to) } };
	int r;

	take();
	r = (int) (call == SYS_linkat ? syscall(call, AT_FDCWD, from, AT_FDCWD, to, 0)
				      : syscall(call, AT_FDCWD, from, AT_FDCWD, to));
	if (r == 0)
		put(kind, -1, 0, 0, iov, 2, iov[0].iov_len + iov[1].iov_len);
	give();
	return r;
}

int rename(const char *from, const char *to)
{
	return ours(from) || ours(to) ? two_names(KIND_RENAME, SYS_renameat, from, to) : REAL(rename)(from, to);
}

int link(const char *from, const char *to)
{
	return ours(from) || ours(to) ? two_names(KIND_LINK, SYS_linkat, from, to) : REAL(link)(from, to);
}

int unlink(const char *path)
{
	int r;

	if (!ours(path))
		return REAL(unlink)(path);
	take();
	r = (int) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
	if (r == 0)
		put_text(KIND_UNLINK, -1, 0, path, strlen(path));
	give();
	return r;
}

int rmdir(const char *path)
{
	int r;

	if (!ours(path))
		return REAL(rmdir)(path);
	take();
	r = (int) syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	if (r == 0)
		put_text(KIND_RMDIR, -1, 0, path, strlen(path));
	give();
	return r;
}

int mkdir(const char *path, mode_t mode)
{
	int r;

	if (!ours(path))
		return REAL(mkdir)(path, mode);
	take();
	r = (int) syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (r == 0)
		put_text(KIND_MKDIR, -1, 0, path, strlen(path));
	give();
	return r;
}

/* --- what is said on sockets ------------------------------------------------------------------------------- */

static void lines_with(enum kind kind, int fd, const char *what, const char *data, size_t length)
{
	const char *end = data + length;

	if (!recording())
		return;
	for (const char *at; (at = memmem(data, (size_t) (end - data), what, strlen(what)));) {
		const char *stop = memchr(at, '\r', (size_t) (end - at));

		take();
		put_text(kind, fd, stop != NULL, at, (size_t) ((stop ? stop : end) - at));
		give();
		data = at + strlen(what);
	}
}

static void sent(int fd, const struct iovec *iov, size_t n)
{
	for (size_t i = 0; i < n; i++)
		lines_with(KIND_SENT, fd, "queued as ", iov[i].iov_base, iov[i].iov_len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	sent(fd, m->msg_iov, m->msg_iovlen);
	return REAL(sendmsg)(fd, m, flags);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	lines_with(KIND_SENT, fd, "queued as ", data, length);
	return REAL(send)(fd, data, length, flags);
}

ssize_t write(int fd, const void *data, size_t length)
{
	struct iovec iov = { (void *) (uintptr_t) data, length };

	if (follows(fd))
		return written(fd, &iov, 1, -1);
	if (length < 65536)
		lines_with(KIND_SENT, fd, "queued as ", data, length);
	return REAL(write)(fd, data, length);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	if (follows(fd))
		return written(fd, iov, n, -1);
	sent(fd, iov, (size_t) n);
	return REAL(writev)(fd, iov, n);
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
	ssize_t n = REAL(recv)(fd, data, length, flags);
	int error = errno;

	if (n > 0)
		lines_with(KIND_RECEIVED, fd, "250 2.0.0 taken ", data, (size_t) n);
	errno = error;
	return n;
}

ssize_t read(int fd, void *data, size_t length)
{
	ssize_t n = REAL(read)(fd, data, length);
	int error = errno;

	if (n > 0 && !follows(fd))
		lines_with(KIND_RECEIVED, fd, "250 2.0.0 taken ", data, (size_t) n);
	errno = error;
	return n;
}
