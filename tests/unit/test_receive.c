/* The SMTP server, spoken to by scripted clients in a simulated world. Behind it stand stand-ins for the queue, the
 * spool and the router, which remember what they were given and fail on demand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/receive.h"
#include "receive/session.h"
#include "smtp/line.h"
#include "unit/certificate.h"
#include "world/sim.h"

/* --- stand-ins --------------------------------------------------------------------------------------------- */

struct spool_writer {
	struct buffer body;
};

static struct {
	int new_error, append_error, submit_error;
	unsigned submitted, aborted, events_refused;
	struct buffer body;
	char recipients[512], sender[256], protocol[16], orcpt[64], envid[64];
	unsigned flags, notify;
	enum body_type body_type;
	enum dsn_ret ret;
	uint64_t size;
	msgid_t last_id;
	struct route_rule rule;
	bool has_rule;
	const char *lookup;
} fake;

int spool_writer_new(struct spool *s, msgid_t id, struct spool_writer **ret)
{
	if (fake.new_error)
		return fake.new_error;
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

int spool_writer_append(struct spool_writer *w, struct slice data)
{
	if (fake.append_error && w->body.len + data.len > 300)
		return fake.append_error;
	buffer_append_slice(&w->body, data);
	return buffer_error(&w->body);
}

int spool_writer_front(struct spool_writer *w, struct slice data)
{
	struct buffer all = { 0 };

	buffer_append_slice(&all, data);
	buffer_append_slice(&all, buffer_slice(&w->body));
	buffer_done(&w->body);
	w->body = all;
	return buffer_error(&all);
}

uint64_t spool_writer_size(const struct spool_writer *w)
{
	return w->body.len;
}

void spool_writer_abort(struct spool_writer *w)
{
	if (!w)
		return;
	fake.aborted++;
	buffer_done(&w->body);
	free(w);
}

struct spool *queue_spool(struct queue *q)
{
	return NULL;
}

struct suppression *queue_suppression(struct queue *q, const struct suppression_config **ret_config)
{
	static const struct suppression_config none;

	*ret_config = &none;
	return NULL;
}

msgid_t queue_new_id(struct queue *q)
{
	return ++fake.last_id;
}

int queue_submit(struct queue *q, struct spool_writer *w, const struct envelope *e)
{
	int r = fake.submit_error;

	if (r == 0) {
		fake.submitted++;
		fake.flags = e->flags;
		fake.body_type = e->body;
		fake.ret = e->ret;
		fake.size = e->size;
		fake.notify = e->recipients[0].notify;
		fake.recipients[0] = '\0';
		for (unsigned i = 0; i < e->n_recipients; i++) {
			strncat(fake.recipients, i ? " " : "", sizeof(fake.recipients) - strlen(fake.recipients) - 1);
			strncat(fake.recipients, e->recipients[i].address, sizeof(fake.recipients) - strlen(fake.recipients) - 1);
		}
		snprintf(fake.sender, sizeof(fake.sender), "%s", e->reverse_path);
		snprintf(fake.protocol, sizeof(fake.protocol), "%s", e->protocol);
		snprintf(fake.orcpt, sizeof(fake.orcpt), "%s", e->recipients[0].orcpt ? e->recipients[0].orcpt : "-");
		snprintf(fake.envid, sizeof(fake.envid), "%s", e->envid ? e->envid : "-");
		buffer_clear(&fake.body);
		buffer_append_slice(&fake.body, buffer_slice(&w->body));
	}
	buffer_done(&w->body);
	free(w);
	return r;
}

enum locality route_locality(struct router *r, const struct address *to)
{
	if (!slice_ieq_str(to->domain, "here.example"))
		return LOCALITY_REMOTE;
	return slice_ieq_str(to->local, "nobody") ? LOCALITY_NO_SUCH_USER : LOCALITY_HERE;
}

const struct route_config *router_config(const struct router *r)
{
	static const struct route_domain domains[] = { { .name = "here.example" } };
	static struct route_config config;

	config = (struct route_config) { .domains = domains, .n_domains = 1, .rules = &fake.rule, .n_rules = fake.has_rule };
	return &config;
}

int route_find(struct router *r, const struct address *to, const struct route_facts *facts, struct arena *a, struct ladder *ret)
{
	*ret = slice_eq_str(to->local, "refused") ? fake.rule.ladder : (struct ladder) { 0 };
	return 0;
}

int dns_reverse(struct resolver *r, const struct ip *ip, usec_t deadline, struct arena *a, const char **ret)
{
	if (!fake.lookup)
		return -EAGAIN;
	*ret = fake.lookup;
	return 0;
}

static void note_event(void *context, msgid_t id, const char *kind, const struct field *fields, size_t n)
{
	fake.events_refused += strcmp(kind, EVENT_REFUSED) == 0;
}

/* --- fixture -------------------------------------------------------------------------------------------------- */

static const struct event_sink sink = { .emit = note_event };

struct fixture {
	struct sim *sim;
	struct sim_host *server, *client;
	struct world *server_world, *client_world;
	struct loop *server_loop, *client_loop;
	struct cidr trusted;
	struct receive_listener listeners[3];
	struct receive_config config;
	struct receiver *receiver;
	/* of one dialogue */
	const char *const *lines;
	uint16_t port;
	bool done;
	usec_t ended;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	memset(&fake, 0, sizeof(fake));
	assert_non_null(f);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 3 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25", &f->server, &f->server_world), 0);
	assert_int_equal(sim_host_new(f->sim, "client", "192.0.2.1 198.51.100.1", &f->client, &f->client_world), 0);
	assert_int_equal(loop_new(f->server_world, "server", 0, 0, &f->server_loop), 0);
	assert_int_equal(loop_start(f->server_loop), 0);
	assert_int_equal(loop_new(f->client_world, "client", 0, 0, &f->client_loop), 0);
	assert_int_equal(loop_start(f->client_loop), 0);
	for (unsigned i = 0; i < ARRAY_LEN(f->listeners); i++) {
		f->listeners[i].address = (struct endpoint) { .kind = ENDPOINT_IP, .ip = { .family = 4, .bytes = { 192, 0, 2, 25 } } };
		f->listeners[i].role = (enum listen_role) i;
	}
	f->listeners[ROLE_MX].address.port = 25;
	f->listeners[ROLE_SUBMISSION].address.port = 587;
	f->listeners[ROLE_LMTP].address.port = 24;
	f->config = (struct receive_config) {
		.hostname = "mx.here.example",
		.listeners = f->listeners,
		.n_listeners = ARRAY_LEN(f->listeners),
		.trusted = &f->trusted,
	};
	f->port = 25;
	*state = f;
	return 0;
}

static void open_receiver(struct fixture *f)
{
	char *why = NULL;
	int r;

	r = receiver_new(f->server_world, NULL, &sink, &f->config, NULL, NULL, NULL, &f->server_loop, 1, &f->receiver, &why);
	if (r < 0)
		fail_msg("receiver_new: %s", why ? why : strerror(-r));
}

static void start(struct fixture *f)
{
	open_receiver(f);
	assert_int_equal(receiver_start(f->receiver), 0);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->client_loop);
	loop_stop(f->server_loop);
	receiver_free(f->receiver);
	loop_free(f->client_loop);
	loop_free(f->server_loop);
	world_free(f->client_world);
	world_free(f->server_world);
	sim_free(f->sim);
	buffer_done(&fake.body);
	free(f);
	return 0;
}

