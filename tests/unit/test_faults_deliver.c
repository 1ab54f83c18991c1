/* The way out, each of whose allocations and connections fails once, by LMTP, by SMTP with STARTTLS, and at a relay that wants a
 * token: what is called delivered was taken by the peer, once; what was not taken waits, and is never returned for want of
 * memory of ours, nor sent in the clear, nor is the site said not to work. The slot, the spool and the router are stand-ins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "deliver/deliverer.h"
#include "deliver/tokens.h"
#include "route/health.h"
#include "faults/faults.h"
#include "smtp/line.h"
#include "unit/certificate.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/sim.h"
#include "unit/policy_stand_in.h"

#define DELIVERIES 3u
#define RECIPIENTS 2u
#define TAKEN_MAX 32u
#define DEAD 26u /* the last octet of the address that never answers */

/* --- stand-ins ----------------------------------------------------------------------------------------------- */

struct spool_reader {
	msgid_t id;
};

static const char content[] = "Subject: faults\r\n\r\n.dot\r\nthe end\r\n";

static struct {
	struct slot_info info;
	struct delivery deliveries[DELIVERIES];
	unsigned next, done;
	bool race;
} fake;

int spool_reader_open(struct spool *s, msgid_t id, struct spool_reader **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

uint64_t spool_reader_size(const struct spool_reader *r)
{
	return sizeof(content) - 1;
}

ssize_t spool_reader_read(struct spool_reader *r, uint64_t offset, void *data, size_t len)
{
	size_t n = MIN(len, sizeof(content) - 1 - (size_t) offset);

	memcpy(data, content + offset, n);
	return (ssize_t) n;
}

int spool_reader_view(struct spool_reader *r, uint64_t offset, struct slice *ret)
{
	*ret = slice_new(content + offset, sizeof(content) - 1 - (size_t) offset);
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
	if (fake.next == DELIVERIES)
		return -ENOLINK;
	*ret = &fake.deliveries[fake.next++];
	return 0;
}

void slot_searches(struct slot *s, bool searching)
{
}

void slot_done(struct slot *s, struct delivery *d)
{
	assert_ptr_equal(d, &fake.deliveries[fake.done]);
	fake.done++;
}

int route_addresses(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct address_list *ret)
{
	ret->temporary = false;
	ret->ips = arena_new_array(a, struct ip, 2);
	if (!ret->ips)
		return -ENOMEM;
	ret->n = 0;
	if (fake.race) {
		ret->ips[ret->n] = host->ip;
		ret->ips[ret->n++].bytes[3] = DEAD;
	}
	ret->ips[ret->n++] = host->ip;
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

/* --- the endpoint for tokens: gives another one each time, by which the peer knows us ------------------------------- */

static const struct relay_oauth account = {
	.token_url = "https://token.example/", .grant = GRANT_REFRESH_TOKEN, .client_id = "us", .client_secret = "secret",
	.refresh_token_file = "/refresh", .scope = "mail", .timeout = USEC_SEC,
};
static const struct relay relay = { .name = "relay", .tls = TLS_REQUIRED, .user = "us@client.example", .oauth = &account };

static int give_token(struct https_post *p)
{
	p->status = 200;
	buffer_append_str(&p->answer, "{\"access_token\":\"abc\",\"expires_in\":5,\"refresh_token\":\"");
	buffer_append_str(&p->answer, memmem(p->form.data, p->form.len, "=odd", 4) ? "even\"}" : "odd\"}");
	return buffer_error(&p->answer);
}

/* --- the peer: takes everything and remembers it --------------------------------------------------------------- */

struct manner {
	const char *name;
	bool lmtp, chunking, race, token;
	enum tls_policy tls;
	uint64_t least; /* allocations that there must be */
};

struct scene {
	const struct manner *manner;
	struct sim *sim;
	struct world *client_world, *server_world;
	struct loop *client, *server;
	struct listener *listener;
	struct tls_context *certificate;
	struct deliverer *deliverer;
	struct hop hop;
	struct target target;
	struct target_host host;
	struct arena *arena;
	struct envelope envelope;
	struct envelope_recipient recipients[RECIPIENTS];
	unsigned round;
	bool client_done;
	/* what the peer has taken: number of the message, which is in the sender's address */
	unsigned taken[TAKEN_MAX], n_taken, in_the_clear;
	/* one connection that fails; 0: none */
	unsigned connection, connections;
	enum sim_fate_kind fate;
};

struct peer {
	struct scene *scene;
	struct stream *stream;
	struct line_reader reader;
	bool encrypted, known;
	unsigned number, n_recipients;
};

static usec_t later(void)
{
	return now() + USEC_HOUR;
}

static void answer(struct peer *p, const char *text)
{
	(void) stream_put_str(p->stream, text, later());
	(void) stream_put_str(p->stream, "\r\n", later());
}

static void take(struct peer *p)
{
	struct scene *s = p->scene;

	assert_true(s->n_taken < TAKEN_MAX);
	s->taken[s->n_taken++] = p->number;
	s->in_the_clear += !p->encrypted;
	for (unsigned i = 0; i < (s->manner->lmtp ? p->n_recipients : 1); i++) {
		for (unsigned n = 0; n < 20; n++)
			answer(p, "250-2.0.0 taken, with many words, for which there has to be room somewhere, and with some more of them");
		answer(p, "250 2.0.0 taken");
	}
	p->n_recipients = 0;
}

static bool read_content(struct peer *p)
{
	struct slice line;

	do {
		if (smtp_read_line(&p->reader, 2000, later(), &line) < 0)
			return false;
	} while (!slice_eq_str(line, "."));
	take(p);
	return true;
}

static bool read_chunk(struct peer *p, size_t left)
{
	while (left > 0) {
		size_t n = MIN(left, stream_peek(p->stream).len);

		stream_consume(p->stream, n);
		left -= n;
		if (left > 0 && stream_fill(p->stream, later()) <= 0)
			return false;
	}
	take(p);
	return true;
}

static bool shake_hands(struct peer *p)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct tls_info info;

	answer(p, "220 go");
	(void) stream_flush(p->stream, later());
	assert_int_equal(arena_new(0, &arena), 0);
	if (tls_accept(p->scene->certificate, p->stream, later(), arena, &info, NULL) < 0)
		return false;
	line_reader_init(&p->reader, p->stream);
	return p->encrypted = true;
}

static void say_hello(struct peer *p)
{
	const struct manner *m = p->scene->manner;

	answer(p, "250-mx.server.example");
	if (m->chunking)
		answer(p, "250-CHUNKING\r\n250-PIPELINING");
	if (!m->lmtp && !p->encrypted)
		answer(p, "250-STARTTLS");
	if (m->token)
		answer(p, "250-AUTH XOAUTH2");
	answer(p, "250 8BITMIME");
}

/* One command; false: the end. */
static bool serve_line(struct peer *p, struct slice line)
{
	if (slice_istarts(line, "EHLO ") || slice_istarts(line, "LHLO ")) {
		say_hello(p);
	} else if (slice_eq_str(line, "STARTTLS")) {
		return shake_hands(p);
	} else if (slice_istarts(line, "AUTH XOAUTH2 ")) {
		/* user=us@client.example^Aauth=Bearer abc^A^A */
		p->known = slice_eq_str(line, "AUTH XOAUTH2 dXNlcj11c0BjbGllbnQuZXhhbXBsZQFhdXRoPUJlYXJlciBhYmMBAQ==");
		answer(p, p->known ? "235 2.7.0 ok" : "535 5.7.8 no");
	} else if (slice_istarts(line, "MAIL FROM:<m")) {
		faults_check(p->known == p->scene->manner->token);
		p->number = (unsigned) atoi(line.data + strlen("MAIL FROM:<m"));
		p->n_recipients = 0;
		answer(p, "250 2.1.0 ok");
	} else if (slice_istarts(line, "RCPT TO:<")) {
		p->n_recipients++;
		answer(p, "250 2.1.5 ok");
	} else if (slice_eq_str(line, "DATA")) {
		answer(p, "354 go");
		return read_content(p);
	} else if (slice_istarts(line, "BDAT ")) {
		return read_chunk(p, (size_t) atoi(line.data + strlen("BDAT ")));
	} else if (slice_eq_str(line, "RSET")) {
		answer(p, "250 ok");
	} else {
		answer(p, slice_eq_str(line, "QUIT") ? "221 bye" : "500 what?");
		return !slice_eq_str(line, "QUIT");
	}
	return true;
}

static void server_main(void *arg)
{
	struct peer p = { .scene = arg };
	struct transport *t;
	struct endpoint from;

	while (listener_accept(p.scene->listener, DEADLINE_NEVER, &t, &from) == 0) {
		struct slice line;

		assert_int_equal(stream_new(t, &from, &p.stream), 0);
		line_reader_init(&p.reader, p.stream);
		p.encrypted = p.known = false;
		answer(&p, "220 hello");
		while (smtp_read_line(&p.reader, 2000, now() + 10 * USEC_MIN, &line) == 0 && serve_line(&p, line))
			;
		(void) stream_flush(p.stream, later());
		stream_free(TAKE_PTR(p.stream));
	}
}

/* --- one round of deliveries ------------------------------------------------------------------------------------- */

static void client_main(void *arg)
{
	struct scene *s = arg;
	struct courier *c = deliverer_courier(s->deliverer);

	c->run(c, NULL);
	s->client_done = true;
}

static bool is_done(void *context)
{
	return ((struct scene *) context)->client_done;
}

static bool at_the_client(void *context)
{
	return loop_current() == ((struct scene *) context)->client;
}

static unsigned number_of(const struct scene *s, unsigned delivery)
{
	return s->round * 100 + delivery;
}

static void fill_delivery(struct scene *s, unsigned i)
{
	struct delivery *d = &fake.deliveries[i];
	struct envelope *e = arena_new_type(s->arena, struct envelope);

	*e = s->envelope;
	e->reverse_path = arena_printf(s->arena, "m%u@client.example", number_of(s, i));
	*d = (struct delivery) { .id = i + 1, .envelope = e, .n_recipients = RECIPIENTS };
	assert_int_equal(arena_new(0, &d->arena), 0);
	d->recipients = arena_new_array(d->arena, struct delivery_recipient, RECIPIENTS);
	for (unsigned n = 0; n < RECIPIENTS; n++)
		d->recipients[n] = (struct delivery_recipient) { .index = n, .address = s->recipients[n].address };
}

static bool is_delivered(const struct outcome *o)
{
	return o->kind == OUTCOME_DELIVERED || o->kind == OUTCOME_RELAYED;
}

static unsigned times_taken(const struct scene *s, unsigned number)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_taken; i++)
		n += s->taken[i] == number;
	return n;
}

