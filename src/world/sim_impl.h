/* The inside of the simulated world, for sim_*.c and for nobody else.
 *
 *	sim_core.c   the clock, the queue of events, randomness, the trace, the driver of the loops
 *	sim_host.c   hosts, their worlds (processes), and how these die
 *	sim_net.c    links and partitions, listeners, the handshake
 *	sim_conn.c   an established connection: bytes on their way, ends, resets
 *	sim_disk.c   inodes, names, what is durable and what a crash leaves
 *	sim_file.c   the file calls: delays, injected faults, handles
 *	sim_look.c   copies of disks, and what tests ask about the inside
 *
 * A universe owns its hosts and connections; a host owns its disk; a world is its creator's. */
#pragma once

#include "base/heap.h"
#include "base/list.h"
#include "world/loop.h"
#include "world/sim.h"
#include "world/world_ops.h"

#define SIM_WORLD_MAGIC 0x51301d01u
#define SIM_CONN_MAGIC 0x51301d02u
#define SIM_FILE_MAGIC 0x51301d03u

/* --- sim_core.c ----------------------------------------------------------------------------------- */

struct sim_rng {
	uint64_t s[4]; /* xoshiro256** */
};
void sim_rng_seed(struct sim_rng *g, uint64_t seed);
uint64_t sim_rng_next(struct sim_rng *g);
uint64_t sim_rng_below(struct sim_rng *g, uint64_t n); /* 0 for n == 0 */

/* Something that will happen at a time; embedded in what it happens to. */
struct sim_event {
	struct heap_node node;
	void (*fire)(struct sim *s, struct sim_event *e); /* outside of any loop */
};

struct sim {
	struct heap events;
	usec_t now;
	wall_t start;
	uint64_t seed;
	struct sim_rng rng, test_rng;
	uint64_t hash, event_count;
	unsigned spins; /* rounds since the clock moved */
	FILE *trace;
	const struct log *log;
	size_t stack_size;

	struct list loops; /* struct sim_loop */
	struct list hosts;
	unsigned host_count, n_loops, loops_made;

	struct list connections, links, partitions;
	struct sim_link default_link, local_link;
	unsigned connection_count;
	uint64_t connect_number;
	void (*connect_hook)(void *context, const struct sim_connect *c, struct sim_fate *fate);
	void *connect_context;
};

/* For the simulator's own memory: these never return NULL. */
void *sim_zalloc(size_t size);
void *sim_realloc(void *p, size_t size);
char *sim_strdup(const char *s);
_noreturn_ void sim_give_up(struct sim *s, const char *why);

static inline uint64_t sim_below(struct sim *s, uint64_t n) { return sim_rng_below(&s->rng, n); }
static inline bool sim_chance(struct sim *s, unsigned per_mille)
{
	return per_mille > 0 && sim_rng_below(&s->rng, 1000) < per_mille;
}

void sim_event_init(struct sim_event *e, void (*fire)(struct sim *, struct sim_event *));
void sim_event_arm(struct sim *s, struct sim_event *e, usec_t at); /* again: moves it */
void sim_event_disarm(struct sim *s, struct sim_event *e);
static inline bool sim_event_armed(const struct sim_event *e) { return heap_node_linked(&e->node); }

/* Adds to the trace; h may be NULL. */
void sim_trace(struct sim *s, const struct sim_host *h, const char *what, uint64_t a, uint64_t b);
uint64_t sim_digest(const void *data, size_t len);

enum sim_loop_state { SIM_LOOP_NEW, SIM_LOOP_STARTED, SIM_LOOP_STOPPED };
struct sim_loop { /* the backend of a loop */
	struct link link; /* on sim->loops */
	struct loop *loop;
	struct sim_world *world;
	unsigned number;
	enum sim_loop_state state;
	usec_t busy_until; /* a LOOP_BLOCKING loop, standing still for its disk */
};
int sim_loop_init(struct loop *l);
void sim_loop_done(struct loop *l);
int sim_loop_start(struct loop *l);
void sim_loop_stop(struct loop *l);
void sim_loop_wake(struct loop *l);