static void trust_the_client(struct fixture *f)
{
	assert_int_equal(cidr_parse(SLICE("192.0.2.0/24"), &f->trusted), 0);
	f->config.n_trusted = 1;
}

/* A line of a dialogue: "C text" sends it with CRLF, "R text" without, "Z" a NUL, "T" starts TLS, "W seconds" waits, "X" expects the end
 * of the connection, "S prefix" reads a reply and compares: of several lines the first one, "S ... | part" also
 * looks for the part anywhere in it. */
static void expect_reply(struct line_reader *reader, const char *expected)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const char *bar = strstr(expected, " | ");
	size_t len = bar ? (size_t) (bar - expected) : strlen(expected);
	struct reply reply;
	char *line;
	int r;

	assert_int_equal(arena_new(0, &arena), 0);
	r = smtp_read_reply(reader, arena, now() + 20 * USEC_MIN, &reply);
	if (r < 0)
		fail_msg("no reply (%s) where \"%s\" was expected", strerror(-r), expected);
	line = reply_to_line(&reply, arena);
	if (strncmp(line, expected, len) != 0 || (bar && !strstr(line, bar + 3)))
		fail_msg("\"%s\" where \"%s\" was expected", line, expected);
}

static void start_client_tls(struct fixture *f, struct stream *stream)
{
	_cleanup_(tls_context_unrefp) struct tls_context *context = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct tls_info info;
	char *failure = NULL;
	const char *why = NULL;

	assert_int_equal(arena_new(0, &arena), 0);
	assert_int_equal(tls_client_context_new(f->client_world, &(struct tls_client_config) { 0 }, &context, &failure), 0);
	if (tls_connect(context, stream, "mx.here.example", TLS_VERIFY_NONE, now() + USEC_MIN, arena, &info, &why) < 0)
		fail_msg("no TLS: %s", why);
}

static void client_main(void *arg)
{
	struct fixture *f = arg;
	struct endpoint to = f->listeners[0].address;
	_cleanup_(stream_freep) struct stream *stream = NULL;
	struct transport *t;
	struct line_reader reader;

	to.port = f->port;
	assert_int_equal(net_connect(&to, NULL, now() + USEC_MIN, &t), 0);
	assert_int_equal(stream_new(t, &to, &stream), 0);
	line_reader_init(&reader, stream);
	for (const char *const *l = f->lines; *l; l++) {
		switch (**l) {
		case 'C':
			assert_int_equal(stream_put_str(stream, *l + 2, now() + USEC_MIN), 0);
			assert_int_equal(stream_put_str(stream, "\r\n", now() + USEC_MIN), 0);
			break;
		case 'R':
			assert_int_equal(stream_put_str(stream, *l + 2, now() + USEC_MIN), 0);
			break;
		case 'Z':
			assert_int_equal(stream_put(stream, SLICE("\0"), now() + USEC_MIN), 0);
			break;
		case 'T':
			(void) stream_flush(stream, now() + USEC_MIN);
			start_client_tls(f, stream);
			break;
		case 'W':
			(void) stream_flush(stream, now() + USEC_MIN);
			(void) fiber_sleep_until(now() + (usec_t) atoi(*l + 2) * USEC_SEC);
			break;
		case 'X': {
			struct slice line;
			int r = smtp_read_line(&reader, 4000, now() + 20 * USEC_MIN, &line);

			if (r != -ENODATA && r != -ECONNRESET && r != -EPIPE)
				fail_msg("the connection did not end: %d", r);
			break;
		}
		default:
			expect_reply(&reader, *l + 2);
			break;
		}
	}
	f->ended = now();
	f->done = true;
}

