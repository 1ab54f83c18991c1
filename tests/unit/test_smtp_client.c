/* The SMTP client against scripted servers in a simulated world. The slot, the spool and the router are stand-ins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <gsasl.h>

#include "deliver/deliver.h"
#include "route/health.h"
#include "smtp/line.h"
#include "unit/certificate.h"
#include "world/fiber.h"
#include "world/sim.h"
#include "unit/policy_stand_in.h"

#define MESSAGES_MAX 4
#define RECIPIENTS_MAX 4

/* --- stand-ins ----------------------------------------------------------------------------------------------- */

struct spool_reader {
	char unused;
};

static struct {
	const char *content;
	int read_error;
	struct slot_info info;
	struct delivery deliveries[MESSAGES_MAX];
	unsigned n, next, done;
	bool addresses_fail;
} fake;

int spool_reader_open(struct spool *s, msgid_t id, struct spool_reader **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

uint64_t spool_reader_size(const struct spool_reader *r)
{
	return strlen(fake.content);
}

ssize_t spool_reader_read(struct spool_reader *r, uint64_t offset, void *data, size_t len)
{
	size_t n = MIN(len, strlen(fake.content) - (size_t) offset);

	if (fake.read_error && offset == 0 && len > 2)
		return fake.read_error;
	memcpy(data, fake.content + offset, n);
	return (ssize_t) n;
}

/* In two chunks. */
int spool_reader_view(struct spool_reader *r, uint64_t offset, struct slice *ret)
{
	size_t len = strlen(fake.content);

	if (fake.read_error && offset == 0)
		return fake.read_error;
	*ret = slice_new(fake.content + offset, (offset < len / 2 ? len / 2 : len) - (size_t) offset);
	return 0;
}

void spool_reader_close(struct spool_reader *r)
{
	free(r);
}

const struct slot_info *slot_info(const struct slot *s)
{
	return &fake.info;
}

int slot_next(struct slot *s, usec_t deadline, struct delivery **ret)
{
	if (fake.next == fake.n)
		return -ENOLINK;
	*ret = &fake.deliveries[fake.next++];
	return 0;
}

void slot_searches(struct slot *s, bool searching)
{
}

void slot_done(struct slot *s, struct delivery *d)
{
	fake.done++;
}

int route_addresses(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct address_list *ret)
{
	ret->temporary = fake.addresses_fail;
	if (fake.addresses_fail)
		return 0;
	ret->n = 1;
	ret->ips = arena_new_type(a, struct ip);
	ret->ips[0] = host->ip;
	return 0;
}

void route_health_failed(struct router *r, const struct target_host *host, const struct source_pool *source, const char *why)
{
}

void route_health_worked(struct router *r, const struct target_host *host, const struct source_pool *source)
{
}

bool route_health_get(struct router *r, const struct target_host *host, const struct source_pool *source, struct host_health *ret)
{
	return false;
}

bool route_is_own_address(struct router *r, const struct ip *ip, uint16_t port)
{
	return false;
}

/* --- fixture ---------------------------------------------------------------------------------------------------- */

struct fixture {
	struct sim *sim;
	struct sim_host *client_host, *server_host;
	struct world *client_world, *server_world;
	struct loop *client, *server;
	struct deliver_config config;
	struct deliverer *deliverer;
	struct hop hop;
	struct relay relay;
	struct target target;
	struct target_host hosts[3];
	struct arena *arena;
	struct envelope envelope;
	struct envelope_recipient recipients[RECIPIENTS_MAX];
	const char *const *lines;
	struct listener *listener;
	struct endpoint at;
	bool server_done, client_done;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char *why = NULL;

	memset(&fake, 0, sizeof(fake));
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 5 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "client", "192.0.2.1", &f->client_host, &f->client_world), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25 192.0.2.26", &f->server_host, &f->server_world), 0);
	assert_int_equal(loop_new(f->client_world, "client", 0, 0, &f->client), 0);
	assert_int_equal(loop_new(f->server_world, "server", 0, 0, &f->server), 0);
	assert_int_equal(loop_start(f->client), 0);
	assert_int_equal(loop_start(f->server), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	f->at = (struct endpoint) { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 192, 0, 2, 25 } }, .port = 25 };
	assert_int_equal(listener_open(f->server_world, &f->at, NULL, &f->listener), 0);
	f->config.hostname = "client.example";
	assert_int_equal(deliverer_new(f->client_world, NULL, NULL, &f->config, NULL, &f->deliverer, &why), 0);
	f->hop = (struct hop) { .kind = HOP_MX };
	f->hosts[0] = (struct target_host) { .name = "mx.server.example", .ip = f->at.ip, .port = 25, .preference = 10 };
	f->target = (struct target) { .status = TARGET_OK, .site = "mx:server.example", .domain = "server.example", .n_hosts = 1, .hosts = f->hosts };
	fake.info = (struct slot_info) { .site = "mx:server.example", .hop = &f->hop, .target = &f->target, .domain = "server.example" };
	fake.content = "Subject: x\r\n\r\n.dot\r\n";
	f->recipients[0].address = "bob@server.example";
	f->recipients[1].address = "eve@server.example";
	f->recipients[2].address = "joe@server.example";
	f->recipients[3].address = "ann@server.example";
	f->envelope = (struct envelope) { .id = 1, .reverse_path = "a@client.example", .size = 20, .recipients = f->recipients, .n_recipients = 4 };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->client);
	loop_stop(f->server);
	listener_close(f->listener);
	deliverer_free(f->deliverer);
	loop_free(f->client);
	loop_free(f->server);
	world_free(f->client_world);
	world_free(f->server_world);
	sim_free(f->sim);
	arena_free(f->arena);
	free(f);
	return 0;
}