/* --- sim_host.c ----------------------------------------------------------------------------------- */

struct sim_host {
	struct link link; /* on sim->hosts */
	struct sim *sim;
	char *name;
	unsigned index;
	struct ip *ips;
	size_t n_ips;
	bool powered;
	usec_t died_at;
	uint64_t processes; /* so far, for the seeds of their randomness */
	int64_t clock_offset;
	struct list worlds;
	struct list listeners;
	uint16_t next_port;

	struct sim_disk *disk;
	struct list faults;
	usec_t call_time, sync_time;
	unsigned short_writes; /* per mille */
	bool ordered;
	uint64_t changes, crash_at; /* crash_at: the value of changes at which the power goes; 0: never */
};

struct sim_world {
	struct world base;
	unsigned magic;
	struct link link; /* on host->worlds */
	struct sim *sim;
	struct sim_host *host;
	bool dead;
	struct sim_rng rng;
	struct list ends;     /* connection ends of this process */
	struct list files;    /* open files */
	struct list sleepers; /* fibers inside a disk call */
	unsigned n_loops, n_listeners; /* not freed yet */
};

static inline struct sim_world *sim_world_of(struct world *w)
{
	struct sim_world *sw = container_of(w, struct sim_world, base);

	CHECK_MAGIC(sw, SIM_WORLD_MAGIC);
	return sw;
}
bool sim_host_has_ip(const struct sim_host *h, const struct ip *ip); /* its own, loopback not included */
/* Lets the calling fiber sleep, whatever happens but the death of its world; at once outside of fibers. */
void sim_pause(struct sim_world *w, usec_t time);

/* --- sim_net.c and sim_conn.c --------------------------------------------------------------------- */

struct sim_listener {
	struct listener base;
	struct link link; /* on host->listeners while its world lives */
	struct sim_world *world;
	struct loop *owner; /* the loop that accepted first */
	struct list queue;  /* ends of connections nobody has accepted yet */
	struct cond ready;
	unsigned backlog, queued;
	bool reuse_port;
};

enum sim_segment_kind { SIM_DATA, SIM_FIN, SIM_RST };
struct sim_segment {
	struct link link;
	enum sim_segment_kind kind;
	usec_t at; /* arrives */
	size_t len;
};

/* One direction of a connection: a ring of bytes with three marks, read <= arrived <= written. What lies
 * between arrived and written is in the sender's buffer or on its way, cut into segments. */
struct sim_pipe {
	struct sim_conn *conn;
	unsigned side; /* of the end that writes */
	struct sim_event event; /* the first segment arrives */
	struct list segments;
	struct sim_segment fin, rst;
	char *ring;
	size_t size;
	uint64_t written, arrived, read;
	bool fin_arrived;
	bool window_closed;   /* the first segment waits for the reader to make room */
	usec_t blocked_since; /* the first segment can't get through; 0: it can */
	usec_t line_free, last_at;
};

struct sim_end {
	struct transport base;
	unsigned side; /* 0 connected, 1 accepted */
	struct sim_conn *conn;
	struct sim_host *host;
	struct sim_world *world;
	struct link world_link; /* on world->ends */
	struct link queue_link; /* on listener->queue */
	struct sim_listener *listener; /* whose queue */
	struct endpoint local;
	bool open;     /* for the network: what arrives is taken */
	bool attached; /* somebody holds the transport */
	bool shut;     /* we sent our FIN or reset */
	int error;     /* what reads and writes return */
	bool error_seen;
	struct fiber *reader, *writer;
};

