/* Which certificate is shown for which name. */
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tls/identity.h"
#include "unit/certificate.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct tls_keyring *keyring;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25", &f->host, &f->world), 0);
	certificate_write_kind(f->world, "EC", "DNS:mx.example.org,DNS:www.example.org", "/ec.pem", "/ec.key");
	certificate_write_kind(f->world, "RSA", "DNS:mx.example.org", "/rsa.pem", "/rsa.key");
	certificate_write_kind(f->world, "EC", "DNS:*.example.net,email:who@example.net", "/wild.pem", "/wild.key");
	certificate_write_kind(f->world, "EC", "DNS:one.example.net", "/one.pem", "/one.key");
	certificate_write_kind(f->world, "EC", "DNS:else.example", "/named.pem", "/named.key");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	tls_keyring_unref(f->keyring);
	world_free(f->world);
	sim_free(f->sim);
	free(f);
	return 0;
}

static void load(struct fixture *f)
{
	static const char *const names[] = { "Chosen.Example", "*.chosen.example" };
	static const struct tls_certificate list[] = {
		{ .certificate = "/rsa.pem", .key = "/rsa.key" },
		{ .certificate = "/wild.pem", .key = "/wild.key" },
		{ .certificate = "/one.pem", .key = "/one.key" },
		{ .certificate = "/named.pem", .key = "/named.key", .names = names, .n_names = ARRAY_LEN(names) },
	};
	const struct tls_server_config config = {
		.certificate = "/ec.pem", .key = "/ec.key", .certificates = list, .n_certificates = ARRAY_LEN(list),
	};
	char *why = NULL;

	if (tls_keyring_load(f->world, &config, &f->keyring, &why) < 0)
		fail_msg("%s", why);
}

/* The files of those found, separated by spaces. */
static const char *found(const struct fixture *f, const char *name)
{
	static char text[256];
	const struct tls_identity *chosen[IDENTITY_KINDS];
	unsigned n = name ? tls_keyring_find(f->keyring, slice_from(name), chosen) : tls_keyring_default(f->keyring, chosen);

	text[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			strcat(text, " ");
		strcat(text, chosen[i]->path);
	}
	return text;
}

static void test_the_first_is_the_default_with_the_other_kind_of_key_beside_it(void **state)
{
	struct fixture *f = *state;

	load(f);
	assert_string_equal(found(f, NULL), "/ec.pem /rsa.pem");
	assert_string_equal(found(f, "nobody.example"), "");
}

static void test_a_name_finds_every_kind_of_key_that_has_it(void **state)
{
	struct fixture *f = *state;

	load(f);
	assert_string_equal(found(f, "mx.example.org"), "/ec.pem /rsa.pem");
	assert_string_equal(found(f, "MX.Example.ORG"), "/ec.pem /rsa.pem");
	assert_string_equal(found(f, "mx.example.org."), "/ec.pem /rsa.pem");
	assert_string_equal(found(f, "www.example.org"), "/ec.pem");
}

static void test_a_pattern_stands_for_one_label_and_comes_behind_an_exact_name(void **state)
{
	struct fixture *f = *state;

	load(f);
	assert_string_equal(found(f, "a.example.net"), "/wild.pem");
	assert_string_equal(found(f, "one.example.net"), "/one.pem");
	assert_string_equal(found(f, "a.b.example.net"), "");
	assert_string_equal(found(f, "example.net"), "");
	assert_string_equal(found(f, ""), "");
	assert_string_equal(found(f, "."), "");
}

static void test_names_of_the_configuration_replace_those_of_the_certificate(void **state)
{
	struct fixture *f = *state;

	load(f);
	assert_string_equal(found(f, "chosen.example"), "/named.pem");
	assert_string_equal(found(f, "a.chosen.example"), "/named.pem");
	assert_string_equal(found(f, "else.example"), "");
}

static void test_one_bad_pair_refuses_the_ring(void **state)
{
	struct fixture *f = *state;
	const struct tls_certificate list[] = {
		{ .certificate = "/wild.pem", .key = "/wild.key" },
		{ .certificate = "/one.pem", .key = "/wild.key" },
	};
	struct tls_server_config config = { .certificates = list, .n_certificates = ARRAY_LEN(list) };
	char *why = NULL;

	assert_int_equal(tls_keyring_load(f->world, &config, &f->keyring, &why), -EINVAL);
	assert_string_equal(why, "/wild.key: the key does not belong to the certificate in /one.pem");
	free(why);
	config.n_certificates = 0;
	assert_int_equal(tls_keyring_load(f->world, &config, &f->keyring, &why), -EINVAL);
	assert_string_equal(why, "TLS needs both a certificate and its key");
	free(why);
	assert_null(f->keyring);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_the_first_is_the_default_with_the_other_kind_of_key_beside_it),
		T(test_a_name_finds_every_kind_of_key_that_has_it),
		T(test_a_pattern_stands_for_one_label_and_comes_behind_an_exact_name),
		T(test_names_of_the_configuration_replace_those_of_the_certificate),
		T(test_one_bad_pair_refuses_the_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
