/* TLS between two fibers over loopback, with certificates made here. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls/tls.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/linux.h"
#include "world/sim.h"

#define SOON (now() + 10 * USEC_SEC)
#define DAY 86400L

/* --- certificates --------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/yizhan-test-XXXXXX";

static const char *path_of(const char *name)
{
	static char paths[8][64];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void write_key(EVP_PKEY *key, const char *name, const char *passphrase)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *) (uintptr_t) passphrase), 1);
	fclose(f);
}

static void write_certificate(X509 *certificate, const char *name, const char *mode)
{
	FILE *f = fopen(path_of(name), mode);

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, certificate), 1);
	fclose(f);
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(certificate, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* Valid from `from` to `to` seconds from now; issuer NULL: a CA that signs itself. */
static X509 *make_certificate(EVP_PKEY *key, const char *names, X509 *issuer, EVP_PKEY *issuer_key, long from, long to)
{
	X509 *c = X509_new();
	X509_NAME *subject = X509_get_subject_name(c);

	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), issuer ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(c), from);
	X509_gmtime_adj(X509_getm_notAfter(c), to);
	X509_set_pubkey(c, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *) (issuer ? "leaf" : "Test CA"), -1, -1, 0);
	X509_set_issuer_name(c, issuer ? X509_get_subject_name(issuer) : subject);
	if (issuer)
		add_extension(c, issuer, NID_subject_alt_name, names);
	else
		add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(c, issuer_key, EVP_sha256()) > 0);
	return c;
}

static int make_all(void **state)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256"), *rsa = EVP_RSA_gen(2048), *other = EVP_EC_gen("P-256");
	X509 *ca, *good, *old, *with_rsa;
	FILE *f;

	if (!mkdtemp(directory))
		return -1;
	ca = make_certificate(ca_key, NULL, NULL, ca_key, -DAY, 365 * DAY);
	good = make_certificate(key, "DNS:mx.example.org,DNS:*.wild.example.org,IP:127.0.0.1", ca, ca_key, -DAY, 365 * DAY);
	old = make_certificate(key, "DNS:mx.example.org", ca, ca_key, -30 * DAY, -DAY);
	with_rsa = make_certificate(rsa, "DNS:mx.example.org", ca, ca_key, -DAY, 365 * DAY);
	write_certificate(ca, "ca.pem", "w");
	write_certificate(good, "good.pem", "w");
	write_certificate(ca, "good.pem", "a");
	write_certificate(old, "old.pem", "w");
	write_certificate(with_rsa, "rsa.pem", "w");
	write_key(key, "key.pem", NULL);
	write_key(rsa, "rsa.key", NULL);
	write_key(other, "other.key", NULL);
	write_key(key, "locked.key", "secret");
	f = fopen(path_of("text.pem"), "w");
	fputs("nothing of the kind\n", f);
	fclose(f);
	f = fopen(path_of("broken.pem"), "w");
	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	X509_free(ca);
	X509_free(good);
	X509_free(old);
	X509_free(with_rsa);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other);
	return 0;
}

