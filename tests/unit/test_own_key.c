/* Our own keys: made, written as a record, and compared with what the DNS has. */
#include "identity/own_key.h"

#include "unit/identity_fixture.h"

static EVP_PKEY *new_key(bool ed25519)
{
	EVP_PKEY *key;

	assert_int_equal(crypto_generate(ed25519, 2048, &key), 0);
	return key;
}

static void test_a_key_survives_its_file(void **state)
{
	for (unsigned ed25519 = 0; ed25519 < 2; ed25519++) {
		EVP_PKEY *key = new_key(ed25519), *again;
		char *pem;

		assert_int_equal(crypto_private_pem(key, &pem), 0);
		assert_memory_equal(pem, "-----BEGIN PRIVATE KEY-----\n", 28);
		assert_int_equal(crypto_private_key(slice_from(pem), &again), 0);
		assert_int_equal(EVP_PKEY_eq(key, again), 1);
		assert_int_equal(crypto_is_ed25519(again), ed25519);
		assert_int_equal(EVP_PKEY_get_bits(key), ed25519 ? 256 : 2048);
		free(pem);
		EVP_PKEY_free(key);
		EVP_PKEY_free(again);
	}
}

static void test_sizes_that_nobody_accepts_are_not_made(void **state)
{
	EVP_PKEY *key = NULL;

	assert_int_equal(crypto_generate(false, 512, &key), -EINVAL);
	assert_int_equal(crypto_generate(false, 1023, &key), -EINVAL);
	assert_int_equal(crypto_generate(false, 16384, &key), -EINVAL);
	assert_null(key);
}

static void test_a_long_record_is_cut_into_strings(void **state)
{
	struct buffer out = { 0 };
	char record[600];

	memset(record, 'x', sizeof(record) - 1);
	record[599] = '\0';
	own_key_zone_line("s._domainkey.a.example", record, &out);
	for (const char *at = strchr(out.data, '"'); at; at = strchr(at + 1, '"')) {
		const char *end = strchr(at + 1, '"');

		assert_true(end - at - 1 <= 255 && end - at > 1);
		at = end;
	}
	buffer_done(&out);
	own_key_zone_line("s._domainkey.a.example", "v=DKIM1; p=", &out);
	assert_string_equal(out.data, "s._domainkey.a.example. IN TXT \"v=DKIM1; p=\"\n");
	buffer_done(&out);
}

/* Of 254, 255, 256 octets and so on: what the zone's reader finds is what was written. */
static void test_what_is_written_for_a_zone_is_read_from_it(void **state)
{
	for (size_t len = 1; len < 1030; len++) {
		struct buffer out = { 0 };
		struct dns_answer answer;
		char record[1100];
		struct fixture f;

		if (len > 5 && len % 255 > 2 && len % 255 < 253)
			continue;
		for (size_t i = 0; i < len; i++)
			record[i] = (char) ('a' + i % 26);
		record[len] = '\0';
		own_key_zone_line("s._domainkey.a.example", record, &out);
		f = open_zone(out.data);
		assert_int_equal(dns_query(f.resolver, "s._domainkey.a.example", DNS_TXT, DEADLINE_NEVER, f.arena, &answer), 0);
		assert_int_equal(answer.n_records, 1);
		assert_true(slice_eq_str(answer.records[0].data, record));
		buffer_done(&out);
		close_zone(&f);
	}
}

