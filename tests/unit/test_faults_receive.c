/* The way in, each of whose allocations fails once while a client says EHLO, STARTTLS, MAIL, RCPT, DATA and BDAT; and
 * so do the calls of the disk. The client is told 4xx, or loses its connection, and comes again; what got its 250 is in
 * the spool when the power goes, once and whole, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/faults.h"
#include "receive/receive.h"
#include "smtp/line.h"
#include "unit/certificate.h"
#include "unit/queue_office.h"

#define MESSAGES 2u     /* of one session: by DATA and by BDAT */
#define TRIES_MAX 8u
#define TAKEN_MAX 64u
#define FILLING 20000u  /* octets of content: several blocks */

/* One walk at a time; the office's functions can't be handed anything. */
static struct {
	bool tls, lmtp;
	bool judged;           /* by a stranger, whose mail is verified */
	bool signs, seals;     /* what comes from our own; what is judged and goes on */
	EVP_PKEY *key;         /* then: of sender.example */
	struct sim_fault disk; /* ops 0: allocations fail */
	struct fiber *client;
	struct receiver *receiver;
	/* what the client knows */
	msgid_t taken[TAKEN_MAX];
	unsigned n_taken, sessions, refused, lost;
	/* in the whole walk */
	unsigned all_taken, all_refused, all_lost;
} it;

struct client {
	struct office *office;
	struct stream *stream;
	struct line_reader reader;
	struct arena *arena;
};

static usec_t soon(void)
{
	return now() + 30 * USEC_MIN;
}

/* A reply: its code; 0: the connection is gone. */
static int reply_of(struct client *c, struct reply *ret)
{
	int r = stream_flush(c->stream, soon());

	if (r >= 0)
		r = smtp_read_reply(&c->reader, c->arena, soon(), ret);
	if (r < 0) {
		faults_check(r == -ECONNRESET || r == -ENODATA || r == -EPIPE);
		it.lost++;
		return 0;
	}
	/* What fails here is our trouble and passes. */
	if (ret->code >= 500) {
		print_message("%s\n", reply_to_line(ret, c->arena));
		faults_check(ret->code < 500);
	}
	it.refused += ret->code >= 400;
	return ret->code;
}

/* Whether this was answered as it should be. */
static bool say(struct client *c, const char *text, int code)
{
	struct reply reply;

	if (text && (stream_put_str(c->stream, text, soon()) < 0 || stream_put_str(c->stream, "\r\n", soon()) < 0)) {
		it.lost++;
		return false;
	}
	return reply_of(c, &reply) == code;
}

static bool connected(struct client *c)
{
	struct endpoint at;
	struct transport *t;

	assert_int_equal(endpoint_parse(SLICE("192.0.2.99:25"), &at), 0);
	if (net_connect(&at, NULL, soon(), &t) < 0)
		return false;
	assert_int_equal(stream_new(t, &at, &c->stream), 0);
	line_reader_init(&c->reader, c->stream);
	return say(c, NULL, 220);
}

static bool under_tls(struct client *c)
{
	_cleanup_(tls_context_unrefp) struct tls_context *context = NULL;
	struct tls_info info;
	char *failure = NULL;
	const char *why = NULL;
	int r;

	if (!it.tls)
		return true;
	if (!say(c, "STARTTLS", 220))
		return false;
	assert_int_equal(tls_client_context_new(c->office->world, &(struct tls_client_config) { 0 }, &context, &failure), 0);
	r = tls_connect(context, c->stream, "us.example", TLS_VERIFY_NONE, soon(), c->arena, &info, &why);
	line_reader_init(&c->reader, c->stream);
	it.lost += r < 0;
	return r >= 0 && say(c, "EHLO client.example", 250);
}

/* "250 2.0.0 OK, queued as ID": the moment of responsibility. In LMTP one for each recipient. */
static bool taken(struct client *c)
{
	struct reply reply;
	unsigned n = it.lmtp ? 2 : 1;
	bool good = true;

	for (unsigned i = 0; i < n; i++) {
		const char *at;
		msgid_t id;
		int code = reply_of(c, &reply);

		if (code == 0)
			return false;
		good &= code == 250;
		if (code != 250)
			continue;
		at = strstr(reply.text, "queued as ");
		assert_non_null(at);
		assert_int_equal(id_parse(slice_head(slice_from(at + strlen("queued as ")), MSGID_TEXT - 1), &id), 0);
		if (it.n_taken == 0 || it.taken[it.n_taken - 1] != id)
			it.taken[it.n_taken++] = id;
		assert_true(it.n_taken < TAKEN_MAX);
	}
	return good;
}

