/* Keys of RSA as records hold them, and the memory of those that were read. */
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "identity/key_cache.h"
#include "unit/identity_fixture.h"

struct pair {
	EVP_PKEY *key;
	unsigned char *spki, *bare; /* SubjectPublicKeyInfo and RSAPublicKey */
	int spki_len, bare_len;
};

static struct pair new_pair(unsigned bits)
{
	struct pair p = { .key = EVP_RSA_gen(bits) };

	assert_non_null(p.key);
	p.spki_len = i2d_PUBKEY(p.key, &p.spki);
	p.bare_len = i2d_PublicKey(p.key, &p.bare);
	assert_true(p.spki_len > 0 && p.bare_len > 0);
	return p;
}

static void free_pair(struct pair *p)
{
	EVP_PKEY_free(p->key);
	OPENSSL_free(p->spki);
	OPENSSL_free(p->bare);
}

static struct slice bytes(const unsigned char *data, int len)
{
	return slice_new((const char *) data, (size_t) len);
}

static void test_both_forms_of_an_rsa_key_are_read_for_what_they_are(void **state)
{
	static const unsigned sizes[] = { 512, 1000, 1024, 1031, 2048, 4096 };

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct pair p = new_pair(sizes[i]);
		EVP_PKEY *a, *b;

		assert_int_equal(crypto_public_key(false, bytes(p.spki, p.spki_len), &a), 0);
		assert_int_equal(crypto_public_key(false, bytes(p.bare, p.bare_len), &b), 0);
		assert_int_equal(EVP_PKEY_eq(a, p.key), 1);
		assert_int_equal(EVP_PKEY_eq(b, p.key), 1);
		assert_int_equal(EVP_PKEY_get_bits(a), sizes[i]);
		EVP_PKEY_free(a);
		EVP_PKEY_free(b);
		free_pair(&p);
	}
}

/* Whatever octet is wrong: the key that we read is the one that OpenSSL's decoder reads, or neither reads any. */
static void test_no_damaged_encoding_is_read_as_another_key_than_the_decoder_reads(void **state)
{
	struct pair p = new_pair(1024);
	unsigned read = 0;

	for (int i = 0; i < p.spki_len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			const unsigned char *at = p.spki;
			EVP_PKEY *ours = NULL, *theirs;

			p.spki[i] ^= (unsigned char) (1u << bit);
			theirs = d2i_PUBKEY(NULL, &at, p.spki_len);
			if (crypto_public_key(false, bytes(p.spki, p.spki_len), &ours) == 0 && theirs)
				assert_int_equal(EVP_PKEY_eq(ours, theirs), 1);
			if (theirs && EVP_PKEY_get_base_id(theirs) == EVP_PKEY_RSA)
				assert_non_null(ours);
			read += ours != NULL;
			EVP_PKEY_free(ours);
			EVP_PKEY_free(theirs);
			p.spki[i] ^= (unsigned char) (1u << bit);
		}
	assert_in_range(read, 1, 8 * (unsigned) p.spki_len);
	for (int len = 0; len < p.spki_len; len++) {
		EVP_PKEY *none;

		assert_int_equal(crypto_public_key(false, bytes(p.spki, len), &none), -EINVAL);
	}
	free_pair(&p);
}

static void test_a_key_is_read_once_and_remembered_by_every_octet(void **state)
{
	struct fixture f = open_zone("$ORIGIN example.\na A 192.0.2.1\n");
	_cleanup_(key_cache_freep) struct key_cache *c = NULL;
	struct pair p = new_pair(1024), q = new_pair(1024);
	EVP_PKEY *first, *again, *other, *uncached;

	assert_int_equal(key_cache_new(f.world, &c), 0);
	assert_int_equal(key_cache_public_key(c, false, bytes(p.spki, p.spki_len), &first), 0);
	assert_int_equal(key_cache_public_key(c, false, bytes(p.spki, p.spki_len), &again), 0);
	assert_int_equal(key_cache_public_key(c, false, bytes(q.spki, q.spki_len), &other), 0);
	assert_int_equal(key_cache_public_key(NULL, false, bytes(p.spki, p.spki_len), &uncached), 0);
	assert_ptr_equal(first, again);
	assert_ptr_not_equal(first, uncached);
	assert_int_equal(EVP_PKEY_eq(other, q.key), 1);
	assert_int_equal(key_cache_public_key(c, true, bytes(p.spki, p.spki_len), &uncached), -EINVAL); /* of another kind */
	assert_int_equal(key_cache_public_key(c, false, SLICE("no key"), &uncached), -EINVAL);
	EVP_PKEY_free(first);
	EVP_PKEY_free(again);
	EVP_PKEY_free(other);
	EVP_PKEY_free(uncached);
	free_pair(&p);
	free_pair(&q);
	close_zone(&f);
}

static void test_more_keys_than_places_push_each_other_out(void **state)
{
	struct fixture f = open_zone("$ORIGIN example.\na A 192.0.2.1\n");
	_cleanup_(key_cache_freep) struct key_cache *c = NULL;

	assert_int_equal(key_cache_new(f.world, &c), 0);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 2000; i++) {
			unsigned char raw[32] = { (unsigned char) i, (unsigned char) (i >> 8) }, got[32];
			size_t len = sizeof(got);
			EVP_PKEY *key;

			assert_int_equal(key_cache_public_key(c, true, bytes(raw, sizeof(raw)), &key), 0);
			assert_int_equal(EVP_PKEY_get_raw_public_key(key, got, &len), 1);
			assert_memory_equal(got, raw, sizeof(raw));
			EVP_PKEY_free(key);
		}
	close_zone(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_forms_of_an_rsa_key_are_read_for_what_they_are),
		cmocka_unit_test(test_no_damaged_encoding_is_read_as_another_key_than_the_decoder_reads),
		cmocka_unit_test(test_a_key_is_read_once_and_remembered_by_every_octet),
		cmocka_unit_test(test_more_keys_than_places_push_each_other_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
