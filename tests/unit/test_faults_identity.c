/* Judging and signing a message, each of whose allocations fails once: what comes is the right verdict or -ENOMEM, never
 * another verdict, and nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/cache.h"
#include "dns/zone.h"
#include "faults/faults.h"
#include "identity/judge.h"
#include "mail/authres.h"
#include "world/linux.h"

#define NOW (1528640000 * (wall_t) USEC_SEC)

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
			  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
			  "-----END PRIVATE KEY-----\n";
static const char zone_text[] = "s._domainkey.one.example. TXT \"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"
				"one.example. TXT \"v=spf1 a mx ptr include:two.example exists:%{ir}.%{l}.x -all exp=why.%{d}\"\n"
				"two.example. TXT \"v=spf1 ip4:192.0.2.1 ?all\"\none.example. MX 10 m.one.example.\none.example. A 192.0.2.9\n"
				"why.one.example. TXT \"%{S} is not %{i}\"\n_dmarc.one.example. TXT \"v=DMARC1; p=reject; np=none\"\n"
				"; SERVFAIL 9.2.0.192.in-addr.arpa\n";
static const char letter[] = "From: Joe <joe@sub.one.example>, (c) \"x\" <a@one.example>\r\nTo: list@two.example\r\nSubject: hello\r\n"
			     "Authentication-Results: mx.one.example; spf=pass\r\n\r\nHello.\r\n";

static struct {
	struct world *world;
	struct resolver *resolver;
	EVP_PKEY *key;
	char *text; /* sealed and signed */
} it;

static int feed(struct content *m, struct slice text)
{
	int r = content_feed(m, text);

	return r < 0 ? r : content_end(m);
}

/* The message with one field more, or NULL when memory was out. */
static char *add(bool seal, const char *text)
{
	struct dkim_key key = { it.key, "one.example", "s" };
	struct dkim_signing how = { .header = CANON_RELAXED, .body = CANON_RELAXED, .time = NOW };
	struct arc_sealing sealing = { .results = "mx.one.example; spf=pass", .time = NOW };
	struct arc_result none = { .word = ARC_NONE };
	struct buffer out = { 0 };
	struct content *m = NULL;
	struct arena *a = NULL;
	int r = arena_new(0, &a);

	if (r >= 0)
		r = content_new(a, NULL, false, &m);
	if (r >= 0)
		r = dkim_sign_prepare(m, &how);
	if (r >= 0)
		r = feed(m, slice_from(text));
	if (r >= 0)
		r = seal ? arc_seal(m, &none, &key, &sealing, a, &out) : dkim_sign(m, &key, &how, a, &out);
	buffer_append_str(&out, text);
	if (r >= 0)
		r = buffer_error(&out);
	content_free(m);
	arena_free(a);
	if (r < 0) {
		faults_check(r == -ENOMEM && faults_fired());
		buffer_done(&out);
		return NULL;
	}
	return buffer_take(&out);
}

static void signing(void *context)
{
	char *text;

	faults_begin(NULL, NULL);
	text = add(*(bool *) context, letter);
	faults_end();
	free(text);
}

static int judge(struct arena *a, struct content *m, const char *client, struct judge_result *ret)
{
	struct ip ip;
	struct spf_input in = { .client = &ip, .helo = "x.example", .mail_from = "joe@one.example", .time = NOW };
	struct dmarc_input dmarc = { .spf = &ret->spf, .n_dkim = 1 };
	int r = feed(m, slice_from(it.text));

	assert_int_equal(ip_parse(slice_from(client), &ip), 0);
	ret->dkim = arena_new_type(a, struct dkim_result);
	if (!ret->dkim)
		return -ENOMEM;
	if (r >= 0)
		r = spf_check(it.resolver, &in, NULL, DEADLINE_NEVER, a, &ret->spf);
	if (r >= 0)
		r = dkim_verify(it.resolver, m, 0, NULL, NOW, DEADLINE_NEVER, a, &ret->dkim[0]);
	if (r >= 0)
		r = arc_verify(it.resolver, m, NULL, 0, NOW, DEADLINE_NEVER, a, &ret->arc);
	if (r < 0)
		return r;
	dmarc.dkim = ret->dkim;
	dmarc.domains = (const char *const[]) { "sub.one.example" };
	dmarc.n_domains = 1;
	return dmarc_check(it.resolver, &dmarc, DEADLINE_NEVER, a, &ret->dmarc);
}

