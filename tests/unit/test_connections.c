/* How the way out connects: races of families and hosts, sources, proxies, slow peers, servers that break at BDAT or take few
 * recipients at a time; in a simulated world. The slot, the spool and the router are stand-ins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "deliver/deliver.h"
#include "route/health.h"
#include "deliver/remembered.h"
#include "deliver/socks.h"
#include "unit/policy_stand_in.h"
#include "smtp/line.h"
#include "world/fiber.h"
#include "world/sim.h"

#define MESSAGES_MAX 3u
#define RECIPIENTS_MAX 6u
#define EVENTS_MAX 32u

/* --- stand-ins ----------------------------------------------------------------------------------------------- */

struct spool_reader {
	char unused;
};

static struct {
	struct slot_info info;
	struct delivery deliveries[MESSAGES_MAX];
	unsigned n, next;
	const char *content;
	size_t chunk;        /* octets that are there at once; 0: all */
	usec_t lookup_time;  /* of all but the first */
	unsigned lookups;
	const char *addresses[3]; /* of the hosts, by port: 25, 26, 27 */
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
	memcpy(data, fake.content + offset, len);
	return (ssize_t) len;
}

int spool_reader_view(struct spool_reader *r, uint64_t offset, struct slice *ret)
{
	*ret = slice_skip(slice_from(fake.content), (size_t) offset);
	if (fake.chunk)
		*ret = slice_head(*ret, MIN(fake.chunk, ret->len));
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
}

int route_addresses(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct address_list *ret)
{
	struct slice rest;

	*ret = (struct address_list) { .ips = arena_new_array(a, struct ip, 8) };
	if (!host->name) {
		ret->ips[ret->n++] = host->ip;
		return 0;
	}
	rest = slice_from(fake.addresses[host->port - 25]);
	if (fake.lookups++ > 0 && fake.lookup_time && fiber_sleep_until(MIN(deadline, now() + fake.lookup_time)) == -ECANCELED)
		return -ECANCELED;
	while (rest.data)
		assert_int_equal(ip_parse(slice_cut(rest, ' ', &rest), &ret->ips[ret->n++]), 0);
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

/* --- servers ---------------------------------------------------------------------------------------------------- */

/* How a server behaves. */
struct manners {
	bool mute;            /* accepts, and says nothing */
	const char *ehlo;     /* further lines of its reply to EHLO, with CRLF */
	const char *bdat;     /* its reply to BDAT; "": it hangs up there */
	unsigned rcpt_max;    /* then 452 */
	usec_t reply_pause;   /* before each octet of each reply */
	usec_t read_pause;    /* before each line of the content */
};

struct server {
	struct fixture *f;
	struct listener *listener;
	struct manners manners;
	unsigned accepted, greeted, mails, rcpts, contents, bdats;
	char from[IP_TEXT]; /* the last client */
	char helo[80];
};

struct fixture {
	struct sim *sim;
	struct sim_host *client_host, *server_host;
	struct world *client_world, *server_world;
	struct loop *client, *loop;
	struct deliver_config config;
	struct deliverer *deliverer;
	struct hop hop;
	struct target target;
	struct target_host hosts[3];
	struct arena *arena;
	struct envelope envelope;
	struct envelope_recipient recipients[RECIPIENTS_MAX];
	struct server servers[6];
	unsigned n_servers, n_silent;
	struct ip silent[4]; /* addresses that never answer */
	struct event_sink sink;
	char events[EVENTS_MAX][120];
	unsigned n_events;
	bool done;
	usec_t started, ended;
};

static void reply(struct server *s, struct stream *stream, const char *text)
{
	for (; s->manners.reply_pause && *text; text++) {
		if (stream_put(stream, slice_new(text, 1), now() + USEC_DAY) < 0 || stream_flush(stream, now() + USEC_DAY) < 0 ||
		    fiber_sleep_until(now() + s->manners.reply_pause) < 0)
			return;
	}
	(void) stream_put_str(stream, text, now() + USEC_MIN);
}

static void read_chunk(struct stream *stream, size_t len)
{
	while (len > 0) {
		struct slice there = stream_peek(stream);
		size_t n = MIN(len, there.len);

		stream_consume(stream, n);
		len -= n;
		if (len > 0 && stream_fill(stream, now() + USEC_HOUR) <= 0)
			return;
	}
}

static void read_content(struct server *s, struct stream *stream, struct line_reader *lines)
{
	struct slice line;

	reply(s, stream, "354 go on\r\n");
	while (smtp_read_line(lines, 2000, now() + USEC_HOUR, &line) == 0 && !slice_eq_str(line, "."))
		if (s->manners.read_pause && fiber_sleep_until(now() + s->manners.read_pause) < 0)
			return;
	s->contents++;
	reply(s, stream, "250 2.0.0 taken\r\n");
}

/* False: hang up. */
static bool answer(struct server *s, struct stream *stream, struct line_reader *lines, struct slice line, unsigned *rcpts)
{
	if (slice_istarts(line, "EHLO ")) {
		slice_copy(slice_skip(line, 5), s->helo, sizeof(s->helo));
		reply(s, stream, s->manners.ehlo ? s->manners.ehlo : "250 server\r\n");
	} else if (slice_istarts(line, "MAIL")) {
		s->mails++;
		*rcpts = 0;
		reply(s, stream, "250 2.1.0 ok\r\n");
	} else if (slice_istarts(line, "RCPT")) {
		s->rcpts++;
		if (s->manners.rcpt_max && ++*rcpts > s->manners.rcpt_max)
			reply(s, stream, "452 4.5.3 too many recipients\r\n");
		else
			reply(s, stream, "250 2.1.5 ok\r\n");
	} else if (slice_istarts(line, "DATA")) {
		read_content(s, stream, lines);
	} else if (slice_istarts(line, "BDAT ")) {
		s->bdats++;
		read_chunk(stream, (size_t) atoi(line.data + 5));
		if (s->manners.bdat && !*s->manners.bdat)
			return false;
		s->contents += !s->manners.bdat;
		reply(s, stream, s->manners.bdat ? s->manners.bdat : "250 2.0.0 taken\r\n");
	} else {
		reply(s, stream, "250 2.0.0 ok\r\n");
	}
	return !slice_istarts(line, "QUIT");
}

static void serve_one(struct server *s, struct stream *stream)
{
	struct line_reader lines;
	struct slice line;
	unsigned rcpts = 0;

	line_reader_init(&lines, stream);
	if (s->manners.mute) {
		(void) stream_fill(stream, now() + 10 * USEC_HOUR);
		return;
	}
	s->greeted++;
	reply(s, stream, "220 server\r\n");
	while (smtp_read_line(&lines, 2000, now() + USEC_HOUR, &line) == 0 && answer(s, stream, &lines, line, &rcpts))
		;
	(void) stream_flush(stream, now() + USEC_MIN);
}

static void serve(void *arg)
{
	struct server *s = arg;
	struct transport *t;
	struct endpoint from;
	struct stream *stream;

	while (listener_accept(s->listener, DEADLINE_NEVER, &t, &from) == 0) {
		s->accepted++;
		ip_format(&from.ip, s->from);
		assert_int_equal(stream_new(t, &from, &stream), 0);
		serve_one(s, stream);
		stream_free(stream);
	}
}

static struct server *add_server(struct fixture *f, const char *at)
{
	struct server *s = &f->servers[f->n_servers++];
	struct endpoint e;

	s->f = f;
	assert_int_equal(endpoint_parse(slice_from(at), &e), 0);
	assert_int_equal(listener_open(f->server_world, &e, NULL, &s->listener), 0);
	assert_int_equal(loop_spawn(f->loop, "server", serve, s), 0);
	return s;
}

/* Connections there are never answered. */
static void silence(struct fixture *f, const char *ip)
{
	assert_int_equal(ip_parse(slice_from(ip), &f->silent[f->n_silent++]), 0);
}

static void decide(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	const struct fixture *f = context;

	fate->kind = SIM_PASS;
	for (unsigned i = 0; i < f->n_silent; i++)
		if (ip_equal(&f->silent[i], &c->at->ip))
			fate->kind = SIM_BLACKHOLE;
}

/* --- fixture ---------------------------------------------------------------------------------------------------- */

static const char *field_of(const struct field *fields, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0 && fields[i].type == FIELD_STR)
			return fields[i].str ? fields[i].str : "-";
	return "-";
}

