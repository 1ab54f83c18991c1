/* DANE at the handshake: which certificates TLSA records accept, with a server and a client over loopback. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls/tls.h"
#include "world/fiber.h"
#include "world/linux.h"

#define SOON (now() + 10 * USEC_SEC)
#define DAY 86400L

/* --- certificates --------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/yizhan-test-XXXXXX";

/* What a TLSA record can say about a certificate, ready to be used. */
struct described {
	unsigned char cert[32], spki[32], spki512[64];
	unsigned char *der;
	int der_len;
};
static struct described ca, good, expired, other, named, stranger;

static const char *path_of(const char *name, char out[static 64])
{
	snprintf(out, 64, "%s/%s", directory, name);
	return out;
}

static void describe(X509 *c, struct described *ret)
{
	unsigned char *spki = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c), &spki);

	assert_true(len > 0);
	ret->der_len = i2d_X509(c, &ret->der);
	assert_true(ret->der_len > 0);
	assert_int_equal(EVP_Digest(ret->der, (size_t) ret->der_len, ret->cert, NULL, EVP_sha256(), NULL), 1);
	assert_int_equal(EVP_Digest(spki, (size_t) len, ret->spki, NULL, EVP_sha256(), NULL), 1);
	assert_int_equal(EVP_Digest(spki, (size_t) len, ret->spki512, NULL, EVP_sha512(), NULL), 1);
	OPENSSL_free(spki);
}

static void add_extension(X509 *c, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, c, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(c, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* issuer NULL: a CA. names NULL: only the common name. Writes certificate, chain and key into one file. */
static X509 *make(const char *file, const char *common, const char *names, X509 *issuer, EVP_PKEY *issuer_key, EVP_PKEY *key, long to,
		  struct described *ret)
{
	X509 *c = X509_new();
	X509_NAME *subject = X509_get_subject_name(c);
	char path[64];
	FILE *f;

	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), issuer ? 2 : 1);
	X509_gmtime_adj(X509_getm_notBefore(c), -30 * DAY);
	X509_gmtime_adj(X509_getm_notAfter(c), to);
	X509_set_pubkey(c, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *) common, -1, -1, 0);
	X509_set_issuer_name(c, issuer ? X509_get_subject_name(issuer) : subject);
	if (names)
		add_extension(c, issuer, NID_subject_alt_name, names);
	if (!issuer)
		add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(c, issuer_key, EVP_sha256()) > 0);
	f = fopen(path_of(file, path), "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, c), 1);
	if (issuer)
		assert_int_equal(PEM_write_X509(f, issuer), 1);
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
	describe(c, ret);
	return c;
}

static int make_all(void **state)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256"), *other_key = EVP_EC_gen("P-256");
	X509 *issuer;

	if (!mkdtemp(directory))
		return -1;
	issuer = make("ca", "Test CA", NULL, NULL, ca_key, ca_key, 365 * DAY, &ca);
	X509_free(make("good", "leaf", "DNS:mx.example.org,DNS:*.wild.example", issuer, ca_key, key, 30 * DAY, &good));
	X509_free(make("expired", "leaf", "DNS:mx.example.org", issuer, ca_key, key, -DAY, &expired));
	X509_free(make("other", "other", "DNS:other.example", issuer, ca_key, other_key, 30 * DAY, &other));
	X509_free(make("named", "mx.example.org", NULL, issuer, ca_key, key, 30 * DAY, &named));
	X509_free(make("stranger", "Another CA", NULL, NULL, other_key, other_key, 30 * DAY, &stranger));
	X509_free(issuer);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
	return 0;
}

static int remove_all(void **state)
{
	static const char *const names[] = { "ca", "good", "expired", "other", "named", "stranger" };
	struct described *all[] = { &ca, &good, &expired, &other, &named, &stranger };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		unlink(path_of(names[i], path));
		OPENSSL_free(all[i]->der);
	}
	return rmdir(directory);
}

/* --- a server and a client -------------------------------------------------------------------------------- */

struct fixture {
	struct world *world;
	struct listener *listener;
	struct arena *arena;
	const char *certificate; /* file */
	struct tls_expected expected;
	struct tls_context *server_context, *client_context;
	struct stream *server;
	struct tls_info server_info, info;
	struct tls_failure failure;
	int result;
	atomic_int done;
};

static void serve(void *arg)
{
	struct fixture *f = arg;

	(void) tls_accept(f->server_context, f->server, SOON, f->arena, &f->server_info, NULL);
}

