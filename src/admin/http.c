#include "admin/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/command.h"

#define ROWS_MAX 1000 /* of one answer, unless limit= says otherwise */
#define BODY_MAX (64u << 20)

struct http {
	struct MHD_Daemon *daemon;
	const struct log *log;
	const struct admin_parts *parts;
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned running; /* requests on fibers */
	bool stopping;
};

/* One request: made on the library's thread, carried out on a fiber, answered on the thread again. */
struct http_request {
	struct http *http;
	struct MHD_Connection *connection;
	char *url;
	struct making query;
	struct admin_reply reply;
	json_t *rows;
	struct buffer body;
	bool no_room; /* for the answer */
	unsigned status;
	const char *type;
	bool started, done;
};

/* --- on the fiber ----------------------------------------------------------------------------------------------- */

static int keep_row(struct admin_reply *reply, json_t *row)
{
	struct http_request *q = container_of(reply, struct http_request, reply);

	if (!q->rows)
		q->rows = json_array();
	return json_array_append_new(q->rows, row) == 0 ? 0 : -ENOMEM;
}

/* What the path asks for: the name of a command, or NULL. Details go to the query. */
static const char *command_for(struct http_request *q)
{
	if (strcmp(q->url, "/api/status") == 0)
		return "status";
	if (strcmp(q->url, "/api/queue/summary") == 0)
		return "queue.summary";
	if (strcmp(q->url, "/api/sites") == 0)
		return "sites";
	if (strcmp(q->url, "/api/queue") == 0) {
		if (!json_object_get(q->query.json, "limit"))
			json_set_number(&q->query, "limit", ROWS_MAX);
		return "queue.list";
	}
	if (strncmp(q->url, "/api/trace/", 11) == 0) {
		json_set_text(&q->query, "id", q->url + 11);
		return "trace";
	}
	return NULL;
}

