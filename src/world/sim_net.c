/* The network between hosts: how each way is, who may get through, who listens, and the handshake. */
#include <stdlib.h>
#include <string.h>

#include "world/sim_impl.h"

#define BACKLOG_DEFAULT 4096u
#define SYN_TRIES 7u /* 1 + 2 + 4 + ... + 64: 127 seconds in all */
#define FIRST_PORT 32768u
#define LAST_PORT 60999u

/* --- links and partitions ------------------------------------------------------------------------- */

struct link_setting {
	struct link link;
	struct sim_host *a, *b;
	struct sim_link way;
};

struct partition {
	struct link link;
	struct sim_host *a, *b; /* b NULL: everybody */
};

/* Does a setting for x and y (y NULL: x and all others) hold between a and b? */
static bool concerns(const struct sim_host *x, const struct sim_host *y, const struct sim_host *a,
		     const struct sim_host *b)
{
	if (!y)
		return a != b && (x == a || x == b);
	return (x == a && y == b) || (x == b && y == a);
}

static const struct sim_link *find_link(const struct sim *s, const struct sim_host *a, const struct sim_host *b)
{
	for (LIST_EACH(&s->links, k)) {
		struct link_setting *l = container_of(k, struct link_setting, link);

		if (b && concerns(l->a, l->b, a, b))
			return &l->way;
	}
	return a == b ? &s->local_link : &s->default_link;
}

void sim_set_link(struct sim *s, struct sim_host *a, struct sim_host *b, const struct sim_link *way)
{
	struct link_setting *l;
	struct sim_link w = *way;

	w.segment_max = MAX(w.segment_max, 1u);
	w.send_buffer = MAX(w.send_buffer, 1u);
	w.receive_buffer = MAX(w.receive_buffer, 1u);
	if (!a) {
		s->default_link = w;
		return;
	}
	l = sim_zalloc(sizeof(*l));
	l->a = a;
	l->b = b;
	l->way = w;
	list_prepend(&s->links, &l->link);
}

bool sim_partitioned(const struct sim *s, const struct sim_host *a, const struct sim_host *b)
{
	for (LIST_EACH(&s->partitions, k)) {
		struct partition *p = container_of(k, struct partition, link);

		if (concerns(p->a, p->b, a, b))
			return true;
	}
	return false;
}

void sim_partition(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	struct partition *p = sim_zalloc(sizeof(*p));

	p->a = a;
	p->b = b;
	list_append(&s->partitions, &p->link);
	sim_trace(s, a, "partition", b ? b->index : UINT64_MAX, 0);
}

static void resume_all(struct sim *s)
{
	for (LIST_EACH(&s->connections, k))
		sim_conn_resume(container_of(k, struct sim_conn, link));
}

void sim_heal(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	for (LIST_EACH_SAFE(&s->partitions, k)) {
		struct partition *p = container_of(k, struct partition, link);

		if ((p->a == a && p->b == b) || (b && p->a == b && p->b == a)) {
			link_remove(&p->link);
			free(p);
		}
	}
	sim_trace(s, a, "heal", b ? b->index : UINT64_MAX, 0);
	resume_all(s);
}

void sim_heal_all(struct sim *s)
{
	struct link *k;

	while ((k = list_pop(&s->partitions)))
		free(container_of(k, struct partition, link));
	sim_trace(s, NULL, "heal", 0, 0);
	resume_all(s);
}

unsigned sim_reset_connections(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	unsigned n = 0;

	for (LIST_EACH_SAFE(&s->connections, k)) {
		struct sim_conn *c = container_of(k, struct sim_conn, link);
		struct sim_host *x = c->end[0].host, *y = c->end[1].host;

		if (c->phase != SIM_ESTABLISHED || c->result < 0 || (!c->end[0].open && !c->end[1].open))
			continue;
		if ((!a && !b) || (a && b && concerns(a, b, x, y)) || (!b && (a == x || a == y)) ||
		    (!a && (b == x || b == y))) {
			sim_conn_cut(c, -ECONNRESET);
			n++;
		}
	}
	return n;
}

unsigned sim_connection_count(const struct sim *s)
{
	return s->connection_count;
}

unsigned sim_connections_made(const struct sim *s, const struct sim_host *from, const struct sim_host *to, uint16_t port)
{
	unsigned n = 0;

	for (LIST_EACH(&s->connections, k)) {
		const struct sim_conn *c = container_of(k, struct sim_conn, link);

		n += c->end[0].host == from && (!to || c->end[1].host == to) && c->end[1].local.port == port && c->end[0].open;
	}
	return n;
}

void sim_set_connect_hook(struct sim *s, void (*hook)(void *, const struct sim_connect *, struct sim_fate *),
			  void *context)
{
	s->connect_hook = hook;
	s->connect_context = context;
}

