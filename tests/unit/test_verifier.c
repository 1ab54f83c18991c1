/* What is kept of passwords: the forms, the RFCs' examples, and whether a password fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "users/verifier.h"

static struct verifiers parsed(const char *text)
{
	struct verifiers v;
	struct slice rest;

	assert_int_equal(verifiers_parse(slice_from(text), &rest, &v), 0);
	assert_int_equal(rest.len, 0);
	return v;
}

/* --- the examples of RFC 5802 section 5 and RFC 7677 section 3: user "user", password "pencil" ------------------ */

static void check_example(enum scram_hash h, const char *salt, const char *message, const char *proof, const char *signature)
{
	const EVP_MD *md = h == SCRAM_SHA_1 ? EVP_sha1() : EVP_sha256();
	unsigned char key[EVP_MAX_MD_SIZE], want[EVP_MAX_MD_SIZE], given[EVP_MAX_MD_SIZE];
	_cleanup_buffer_ struct buffer text = { 0 };
	struct scram_verifier v;
	unsigned len;
	ssize_t n;

	n = base64_decode(slice_from(salt), given, sizeof(given));
	assert_true(n > 0);
	assert_int_equal(scram_derive("pencil", h, slice_new((char *) given, (size_t) n), 4096, &v), 0);
	/* The server's signature is made with the server key. */
	HMAC(md, v.server_key, (int) scram_key_len(h), (const unsigned char *) message, strlen(message), key, &len);
	base64_encode(slice_new((char *) key, len), &text);
	assert_string_equal(text.data, signature);
	/* The client's proof is its key, hidden by its signature; the stored key is the digest of the key. */
	HMAC(md, v.stored_key, (int) scram_key_len(h), (const unsigned char *) message, strlen(message), key, &len);
	assert_int_equal(base64_decode(slice_from(proof), given, sizeof(given)), len);
	for (unsigned i = 0; i < len; i++)
		key[i] ^= given[i];
	assert_int_equal(EVP_Digest(key, len, want, &len, md, NULL), 1);
	assert_memory_equal(want, v.stored_key, len);
}

static void test_example_of_rfc_5802(void **state)
{
	check_example(SCRAM_SHA_1, "QSXCR+Q6sek8bf92",
		      "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,"
		      "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
		      "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=");
}