static void note_event(void *context, msgid_t id, const char *kind, const struct field *fields, size_t n)
{
	struct fixture *f = context;

	assert_true(f->n_events < EVENTS_MAX);
	snprintf(f->events[f->n_events++], sizeof(f->events[0]), "%s from %s: %s", field_of(fields, n, "address"),
		 field_of(fields, n, "source"), field_of(fields, n, "outcome"));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(&fake, 0, sizeof(fake));
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 11 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "client", "192.0.2.1 192.0.2.2 2001:db8::1", &f->client_host, &f->client_world), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25 192.0.2.26 192.0.2.27 2001:db8::25 2001:db8::26", &f->server_host,
				      &f->server_world), 0);
	assert_int_equal(loop_new(f->client_world, "client", 0, 0, &f->client), 0);
	assert_int_equal(loop_new(f->server_world, "server", 0, 0, &f->loop), 0);
	assert_int_equal(loop_start(f->client), 0);
	assert_int_equal(loop_start(f->loop), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	sim_set_connect_hook(f->sim, decide, f);
	f->sink = (struct event_sink) { .emit = note_event, .context = f };
	f->config.hostname = "client.example";
	f->config.attempt_timeout = 10 * USEC_HOUR;
	f->hop = (struct hop) { .kind = HOP_MX };
	for (unsigned i = 0; i < 3; i++)
		f->hosts[i] = (struct target_host) { .name = "mx.server.example", .port = (uint16_t) (25 + i), .preference = 10 };
	f->target = (struct target) { .status = TARGET_OK, .site = "mx:server.example", .domain = "server.example", .n_hosts = 1, .hosts = f->hosts };
	fake.info = (struct slot_info) { .site = "mx:server.example", .hop = &f->hop, .target = &f->target, .domain = "server.example" };
	fake.content = "Subject: x\r\n\r\nhello\r\n";
	fake.addresses[0] = "2001:db8::25 192.0.2.25";
	for (unsigned i = 0; i < RECIPIENTS_MAX; i++)
		f->recipients[i].address = (const char *[]) { "a@x.example", "b@y.example", "c@x.example", "d@y.example", "e@x.example", "f@z.example" }[i];
	f->envelope = (struct envelope) {
		.id = 1, .reverse_path = "a@client.example", .size = 20, .recipients = f->recipients, .n_recipients = RECIPIENTS_MAX
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->client);
	loop_stop(f->loop);
	for (unsigned i = 0; i < f->n_servers; i++)
		listener_close(f->servers[i].listener);
	deliverer_free(f->deliverer);
	loop_free(f->client);
	loop_free(f->loop);
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
	for (unsigned i = 0; i < n_recipients; i++)
		d->recipients[i] = (struct delivery_recipient) { .index = i, .address = f->recipients[i].address };
}

static void courier(void *arg)
{
	struct fixture *f = arg;
	struct courier *c = deliverer_courier(f->deliverer);

	f->started = now();
	c->run(c, NULL);
	f->ended = now();
	f->done = true;
}

static bool is_done(void *context)
{
	return ((struct fixture *) context)->done;
}

/* Delivers what was added; returns how long it took. */
static usec_t deliver(struct fixture *f)
{
	char *why = NULL;

	if (!f->deliverer)
		assert_int_equal(deliverer_new(f->client_world, NULL, &f->sink, &f->config, NULL, &f->deliverer, &why), 0);
	f->done = false;
	assert_int_equal(loop_spawn(f->client, "courier", courier, f), 0);
	assert_true(sim_run_until(f->sim, is_done, f, sim_now(f->sim) + 48 * USEC_HOUR));
	return f->ended - f->started;
}

static usec_t deliver_one(struct fixture *f)
{
	add_message(f, 1);
	return deliver(f);
}

