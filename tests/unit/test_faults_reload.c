/* The reload of a configuration, each of whose allocations fails once: afterwards the new one is in force everywhere, or
 * the old one is, everywhere, and the reload says which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "main/server.h"
#include "smtp/line.h"
#include "unit/certificate.h"
#include "world/file.h"
#include "world/sim.h"

/* The second differs in everything that a client or a route can see. */
static const char before_text[] = "hostname: before.example\n"
				  "threads: 2\n"
				  "spool: /spool\n"
				  "dns: {zone: /zone}\n"
				  "listen: [{address: \"192.0.2.1:25\"}]\n"
				  "tls: {certificate: /cert.pem, key: /key.pem}\n"
				  "domains: {before.example: {deliver: hold, recipients: [bob]}}\n";
static const char after_text[] = "hostname: after.example\n"
				 "threads: 2\n"
				 "spool: /spool\n"
				 "dns: {zone: /zone}\n"
				 "listen: [{address: \"192.0.2.1:2525\"}, {address: \"192.0.2.1:24\", role: lmtp}]\n"
				 "tls: {certificate: /cert.pem, key: /key.pem}\n"
				 "domains: {after.example: {deliver: hold, recipients: [bob]}}\n"
				 "routes: [{to: \"*@slow.example\", via: {host: \"192.0.2.9:25\"}}]\n"
				 "queue: {reply_classes: /classes}\n";

struct scene {
	struct sim *sim;
	struct world *world;
	struct server *server;
	struct loop *client;
	bool done, failed;
	/* what a client sees */
	uint16_t port;
	char banner[200], to_before[200], to_after[200];
};

/* --- a client looks ------------------------------------------------------------------------------------------------ */

static void say(struct stream *stream, struct line_reader *reader, struct arena *arena, const char *text, char answer[200])
{
	struct reply reply;

	if (text)
		assert_true(stream_put_str(stream, text, now() + USEC_MIN) >= 0 && stream_put_str(stream, "\r\n", now() + USEC_MIN) >= 0);
	assert_int_equal(smtp_read_reply(reader, arena, now() + USEC_MIN, &reply), 0);
	slice_copy(slice_from(reply_to_line(&reply, arena)), answer, 200);
}

static void client_main(void *arg)
{
	struct scene *s = arg;
	struct endpoint at = { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 192, 0, 2, 1 } }, .port = s->port };
	_cleanup_(stream_freep) struct stream *stream = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct line_reader reader;
	struct transport *t;
	char ignored[200];

	assert_int_equal(arena_new(0, &arena), 0);
	s->failed = net_connect(&at, NULL, now() + USEC_MIN, &t) < 0;
	if (!s->failed) {
		assert_int_equal(stream_new(t, &at, &stream), 0);
		line_reader_init(&reader, stream);
		say(stream, &reader, arena, NULL, s->banner);
		say(stream, &reader, arena, "EHLO client.example", ignored);
		say(stream, &reader, arena, "MAIL FROM:<>", ignored);
		say(stream, &reader, arena, "RCPT TO:<bob@before.example>", s->to_before);
		say(stream, &reader, arena, "RCPT TO:<bob@after.example>", s->to_after);
		say(stream, &reader, arena, "QUIT", ignored);
	}
	s->done = true;
}

static bool is_done(void *context)
{
	return ((struct scene *) context)->done;
}

static void run(struct scene *s, void (*fn)(void *arg))
{
	s->done = false;
	assert_int_equal(loop_spawn(s->client, "client", fn, s), 0);
	if (!sim_run_until(s->sim, is_done, s, sim_now(s->sim) + USEC_HOUR))
		faults_check(!"it came to an end");
}

