/* The HTTP API, each of whose allocations fails once, on the library's thread and on the loop that answers: the answer is
 * whole, or it is a 500 that says so, or the connection ends; and the next request is answered as ever. Queue, spool and
 * journal are stand-ins; the library's own memory does not fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/http.h"
#include "faults/faults.h"
#include "world/linux.h"

#define ANSWER_MAX 16384u

/* --- stand-ins ----------------------------------------------------------------------------------------------- */

#define ID "0p1gwy0000000"

int queue_list(struct queue *q, const struct queue_filter *f, int (*each)(const struct queue_row *row, void *context), void *context)
{
	const struct queue_row_recipient recipients[] = {
		{ .address = "x@one.example", .site = "mx:mx.one.example", .last_reply = "450 4.2.1 later", .waits_for = "its time" },
		{ .address = "y@two.example", .site = "mx:mx.two.example" },
	};
	const struct queue_row row = { .sender = "a@sender.example", .n_recipients = 2, .recipients = recipients };
	int r = 0;

	/* The filter is part of the answer: with a condition missing it would be another one. */
	for (unsigned i = 0; i < (f->sender ? 1u : 2u) + (f->site ? 0u : 3u) && r == 0; i++)
		r = each(&row, context);
	return r;
}

int queue_summarize(struct queue *q, struct queue_summary *ret)
{
	*ret = (struct queue_summary) { .messages = 5, .recipients = 10 };
	return 0;
}

int queue_sites(struct queue *q, int (*each)(const struct site_row *row, void *context), void *context)
{
	return each(&(struct site_row) { .key = "mx:mx.one.example", .state = "open", .window = 5 }, context);
}

int queue_held_sites(struct queue *q, struct arena *a, const char *const **ret, unsigned *ret_n)
{
	static const char *const held[] = { "mx:mx.two.example" };

	*ret = held;
	*ret_n = ARRAY_LEN(held);
	return 0;
}

void queue_counters(struct queue *q, struct queue_counters *ret)
{
	*ret = (struct queue_counters) { .delivered = 7 };
}

void spool_stats(struct spool *s, struct spool_stats *ret)
{
	*ret = (struct spool_stats) { .messages = 5 };
}

void journal_stats(struct journal *j, struct journal_stats *ret)
{
	*ret = (struct journal_stats) { .events = 3 };
}

int journal_flush(struct journal *j, usec_t deadline)
{
	return 0;
}

int journal_search(struct world *w, const char *directory, msgid_t id, int (*each)(struct slice line, void *context), void *context)
{
	int r = each(SLICE("{\"id\":\"" ID "\",\"event\":\"received\",\"from\":\"a@sender.example\"}"), context);

	return r ? r : each(SLICE("{\"id\":\"" ID "\",\"event\":\"deferred\",\"reason\":\"450 4.2.1 \\\"later\\\"\"}"), context);
}

/* --- a browser, without any allocation ---------------------------------------------------------------------------- */

static struct {
	pthread_t client;
	uint16_t port;
} it;

static int connect_to(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *) &at, sizeof(at)), 0);
	return fd;
}

/* The whole answer, with its numbers made alike; empty when the connection ended. */
static void get(const char *path, char answer[ANSWER_MAX])
{
	char request[400];
	int fd = connect_to(it.port), n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	size_t len = 0, out = 0;
	ssize_t got;

	assert_int_equal(write(fd, request, (size_t) n), n);
	while ((got = read(fd, answer + len, ANSWER_MAX - 1 - len)) > 0)
		len += (size_t) got;
	close(fd);
	answer[len] = '\0';
	assert_true(len < ANSWER_MAX - 1);
	if (len > 0)
		assert_true(len > 12 && memcmp(answer, "HTTP/1.1 ", 9) == 0);
	/* Times and the numbers of fibers differ; the status is kept. */
	for (size_t i = 0; i < len; i++)
		if (i < 12 || answer[i] < '0' || answer[i] > '9')
			answer[out++] = answer[i];
	answer[out] = '\0';
}

static uint16_t find_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *) &at, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}

/* --- the walk -------------------------------------------------------------------------------------------------------- */

static const char *const paths[] = {
	"/api/status", "/api/queue", "/api/queue?sender=a@sender.example&site=mx:*", "/api/queue?site=mx:mx.one.example&limit=20&held=1",
	"/api/queue/summary", "/api/sites", "/api/trace/" ID, "/api/trace/nonsense", "/metrics", "/nothing",
};

static bool in_the_server(void *context)
{
	return !pthread_equal(pthread_self(), it.client);
}

static void ask_everything(void)
{
	static char reference[ARRAY_LEN(paths)][ANSWER_MAX], answer[ANSWER_MAX];

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		get(paths[i], reference[i]);
		assert_true(reference[i][0] && !strstr(reference[i], "HTTP/1.1 5"));
	}
	for (unsigned round = 0; round < 2; round++) {
		if (round == 0)
			faults_begin(in_the_server, NULL);
		for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
			bool whole, failed;

			get(paths[i], answer);
			whole = strcmp(answer, reference[i]) == 0;
			/* The connection ended, or a sentence. */
			failed = !answer[0] || (strncmp(answer, "HTTP/1.1 500", 12) == 0 && strstr(answer, "\"error\":\"")) ||
				 strstr(answer, "\"unreadable_lines\"");
			if (!whole && !failed)
				print_message("%s\n%s\nin place of\n%s\n", paths[i], answer, reference[i]);
			faults_check(whole || (failed && faults_fired() && round == 0));
		}
		faults_end();
	}
}

static void play(void *context)
{
	struct endpoint at = { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 127, 0, 0, 1 } }, .port = it.port };
	struct admin_parts parts = { .version = "1", .hostname = "us.example", .spool_path = "/spool", .config_file = "/etc/yizhan.yaml", .n_loops = 1 };
	struct world *world;
	struct loop *loop;
	struct http *http;
	char *why = NULL;

	assert_int_equal(world_linux_new(NULL, &world), 0);
	assert_int_equal(loop_new(world, "admin", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	parts.loops = &loop;
	assert_int_equal(http_new(NULL, &at, &parts, loop, &http, &why), 0);
	ask_everything();
	http_free(http);
	loop_stop(loop);
	loop_free(loop);
	world_free(world);
}

static void test_an_answer_is_whole_or_an_error(void **state)
{
	struct faults_walk w = { .name = "requests", .scenario = play, .times = 1, .most = 300 };

	it.client = pthread_self();
	it.port = find_port();
	assert_true(faults_enough(faults_walk(&w), 200));
	w.times = 3;
	w.most = 100;
	assert_true(faults_enough(faults_walk(&w), 80));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_an_answer_is_whole_or_an_error, faults_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
