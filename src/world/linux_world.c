/* The real world's clock and random, and its table of operations. */
#include "world/linux_world.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define STACK_SIZE (128 * 1024)
#define STACK_SIZE_SANITIZED (512 * 1024)
#define WORKERS_DEFAULT 16

static usec_t linux_now(struct world *w)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_MONOTONIC, &ts);
	return (usec_t) ts.tv_sec * USEC_SEC + (usec_t) ts.tv_nsec / 1000;
}

static wall_t linux_wall(struct world *w)
{
	struct timespec ts;

	(void) clock_gettime(CLOCK_REALTIME, &ts);
	return (wall_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void linux_random(struct world *w, void *out, size_t len)
{
	char *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort(); /* no kernel that we run on fails here, and without it nothing is safe */
		p += n;
		len -= (size_t) n;
	}
}

static void linux_free(struct world *w)
{
	struct linux_world *lw = container_of(w, struct linux_world, world);

	workers_free(lw->workers);
	free((void *) (uintptr_t) lw->world.ops);
	free(lw);
}

static struct world_ops *make_ops(void)
{
	struct world_ops *ops = calloc(1, sizeof(*ops));

	if (!ops)
		return NULL;
	*ops = (struct world_ops) {
		.now = linux_now,
		.wall = linux_wall,
		.random = linux_random,
		.free = linux_free,
		.memory = linux_memory,
		.loop_init = linux_loop_init,
		.loop_done = linux_loop_done,
		.loop_start = linux_loop_start,
		.loop_stop = linux_loop_stop,
		.loop_wake = linux_loop_wake,
		.wait_fd = linux_wait_fd,
		.offload = linux_offload,
		.program_start = linux_program_start,
		.connect = linux_connect,
		.connect_wait = linux_connect_wait,
		.listen = linux_listen,
		.listen_fd = linux_listen_fd,
		.accept = linux_accept,
		.listener_close = linux_listener_close,
		.local_endpoint = linux_local_endpoint,
	};
	linux_file_ops(ops);
	return ops;
}

int world_linux_new(const struct linux_options *options, struct world **ret)
{
	struct linux_world *lw = calloc(1, sizeof(*lw));
	struct world_ops *ops = make_ops();
	int r = lw && ops ? workers_new(options && options->workers ? options->workers : WORKERS_DEFAULT, &lw->workers) : -ENOMEM;

	if (r < 0) {
		free(ops);
		free(lw);
		return r;
	}
	lw->world.ops = ops;
	lw->world.log = options ? options->log : NULL;
	lw->world.stack_size = options && options->stack_size ? options->stack_size : STACK_SIZE;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	if (lw->world.stack_size < STACK_SIZE_SANITIZED)
		lw->world.stack_size = STACK_SIZE_SANITIZED;
#endif
	(void) signal(SIGPIPE, SIG_IGN); /* a peer that went away is -EPIPE, not the end of the process */
	*ret = &lw->world;
	return 0;
}
