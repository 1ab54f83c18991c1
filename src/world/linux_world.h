/* What the linux_*.c files share. Private to the real world. */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "world/linux.h"
#include "world/loop.h"

struct worker_pool; /* linux_workers.c */

struct linux_world {
	struct world world;
	struct worker_pool *workers;
};

/* A descriptor that the loop watches, edge-triggered. `readable` and `writable` say that the next call may
 * get further; they are cleared by -EAGAIN and set by epoll. A listener is watched for as long as it is readable, so
 * that nobody has to call until -EAGAIN; the loop lets go of it while nobody waits. */
struct watch {
	int fd;
	bool listens;
	struct loop *loop; /* NULL while it is not registered */
	bool readable, writable, hangup;
	bool output; /* registered for that, too */
	struct fiber *reader, *writer;
};
/* Waits until the watch is readable or writable; registers it with the current loop at first use. */
int watch_wait(struct watch *w, unsigned what, usec_t deadline);

struct linux_loop {
	int epoll_fd, event_fd;
	pthread_t thread;
	bool running;
	bool crowd;  /* the thread's policy is SCHED_BATCH */
	bool coarse; /* the kernel (or Valgrind) has no epoll_pwait2 */
	unsigned came; /* events of the last look */
	atomic_bool asleep; /* in epoll_wait, or about to be: a post must write to event_fd */
};

void linux_memory(struct world *w, struct world_memory *ret);
int linux_loop_init(struct loop *l);
void linux_loop_done(struct loop *l);
int linux_loop_start(struct loop *l);
void linux_loop_stop(struct loop *l);
void linux_loop_wake(struct loop *l);
int linux_wait_fd(struct loop *l, int fd, unsigned what, usec_t deadline);

int workers_new(unsigned max_threads, struct worker_pool **ret);
void workers_free(struct worker_pool *p);
int linux_offload(struct world *w, int (*fn)(void *), void *arg);

int linux_connect(struct world *w, const struct endpoint *to, const struct endpoint *from, struct transport **ret);
int linux_connect_wait(struct transport *t, usec_t deadline);
int linux_program_start(struct world *w, const struct program_options *o, struct program **ret);
int linux_listen(struct world *w, const struct endpoint *at, const struct listen_options *o, struct listener **ret);
int linux_listen_fd(struct world *w, int fd, struct listener **ret);
int linux_accept(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer);
void linux_listener_close(struct listener *l);
int linux_local_endpoint(struct transport *t, struct endpoint *ret);

/* The file operations of world_ops.h. */
void linux_file_ops(struct world_ops *ops);
