/* A connection: two ends and the bytes on their way between them.
 *
 * What an end writes is cut into segments of random length, each with the time at which it arrives; they
 * arrive in order. A FIN and a reset travel behind the bytes before them. An end that was closed answers
 * whatever still arrives with a reset, and so does one that is closed with unread input. */
#include <stdlib.h>
#include <string.h>

#include "world/sim_impl.h"

#define RETRANSMIT_FIRST (200 * USEC_MS)
#define GIVE_UP_AFTER (15 * USEC_MIN) /* sending into the void */

static void pipe_fire(struct sim *s, struct sim_event *e);

/* --- time on the way ------------------------------------------------------------------------------ */

usec_t sim_one_way(struct sim *s, const struct sim_link *way)
{
	usec_t t = way->latency + (way->jitter ? sim_below(s, way->jitter + 1) : 0);

	for (usec_t again = RETRANSMIT_FIRST; again < USEC_MIN && sim_chance(s, way->loss_per_mille); again *= 2)
		t += again;
	return t;
}

/* When the next segment, of len bytes, arrives: not before those ahead of it. */
static usec_t arrival(struct sim_conn *c, struct sim_pipe *p, size_t len)
{
	usec_t start = MAX(c->sim->now, p->line_free);

	if (c->way.bandwidth > 0)
		start += len * USEC_SEC / c->way.bandwidth;
	p->line_free = start;
	p->last_at = MAX(p->last_at, start + sim_one_way(c->sim, &c->way));
	return p->last_at;
}

bool sim_conn_blocked(const struct sim_conn *c)
{
	return c->stalled || sim_partitioned(c->sim, c->end[0].host, c->end[1].host);
}

/* --- pipes ---------------------------------------------------------------------------------------- */

static struct sim_segment *first_segment(const struct sim_pipe *p)
{
	struct link *k = list_first(&p->segments);

	return k ? container_of(k, struct sim_segment, link) : NULL;
}

static void pipe_init(struct sim_pipe *p, struct sim_conn *c, unsigned side)
{
	p->conn = c;
	p->side = side;
	sim_event_init(&p->event, pipe_fire);
	list_init(&p->segments);
	p->size = (size_t) c->way.send_buffer + c->way.receive_buffer;
	p->fin.kind = SIM_FIN;
	p->rst.kind = SIM_RST;
}

/* Waits for the first segment, unless the pipe waits for something else. */
static void pipe_arm(struct sim_conn *c, struct sim_pipe *p)
{
	struct sim_segment *g = first_segment(p);

	if (g && !sim_event_armed(&p->event) && !p->window_closed && !p->blocked_since)
		sim_event_arm(c->sim, &p->event, MAX(g->at, c->sim->now));
}

static void segment_free(struct sim_pipe *p, struct sim_segment *g)
{
	link_remove(&g->link);
	if (g != &p->fin && g != &p->rst)
		free(g);
}

/* What has not arrived never will. */
static void pipe_purge(struct sim_conn *c, struct sim_pipe *p)
{
	struct sim_segment *g;

	while ((g = first_segment(p)))
		segment_free(p, g);
	p->written = p->arrived;
	p->window_closed = false;
	p->blocked_since = 0;
	sim_event_disarm(c->sim, &p->event);
}

static void ring_copy(struct sim_pipe *p, uint64_t at, const void *data, size_t len)
{
	size_t start = (size_t) (at % p->size), n = MIN(len, p->size - start);

	memcpy(p->ring + start, data, n);
	memcpy(p->ring, (const char *) data + n, len - n);
}

static void ring_take(const struct sim_pipe *p, uint64_t at, void *data, size_t len)
{
	size_t start = (size_t) (at % p->size), n = MIN(len, p->size - start);

	memcpy(data, p->ring + start, n);
	memcpy((char *) data + n, p->ring, len - n);
}

/* Adds len bytes as segments of random length: now and then tiny ones, so that every boundary in a
 * protocol is cut some day. */