static void add_message(struct fixture *f, unsigned n_recipients)
{
	struct delivery *d = &fake.deliveries[fake.n++];

	*d = (struct delivery) { .id = fake.n, .arena = f->arena, .envelope = &f->envelope, .n_recipients = n_recipients };
	d->recipients = arena_new_array(f->arena, struct delivery_recipient, n_recipients);
	for (unsigned i = 0; i < n_recipients; i++) {
		d->recipients[i].index = i;
		d->recipients[i].address = f->recipients[i].address;
	}
}

static const struct outcome *outcome(unsigned message, unsigned recipient)
{
	return &fake.deliveries[message].recipients[recipient].outcome;
}

static void check(const struct outcome *o, enum outcome_kind kind, enum stage stage, int code)
{
	if (o->kind != kind || o->stage != stage || o->reply.code != code)
		fail_msg("kind %d, stage %s, %d %d.%d.%d %s", o->kind, stage_name(o->stage), o->reply.code, o->reply.enhanced[0],
			 o->reply.enhanced[1], o->reply.enhanced[2], o->reply.text);
}

/* The server's part: "A" accepts a connection, "S text" sends a line, "C text" expects exactly this line, "D text"
 * reads content up to the dot and expects the text in it, "B octets" reads a chunk, "E" expects the end of the
 * connection, "X" closes it, "W seconds" waits, "T" starts TLS, "L" is a login by SCRAM-SHA-256. */
struct peer {
	struct fixture *f;
	struct stream *stream;
	struct line_reader reader;
};

static void peer_accept(struct peer *p)
{
	struct transport *t;
	struct endpoint from;
	int r;

	stream_free(TAKE_PTR(p->stream));
	r = listener_accept(p->f->listener, now() + USEC_HOUR, &t, &from);
	if (r < 0)
		fail_msg("no connection: %s", strerror(-r));
	assert_int_equal(stream_new(t, &from, &p->stream), 0);
	line_reader_init(&p->reader, p->stream);
}

static void peer_line(struct peer *p, const char *expected)
{
	struct slice line;
	int r = smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line);

	if (r < 0)
		fail_msg("%s where \"%s\" was expected", strerror(-r), expected);
	if (!slice_eq_str(line, expected))
		fail_msg("\"%.*s\" where \"%s\" was expected", SLICE_ARG(line), expected);
}

static void peer_content(struct peer *p, const char *expected)
{
	_cleanup_buffer_ struct buffer all = { 0 };
	struct slice line;

	do {
		assert_int_equal(smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line), 0);
		buffer_append_slice(&all, line);
		buffer_append_char(&all, '|');
	} while (!slice_eq_str(line, "."));
	if (strcmp(all.data, expected) != 0)
		fail_msg("content \"%s\"", all.data);
}

static void peer_chunk(struct peer *p, size_t len)
{
	while (len > 0) {
		struct slice there = stream_peek(p->stream);
		size_t n = MIN(len, there.len);

		stream_consume(p->stream, n);
		len -= n;
		if (len > 0)
			assert_true(stream_fill(p->stream, now() + USEC_HOUR) > 0);
	}
}