enum sim_phase { SIM_SYN, SIM_ANSWER, SIM_ESTABLISHED };
struct sim_conn {
	unsigned magic;
	struct link link; /* on sim->connections */
	struct sim *sim;
	uint64_t number;
	struct sim_end end[2];
	struct sim_pipe pipe[2]; /* pipe[i] carries what end[i] writes */
	struct sim_link way;
	struct sim_fate fate;
	bool stalled;

	enum sim_phase phase;
	struct sim_event handshake;
	unsigned tries;
	struct fiber *connector;
	int result; /* of the connect */
};

struct sim_conn *sim_conn_new(struct sim *s, struct sim_world *w, const struct sim_link *way);
void sim_conn_unref(struct sim_conn *c); /* frees it when no end is open, queued or held any more */
static inline struct sim_end *sim_end_peer(struct sim_end *e) { return &e->conn->end[1 - e->side]; }
bool sim_conn_blocked(const struct sim_conn *c); /* nothing gets through now */
usec_t sim_one_way(struct sim *s, const struct sim_link *way);
void sim_end_attach(struct sim_end *e, struct sim_world *w);
/* Ends it for the network: with a FIN, or with a reset when input is unread or `reset`. */
void sim_end_hang_up(struct sim_end *e, bool reset);
void sim_end_fail(struct sim_end *e, int error); /* the error has reached this end */
void sim_conn_cut(struct sim_conn *c, int error);
void sim_conn_resume(struct sim_conn *c); /* after a healed partition */
extern const struct transport_ops sim_transport_ops;

int sim_net_connect(struct world *w, const struct endpoint *to, const struct endpoint *from, struct transport **ret);
int sim_net_connect_wait(struct transport *t, usec_t deadline);
int sim_net_listen(struct world *w, const struct endpoint *at, const struct listen_options *o,
		   struct listener **ret);
int sim_net_accept(struct listener *l, usec_t deadline, struct transport **ret, struct endpoint *ret_peer);
void sim_net_listener_close(struct listener *l);
int sim_net_local_endpoint(struct transport *t, struct endpoint *ret);
void sim_net_world_died(struct sim_world *w, bool power);
bool sim_partitioned(const struct sim *s, const struct sim_host *a, const struct sim_host *b);
void sim_net_done(struct sim *s);

/* --- sim_disk.c ----------------------------------------------------------------------------------- */

struct sim_inode;
struct sim_name {
	char *name;
	struct sim_inode *inode;
};
struct sim_names { /* a directory's content, in the order of the names */
	struct sim_name *list;
	size_t len, capacity;
};

/* A change of a file's content that was not synced yet. It holds what it replaced, so that a crash can
 * take all of them back and then do again those that had reached the disk. */
struct sim_write {
	struct link link;
	uint64_t number;
	bool truncates; /* to the size in offset; else it wrote len bytes there */
	uint64_t offset;
	size_t len;
	uint64_t old_size;
	char *bytes;    /* old content; after it was taken back, of a write: the new one */
	bool committed; /* on disk for good, but kept because an earlier one is not */
	bool lost;      /* a failed sync was its last chance */
};

struct sim_inode {
	struct link link; /* on disk->inodes */
	unsigned refs;    /* names, live or durable; changes; handles */
	unsigned links, handles; /* live names, living handles */
	bool directory;
	unsigned mode;
	wall_t modified;
	char *data;
	uint64_t size, capacity, allocated, charged;
	struct list writes;
	struct sim_file *lock;
	struct sim_names live, durable;
	struct sim_inode *copy; /* while the disk is being copied */
};

/* A change of names that was not synced yet: one goes, one comes, or both (a rename). */
struct sim_change {
	struct link link;
	uint64_t number;
	struct sim_inode *from, *to; /* directories, NULL where there is none */
	char *from_name, *to_name;
	struct sim_inode *inode; /* what comes */
	bool keep;
};

struct sim_disk {
	struct sim *sim;
	struct list inodes;
	struct sim_inode *root;
	struct list changes;
	size_t n_changes;
	uint64_t number; /* of the last write or change */
	uint64_t capacity, used;
};