static void judging(void *context)
{
	const char *client = context;
	struct judge_result result = { .n_dkim = 1 };
	struct content *m = NULL;
	struct arena *a = NULL;
	int r;

	dns_cache_clear(it.resolver->cache); /* what was kept before would spare allocations */
	faults_begin(NULL, NULL);
	r = arena_new(0, &a);
	if (r >= 0)
		r = content_new(a, NULL, false, &m);
	if (r >= 0)
		r = judge(a, m, client, &result);
	faults_end();
	faults_check(r == 0 || (r == -ENOMEM && faults_fired()));
	if (r == 0) {
		bool pass = strcmp(client, "192.0.2.1") == 0;

		faults_check(result.spf.word == (pass ? SPF_PASS : SPF_FAIL));
		faults_check(strcmp(result.spf.explanation, pass ? "" : "joe%40one.example is not 192.0.2.77") == 0);
		faults_check(result.dkim[0].word == DKIM_PASS && result.arc.word == ARC_PASS);
		faults_check(result.dmarc.word == DMARC_PASS && result.dmarc.policy == DMARC_POLICY_NONE);
	}
	dns_cache_clear(it.resolver->cache);
	content_free(m);
	arena_free(a);
}

static void results(void *context)
{
	struct buffer kept = { 0 };
	struct authres got;
	struct arena *a;
	int r;

	faults_begin(NULL, NULL);
	r = arena_new(0, &a);
	if (r >= 0) {
		r = authres_parse(a, SLICE(" mx.one.example; spf=pass reason=\"so\" smtp.mailfrom=\"a\"; dkim=none"), &got);
		faults_check(r == -ENOMEM || got.n_methods == 2);
		/* Without memory a field that may be forged goes. */
		faults_check(authres_remove_forged(SLICE(letter), "mx.one.example", false, &kept) == 1);
		arena_free(a);
	}
	faults_end();
	faults_check(r == 0 || (r == -ENOMEM && faults_fired()));
	faults_check(kept.failed || kept.len == 0 || !strstr(kept.data, "Authentication"));
	buffer_done(&kept);
}

static void test_signing(void **state)
{
	bool dkim = false, arc = true;

	assert_true(faults_enough(faults_walk_both("a signature", signing, &dkim, 0), 10));
	assert_true(faults_enough(faults_walk_both("a seal", signing, &arc, 0), 10));
}

static void test_judging(void **state)
{
	char pass[] = "192.0.2.1", fail[] = "192.0.2.77";

	assert_true(faults_enough(faults_walk_both("a message from the right place", judging, pass, 0), 30));
	assert_true(faults_enough(faults_walk_both("a message from elsewhere", judging, fail, 0), 30));
}

static void test_results(void **state)
{
	assert_true(faults_enough(faults_walk_both("Authentication-Results", results, NULL, 0), 5));
}

static int set_up(void **state)
{
	struct zone *zone;
	char *why, *sealed;

	assert_int_equal(world_linux_new(NULL, &it.world), 0);
	if (zone_parse(slice_from(zone_text), "test.zone", &zone, &why) < 0)
		fail_msg("%s", why);
	assert_int_equal(zone_resolver_new(it.world, zone, 0, &it.resolver), 0);
	assert_int_equal(crypto_private_key(slice_from(pem), &it.key), 0);
	sealed = add(true, letter);
	it.text = add(false, sealed);
	free(sealed);
	judging((char[]) { "192.0.2.77" }); /* the cache keeps its table */
	return 0;
}

static int tear_down(void **state)
{
	free(it.text);
	EVP_PKEY_free(it.key);
	resolver_free(it.resolver);
	world_free(it.world);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_signing, faults_teardown),
		cmocka_unit_test_teardown(test_judging, faults_teardown),
		cmocka_unit_test_teardown(test_results, faults_teardown),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
