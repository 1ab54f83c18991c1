/* What is said of a message that was judged, and what DMARC makes us do. */
#include "receive/verdicts.h"
#include "unit/identity_fixture.h"

static struct dkim_result signature(enum dkim_word word)
{
	return (struct dkim_result) { .word = word, .domain = "d.example", .selector = "s", .identity = "@d.example", .algorithm = "rsa-sha256",
				      .start = "AbCd+/12", .reason = "because" };
}

static struct judge_result result_of(enum dmarc_word word, enum dmarc_policy policy)
{
	return (struct judge_result) {
		.spf = { .word = SPF_PASS, .domain = "from.example", .explanation = "", .reason = "it matches" },
		.arc = { .domain = "", .reason = "" },
		.dmarc = { .word = word, .policy = policy, .domain = "from.example", .policy_domain = "from.example", .reason = "so" },
	};
}

/* --- what is done --------------------------------------------------------------------------------------------- */

static struct dmarc_decision decide(struct arena *a, const struct judge_result *r, const struct content *m, const struct identity_config *c, bool accepted)
{
	struct dmarc_decision d;

	verdicts_decide(r, m, c, accepted, a, &d);
	return d;
}

static void test_whose_address_is_doubtful(void **state)
{
	static const struct {
		enum spf_word spf;
		bool helo;
		enum dmarc_word dmarc;
		bool doubtful;
	} cases[] = {
		{ SPF_FAIL, false, DMARC_NONE, true },	 { SPF_FAIL, false, DMARC_FAIL, true },
		{ SPF_FAIL, false, DMARC_PASS, false },	 { SPF_FAIL, true, DMARC_NONE, false },
		{ SPF_NONE, false, DMARC_FAIL, true },	 { SPF_SOFTFAIL, false, DMARC_FAIL, true },
		{ SPF_PASS, false, DMARC_FAIL, false },	 { SPF_SOFTFAIL, false, DMARC_NONE, false },
		{ SPF_NONE, false, DMARC_NONE, false },	 { SPF_TEMPERROR, false, DMARC_TEMPERROR, false },
		{ SPF_PASS, false, DMARC_PASS, false },
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct judge_result r = result_of(cases[i].dmarc, DMARC_POLICY_REJECT);

		r.spf.word = cases[i].spf;
		r.spf.helo = cases[i].helo;
		if (verdicts_are_doubtful(&r) != cases[i].doubtful)
			fail_msg("case %u", i);
	}
}

static void test_what_comes_of_a_policy(void **state)
{
	static const struct {
		enum dmarc_word word;
		enum dmarc_policy policy;
		bool testing, accepted;
		int mode, quarantine;
		enum dmarc_action action;
		enum dmarc_disposition disposition;
		enum dmarc_override override;
	} cases[] = {
		{ DMARC_PASS, DMARC_POLICY_REJECT, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_PASS, DMARC_OVERRIDE_NONE },
		{ DMARC_NONE, DMARC_POLICY_NONE, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_NONE },
		{ DMARC_TEMPERROR, DMARC_POLICY_REJECT, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_NONE },
		{ DMARC_PERMERROR, DMARC_POLICY_REJECT, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_NONE, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_REJECT, false, false, DMARC_MODE_OBSERVE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_LOCAL_POLICY },
		{ DMARC_FAIL, DMARC_POLICY_REJECT, false, false, DMARC_MODE_AS_HEADER, 0, DMARC_ACTION_MARK, DMARC_DONE_QUARANTINE, DMARC_OVERRIDE_LOCAL_POLICY },
		{ DMARC_FAIL, DMARC_POLICY_QUARANTINE, false, false, DMARC_MODE_AS_HEADER, 1, DMARC_ACTION_MARK, DMARC_DONE_QUARANTINE, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_REJECT, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_REJECT, DMARC_DONE_REJECT, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_QUARANTINE, false, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_MARK, DMARC_DONE_QUARANTINE, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_QUARANTINE, false, false, DMARC_MODE_ENFORCE, 1, DMARC_ACTION_HOLD, DMARC_DONE_QUARANTINE, DMARC_OVERRIDE_NONE },
		{ DMARC_FAIL, DMARC_POLICY_REJECT, true, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_MARK, DMARC_DONE_QUARANTINE, DMARC_OVERRIDE_TEST_MODE },
		{ DMARC_FAIL, DMARC_POLICY_QUARANTINE, true, false, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_TEST_MODE },
		{ DMARC_FAIL, DMARC_POLICY_REJECT, false, true, DMARC_MODE_ENFORCE, 0, DMARC_ACTION_NONE, DMARC_DONE_NONE, DMARC_OVERRIDE_LOCAL_POLICY },
	};
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct judge_result r = result_of(cases[i].word, cases[i].policy);
		const struct identity_config c = { .dmarc = cases[i].mode, .quarantine = cases[i].quarantine };
		struct dmarc_decision d;

		r.dmarc.testing = cases[i].testing;
		d = decide(a, &r, NULL, &c, cases[i].accepted);
		assert_int_equal(d.action, cases[i].action);
		assert_int_equal(d.disposition, cases[i].disposition);
		assert_int_equal(d.override, cases[i].override);
	}
	arena_free(a);
}

/* A set as sealed by this domain, whose AAR has this value. */
static struct arc_set set_of(const char *sealer, const char *value)
{
	return (struct arc_set) { .results = { .value = slice_from(value) }, .seal = { .domain = sealer } };
}