static void judge(struct scene *s, bool faulty)
{
	faults_check(faulty || (fake.next == DELIVERIES && s->n_taken >= DELIVERIES));
	faults_check(s->manner->lmtp || s->in_the_clear == 0);
	for (unsigned i = 0; i < DELIVERIES; i++) {
		for (unsigned n = 0; n < RECIPIENTS; n++) {
			const struct outcome *o = &fake.deliveries[i].recipients[n].outcome;

			faults_check(times_taken(s, number_of(s, i)) == is_delivered(o));
			faults_check(faulty || is_delivered(o));
			faults_check(o->kind != OUTCOME_FAILED);
			faults_check(!o->site_fault || s->connection > 0 || s->manner->race);
		}
		arena_free(fake.deliveries[i].arena);
	}
}

static void deliver_round(struct scene *s, bool faulty)
{
	s->round++;
	s->client_done = false;
	fake.next = fake.done = 0;
	for (unsigned i = 0; i < DELIVERIES; i++)
		fill_delivery(s, i);
	assert_int_equal(loop_spawn(s->client, "client", client_main, s), 0);
	if (faulty && !s->connection)
		faults_begin(at_the_client, s);
	if (!sim_run_until(s->sim, is_done, s, sim_now(s->sim) + USEC_DAY))
		faults_check(!"the courier ended");
	faults_end();
	faults_check(fake.done == fake.next);
	judge(s, faulty);
}

