/* Programs: posix_spawn on a worker (the file of the program may lie on a slow disk), then pipes and a pidfd that the loop
 * watches. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world/linux_world.h"
#include "world/program.h"

struct program {
	struct world *world;
	pid_t pid;
	int pidfd;
	int in, out; /* our ends; -1: closed */
	bool ended;  /* and was waited for */
};

/* --- starting, on a worker ----------------------------------------------------------------------- */

struct start {
	const struct program_options *options;
	int in, out; /* the program's ends */
	pid_t pid;
};

/* As a login would leave them: SIGPIPE and the others end it, nothing is blocked. */
static int set_attributes(posix_spawnattr_t *a)
{
	sigset_t none, all;

	(void) sigemptyset(&none);
	(void) sigfillset(&all);
	(void) posix_spawnattr_setsigmask(a, &none);
	(void) posix_spawnattr_setsigdefault(a, &all);
	(void) posix_spawnattr_setpgroup(a, 0);
	return -posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int set_actions(posix_spawn_file_actions_t *f, const struct start *s)
{
	int r = posix_spawn_file_actions_adddup2(f, s->in, STDIN_FILENO);

	if (r == 0)
		r = posix_spawn_file_actions_adddup2(f, s->out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(f, s->out, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(f, STDERR_FILENO + 1);
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(f, "/");
	return -r;
}

static int spawn(void *arg)
{
	struct start *s = arg;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawnattr_init(&attributes);
	if (r < 0) {
		(void) posix_spawn_file_actions_destroy(&actions);
		return r;
	}
	r = set_actions(&actions, s);
	if (r >= 0)
		r = set_attributes(&attributes);
	if (r >= 0)
		r = -posix_spawn(&s->pid, s->options->argv[0], &actions, &attributes, (char *const *) s->options->argv,
				 (char *const *) s->options->env);
	(void) posix_spawnattr_destroy(&attributes);
	(void) posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* Blocks until it has ended, on a worker. */
static int reap(void *arg)
{
	const struct program *p = arg;

	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
	*fd = -1;
}

/* Ours don't block; the program's are ordinary ones. */
static int open_pipes(struct program *p, struct start *s)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		int error = -errno;

		(void) close(in[0]);
		(void) close(in[1]);
		return error;
	}
	s->in = in[0];
	p->in = in[1];
	p->out = out[0];
	s->out = out[1];
	(void) fcntl(p->in, F_SETFL, O_NONBLOCK);
	(void) fcntl(p->out, F_SETFL, O_NONBLOCK);
	return 0;
}

int linux_program_start(struct world *w, const struct program_options *o, struct program **ret)
{
	_cleanup_(program_freep) struct program *p = calloc(1, sizeof(*p));
	struct start s = { .options = o };
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct program) { .world = w, .pidfd = -1, .in = -1, .out = -1, .ended = true };
	r = open_pipes(p, &s);
	if (r < 0)
		return r;
	r = world_offload(w, spawn, &s);
	close_end(&s.in);
	close_end(&s.out);
	if (r < 0)
		return r;
	p->pid = s.pid;
	p->ended = false;
	p->pidfd = (int) syscall(SYS_pidfd_open, p->pid, 0); /* nobody else waits for it, so this is it; close-on-exec */
	if (p->pidfd < 0)
		return -errno;
	*ret = TAKE_PTR(p);
	return 0;
}

/* --- talking to it -------------------------------------------------------------------------------- */

int program_write(struct program *p, const void *data, size_t len, usec_t deadline)
{
	const char *from = data;

	while (len > 0) {
		ssize_t n = write(p->in, from, len);
		int r;

		if (n >= 0) {
			from += n;
			len -= (size_t) n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = fiber_wait_fd(p->in, FD_WRITE, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

void program_end_input(struct program *p)
{
	close_end(&p->in);
}

ssize_t program_read(struct program *p, void *data, size_t len, usec_t deadline)
{
	for (;;) {
		ssize_t n = read(p->out, data, len);
		int r;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = fiber_wait_fd(p->out, FD_READ, deadline);
		if (r < 0)
			return r;
	}
}

/* --- its end --------------------------------------------------------------------------------------- */

int program_wait(struct program *p, usec_t deadline, int *ret_status)
{
	int status, r;

	r = fiber_wait_fd(p->pidfd, FD_READ, deadline);
	if (r < 0)
		return r;
	while (waitpid(p->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	p->ended = true;
	*ret_status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
	return 0;
}

void program_kill(struct program *p)
{
	if (!p->ended)
		(void) kill(-p->pid, SIGKILL);
}

void program_free(struct program *p)
{
	if (!p)
		return;
	close_end(&p->in);
	close_end(&p->out);
	if (!p->ended) {
		program_kill(p);
		(void) world_offload(p->world, reap, p);
	}
	close_end(&p->pidfd);
	free(p);
}

bool program_is_root(struct world *w)
{
	return w->ops->program_start && geteuid() == 0;
}