static int remove_all(void **state)
{
	static const char *const names[] = { "ca.pem", "good.pem", "old.pem", "rsa.pem", "key.pem", "rsa.key",
					     "other.key", "locked.key", "text.pem", "broken.pem" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlink(path_of(names[i]));
	return rmdir(directory);
}

/* --- two fibers --------------------------------------------------------------------------------------------- */

struct foreign;

struct side {
	struct stream *stream;
	struct tls_info info;
	const char *why;
	int result;
	bool plain; /* no handshake for this side */
};

struct fixture {
	struct world *world;
	struct loop *loop;
	struct listener *listener;
	struct arena *arena;
	const char *certificate, *key, *client_certificate, *client_key, *client_ca; /* NULL: the usual ones */
	const char *server_version, *client_version;
	bool tickets;
	const char *name;
	enum tls_verify verify;
	struct tls_context *server_context, *client_context;
	struct side server, client;
	void (*fn)(struct fixture *f);        /* after both handshakes */
	void (*plain_client)(struct fixture *f); /* instead of the client's handshake */
	struct foreign *foreign;              /* the client is not ours */
	usec_t patience;                      /* for the handshakes */
	atomic_int done;
};

static void accept_foreign(struct fixture *f);

static void accept_side(void *arg)
{
	struct fixture *f = arg;

	f->server.result = tls_accept(f->server_context, f->server.stream, now() + f->patience, f->arena, &f->server.info, &f->server.why);
}

static void connect_side(struct fixture *f)
{
	f->client.result = tls_connect(f->client_context, f->client.stream, f->name, f->verify, now() + f->patience, f->arena,
				       &f->client.info, &f->client.why);
}

static void make_contexts(struct fixture *f)
{
	struct tls_server_config server = {
		.certificate = path_of(f->certificate ? f->certificate : "good.pem"),
		.key = path_of(f->key ? f->key : "key.pem"),
		.min_version = f->server_version,
		.session_tickets = f->tickets,
		.client_ca = f->client_ca ? path_of(f->client_ca) : NULL,
	};
	struct tls_client_config client = {
		.ca_file = path_of("ca.pem"),
		.min_version = f->client_version,
		.certificate = f->client_certificate ? path_of(f->client_certificate) : NULL,
		.key = f->client_key ? path_of(f->client_key) : NULL,
	};
	char *why;

	if (tls_server_context_new(f->world, &server, &f->server_context, &why) < 0)
		fail_msg("%s", why);
	if (tls_client_context_new(f->world, &client, &f->client_context, &why) < 0)
		fail_msg("%s", why);
}

static void pair(struct fixture *f)
{
	struct fiber_group group;
	struct transport *t;
	struct endpoint peer;

	assert_int_equal(net_connect(listener_endpoint(f->listener), NULL, SOON, &t), 0);
	assert_int_equal(stream_new(t, listener_endpoint(f->listener), &f->client.stream), 0);
	assert_int_equal(listener_accept(f->listener, SOON, &t, &peer), 0);
	assert_int_equal(stream_new(t, &peer, &f->server.stream), 0);

	fiber_group_init(&group);
	assert_int_equal(fiber_group_spawn(&group, "server", accept_side, f), 0);
	if (f->plain_client)
		f->plain_client(f);
	else
		connect_side(f);
	if (f->client.result < 0) {
		stream_free(f->client.stream); /* else the server would wait for us */
		f->client.stream = NULL;
	}
	assert_int_equal(fiber_group_wait(&group, SOON), 0);
	fiber_group_done(&group);
	if (f->fn)
		f->fn(f);
	stream_free(f->client.stream);
	stream_free(f->server.stream);
}

static void fixture_main(void *arg)
{
	struct fixture *f = arg;

	if (f->foreign)
		accept_foreign(f);
	else
		pair(f);
	tls_context_unref(f->client_context);
	tls_context_unref(f->server_context);
	atomic_store(&f->done, 1);
}

static void run(struct fixture *f)
{
	struct timespec pause = { .tv_nsec = 200000 };
	struct endpoint e;

	if (f->patience == 0)
		f->patience = 10 * USEC_SEC;
	atomic_init(&f->done, 0);
	assert_int_equal(endpoint_parse(SLICE("127.0.0.1:0"), &e), 0);
	assert_int_equal(world_linux_new(NULL, &f->world), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	make_contexts(f);
	assert_int_equal(loop_new(f->world, "t", 0, 0, &f->loop), 0);
	assert_int_equal(loop_start(f->loop), 0);
	assert_int_equal(listener_open(f->world, &e, NULL, &f->listener), 0);
	assert_int_equal(loop_spawn(f->loop, "main", fixture_main, f), 0);
	for (unsigned i = 0; i < 200000 && !atomic_load(&f->done); i++)
		nanosleep(&pause, NULL);
	assert_true(atomic_load(&f->done));
	loop_stop(f->loop);
	listener_close(f->listener);
	loop_free(f->loop);
	world_free(f->world);
}

static void finish(struct fixture *f)
{
	arena_free(f->arena);
}

/* --- what works ------------------------------------------------------------------------------------------------- */

static void talk(struct stream *from, struct stream *to, const char *text)
{
	assert_int_equal(stream_put_str(from, text, SOON), 0);
	assert_int_equal(stream_flush(from, SOON), 0);
	while (stream_peek(to).len < strlen(text))
		assert_true(stream_fill(to, SOON) > 0);
	assert_true(slice_eq_str(stream_peek(to), text));
	stream_consume(to, strlen(text));
}

static void dialogue(struct fixture *f)
{
	assert_int_equal(f->server.result, 0);
	assert_int_equal(f->client.result, 0);
	talk(f->client.stream, f->server.stream, "EHLO a\r\n");
	talk(f->server.stream, f->client.stream, "250 b\r\n");
	assert_int_equal(stream_fill(f->server.stream, now() + 5 * USEC_MS), -ETIMEDOUT);
	assert_null(f->server.stream->in);
	talk(f->client.stream, f->server.stream, "QUIT\r\n");
	stream_free(f->client.stream);
	f->client.stream = NULL;
	assert_int_equal(stream_fill(f->server.stream, SOON), 0);
	assert_int_equal(stream_fill(f->server.stream, SOON), 0);
}

static void test_bytes_pass_both_ways_and_the_end_is_seen(void **state)
{
	struct fixture f = { .fn = dialogue, .name = "mx.example.org" };

	run(&f);
	assert_string_equal(f.server.info.version, "TLSv1.3");
	assert_string_equal(f.client.info.version, "TLSv1.3");
	assert_string_equal(f.client.info.cipher, f.server.info.cipher);
	assert_string_equal(f.server.info.sni, "mx.example.org");
	assert_string_equal(f.client.info.group, "x25519");
	assert_true(f.client.info.bits >= 128);
	assert_true(f.client.info.peer_certificate);
	assert_true(f.client.info.verified);
	assert_false(f.server.info.peer_certificate);
	finish(&f);
}

static void test_both_versions_and_both_kinds_of_key_work(void **state)
{
	static const struct {
		const char *certificate, *key, *version;
		bool tickets;
	} cases[] = {
		{ "good.pem", "key.pem", "1.3", true }, { "rsa.pem", "rsa.key", "1.2", false }, { "rsa.pem", "rsa.key", "1.3", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f = { .fn = dialogue, .name = "mx.example.org", .verify = TLS_VERIFY_NAME, .tickets = cases[i].tickets,
				     .certificate = cases[i].certificate, .key = cases[i].key, .server_version = cases[i].version };

		run(&f);
		assert_true(f.client.info.verified);
		finish(&f);
	}
}

#define BULK (3u * 1024 * 1024)

static void bulk_writer(void *arg)
{
	struct stream *s = arg;
	char block[3000];

	for (size_t sent = 0; sent < BULK; sent += sizeof(block)) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (char) ((sent + i) * 7 % 251);
		/* Small and large pieces, so that buffers and records never meet at their ends. */
		assert_int_equal(stream_put(s, slice_new(block, 1), SOON), 0);
		assert_int_equal(stream_put(s, slice_new(block + 1, sizeof(block) - 1), SOON), 0);
	}
	assert_int_equal(stream_flush(s, SOON), 0);
}

static void bulk_reader(void *arg)
{
	struct stream *s = arg;
	size_t received = 0;

	while (received < BULK) {
		struct slice in;

		assert_true(stream_fill(s, SOON) > 0);
		in = stream_peek(s);
		for (size_t i = 0; i < in.len; i++, received++)
			assert_true(in.data[i] == (char) (received * 7 % 251));
		stream_consume(s, in.len);
	}
}

/* Both directions at once, a fiber for each end of each. */
static void bulk(struct fixture *f)
{
	struct fiber_group group;

	assert_int_equal(f->client.result, 0);
	fiber_group_init(&group);
	assert_int_equal(fiber_group_spawn(&group, "w1", bulk_writer, f->client.stream), 0);
	assert_int_equal(fiber_group_spawn(&group, "w2", bulk_writer, f->server.stream), 0);
	assert_int_equal(fiber_group_spawn(&group, "r1", bulk_reader, f->client.stream), 0);
	assert_int_equal(fiber_group_spawn(&group, "r2", bulk_reader, f->server.stream), 0);
	assert_int_equal(fiber_group_wait(&group, SOON), 0);
	fiber_group_done(&group);
}

static void test_megabytes_keep_their_order_both_ways_at_once(void **state)
{
	struct fixture f = { .fn = bulk, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

static void pieces(struct fixture *f)
{
	static char large[40000];
	struct transport *t = f->client.stream->transport;
	struct iovec iov[4] = { { NULL, 0 }, { (void *) (uintptr_t) "ab", 2 }, { NULL, 0 }, { large, sizeof(large) } };
	ssize_t n;

	/* Several pieces leave in one record of at most 16 KiB, nothing of nothing. */
	n = t->ops->writev(t, iov, 4);
	assert_int_equal(n, 16384);
	assert_int_equal(t->ops->writev(t, iov, 1), 0);
	assert_int_equal(stream_fill(f->server.stream, SOON), 16384);
	assert_memory_equal(stream_peek(f->server.stream).data, "ab", 2);
	assert_null(t->ops->sendfile);
}

static void test_pieces_are_joined_into_one_record(void **state)
{
	struct fixture f = { .fn = pieces, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

/* --- who it is ------------------------------------------------------------------------------------------------------ */

static void test_the_name_must_hold_where_it_counts(void **state)
{
	static const struct {
		const char *name;
		bool holds;
	} cases[] = {
		{ "mx.example.org", true },      { "MX.Example.org", true },   { "a.wild.example.org", true },
		{ "127.0.0.1", true },           { "other.example.org", false }, { "a.b.wild.example.org", false },
		{ "127.0.0.2", false },          { "leaf", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f = { .name = cases[i].name, .verify = TLS_VERIFY_NAME };
		bool address = ascii_is_digit(cases[i].name[0]);

		run(&f);
		if (cases[i].holds) {
			assert_int_equal(f.client.result, 0);
			assert_true(f.client.info.verified);
			assert_string_equal(f.server.info.sni, address ? "" : cases[i].name);
		} else {
			assert_int_equal(f.client.result, -EKEYREJECTED);
			assert_string_equal(f.client.why, address ? "the certificate was not accepted: IP address mismatch"
								  : "the certificate was not accepted: hostname mismatch");
			assert_int_equal(f.server.result, -EPROTO);
			assert_non_null(strstr(f.server.why, "the peer broke off the TLS handshake"));
		}
		finish(&f);
	}
}

static void test_opportunistic_tls_takes_any_certificate_and_says_what_is_wrong(void **state)
{
	struct fixture f = { .fn = dialogue, .name = "other.example.org" };
	struct fixture g = { .fn = dialogue, .name = "mx.example.org", .certificate = "old.pem" };
	struct fixture h = { .fn = dialogue, .name = NULL };

	run(&f);
	assert_false(f.client.info.verified);
	assert_string_equal(f.client.info.verify_error, "hostname mismatch");
	finish(&f);
	run(&g);
	assert_false(g.client.info.verified);
	assert_string_equal(g.client.info.verify_error, "certificate has expired");
	finish(&g);
	run(&h);
	assert_true(h.client.info.verified);
	assert_string_equal(h.server.info.sni, "");
	finish(&h);
}

static void test_an_expired_certificate_is_refused_where_it_counts(void **state)
{
	struct fixture f = { .name = "mx.example.org", .certificate = "old.pem", .verify = TLS_VERIFY_NAME };

	run(&f);
	assert_int_equal(f.client.result, -EKEYREJECTED);
	assert_string_equal(f.client.why, "the certificate was not accepted: certificate has expired");
	finish(&f);
}

static void test_without_a_name_nothing_can_be_verified(void **state)
{
	struct fixture f = { .name = NULL, .verify = TLS_VERIFY_NAME };

	run(&f);
	assert_int_equal(f.client.result, -EINVAL);
	assert_int_equal(f.server.result, -EPROTO);
	finish(&f);
}

static void test_a_client_certificate_is_checked_but_not_required(void **state)
{
	struct fixture f = { .fn = dialogue, .name = "mx.example.org", .client_ca = "ca.pem", .client_certificate = "good.pem",
			     .client_key = "key.pem" };
	struct fixture g = { .fn = dialogue, .name = "mx.example.org", .client_ca = "ca.pem", .client_certificate = "old.pem",
			     .client_key = "key.pem" };
	struct fixture h = { .fn = dialogue, .name = "mx.example.org", .client_ca = "ca.pem" };

	run(&f);
	assert_true(f.server.info.peer_certificate && f.server.info.verified && f.server.info.peer_verified);
	assert_int_equal(strlen(f.server.info.peer_fingerprint), 64);
	assert_non_null(f.server.info.peer_subject);
	assert_true(f.server.info.n_peer_names > 0);
	assert_string_equal(f.server.info.peer_names[0], "dns:mx.example.org");
	assert_null(f.client.info.peer_fingerprint);
	finish(&f);
	run(&g);
	assert_true(g.server.info.peer_certificate && !g.server.info.verified);
	assert_string_equal(g.server.info.verify_error, "certificate has expired");
	finish(&g);
	run(&h);
	assert_false(h.server.info.peer_certificate || h.server.info.verified);
	finish(&h);
}

/* --- what goes wrong ------------------------------------------------------------------------------------------------- */

static void send_garbage(struct fixture *f)
{
	assert_int_equal(stream_put_str(f->client.stream, "EHLO there\r\nMAIL FROM:<>\r\n", SOON), 0);
	assert_int_equal(stream_flush(f->client.stream, SOON), 0);
	f->client.result = -EPROTO;
}

static void test_plain_text_in_the_place_of_a_handshake_ends_it(void **state)
{
	struct fixture f = { .plain_client = send_garbage };

	run(&f);
	assert_int_equal(f.server.result, -EPROTO);
	assert_string_equal(f.server.why, "the TLS handshake failed: the peer did not speak TLS");
	finish(&f);
}

static void hang_up(struct fixture *f)
{
	f->client.result = -EPIPE; /* closes */
}

static void test_a_peer_that_hangs_up_ends_the_handshake(void **state)
{
	struct fixture f = { .plain_client = hang_up };

	run(&f);
	assert_int_equal(f.server.result, -EPROTO);
	assert_string_equal(f.server.why, "the connection was closed during the TLS handshake");
	finish(&f);
}

static void say_nothing(struct fixture *f)
{
	assert_int_equal(fiber_sleep_until(now() + 100 * USEC_MS), 0);
}

static void test_a_silent_peer_does_not_hold_a_handshake_beyond_its_deadline(void **state)
{
	struct fixture f = { .plain_client = say_nothing, .patience = 20 * USEC_MS };

	run(&f);
	assert_int_equal(f.server.result, -ETIMEDOUT);
	assert_string_equal(f.server.why, "the TLS handshake took too long");
	finish(&f);
}

/* RFC 3207 section 4.2: what came in the clear must not be taken for what came encrypted. */
static void plain_text_ahead(struct fixture *f)
{
	struct tls_info info;
	const char *why;

	talk(f->client.stream, f->server.stream, "STARTTLS\r\n");
	assert_int_equal(stream_put_str(f->client.stream, "RSET\r\n", SOON), 0);
	assert_int_equal(stream_flush(f->client.stream, SOON), 0);
	assert_true(stream_fill(f->server.stream, SOON) > 0);
	assert_int_equal(tls_accept(f->server_context, f->server.stream, SOON, f->arena, &info, &why), -EPROTO);
	assert_string_equal(why, "there was plain text behind the beginning of TLS");
	stream_discard_input(f->server.stream);
	assert_int_equal(stream_put_str(f->server.stream, "220", SOON), 0);
	assert_int_equal(tls_accept(f->server_context, f->server.stream, SOON, f->arena, &info, &why), -EPROTO);
}

static void test_buffered_plain_text_stops_a_handshake_before_it_begins(void **state)
{
	/* Over TLS itself: the inner dialogue is as plain as any to the second handshake. */
	struct fixture f = { .fn = plain_text_ahead, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

static void cut_off(struct fixture *f)
{
	struct stream *c = f->client.stream;

	/* The connection ends below TLS, without a close_notify. */
	assert_int_equal(f->client.result, 0);
	talk(c, f->server.stream, "QUIT\r\n");
	f->client.stream = NULL;
	/* What is below hangs up first; only then the TLS on top of it finds nobody to say goodbye to. */
	c->transport->ops->shutdown(c->transport);
	assert_int_equal(stream_fill(f->server.stream, SOON), 0);
	assert_int_equal(stream_put_str(f->server.stream, "221", SOON), 0);
	stream_flush_now(f->server.stream);
	stream_free(c);
}

static void test_the_peer_may_end_the_connection_at_any_time(void **state)
{
	struct fixture f = { .fn = cut_off, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

/* --- a client that is OpenSSL alone ------------------------------------------------------------------------- */

struct foreign {
	uint16_t port;
	int version; /* the only one it speaks */
	int connected;
	char binding[64];
	size_t binding_len;
	pthread_t thread;
};

static void *foreign_client(void *arg)
{
	struct foreign *c = arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, c->version);
	SSL_CTX_set_max_proto_version(ctx, c->version);
	ssl = SSL_new(ctx);
	if (connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0) {
		SSL_set_fd(ssl, fd);
		c->connected = SSL_connect(ssl);
		if (c->connected == 1) {
			char buffer[16];

			c->binding_len = SSL_get_finished(ssl, c->binding, sizeof(c->binding));
			SSL_write(ssl, "hello", 5);
			SSL_shutdown(ssl);
			while (SSL_read(ssl, buffer, sizeof(buffer)) > 0)
				;
		}
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return NULL;
}

static void accept_foreign(struct fixture *f)
{
	struct foreign *c = f->foreign;
	struct transport *t;
	struct endpoint peer;

	c->port = listener_endpoint(f->listener)->port;
	assert_int_equal(pthread_create(&c->thread, NULL, foreign_client, c), 0);
	assert_int_equal(listener_accept(f->listener, SOON, &t, &peer), 0);
	assert_int_equal(stream_new(t, &peer, &f->server.stream), 0);
	accept_side(f);
	if (f->fn)
		f->fn(f);
	stream_free(f->server.stream);
	f->server.stream = NULL;
	pthread_join(c->thread, NULL);
}

static void binding_12(struct fixture *f)
{
	struct slice unique, exporter;

	assert_int_equal(f->server.result, 0);
	assert_int_equal(stream_fill(f->server.stream, SOON), 5);
	assert_int_equal(stream_fill(f->server.stream, SOON), 0); /* close_notify, while the connection stays */
	assert_int_equal(tls_channel_binding(f->server.stream, "tls-unique", f->arena, &unique), 0);
	assert_int_equal(tls_channel_binding(f->server.stream, "tls-exporter", f->arena, &exporter), 0);
	assert_true(slice_eq(unique, slice_new(f->foreign->binding, f->foreign->binding_len)));
}

static void test_a_peer_of_tls_1_2_is_served_and_has_the_old_binding(void **state)
{
	struct foreign c = { .version = TLS1_2_VERSION };
	struct fixture f = { .fn = binding_12, .foreign = &c };

	run(&f);
	assert_int_equal(c.connected, 1);
	assert_string_equal(f.server.info.version, "TLSv1.2");
	assert_non_null(strstr(f.server.info.cipher, "ECDHE-ECDSA-AES"));
	finish(&f);
}

/* A peer in memory: a transport whose other end is a client of OpenSSL's own. */
struct memory_peer {
	struct transport base;
	SSL_CTX *ctx;
	SSL *ssl;
};

static ssize_t memory_read(struct transport *t, void *data, size_t len)
{
	int n = BIO_read(SSL_get_wbio(((struct memory_peer *) t)->ssl), data, (int) len);

	return n > 0 ? n : -EAGAIN;
}

static ssize_t memory_writev(struct transport *t, const struct iovec *iov, int n)
{
	return BIO_write(SSL_get_rbio(((struct memory_peer *) t)->ssl), iov->iov_base, (int) iov->iov_len);
}

static int memory_wait(struct transport *t, unsigned what, usec_t deadline)
{
	(void) SSL_do_handshake(((struct memory_peer *) t)->ssl);
	return 0;
}

static void memory_close(struct transport *t)
{
	struct memory_peer *peer = (struct memory_peer *) t;

	SSL_free(peer->ssl);
	SSL_CTX_free(peer->ctx);
	free(peer);
}

static struct memory_peer *memory_peer_new(void)
{
	static const struct transport_ops ops = {
		.name = "memory", .read = memory_read, .writev = memory_writev, .wait = memory_wait, .close = memory_close,
	};
	struct memory_peer *peer = calloc(1, sizeof(*peer));

	peer->base.ops = &ops;
	peer->ctx = SSL_CTX_new(TLS_client_method());
	peer->ssl = SSL_new(peer->ctx);
	SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(peer->ssl);
	return peer;
}

/* A long row of messages that mean nothing is taken in pieces, between which others may run. */
static void flooded(struct fixture *f)
{
	struct memory_peer *peer = memory_peer_new();
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct tls_info info;
	unsigned pauses = 0;
	char data[16];
	ssize_t n;

	assert_int_equal(stream_new(&peer->base, NULL, &s), 0);
	assert_int_equal(tls_accept(f->server_context, s, SOON, f->arena, &info, NULL), 0);
	for (unsigned i = 0; i < 6000; i++) {
		assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(peer->ssl), 1);
	}
	assert_int_equal(SSL_write(peer->ssl, "hello", 5), 5);
	for (;;) {
		n = s->transport->ops->read(s->transport, data, sizeof(data));
		if (n != -EAGAIN)
			break;
		pauses++;
		assert_int_equal(s->transport->ops->wait(s->transport, WAIT_READ, now() - 1), -ETIMEDOUT);
	}
	assert_int_equal(n, 5);
	assert_in_range(pauses, 1, 3);
}

static void test_a_flood_of_key_updates_is_read_in_pieces(void **state)
{
	struct fixture f = { .fn = flooded, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

static void test_versions_that_do_not_meet_are_named(void **state)
{
	struct foreign c = { .version = TLS1_1_VERSION };
	struct fixture f = { .foreign = &c };
	struct foreign d = { .version = TLS1_2_VERSION };
	struct fixture g = { .foreign = &d, .server_version = "1.3" };

	run(&f);
	assert_int_equal(f.server.result, -EPROTO);
	assert_string_equal(f.server.why, "the TLS handshake failed: no TLS version in common");
	finish(&f);
	run(&g);
	assert_int_equal(g.server.result, -EPROTO);
	assert_string_equal(g.server.why, "the TLS handshake failed: no TLS version in common");
	finish(&g);
}

/* --- contexts ------------------------------------------------------------------------------------------------------------ */

static void test_mistakes_in_the_files_are_named(void **state)
{
	static const struct {
		const char *certificate, *key, *version, *ca, *expected;
	} cases[] = {
		{ "good.pem", "other.key", NULL, NULL, "other.key: the key does not belong to the certificate in " },
		{ "good.pem", "rsa.key", NULL, NULL, "rsa.key: the key does not belong to the certificate in " },
		{ "good.pem", "locked.key", NULL, NULL, "locked.key: the key is protected by a passphrase" },
		{ "good.pem", "absent.key", NULL, NULL, "absent.key: cannot be read: No such file" },
		{ "absent.pem", "key.pem", NULL, NULL, "absent.pem: cannot be read: No such file" },
		{ "text.pem", "key.pem", NULL, NULL, "text.pem: holds no certificate in PEM form" },
		{ "good.pem", "text.pem", NULL, NULL, "text.pem: holds no private key in PEM form" },
		{ "broken.pem", "key.pem", NULL, NULL, "broken.pem: " },
		{ "good.pem", "key.pem", "1.1", NULL, "the lowest TLS version must be \"1.2\" or \"1.3\", not \"1.1\"" },
		{ "good.pem", "key.pem", NULL, "text.pem", "text.pem: holds no CA certificate in PEM form" },
	};
	struct world *world;

	assert_int_equal(world_linux_new(NULL, &world), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct tls_server_config config = {
			.certificate = path_of(cases[i].certificate),
			.key = path_of(cases[i].key),
			.min_version = cases[i].version,
			.client_ca = cases[i].ca ? path_of(cases[i].ca) : NULL,
		};
		struct tls_context *c = NULL;
		char *why;

		assert_true(tls_server_context_new(world, &config, &c, &why) < 0);
		assert_null(c);
		assert_non_null(why);
		if (!strstr(why, cases[i].expected))
			fail_msg("%s", why);
		free(why);
	}
	world_free(world);
}

static void test_many_reloads_leave_nothing_behind(void **state)
{
	struct tls_server_config config = { .certificate = path_of("good.pem"), .key = path_of("key.pem") };
	struct world *world;
	char *why;

	assert_int_equal(world_linux_new(NULL, &world), 0);
	for (unsigned i = 0; i < 150; i++) {
		struct tls_context *c;

		assert_int_equal(tls_server_context_new(world, &config, &c, &why), 0);
		assert_ptr_equal(tls_context_ref(c), c);
		tls_context_unref(c);
		tls_context_unref(c);
	}
	world_free(world);
}

/* --- bindings ---------------------------------------------------------------------------------------------------------------- */

static void bindings_13(struct fixture *f)
{
	struct slice a, b;

	assert_int_equal(tls_channel_binding(f->client.stream, "tls-exporter", f->arena, &a), 0);
	assert_int_equal(tls_channel_binding(f->server.stream, "tls-exporter", f->arena, &b), 0);
	assert_int_equal(a.len, 32);
	assert_true(slice_eq(a, b));
	assert_int_equal(tls_channel_binding(f->server.stream, "tls-unique", f->arena, &b), -EOPNOTSUPP);
	assert_int_equal(tls_channel_binding(f->server.stream, "tls-odd", f->arena, &b), -EOPNOTSUPP);
}

static void test_both_ends_have_the_same_channel_binding(void **state)
{
	struct fixture f = { .fn = bindings_13, .name = "mx.example.org" };

	run(&f);
	finish(&f);
}

/* --- in a simulation ------------------------------------------------------------------------------------------------------------ */

struct sim_fixture {
	struct tls_context *server_context, *client_context;
	struct listener *listener;
	struct endpoint at;
	struct arena *arena;
	struct tls_info info;
	const char *why;
	int server, client;
};

static void sim_server(void *arg)
{
	struct sim_fixture *f = arg;
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct transport *t;
	struct endpoint peer;
	struct tls_info info;

	assert_int_equal(listener_accept(f->listener, DEADLINE_NEVER, &t, &peer), 0);
	assert_int_equal(stream_new(t, &peer, &s), 0);
	f->server = tls_accept(f->server_context, s, SOON * 100, f->arena, &info, NULL);
	if (f->server == 0)
		f->server = stream_fill(s, SOON * 100) == 5 ? 5 : -1;
}

static void sim_client(void *arg)
{
	struct sim_fixture *f = arg;
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct transport *t;

	assert_int_equal(net_connect(&f->at, NULL, SOON, &t), 0);
	assert_int_equal(stream_new(t, &f->at, &s), 0);
	f->client = tls_connect(f->client_context, s, "mx.example.org", TLS_VERIFY_NAME, SOON * 100, f->arena, &f->info, &f->why);
	if (f->client == 0) {
		assert_int_equal(stream_put_str(s, "hello", SOON), 0);
		assert_int_equal(stream_flush(s, SOON), 0);
	}
}

static void copy_into(struct world *w, const char *name)
{
	struct world *real;
	char *text;
	size_t len;

	assert_int_equal(world_linux_new(NULL, &real), 0);
	assert_int_equal(file_read_all(real, path_of(name), 100000, &text, &len), 0);
	assert_int_equal(file_write_atomically(w, name, slice_new(text, len), 0600), 0);
	free(text);
	world_free(real);
}

/* One byte at a time is the hardest for whoever thinks that records come whole. */
static void test_a_simulated_network_of_single_bytes_carries_it(void **state)
{
	struct sim_fixture f = { .server = -1, .client = -1 };
	struct tls_server_config server = { .certificate = "good.pem", .key = "key.pem" };
	struct tls_client_config client = { .ca_file = "ca.pem" };
	struct sim_link link = sim_link_default();
	struct sim_host *a, *b;
	struct world *wa, *wb;
	struct loop *la, *lb;
	struct sim *sim;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 3, .start = (wall_t) time(NULL) * 1000000 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "a", "192.0.2.1", &a, &wa), 0);
	assert_int_equal(sim_host_new(sim, "b", "192.0.2.2", &b, &wb), 0);
	link.segment_max = 1;
	link.latency = link.jitter = 10;
	sim_set_link(sim, NULL, NULL, &link);
	copy_into(wa, "good.pem");
	copy_into(wa, "key.pem");
	copy_into(wb, "ca.pem");
	assert_int_equal(arena_new(0, &f.arena), 0);
	assert_int_equal(tls_server_context_new(wa, &server, &f.server_context, &why), 0);
	assert_int_equal(tls_client_context_new(wb, &client, &f.client_context, &why), 0);
	assert_int_equal(endpoint_parse(SLICE("192.0.2.1:25"), &f.at), 0);
	assert_int_equal(listener_open(wa, &f.at, NULL, &f.listener), 0);
	assert_int_equal(loop_new(wa, "a", 0, 0, &la), 0);
	assert_int_equal(loop_start(la), 0);
	assert_int_equal(loop_new(wb, "b", 0, 0, &lb), 0);
	assert_int_equal(loop_start(lb), 0);
	assert_int_equal(loop_spawn(la, "server", sim_server, &f), 0);
	assert_int_equal(loop_spawn(lb, "client", sim_client, &f), 0);
	sim_run(sim, sim_now(sim) + USEC_HOUR);
	assert_int_equal(f.client, 0);
	assert_int_equal(f.server, 5);
	assert_true(f.info.verified);
	loop_stop(la);
	loop_stop(lb);
	listener_close(f.listener);
	loop_free(la);
	loop_free(lb);
	tls_context_unref(f.server_context);
	tls_context_unref(f.client_context);
	arena_free(f.arena);
	world_free(wa);
	world_free(wb);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_pass_both_ways_and_the_end_is_seen),
		cmocka_unit_test(test_both_versions_and_both_kinds_of_key_work),
		cmocka_unit_test(test_megabytes_keep_their_order_both_ways_at_once),
		cmocka_unit_test(test_pieces_are_joined_into_one_record),
		cmocka_unit_test(test_the_name_must_hold_where_it_counts),
		cmocka_unit_test(test_opportunistic_tls_takes_any_certificate_and_says_what_is_wrong),
		cmocka_unit_test(test_an_expired_certificate_is_refused_where_it_counts),
		cmocka_unit_test(test_without_a_name_nothing_can_be_verified),
		cmocka_unit_test(test_a_client_certificate_is_checked_but_not_required),
		cmocka_unit_test(test_plain_text_in_the_place_of_a_handshake_ends_it),
		cmocka_unit_test(test_a_peer_that_hangs_up_ends_the_handshake),
		cmocka_unit_test(test_a_silent_peer_does_not_hold_a_handshake_beyond_its_deadline),
		cmocka_unit_test(test_buffered_plain_text_stops_a_handshake_before_it_begins),
		cmocka_unit_test(test_the_peer_may_end_the_connection_at_any_time),
		cmocka_unit_test(test_a_peer_of_tls_1_2_is_served_and_has_the_old_binding),
		cmocka_unit_test(test_a_flood_of_key_updates_is_read_in_pieces),
		cmocka_unit_test(test_versions_that_do_not_meet_are_named),
		cmocka_unit_test(test_mistakes_in_the_files_are_named),
		cmocka_unit_test(test_many_reloads_leave_nothing_behind),
		cmocka_unit_test(test_both_ends_have_the_same_channel_binding),
		cmocka_unit_test(test_a_simulated_network_of_single_bytes_carries_it),
	};

	return cmocka_run_group_tests(tests, make_all, remove_all);
}