static unsigned status_for(int r)
{
	switch (r) {
	case 0:
		return MHD_HTTP_OK;
	case -ENOENT:
		return MHD_HTTP_NOT_FOUND;
	case -EINVAL:
		return MHD_HTTP_BAD_REQUEST;
	case -ECANCELED:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

/* Without a part of what was asked, the answer would be to another question. */
static int run_query(struct http_request *q, const char *name)
{
	if (q->query.error < 0) {
		q->reply.error = strerrordesc_np(-q->query.error);
		return q->query.error;
	}
	return admin_run(q->http->parts, name, q->query.json, &q->reply);
}

static void write_answer(struct http_request *q)
{
	q->no_room = making_write(&q->reply.result, &q->body) < 0;
	buffer_append_char(&q->body, '\n');
}

static void run_command(struct http_request *q)
{
	const char *name = command_for(q);
	int r = -ENOENT;

	if (name)
		r = run_query(q, name);
	else
		q->reply.error = "there is nothing here; see /api/status, /api/queue, /api/queue/summary, /api/sites, /api/trace/ID and /metrics";
	q->status = status_for(r);
	if (r < 0) {
		making_done(&q->reply.result);
		q->reply.result = making_object();
		json_set_text(&q->reply.result, "error", q->reply.error);
	} else if (q->rows || (name && (strcmp(name, "queue.list") == 0 || strcmp(name, "sites") == 0))) {
		struct making rows = q->rows ? (struct making) { .json = TAKE_PTR(q->rows) } : making_list();

		json_put(&q->reply.result, "rows", &rows);
	}
	write_answer(q);
}

static void request_fiber(void *arg)
{
	struct http_request *q = arg;
	struct http *h = q->http;

	if (strcmp(q->url, "/metrics") == 0) {
		q->type = "text/plain; version=0.0.4; charset=utf-8";
		q->status = status_for(metrics_text(h->parts, &q->body));
	} else {
		q->type = "application/json";
		run_command(q);
	}
	q->no_room |= buffer_error(&q->body) < 0 || q->body.len > BODY_MAX;
	pthread_mutex_lock(&h->lock);
	q->done = true;
	MHD_resume_connection(q->connection);
	if (--h->running == 0)
		pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
}

/* --- on the library's thread ------------------------------------------------------------------------------------ */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, struct slice body)
{
	struct MHD_Response *response;
	enum MHD_Result r;

	response = MHD_create_response_from_buffer(body.len, (void *) (body.data ? body.data : ""), MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	r = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return r;
}

static enum MHD_Result take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct http_request *q = context;
	uint64_t n;

	if (!value)
		return MHD_YES;
	if ((strcmp(key, "limit") == 0 || strcmp(key, "older_than_s") == 0) && slice_to_u64(slice_from(value), &n) == 0)
		json_set_number(&q->query, key, n);
	else if (strcmp(key, "held") == 0)
		json_set_bool(&q->query, key, true);
	else
		json_set_text(&q->query, key, value);
	return MHD_YES;
}

static void request_free(struct http_request *q)
{
	making_done(&q->query);
	making_done(&q->reply.result);
	json_decref(q->rows);
	arena_free(q->reply.arena);
	buffer_done(&q->body);
	free(q->url);
	free(q);
}
DEFINE_FREEP(struct http_request, request_free)

static struct http_request *request_new(struct http *h, struct MHD_Connection *connection, const char *url)
{
	_cleanup_(request_freep) struct http_request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->http = h;
	q->connection = connection;
	q->url = strdup(url);
	q->query = making_object();
	q->reply.result = making_object();
	q->reply.row = keep_row;
	if (!q->url || q->query.error < 0 || q->reply.result.error < 0 || arena_new(0, &q->reply.arena) < 0)
		return NULL;
	return TAKE_PTR(q);
}

/* The connection sleeps from here until the fiber has ended. */
static enum MHD_Result start(struct http_request *q)
{
	struct http *h = q->http;
	int r = -ECANCELED;

	q->started = true;
	MHD_get_connection_values(q->connection, MHD_GET_ARGUMENT_KIND, take_argument, q);
	pthread_mutex_lock(&h->lock);
	if (!h->stopping) {
		MHD_suspend_connection(q->connection);
		h->running++;
		r = loop_spawn(h->loop, "http", request_fiber, q);
		if (r < 0) {
			h->running--;
			MHD_resume_connection(q->connection);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return r < 0 ? MHD_NO : MHD_YES;
}

/* A web page may make a browser ask us under a name of its own that resolves to our address; who means us says
 * an address, localhost or our name. */
static bool host_is_ours(struct http *h, struct MHD_Connection *connection)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	struct slice host = slice_from(header), rest;
	struct endpoint at;
	struct ip ip;

	if (!header || endpoint_parse(host, &at) == 0 || ip_parse(host, &ip) == 0)
		return true;
	if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
		return true;
	host = slice_cut(host, ':', &rest);
	return slice_ieq_str(host, "localhost") || slice_ieq_str(host, h->parts->hostname);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_size, void **of_request)
{
	struct http *h = context;
	struct http_request *q = *of_request;
	bool done;

	if (!q) {
		*of_request = request_new(h, connection, url);
		return *of_request ? MHD_YES : MHD_NO;
	}
	if (*upload_size) {
		*upload_size = 0; /* nobody wants a body; it is read and forgotten */
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "application/json",
			      SLICE("{\"error\":\"only GET is understood: this API is read-only\"}\n"));
	if (!host_is_ours(h, connection))
		return answer(connection, MHD_HTTP_FORBIDDEN, "application/json",
			      SLICE("{\"error\":\"the Host header must be an address, localhost or the server's hostname\"}\n"));
	if (!q->started)
		return start(q);
	pthread_mutex_lock(&h->lock);
	done = q->done;
	pthread_mutex_unlock(&h->lock);
	if (!done)
		return MHD_YES;
	if (q->no_room)
		return answer(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "application/json",
			      SLICE("{\"error\":\"there is no room for the answer\"}\n"));
	return answer(connection, q->status, q->type, buffer_slice(&q->body));
}

static void completed(void *context, struct MHD_Connection *connection, void **of_request, enum MHD_RequestTerminationCode code)
{
	if (*of_request)
		request_free(*of_request);
	*of_request = NULL;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

static void make_sockaddr(const struct endpoint *at, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (at->ip.family == 4) {
		struct sockaddr_in *in = (struct sockaddr_in *) ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(at->port);
		memcpy(&in->sin_addr, at->ip.bytes, 4);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(at->port);
		memcpy(&in6->sin6_addr, at->ip.bytes, 16);
	}
}

int http_new(const struct log *log, const struct endpoint *at, const struct admin_parts *parts, struct loop *loop, struct http **ret,
	     char **ret_why)
{
	_cleanup_(http_freep) struct http *h = calloc(1, sizeof(*h));
	struct sockaddr_storage address;
	char text[ENDPOINT_TEXT];
	unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->idle, NULL);
	h->log = log;
	h->parts = parts;
	h->loop = loop;
	make_sockaddr(at, &address);
	if (at->ip.family == 6)
		flags |= MHD_USE_IPv6;
	errno = 0;
	h->daemon = MHD_start_daemon(flags, at->port, NULL, NULL, handle, h, MHD_OPTION_SOCK_ADDR, &address,
				     MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_CONNECTION_LIMIT, 64u,
				     MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) 32768,
				     MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
	if (!h->daemon) {
		int error = errno ? errno : EADDRINUSE;

		if (asprintf(ret_why, "cannot listen on %s for the HTTP API (admin.listen): %s", endpoint_format(at, text),
			     strerrordesc_np(error)) < 0)
			*ret_why = NULL;
		return -error;
	}
	LOG(log, LOG_INFO, "the HTTP API listens", F_STR("address", endpoint_format(at, text)));
	*ret = TAKE_PTR(h);
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	while (h->running)
		pthread_cond_wait(&h->idle, &h->lock);
	pthread_mutex_unlock(&h->lock);
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