/* Is the one in force, and nothing of the other? */
static bool in_force(struct scene *s, bool after)
{
	s->port = after ? 25 : 2525;
	run(s, client_main);
	if (!s->failed)
		return false; /* the other's door is open */
	s->port = after ? 2525 : 25;
	run(s, client_main);
	return !s->failed && strstr(s->banner, after ? "after.example" : "before.example") && strncmp(s->to_before, after ? "550" : "250", 3) == 0 &&
	       strncmp(s->to_after, after ? "250" : "550", 3) == 0 &&
	       strcmp(server_config(s->server)->hostname, after ? "after.example" : "before.example") == 0;
}

/* --- the walk -------------------------------------------------------------------------------------------------------- */

static void start_main(void *arg)
{
	struct scene *s = arg;
	char *why = NULL;

	if (server_start(s->server, &why) < 0)
		fail_msg("%s", why);
	s->done = true;
}

static void stop_main(void *arg)
{
	struct scene *s = arg;

	assert_int_equal(server_stop(s->server, now() + USEC_MIN), 0);
	s->done = true;
}

static void open_scene(struct scene *s)
{
	struct config_errors errors = { 0 };
	struct config *config;
	struct sim_host *host;
	char *why = NULL;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 4 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "us", "192.0.2.1", &host, &s->world), 0);
	assert_int_equal(file_write_atomically(s->world, "/before.yaml", slice_from(before_text), 0600), 0);
	assert_int_equal(file_write_atomically(s->world, "/after.yaml", slice_from(after_text), 0600), 0);
	assert_int_equal(file_write_atomically(s->world, "/zone", SLICE("example. A 192.0.2.7\n"), 0600), 0);
	assert_int_equal(file_write_atomically(s->world, "/classes", SLICE("rules:\n  - {name: ours, code: 421, text: \"too many\", class: throttled}\n"), 0600), 0);
	certificate_write(s->world, "before.example", "/cert.pem", "/key.pem");
	if (config_load(s->world, "/before.yaml", &errors, &config) < 0)
		fail_msg("%s", errors.text.data);
	assert_int_equal(server_new(s->world, NULL, &(struct server_options) { .no_admin = true }, config, &s->server, &why), 0);
	assert_int_equal(loop_new(s->world, "client", 0, 0, &s->client), 0);
	assert_int_equal(loop_start(s->client), 0);
	run(s, start_main);
	config_errors_done(&errors);
}

static void close_scene(struct scene *s)
{
	run(s, stop_main);
	loop_stop(s->client);
	server_free(s->server);
	loop_free(s->client);
	world_free(s->world);
	sim_free(s->sim);
}

static int reload(struct scene *s)
{
	struct config_errors errors = { 0 };
	struct config *config = NULL;
	char *why = NULL;
	int r = config_load(s->world, "/after.yaml", &errors, &config);

	/* A file that could not be read for want of memory must not be said to be wrong. */
	if (r < 0 && r != -ENOMEM)
		fail_msg("%s", errors.text.data ? errors.text.data : "?");
	if (r >= 0)
		r = server_reload(s->server, config, &why);
	free(why);
	config_errors_done(&errors);
	return r;
}

static void play(void *context)
{
	struct scene s = { 0 };
	int r;

	open_scene(&s);
	assert_true(in_force(&s, false));
	faults_begin(NULL, NULL);
	r = reload(&s);
	sim_run(s.sim, sim_now(s.sim) + 10 * USEC_SEC); /* the loops get their news */
	faults_end();
	faults_check(r >= 0 || faults_fired());
	faults_check(in_force(&s, r >= 0));
	faults_check(r >= 0 || reload(&s) >= 0);
	sim_run(s.sim, sim_now(s.sim) + 10 * USEC_SEC);
	faults_check(in_force(&s, true));
	close_scene(&s);
}

static void test_a_reload_is_all_or_nothing(void **state)
{
	struct faults_walk w = { .name = "a reload", .scenario = play, .times = 1, .most = 300 };

	assert_true(faults_enough(faults_walk(&w), 200));
	w.times = 5;
	w.most = 100;
	assert_true(faults_enough(faults_walk(&w), 80));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_a_reload_is_all_or_nothing, faults_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