static const struct outcome *outcome(unsigned message, unsigned recipient)
{
	return &fake.deliveries[message].recipients[recipient].outcome;
}

static void is_taken(unsigned message, unsigned recipient, const char *address)
{
	const struct outcome *o = outcome(message, recipient);
	char ip[IP_TEXT];

	if (o->kind != OUTCOME_RELAYED || strcmp(ip_format(&o->ip, ip), address) != 0)
		fail_msg("kind %d at %s, stage %s: %d %s", o->kind, ip_format(&o->ip, ip), stage_name(o->stage), o->reply.code, o->reply.text);
}

/* --- families ------------------------------------------------------------------------------------------------- */

static void test_ipv6_comes_first_where_it_works(void **state)
{
	struct fixture *f = *state;
	struct server *v4 = add_server(f, "192.0.2.25:25"), *v6 = add_server(f, "[2001:db8::25]:25");

	assert_true(deliver_one(f) < USEC_SEC);
	is_taken(0, 0, "2001:db8::25");
	assert_int_equal(v6->accepted, 1);
	assert_int_equal(v4->accepted, 0);
	assert_int_equal(f->n_events, 0);
}

static void test_a_black_hole_costs_a_quarter_of_a_second_once(void **state)
{
	struct fixture *f = *state;
	usec_t first, second;

	(void) add_server(f, "192.0.2.25:25");
	silence(f, "2001:db8::25");
	first = deliver_one(f);
	is_taken(0, 0, "192.0.2.25");
	assert_in_range(first, 250 * USEC_MS, 500 * USEC_MS);
	/* The loser was given up, and it is not reported as failed. */
	assert_int_equal(f->n_events, 0);
	assert_int_equal(sim_connections_made(f->sim, f->client_host, f->server_host, 25), 0);
	/* The family is remembered for the site. */
	second = deliver_one(f);
	is_taken(1, 0, "192.0.2.25");
	assert_true(second < 200 * USEC_MS);
	/* But not for ever: it may work again. */
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_HOUR);
	f->n_silent = 0;
	(void) add_server(f, "[2001:db8::25]:25");
	(void) deliver_one(f);
	is_taken(2, 0, "2001:db8::25");
}

static void test_a_refused_family_costs_no_wait(void **state)
{
	struct fixture *f = *state;

	(void) add_server(f, "192.0.2.25:25");
	assert_true(deliver_one(f) < 250 * USEC_MS);
	is_taken(0, 0, "192.0.2.25");
	assert_int_equal(f->n_events, 1);
	assert_string_equal(f->events[0], "2001:db8::25 from -: next host");
}

static void test_the_delay_is_configurable_and_can_be_never(void **state)
{
	struct fixture *f = *state;

	(void) add_server(f, "192.0.2.25:25");
	silence(f, "2001:db8::25");
	f->config.connection_attempt_delay = DEADLINE_NEVER;
	f->config.connect_timeout = 30 * USEC_SEC;
	assert_in_range(deliver_one(f), 30 * USEC_SEC, 31 * USEC_SEC);
	is_taken(0, 0, "192.0.2.25");
	assert_int_equal(f->n_events, 1);
}

static void test_a_slow_first_may_still_win(void **state)
{
	struct fixture *f = *state;
	struct sim_link slow = sim_link_default();

	slow.latency = 200 * USEC_MS; /* it answers after 400 ms, when the other is on its way already */
	slow.jitter = 0;
	sim_set_link(f->sim, NULL, NULL, &slow);
	(void) add_server(f, "[2001:db8::25]:25");
	(void) add_server(f, "192.0.2.25:25");
	(void) deliver_one(f);
	is_taken(0, 0, "2001:db8::25");
	assert_int_equal(sim_connections_made(f->sim, f->client_host, f->server_host, 25), 0);
}

static void test_hosts_of_one_preference_take_part_in_one_race(void **state)
{
	struct fixture *f = *state;
	struct server *other = add_server(f, "192.0.2.26:26");

	f->target.n_hosts = 2;
	fake.addresses[0] = "2001:db8::25 192.0.2.25";
	fake.addresses[1] = "192.0.2.26";
	fake.lookup_time = 10 * USEC_MS;
	silence(f, "2001:db8::25");
	silence(f, "192.0.2.25");
	assert_true(deliver_one(f) < 2 * USEC_SEC);
	is_taken(0, 0, "192.0.2.26");
	assert_int_equal(other->contents, 1);
}

static void test_a_less_preferred_host_waits_until_the_others_have_failed(void **state)
{
	struct fixture *f = *state;

	(void) add_server(f, "192.0.2.26:26");
	f->target.n_hosts = 2;
	f->hosts[1].preference = 20;
	fake.addresses[1] = "192.0.2.26";
	silence(f, "2001:db8::25");
	silence(f, "192.0.2.25");
	f->config.connect_timeout = 5 * USEC_SEC;
	assert_in_range(deliver_one(f), 5 * USEC_SEC, 6 * USEC_SEC);
	is_taken(0, 0, "192.0.2.26");
	assert_int_equal(f->n_events, 2);
}

static void test_who_answers_during_a_slow_lookup_is_taken(void **state)
{
	struct fixture *f = *state;
	struct sim_link slow = sim_link_default();

	slow.latency = 400 * USEC_MS;
	sim_set_link(f->sim, NULL, NULL, &slow);
	(void) add_server(f, "192.0.2.25:25");
	(void) add_server(f, "192.0.2.25:26");
	f->target.n_hosts = 2;
	fake.addresses[0] = fake.addresses[1] = "192.0.2.25";
	fake.lookup_time = 30 * USEC_SEC;
	assert_true(deliver_one(f) < 20 * USEC_SEC);
	is_taken(0, 0, "192.0.2.25");
	assert_int_equal(fake.lookups, 2); /* it had begun */
}