/* --- the scene ------------------------------------------------------------------------------------------------------ */

static void choose_fate(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct scene *s = context;

	if (c->at->ip.bytes[3] == DEAD)
		fate->kind = SIM_BLACKHOLE;
	else if (++s->connections == s->connection)
		fate->kind = s->fate;
}

static void open_scene(struct scene *s)
{
	struct endpoint at = { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 192, 0, 2, 25 } }, .port = 25 };
	struct deliver_config config = { .hostname = "client.example" };
	struct sim_host *host;
	char *why = NULL;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 5 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "client", "192.0.2.1", &host, &s->client_world), 0);
	assert_int_equal(sim_host_new(s->sim, "server", "192.0.2.25 192.0.2.26", &host, &s->server_world), 0);
	assert_int_equal(loop_new(s->client_world, "client", 0, 0, &s->client), 0);
	assert_int_equal(loop_new(s->server_world, "server", 0, 0, &s->server), 0);
	assert_int_equal(loop_start(s->client), 0);
	assert_int_equal(loop_start(s->server), 0);
	assert_int_equal(listener_open(s->server_world, &at, NULL, &s->listener), 0);
	certificate_write(s->server_world, "mx.server.example", "/cert.pem", "/key.pem");
	assert_int_equal(tls_server_context_new(s->server_world, &(struct tls_server_config) { .certificate = "/cert.pem", .key = "/key.pem" }, &s->certificate,
						&why), 0);
	assert_int_equal(loop_spawn(s->server, "server", server_main, s), 0);
	assert_int_equal(deliverer_new(s->client_world, NULL, NULL, &config, NULL, &s->deliverer, &why), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	s->hop = (struct hop) { .kind = s->manner->lmtp ? HOP_LMTP : HOP_MX, .tls = s->manner->tls };
	if (s->manner->lmtp)
		s->hop.lmtp = at;
	if (s->manner->token) {
		s->hop = (struct hop) { .kind = HOP_RELAY, .relay = &relay };
		tokens_free(s->deliverer->tokens);
		assert_int_equal(tokens_new(s->client_world, NULL, give_token, &s->deliverer->tokens), 0);
		assert_int_equal(file_write_atomically(s->client_world, "/refresh", SLICE("odd\n"), 0600), 0);
	}
	s->host = (struct target_host) { .name = "mx.server.example", .ip = at.ip, .port = 25, .preference = 10 };
	s->target = (struct target) { .status = TARGET_OK, .site = "mx:server.example", .domain = "server.example", .n_hosts = 1, .hosts = &s->host };
	fake.race = s->manner->race;
	sim_set_connect_hook(s->sim, choose_fate, s);
	fake.info = (struct slot_info) { .site = "mx:server.example", .hop = &s->hop, .target = &s->target, .domain = "server.example" };
	s->recipients[0].address = "bob@server.example";
	s->recipients[1].address = "eve@server.example";
	s->envelope = (struct envelope) { .id = 1, .size = sizeof(content) - 1, .recipients = s->recipients, .n_recipients = RECIPIENTS };
}