/* Whatever can stand in it: what is forged, a chain of ARC that is not whole, a signature. */
static const char header_to_judge[] =
	"Authentication-Results: us.example; spf=pass\r\n"
	"ARC-Authentication-Results: i=1; us.example; dmarc=pass\r\n"
	"DKIM-Signature: v=1; a=rsa-sha256; d=local.example; s=s; h=from; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=MTIz\r\n"
	"From: a@local.example\r\n";

static bool recipients(struct client *c)
{
	if (it.judged)
		return say(c, "RCPT TO:<x@local.example>", 250) && say(c, "RCPT TO:<y@local.example>", 250);
	return say(c, "RCPT TO:<x@dead.example>", 250) && say(c, "RCPT TO:<y@dead.example>", 250);
}

static bool send_by_data(struct client *c)
{
	static char line[FILLING / 100];
	bool good = say(c, "MAIL FROM:<a@sender.example>", 250) && recipients(c) && say(c, "DATA", 354);

	memset(line, 'x', sizeof(line) - 1);
	if (!good)
		return false;
	if (it.judged)
		stream_put_str(c->stream, header_to_judge, soon());
	else
		stream_put_str(c->stream, "From: a@sender.example\r\n", soon());
	stream_put_str(c->stream, "Subject: faults\r\n\r\n", soon());
	for (unsigned i = 0; i < 100; i++) {
		stream_put_str(c->stream, line, soon());
		stream_put_str(c->stream, "\r\n", soon());
	}
	stream_put_str(c->stream, "the end\r\n.\r\n", soon());
	return taken(c);
}

static bool send_by_bdat(struct client *c)
{
	bool good = say(c, "MAIL FROM:<a@sender.example> RET=HDRS ENVID=e", 250) &&
		    (it.judged ? recipients(c)
			       : say(c, "RCPT TO:<x@dead.example> NOTIFY=NEVER", 250) &&
				 say(c, "RCPT TO:<y@dead.example> NOTIFY=FAILURE ORCPT=rfc822;z@dead.example", 250)) &&
		    say(c, "BDAT 43\r\nFrom: a@sender.example\r\nSubject: faults\r\n", 250);

	if (!good)
		return false;
	stream_put_str(c->stream, "BDAT 9 LAST\r\nthe end\r\n", soon());
	return taken(c);
}

/* Tries until both messages are with the server; returns whether it came to that. */
static bool send_all(struct client *c)
{
	static bool (*const ways[MESSAGES])(struct client *c) = { send_by_data, send_by_bdat };
	unsigned done = 0;

	for (unsigned tries = 0; done < MESSAGES && tries < TRIES_MAX; tries++) {
		bool good;

		it.sessions++;
		assert_int_equal(arena_new(0, &c->arena), 0);
		good = connected(c) && say(c, it.lmtp ? "LHLO client.example" : "EHLO client.example", 250) && under_tls(c);
		while (good && done < MESSAGES) {
			unsigned before = it.n_taken;

			good = ways[done](c);
			done += it.n_taken > before;
		}
		if (good)
			(void) say(c, "QUIT", 221);
		stream_free(TAKE_PTR(c->stream));
		arena_free(TAKE_PTR(c->arena));
		office_wait(USEC_SEC);
	}
	return done == MESSAGES;
}

static void not_now(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r)
{
	answer_fault(r, STAGE_CONNECT, "Connection refused");
}

static void prepare(struct office *s)
{
	static const struct route_domain onward[] = {
		{ .name = "local.example", .deliver = { .kind = HOP_LMTP, .lmtp_host = { .name = "store.example", .port = 24 } } },
	};

	s->answer = not_now;
	if (it.seals)
		s->routes.domains = onward;
}