void sim_net_done(struct sim *s)
{
	struct link *k;

	assert(list_empty(&s->connections)); /* their ends belonged to worlds, and those are gone */
	while ((k = list_pop(&s->links)))
		free(container_of(k, struct link_setting, link));
	while ((k = list_pop(&s->partitions)))
		free(container_of(k, struct partition, link));
}

/* --- addresses ------------------------------------------------------------------------------------ */

static bool ip_is_loopback(const struct ip *ip)
{
	static const uint8_t v6[16] = { [15] = 1 };

	return ip->family == 4 ? ip->bytes[0] == 127 : memcmp(ip->bytes, v6, sizeof(v6)) == 0;
}

static bool ip_is_any(const struct ip *ip)
{
	static const uint8_t none[16];

	return memcmp(ip->bytes, none, sizeof(none)) == 0;
}

static bool is_own_ip(const struct sim_host *h, const struct ip *ip)
{
	return ip_is_loopback(ip) || sim_host_has_ip(h, ip);
}

static struct sim_host *find_host(const struct sim *s, struct sim_host *from, const struct endpoint *to)
{
	if (to->kind == ENDPOINT_UNIX || ip_is_loopback(&to->ip))
		return from;
	for (LIST_EACH(&s->hosts, k)) {
		struct sim_host *h = container_of(k, struct sim_host, link);

		if (sim_host_has_ip(h, &to->ip))
			return h;
	}
	return NULL;
}

static uint16_t take_port(struct sim_host *h)
{
	uint16_t port = h->next_port;

	h->next_port = port >= LAST_PORT ? FIRST_PORT : (uint16_t) (port + 1);
	return port;
}

/* The address to connect from: the one asked for, or the first of the same family. */
static int choose_source(struct sim_host *h, const struct endpoint *to, const struct endpoint *from,
			 struct endpoint *ret)
{
	struct endpoint e = { .kind = to->kind };

	if (to->kind == ENDPOINT_UNIX) {
		*ret = e;
		return 0;
	}
	if (from && from->kind == ENDPOINT_IP && !ip_is_any(&from->ip)) {
		if (from->ip.family != to->ip.family)
			return -EINVAL;
		if (!is_own_ip(h, &from->ip))
			return -EADDRNOTAVAIL;
		e.ip = from->ip;
	} else if (ip_is_loopback(&to->ip)) {
		e.ip = to->ip;
	} else {
		for (size_t i = 0; i < h->n_ips && e.ip.family == 0; i++)
			if (h->ips[i].family == to->ip.family)
				e.ip = h->ips[i];
		if (e.ip.family == 0)
			return -ENETUNREACH; /* a host without addresses of that family */
	}
	e.port = from && from->port ? from->port : take_port(h);
	*ret = e;
	return 0;
}

/* --- listeners ------------------------------------------------------------------------------------ */

static bool same_place(const struct endpoint *a, const struct endpoint *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == ENDPOINT_UNIX)
		return strcmp(a->path, b->path) == 0;
	return a->port == b->port && a->ip.family == b->ip.family &&
	       (ip_is_any(&a->ip) || ip_is_any(&b->ip) || ip_equal(&a->ip, &b->ip));
}

static int check_free(const struct sim_host *h, const struct endpoint *at, bool reuse_port)
{
	for (LIST_EACH(&h->listeners, k)) {
		struct sim_listener *l = container_of(k, struct sim_listener, link);

		if (same_place(&l->base.endpoint, at) && !(l->reuse_port && reuse_port))
			return -EADDRINUSE;
	}
	return 0;
}

int sim_net_listen(struct world *w, const struct endpoint *at, const struct listen_options *o,
		   struct listener **ret)
{
	struct sim_world *sw = sim_world_of(w);
	struct sim_host *h = sw->host;
	struct endpoint e = *at;
	bool reuse_port = o && o->reuse_port;
	struct sim_listener *l;
	int r;

	if (sw->dead)
		return -ENETDOWN;
	if (e.kind == ENDPOINT_NONE)
		return -EINVAL;
	if (e.kind == ENDPOINT_IP && !ip_is_any(&e.ip) && !is_own_ip(h, &e.ip))
		return -EADDRNOTAVAIL;
	if (e.kind == ENDPOINT_IP && e.port == 0)
		do
			e.port = take_port(h);
		while (check_free(h, &e, false) < 0);
	r = check_free(h, &e, reuse_port);
	if (r < 0)
		return r;

	l = sim_zalloc(sizeof(*l));
	l->base = (struct listener) { .world = w, .endpoint = e };
	l->world = sw;
	l->reuse_port = reuse_port;
	l->backlog = o && o->backlog > 0 ? (unsigned) o->backlog : BACKLOG_DEFAULT;
	list_init(&l->queue);
	cond_init(&l->ready);
	list_append(&h->listeners, &l->link);
	sw->n_listeners++;
	sim_trace(sw->sim, h, "listen", e.port, sim_digest(e.path, strlen(e.path)));
	*ret = &l->base;
	return 0;
}

