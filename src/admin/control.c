#include "admin/control.h"

#include <stdio.h>
#include <stdlib.h>

#include "admin/command.h"
#include "world/file.h"

#define CONNECTIONS_MAX 64u
#define IDLE_TIME USEC_MIN
#define WRITE_TIME (30 * USEC_SEC)

struct control {
	struct world *world;
	const struct log *log;
	const struct admin_parts *parts;
	struct loop *loop;
	struct endpoint at;
	struct listener *listener;
	unsigned connections;
};

struct control_session {
	struct control *control;
	struct stream *stream;
	struct admin_reply reply;
};

static int send_json(struct stream *stream, struct making *o)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	int r = making_write(o, &text);

	buffer_append_char(&text, '\n');
	if (r >= 0)
		r = buffer_error(&text);
	return r < 0 ? r : stream_put(stream, buffer_slice(&text), deadline_after(now(), WRITE_TIME));
}

static int send_row(struct admin_reply *reply, json_t *row)
{
	struct control_session *s = container_of(reply, struct control_session, reply);
	struct making line = making_object(), taken = { .json = row };

	json_put(&line, "row", &taken);
	return send_json(s->stream, &line);
}

static int run(struct control_session *s, struct slice line)
{
	json_t *request = NULL;
	int r = json_read(line, &request);
	const char *name = json_string_value(json_object_get(request, "command"));

	if (name) {
		r = admin_run(s->control->parts, name, request, &s->reply);
	} else if (r == -ENOMEM) {
		s->reply.error = strerrordesc_np(ENOMEM);
	} else {
		r = -EINVAL;
		s->reply.error = "a request is a line like {\"command\":\"status\"}";
	}
	json_decref(request);
	return r;
}

/* Without memory for the answer the connection ends: that is an answer, too. */
static int answer(struct control_session *s, struct slice line)
{
	int r;

	s->reply = (struct admin_reply) { .row = send_row, .result = making_object(), .arena = s->reply.arena };
	r = run(s, line);
	if (r < 0) {
		/* Half a result is none. */
		making_done(&s->reply.result);
		s->reply.result = making_object();
		json_set_text(&s->reply.result, "error", s->reply.error);
	}
	json_set_bool(&s->reply.result, "ok", r >= 0);
	arena_reset(s->reply.arena);
	r = send_json(s->stream, &s->reply.result);
	return r < 0 ? r : stream_flush(s->stream, deadline_after(now(), WRITE_TIME));
}

/* The bytes of one request with its newline, or 0 at the end of the stream. */
static ssize_t read_line(struct stream *stream)
{
	for (;;) {
		struct slice in = stream_peek(stream);
		ssize_t end = slice_find(in, '\n'), n;

		if (end >= 0)
			return end + 1;
		if (in.len >= CONTROL_LINE_MAX)
			return -EMSGSIZE;
		n = stream_fill(stream, deadline_after(now(), IDLE_TIME));
		if (n <= 0)
			return n;
	}
}

static void session(void *arg)
{
	struct control_session *s = arg;

	for (;;) {
		_cleanup_(freep) char *copy = NULL;
		ssize_t n = read_line(s->stream);

		if (n <= 0)
			break;
		/* The buffer goes back to its pool while rows are sent, so the request is copied. */
		copy = slice_dup(slice_head(stream_peek(s->stream), (size_t) n));
		stream_consume(s->stream, (size_t) n);
		if (!copy || answer(s, slice_new(copy, (size_t) n)) < 0)
			break;
	}
	s->control->connections--;
	stream_free(s->stream);
	arena_free(s->reply.arena);
	free(s);
}

static int begin_session(struct control *c, struct transport *transport, const struct endpoint *peer)
{
	struct control_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		transport_close(transport);
		return -ENOMEM;
	}
	s->control = c;
	r = stream_new(transport, peer, &s->stream);
	if (r >= 0)
		r = arena_new(0, &s->reply.arena);
	if (r >= 0)
		r = fiber_spawn("control", session, s, NULL);
	if (r < 0) {
		stream_free(s->stream);
		arena_free(s->reply.arena);
		free(s);
		return r;
	}
	c->connections++;
	return 0;
}

static void accept_fiber(void *arg)
{
	struct control *c = arg;

	for (;;) {
		struct transport *transport;
		struct endpoint peer;
		int r = listener_accept(c->listener, DEADLINE_NEVER, &transport, &peer);

		if (r == -ECANCELED)
			return;
		if (r >= 0 && c->connections >= CONNECTIONS_MAX)
			transport_close(transport);
		else if (r >= 0)
			r = begin_session(c, transport, &peer);
		if (r < 0 && fiber_sleep_until(deadline_after(now(), 100 * USEC_MS)) == -ECANCELED)
			return;
	}
}

int control_new(struct world *w, const struct log *log, const struct endpoint *at, const struct admin_parts *parts, struct loop *loop,
		struct control **ret, char **ret_why)
{
	_cleanup_(control_freep) struct control *c = calloc(1, sizeof(*c));
	struct listen_options options = { .unix_mode = 0600, .backlog = 16 };
	char text[ENDPOINT_TEXT];
	int r;

	if (!c)
		return -ENOMEM;
	c->world = w;
	c->log = log;
	c->parts = parts;
	c->loop = loop;
	c->at = *at;
	r = listener_open(w, at, &options, &c->listener);
	if (r < 0) {
		if (asprintf(ret_why, "cannot open the control socket %s: %s", endpoint_format(at, text), strerrordesc_np(-r)) < 0)
			*ret_why = NULL;
		return r;
	}
	*ret = TAKE_PTR(c);
	return 0;
}

int control_start(struct control *c)
{
	return loop_spawn(c->loop, "control-accept", accept_fiber, c);
}

void control_free(struct control *c)
{
	if (!c)
		return;
	if (c->listener) {
		listener_close(c->listener);
		if (c->at.kind == ENDPOINT_UNIX)
			path_unlink(c->world, c->at.path);
	}
	free(c);
}