static void peer_tls(struct peer *p)
{
	_cleanup_(tls_context_unrefp) struct tls_context *context = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct tls_server_config config = { .certificate = "/cert.pem", .key = "/key.pem" };
	struct tls_info info;
	char *why = NULL;

	(void) stream_flush(p->stream, now() + USEC_MIN);
	assert_int_equal(arena_new(0, &arena), 0);
	assert_int_equal(tls_server_context_new(p->f->server_world, &config, &context, &why), 0);
	if (tls_accept(context, p->stream, now() + USEC_MIN, arena, &info, NULL) < 0)
		stream_free(TAKE_PTR(p->stream));
	else
		line_reader_init(&p->reader, p->stream);
}

static int know_the_user(Gsasl *ctx, Gsasl_session *session, Gsasl_property property)
{
	if (property != GSASL_PASSWORD)
		return GSASL_NO_CALLBACK;
	if (strcmp(gsasl_property_fast(session, GSASL_AUTHID), "us") != 0)
		return GSASL_NO_CALLBACK;
	gsasl_property_set(session, GSASL_PASSWORD, "secret");
	return GSASL_OK;
}

/* The server's side of AUTH SCRAM-SHA-256, by the library. */
static void peer_scram(struct peer *p)
{
	Gsasl *gsasl;
	Gsasl_session *session;
	struct slice line;
	int r = GSASL_NEEDS_MORE;

	assert_int_equal(gsasl_init(&gsasl), GSASL_OK);
	gsasl_callback_set(gsasl, know_the_user);
	assert_int_equal(gsasl_server_start(gsasl, "SCRAM-SHA-256", &session), GSASL_OK);
	assert_int_equal(smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line), 0);
	assert_true(slice_istarts(line, "AUTH SCRAM-SHA-256 "));
	line = slice_skip(line, strlen("AUTH SCRAM-SHA-256 "));
	for (;;) {
		_cleanup_(freep) char *in = slice_dup(line);
		char *out = NULL;

		if (r == GSASL_OK)
			break;
		r = gsasl_step64(session, in, &out);
		if (r != GSASL_OK && r != GSASL_NEEDS_MORE)
			break;
		(void) stream_put_str(p->stream, "334 ", now() + USEC_MIN);
		(void) stream_put_str(p->stream, out ? out : "", now() + USEC_MIN);
		(void) stream_put_str(p->stream, "\r\n", now() + USEC_MIN);
		gsasl_free(out);
		assert_int_equal(smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line), 0);
	}
	(void) stream_put_str(p->stream, r == GSASL_OK ? "235 2.7.0 ok\r\n" : "535 5.7.8 no\r\n", now() + USEC_MIN);
	gsasl_finish(session);
	gsasl_done(gsasl);
}

static void peer_step(struct peer *p, const char *step)
{
	struct slice line;

	switch (step[0]) {
	case 'A':
		peer_accept(p);
		break;
	case 'S':
		(void) stream_put_str(p->stream, step + 2, now() + USEC_MIN);
		(void) stream_put_str(p->stream, "\r\n", now() + USEC_MIN);
		break;
	case 'C':
		peer_line(p, step + 2);
		break;
	case 'D':
		peer_content(p, step + 2);
		break;
	case 'B':
		peer_chunk(p, (size_t) atoi(step + 2));
		break;
	case 'E':
		assert_true(smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line) < 0);
		break;
	case 'T':
		peer_tls(p);
		break;
	case 'N': /* any line */
		assert_int_equal(smtp_read_line(&p->reader, 2000, now() + USEC_HOUR, &line), 0);
		break;
	case 'L':
		peer_scram(p);
		break;
	case 'W':
		(void) fiber_sleep_until(now() + (usec_t) atoi(step + 2) * USEC_SEC);
		break;
	case 'X':
		(void) stream_flush(p->stream, now() + USEC_MIN);
		stream_free(TAKE_PTR(p->stream));
		break;
	}
}

static void server_main(void *arg)
{
	struct fixture *f = arg;
	struct peer p = { .f = f };

	for (const char *const *l = f->lines; *l; l++)
		peer_step(&p, *l);
	if (p.stream)
		(void) stream_flush(p.stream, now() + USEC_MIN);
	stream_free(p.stream);
	f->server_done = true;
}

static void client_main(void *arg)
{
	struct fixture *f = arg;
	struct courier *c = deliverer_courier(f->deliverer);

	c->run(c, NULL);
	f->client_done = true;
}