static void test_example_of_rfc_7677(void **state)
{
	check_example(SCRAM_SHA_256, "W22ZaJ0SNY7soEsUEjb6gQ==",
		      "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
		      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		      "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void test_what_was_made_can_be_read(void **state)
{
	_cleanup_buffer_ struct buffer out = { 0 }, again = { 0 };
	struct verifiers v, back;

	assert_int_equal(verifiers_make("swordfish", 4096, &v), 0);
	verifiers_format(&v, &out);
	back = parsed(out.data);
	assert_string_equal(back.crypt, v.crypt);
	assert_memory_equal(back.scram, v.scram, sizeof(v.scram));
	verifiers_format(&back, &again);
	assert_string_equal(again.data, out.data);
	verifiers_done(&v);
	verifiers_done(&back);
}

static void test_forms(void **state)
{
	struct verifiers v = parsed("$6$salt$hash");

	assert_string_equal(v.crypt, "$6$salt$hash");
	verifiers_done(&v);
	v = parsed("{SHA512-CRYPT}$6$salt$hash");
	assert_string_equal(v.crypt, "$6$salt$hash");
	verifiers_done(&v);
	v = parsed("!$6$salt$hash");
	assert_null(v.crypt);
	v = parsed("*");
	assert_null(v.crypt);
	v = parsed("");
	assert_null(v.crypt);
	v = parsed("SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=");
	assert_int_equal(v.scram[SCRAM_SHA_1].iterations, 4096);
	assert_int_equal(v.scram[SCRAM_SHA_1].salt_len, 12);
	assert_int_equal(v.scram[SCRAM_SHA_256].iterations, 0);
}

static void test_what_stands_behind_is_left(void **state)
{
	struct verifiers v;
	struct slice rest;

	assert_int_equal(verifiers_parse(SLICE("$6$s$h SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
					       ":rmF9pqV8S7suAoZWja4dJRkFsKQ=:addresses=x"), &rest, &v), 0);
	assert_true(slice_eq_str(rest, ":addresses=x"));
	assert_int_equal(v.scram[SCRAM_SHA_1].iterations, 4096);
	verifiers_done(&v);
	assert_int_equal(verifiers_parse(SLICE("!:x"), &rest, &v), 0);
	assert_true(slice_eq_str(rest, ":x"));
}

static void test_what_is_none(void **state)
{
	static const char *const bad[] = {
		"plaintext", "abJnggxhB/yWI", "$", "$6$a$b $6$c$d", "{CRYPT", "{PLAIN}secret", "$6$\x01x", "\x80",
		"SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "SCRAM-SHA-1$x", "SCRAM-SHA-1$",
		"SCRAM-SHA-1$1:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		"SCRAM-SHA-1$99999999999:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		"SCRAM-SHA-1$4096:$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		"SCRAM-SHA-256$4096:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		"SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=:rmF9pqV8S7suAoZWja4dJRkFsKQ=x",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct verifiers v;
		struct slice rest;

		if (verifiers_parse(slice_from(bad[i]), &rest, &v) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
	}
}

/* --- passwords ---------------------------------------------------------------------------------------------------- */

static void test_passwords_fit_or_not(void **state)
{
	struct verifiers v;

	assert_int_equal(verifiers_make("sw\xc3\xb6rd \xc2\xbd", 4096, &v), 0);
	assert_true(crypt_matches(v.crypt, "sw\xc3\xb6rd 1\xe2\x81\x84" "2")); /* as RFC 4013 prepares it */
	assert_false(crypt_matches(v.crypt, "sword"));
	assert_false(crypt_matches(v.crypt, ""));
	assert_false(crypt_matches("$9$unknown$x", "x"));
	assert_false(crypt_matches("", ""));
	assert_false(crypt_matches("*0", "x"));
	verifiers_done(&v);
}

static void test_hashes_of_known_passwords(void **state)
{
	/* SHA-512: the first test vector of its specification (U. Drepper); bcrypt: one of OpenBSD's. */
	assert_true(crypt_matches("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
				  "Hello world!"));
	assert_true(crypt_matches("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"));
	assert_false(crypt_matches("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*V"));
}

static void test_what_can_not_be_a_password(void **state)
{
	char long_one[PASSWORD_MAX + 2];
	struct verifiers v;

	memset(long_one, 'x', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	assert_int_equal(verifiers_make("", 4096, &v), -EINVAL);
	assert_int_equal(verifiers_make("a\x07", 4096, &v), -EINVAL);
	assert_int_equal(verifiers_make("\xff\xfe", 4096, &v), -EINVAL);
	assert_int_equal(verifiers_make(long_one, 4096, &v), -EINVAL);
	long_one[PASSWORD_MAX] = '\0';
	assert_int_equal(verifiers_make(long_one, 4096, &v), 0);
	assert_true(crypt_matches(v.crypt, long_one));
	verifiers_done(&v);
}

static void test_a_dummy_has_the_form_of_what_it_is_like(void **state)
{
	_cleanup_(freep) char *like = crypt_dummy("$6$saltstring$svn8"), *other = crypt_dummy(NULL);

	assert_non_null(like);
	assert_memory_equal(like, "$6$saltstring$", 14);
	assert_non_null(other);
	assert_memory_equal(other, "$y$", 3);
	assert_false(crypt_matches(like, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example_of_rfc_5802),
		cmocka_unit_test(test_example_of_rfc_7677),
		cmocka_unit_test(test_what_was_made_can_be_read),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_what_stands_behind_is_left),
		cmocka_unit_test(test_what_is_none),
		cmocka_unit_test(test_passwords_fit_or_not),
		cmocka_unit_test(test_hashes_of_known_passwords),
		cmocka_unit_test(test_what_can_not_be_a_password),
		cmocka_unit_test(test_a_dummy_has_the_form_of_what_it_is_like),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
