/* ARC: chains that we seal ourselves, and what breaks them. */
#include "identity/arc.h"

#include "unit/identity_fixture.h"

#define NOW (1528640000 * (wall_t) USEC_SEC)
static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
			  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
			  "-----END PRIVATE KEY-----\n";
static const char zone[] = "s._domainkey.one.example. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
			   "s._domainkey.two.example. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
			   "; TIMEOUT s._domainkey.slow.example\n";
static const char letter[] = "From: Joe <joe@one.example>\r\nTo: list@two.example\r\nSubject: hello\r\n\r\nHello.\r\n";

static struct content *feed(struct fixture *f, const char *text)
{
	struct content *m;

	assert_int_equal(content_new(f->arena, NULL, false, &m), 0);
	assert_int_equal(arc_seal_prepare(m), 0);
	assert_int_equal(content_feed(m, slice_from(text)), 0);
	assert_int_equal(content_end(m), 0);
	return m;
}

static struct arc_result verify(struct fixture *f, const char *text)
{
	struct content *m = feed(f, text);
	struct arc_result result;

	assert_int_equal(arc_verify(f->resolver, m, NULL, 0, NOW, DEADLINE_NEVER, f->arena, &result), 0);
	assert_true(*result.reason);
	content_free(m);
	return result;
}

static void expect(struct fixture *f, const char *text, enum arc_word word, const char *reason)
{
	struct arc_result result = verify(f, text);

	if (result.word != word || !strstr(result.reason, reason))
		fail_msg("%s (%s), not %s (%s)", arc_word_text(result.word), result.reason, arc_word_text(word), reason);
}

/* The message with one set more; NULL when there is nothing to add. */
static char *seal(struct fixture *f, const char *text, const char *domain)
{
	struct arc_result verdict = verify(f, text);
	struct content *m = feed(f, text);
	struct arc_sealing how = { .results = "mx.example; spf=pass smtp.mailfrom=one.example", .time = NOW };
	struct dkim_key key = { .domain = domain, .selector = "s" };
	struct buffer out = { 0 };
	char *result = NULL;
	EVP_PKEY *pkey;
	int r;

	assert_int_equal(crypto_private_key(slice_from(pem), &pkey), 0);
	key.key = pkey;
	r = arc_seal(m, &verdict, &key, &how, f->arena, &out);
	if (r == 0) {
		buffer_append_str(&out, text);
		result = arena_strdup(f->arena, out.data);
	} else {
		assert_int_equal(r, -EALREADY);
	}
	buffer_done(&out);
	EVP_PKEY_free(pkey);
	content_free(m);
	return result;
}

static char *replace(struct fixture *f, const char *text, const char *what, const char *with)
{
	const char *at = strstr(text, what);

	assert_non_null(at);
	return arena_printf(f->arena, "%.*s%s%s", (int) (at - text), text, with, at + strlen(what));
}

static void test_no_chain(void **state)
{
	struct fixture f = open_zone(zone);

	expect(&f, letter, ARC_NONE, "no ARC chain");
	close_zone(&f);
}

static void test_chains_that_hold(void **state)
{
	struct fixture f = open_zone(zone);
	const char *text = letter;

	for (unsigned n = 1; n <= 50; n++) {
		struct arc_result result;

		text = seal(&f, text, n % 2 ? "one.example" : "two.example");
		result = verify(&f, text);
		assert_int_equal(result.word, ARC_PASS);
		assert_int_equal(result.sets, n);
		assert_string_equal(result.domain, n % 2 ? "one.example" : "two.example");
		if (n == 2) { /* a list changes the subject, then seals */
			text = replace(&f, text, "Subject: hello", "Subject: [list] hello");
			expect(&f, text, ARC_FAIL, "message signature of set 2");
			text = replace(&f, text, "Subject: [list] hello", "Subject: hello");
		}
	}
	assert_null(seal(&f, text, "one.example")); /* RFC 8617 section 5.2: 50 are the most */
	close_zone(&f);
}

static void test_chains_that_are_broken(void **state)
{
	static const struct {
		const char *what, *with, *reason;
	} cases[] = {
		{ "Hello.", "Hallo.", "body" },
		{ "Subject: hello", "Subject: x", "message signature of set 2" },
		{ "ARC-Authentication-Results: i=1; mx.example; spf=pass", "ARC-Authentication-Results: i=1; mx.example; spf=fail", "the seal of set 2" },
		{ "ARC-Authentication-Results: i=1;", "X: i=1;", "not complete" },
		{ "ARC-Authentication-Results: i=1;", "ARC-Authentication-Results: j=1;", "no instance" },
		{ "ARC-Authentication-Results: i=1;", "ARC-Authentication-Results: i=2;", "twice" },
		{ "ARC-Seal: i=2;", "ARC-Seal: i=51;", "1 to 50" },
		{ "ARC-Seal: i=2;", "ARC-Seal: i=2; h=from;", "must not have the tag h=" },
		{ "cv=pass", "cv=none", "another cv=" },
		{ "cv=pass", "cv=fail", "says that the chain is broken" },
		{ "cv=none", "cv=pass", "another cv=" },
		{ "s=s; t=", "s=other; t=", "no key" },
		{ "\th=From:From", "\th=ARC-Seal:From:From", "must not sign ARC-Seal" },
		{ "Subject: hello", "no field\r\nSubject: hello", "not a header field" },
	};
	struct fixture f = open_zone(zone);
	char *text = seal(&f, seal(&f, letter, "one.example"), "two.example");

	expect(&f, text, ARC_PASS, "hold");
	expect(&f, arena_printf(f.arena, "Received: later\r\n%s", text), ARC_PASS, "hold");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		expect(&f, replace(&f, text, cases[i].what, cases[i].with), ARC_FAIL, cases[i].reason);
	/* RFC 8617 section 5.2.1: also trouble with the DNS. */
	expect(&f, seal(&f, letter, "slow.example"), ARC_FAIL, "can't be had now");
	close_zone(&f);
}

static void test_a_broken_chain_is_sealed_once_as_broken(void **state)
{
	struct fixture f = open_zone(zone);
	char *text = replace(&f, seal(&f, letter, "one.example"), "Hello.", "Hallo.");

	text = seal(&f, text, "two.example");
	assert_non_null(strstr(text, "cv=fail"));
	expect(&f, text, ARC_FAIL, "says that the chain is broken");
	assert_null(seal(&f, text, "one.example"));
	close_zone(&f);
}

static void test_long_chains_may_be_refused_unseen(void **state)
{
	struct fixture f = open_zone(zone);
	struct content *m = feed(&f, seal(&f, seal(&f, letter, "one.example"), "two.example"));
	struct arc_result result;

	assert_int_equal(arc_verify(f.resolver, m, NULL, 1, NOW, DEADLINE_NEVER, f.arena, &result), 0);
	assert_int_equal(result.word, ARC_FAIL);
	assert_string_equal(result.reason, "the chain is too long");
	content_free(m);
	close_zone(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_chain),
		cmocka_unit_test(test_chains_that_hold),
		cmocka_unit_test(test_chains_that_are_broken),
		cmocka_unit_test(test_a_broken_chain_is_sealed_once_as_broken),
		cmocka_unit_test(test_long_chains_may_be_refused_unseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