static bool both_done(void *context)
{
	struct fixture *f = context;

	return f->server_done && f->client_done;
}

static void play(struct fixture *f, const char *const *lines)
{
	struct deliver_settings *settings;
	char *why = NULL;

	assert_int_equal(deliverer_prepare(f->deliverer, &f->config, &settings, &why), 0);
	deliverer_adopt(f->deliverer, settings);
	f->lines = lines;
	assert_int_equal(loop_spawn(f->server, "server", server_main, f), 0);
	assert_int_equal(loop_spawn(f->client, "client", client_main, f), 0);
	if (!sim_run_until(f->sim, both_done, f, sim_now(f->sim) + 3 * USEC_HOUR))
		fail_msg("server %s, client %s", f->server_done ? "done" : "waiting", f->client_done ? "done" : "waiting");
	assert_int_equal(fake.done, fake.n);
}
#define PLAY(f, ...) play((f), (const char *const[]) { __VA_ARGS__, NULL })
#define PLAIN_EHLO "A", "S 220 hello", "C EHLO client.example", "S 250 mx"
#define FULL_EHLO "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250-PIPELINING", "S 250-8BITMIME", "S 250-SIZE 1000", "S 250 DSN"
#define QUIT "C QUIT", "S 221 bye"
#define CONTENT "D Subject: x||..dot|.|"

/* --- tests ---------------------------------------------------------------------------------------------------------- */

static void test_a_message_goes_step_by_step_to_a_plain_server(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C DATA", "S 354 go", CONTENT,
	     "S 250 2.0.0 taken as 77", QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
	assert_string_equal(outcome(0, 0)->host, "mx.server.example");
	assert_string_equal(outcome(0, 0)->reply.text, "taken as 77");
}

static void test_commands_are_pipelined_where_offered(void **state)
{
	struct fixture *f = *state;

	add_message(f, 2);
	f->recipients[0].notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
	f->recipients[0].orcpt = "rfc822;x+y@z.example";
	f->envelope.envid = "id 1";
	f->envelope.ret = DSN_RET_HDRS;
	f->envelope.body = BODY_8BITMIME;
	PLAY(f, FULL_EHLO, "C MAIL FROM:<a@client.example> SIZE=20 BODY=8BITMIME RET=HDRS ENVID=id+201",
	     "C RCPT TO:<bob@server.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z.example", "C RCPT TO:<eve@server.example>", "C DATA", "S 250 ok",
	     "S 250 ok", "S 550 5.1.1 no eve", "S 354 go", CONTENT, "S 250 2.0.0 ok", QUIT);
	check(outcome(0, 0), OUTCOME_DELIVERED, STAGE_DOT, 250);
	check(outcome(0, 1), OUTCOME_FAILED, STAGE_RCPT, 550);
	assert_true(outcome(0, 1)->from_remote);
}

static void test_nobody_accepted_means_an_empty_message_where_data_was_pipelined(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	add_message(f, 1);
	PLAY(f, FULL_EHLO, "C MAIL FROM:<a@client.example> SIZE=20", "C RCPT TO:<bob@server.example>", "C DATA", "S 250 ok", "S 450 4.2.1 later",
	     "S 354 go", "D .|", "S 554 no", "C MAIL FROM:<a@client.example> SIZE=20", "C RCPT TO:<bob@server.example>", "C DATA", "S 250 ok",
	     "S 550 5.1.1 no", "S 503 no", QUIT);
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_RCPT, 450);
	check(outcome(1, 0), OUTCOME_FAILED, STAGE_RCPT, 550);
}

