/* For LD_PRELOAD: lets the n-th call of a kind fail once, in `yizhan serve` and in no other program.
 *
 * YIZHAN_FAULTS names a file of struct control, which the test (tests/e2e/test_faults.py) and the process share: calls
 * counts what was called, and when calls[kind] reaches point[kind], that call fails with error[kind] and fired[kind]
 * counts it. A test arms a point by writing calls + n, and disarms it with 0. write counts for files only: those of
 * sockets are under send, and an eventfd never fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <dlfcn.h>

enum kind { ALLOCATE, WRITE, SYNC, OPEN, CONNECT, ACCEPT, RENAME, SEND, KINDS };

struct control {
	_Atomic uint64_t calls[KINDS], point[KINDS], error[KINDS], fired[KINDS];
};

static struct control *control;

static void begin(int argc, char **argv)
{
	const char *path = getenv("YIZHAN_FAULTS");
	void *at;
	int fd;

	if (!path || argc < 2 || strcmp(argv[1], "serve") != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void) close(fd);
	if (at != MAP_FAILED)
		control = at;
}

static bool fails(enum kind k)
{
	if (!control || atomic_fetch_add(&control->calls[k], 1) + 1 != atomic_load(&control->point[k]))
		return false;
	atomic_fetch_add(&control->fired[k], 1);
	errno = (int) atomic_load(&control->error[k]);
	return true;
}

static bool is_file(int fd)
{
	struct stat st;
	int before = errno;
	bool file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	errno = before;
	return file;
}

/* The next one of this name behind us; looked up once. */
#define NEXT(name)                                                      \
	({                                                              \
		static __typeof__(&name) _next;                         \
		if (!_next)                                             \
			_next = (__typeof__(&name)) dlsym(RTLD_NEXT, #name); \
		_next;                                                  \
	})

/* Counting begins with main: what the loader and the constructors of libraries do is not ours. */
typedef int main_fn(int argc, char **argv, char **env);
static main_fn *real_main;

static int counted_main(int argc, char **argv, char **env)
{
	begin(argc, argv);
	return real_main(argc, argv, env);
}

int __libc_start_main(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*ld_fini)(void),
		      void *stack_end);
int __libc_start_main(main_fn *program, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*ld_fini)(void),
		      void *stack_end)
{
	real_main = program;
	return NEXT(__libc_start_main)(counted_main, argc, argv, init, fini, ld_fini, stack_end);
}

/* --- memory: glibc's own names for it, since dlsym allocates ------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
	return fails(ALLOCATE) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(ALLOCATE) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails(ALLOCATE) ? NULL : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *memalign(size_t alignment, size_t size)
{
	return fails(ALLOCATE) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *p = memalign(alignment, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

ssize_t write(int fd, const void *data, size_t len)
{
	return is_file(fd) && fails(WRITE) ? -1 : NEXT(write)(fd, data, len);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	return is_file(fd) && fails(WRITE) ? -1 : NEXT(writev)(fd, iov, n);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	return fails(WRITE) ? -1 : NEXT(pwritev)(fd, iov, n, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
	return fails(WRITE) ? -1 : NEXT(pwritev64)(fd, iov, n, offset);
}

int fdatasync(int fd)
{
	return fails(SYNC) ? -1 : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
	return fails(SYNC) ? -1 : NEXT(fsync)(fd);
}

#define MODE_OF(flags)                                       \
	({                                                   \
		mode_t _mode = 0;                            \
		va_list _ap;                                 \
		va_start(_ap, flags);                        \
		if ((flags) & (O_CREAT | O_TMPFILE))         \
			_mode = va_arg(_ap, mode_t);         \
		va_end(_ap);                                 \
		_mode;                                       \
	})

int open(const char *path, int flags, ...)
{
	return fails(OPEN) ? -1 : NEXT(open)(path, flags, MODE_OF(flags));
}

int open64(const char *path, int flags, ...)
{
	return fails(OPEN) ? -1 : NEXT(open64)(path, flags, MODE_OF(flags));
}

int openat(int at, const char *path, int flags, ...)
{
	return fails(OPEN) ? -1 : NEXT(openat)(at, path, flags, MODE_OF(flags));
}

int openat64(int at, const char *path, int flags, ...)
{
	return fails(OPEN) ? -1 : NEXT(openat64)(at, path, flags, MODE_OF(flags));
}

int rename(const char *from, const char *to)
{
	return fails(RENAME) ? -1 : NEXT(rename)(from, to);
}

int link(const char *from, const char *to)
{
	return fails(RENAME) ? -1 : NEXT(link)(from, to);
}

/* --- network ------------------------------------------------------------------------------------------------------ */

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	return fails(CONNECT) ? -1 : NEXT(connect)(fd, address, len);
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	return fails(ACCEPT) ? -1 : NEXT(accept4)(fd, address, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(SEND) ? -1 : NEXT(sendmsg)(fd, message, flags);
}
