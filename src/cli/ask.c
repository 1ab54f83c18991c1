/* One request to the control socket of the running server. */
#include <stdio.h>

#include "cli/cli.h"
#include "world/fiber.h"
#include "world/stream.h"

#define CONNECT_TIME (5 * USEC_SEC)
#define ANSWER_TIME (5 * USEC_MIN) /* between two pieces of an answer */
#define ROW_MAX (64u << 20)

struct ask {
	struct stream *stream;
	void (*row)(const json_t *row, void *context);
	void *context;
	struct buffer line;
};

static int send_request(struct ask *a, const json_t *request)
{
	_cleanup_(freep) char *text = json_dumps(request, JSON_COMPACT);
	usec_t deadline = deadline_after(now(), ANSWER_TIME);
	int r;

	if (!text)
		return -ENOMEM;
	r = stream_put_str(a->stream, text, deadline);
	if (r >= 0)
		r = stream_put_str(a->stream, "\n", deadline);
	return r < 0 ? r : stream_flush(a->stream, deadline);
}

/* Rows may be longer than the stream's buffer, so a line is gathered. */
static int read_line(struct ask *a)
{
	buffer_clear(&a->line);
	for (;;) {
		struct slice in = stream_peek(a->stream);
		ssize_t end = slice_find(in, '\n'), n;
		size_t take = end < 0 ? in.len : (size_t) end + 1;

		buffer_append(&a->line, in.data, take);
		stream_consume(a->stream, take);
		if (buffer_error(&a->line) < 0 || a->line.len > ROW_MAX)
			return -ENOMEM;
		if (end >= 0)
			return 0;
		n = stream_fill(a->stream, deadline_after(now(), ANSWER_TIME));
		if (n <= 0)
			return n < 0 ? (int) n : -ECONNRESET;
	}
}

static int read_answer(struct ask *a, json_t **ret)
{
	for (;;) {
		json_t *o, *row;
		int r = read_line(a);

		if (r < 0)
			return r;
		o = json_loadb(a->line.data, a->line.len, 0, NULL);
		if (!o)
			return -EPROTO;
		row = json_object_get(o, "row");
		if (!row) {
			*ret = o;
			return 0;
		}
		if (a->row)
			a->row(row, a->context);
		json_decref(o);
	}
}

static int converse(struct ask *a, const struct endpoint *at, const json_t *request, json_t **ret)
{
	struct transport *transport;
	int r;

	r = net_connect(at, NULL, deadline_after(now(), CONNECT_TIME), &transport);
	if (r < 0)
		return r;
	r = stream_new(transport, at, &a->stream);
	if (r < 0)
		return r;
	r = send_request(a, request);
	return r < 0 ? r : read_answer(a, ret);
}

static int explain(const struct config *config, const struct endpoint *at, int r)
{
	switch (r) {
	case -ENOENT:
	case -ECONNREFUSED:
		return cli_failed("no server runs with this configuration (nobody listens at %s);\nstart it with: yizhan serve -c %s",
				  at->path, config->file);
	case -EACCES:
	case -EPERM:
		return cli_failed("no permission for %s; ask as root or as the user that the server runs as", at->path);
	default:
		return cli_failed("cannot ask the server at %s: %s", at->path, strerrordesc_np(-r));
	}
}

int cli_ask(struct world *w, const struct config *config, const json_t *request, void (*row)(const json_t *row, void *context),
	    void *context, bool quiet, json_t **ret)
{
	struct ask a = { .row = row, .context = context };
	struct endpoint at;
	json_t *answer = NULL;
	int r;

	if (admin_socket_path(&config->admin, config->spool.path, &at) < 0)
		return quiet ? CLI_NO : cli_failed("the path of the control socket is too long; set admin.socket");
	r = converse(&a, &at, request, &answer);
	stream_free(a.stream);
	buffer_done(&a.line);
	if (r < 0)
		return quiet ? CLI_NO : explain(config, &at, r);
	if (json_is_true(json_object_get(answer, "ok"))) {
		*ret = answer;
		return CLI_YES;
	}
	if (!quiet)
		cli_failed("%s", cli_text(answer, "error"));
	json_decref(answer);
	return CLI_NO;
}