static void test_a_given_up_transaction_is_reset_before_the_next(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 550 5.1.1 no", "C RSET", "S 250 ok",
	     "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C DATA", "S 354 go", CONTENT, "S 250 ok", QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_RCPT, 550);
	check(outcome(1, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_a_refused_sender_speaks_for_all(void **state)
{
	struct fixture *f = *state;

	add_message(f, 2);
	PLAY(f, FULL_EHLO, "C MAIL FROM:<a@client.example> SIZE=20", "C RCPT TO:<bob@server.example>", "C RCPT TO:<eve@server.example>", "C DATA",
	     "S 451 4.7.1 greylisted", "S 503 no", "S 503 no", "S 503 no", QUIT);
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_MAIL, 451);
	check(outcome(0, 1), OUTCOME_DEFERRED, STAGE_MAIL, 451);
}

static void test_552_to_rcpt_is_temporary_and_surplus_recipients_follow_at_once(void **state)
{
	struct fixture *f = *state;

	add_message(f, 3);
	PLAY(f, FULL_EHLO, "C MAIL FROM:<a@client.example> SIZE=20", "C RCPT TO:<bob@server.example>", "C RCPT TO:<eve@server.example>",
	     "C RCPT TO:<joe@server.example>", "C DATA", "S 250 ok", "S 250 ok", "S 452 4.5.3 too many", "S 552 5.2.2 mailbox full", "S 354 go", CONTENT,
	     "S 250 ok", "C MAIL FROM:<a@client.example> SIZE=20", "C RCPT TO:<eve@server.example>", "C DATA", "S 250 ok", "S 250 ok",
	     "S 354 go", CONTENT, "S 250 ok", QUIT);
	check(outcome(0, 0), OUTCOME_DELIVERED, STAGE_DOT, 250);
	check(outcome(0, 1), OUTCOME_DELIVERED, STAGE_DOT, 250);
	check(outcome(0, 2), OUTCOME_DEFERRED, STAGE_RCPT, 552);
}

static void test_a_refused_content_speaks_for_the_accepted(void **state)
{
	struct fixture *f = *state;

	add_message(f, 2);
	PLAY(f, PLAIN_EHLO, "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C RCPT TO:<eve@server.example>",
	     "S 450 4.2.1 later", "C DATA", "S 354 go", CONTENT, "S 554 5.7.1 spam", QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_DOT, 554);
	check(outcome(0, 1), OUTCOME_DEFERRED, STAGE_RCPT, 450);
}

static void test_a_connection_carries_many_messages(void **state)
{
	struct fixture *f = *state;

	f->config.messages_per_connection = 2;
	add_message(f, 1);
	add_message(f, 1);
	add_message(f, 1);
#define ONE "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C DATA", "S 354 go", CONTENT, "S 250 ok"
	PLAY(f, PLAIN_EHLO, ONE, ONE, QUIT, PLAIN_EHLO, ONE, QUIT);
	check(outcome(2, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_a_kept_connection_that_is_gone_costs_no_attempt(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, ONE, "X", PLAIN_EHLO, ONE, QUIT);
	check(outcome(1, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_a_kept_connection_that_is_being_closed_costs_no_attempt(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, ONE, "C MAIL FROM:<a@client.example>", "S 421 4.7.0 enough", "X", PLAIN_EHLO, ONE, QUIT);
	check(outcome(1, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_chunks_are_used_where_offered(void **state)
{
	struct fixture *f = *state;

	fake.content = "Subject: x\r\n\r\n.no end of line";
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250-CHUNKING", "S 250 PIPELINING", "C MAIL FROM:<a@client.example>",
	     "C RCPT TO:<bob@server.example>", "S 250 ok", "S 250 ok", "C BDAT 31 LAST", "B 31", "S 250 ok", QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_an_old_server_hears_helo(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 500 what?", "C HELO client.example", "S 250 mx", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_a_busy_greeting_is_a_fault_of_the_site(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S 554 5.7.1 your address is blocked", QUIT);
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_GREETING, 554);
	assert_true(outcome(0, 0)->site_fault);
	assert_true(outcome(0, 0)->from_remote);
}

static void test_521_at_the_greeting_is_final(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S 521 no mail here", QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_GREETING, 521);
}

static void test_the_next_host_is_tried(void **state)
{
	struct fixture *f = *state;

	f->hosts[1] = f->hosts[0];
	f->hosts[0].ip.bytes[3] = 26; /* nobody listens there */
	f->hosts[1].preference = 20;
	f->hosts[1].name = "mx2.server.example";
	f->target.n_hosts = 2;
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, ONE, QUIT);
	assert_string_equal(outcome(0, 0)->host, "mx2.server.example");
}

static void test_a_dead_site_is_unreachable(void **state)
{
	struct fixture *f = *state;

	f->hosts[0].ip.bytes[3] = 26;
	add_message(f, 1);
	PLAY(f, "W 1");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_CONNECT, 451);
	assert_int_equal(outcome(0, 0)->class, CLASS_UNREACHABLE);
	assert_true(outcome(0, 0)->site_fault);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "refused"));
}

static void test_a_host_without_addresses_for_now_is_tried_later(void **state)
{
	struct fixture *f = *state;

	fake.addresses_fail = true;
	add_message(f, 1);
	PLAY(f, "W 1");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_DNS, 451);
}

static void test_a_connection_lost_anywhere_defers(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4; i++)
		add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "X", PLAIN_EHLO, "C MAIL FROM:<a@client.example>", "X", PLAIN_EHLO,
	     "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C DATA", "S 354 go", CONTENT, "X", PLAIN_EHLO,
	     "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 421 4.3.2 stopping", "X");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_EHLO, 451);
	check(outcome(1, 0), OUTCOME_DEFERRED, STAGE_MAIL, 451);
	check(outcome(2, 0), OUTCOME_DEFERRED, STAGE_DOT, 451);
	assert_int_not_equal(outcome(2, 0)->class, CLASS_UNREACHABLE);
	check(outcome(3, 0), OUTCOME_DEFERRED, STAGE_RCPT, 421);
}