static void refuse_queue(struct sim_listener *l)
{
	struct link *k;

	while ((k = list_pop(&l->queue))) {
		struct sim_end *e = container_of(k, struct sim_end, queue_link);

		e->listener = NULL;
		sim_end_hang_up(e, true);
		sim_conn_unref(e->conn);
	}
	l->queued = 0;
}

void sim_net_listener_close(struct listener *base)
{
	struct sim_listener *l = container_of(base, struct sim_listener, base);

	assert(list_empty(&l->ready.waiters)); /* a fiber still waits in listener_accept */
	link_remove(&l->link);
	refuse_queue(l);
	l->world->n_listeners--;
	free(l);
}

/* Among those at this very address, or else those at any: if several share the port, any of them. */
static struct sim_listener *find_listener(struct sim *s, const struct sim_host *h, const struct endpoint *to)
{
	struct sim_listener *best = NULL;
	uint64_t n = 0;
	bool best_is_any = true;

	for (LIST_EACH(&h->listeners, k)) {
		struct sim_listener *l = container_of(k, struct sim_listener, link);
		bool any = to->kind == ENDPOINT_IP && ip_is_any(&l->base.endpoint.ip);

		if (!same_place(&l->base.endpoint, to) || (any && !best_is_any))
			continue;
		if (best && any == best_is_any) {
			if (sim_below(s, ++n) != 0)
				continue;
		} else {
			n = 1;
		}
		best = l;
		best_is_any = any;
	}
	return best;
}

int sim_net_accept(struct listener *base, usec_t deadline, struct transport **ret, struct endpoint *ret_peer)
{
	struct sim_listener *l = container_of(base, struct sim_listener, base);
	struct sim_end *e;

	assert(fiber_self());
	if (!l->owner)
		l->owner = loop_current();
	assert(l->owner == loop_current()); /* a listener belongs to the loop that accepts first */
	while (list_empty(&l->queue)) {
		int r = l->world->dead ? -ECANCELED : cond_wait(&l->ready, "connections", deadline);

		if (r < 0)
			return r;
	}
	e = container_of(list_pop(&l->queue), struct sim_end, queue_link);
	l->queued--;
	e->listener = NULL;
	sim_end_attach(e, l->world);
	sim_trace(l->world->sim, l->world->host, "accepted", e->conn->number, 0);
	*ret = &e->base;
	if (ret_peer)
		*ret_peer = sim_end_peer(e)->local;
	return 0;
}

int sim_net_local_endpoint(struct transport *t, struct endpoint *ret)
{
	if (t->ops != &sim_transport_ops)
		return -EOPNOTSUPP;
	*ret = container_of(t, struct sim_end, base)->local;
	return 0;
}

void sim_net_world_died(struct sim_world *w, bool power)
{
	struct sim_host *h = w->host;

	for (LIST_EACH_SAFE(&h->listeners, k)) {
		struct sim_listener *l = container_of(k, struct sim_listener, link);

		if (l->world == w) {
			link_remove(&l->link);
			refuse_queue(l);
		}
	}
	for (LIST_EACH(&w->ends, k))
		sim_end_hang_up(container_of(k, struct sim_end, world_link), power);
}

/* --- the handshake -------------------------------------------------------------------------------- */

static uint64_t random_place(struct sim *s, const struct sim_link *way)
{
	uint64_t within = way->within ? way->within : 65536;
	unsigned bits = 64 - (unsigned) __builtin_clzll(within);
	uint64_t n = sim_below(s, UINT64_C(1) << sim_below(s, bits)); /* each power of two as likely */

	return MIN(n, within);
}

static void draw_fate(struct sim *s, const struct sim_link *way, struct sim_fate *f)
{
	if (f->kind != SIM_CHANCE)
		return;
	f->kind = SIM_PASS;
	if (sim_chance(s, way->refuse_per_mille)) {
		f->kind = SIM_REFUSE;
	} else if (sim_chance(s, way->blackhole_per_mille)) {
		f->kind = SIM_BLACKHOLE;
	} else if (sim_chance(s, way->reset_per_mille)) {
		f->kind = SIM_RESET;
	} else if (sim_chance(s, way->stall_per_mille)) {
		f->kind = SIM_STALL;
	}
	if (f->kind == SIM_RESET || f->kind == SIM_STALL) {
		f->from_server = sim_below(s, 2) != 0;
		f->after = random_place(s, way);
	}
}

static void answer(struct sim_conn *c, int result)
{
	c->result = result;
	c->phase = SIM_ANSWER;
	sim_event_arm(c->sim, &c->handshake, c->sim->now + sim_one_way(c->sim, &c->way));
}