static void test_a_server_without_a_greeting_does_not_win_for_ever(void **state)
{
	struct fixture *f = *state;
	struct server *mute = add_server(f, "[2001:db8::25]:25");

	mute->manners.mute = true;
	(void) add_server(f, "192.0.2.25:25");
	f->config.greeting_timeout = 20 * USEC_SEC;
	assert_in_range(deliver_one(f), 20 * USEC_SEC, 22 * USEC_SEC);
	is_taken(0, 0, "192.0.2.25");
	assert_int_equal(f->n_events, 1);
	/* And it is not tried first again. */
	assert_true(deliver_one(f) < USEC_SEC);
	is_taken(1, 0, "192.0.2.25");
}

static void test_all_that_failed_is_told_and_the_mail_waits(void **state)
{
	struct fixture *f = *state;

	f->target.n_hosts = 2;
	f->hosts[1].preference = 20;
	fake.addresses[1] = "192.0.2.26";
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_DEFERRED);
	assert_int_equal(outcome(0, 0)->class, CLASS_UNREACHABLE);
	assert_true(outcome(0, 0)->site_fault);
	assert_int_equal(f->n_events, 2); /* the third is in the outcome */
}

static void test_no_more_addresses_are_tried_than_allowed(void **state)
{
	struct fixture *f = *state;

	fake.addresses[0] = "2001:db8::25 2001:db8::26 2001:db8::27 192.0.2.25 192.0.2.26 192.0.2.27";
	silence(f, "2001:db8::25");
	silence(f, "192.0.2.25");
	f->config.max_addresses = 3;
	f->config.connect_timeout = 2 * USEC_SEC;
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_DEFERRED);
	assert_int_equal(f->n_events, 2); /* interleaved: 6, 4, 6; the third, which was refused at once, is the outcome */
	assert_non_null(strstr(f->events[0], "2001:db8::25"));
	assert_non_null(strstr(f->events[1], "192.0.2.25"));
	assert_int_equal(outcome(0, 0)->ip.bytes[15], 0x26);
}

static void test_cancelled_in_a_race_everybody_goes_home(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;

	silence(f, "2001:db8::25");
	silence(f, "192.0.2.25");
	add_message(f, 1);
	assert_int_equal(deliverer_new(f->client_world, NULL, &f->sink, &f->config, NULL, &f->deliverer, &why), 0);
	assert_int_equal(loop_spawn(f->client, "courier", courier, f), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_SEC);
	assert_int_equal(loop_fiber_count(f->client), 3);
	loop_stop(f->client);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_NONE);
	assert_int_equal(sim_connections_made(f->sim, f->client_host, f->server_host, 25), 0);
}

static void test_without_a_fiber_for_a_race_one_address_comes_after_the_other(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->client);
	loop_free(f->client);
	assert_int_equal(loop_new(f->client_world, "client", 0, 1, &f->client), 0);
	assert_int_equal(loop_start(f->client), 0);
	silence(f, "2001:db8::25");
	(void) add_server(f, "192.0.2.25:25");
	f->config.connect_timeout = 5 * USEC_SEC;
	assert_in_range(deliver_one(f), 5 * USEC_SEC, 6 * USEC_SEC);
	is_taken(0, 0, "192.0.2.25");
	assert_int_equal(f->n_events, 1);
}

static struct fixture *race_once(void)
{
	void *state = NULL;
	struct fixture *f;

	setup(&state);
	f = state;
	(void) add_server(f, "192.0.2.26:26");
	f->target.n_hosts = 2;
	fake.addresses[1] = "2001:db8::26 192.0.2.26";
	fake.lookup_time = 10 * USEC_MS;
	silence(f, "2001:db8::25");
	silence(f, "192.0.2.25");
	(void) deliver_one(f);
	is_taken(0, 0, "192.0.2.26");
	return f;
}

static void test_a_race_is_the_same_each_time_in_a_simulation(void **state)
{
	struct fixture *f = race_once();
	uint64_t hash = sim_trace_hash(f->sim);

	teardown((void **) &f);
	f = race_once();
	assert_true(sim_trace_hash(f->sim) == hash);
	teardown((void **) &f);
}

/* --- where from ------------------------------------------------------------------------------------------------- */

static void test_a_pool_gives_the_address_and_its_name(void **state)
{
	static const struct source sources[] = { { .ip = { 4, { 192, 0, 2, 2 } }, .ehlo = "mta2.example", .weight = 1, .text = "192.0.2.2" } };
	static const struct source_pool pool = { .name = "bulk", .n_sources = 1, .sources = sources };
	struct fixture *f = *state;
	struct server *v4 = add_server(f, "192.0.2.25:25"), *v6 = add_server(f, "[2001:db8::25]:25");

	f->hop.source = &pool;
	(void) deliver_one(f);
	is_taken(0, 0, "192.0.2.25");
	assert_string_equal(v4->from, "192.0.2.2");
	assert_string_equal(v4->helo, "mta2.example");
	assert_string_equal(outcome(0, 0)->source, "192.0.2.2");
	assert_int_equal(v6->accepted, 0); /* the pool has no such address */
}

static void test_a_pool_without_the_family_says_so(void **state)
{
	static const struct source sources[] = { { .ip = { 6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } }, .weight = 1, .text = "2001:db8::1" } };
	static const struct source_pool pool = { .name = "bulk", .n_sources = 1, .sources = sources };
	struct fixture *f = *state;

	fake.addresses[0] = "192.0.2.25";
	f->hop.source = &pool;
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_DEFERRED);
	assert_int_equal(outcome(0, 0)->class, CLASS_UNREACHABLE);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "none of the addresses under sources.bulk"));
}

static void test_an_address_that_is_not_ours_is_a_clear_trouble(void **state)
{
	static const struct source sources[] = { { .ip = { 4, { 192, 0, 2, 99 } }, .weight = 1, .text = "192.0.2.99" } };
	static const struct source_pool pool = { .name = "bulk", .n_sources = 1, .sources = sources };
	struct fixture *f = *state;

	(void) add_server(f, "192.0.2.25:25");
	f->hop.source = &pool;
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->class, CLASS_UNREACHABLE);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "the source address 192.0.2.99 is none of this machine"));
}

