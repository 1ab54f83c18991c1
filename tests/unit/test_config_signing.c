/* `identity.sign` and `identity.seal`: what is read of them, and what is said of keys that can't sign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "identity/own_key.h"
#include "main/config.h"
#include "world/linux.h"

static struct {
	struct world *world;
	struct config_errors errors;
	struct config *config;
	char directory[64];
} it;

static void put(const char *name, const char *text, unsigned mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", it.directory, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static void put_key(const char *name, bool ed25519, unsigned bits, unsigned mode)
{
	EVP_PKEY *key;
	char *pem;

	if (ed25519 || bits >= 1024)
		assert_int_equal(crypto_generate(ed25519, bits, &key), 0);
	else
		assert_non_null(key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) bits));
	assert_int_equal(crypto_private_pem(key, &pem), 0);
	put(name, pem, mode);
	free(pem);
	EVP_PKEY_free(key);
}

static int set_up(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	char *pem;

	assert_int_equal(world_linux_new(NULL, &it.world), 0);
	strcpy(it.directory, "/tmp/test-signing-XXXXXX");
	assert_non_null(mkdtemp(it.directory));
	put_key("rsa", false, 2048, 0600);
	put_key("ed", true, 0, 0600);
	put_key("weak", false, 1024, 0600);
	put_key("tiny", false, 512, 0600);
	put_key("open", true, 0, 0644);
	put("none", "hello\n", 0600);
	assert_int_equal(crypto_private_pem(key, &pem), 0);
	put("ec", pem, 0600);
	free(pem);
	EVP_PKEY_free(key);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	config_free(it.config);
	config_errors_done(&it.errors);
	world_free(it.world);
	snprintf(command, sizeof(command), "rm -rf %s", it.directory);
	return system(command);
}

/* D in the text is the directory. */
static int parse(const char *text)
{
	char file[128];

	config_free(TAKE_PTR(it.config));
	config_errors_done(&it.errors);
	snprintf(file, sizeof(file), "%s/y", it.directory);
	return config_parse(it.world, slice_from(text), file, &it.errors, &it.config);
}

/* The line of this text says that; a message never has anything of a key. */
static void says(const struct buffer *messages, const char *place, const char *what)
{
	char line[256];

	snprintf(line, sizeof(line), "%s/y:%s: %s", it.directory, place, what);
	if (!messages->data || !strstr(messages->data, line))
		fail_msg("not \"%s\" but\n%s", line, messages->data ? messages->data : "nothing");
	assert_null(strstr(messages->data, "PRIVATE"));
}

static void test_what_is_read(void **state)
{
	const struct signing_domain *d;

	assert_int_equal(parse("hostname: mx.example.org\nidentity:\n  sign:\n    - domain: Example.ORG\n      from: [\"*@example.com\", b.example]\n"
			       "      keys: [{selector: a, file: rsa, end: 2026-12-01}, {selector: b, file: ed, begin: \"2026-11-30T22:00:00Z\"}]\n"
			       "      canonicalization: relaxed/simple\n      expire: 7d\n      oversign: [Subject]\n      headers: []\n"
			       "  seal: {domain: example.org, selector: b, file: ed}\n"), 0);
	assert_int_equal(it.config->signing.n_domains, 1);
	d = &it.config->signing.domains[0];
	assert_string_equal(d->domain, "example.org");
	assert_int_equal(d->n_from, 2);
	assert_int_equal(d->n_keys, 2);
	assert_int_equal(d->keys[0].begin, 0);
	assert_int_equal(d->keys[0].end, 1796083200 * (wall_t) USEC_SEC);
	assert_int_equal(d->keys[1].begin, (1796083200 - 7200) * (wall_t) USEC_SEC);
	assert_false(crypto_is_ed25519(d->keys[0].key));
	assert_true(crypto_is_ed25519(d->keys[1].key));
	assert_int_equal(d->header, CANON_RELAXED);
	assert_int_equal(d->body, CANON_SIMPLE);
	assert_int_equal(d->expire, 7 * USEC_DAY);
	assert_int_equal(d->fields.n_oversigned, 1);
	assert_non_null(d->fields.once);
	assert_int_equal(d->fields.n_once, 0);
	assert_string_equal(it.config->signing.seal->domain, "example.org");
	assert_true(crypto_is_ed25519(it.config->signing.seal->key.key));
	assert_int_equal(it.errors.warnings.len, 0);

	assert_int_equal(parse("hostname: mx.example.org\nidentity: {sign: [{domain: a.example, keys: [{selector: a, file: rsa}]}]}\n"), 0);
	d = &it.config->signing.domains[0];
	assert_true(d->header == CANON_RELAXED && d->body == CANON_RELAXED && !d->expire && !d->fields.once && !d->fields.oversigned);
	assert_null(it.config->signing.seal);
}

static void test_keys_that_cannot_sign_are_errors_where_they_are_named(void **state)
{
	assert_int_equal(parse("hostname: mx.example.org\nidentity:\n  sign:\n    - domain: a.example\n      keys:\n"
			       "        - {selector: a, file: tiny}\n"
			       "        - {selector: a, file: ec}\n"
			       "        - {selector: c_d, file: none}\n"
			       "        - {selector: e, file: missing, begin: 2026-11-01, end: 2026-11-01}\n"
			       "        - {selector: f}\n"
			       "        - {selector: g, file: rsa, begin: tomorrow}\n"
			       "    - {domain: b.example, keys: []}\n"
			       "  seal: {domain: example.org, file: missing}\n"), -EBADMSG);
	says(&it.errors.text, "6:31", "file: the RSA key in ");
	says(&it.errors.text, "7:22", "selector: \"a\" is there already");
	says(&it.errors.text, "7:31", "file: the key in ");
	says(&it.errors.text, "8:22", "selector: expected letters");
	says(&it.errors.text, "8:33", "file: there is no private key in ");
	says(&it.errors.text, "9:31", "file: cannot read ");
	says(&it.errors.text, "9:64", "end: this key would never sign");
	says(&it.errors.text, "10:11", "\"file\" is missing");
	says(&it.errors.text, "11:43", "begin: expected a day");
	says(&it.errors.text, "12:33", "keys: the list is empty");
	says(&it.errors.text, "13:9", "\"selector\" is missing");
}

static void test_what_is_doubtful_is_a_warning(void **state)
{
	assert_int_equal(parse("hostname: mx.example.org\nidentity:\n  sign:\n    - domain: a.example\n      keys:\n"
			       "        - {selector: a, file: weak}\n"
			       "        - {selector: b, file: open}\n"
			       "    - domain: b.example\n      keys: [{selector: a, file: ed, end: 2020-01-01}]\n"), 0);
	says(&it.errors.warnings, "6:31", "file: the RSA key in ");
	says(&it.errors.warnings, "7:31", "file: everybody on this machine may read ");
	says(&it.errors.warnings, "9:13", "keys: none of them signs today");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_read),
		cmocka_unit_test(test_keys_that_cannot_sign_are_errors_where_they_are_named),
		cmocka_unit_test(test_what_is_doubtful_is_a_warning),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