struct sim_disk *sim_disk_new(struct sim *s);
void sim_disk_free(struct sim_disk *d);
void sim_disk_crash(struct sim_disk *d, bool ordered);
void sim_disk_sync(struct sim_disk *d);

int sim_disk_find(struct sim_disk *d, const char *path, struct sim_inode **ret);
/* The directory of the last component, and that component. -EINVAL for the root itself. */
#define SIM_NAME_MAX 256
int sim_disk_find_parent(struct sim_disk *d, const char *path, struct sim_inode **ret,
			 char name[static SIM_NAME_MAX]);
struct sim_inode *sim_names_find(const struct sim_names *n, const char *name);
struct sim_inode *sim_inode_new(struct sim_disk *d, bool directory, unsigned mode, wall_t when);
void sim_inode_unref(struct sim_disk *d, struct sim_inode *i);
/* from: a name to take away, to: a name to set to inode (what was there goes). Either may be NULL. */
void sim_disk_change(struct sim_disk *d, struct sim_inode *from, const char *from_name, struct sim_inode *to,
		     const char *to_name, struct sim_inode *inode);
void sim_disk_sync_directory(struct sim_disk *d, struct sim_inode *dir, uint64_t up_to);
/* Is `below` the directory `dir` or inside it? */
bool sim_inode_contains(const struct sim_inode *dir, const struct sim_inode *below);

/* Writes as much as there is space for: len, or fewer bytes (0..) on a full disk. */
size_t sim_inode_write(struct sim_disk *d, struct sim_inode *i, uint64_t offset, const void *data, size_t len);
int sim_inode_truncate(struct sim_disk *d, struct sim_inode *i, uint64_t size); /* -ENOSPC */
int sim_inode_allocate(struct sim_disk *d, struct sim_inode *i, uint64_t size); /* -ENOSPC */
void sim_inode_synced(struct sim_inode *i, uint64_t up_to);
void sim_inode_sync_failed(struct sim_inode *i, uint64_t up_to);
void sim_inode_charge(struct sim_disk *d, struct sim_inode *i); /* after links, handles or sizes changed */
bool sim_disk_full(const struct sim_disk *d);

/* --- sim_file.c ----------------------------------------------------------------------------------- */

struct sim_file {
	struct file base;
	unsigned magic;
	struct sim_world *world;
	struct link link; /* on world->files */
	struct sim_inode *inode;
	unsigned flags;
	char *path; /* as it was opened, for faults */
};
void sim_file_world_died(struct sim_world *w);
void sim_faults_clear(struct sim_host *h);

int sim_file_open(struct world *w, const char *path, unsigned flags, unsigned mode, struct file **ret);
void sim_file_close(struct file *f);
ssize_t sim_file_pread(struct file *f, void *data, size_t len, uint64_t offset, bool nowait);
int sim_file_pwritev(struct file *f, const struct iovec *iov, int n, uint64_t offset);
int sim_file_append(struct file *f, struct slice data);
int sim_file_sync(struct file *f);
int sim_file_size(struct file *f, uint64_t *ret);
int sim_file_truncate(struct file *f, uint64_t size);
int sim_file_allocate(struct file *f, uint64_t size);
int sim_file_lock(struct file *f);
int sim_file_fd(const struct file *f);
int sim_path_info(struct world *w, const char *path, struct file_info *ret);
int sim_path_make_directory(struct world *w, const char *path, unsigned mode);
int sim_path_rename(struct world *w, const char *from, const char *to);
int sim_path_link(struct world *w, const char *from, const char *to);
int sim_path_unlink(struct world *w, const char *path);
int sim_path_sync_directory(struct world *w, const char *path);
int sim_path_files(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
int sim_path_space(struct world *w, const char *path, uint64_t *ret_free, uint64_t *ret_total);
int sim_path_list(struct world *w, const char *path, int (*each)(const char *, void *), void *context);