static void test_a_member_that_the_site_blocks_rests_there(void **state)
{
	static const struct source sources[] = {
		{ .ip = { 4, { 192, 0, 2, 1 } }, .weight = 1000, .text = "192.0.2.1" },
		{ .ip = { 4, { 192, 0, 2, 2 } }, .weight = 1, .text = "192.0.2.2" },
	};
	static const struct source_pool pool = { .name = "bulk", .n_sources = 2, .sources = sources };
	struct fixture *f = *state;
	struct server *s = add_server(f, "192.0.2.25:25");
	struct courier *c;

	fake.addresses[0] = "192.0.2.25";
	f->hop.source = &pool;
	(void) deliver_one(f);
	assert_string_equal(s->from, "192.0.2.1");
	c = deliverer_courier(f->deliverer);
	c->blocked(c, "mx:server.example", "192.0.2.1");
	(void) deliver_one(f);
	assert_string_equal(s->from, "192.0.2.2");
	/* When all are blocked, one of them has to try. */
	c->blocked(c, "mx:server.example", "192.0.2.2");
	(void) deliver_one(f);
	is_taken(2, 0, "192.0.2.25");
	assert_string_equal(s->from, "192.0.2.1");
	/* Another site, and later: as before. */
	fake.next = fake.n = 0;
	f->target.site = fake.info.site = "mx:other.example";
	(void) deliver_one(f);
	assert_string_equal(s->from, "192.0.2.1");
}

static void test_the_usual_source_is_for_one_family(void **state)
{
	struct fixture *f = *state;
	struct server *v4 = add_server(f, "192.0.2.25:25"), *v6 = add_server(f, "[2001:db8::25]:25");

	f->config.source = (struct ip) { 4, { 192, 0, 2, 2 } };
	(void) deliver_one(f);
	assert_int_equal(v6->accepted, 1);
	assert_null(outcome(0, 0)->source);
	fake.addresses[0] = "192.0.2.25";
	(void) deliver_one(f);
	assert_string_equal(v4->from, "192.0.2.2");
	assert_string_equal(v4->helo, "client.example");
	assert_string_equal(outcome(1, 0)->source, "192.0.2.2");
}

/* --- through a proxy -------------------------------------------------------------------------------------------------- */

static void is_parsed(ssize_t (*parse)(struct slice, uint8_t *), const char *octets, size_t len, ssize_t expected, uint8_t value)
{
	uint8_t got = 0xee;

	for (size_t part = 0; part < len && expected > 0 && part < (size_t) expected; part++)
		assert_int_equal(parse(slice_new(octets, part), &got), 0);
	assert_int_equal(parse(slice_new(octets, len), &got), expected);
	assert_int_equal(got, expected > 0 ? value : 0xee);
}

static void test_what_a_proxy_says_is_parsed(void **state)
{
	is_parsed(socks_parse_method, "\5\0", 2, 2, 0);
	is_parsed(socks_parse_method, "\5\377rest", 6, 2, 0xff);
	is_parsed(socks_parse_method, "\4", 1, -EPROTO, 0);
	is_parsed(socks_parse_method, "220 mx.example ESMTP", 20, -EPROTO, 0);
	is_parsed(socks_parse_login, "\1\0", 2, 2, 0);
	is_parsed(socks_parse_login, "\5\0", 2, -EPROTO, 0);
	is_parsed(socks_parse_reply, "\5\0\0\1\0\0\0\0\0\0" "220 hi", 16, 10, 0);
	is_parsed(socks_parse_reply, "\5\0\0\3\4host\0\31", 11, 11, 0);
	is_parsed(socks_parse_reply, "\5\0\0\4" "0123456789abcdef\0\31", 22, 22, 0);
	is_parsed(socks_parse_reply, "\5\0\0\2\0\0", 6, -EPROTO, 0);
	is_parsed(socks_parse_reply, "\5\5", 2, 2, 5);
	assert_string_equal(socks_reply_text(5), "connection refused");
	assert_string_equal(socks_reply_text(99), "a failure that has no name");
}

/* A proxy: takes name and password when it wants them, and connects to addresses, and to the names that it knows. */
struct proxy_server {
	struct fixture *f;
	struct listener *listener;
	const char *login; /* the octets of RFC 1929 that it wants; NULL: none */
	uint8_t refuse;    /* with this reply */
	struct endpoint names; /* where all names are */
	char asked[64];
};

static bool read_octets(struct stream *s, char *out, size_t n)
{
	while (stream_peek(s).len < n)
		if (stream_fill(s, now() + USEC_MIN) <= 0)
			return false;
	memcpy(out, stream_peek(s).data, n);
	stream_consume(s, n);
	return true;
}

static void say_octets(struct stream *s, const char *octets, size_t n)
{
	(void) stream_put(s, slice_new(octets, n), now() + USEC_MIN);
	(void) stream_flush(s, now() + USEC_MIN);
}

struct pump {
	struct stream *from, *to;
};

static void pump(void *arg)
{
	struct pump *p = arg;

	while (stream_fill(p->from, now() + USEC_HOUR) > 0) {
		struct slice there = stream_peek(p->from);

		if (stream_put(p->to, there, now() + USEC_MIN) < 0 || stream_flush(p->to, now() + USEC_MIN) < 0)
			break;
		stream_consume(p->from, there.len);
	}
	if (p->to->transport->ops->shutdown)
		p->to->transport->ops->shutdown(p->to->transport);
}

static bool proxy_greets(struct proxy_server *p, struct stream *s)
{
	char in[64], expected[64];
	size_t n;

	if (!read_octets(s, in, 2) || in[0] != 5 || !read_octets(s, in + 2, (size_t) in[1]))
		return false;
	if (!p->login) {
		say_octets(s, "\5\0", 2);
		return true;
	}
	if (!memchr(in + 2, 2, (size_t) in[1])) {
		say_octets(s, "\5\377", 2);
		return false;
	}
	say_octets(s, "\5\2", 2);
	n = strlen(p->login);
	memcpy(expected, p->login, n);
	if (!read_octets(s, in, n) || memcmp(in, expected, n) != 0) {
		say_octets(s, "\1\1", 2);
		return false;
	}
	say_octets(s, "\1\0", 2);
	return true;
}

