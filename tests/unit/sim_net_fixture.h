/* For tests of the simulated world: a server and a client, each a machine with one loop, and fibers that send
 * and check a pattern of bytes. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world/fiber.h"
#include "world/sim.h"
#include "world/stream.h"

#define SERVER "192.0.2.1"
#define CLIENT "192.0.2.2"
#define PORT 25

/* Two machines, each with one loop; the tests keep in `seen` and `result` what their fibers found. */
struct fixture {
	struct sim *sim;
	struct sim_host *server, *client;
	struct world *server_world, *client_world;
	struct loop *server_loop, *client_loop;
	struct listener *listener;
	struct endpoint at;
	uint64_t amount;
	usec_t deadline;
	int result, server_result;
	uint64_t seen, server_seen;
	usec_t when;
	unsigned count;
	bool reset;
};

static inline struct endpoint endpoint(const char *text)
{
	struct endpoint e;

	assert_int_equal(endpoint_parse(slice_from(text), &e), 0);
	return e;
}

static inline struct loop *loop_on(struct world *w)
{
	struct loop *l;

	assert_int_equal(loop_new(w, "main", 0, 0, &l), 0);
	assert_int_equal(loop_start(l), 0);
	return l;
}

static inline void set_up(struct fixture *f, uint64_t seed)
{
	struct sim_options o = { .seed = seed };

	*f = (struct fixture) { .at = endpoint(SERVER ":25"), .deadline = DEADLINE_NEVER };
	f->result = f->server_result = 1; /* under way */
	assert_int_equal(sim_new(&o, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "server", SERVER " 2001:db8::1", &f->server, &f->server_world), 0);
	assert_int_equal(sim_host_new(f->sim, "client", CLIENT, &f->client, &f->client_world), 0);
	f->server_loop = loop_on(f->server_world);
	f->client_loop = loop_on(f->client_world);
}

static inline void end_server(struct fixture *f)
{
	loop_stop(f->server_loop);
	listener_close(f->listener);
	f->listener = NULL;
	loop_free(f->server_loop);
	world_free(f->server_world);
}

static inline void tear_down(struct fixture *f)
{
	end_server(f);
	loop_stop(f->client_loop);
	loop_free(f->client_loop);
	world_free(f->client_world);
	assert_int_equal(sim_connection_count(f->sim), 0);
	sim_free(f->sim);
}

static inline void listen_here(struct fixture *f)
{
	assert_int_equal(listener_open(f->server_world, &f->at, NULL, &f->listener), 0);
}

static inline void on_server(struct fixture *f, void (*fn)(void *))
{
	assert_int_equal(loop_spawn(f->server_loop, "server", fn, f), 0);
}

static inline void on_client(struct fixture *f, void (*fn)(void *))
{
	assert_int_equal(loop_spawn(f->client_loop, "client", fn, f), 0);
}

/* --- fibers of the tests -------------------------------------------------------------------------- */

static inline char pattern(uint64_t i)
{
	return (char) (i * 2654435761u >> 11);
}

/* Sends f->amount bytes of the pattern and closes. */
static inline int send_pattern(struct stream *s, uint64_t amount, usec_t deadline)
{
	char part[700];
	uint64_t sent = 0;
	int r = 0;

	while (r >= 0 && sent < amount) {
		size_t n = MIN(sizeof(part), (size_t) (amount - sent));

		for (size_t i = 0; i < n; i++)
			part[i] = pattern(sent + i);
		r = stream_put(s, slice_new(part, n), deadline);
		sent += n;
	}
	return r < 0 ? r : stream_flush(s, deadline);
}

/* Reads to the end; every byte must be the next of the pattern. */
static inline int read_pattern(struct stream *s, uint64_t *seen, usec_t deadline)
{
	for (;;) {
		ssize_t n = stream_fill(s, deadline);
		struct slice in = stream_peek(s);

		if (n <= 0)
			return (int) n;
		for (size_t i = 0; i < in.len; i++)
			assert_int_equal(in.data[i], pattern(*seen + i));
		*seen += in.len;
		stream_consume(s, in.len);
	}
}

static inline void client_sends(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	int r;

	r = net_connect(&f->at, NULL, f->deadline, &t);
	if (r >= 0) {
		assert_int_equal(stream_new(t, &f->at, &s), 0);
		r = send_pattern(s, f->amount, f->deadline);
	}
	f->result = r;
	f->when = now();
}

static inline void server_reads(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	struct endpoint peer;
	int r;

	r = listener_accept(f->listener, f->deadline, &t, &peer);
	if (r >= 0) {
		f->count++;
		assert_int_equal(stream_new(t, &peer, &s), 0);
		r = read_pattern(s, &f->server_seen, f->deadline);
	}
	f->server_result = r;
}

/* Sends, then reads everything back; the server is server_echoes. */
static inline void client_talks(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	int r;

	r = net_connect(&f->at, NULL, f->deadline, &t);
	if (r >= 0) {
		assert_int_equal(stream_new(t, &f->at, &s), 0);
		r = send_pattern(s, f->amount, f->deadline);
	}
	if (r >= 0) {
		s->transport->ops->shutdown(s->transport);
		r = read_pattern(s, &f->seen, f->deadline);
	}
	f->result = r;
	f->when = now();
}

static inline void server_echoes(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	struct endpoint peer;
	ssize_t n;

	n = listener_accept(f->listener, f->deadline, &t, &peer);
	if (n < 0) {
		f->server_result = (int) n;
		return;
	}
	assert_int_equal(stream_new(t, &peer, &s), 0);
	while ((n = stream_fill(s, f->deadline)) > 0) {
		struct slice in = stream_peek(s);
		int r = stream_put(s, in, f->deadline);

		f->server_seen += in.len;
		stream_consume(s, in.len);
		if (r < 0)
			break;
	}
	f->server_result = n < 0 ? (int) n : stream_flush(s, f->deadline);
}

static inline void server_counts(void *arg)
{
	struct fixture *f = arg;

	while (f->server_result >= 0 || f->server_result == 1)
		server_reads(f);
}