static void test_a_silent_server_is_given_up_in_time(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "W 400", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_GREETING, 451);
	assert_in_range(sim_now(f->sim), 300 * USEC_SEC, 420 * USEC_SEC);
}

static void test_nonsense_is_not_smtp(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S SSH-2.0-OpenSSH", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_GREETING, 451);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "not SMTP"));
}

static void test_what_the_server_cannot_take_is_returned(void **state)
{
	struct fixture *f = *state;

	f->envelope.body = BODY_8BITMIME;
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_MAIL, 554);
	assert_int_equal(outcome(0, 0)->reply.enhanced[2], 3);
}

static void test_internationalized_mail_is_returned_where_it_cannot_go(void **state)
{
	struct fixture *f = *state;

	f->envelope.flags = ENVELOPE_SMTPUTF8;
	add_message(f, 1);
	PLAY(f, FULL_EHLO, QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_MAIL, 553);
	assert_int_equal(outcome(0, 0)->reply.enhanced[2], 7);
}

static void test_a_message_above_the_announced_size_is_not_sent(void **state)
{
	struct fixture *f = *state;

	f->envelope.size = 2000;
	add_message(f, 1);
	PLAY(f, FULL_EHLO, QUIT);
	check(outcome(0, 0), OUTCOME_FAILED, STAGE_MAIL, 552);
}

static void test_an_unreadable_spool_never_ends_in_a_dot(void **state)
{
	struct fixture *f = *state;

	fake.read_error = -EBADMSG;
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>", "S 250 ok", "C DATA", "S 354 go", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_LOCAL, 451);
}

static void test_required_tls_that_is_not_offered_defers(void **state)
{
	struct fixture *f = *state;

	f->hop.tls = TLS_REQUIRED;
	add_message(f, 1);
	PLAY(f, PLAIN_EHLO, "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_STARTTLS, 451);
	assert_int_equal(outcome(0, 0)->class, CLASS_TLS);
}

static void test_opportunistic_tls_falls_back_on_a_fresh_connection(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS", "S 220 go", "S this is not TLS", "X", "A",
	     "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_starttls_refused_goes_on_in_the_clear(void **state)
{
	struct fixture *f = *state;

	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS", "S 454 4.7.0 no", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void use_relay(struct fixture *f)
{
	f->relay = (struct relay) { .name = "backup", .user = "us", .password = "secret", .tls = TLS_MAY };
	f->hop = (struct hop) { .kind = HOP_RELAY, .relay = &f->relay };
}

static void test_a_password_is_not_sent_in_the_clear(void **state)
{
	struct fixture *f = *state;

	use_relay(f);
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH PLAIN LOGIN", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_AUTH, 451);
	assert_int_equal(outcome(0, 0)->class, CLASS_AUTH);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "tls: required"));
}

static void test_login_with_plain_on_this_machine(void **state)
{
	struct fixture *f = *state;
	struct endpoint here = { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 127, 0, 0, 1 } }, .port = 2525 };

	/* Both run on one host here. */
	listener_close(f->listener);
	assert_int_equal(listener_open(f->client_world, &here, NULL, &f->listener), 0);
	f->hosts[0].ip = here.ip;
	f->hosts[0].port = here.port;
	use_relay(f);
	add_message(f, 1);
	f->lines = (const char *const[]) { "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH LOGIN PLAIN",
					   "C AUTH PLAIN AHVzAHNlY3JldA==", "S 235 2.7.0 ok", ONE, QUIT, NULL };
	assert_int_equal(loop_spawn(f->client, "server", server_main, f), 0);
	assert_int_equal(loop_spawn(f->client, "client", client_main, f), 0);
	assert_true(sim_run_until(f->sim, both_done, f, sim_now(f->sim) + USEC_HOUR));
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
	listener_close(TAKE_PTR(f->listener));
}

