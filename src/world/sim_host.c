/* Hosts and the processes that live on them: how they are born, what they share, how they die. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "world/sim_impl.h"

/* --- what a world provides ------------------------------------------------------------------------ */

static usec_t host_now(struct world *w)
{
	return sim_world_of(w)->sim->now;
}

static wall_t host_wall(struct world *w)
{
	struct sim_world *sw = sim_world_of(w);

	return sw->sim->start + (wall_t) sw->sim->now + sw->host->clock_offset;
}

static void host_random(struct world *w, void *out, size_t len)
{
	struct sim_world *sw = sim_world_of(w);
	char *p = out;

	while (len > 0) {
		uint64_t v = sim_rng_next(&sw->rng);
		size_t n = MIN(len, sizeof(v));

		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

/* What it opened it must have closed: a handle that outlives its world would point nowhere. */
static void host_world_free(struct world *w)
{
	struct sim_world *sw = sim_world_of(w);

	assert(sw->n_loops == 0);
	assert(sw->n_listeners == 0);
	assert(list_empty(&sw->ends));
	assert(list_empty(&sw->files));
	assert(list_empty(&sw->sleepers));
	sim_trace(sw->sim, sw->host, "world freed", 0, 0);
	link_remove(&sw->link);
	sw->magic = 0;
	free(sw);
}

static int host_wait_fd(struct loop *l, int fd, unsigned what, usec_t deadline)
{
	return -ENOSYS;
}

static int host_listen_fd(struct world *w, int fd, struct listener **ret)
{
	return -ENOSYS;
}

static int host_offload(struct world *w, int (*fn)(void *), void *arg)
{
	return fn(arg);
}

static const struct world_ops sim_world_ops = {
	.now = host_now,
	.wall = host_wall,
	.random = host_random,
	.free = host_world_free,
	.loop_init = sim_loop_init,
	.loop_done = sim_loop_done,
	.loop_start = sim_loop_start,
	.loop_stop = sim_loop_stop,
	.loop_wake = sim_loop_wake,
	.wait_fd = host_wait_fd,
	.offload = host_offload,
	.connect = sim_net_connect,
	.connect_wait = sim_net_connect_wait,
	.listen = sim_net_listen,
	.listen_fd = host_listen_fd,
	.accept = sim_net_accept,
	.listener_close = sim_net_listener_close,
	.local_endpoint = sim_net_local_endpoint,
	.file_open = sim_file_open,
	.file_close = sim_file_close,
	.file_pread = sim_file_pread,
	.file_pwritev = sim_file_pwritev,
	.file_append = sim_file_append,
	.file_sync = sim_file_sync,
	.file_size = sim_file_size,
	.file_truncate = sim_file_truncate,
	.file_allocate = sim_file_allocate,
	.file_lock = sim_file_lock,
	.file_fd = sim_file_fd,
	.path_info = sim_path_info,
	.path_make_directory = sim_path_make_directory,
	.path_rename = sim_path_rename,
	.path_link = sim_path_link,
	.path_unlink = sim_path_unlink,
	.path_sync_directory = sim_path_sync_directory,
	.path_space = sim_path_space,
	.path_files = sim_path_files,
	.path_list = sim_path_list,
};

/* --- sleeping inside a call ----------------------------------------------------------------------- */

struct sleeper {
	struct sim_event event;
	struct link link; /* on world->sleepers */
	struct fiber *fiber;
	bool done;
};

static void sleeper_wake(struct sim *s, struct sim_event *e)
{
	struct sleeper *p = container_of(e, struct sleeper, event);

	p->done = true;
	fiber_wake(p->fiber);
}

void sim_pause(struct sim_world *w, usec_t time)
{
	struct fiber *f = fiber_self();
	struct sleeper *p;

	if (!f || w->dead)
		return;
	assert(loop_current()->world == &w->base);
	if (loop_current()->flags & LOOP_BLOCKING) {
		struct sim_loop *sl = loop_current()->backend;

		sl->busy_until = MAX(sl->busy_until, w->sim->now) + time;
		return;
	}
	p = sim_zalloc(sizeof(*p));
	p->fiber = f;
	sim_event_init(&p->event, sleeper_wake);
	sim_event_arm(w->sim, &p->event, w->sim->now + time);
	list_append(&w->sleepers, &p->link);
	while (!p->done)
		fiber_wait_uncancellable("disk");
	link_remove(&p->link);
	free(p);
}

/* --- birth ---------------------------------------------------------------------------------------- */

static struct sim_world *process_new(struct sim_host *h)
{
	struct sim_world *w = sim_zalloc(sizeof(*w));

	w->base.ops = &sim_world_ops;
	w->base.log = h->sim->log;
	w->base.simulated = true;
	w->base.stack_size = h->sim->stack_size;
	w->magic = SIM_WORLD_MAGIC;
	w->sim = h->sim;
	w->host = h;
	list_init(&w->ends);
	list_init(&w->files);
	list_init(&w->sleepers);
	sim_rng_seed(&w->rng, h->sim->seed ^ hash_u64((uint64_t) h->index << 32 | ++h->processes));
	list_append(&h->worlds, &w->link);
	h->powered = true;
	sim_trace(h->sim, h, "process", h->processes, 0);
	return w;
}

static bool ip_taken(const struct sim *s, const struct ip *ip)
{
	for (LIST_EACH(&s->hosts, k))
		if (sim_host_has_ip(container_of(k, struct sim_host, link), ip))
			return true;
	return false;
}

static int parse_ips(struct sim *s, const char *text, struct ip **ret, size_t *ret_n)
{
	struct slice rest = slice_from(text);
	_cleanup_(freep) struct ip *ips = NULL;
	size_t n = 0;

	while (rest.len > 0) {
		struct slice word = slice_cut(rest, ' ', &rest);
		struct ip ip;

		if (word.len == 0)
			continue;
		if (ip_parse(word, &ip) < 0)
			return -EINVAL;
		if (ip_taken(s, &ip))
			return -EEXIST;
		ips = sim_realloc(ips, (n + 1) * sizeof(*ips));
		ips[n++] = ip;
	}
	*ret = TAKE_PTR(ips);
	*ret_n = n;
	return 0;
}

int sim_host_new(struct sim *s, const char *name, const char *ips, struct sim_host **ret,
		 struct world **ret_world)
{
	struct ip *list;
	size_t n;
	struct sim_host *h;
	int r = parse_ips(s, ips, &list, &n);

	if (r < 0)
		return r;
	h = sim_zalloc(sizeof(*h));
	h->sim = s;
	h->name = sim_strdup(name);
	h->index = s->host_count++;
	h->ips = list;
	h->n_ips = n;
	h->next_port = (uint16_t) (32768 + sim_below(s, 28000));
	h->call_time = 20;
	h->sync_time = 500;
	list_init(&h->worlds);
	list_init(&h->listeners);
	list_init(&h->faults);
	h->disk = sim_disk_new(s);
	list_append(&s->hosts, &h->link);
	*ret = h;
	*ret_world = &process_new(h)->base;
	return 0;
}

int sim_host_process(struct sim_host *h, struct world **ret)
{
	if (!h->powered)
		return -EHOSTDOWN;
	*ret = &process_new(h)->base;
	return 0;
}

/* --- death ---------------------------------------------------------------------------------------- */

/* From here on every call of this world fails. Its fibers are cancelled, and those that sleep inside a disk
 * call, which can't be cancelled, wake now and find their world gone. */
static void world_die(struct sim_world *w, bool power)
{
	struct sim *s = w->sim;

	if (w->dead)
		return;
	w->dead = true;
	w->host->died_at = s->now;
	sim_trace(s, w->host, power ? "power cut" : "killed", 0, 0);
	sim_net_world_died(w, power);
	sim_file_world_died(w);
	for (LIST_EACH(&w->sleepers, k)) {
		struct sleeper *p = container_of(k, struct sleeper, link);

		sim_event_disarm(s, &p->event);
		sleeper_wake(s, &p->event);
	}
	for (LIST_EACH(&s->loops, k)) {
		struct sim_loop *sl = container_of(k, struct sim_loop, link);

		if (sl->world != w || sl->state == SIM_LOOP_STOPPED)
			continue;
		atomic_store(&sl->loop->stopping, true); /* whatever it spawns now is born cancelled */
		loop_cancel_all(sl->loop);
	}
}

void sim_host_crash(struct sim_host *h)
{
	if (!h->powered)
		return;
	h->powered = false;
	h->crash_at = 0;
	for (LIST_EACH(&h->worlds, k))
		world_die(container_of(k, struct sim_world, link), true);
	sim_disk_crash(h->disk, h->ordered);
}

void sim_host_kill(struct sim_host *h)
{
	for (LIST_EACH(&h->worlds, k))
		world_die(container_of(k, struct sim_world, link), false);
}

void sim_world_kill(struct world *w)
{
	world_die(sim_world_of(w), false);
}

bool sim_host_is_up(const struct sim_host *h)
{
	for (LIST_EACH(&h->worlds, k))
		if (!container_of(k, struct sim_world, link)->dead)
			return true;
	return false;
}

usec_t sim_host_died_at(const struct sim_host *h)
{
	return h->died_at;
}

int sim_host_restart(struct sim_host *h, struct world **ret)
{
	if (sim_host_is_up(h))
		return -EBUSY;
	*ret = &process_new(h)->base;
	return 0;
}

void sim_free(struct sim *s)
{
	struct link *k;

	if (!s)
		return;
	assert(list_empty(&s->loops));
	while ((k = list_pop(&s->hosts))) {
		struct sim_host *h = container_of(k, struct sim_host, link);

		assert(list_empty(&h->worlds));
		sim_faults_clear(h);
		sim_disk_free(h->disk);
		free(h->ips);
		free(h->name);
		free(h);
	}
	sim_net_done(s);
	heap_done(&s->events);
	free(s);
}

/* --- looking and setting -------------------------------------------------------------------------- */

bool sim_host_has_ip(const struct sim_host *h, const struct ip *ip)
{
	for (size_t i = 0; i < h->n_ips; i++)
		if (ip_equal(&h->ips[i], ip))
			return true;
	return false;
}

struct sim_host *sim_host_of(struct world *w)
{
	return sim_world_of(w)->host;
}

const char *sim_host_name(const struct sim_host *h)
{
	return h->name;
}

void sim_host_set_clock(struct sim_host *h, int64_t offset)
{
	h->clock_offset = offset;
}

void sim_host_set_capacity(struct sim_host *h, uint64_t bytes)
{
	h->disk->capacity = bytes;
}

uint64_t sim_host_disk_used(const struct sim_host *h)
{
	return h->disk->used;
}

void sim_host_set_disk_speed(struct sim_host *h, usec_t call, usec_t sync)
{
	h->call_time = call;
	h->sync_time = sync;
}

void sim_host_set_ordered(struct sim_host *h, bool ordered)
{
	h->ordered = ordered;
}

void sim_host_set_short_writes(struct sim_host *h, unsigned per_mille)
{
	h->short_writes = per_mille;
}

void sim_host_crash_at(struct sim_host *h, uint64_t n)
{
	h->crash_at = n > 0 ? h->changes + n : 0;
}

uint64_t sim_host_changes(const struct sim_host *h)
{
	return h->changes;
}

void sim_host_sync(struct sim_host *h)
{
	sim_disk_sync(h->disk);
}