static void test_selectors(void **state)
{
	static const char *const good[] = { "s", "s1", "r202611", "2026-11", "a.b", "S1" };
	static const char *const bad[] = { "", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "ä", "a\n",
					   "0123456789012345678901234567890123456789012345678901234567890123" };

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(own_key_selector_is_valid(slice_from(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(own_key_selector_is_valid(slice_from(bad[i])));
}

/* --- compared with the DNS --------------------------------------------------------------------------------------- */

static void expect(struct fixture *f, const EVP_PKEY *key, const char *selector, enum key_finding finding, const char *reason)
{
	struct key_comparison c;

	assert_int_equal(own_key_compare(f->resolver, "a.example", selector, key, DEADLINE_NEVER, f->arena, &c), 0);
	if (c.finding != finding || !strstr(c.reason, reason))
		fail_msg("%s: %s (%s), not %s (%s)", selector, key_finding_text(c.finding), c.reason, key_finding_text(finding), reason);
}

static void test_the_key_is_compared_with_the_dns(void **state)
{
	struct arena *a;
	const char *mine[2], *others;
	char *zone;

	assert_int_equal(arena_new(0, &a), 0);
	for (unsigned ed25519 = 0; ed25519 < 2; ed25519++) {
		EVP_PKEY *key = new_key(ed25519), *other = new_key(ed25519), *crossed = new_key(!ed25519);
		const char *cross;
		struct fixture f;
		const char *p;

		assert_int_equal(own_key_record(key, a, &mine[ed25519]), 0);
		assert_int_equal(own_key_record(other, a, &others), 0);
		assert_int_equal(own_key_record(crossed, a, &cross), 0);
		p = strstr(mine[ed25519], "k=");
#define RECORD(name) name "._domainkey.a.example. TXT ( \"v=DKIM1; \" "
		zone = arena_printf(a, RECORD("same") "\"%.200s\" \"%s\" )\n" RECORD("other") "\"%.200s\" \"%s\" )\n"
				    RECORD("crossed") "\"%.200s\" \"%s\" )\n" RECORD("revoked") "\"p=\" )\n"
				    RECORD("test") "\"t=y; %.200s\" \"%s\" )\n" RECORD("hash") "\"h=sha1; %.200s\" \"%s\" )\n"
				    RECORD("tls") "\"s=tlsrpt; %.200s\" \"%s\" )\n" RECORD("junk") "\"p=AAAA\" )\n"
				    RECORD("kind") "\"k=dsa; p=AAAA\" )\n" RECORD("syntax") "\"p\" )\n"
				    RECORD("two") "\"%.200s\" \"%s\" )\n" RECORD("two") "\"p=\" )\n"
				    "; SERVFAIL slow._domainkey.a.example\n",
				    p, p + MIN(strlen(p), (size_t) 200), others + 9, others + MIN(strlen(others), (size_t) 209),
				    cross + 9, cross + MIN(strlen(cross), (size_t) 209), p, p + MIN(strlen(p), (size_t) 200), p,
				    p + MIN(strlen(p), (size_t) 200), p, p + MIN(strlen(p), (size_t) 200), p,
				    p + MIN(strlen(p), (size_t) 200));
		f = open_zone(zone);
		expect(&f, key, "same", KEY_SAME, "finds this key");
		expect(&f, key, "missing", KEY_MISSING, "no such record");
		expect(&f, key, "other", KEY_OTHER, "another key");
		expect(&f, key, "crossed", KEY_OTHER, ed25519 ? "for an RSA key" : "for an Ed25519 key");
		expect(&f, key, "revoked", KEY_REVOKED, "empty p=");
		expect(&f, key, "test", KEY_SAME, "testing");
		expect(&f, key, "hash", KEY_UNUSABLE, "sha256");
		expect(&f, key, "tls", KEY_UNUSABLE, "not for mail");
		expect(&f, key, "junk", ed25519 ? KEY_OTHER : KEY_UNUSABLE, ed25519 ? "for an RSA key" : "not a key");
		expect(&f, key, "kind", KEY_UNUSABLE, "k=");
		expect(&f, key, "syntax", KEY_UNUSABLE, "syntax");
		expect(&f, key, "two", KEY_SAME, "2 records");
		expect(&f, key, "slow", KEY_UNKNOWN, "can't say now");
		close_zone(&f);
		EVP_PKEY_free(key);
		EVP_PKEY_free(other);
		EVP_PKEY_free(crossed);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_survives_its_file),
		cmocka_unit_test(test_sizes_that_nobody_accepts_are_not_made),
		cmocka_unit_test(test_a_long_record_is_cut_into_strings),
		cmocka_unit_test(test_what_is_written_for_a_zone_is_read_from_it),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_the_key_is_compared_with_the_dns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