static void test_a_refused_login_waits_for_the_administrator(void **state)
{
	struct fixture *f = *state;
	struct endpoint here = { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 127, 0, 0, 1 } }, .port = 2525 };

	listener_close(f->listener);
	assert_int_equal(listener_open(f->client_world, &here, NULL, &f->listener), 0);
	f->hosts[0].ip = here.ip;
	f->hosts[0].port = here.port;
	use_relay(f);
	add_message(f, 1);
	f->lines = (const char *const[]) { "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH LOGIN", "C AUTH LOGIN",
					   "S 334 VXNlcm5hbWU6", "C dXM=", "S 334 UGFzc3dvcmQ6", "C c2VjcmV0", "S 535 5.7.8 wrong", QUIT, NULL };
	assert_int_equal(loop_spawn(f->client, "server", server_main, f), 0);
	assert_int_equal(loop_spawn(f->client, "client", client_main, f), 0);
	assert_true(sim_run_until(f->sim, both_done, f, sim_now(f->sim) + USEC_HOUR));
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_AUTH, 535);
	listener_close(TAKE_PTR(f->listener));
}

static void test_scram_needs_no_tls(void **state)
{
	struct fixture *f = *state;

	use_relay(f);
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH PLAIN SCRAM-SHA-256", "L", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_scram_with_a_wrong_password_is_refused(void **state)
{
	struct fixture *f = *state;

	use_relay(f);
	f->relay.password = "wrong";
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH SCRAM-SHA-256", "L", QUIT);
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_AUTH, 535);
}

static void test_a_server_that_cannot_prove_itself_is_not_believed(void **state)
{
	struct fixture *f = *state;

	use_relay(f);
	f->relay.user = "x";
	f->hosts[0].name = NULL;
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH SCRAM-SHA-256", "N", "S 235 2.7.0 welcome", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_AUTH, 451);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "prove"));
}

static void write_certificate(struct fixture *f)
{
	certificate_write(f->server_world, "mx.server.example", "/cert.pem", "/key.pem");
}

static void test_tls_is_used_where_offered(void **state)
{
	struct fixture *f = *state;

	write_certificate(f);
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS", "S 220 go", "T", "C EHLO client.example",
	     "S 250 mx", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
	assert_non_null(strstr(outcome(0, 0)->tls, "TLSv1.3"));
}

static void test_verified_tls_wants_a_chain(void **state)
{
	struct fixture *f = *state;

	write_certificate(f);
	f->hop.tls = TLS_VERIFY;
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS", "S 220 go", "T");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_STARTTLS, 451);
	assert_int_equal(outcome(0, 0)->class, CLASS_TLS);
}

static void test_implicit_tls_and_a_password(void **state)
{
	struct fixture *f = *state;

	write_certificate(f);
	use_relay(f);
	f->relay.implicit_tls = true;
	f->relay.tls = TLS_REQUIRED;
	add_message(f, 1);
	PLAY(f, "A", "T", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 AUTH PLAIN", "C AUTH PLAIN AHVzAHNlY3JldA==", "S 235 ok", ONE, QUIT);
	check(outcome(0, 0), OUTCOME_RELAYED, STAGE_DOT, 250);
}

static void test_words_in_the_clear_behind_starttls_are_an_attack(void **state)
{
	struct fixture *f = *state;

	f->hop.tls = TLS_REQUIRED;
	add_message(f, 1);
	PLAY(f, "A", "S 220 hello", "C EHLO client.example", "S 250-mx", "S 250 STARTTLS", "C STARTTLS", "S 220 go\r\n250 injected", "E");
	check(outcome(0, 0), OUTCOME_DEFERRED, STAGE_STARTTLS, 451);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "in the clear"));
}