/* All but what the client does for itself. */
static bool in_the_server(void *context)
{
	return loop_current() && fiber_self() != it.client;
}

static void open_receiver(struct office *s, const struct receive_config *config)
{
	char *why = NULL;

	assert_int_equal(receiver_new(s->world, &s->log, &s->events, config, s->router, it.judged ? s->resolver : NULL, s->queue, s->loops, 1, &it.receiver, &why), 0);
	assert_int_equal(receiver_start(it.receiver), 0);
}

static void body(struct office *s)
{
	struct receive_listener listener = { .role = it.lmtp ? ROLE_LMTP : ROLE_MX };
	struct cidr trusted;
	struct receive_config config = { .hostname = "us.example", .listeners = &listener, .n_listeners = 1, .trusted = &trusted, .n_trusted = 1 };
	struct signing_key key = { .selector = "s", .key = it.key };
	const struct signing_domain domain = { .domain = "sender.example", .keys = &key, .n_keys = 1 };
	const struct signing_seal seal = { .domain = "sender.example", .key = key };
	const struct signing_config signing = { .domains = &domain, .n_domains = 1, .seal = it.seals ? &seal : NULL };
	struct client c = { .office = s };

	if (it.signs || it.seals)
		config.signing = &signing;
	assert_int_equal(endpoint_parse(SLICE("192.0.2.99:25"), &listener.address), 0);
	assert_int_equal(cidr_parse(SLICE("192.0.2.0/24"), &trusted), 0);
	if (it.tls) {
		certificate_write(s->world, "us.example", "/cert.pem", "/key.pem");
		config.has_tls = true;
		config.tls = (struct tls_server_config) { .certificate = "/cert.pem", .key = "/key.pem" };
	}
	if (it.judged) {
		config.n_trusted = 0;
		config.identity = (struct identity_config) { .verify = true, .received_spf = true };
	}
	open_receiver(s, &config);
	it.client = fiber_self();
	it.n_taken = it.sessions = it.refused = it.lost = 0;
	if (it.disk.ops)
		sim_host_add_fault(s->host, &it.disk);
	else
		faults_begin(in_the_server, NULL);
	faults_check(send_all(&c) || it.disk.ops);
	faults_end();
	sim_host_clear_faults(s->host);
	if (!it.disk.ops) {
		faults_check(it.sessions <= 1 || it.refused + it.lost > 0);
		faults_check(send_all(&c)); /* and it works as if nothing had been */
		faults_check(it.n_taken == 2 * MESSAGES);
	}
	it.all_taken += it.n_taken;
	it.all_refused += it.refused;
	it.all_lost += it.lost;
	assert_int_equal(receiver_stop(it.receiver, now() + USEC_MIN), 0);
	receiver_free(TAKE_PTR(it.receiver));
}

static int count_row(const struct queue_row *row, void *context)
{
	(*(unsigned *) context)++;
	faults_check(row->n_recipients == 2);
	return 0;
}

/* Our link of ARC on top of everything, and nothing without it. */
static size_t link_length(const char *text)
{
	const char *results = strstr(text, "\r\nAuthentication-Results: ");

	/* The one with a forged field has a piece of a chain. */
	faults_check(results && (slice_istarts(slice_from(text), "ARC-Seal: i=2; a=ed25519-sha256; cv=fail; d=sender.example;") ||
				 slice_istarts(slice_from(text), "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=sender.example;")));
	faults_check(strstr(text, "\r\nARC-Message-Signature: i=") && strstr(text, "\r\nARC-Authentication-Results: i="));
	return (size_t) (results - text) + 2;
}

/* After the power cut. What was refused or cut off is not there, but for one whose sync failed: that is not known. */
static void afterwards(struct office *s)
{
	unsigned n = 0;

	assert_int_equal(queue_list(s->queue, &(struct queue_filter) { 0 }, count_row, &n), 0);
	faults_check(it.disk.ops ? n >= it.n_taken : n == it.n_taken);
	for (unsigned i = 0; i < it.n_taken; i++) {
		const char *text = office_content(s, it.taken[i]);

		/* What should be signed is, or was not taken. */
		faults_check(slice_istarts(slice_from(text), "DKIM-Signature: v=1; a=ed25519-sha256; ") == it.signs);
		faults_check(strstr(text, "\r\nSubject: faults\r\n") && slice_iends(slice_from(text), "the end\r\n"));
		if (it.judged)
			faults_check(strstr(text, "Authentication-Results: us.example;\r\n\tspf=none") == text + (it.seals ? link_length(text) : 0) &&
				     !strstr(text, "spf=pass") && !strstr(text, "dmarc=pass"));
	}
}