static bool unanswered(const struct sim_conn *c, const struct sim_host *to)
{
	return c->fate.kind == SIM_BLACKHOLE || !to->powered || sim_partitioned(c->sim, c->end[0].host, to);
}

/* The connection has reached the server: it waits in the queue of a listener from now on. */
static void enqueue(struct sim_conn *c, struct sim_listener *l)
{
	struct sim_end *e = &c->end[1];

	e->open = true;
	e->listener = l;
	list_append(&l->queue, &e->queue_link);
	l->queued++;
	answer(c, 0);
	c->pipe[1].last_at = c->handshake.node.key; /* its first words come after its answer */
	cond_signal(&l->ready);
}

static void syn_arrives(struct sim_conn *c)
{
	struct sim_host *to = c->end[1].host;
	struct sim_listener *l;

	if (!to || c->fate.kind == SIM_UNREACHABLE) {
		answer(c, -EHOSTUNREACH);
		return;
	}
	l = unanswered(c, to) ? NULL : find_listener(c->sim, to, &c->end[1].local);
	if (unanswered(c, to) || (l && c->fate.kind != SIM_REFUSE && l->queued >= l->backlog)) {
		usec_t wait = USEC_SEC << c->tries;

		if (++c->tries == SYN_TRIES) {
			c->result = -ETIMEDOUT;
			c->phase = SIM_ANSWER;
		}
		sim_event_arm(c->sim, &c->handshake, c->sim->now + wait);
		return;
	}
	if (!l || c->fate.kind == SIM_REFUSE)
		answer(c, -ECONNREFUSED);
	else
		enqueue(c, l);
}

static void handshake_fire(struct sim *s, struct sim_event *e)
{
	struct sim_conn *c = container_of(e, struct sim_conn, handshake);

	CHECK_MAGIC(c, SIM_CONN_MAGIC);
	sim_trace(s, c->end[0].host, c->phase == SIM_SYN ? "syn" : "answer", c->number, (uint64_t) -c->result);
	if (c->phase == SIM_SYN) {
		syn_arrives(c);
		return;
	}
	c->phase = SIM_ESTABLISHED;
	if (c->connector)
		fiber_wake(c->connector);
}

static int unix_missing(struct sim_world *w, const struct endpoint *to)
{
	struct sim_inode *i;

	if (to->kind != ENDPOINT_UNIX || find_listener(w->sim, w->host, to))
		return 0;
	return sim_disk_find(w->host->disk, to->path, &i) < 0 ? -ENOENT : -ECONNREFUSED;
}

static void ask_fate(struct sim_conn *c)
{
	struct sim *s = c->sim;
	struct sim_connect what = {
		.from = c->end[0].host,
		.to = c->end[1].host,
		.at = &c->end[1].local,
		.number = c->number,
	};

	c->fate.kind = SIM_CHANCE;
	if (s->connect_hook)
		s->connect_hook(s->connect_context, &what, &c->fate);
	draw_fate(s, &c->way, &c->fate);
}

int sim_net_connect(struct world *w, const struct endpoint *to, const struct endpoint *from, struct transport **ret)
{
	struct sim_world *sw = sim_world_of(w);
	struct sim *s = sw->sim;
	struct endpoint source;
	struct sim_host *host;
	struct sim_conn *c;
	int r;

	assert(fiber_self());
	if (sw->dead || fiber_cancelled())
		return -ECANCELED;
	if (to->kind == ENDPOINT_NONE)
		return -EINVAL;
	r = unix_missing(sw, to);
	if (r >= 0)
		r = choose_source(sw->host, to, from, &source);
	if (r < 0)
		return r;

	host = find_host(s, sw->host, to);
	c = sim_conn_new(s, sw, find_link(s, sw->host, host));
	c->end[0].local = source;
	c->end[1].local = *to;
	c->end[1].host = host;
	ask_fate(c);
	sim_event_init(&c->handshake, handshake_fire);
	sim_event_arm(s, &c->handshake, s->now + sim_one_way(s, &c->way));
	sim_trace(s, sw->host, "connect", c->number, to->port);
	*ret = &c->end[0].base;
	return 1;
}

int sim_net_connect_wait(struct transport *t, usec_t deadline)
{
	struct sim_end *e = container_of(t, struct sim_end, base);
	struct sim_conn *c = e->conn;
	int r = 0;

	assert(!c->connector);
	c->connector = fiber_self();
	while (r == 0 && c->phase != SIM_ESTABLISHED)
		r = e->world->dead ? -ECANCELED : fiber_wait("connect", deadline);
	c->connector = NULL;
	if (r < 0)
		return r;
	return e->world->dead ? -ECANCELED : c->result;
}