static void pair(void *arg)
{
	struct fixture *f = arg;
	struct fiber_group group;
	struct stream *client;
	struct transport *t;
	struct endpoint peer;

	assert_int_equal(net_connect(listener_endpoint(f->listener), NULL, SOON, &t), 0);
	assert_int_equal(stream_new(t, listener_endpoint(f->listener), &client), 0);
	assert_int_equal(listener_accept(f->listener, SOON, &t, &peer), 0);
	assert_int_equal(stream_new(t, &peer, &f->server), 0);
	fiber_group_init(&group);
	assert_int_equal(fiber_group_spawn(&group, "server", serve, f), 0);
	f->expected.verify = TLS_VERIFY_DANE;
	f->result = tls_connect_to(f->client_context, client, &f->expected, SOON, f->arena, &f->info, &f->failure);
	if (f->result < 0)
		stream_free(TAKE_PTR(client));
	assert_int_equal(fiber_group_wait(&group, SOON), 0);
	fiber_group_done(&group);
	stream_free(client);
	stream_free(f->server);
	tls_context_unref(f->client_context);
	tls_context_unref(f->server_context);
	atomic_store(&f->done, 1);
}

static void run(struct fixture *f)
{
	char certificate[64], own_ca[64], *why;
	struct tls_server_config server = { .certificate = path_of(f->certificate, certificate), .key = certificate };
	/* A CA that has signed nothing here: what holds, holds by the records. */
	struct tls_client_config client = { .ca_file = path_of("stranger", own_ca) };
	struct loop *loop;
	struct endpoint e;

	atomic_init(&f->done, 0);
	assert_int_equal(endpoint_parse(SLICE("127.0.0.1:0"), &e), 0);
	assert_int_equal(world_linux_new(NULL, &f->world), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	assert_int_equal(tls_server_context_new(f->world, &server, &f->server_context, &why), 0);
	assert_int_equal(tls_client_context_new(f->world, &client, &f->client_context, &why), 0);
	assert_int_equal(loop_new(f->world, "t", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(listener_open(f->world, &e, NULL, &f->listener), 0);
	assert_int_equal(loop_spawn(loop, "main", pair, f), 0);
	for (unsigned i = 0; i < 200000 && !atomic_load(&f->done); i++)
		nanosleep(&(struct timespec) { .tv_nsec = 200000 }, NULL);
	assert_true(atomic_load(&f->done));
	loop_stop(loop);
	listener_close(f->listener);
	loop_free(loop);
	world_free(f->world);
}

static void finish(struct fixture *f)
{
	arena_free(f->arena);
}

static struct slice bytes(const unsigned char *p, size_t len)
{
	return slice_new((const char *) p, len);
}
#define B(array) bytes((array), sizeof(array))

/* --- what holds ---------------------------------------------------------------------------------------------- */

static void test_every_form_of_a_record_that_fits_is_taken(void **state)
{
	const struct tls_tlsa cases[] = {
		{ 3, 0, 0, bytes(good.der, (size_t) good.der_len) }, { 3, 0, 1, B(good.cert) }, { 3, 1, 1, B(good.spki) },
		{ 3, 1, 2, B(good.spki512) }, { 2, 0, 1, B(ca.cert) }, { 2, 1, 1, B(ca.spki) }, { 2, 1, 2, B(ca.spki512) },
		{ 2, 0, 0, bytes(ca.der, (size_t) ca.der_len) },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f = { .certificate = "good", .expected = { .name = "mx.example.org", .records = &cases[i], .n_records = 1 } };

		run(&f);
		assert_int_equal(f.result, 0);
		assert_true(f.info.dane);
		assert_false(f.info.verified); /* by no CA */
		assert_int_equal(f.info.dane_usage, cases[i].usage);
		assert_string_equal(f.info.matched_name, cases[i].usage == 2 ? "mx.example.org" : "");
		assert_string_equal(f.server_info.sni, "mx.example.org");
		finish(&f);
	}
}

static void test_with_dane_ee_neither_names_nor_dates_count(void **state)
{
	const struct tls_tlsa record = { 3, 1, 1, B(expired.spki) };
	struct fixture f = { .certificate = "expired", .expected = { .name = "quite.another.example", .records = &record, .n_records = 1 } };

	run(&f);
	assert_int_equal(f.result, 0);
	assert_true(f.info.dane);
	finish(&f);
}

static void test_with_dane_ta_one_of_the_names_must_be_there(void **state)
{
	static const char *const further[] = { "example.org", "mx.example.org" };
	const struct tls_tlsa record = { 2, 0, 1, B(ca.cert) };
	static const struct {
		const char *certificate, *name, *matched; /* NULL: it is refused */
		unsigned n_further;
	} cases[] = {
		{ "good", "mx.example.org", "mx.example.org", 0 }, { "good", "no.example", NULL, 0 },
		{ "good", "no.example", NULL, 1 },                 { "good", "no.example", "mx.example.org", 2 },
		{ "good", "a.wild.example", "*.wild.example", 0 }, { "good", "a.b.wild.example", NULL, 0 },
		/* RFC 7672 section 3.2.3: the common name where there is no DNS name. */
		{ "named", "mx.example.org", "mx.example.org", 0 }, { "good", "leaf", NULL, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f = { .certificate = cases[i].certificate,
				     .expected = { .name = cases[i].name, .records = &record, .n_records = 1, .names = further,
						   .n_names = cases[i].n_further } };

		run(&f);
		if (cases[i].matched) {
			assert_int_equal(f.result, 0);
			assert_string_equal(f.info.matched_name, cases[i].matched);
		} else {
			assert_int_equal(f.result, -EKEYREJECTED);
			assert_int_equal(f.failure.rejection, TLS_REJECTED_NAME);
		}
		finish(&f);
	}
}

static void test_with_dane_ta_dates_count(void **state)
{
	const struct tls_tlsa record = { 2, 0, 1, B(ca.cert) };
	struct fixture f = { .certificate = "expired", .expected = { .name = "mx.example.org", .records = &record, .n_records = 1 } };

	run(&f);
	assert_int_equal(f.result, -EKEYREJECTED);
	assert_int_equal(f.failure.rejection, TLS_REJECTED_EXPIRED);
	finish(&f);
}

static void test_a_certificate_that_no_record_describes_is_refused(void **state)
{
	const struct tls_tlsa records[] = { { 3, 1, 1, B(other.spki) }, { 2, 0, 1, B(other.cert) } };
	struct fixture f = { .certificate = "good", .expected = { .name = "mx.example.org", .records = records, .n_records = 2 } };

	run(&f);
	assert_int_equal(f.result, -EKEYREJECTED);
	assert_int_equal(f.failure.rejection, TLS_REJECTED_TLSA);
	assert_non_null(strstr(f.failure.why, "the certificate was not accepted"));
	finish(&f);
}

static void test_one_record_of_several_is_enough(void **state)
{
	const struct tls_tlsa records[] = { { 3, 1, 1, B(other.spki) }, { 0, 0, 1, B(other.cert) }, { 3, 9, 1, B(other.cert) },
					    { 3, 1, 1, B(good.spki) } };
	struct fixture f = { .certificate = "good", .expected = { .name = "mx.example.org", .records = records, .n_records = 4 } };

	run(&f);
	assert_int_equal(f.result, 0);
	assert_true(f.info.dane);
	finish(&f);
}

/* RFC 7672 section 2.2: TLS then, whatever the certificate. */
static void test_records_that_can_not_be_used_ask_for_encryption_alone(void **state)
{
	const struct tls_tlsa records[] = {
		{ 0, 0, 1, B(ca.cert) },    { 1, 1, 1, B(good.spki) }, { 3, 7, 1, B(good.spki) }, { 3, 1, 9, B(good.spki) },
		{ 3, 1, 1, SLICE("short") }, { 3, 0, 0, SLICE("no certificate") }, { 255, 255, 255, SLICE("?") },
	};
	struct fixture f = { .certificate = "good", .expected = { .name = "mx.example.org", .records = records,
								   .n_records = ARRAY_LEN(records) } };

	run(&f);
	assert_int_equal(f.result, 0);
	assert_false(f.info.dane);
	assert_false(f.info.verified);
	assert_true(f.info.peer_certificate);
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_form_of_a_record_that_fits_is_taken),
		cmocka_unit_test(test_with_dane_ee_neither_names_nor_dates_count),
		cmocka_unit_test(test_with_dane_ta_one_of_the_names_must_be_there),
		cmocka_unit_test(test_with_dane_ta_dates_count),
		cmocka_unit_test(test_a_certificate_that_no_record_describes_is_refused),
		cmocka_unit_test(test_one_record_of_several_is_enough),
		cmocka_unit_test(test_records_that_can_not_be_used_ask_for_encryption_alone),
	};

	return cmocka_run_group_tests(tests, make_all, remove_all);
}