static bool proxy_target(struct proxy_server *p, struct stream *s, struct endpoint *ret)
{
	char in[300];
	char text[ENDPOINT_TEXT];
	size_t n;

	if (!read_octets(s, in, 5))
		return false;
	*ret = p->names;
	n = in[3] == 1 ? 4 : in[3] == 4 ? 16 : (size_t) in[4] + 1;
	if (!read_octets(s, in + 5, n - 1 + 2))
		return false;
	if (in[3] == 1)
		*ret = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v4((uint8_t *) in + 4) };
	else if (in[3] == 4)
		*ret = (struct endpoint) { .kind = ENDPOINT_IP, .ip = ip_from_v6((uint8_t *) in + 4) };
	ret->port = (uint16_t) ((uint8_t) in[4 + n] << 8 | (uint8_t) in[5 + n]);
	if (in[3] == 3)
		snprintf(p->asked, sizeof(p->asked), "%.*s:%u", in[4], in + 5, ret->port);
	else
		snprintf(p->asked, sizeof(p->asked), "%s", endpoint_format(ret, text));
	return true;
}

static void proxy_one(struct proxy_server *p, struct stream *s)
{
	struct fiber_group group;
	struct endpoint to;
	struct transport *t;
	struct stream *out;
	char refusal[] = "\5\0\0\1\0\0\0\0\0\0";

	if (!proxy_greets(p, s) || !proxy_target(p, s, &to))
		return;
	refusal[1] = (char) p->refuse;
	if (p->refuse || net_connect(&to, NULL, now() + USEC_MIN, &t) < 0) {
		refusal[1] = p->refuse ? (char) p->refuse : 5;
		say_octets(s, refusal, 10);
		return;
	}
	assert_int_equal(stream_new(t, &to, &out), 0);
	/* The server's greeting comes in one packet with the proxy's consent. */
	(void) stream_fill(out, now() + USEC_MIN);
	(void) stream_put(s, slice_new(refusal, 10), now() + USEC_MIN);
	(void) stream_put(s, stream_peek(out), now() + USEC_MIN);
	stream_consume(out, stream_peek(out).len);
	(void) stream_flush(s, now() + USEC_MIN);
	fiber_group_init(&group);
	(void) fiber_group_spawn(&group, "pump", pump, &(struct pump) { .from = s, .to = out });
	pump(&(struct pump) { .from = out, .to = s });
	fiber_group_done(&group);
	stream_free(out);
}

static void serve_proxy(void *arg)
{
	struct proxy_server *p = arg;
	struct endpoint from;
	struct transport *t;
	struct stream *s;

	while (listener_accept(p->listener, DEADLINE_NEVER, &t, &from) == 0) {
		assert_int_equal(stream_new(t, &from, &s), 0);
		proxy_one(p, s);
		(void) stream_flush(s, now() + USEC_MIN);
		stream_free(s);
	}
}

static struct proxy a_proxy = { .text = "socks5://192.0.2.27:1080", .at = { .ip = { 4, { 192, 0, 2, 27 } }, .port = 1080 } };
static struct source proxied[] = { { .ehlo = "out.example", .weight = 1, .proxy = &a_proxy, .text = "socks5://192.0.2.27:1080" } };
static const struct source_pool by_proxy = { .name = "abroad", .n_sources = 1, .sources = proxied };

static void begin_proxy(struct fixture *f, struct proxy_server *p)
{
	struct endpoint at;

	a_proxy.resolves = false;
	a_proxy.user = a_proxy.password = NULL;
	p->f = f;
	f->hop.source = &by_proxy;
	assert_int_equal(endpoint_parse(SLICE("192.0.2.27:1080"), &at), 0);
	assert_int_equal(listener_open(f->server_world, &at, NULL, &p->listener), 0);
	assert_int_equal(loop_spawn(f->loop, "proxy", serve_proxy, p), 0);
}

static void end_proxy(struct fixture *f, struct proxy_server *p)
{
	loop_stop(f->loop);
	listener_close(p->listener);
}

static void test_a_proxy_carries_the_connection(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");
	struct proxy_server p = { 0 };

	begin_proxy(f, &p);
	(void) deliver_one(f);
	is_taken(0, 0, "2001:db8::25");
	assert_string_equal(p.asked, "[2001:db8::25]:25");
	assert_string_equal(s->helo, "out.example");
	assert_string_equal(outcome(0, 0)->source, "socks5://192.0.2.27:1080");
	end_proxy(f, &p);
}

static void test_a_proxy_may_look_up_names_itself(void **state)
{
	struct fixture *f = *state;
	struct proxy_server p = { 0 };

	(void) add_server(f, "192.0.2.25:25");
	fake.addresses[0] = "192.0.2.26"; /* not asked */
	begin_proxy(f, &p);
	a_proxy.resolves = true;
	assert_int_equal(endpoint_parse(SLICE("192.0.2.25:1"), &p.names), 0);
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_RELAYED);
	assert_int_equal(outcome(0, 0)->ip.family, 0);
	assert_string_equal(p.asked, "mx.server.example:25");
	end_proxy(f, &p);
}

static void test_a_proxy_may_want_a_login(void **state)
{
	struct fixture *f = *state;
	struct proxy_server p = { .login = "\1\2us\6secret" };

	(void) add_server(f, "192.0.2.25:25");
	fake.addresses[0] = "192.0.2.25";
	begin_proxy(f, &p);
	(void) deliver_one(f);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "the proxy socks5://192.0.2.27:1080 wants a login, and none is configured"));
	a_proxy.user = "us";
	a_proxy.password = "wrong!";
	(void) deliver_one(f);
	assert_non_null(strstr(outcome(1, 0)->reply.text, "does not take our name and password"));
	a_proxy.password = "secret";
	(void) deliver_one(f);
	is_taken(2, 0, "192.0.2.25");
	end_proxy(f, &p);
}

static void test_trouble_with_a_proxy_is_trouble_of_our_path(void **state)
{
	struct fixture *f = *state;
	struct proxy_server p = { .refuse = 4 };

	fake.addresses[0] = "192.0.2.25";
	begin_proxy(f, &p);
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->class, CLASS_UNREACHABLE);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "the proxy socks5://192.0.2.27:1080 could not connect: host unreachable"));
	end_proxy(f, &p);
	(void) deliver_one(f); /* nobody answers on its port any more */
	assert_int_equal(outcome(1, 0)->class, CLASS_UNREACHABLE);
	assert_non_null(strstr(outcome(1, 0)->reply.text, "the proxy socks5://192.0.2.27:1080 can't be reached: Connection refused"));
}