static void pipe_send(struct sim_conn *c, struct sim_pipe *p, const void *data, size_t len)
{
	if (!p->ring)
		p->ring = sim_zalloc(p->size);
	ring_copy(p, p->written, data, len);
	p->written += len;
	while (len > 0) {
		struct sim_segment *g = sim_zalloc(sizeof(*g));
		uint64_t most = c->way.segment_max;

		if (sim_below(c->sim, 8) == 0)
			most = MIN(most, UINT64_C(16));
		g->kind = SIM_DATA;
		g->len = (size_t) MIN((uint64_t) len, 1 + sim_below(c->sim, most));
		g->at = arrival(c, p, g->len);
		list_append(&p->segments, &g->link);
		len -= g->len;
	}
	pipe_arm(c, p);
}

static void pipe_send_mark(struct sim_conn *c, struct sim_pipe *p, struct sim_segment *mark)
{
	if (link_linked(&mark->link))
		return;
	mark->at = arrival(c, p, 0);
	list_append(&p->segments, &mark->link);
	pipe_arm(c, p);
}

/* --- life and death ------------------------------------------------------------------------------- */

struct sim_conn *sim_conn_new(struct sim *s, struct sim_world *w, const struct sim_link *way)
{
	struct sim_conn *c = sim_zalloc(sizeof(*c));

	c->magic = SIM_CONN_MAGIC;
	c->sim = s;
	c->number = s->connect_number++;
	c->way = *way;
	for (unsigned side = 0; side < 2; side++) {
		c->end[side].base.ops = &sim_transport_ops;
		c->end[side].side = side;
		c->end[side].conn = c;
		pipe_init(&c->pipe[side], c, side);
	}
	c->end[0].host = w->host;
	c->end[0].open = true;
	sim_end_attach(&c->end[0], w);
	list_append(&s->connections, &c->link);
	s->connection_count++;
	return c;
}

void sim_conn_unref(struct sim_conn *c)
{
	struct sim *s = c->sim;

	for (unsigned side = 0; side < 2; side++)
		if (c->end[side].attached || c->end[side].listener)
			return;
	for (unsigned side = 0; side < 2; side++) {
		pipe_purge(c, &c->pipe[side]);
		free(c->pipe[side].ring);
	}
	sim_event_disarm(s, &c->handshake);
	link_remove(&c->link);
	s->connection_count--;
	c->magic = 0;
	free(c);
}

void sim_end_attach(struct sim_end *e, struct sim_world *w)
{
	e->attached = true;
	e->world = w;
	list_append(&w->ends, &e->world_link);
}

static void wake(struct fiber *f)
{
	if (f)
		fiber_wake(f);
}

void sim_end_fail(struct sim_end *e, int error)
{
	e->open = false;
	e->shut = true;
	if (!e->error)
		e->error = error;
	pipe_purge(e->conn, &e->conn->pipe[e->side]);
	wake(e->reader);
	wake(e->writer);
}

static void send_reset(struct sim_end *e)
{
	struct sim_conn *c = e->conn;
	struct sim_pipe *p = &c->pipe[e->side];

	/* What was still in the send buffer is thrown away; what was on its way may arrive before the reset. */
	if (sim_below(c->sim, 2) == 0)
		pipe_purge(c, p);
	pipe_send_mark(c, p, &p->rst);
}

void sim_end_hang_up(struct sim_end *e, bool reset)
{
	struct sim_conn *c = e->conn;
	struct sim_pipe *in = &c->pipe[1 - e->side], *out = &c->pipe[e->side];

	if (!e->open)
		return;
	e->open = false;
	if (reset || in->read < in->arrived)
		send_reset(e);
	else if (!e->shut)
		pipe_send_mark(c, out, &out->fin);
	e->shut = true;
	if (in->window_closed) { /* nobody will make room: let it come and be refused */
		in->window_closed = false;
		pipe_arm(c, in);
	}
}

void sim_conn_cut(struct sim_conn *c, int error)
{
	sim_trace(c->sim, c->end[0].host, "cut", c->number, (uint64_t) -error);
	for (unsigned side = 0; side < 2; side++)
		if (c->end[side].open)
			sim_end_fail(&c->end[side], error);
	for (unsigned side = 0; side < 2; side++)
		pipe_purge(c, &c->pipe[side]);
}

/* --- arrival -------------------------------------------------------------------------------------- */