static void test_only_sealers_without_a_gap_up_to_us_excuse_a_failure(void **state)
{
	static const char *const sealers[] = { "lists.example", "*.trusted.example" };
	const struct identity_config c = { .dmarc = DMARC_MODE_ENFORCE, .sealers = sealers, .n_sealers = 2 };
	static const char pass[] = " i=1; mx.lists.example; spf=fail; dmarc=pass header.from=x.example", fail[] = " i=1; a; dmarc=fail";
	struct judge_result r = result_of(DMARC_FAIL, DMARC_POLICY_REJECT);
	struct arc_set sets[2];
	struct content m = { .sets = sets };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	r.arc.word = ARC_PASS;
	sets[0] = set_of("lists.example", pass);
	m.n_sets = 1;
	assert_int_equal(decide(a, &r, &m, &c, false).override, DMARC_OVERRIDE_TRUSTED_FORWARDER);
	sets[1] = set_of("mx.trusted.example", fail);
	m.n_sets = 2;
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_NONE);
	sets[1] = set_of("stranger.example", pass);
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_REJECT);
	sets[0] = set_of("stranger.example", pass);
	sets[1] = set_of("lists.example", fail);
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_REJECT);
	sets[1] = set_of("lists.example", " no instance");
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_REJECT);
	sets[1] = set_of("lists.example", pass);
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_NONE);
	r.arc.word = ARC_FAIL;
	assert_int_equal(decide(a, &r, &m, &c, false).action, DMARC_ACTION_REJECT);
	arena_free(a);
}

/* --- what is said ------------------------------------------------------------------------------------------------ */

static void test_one_word_stands_for_all_signatures(void **state)
{
	struct dkim_result list[3] = { signature(DKIM_FAIL), signature(DKIM_TEMPERROR), signature(DKIM_PASS) };
	struct judge_result r = { .dkim = list };

	assert_string_equal(verdicts_dkim_word(&r), "none");
	r.n_dkim = 1;
	assert_string_equal(verdicts_dkim_word(&r), "fail");
	r.n_dkim = 2;
	assert_string_equal(verdicts_dkim_word(&r), "temperror");
	r.n_dkim = 3;
	assert_string_equal(verdicts_dkim_word(&r), "pass");
}

static void test_the_field_names_everything_and_nothing_gets_out_of_it(void **state)
{
	static const struct gate_list_hit hits[] = {
		{ .zone = "black.example", .weight = 1 },
		{ .zone = "white.example", .weight = -1, .answer = { .family = 4, .bytes = { 127, 0, 9, 2 } }, .text = "a \"good\" one" },
	};
	struct dkim_result list[2] = { signature(DKIM_PASS), signature(DKIM_FAIL) };
	struct judge_result r = result_of(DMARC_PASS, DMARC_POLICY_QUARANTINE);
	const struct iprev_result iprev = { .word = IPREV_PASS, .name = "mail.example", .reason = "" };
	const struct ip client = { .family = 4, .bytes = { 192, 0, 2, 7 } };
	struct verdicts v = { .authserv_id = "mx.example", .client = &client, .helo = "h.example", .mail_from = "a@from.example", .result = &r,
			      .iprev = &iprev, .hits = hits, .n_hits = 2 };
	_cleanup_buffer_ struct buffer out = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	r.dkim = list;
	r.n_dkim = 2;
	r.arc = (struct arc_result) { .word = ARC_PASS, .sets = 1, .domain = "s.example", .reason = "it holds" };
	r.spf.reason = "evil)\r\nX: y (z\\.";
	assert_int_equal(verdicts_authentication_results(&v, a, &out), 0);
	assert_string_equal(out.data, "Authentication-Results: mx.example;\r\n"
				      "\tspf=pass (evil???X: y ?z?.)\r\n\t smtp.mailfrom=a@from.example;\r\n"
				      "\tdkim=pass header.d=d.example header.i=@d.example header.s=s header.a=rsa-sha256 header.b=\"AbCd+/12\";\r\n"
				      "\tdkim=fail (because)\r\n\t header.d=d.example header.i=@d.example header.s=s header.a=rsa-sha256 header.b=\"AbCd+/12\";\r\n"
				      "\tarc=pass (it holds)\r\n\t smtp.remote-ip=192.0.2.7;\r\n"
				      "\tdmarc=pass policy.dmarc=quarantine header.from=from.example;\r\n"
				      "\tiprev=pass (mail.example)\r\n\t policy.iprev=192.0.2.7;\r\n"
				      "\tdnswl=pass dns.zone=white.example policy.ip=127.0.9.2 policy.txt=\"a \\\"good\\\" one\"\r\n");
	buffer_clear(&out);
	r.spf = (struct spf_result) { .word = SPF_NONE, .helo = true, .domain = "", .explanation = "", .reason = "nothing" };
	v.mail_from = "";
	verdicts_received_spf(&v, &out);
	assert_non_null(strstr(out.data, "Received-SPF: none (nothing)\r\n\treceiver=mx.example;\r\n\tidentity=helo;\r\n\tclient-ip=192.0.2.7;"));
	arena_free(a);
}

static void test_what_was_not_judged_has_no_verdicts(void **state)
{
	const struct verdicts v = { .authserv_id = "mx.example", .mail_from = "a@from.example", .user = "alice" };
	_cleanup_buffer_ struct buffer out = { 0 };
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(verdicts_authentication_results(&v, a, &out), 0);
	assert_string_equal(out.data, "Authentication-Results: mx.example;\r\n\tauth=pass smtp.auth=alice\r\n");
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose_address_is_doubtful),
		cmocka_unit_test(test_what_comes_of_a_policy),
		cmocka_unit_test(test_only_sealers_without_a_gap_up_to_us_excuse_a_failure),
		cmocka_unit_test(test_one_word_stands_for_all_signatures),
		cmocka_unit_test(test_the_field_names_everything_and_nothing_gets_out_of_it),
		cmocka_unit_test(test_what_was_not_judged_has_no_verdicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