static void test_families_race_through_a_proxy_too(void **state)
{
	struct fixture *f = *state;
	struct proxy_server p = { 0 };

	(void) add_server(f, "192.0.2.25:25");
	begin_proxy(f, &p);
	assert_int_equal(loop_spawn(f->loop, "proxy2", serve_proxy, &p), 0); /* two at the same time */
	silence(f, "2001:db8::25");
	assert_true(deliver_one(f) < 2 * USEC_SEC);
	is_taken(0, 0, "192.0.2.25");
	end_proxy(f, &p);
}

/* --- transactions ----------------------------------------------------------------------------------------------------- */

static void test_recipients_go_in_as_few_transactions_as_the_limits_allow(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");

	/* RFC 9422: a, c, e at x; b, d at y; f at z. */
	s->manners.ehlo = "250-server\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=4 RCPTDOMAINMAX=1\r\n";
	add_message(f, 6);
	(void) deliver(f);
	for (unsigned i = 0; i < 6; i++)
		is_taken(0, i, "2001:db8::25");
	assert_int_equal(s->accepted, 1);
	assert_int_equal(s->mails, 3);
	assert_int_equal(s->rcpts, 6);
	/* The next connection is to a server that allows two messages each. */
	s->manners.ehlo = "250-server\r\n250 LIMITS RCPTMAX=2 MAILMAX=2\r\n";
	s->mails = s->rcpts = s->accepted = 0;
	add_message(f, 6);
	(void) deliver(f);
	for (unsigned i = 0; i < 6; i++)
		is_taken(1, i, "2001:db8::25");
	assert_int_equal(s->accepted, 2);
	assert_int_equal(s->mails, 3);
	assert_int_equal(s->contents, 6);
}

static void test_recipients_that_are_too_many_follow_at_once(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");

	s->manners.rcpt_max = 2;
	add_message(f, 5);
	assert_true(deliver(f) < 3 * USEC_SEC);
	for (unsigned i = 0; i < 5; i++)
		is_taken(0, i, "2001:db8::25");
	assert_int_equal(s->accepted, 1);
	assert_int_equal(s->mails, 3);
	assert_int_equal(s->rcpts, 5 + 3 + 1);
}

static const char offers_chunking[] = "250-server\r\n250-PIPELINING\r\n250 CHUNKING\r\n";

/* However it fails, the message goes by DATA at once, and later ones without the attempt. */
static void bdat_fails(struct fixture *f, const char *how)
{
	struct server *s = add_server(f, "[2001:db8::25]:25");

	s->manners.ehlo = offers_chunking;
	s->manners.bdat = how;
	f->config.dot_timeout = USEC_MIN;
	add_message(f, 2);
	(void) deliver(f);
	is_taken(0, 0, "2001:db8::25");
	is_taken(0, 1, "2001:db8::25");
	assert_int_equal(s->bdats, 1);
	assert_int_equal(s->contents, 1);
	assert_int_equal(s->accepted, 2); /* the first connection is out of step */
	(void) deliver_one(f);
	is_taken(1, 0, "2001:db8::25");
	assert_int_equal(s->bdats, 1);
	/* After a day it may have been mended. */
	sim_run(f->sim, sim_now(f->sim) + 25 * USEC_HOUR);
	s->manners.bdat = NULL;
	(void) deliver_one(f);
	is_taken(2, 0, "2001:db8::25");
	assert_int_equal(s->bdats, 2);
}

static void test_bdat_that_is_no_command_is_done_without(void **state)
{
	bdat_fails(*state, "500 5.5.1 what?\r\n");
}

static void test_bdat_at_which_the_server_hangs_up_is_done_without(void **state)
{
	bdat_fails(*state, "");
}

static void test_bdat_that_is_not_answered_is_done_without(void **state)
{
	bdat_fails(*state, "\r"); /* no line */
}

static void test_where_bdat_has_worked_it_is_not_blamed(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");

	s->manners.ehlo = offers_chunking;
	(void) deliver_one(f);
	is_taken(0, 0, "2001:db8::25");
	s->manners.bdat = "";
	(void) deliver_one(f);
	assert_int_equal(outcome(1, 0)->kind, OUTCOME_DEFERRED); /* RFC 1047: it may have been taken */
	assert_int_equal(outcome(1, 0)->stage, STAGE_DOT);
	s->manners.bdat = NULL;
	(void) deliver_one(f);
	is_taken(2, 0, "2001:db8::25");
	assert_int_equal(s->bdats, 3);
}

static void test_a_refused_content_is_no_failure_of_bdat(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");

	s->manners.ehlo = offers_chunking;
	s->manners.bdat = "554 5.7.1 spam\r\n";
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_FAILED);
	assert_int_equal(s->accepted, 1);
}

static void test_binary_content_has_no_other_way_than_bdat(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "[2001:db8::25]:25");

	s->manners.ehlo = "250-server\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 BINARYMIME\r\n";
	s->manners.bdat = "";
	f->envelope.body = BODY_BINARYMIME;
	(void) deliver_one(f);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_DEFERRED);
	assert_int_equal(s->accepted, 1);
	assert_int_equal(s->contents, 0);
}

/* Each wait is short enough for its own limit, but there are many of them. */
static void test_a_trickling_peer_cannot_hold_a_message(void **state)
{
	struct fixture *f = *state;
	struct server *s = add_server(f, "192.0.2.25:25");
	usec_t took;

	fake.addresses[0] = "192.0.2.25";
	s->manners.reply_pause = 4 * USEC_SEC; /* about a minute for each reply */
	f->config.attempt_timeout = 3 * USEC_MIN;
	add_message(f, 6);
	took = deliver(f);
	assert_in_range(took, 3 * USEC_MIN, 3 * USEC_MIN + 30 * USEC_SEC);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(outcome(0, i)->kind, OUTCOME_DEFERRED);
	assert_non_null(strstr(outcome(0, 5)->reply.text, "it took longer than a whole attempt may take"));
	/* Of a large message more time is granted. */
	f->envelope.size = 4096 * 3600;
	s->manners.reply_pause = 2 * USEC_SEC;
	(void) deliver_one(f);
	is_taken(1, 0, "192.0.2.25");
}