static bool is_done(void *context)
{
	return ((struct fixture *) context)->done;
}

static void talk(struct fixture *f, const char *const *lines)
{
	if (!f->receiver)
		start(f);
	f->lines = lines;
	f->done = false;
	assert_int_equal(loop_spawn(f->client_loop, "client", client_main, f), 0);
	assert_true(sim_run_until(f->sim, is_done, f, sim_now(f->sim) + 3 * USEC_HOUR));
	sim_run(f->sim, sim_now(f->sim) + 10 * USEC_SEC);
}
#define TALK(f, ...) talk((f), (const char *const[]) { __VA_ARGS__, NULL })
#define HELLO "S 220 mx.here.example ESMTP", "C EHLO client.example", "S 250 mx.here.example"
#define BEGIN HELLO, "C MAIL FROM:<a@client.example>", "S 250 2.1.0", "C RCPT TO:<bob@here.example>", "S 250 2.1.5"

static const char *body(void)
{
	return fake.body.data ? fake.body.data : "";
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_a_message_is_taken_and_queued(void **state)
{
	struct fixture *f = *state;
	struct receive_counters counters;

	TALK(f, BEGIN, "C RCPT TO:<alice@HERE.example>", "S 250 2.1.5", "C DATA", "S 354", "C Subject: x", "C ", "C ..dot", "C .",
	     "S 250 2.0.0 OK, queued as ", "C QUIT", "S 221 2.0.0", "X");
	assert_int_equal(fake.submitted, 1);
	assert_string_equal(fake.sender, "a@client.example");
	assert_string_equal(fake.recipients, "bob@here.example alice@HERE.example");
	assert_string_equal(fake.protocol, "ESMTP");
	assert_non_null(strstr(body(), "Received: from client.example"));
	assert_non_null(strstr(body(), "\r\nSubject: x\r\n\r\n.dot\r\n"));
	assert_int_equal(fake.size, fake.body.len);
	receiver_counters(f->receiver, &counters);
	assert_int_equal(counters.connections, 1);
	assert_int_equal(counters.messages, 1);
	assert_int_equal(counters.accepted, 2);
	assert_int_equal(counters.sessions, 0);
}

static void test_ehlo_lists_what_is_offered(void **state)
{
	TALK(*state, "S 220", "C EHLO client.example", "S 250 mx.here.example | PIPELINING", "C EHLO x", "S 250 | SIZE 50000000",
	     "C EHLO x", "S 250 | 8BITMIME", "C EHLO x", "S 250 | CHUNKING", "C EHLO x", "S 250 | SMTPUTF8", "C EHLO x", "S 250 | DSN",
	     "C EHLO x", "S 250 | ENHANCEDSTATUSCODES", "C QUIT", "S 221");
}

static void test_commands_come_in_their_order(void **state)
{
	TALK(*state, "S 220", "C MAIL FROM:<a@b.example>", "S 503 5.5.1", "C EHLO", "S 501 5.5.4", "C EHLO client.example", "S 250",
	     "C RCPT TO:<bob@here.example>", "S 503 5.5.1", "C DATA", "S 503 5.5.1", "C MAIL FROM:<a@b.example>", "S 250",
	     "C DATA", "S 503 5.5.1 Say RCPT", "C MAIL FROM:<a@b.example>", "S 503 5.5.1", "C RCPT TO:<nobody@here.example>", "S 550 5.1.1",
	     "C DATA", "S 554 5.5.1", "C RSET", "S 250 2.0.0", "C RCPT TO:<bob@here.example>", "S 503", "C RSET x", "S 501 5.5.4",
	     "C NOOP ignored", "S 250", "C VRFY bob", "S 252 2.0.0", "C VRFY", "S 501", "C EXPN list", "S 502 5.5.1", "C HELP", "S 214 2.0.0",
	     "C STARTTLS", "S 502 5.5.1", "C AUTH PLAIN x", "S 502 5.5.1", "C LHLO x", "S 500 5.5.1", "C XYZZY", "S 500 5.5.1", "C QUIT",
	     "S 221");
}

static void test_ehlo_forgets_the_message(void **state)
{
	TALK(*state, BEGIN, "C EHLO again.example", "S 250", "C DATA", "S 503 5.5.1", "C QUIT", "S 221");
	assert_int_equal(fake.aborted, 1);
}

static void test_helo_offers_no_extension(void **state)
{
	TALK(*state, "S 220", "C HELO client.example", "S 250 mx.here.example", "C MAIL FROM:<a@b.example> SIZE=100", "S 555 5.5.4",
	     "C MAIL FROM:<a@b.example>", "S 250", "C RCPT TO:<bob@here.example>", "S 250", "C BDAT 5 LAST", "R NOOP\n", "S 502 5.5.1", "C DATA",
	     "S 354", "C hello", "C .", "S 250", "C QUIT", "S 221");
	assert_string_equal(fake.protocol, "SMTP");
}

static void test_nobody_relays_who_is_not_trusted(void **state)
{
	struct fixture *f = *state;

	TALK(f, HELLO, "C MAIL FROM:<bob@here.example>", "S 250", "C RCPT TO:<x@elsewhere.example>", "S 550 5.7.1 <x@elsewhere.example>",
	     "C RCPT TO:<x%elsewhere.example@here.example>", "S 250", "C RCPT TO:<@here.example:x@elsewhere.example>", "S 550 5.7.1",
	     "C QUIT", "S 221");
	assert_int_equal(fake.events_refused, 2);
}

static void test_a_trusted_client_relays(void **state)
{
	struct fixture *f = *state;

	trust_the_client(f);
	TALK(f, HELLO, "C MAIL FROM:<>", "S 250", "C RCPT TO:<x@elsewhere.example>", "S 250", "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221");
	assert_string_equal(fake.sender, "");
	assert_true(fake.flags & ENVELOPE_TRUSTED);
}

static void test_a_route_that_rejects_speaks_at_rcpt(void **state)
{
	static const struct hop hop = { .kind = HOP_REJECT, .text = "We have moved" };

	fake.has_rule = true;
	fake.rule.ladder = (struct ladder) { .n_hops = 1, .hops = &hop };
	TALK(*state, HELLO, "C MAIL FROM:<>", "S 250", "C RCPT TO:<refused@here.example>", "S 550 5.7.1 We have moved", "C QUIT", "S 221");
}

static void test_postmaster_is_always_there(void **state)
{
	TALK(*state, HELLO, "C MAIL FROM:<>", "S 250", "C RCPT TO:<PostMaster>", "S 250", "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221");
	assert_string_equal(fake.recipients, "postmaster@here.example");
}

static void test_malformed_addresses_are_refused(void **state)
{
	TALK(*state, HELLO, "C MAIL FROM:a@b", "S 501 5.1.7", "C MAIL FROM:<a b@c>", "S 501 5.1.7", "C MAIL TO:<a@b>", "S 501 5.1.7",
	     "C MAIL FROM:<a@b> =x", "S 501 5.5.4", "C MAIL FROM:<a@b> FOO=1", "S 555 5.5.4", "C MAIL FROM:<a@b.example>", "S 250",
	     "C RCPT TO:<>", "S 501 5.1.3", "C RCPT TO:<bob>", "S 501 5.1.3", "C RCPT TO:<bob@@here.example>", "S 501 5.1.3",
	     "C RCPT TO:<bob@here.example> NOTIFY=NEVER,SUCCESS", "S 501 5.5.4", "C QUIT", "S 221");
}

static void test_internationalized_addresses_need_smtputf8(void **state)
{
	TALK(*state, HELLO, "C MAIL FROM:<j\xc3\xb6rg@client.example>", "S 553 5.6.7", "C MAIL FROM:<j\xc3\xb6rg@client.example> SMTPUTF8",
	     "S 250", "C RCPT TO:<b\xc3\xb6" "b@here.example>", "S 250", "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221");
	assert_true(fake.flags & ENVELOPE_SMTPUTF8);
	assert_int_equal(fake.body_type, BODY_8BITMIME);
	assert_string_equal(fake.protocol, "UTF8SMTP");
}

static void test_dsn_parameters_are_kept(void **state)
{
	TALK(*state, HELLO, "C MAIL FROM:<a@b.example> RET=HDRS ENVID=id+2B1 BODY=8BITMIME SMTPUTF8", "S 250",
	     "C RCPT TO:<bob@here.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@z.example", "S 250", "C DATA", "S 354", "C ascii only", "C .",
	     "S 250", "C QUIT", "S 221");
	assert_int_equal(fake.notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
	assert_string_equal(fake.orcpt, "rfc822;x+y@z.example");
	assert_string_equal(fake.envid, "id+1");
	assert_int_equal(fake.ret, DSN_RET_HDRS);
	/* What it needs is what it holds, not what was announced. */
	assert_int_equal(fake.body_type, BODY_7BIT);
	assert_false(fake.flags & ENVELOPE_SMTPUTF8);
}

static void test_a_message_too_large_is_refused_as_early_as_possible(void **state)
{
	struct fixture *f = *state;

	f->config.limits.message_size = 1000;
	TALK(f, HELLO, "C MAIL FROM:<a@b.example> SIZE=1001", "S 552 5.3.4", "C MAIL FROM:<a@b.example> SIZE=1000", "S 250",
	     "C RCPT TO:<bob@here.example>", "S 250", "C DATA", "S 354",
	     "C 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	     "C 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
	     "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	     "C .", "S 552 5.3.4", "C NOOP", "S 250", "C QUIT", "S 221");
	assert_int_equal(fake.submitted, 0);
}

static void test_too_many_recipients_are_for_the_next_message(void **state)
{
	struct fixture *f = *state;

	f->config.limits.recipients = 2;
	TALK(f, BEGIN, "C RCPT TO:<b@here.example>", "S 250", "C RCPT TO:<c@here.example>", "S 452 4.5.3", "C DATA", "S 354", "C .", "S 250",
	     "C QUIT", "S 221");
	assert_string_equal(fake.recipients, "bob@here.example b@here.example");
}

static void test_a_recipient_given_twice_gets_one_message(void **state)
{
	TALK(*state, BEGIN, "C RCPT TO:<bob@here.example>", "S 250", "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221");
	assert_string_equal(fake.recipients, "bob@here.example");
}

static void test_a_loop_is_broken(void **state)
{
	struct fixture *f = *state;

	f->config.limits.received_hops = 3;
	TALK(f, BEGIN, "C DATA", "S 354", "C Received: 1", "C Received: 2", "C Received: 3", "C ", "C Received: body", "C .", "S 250",
	     "C MAIL FROM:<>", "S 250", "C RCPT TO:<bob@here.example>", "S 250", "C DATA", "S 354", "C Received: 1", "C Received: 2",
	     "C received: 3", "C Received: 4", "C .", "S 554 5.4.6", "C QUIT", "S 221");
	assert_int_equal(fake.submitted, 1);
}

static void test_stray_line_ends_in_content_end_the_session_behind_the_real_end(void **state)
{
	TALK(*state, BEGIN, "C DATA", "S 354", "R a\n.\nMAIL FROM:<evil@x.example>\r\n", "R RCPT TO:<bob@here.example>\r\n", "C .", "S 550 5.5.2 | bare LF",
	     "X");
	TALK(*state, BEGIN, "C DATA", "S 354", "R a\r.\r\nQUIT\r\n", "C .", "S 550 5.5.2 | bare CR", "X");
	TALK(*state, BEGIN, "C DATA", "S 354", "R a", "Z", "R b\r\n", "C .", "S 550 5.5.2 | NUL", "X");
	assert_int_equal(fake.submitted, 0);
}

static void test_stray_line_ends_in_commands_are_refused(void **state)
{
	struct fixture *f = *state;

	f->config.limits.errors = 3;
	TALK(f, HELLO, "R NOOP\nMAIL FROM:<evil@x.example>\r\n", "S 500 5.5.2 | bare LF", "C RCPT TO:<bob@here.example>", "S 503 5.5.1",
	     "R NO", "Z", "R OP\r\n", "S 500 5.5.2 | NUL", "S 421 4.7.0", "X");
}

static void test_who_talks_before_the_greeting_is_shown_out(void **state)
{
	struct fixture *f = *state;
	static const char *const impatient[] = { "C HELO spammer", "C MAIL FROM:<x@y.example>", "S 554 5.5.0", "X", NULL };

	open_receiver(f);
	f->lines = impatient;
	assert_int_equal(loop_spawn(f->client_loop, "client", client_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_SEC); /* it waits to be accepted, and talks meanwhile */
	assert_int_equal(receiver_start(f->receiver), 0);
	assert_true(sim_run_until(f->sim, is_done, f, sim_now(f->sim) + USEC_HOUR));
}

static void test_what_stands_behind_data_or_ehlo_ends_the_session(void **state)
{
	struct fixture *f = *state;

	TALK(f, "S 220", "R EHLO x\r\nMAIL FROM:<x@y.example>\r\n", "S 554 5.5.0", "X");
	TALK(f, BEGIN, "R DATA\r\nSubject: x\r\n\r\n.\r\n", "S 554 5.5.0", "X");
	TALK(f, HELLO, "R DATA\r\nSubject: x\r\n\r\n.\r\n", "S 554 5.5.0", "X");
	assert_int_equal(fake.submitted, 0);
}

static void test_groups_of_commands_are_answered_in_order(void **state)
{
	TALK(*state, HELLO, "R MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody@here.example>\r\nRCPT TO:<bob@here.example>\r\nDATA\r\n", "S 250 2.1.0",
	     "S 550 5.1.1", "S 250 2.1.5", "S 354", "R x\r\n.\r\nMAIL FROM:<c@b.example>\r\nRSET\r\nQUIT\r\n", "S 250 2.0.0", "S 250 2.1.0", "S 250 2.0.0",
	     "S 221", "X");
}

static void test_http_is_hung_up_on(void **state)
{
	TALK(*state, "S 220", "C GET / HTTP/1.1", "S 554 5.5.1", "X");
	TALK(*state, HELLO, "C POST /x HTTP/1.0", "S 554 5.5.1", "X");
}

static void test_chunks_make_a_message(void **state)
{
	TALK(*state, BEGIN, "R BDAT 6\r\nabc\r\n.", "S 250 2.0.0 6 octets", "C DATA", "S 503 5.5.1", "C RCPT TO:<x@here.example>", "S 503 5.5.1",
	     "R BDAT 2\r\n\r\n", "S 250", "C BDAT 0 LAST", "S 250 2.0.0 OK, queued", "C QUIT", "S 221");
	assert_int_equal(fake.submitted, 1);
	assert_non_null(strstr(body(), "\r\nabc\r\n.\r\n"));
}

static void test_refused_chunks_are_read_all_the_same(void **state)
{
	TALK(*state, "S 220", "R BDAT 6\r\nQUIT\r\n", "S 503 5.5.1", "C EHLO x", "S 250", "R BDAT 6 LAST\r\nQUIT\r\n", "S 503 5.5.1",
	     "C MAIL FROM:<>", "S 250", "R BDAT 6 LAST\r\nQUIT\r\n", "S 503 5.5.1", "C RCPT TO:<nobody@here.example>", "S 550", "R BDAT 6\r\nQUIT\r\n",
	     "S 554 5.5.1", "C BDAT x", "S 501 5.5.4", "X");
}

static void test_after_a_lost_chunk_the_others_are_swallowed(void **state)
{
	struct fixture *f = *state;

	f->config.limits.message_size = 10;
	TALK(f, BEGIN, "R BDAT 12\r\n0123456789\r\nBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n", "S 552 5.3.4", "S 503 5.5.1", "S 503 5.5.1",
	     "C MAIL FROM:<>", "S 250", "C QUIT", "S 221");
	TALK(f, BEGIN, "R BDAT 3 LAST\r\na\nb", "S 550 5.5.2", "X");
	assert_int_equal(fake.submitted, 0);
}

/* What a chunk announces can be too much to be read: 100 GB would keep the client busy for hours, and us. */
static void test_a_chunk_that_is_beyond_all_limits_is_refused_at_once(void **state)
{
	struct fixture *f = *state;
	usec_t begin;

	start(f);
	begin = sim_now(f->sim);
	TALK(f, BEGIN, "C BDAT 99999999999 LAST", "S 552 5.3.4", "X");
	TALK(f, BEGIN, "C BDAT 99999999999", "R Subject: x\r\n\r\nand the beginning of a lot", "S 552 5.3.4", "X");
	TALK(f, BEGIN, "R BDAT 6\r\nabcd\r\n", "S 250", "C BDAT 9223372036854775807", "S 552 5.3.4", "X");
	TALK(f, HELLO, "C BDAT 99999999999", "S 503 5.5.1", "X");
	assert_true(f->ended - begin < USEC_MIN);
	assert_int_equal(fake.submitted, 0);
}

static void test_a_full_disk_is_a_temporary_refusal(void **state)
{
	struct fixture *f = *state;

	fake.new_error = -ENOSPC;
	TALK(f, HELLO, "C MAIL FROM:<>", "S 452 4.3.1", "C QUIT", "S 221");
	fake.new_error = -EROFS;
	TALK(f, HELLO, "C MAIL FROM:<>", "S 451 4.3.0", "C QUIT", "S 221");
	fake.new_error = 0;
	fake.append_error = -ENOSPC;
	TALK(f, BEGIN, "C DATA", "S 354", "C 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	     "C 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	     "C 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", "C .",
	     "S 452 4.3.1", "C QUIT", "S 221");
}

static void test_a_failed_commit_is_never_a_250(void **state)
{
	fake.submit_error = -EIO;
	TALK(*state, BEGIN, "C DATA", "S 354", "C .", "S 451 4.3.0", "C QUIT", "S 221");
	assert_int_equal(fake.submitted, 0);
}

static void test_silence_ends_a_session(void **state)
{
	struct fixture *f = *state;

	TALK(f, HELLO, "S 421 4.4.2", "X");
	assert_in_range(f->ended, 300 * USEC_SEC, 310 * USEC_SEC);
	TALK(f, BEGIN, "C DATA", "S 354", "C half a", "S 421 4.4.2", "X");
}

static void test_too_many_errors_or_empty_commands_end_a_session(void **state)
{
	struct fixture *f = *state;

	f->config.limits.errors = 2;
	f->config.limits.commands = 4;
	TALK(f, "S 220", "C FOO", "S 500", "C BAR", "S 500", "S 421 4.7.0", "X");
	TALK(f, HELLO, "C NOOP", "S 250", "C NOOP", "S 250", "C RSET", "S 250", "S 421 4.7.0", "X");
}

static void test_the_line_length_is_limited(void **state)
{
	char line[3000] = "C NOOP ";

	memset(line + 7, 'x', sizeof(line) - 8);
	TALK(*state, HELLO, line, "S 500 5.5.2", "C NOOP", "S 250", "C QUIT", "S 221");
}

static void test_connections_are_limited(void **state)
{
	struct fixture *f = *state;
	char *why = NULL;
	struct receive_config none = f->config;

	f->config.limits.connections_per_ip = 1;
	TALK(f, HELLO, "C QUIT", "S 221", "X");
	TALK(f, HELLO, "C QUIT", "S 221", "X");
	none.limits.connections = 1;
	assert_int_equal(receiver_reload(f->receiver, &none, &why), 0);
	TALK(f, HELLO, "C QUIT", "S 221", "X");
}

static void test_an_address_has_so_many_connections_and_no_more(void **state)
{
	struct fixture *f = *state;
	static const char *const first[] = { HELLO, "W 30", "C QUIT", "S 221", NULL };
	static const char *const second[] = { "S 421 4.7.0 | 192.0.2.1", "X", NULL };

	f->config.limits.connections_per_ip = 1;
	start(f);
	f->lines = first;
	assert_int_equal(loop_spawn(f->client_loop, "first", client_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + 5 * USEC_SEC);
	assert_false(f->done);
	talk(f, second);
	f->done = false;
	sim_run(f->sim, sim_now(f->sim) + USEC_MIN);
	assert_true(f->done); /* the first one was not disturbed */
}

static void test_submission_wants_a_login(void **state)
{
	struct fixture *f = *state;

	f->port = 587;
	TALK(f, HELLO, "C MAIL FROM:<bob@here.example>", "S 530 5.7.0", "C QUIT", "S 221");
}

static void test_lmtp_replies_for_each_recipient(void **state)
{
	struct fixture *f = *state;

	f->port = 24;
	TALK(f, "S 220 mx.here.example LMTP", "C EHLO x", "S 500 5.5.1", "C LHLO x", "S 250", "C MAIL FROM:<>", "S 250", "C RCPT TO:<a@here.example>",
	     "S 250", "C RCPT TO:<nobody@here.example>", "S 550", "C RCPT TO:<b@here.example>", "S 250", "C DATA", "S 354", "C .", "S 250 2.0.0",
	     "S 250 2.0.0", "C QUIT", "S 221");
	assert_string_equal(fake.protocol, "LMTP");
}

static void test_the_reverse_name_is_in_received(void **state)
{
	struct fixture *f = *state;

	f->config.reverse_lookup = true;
	fake.lookup = "reverse.client.example";
	TALK(f, BEGIN, "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221");
	assert_non_null(strstr(body(), "reverse.client.example"));
}

static void use_tls(struct fixture *f)
{
	certificate_write(f->server_world, "mx.here.example", "/cert.pem", "/key.pem");
	f->config.has_tls = true;
	f->config.tls = (struct tls_server_config) { .certificate = "/cert.pem", .key = "/key.pem" };
}

static void test_starttls_protects_what_follows(void **state)
{
	struct fixture *f = *state;

	use_tls(f);
	TALK(f, "S 220", "C STARTTLS", "S 503 5.5.1", "C HELO x", "S 250", "C STARTTLS", "S 502 5.5.1", "C EHLO client.example", "S 250 | STARTTLS",
	     "C STARTTLS x", "S 501 5.5.4", "C MAIL FROM:<>", "S 250", "C STARTTLS", "S 503 5.5.1", "C RSET", "S 250", "C STARTTLS", "S 220 2.0.0", "T",
	     "C MAIL FROM:<>", "S 503 5.5.1", "C EHLO client.example", "S 250", "C STARTTLS", "S 503 5.5.1", "C MAIL FROM:<>", "S 250",
	     "C RCPT TO:<bob@here.example>", "S 250", "C DATA", "S 354", "C .", "S 250", "C QUIT", "S 221", "X");
	assert_string_equal(fake.protocol, "ESMTPS");
	assert_true(fake.flags & ENVELOPE_RECEIVED_TLS);
	assert_non_null(strstr(body(), "TLSv1.3"));
}

static void test_what_stands_behind_starttls_is_never_run(void **state)
{
	struct fixture *f = *state;

	use_tls(f);
	TALK(f, HELLO, "R STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n", "S 554 5.5.0", "X");
}

static void test_implicit_tls_comes_before_the_greeting(void **state)
{
	struct fixture *f = *state;

	use_tls(f);
	f->listeners[ROLE_SUBMISSION].implicit_tls = true;
	f->port = 587;
	trust_the_client(f);
	TALK(f, "T", HELLO, "C STARTTLS", "S 503 5.5.1", "C MAIL FROM:<>", "S 250", "C QUIT", "S 221", "X");
	TALK(f, "C EHLO plain", "X");
}

static void test_submission_wants_tls_first(void **state)
{
	struct fixture *f = *state;

	use_tls(f);
	f->port = 587;
	TALK(f, HELLO, "C MAIL FROM:<bob@here.example>", "S 530 5.7.0 Say STARTTLS", "C QUIT", "S 221");
}

struct stop_job {
	struct fixture *f;
	int result;
	bool done;
};

static void stop_main(void *arg)
{
	struct stop_job *j = arg;

	j->result = receiver_stop(j->f->receiver, now() + 20 * USEC_SEC);
	j->done = true;
}

static void test_a_stop_ends_idle_sessions_and_waits_for_messages(void **state)
{
	struct fixture *f = *state;
	struct stop_job job = { .f = f };
	static const char *const idle[] = { HELLO, "S 421 4.3.2", "X", NULL };

	start(f);
	f->lines = idle;
	assert_int_equal(loop_spawn(f->client_loop, "client", client_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_SEC);
	assert_false(f->done);
	assert_int_equal(loop_spawn(f->server_loop, "stop", stop_main, &job), 0);
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_SEC);
	assert_true(f->done);
	assert_true(job.done);
	assert_int_equal(job.result, 0);
}

static void test_a_message_that_was_begun_is_finished_before_the_stop(void **state)
{
	struct fixture *f = *state;
	struct stop_job job = { .f = f };
	static const char *const busy[] = { BEGIN, "W 5", "C DATA", "S 354", "C .", "S 250", "S 421 4.3.2", "X", NULL };
	static const char *const slow[] = { BEGIN, "W 60", "S 421 4.3.2", "X", NULL };

	start(f);
	f->lines = busy;
	assert_int_equal(loop_spawn(f->client_loop, "client", client_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_SEC);
	assert_int_equal(loop_spawn(f->server_loop, "stop", stop_main, &job), 0);
	sim_run(f->sim, sim_now(f->sim) + USEC_SEC);
	assert_false(job.done);
	sim_run(f->sim, sim_now(f->sim) + 10 * USEC_SEC);
	assert_true(job.done && f->done);
	assert_int_equal(fake.submitted, 1);

	receiver_free(f->receiver);
	f->done = job.done = false;
	start(f);
	f->lines = slow;
	assert_int_equal(loop_spawn(f->client_loop, "client", client_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + 2 * USEC_SEC);
	assert_int_equal(loop_spawn(f->server_loop, "stop", stop_main, &job), 0);
	sim_run(f->sim, sim_now(f->sim) + 19 * USEC_SEC);
	assert_false(job.done);
	sim_run(f->sim, sim_now(f->sim) + 100 * USEC_SEC);
	assert_true(job.done && f->done);
}

static void test_a_reload_opens_and_closes_listeners(void **state)
{
	struct fixture *f = *state;
	struct receive_listener moved = f->listeners[0];
	struct receive_config next = f->config, wrong;
	char *why = NULL;

	moved.address.port = 2525;
	start(f);
	wrong = f->config;
	wrong.has_tls = true;
	wrong.tls = (struct tls_server_config) { .certificate = "/nonexistent.pem", .key = "/nonexistent.pem" };
	assert_true(receiver_reload(f->receiver, &wrong, &why) < 0);
	assert_non_null(why);
	free(why);
	TALK(f, HELLO, "C QUIT", "S 221");

	next.listeners = &moved;
	next.n_listeners = 1;
	next.hostname = "new.here.example";
	assert_int_equal(receiver_reload(f->receiver, &next, &why), 0);
	assert_int_equal(receiver_endpoint(f->receiver, 0)->port, 2525);
	f->port = 2525;
	TALK(f, "S 220 new.here.example", "C QUIT", "S 221");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_message_is_taken_and_queued),
		T(test_ehlo_lists_what_is_offered),
		T(test_commands_come_in_their_order),
		T(test_ehlo_forgets_the_message),
		T(test_helo_offers_no_extension),
		T(test_nobody_relays_who_is_not_trusted),
		T(test_a_trusted_client_relays),
		T(test_a_route_that_rejects_speaks_at_rcpt),
		T(test_postmaster_is_always_there),
		T(test_malformed_addresses_are_refused),
		T(test_internationalized_addresses_need_smtputf8),
		T(test_dsn_parameters_are_kept),
		T(test_a_message_too_large_is_refused_as_early_as_possible),
		T(test_too_many_recipients_are_for_the_next_message),
		T(test_a_recipient_given_twice_gets_one_message),
		T(test_a_loop_is_broken),
		T(test_stray_line_ends_in_content_end_the_session_behind_the_real_end),
		T(test_stray_line_ends_in_commands_are_refused),
		T(test_who_talks_before_the_greeting_is_shown_out),
		T(test_what_stands_behind_data_or_ehlo_ends_the_session),
		T(test_groups_of_commands_are_answered_in_order),
		T(test_http_is_hung_up_on),
		T(test_chunks_make_a_message),
		T(test_refused_chunks_are_read_all_the_same),
		T(test_after_a_lost_chunk_the_others_are_swallowed),
		T(test_a_chunk_that_is_beyond_all_limits_is_refused_at_once),
		T(test_a_full_disk_is_a_temporary_refusal),
		T(test_a_failed_commit_is_never_a_250),
		T(test_silence_ends_a_session),
		T(test_too_many_errors_or_empty_commands_end_a_session),
		T(test_the_line_length_is_limited),
		T(test_connections_are_limited),
		T(test_an_address_has_so_many_connections_and_no_more),
		T(test_submission_wants_a_login),
		T(test_lmtp_replies_for_each_recipient),
		T(test_the_reverse_name_is_in_received),
		T(test_starttls_protects_what_follows),
		T(test_what_stands_behind_starttls_is_never_run),
		T(test_implicit_tls_comes_before_the_greeting),
		T(test_submission_wants_tls_first),
		T(test_a_stop_ends_idle_sessions_and_waits_for_messages),
		T(test_a_message_that_was_begun_is_finished_before_the_stop),
		T(test_a_reload_opens_and_closes_listeners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