/* The bytes after which the fate of the connection is due in this direction, from here. */
static uint64_t left_to_fate(const struct sim_conn *c, const struct sim_pipe *p)
{
	bool due = c->fate.kind == SIM_RESET || c->fate.kind == SIM_STALL;

	if (!due || p != &c->pipe[c->fate.from_server ? 1 : 0])
		return UINT64_MAX;
	return c->fate.after > p->arrived ? c->fate.after - p->arrived : 0;
}

static void meet_fate(struct sim_conn *c)
{
	if (c->fate.kind == SIM_RESET) {
		c->fate.kind = SIM_PASS;
		sim_conn_cut(c, -ECONNRESET);
		return;
	}
	c->fate.kind = SIM_PASS;
	c->stalled = true;
	sim_trace(c->sim, c->end[0].host, "stall", c->number, 0);
}

static void data_arrives(struct sim_conn *c, struct sim_pipe *p, struct sim_segment *g, struct sim_end *to)
{
	size_t room = (size_t) (c->way.receive_buffer - (p->arrived - p->read));
	uint64_t left = left_to_fate(c, p);
	size_t n = (size_t) MIN(MIN((uint64_t) g->len, (uint64_t) room), left);

	if (n == 0 && left > 0) {
		p->window_closed = true;
		return;
	}
	sim_trace(c->sim, to->host, "data", c->number << 1 | to->side, n);
	p->arrived += n;
	g->len -= n;
	if (n > 0)
		wake(to->reader);
	wake(sim_end_peer(to)->writer);
	if (n == left)
		meet_fate(c); /* g may be gone */
	else if (g->len == 0)
		segment_free(p, g);
}

static void segment_arrives(struct sim_conn *c, struct sim_pipe *p, struct sim_segment *g, struct sim_end *to)
{
	enum sim_segment_kind kind = g->kind;

	if (kind == SIM_DATA && to->open) {
		data_arrives(c, p, g, to);
		return;
	}
	sim_trace(c->sim, to->host, kind == SIM_DATA ? "late data" : kind == SIM_FIN ? "fin" : "reset",
		  c->number << 1 | to->side, g->len);
	if (kind == SIM_DATA) { /* to an end that was closed */
		p->written -= g->len;
		if (!link_linked(&c->pipe[to->side].rst.link) && sim_end_peer(to)->open)
			send_reset(to);
	}
	segment_free(p, g);
	if (kind == SIM_FIN) {
		p->fin_arrived = true;
		wake(to->reader);
	} else if (kind == SIM_RST && to->open) {
		sim_end_fail(to, -ECONNRESET);
	}
}

/* Nothing gets through: the sender tries again for a quarter of an hour, then gives up. */
static void pipe_blocked(struct sim_conn *c, struct sim_pipe *p)
{
	struct sim_end *from = &c->end[p->side];

	if (!p->blocked_since) {
		p->blocked_since = c->sim->now;
		sim_event_arm(c->sim, &p->event, c->sim->now + GIVE_UP_AFTER);
	} else if (from->open) {
		sim_end_fail(from, -ETIMEDOUT);
	} else {
		pipe_purge(c, p);
	}
}

static void pipe_fire(struct sim *s, struct sim_event *e)
{
	struct sim_pipe *p = container_of(e, struct sim_pipe, event);
	struct sim_conn *c = p->conn;
	struct sim_segment *g = first_segment(p);

	CHECK_MAGIC(c, SIM_CONN_MAGIC);
	if (!g)
		return;
	if (sim_conn_blocked(c)) {
		pipe_blocked(c, p);
		return;
	}
	segment_arrives(c, p, g, &c->end[1 - p->side]);
	pipe_arm(c, p);
}

void sim_conn_resume(struct sim_conn *c)
{
	if (sim_conn_blocked(c))
		return;
	for (unsigned side = 0; side < 2; side++) {
		struct sim_pipe *p = &c->pipe[side];

		if (!p->blocked_since)
			continue;
		p->blocked_since = 0;
		sim_event_arm(c->sim, &p->event, c->sim->now + sim_one_way(c->sim, &c->way));
	}
}

/* --- the transport -------------------------------------------------------------------------------- */

static struct sim_end *end_of(struct transport *t)
{
	struct sim_end *e = container_of(t, struct sim_end, base);

	CHECK_MAGIC(e->conn, SIM_CONN_MAGIC);
	return e;
}