static void close_scene(struct scene *s)
{
	loop_stop(s->client);
	loop_stop(s->server);
	listener_close(s->listener);
	tls_context_unref(s->certificate);
	deliverer_free(s->deliverer);
	loop_free(s->client);
	loop_free(s->server);
	world_free(s->client_world);
	world_free(s->server_world);
	sim_free(s->sim);
	arena_free(s->arena);
}

static void play(void *context)
{
	struct scene s = { .manner = context };

	open_scene(&s);
	deliver_round(&s, true);
	deliver_round(&s, false); /* with the same deliverer */
	close_scene(&s);
}

static const struct manner manners[] = {
	{ .name = "LMTP", .lmtp = true, .tls = TLS_NONE, .least = 8 },
	{ .name = "SMTP, TLS wherever it is offered", .tls = TLS_MAY, .least = 8 },
	{ .name = "SMTP, TLS required, BDAT", .tls = TLS_REQUIRED, .chunking = true, .least = 8 },
	{ .name = "SMTP, TLS required, a token", .tls = TLS_REQUIRED, .token = true, .least = 30 },
	{ .name = "SMTP, a race", .tls = TLS_REQUIRED, .race = true, .least = 8 },
};

static void test_an_allocation_fails(void **state)
{
	for (unsigned i = 0; i < ARRAY_LEN(manners); i++) {
		struct faults_walk w = { .name = manners[i].name, .scenario = play, .context = (void *) (uintptr_t) &manners[i], .times = 1 };

		assert_true(faults_enough(faults_walk(&w), manners[i].least));
		w.times = 3;
		assert_true(faults_enough(faults_walk(&w), manners[i].least));
	}
}

static void test_a_connection_fails(void **state)
{
	static const enum sim_fate_kind fates[] = { SIM_REFUSE, SIM_UNREACHABLE, SIM_BLACKHOLE, SIM_RESET };

	for (unsigned i = 0; i < ARRAY_LEN(manners); i++) {
		for (unsigned f = 0; f < ARRAY_LEN(fates); f++) {
			struct scene s = { .manner = &manners[i], .connection = 1, .fate = fates[f] };

			open_scene(&s);
			deliver_round(&s, true);
			faults_check(s.n_taken < DELIVERIES);
			deliver_round(&s, false);
			close_scene(&s);
		}
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, faults_teardown)
	const struct CMUnitTest tests[] = { T(test_an_allocation_fails), T(test_a_connection_fails) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