static void play(void *context)
{
	office_play_and_cut(prepare, body, afterwards);
}

/* That the failures were felt at all. */
static void report(void)
{
	print_message("# %u messages taken, %u replies 4xx, %u connections lost\n", it.all_taken, it.all_refused, it.all_lost);
	assert_true(it.all_taken > 0 && (faults_enough(it.all_refused, 5) || it.all_lost > 0));
	it.all_taken = it.all_refused = it.all_lost = 0;
}

static void walk(const char *name, bool tls, bool lmtp, uint64_t least)
{
	struct faults_walk w = { .name = name, .scenario = play, .times = 1, .most = 200 };

	it.tls = tls;
	it.lmtp = lmtp;
	it.disk = (struct sim_fault) { 0 };
	assert_true(faults_enough(faults_walk(&w), least));
	w.times = 3;
	w.most = 80;
	assert_true(faults_enough(faults_walk(&w), least / 2));
	report();
}

static void test_an_allocation_fails_in_a_session(void **state)
{
	walk("a session", false, false, 60);
}

static void test_an_allocation_fails_in_a_session_under_tls(void **state)
{
	walk("a session under TLS", true, false, 60);
}

static void test_an_allocation_fails_in_a_session_whose_mail_is_signed(void **state)
{
	assert_int_equal(crypto_generate(true, 0, &it.key), 0);
	it.signs = true;
	walk("a session whose mail is signed", false, false, 60);
	it.signs = false;
	EVP_PKEY_free(TAKE_PTR(it.key));
}

static void test_an_allocation_fails_in_a_session_of_lmtp(void **state)
{
	walk("a session of LMTP", false, true, 60);
}

static void test_an_allocation_fails_while_a_message_is_sealed(void **state)
{
	assert_int_equal(crypto_generate(true, 0, &it.key), 0);
	it.judged = it.seals = true;
	walk("a session whose mail is sealed", false, false, 60);
	it.judged = it.seals = false;
	EVP_PKEY_free(TAKE_PTR(it.key));
}

static void test_an_allocation_fails_while_a_message_is_judged(void **state)
{
	it.judged = true;
	walk("a session that is judged", false, false, 60);
	it.judged = false;
}

static void test_a_call_of_the_disk_fails_in_a_session(void **state)
{
	static const struct sim_fault cases[] = {
		{ .ops = SIM_WRITE, .path = "/spool", .error = -ENOSPC, .times = 1 },
		{ .ops = SIM_WRITE, .path = "/spool", .error = -EIO, .times = 1 },
		{ .ops = SIM_SYNC, .path = "/spool", .error = -EIO, .times = 1 },
		{ .ops = SIM_ALLOCATE, .path = "/spool", .error = -ENOSPC, .times = 1 },
		{ .ops = SIM_OPEN, .path = "/spool", .error = -ENFILE, .times = 1 },
		{ .ops = SIM_SYNC_DIRECTORY, .path = "/spool", .error = -EIO, .times = 1 },
	};

	it.tls = it.lmtp = false;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		for (unsigned skip = 0; skip < 6; skip++) {
			it.disk = cases[i];
			it.disk.skip = skip;
			play(NULL);
		}
	}
	report();
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, faults_teardown)
	const struct CMUnitTest tests[] = {
		T(test_an_allocation_fails_in_a_session),
		T(test_an_allocation_fails_in_a_session_under_tls),
		T(test_an_allocation_fails_in_a_session_whose_mail_is_signed),
		T(test_an_allocation_fails_in_a_session_of_lmtp),
		T(test_an_allocation_fails_while_a_message_is_judged),
		T(test_an_allocation_fails_while_a_message_is_sealed),
		T(test_a_call_of_the_disk_fails_in_a_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