static ssize_t end_read(struct transport *t, void *data, size_t len)
{
	struct sim_end *e = end_of(t);
	struct sim_conn *c = e->conn;
	struct sim_pipe *in = &c->pipe[1 - e->side];
	size_t n = (size_t) MIN(in->arrived - in->read, (uint64_t) len);

	if (e->world->dead)
		return -ECONNRESET;
	if (n == 0 && len > 0) {
		if (e->error)
			return e->error;
		return in->fin_arrived ? 0 : -EAGAIN;
	}
	if (n == 0)
		return 0;
	ring_take(in, in->read, data, n);
	in->read += n;
	if (in->window_closed) { /* tell the sender that there is room again */
		in->window_closed = false;
		sim_event_arm(c->sim, &in->event, c->sim->now + sim_one_way(c->sim, &c->way));
	}
	return (ssize_t) n;
}

static size_t send_space(const struct sim_end *e)
{
	const struct sim_pipe *out = &e->conn->pipe[e->side];

	return (size_t) (e->conn->way.send_buffer - (out->written - out->arrived));
}

static int write_error(struct sim_end *e)
{
	if (e->world->dead)
		return -ECONNRESET;
	if (e->error && !e->error_seen) {
		e->error_seen = true;
		return e->error;
	}
	return e->shut ? -EPIPE : 0;
}

static ssize_t end_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct sim_end *e = end_of(t);
	struct sim *s = e->conn->sim;
	size_t total = 0, take, done = 0;
	int r = write_error(e);

	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (total == 0)
		return 0;
	take = MIN(total, send_space(e));
	if (take == 0)
		return -EAGAIN;
	if (sim_below(s, 8) == 0) /* a short write is always allowed */
		take = 1 + (size_t) sim_below(s, take);
	for (int i = 0; i < n && done < take; i++) {
		size_t part = MIN(iov[i].iov_len, take - done);

		if (part == 0)
			continue;
		sim_trace(s, e->host, "send", e->conn->number << 1 | e->side, sim_digest(iov[i].iov_base, part));
		pipe_send(e->conn, &e->conn->pipe[e->side], iov[i].iov_base, part);
		done += part;
	}
	return (ssize_t) done;
}

static bool end_ready(const struct sim_end *e, unsigned what)
{
	const struct sim_pipe *in = &e->conn->pipe[1 - e->side];

	if (e->world->dead || e->error)
		return true;
	if ((what & WAIT_READ) && (in->read < in->arrived || in->fin_arrived))
		return true;
	return (what & WAIT_WRITE) && (e->shut || send_space(e) > 0);
}

static int end_wait(struct transport *t, unsigned what, usec_t deadline)
{
	struct sim_end *e = end_of(t);
	struct fiber *f = fiber_self();
	int r;

	assert(f && loop_current()->world == &e->world->base);
	if (f->cancelled && !f->uncancellable)
		return -ECANCELED;
	if (end_ready(e, what))
		return 0;
	assert(!(what & WAIT_READ) || !e->reader); /* one fiber for each direction */
	assert(!(what & WAIT_WRITE) || !e->writer);
	if (what & WAIT_READ)
		e->reader = f;
	if (what & WAIT_WRITE)
		e->writer = f;
	r = fiber_wait(what & WAIT_READ ? "network input" : "network output", deadline);
	if (what & WAIT_READ)
		e->reader = NULL;
	if (what & WAIT_WRITE)
		e->writer = NULL;
	return r;
}

static void end_shutdown(struct transport *t)
{
	struct sim_end *e = end_of(t);
	struct sim_pipe *out = &e->conn->pipe[e->side];

	if (e->world->dead || !e->open || e->shut)
		return;
	e->shut = true;
	pipe_send_mark(e->conn, out, &out->fin);
}

static void end_close(struct transport *t)
{
	struct sim_end *e = end_of(t);

	assert(!e->reader && !e->writer); /* a fiber still waits in it */
	sim_end_hang_up(e, false);
	link_remove(&e->world_link);
	e->attached = false;
	e->world = NULL;
	sim_conn_unref(e->conn);
}

const struct transport_ops sim_transport_ops = {
	.name = "simulated",
	.read = end_read,
	.writev = end_writev,
	.wait = end_wait,
	.shutdown = end_shutdown,
	.close = end_close,
};