static void test_lmtp_replies_are_for_each_recipient(void **state)
{
	struct fixture *f = *state;

	f->hop = (struct hop) { .kind = HOP_LMTP, .lmtp = f->at };
	add_message(f, 3);
	PLAY(f, "A", "S 220 hello", "C LHLO client.example", "S 250-mx", "S 250-PIPELINING", "S 250 DSN", "C MAIL FROM:<a@client.example>",
	     "C RCPT TO:<bob@server.example>", "C RCPT TO:<eve@server.example>", "C RCPT TO:<joe@server.example>", "C DATA", "S 250 ok", "S 250 ok",
	     "S 550 5.1.1 no", "S 250 ok", "S 354 go", CONTENT, "S 250 2.0.0 stored", "S 452 4.2.2 full", QUIT);
	check(outcome(0, 0), OUTCOME_DELIVERED, STAGE_DOT, 250);
	check(outcome(0, 1), OUTCOME_FAILED, STAGE_RCPT, 550);
	check(outcome(0, 2), OUTCOME_DEFERRED, STAGE_DOT, 452);
}

static void test_lmtp_that_breaks_off_keeps_what_it_said(void **state)
{
	struct fixture *f = *state;

	f->hop = (struct hop) { .kind = HOP_LMTP, .lmtp = f->at };
	add_message(f, 2);
	PLAY(f, "A", "S 220 hello", "C LHLO client.example", "S 250 mx", "C MAIL FROM:<a@client.example>", "S 250 ok", "C RCPT TO:<bob@server.example>",
	     "S 250 ok", "C RCPT TO:<eve@server.example>", "S 250 ok", "C DATA", "S 354 go", CONTENT, "S 250 stored", "X");
	check(outcome(0, 0), OUTCOME_DELIVERED, STAGE_DOT, 250);
	check(outcome(0, 1), OUTCOME_DEFERRED, STAGE_DOT, 451);
}

static void test_a_route_may_discard_or_reject(void **state)
{
	struct fixture *f = *state;

	f->hop = (struct hop) { .kind = HOP_DISCARD };
	add_message(f, 1);
	PLAY(f, "W 1");
	check(outcome(0, 0), OUTCOME_DELIVERED, STAGE_LOCAL, 250);
	f->hop = (struct hop) { .kind = HOP_REJECT, .text = "no" };
	f->client_done = f->server_done = false;
	add_message(f, 1);
	PLAY(f, "W 1");
	check(outcome(1, 0), OUTCOME_FAILED, STAGE_LOCAL, 550);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_message_goes_step_by_step_to_a_plain_server),
		T(test_commands_are_pipelined_where_offered),
		T(test_nobody_accepted_means_an_empty_message_where_data_was_pipelined),
		T(test_a_given_up_transaction_is_reset_before_the_next),
		T(test_a_refused_sender_speaks_for_all),
		T(test_552_to_rcpt_is_temporary_and_surplus_recipients_follow_at_once),
		T(test_a_refused_content_speaks_for_the_accepted),
		T(test_a_connection_carries_many_messages),
		T(test_a_kept_connection_that_is_gone_costs_no_attempt),
		T(test_a_kept_connection_that_is_being_closed_costs_no_attempt),
		T(test_chunks_are_used_where_offered),
		T(test_an_old_server_hears_helo),
		T(test_a_busy_greeting_is_a_fault_of_the_site),
		T(test_521_at_the_greeting_is_final),
		T(test_the_next_host_is_tried),
		T(test_a_dead_site_is_unreachable),
		T(test_a_host_without_addresses_for_now_is_tried_later),
		T(test_a_connection_lost_anywhere_defers),
		T(test_a_silent_server_is_given_up_in_time),
		T(test_nonsense_is_not_smtp),
		T(test_what_the_server_cannot_take_is_returned),
		T(test_internationalized_mail_is_returned_where_it_cannot_go),
		T(test_a_message_above_the_announced_size_is_not_sent),
		T(test_an_unreadable_spool_never_ends_in_a_dot),
		T(test_required_tls_that_is_not_offered_defers),
		T(test_opportunistic_tls_falls_back_on_a_fresh_connection),
		T(test_starttls_refused_goes_on_in_the_clear),
		T(test_a_password_is_not_sent_in_the_clear),
		T(test_login_with_plain_on_this_machine),
		T(test_a_refused_login_waits_for_the_administrator),
		T(test_scram_needs_no_tls),
		T(test_scram_with_a_wrong_password_is_refused),
		T(test_a_server_that_cannot_prove_itself_is_not_believed),
		T(test_tls_is_used_where_offered),
		T(test_verified_tls_wants_a_chain),
		T(test_implicit_tls_and_a_password),
		T(test_words_in_the_clear_behind_starttls_are_an_attack),
		T(test_lmtp_replies_are_for_each_recipient),
		T(test_lmtp_that_breaks_off_keeps_what_it_said),
		T(test_a_route_may_discard_or_reject),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