/* It reads a line every five seconds: each piece goes within its own limit. */
static void read_slowly(struct fixture *f)
{
	struct server *s = add_server(f, "192.0.2.25:25");
	struct sim_link narrow = sim_link_default();
	char *content = arena_alloc(f->arena, 100 * 1000 + 1);

	narrow.send_buffer = narrow.receive_buffer = 2000;
	sim_set_link(f->sim, NULL, NULL, &narrow);
	for (unsigned i = 0; i < 100; i++)
		sprintf(content + i * 1000, i == 0 ? "\r\n%0996u\r\n" : "%0998u\r\n", i); /* a body without a header */
	fake.content = content;
	fake.chunk = 1000;
	fake.addresses[0] = "192.0.2.25";
	f->envelope.size = 100 * 1000;
	f->config.attempt_timeout = 3 * USEC_MIN;
	s->manners.read_pause = 5 * USEC_SEC;
	assert_in_range(deliver_one(f), 3 * USEC_MIN, 4 * USEC_MIN);
	assert_int_equal(outcome(0, 0)->kind, OUTCOME_DEFERRED);
	assert_int_equal(outcome(0, 0)->stage, STAGE_DATA);
	assert_non_null(strstr(outcome(0, 0)->reply.text, "it took longer than a whole attempt may take"));
}

static void test_a_peer_that_reads_slowly_cannot_hold_a_message(void **state)
{
	read_slowly(*state);
}

static void test_a_peer_that_reads_slowly_cannot_hold_a_message_that_is_converted(void **state)
{
	struct fixture *f = *state;

	f->envelope.body = BODY_8BITMIME; /* which the server does not offer */
	f->config.convert = CONVERT_ALWAYS;
	read_slowly(f);
}

/* --- what is remembered -------------------------------------------------------------------------------------------- */

static void test_what_is_remembered_has_its_place_and_its_time(void **state)
{
	struct fixture *f = *state;
	_cleanup_(remembered_freep) struct remembered *m = NULL;
	unsigned known = 0;
	char name[32];

	assert_int_equal(remembered_new(f->client_world, 64, &m), 0);
	assert_int_equal(recall(m, REMEMBERED_FAMILY, "site"), 0);
	remember(m, REMEMBERED_FAMILY, "site", 4, USEC_HOUR);
	assert_int_equal(recall(m, REMEMBERED_FAMILY, "SITE"), 4);
	assert_int_equal(recall(m, REMEMBERED_BDAT, "site"), 0);
	remember(m, REMEMBERED_FAMILY, "site", 6, 2 * USEC_HOUR);
	assert_int_equal(recall(m, REMEMBERED_FAMILY, "site"), 6);
	/* More than there is room for: what ends first goes. */
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "host%u", i);
		remember(m, REMEMBERED_BDAT, name, BDAT_FAILS, USEC_MIN);
		assert_int_equal(recall(m, REMEMBERED_BDAT, name), BDAT_FAILS);
	}
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "host%u", i);
		known += recall(m, REMEMBERED_BDAT, name) == BDAT_FAILS;
	}
	assert_in_range(known, 40, 64);
	assert_int_equal(recall(m, REMEMBERED_FAMILY, "site"), 6);
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_HOUR);
	assert_int_equal(recall(m, REMEMBERED_FAMILY, "site"), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_ipv6_comes_first_where_it_works),
		T(test_a_black_hole_costs_a_quarter_of_a_second_once),
		T(test_a_refused_family_costs_no_wait),
		T(test_the_delay_is_configurable_and_can_be_never),
		T(test_a_slow_first_may_still_win),
		T(test_hosts_of_one_preference_take_part_in_one_race),
		T(test_a_less_preferred_host_waits_until_the_others_have_failed),
		T(test_who_answers_during_a_slow_lookup_is_taken),
		T(test_a_server_without_a_greeting_does_not_win_for_ever),
		T(test_all_that_failed_is_told_and_the_mail_waits),
		T(test_no_more_addresses_are_tried_than_allowed),
		T(test_cancelled_in_a_race_everybody_goes_home),
		T(test_without_a_fiber_for_a_race_one_address_comes_after_the_other),
		cmocka_unit_test(test_a_race_is_the_same_each_time_in_a_simulation),
		T(test_a_pool_gives_the_address_and_its_name),
		T(test_a_pool_without_the_family_says_so),
		T(test_an_address_that_is_not_ours_is_a_clear_trouble),
		T(test_a_member_that_the_site_blocks_rests_there),
		T(test_the_usual_source_is_for_one_family),
		T(test_what_a_proxy_says_is_parsed),
		T(test_a_proxy_carries_the_connection),
		T(test_a_proxy_may_look_up_names_itself),
		T(test_a_proxy_may_want_a_login),
		T(test_trouble_with_a_proxy_is_trouble_of_our_path),
		T(test_families_race_through_a_proxy_too),
		T(test_recipients_go_in_as_few_transactions_as_the_limits_allow),
		T(test_recipients_that_are_too_many_follow_at_once),
		T(test_bdat_that_is_no_command_is_done_without),
		T(test_bdat_at_which_the_server_hangs_up_is_done_without),
		T(test_bdat_that_is_not_answered_is_done_without),
		T(test_where_bdat_has_worked_it_is_not_blamed),
		T(test_a_refused_content_is_no_failure_of_bdat),
		T(test_binary_content_has_no_other_way_than_bdat),
		T(test_a_trickling_peer_cannot_hold_a_message),
		T(test_a_peer_that_reads_slowly_cannot_hold_a_message),
		T(test_a_peer_that_reads_slowly_cannot_hold_a_message_that_is_converted),
		T(test_what_is_remembered_has_its_place_and_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
