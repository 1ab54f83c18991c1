/* DMARC: RFC 9989's walks up the tree, policies, alignment; and the addresses of From. */
#include "identity/dmarc.h"

#include "mail/from.h"
#include "unit/identity_fixture.h"

/* --- records ------------------------------------------------------------------------------------------------------- */

static void test_what_is_a_record(void **state)
{
	static const char *const yes[] = { "v=DMARC1", "v=DMARC1;", "v = DMARC1 ; p=none", "V=DMARC1;p=none", "v=DMARC1; rubbish" };
	static const char *const no[] = { "", "v=DMARC", "v=dmarc1; p=none", "v=DMARC12; p=none", "p=none; v=DMARC1", "v=DMARC1 p=none",
					  "v=spf1 -all", ";v=DMARC1" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(dmarc_record_is(slice_from(yes[i])));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(dmarc_record_is(slice_from(no[i])));
}

static struct dmarc_record parse(const char *text)
{
	struct dmarc_record record;

	dmarc_record_parse(slice_from(text), &record);
	return record;
}

static void test_tags_and_their_defaults(void **state)
{
	struct dmarc_record r = parse("v=DMARC1");

	assert_int_equal(r.p, DMARC_POLICY_NONE);
	assert_int_equal(r.sp, DMARC_POLICY_ABSENT);
	assert_false(r.unusable || r.strict_dkim || r.strict_spf || r.testing || r.psd != DMARC_PSD_UNKNOWN);
	r = parse("v=DMARC1; p=REJECT; sp = quarantine; np=none; adkim=s; aspf=S; t=y; psd=n; pct=20; rf=x; x y z; rua=mailto:a@b");
	assert_int_equal(r.p, DMARC_POLICY_REJECT);
	assert_int_equal(r.sp, DMARC_POLICY_QUARANTINE);
	assert_int_equal(r.np, DMARC_POLICY_NONE);
	assert_true(r.strict_dkim && r.strict_spf && r.testing && r.psd == DMARC_PSD_NO);
	assert_true(slice_eq_str(r.rua, "mailto:a@b"));
	r = parse("v=DMARC1; p=reject; adkim=x; t=maybe; psd=?");
	assert_false(r.strict_dkim || r.testing || r.unusable || r.psd != DMARC_PSD_UNKNOWN);
	/* Section 4.10.1: without a valid policy the record counts as p=none, if somebody wants reports. */
	assert_true(parse("v=DMARC1; p=junk").unusable);
	assert_true(parse("v=DMARC1; p=reject; sp=junk; rua=nothing").unusable);
	r = parse("v=DMARC1; p=reject; np=junk; rua=mailto:a@b");
	assert_false(r.unusable);
	assert_int_equal(r.p, DMARC_POLICY_NONE);
}

/* --- the walk ----------------------------------------------------------------------------------------------------------- */

struct asked {
	unsigned n;
	char names[16][128];
};

static void note(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	struct asked *a = context;

	if (type == DNS_TXT && a->n < 16)
		snprintf(a->names[a->n++], sizeof(a->names[0]), "%s", name);
}

static void test_the_eight_questions_of_a_long_name(void **state)
{
	static const char *const expected[] = { "a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com", "h.i.j.mail.example.com",
						"i.j.mail.example.com", "j.mail.example.com", "mail.example.com", "example.com", "com" };
	struct fixture f = open_zone("_dmarc.example.com. TXT \"v=DMARC1; p=none\"\n");
	struct asked asked = { .n = 0 };
	const char *org;

	zone_resolver_set_hook(f.resolver, note, &asked);
	assert_int_equal(dmarc_organizational_domain(f.resolver, expected[0], DEADLINE_NEVER, f.arena, &org), 0);
	assert_string_equal(org, "example.com");
	assert_int_equal(asked.n, ARRAY_LEN(expected));
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		char name[128];

		snprintf(name, sizeof(name), "_dmarc.%s", expected[i]);
		assert_string_equal(asked.names[i], name);
	}
	close_zone(&f);
}

static void expect_org(const char *zone, const char *domain, const char *expected)
{
	struct fixture f = open_zone(zone);
	const char *org;

	assert_int_equal(dmarc_organizational_domain(f.resolver, domain, DEADLINE_NEVER, f.arena, &org), 0);
	assert_string_equal(org, expected);
	close_zone(&f);
}

static void test_organizational_domains(void **state)
{
	/* The three examples of section 4.10.2. */
	expect_org("_dmarc.mail.example.com. TXT \"v=DMARC1\"\n_dmarc.example.com. TXT \"v=DMARC1\"\n", "a.mail.example.com", "example.com");
	expect_org("_dmarc.mail.example.com. TXT \"v=DMARC1; psd=n\"\n_dmarc.example.com. TXT \"v=DMARC1\"\n", "a.mail.example.com", "mail.example.com");
	expect_org("_dmarc.com. TXT \"v=DMARC1; psd=y\"\n", "a.mail.example.com", "example.com");
	/* Nothing at all; psd=y where the walk starts; several records are none. */
	expect_org("x. A 1.2.3.4\n", "a.mail.example.com", "a.mail.example.com");
	expect_org("_dmarc.co.example. TXT \"v=DMARC1; psd=y\"\n", "co.example", "co.example");
	expect_org("_dmarc.example.com. TXT \"v=DMARC1\"\n_dmarc.example.com. TXT \"v=DMARC1; p=none\"\n_dmarc.com. TXT \"v=DMARC1; psd=u\"\n",
		   "mail.example.com", "com");
}

/* --- verdicts -------------------------------------------------------------------------------------------------------------- */

#define ZONE                                                                                                           \
	"_dmarc.example.com. TXT \"v=DMARC1; p=reject; sp=quarantine; np=none\"\nnews.example.com. A 192.0.2.1\n"          \
	"foo.example.com. A 192.0.2.1\n_dmarc.own.example.com. TXT \"v=DMARC1; p=none\"\n"                                 \
	"_dmarc.strict.example. TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"\nsub.strict.example. A 192.0.2.1\n"            \
	"_dmarc.bank. TXT \"v=DMARC1; psd=y; p=quarantine; np=reject; sp=none\"\nreal.bank. A 192.0.2.1\n"                 \
	"a.real.bank. A 192.0.2.1\n; TIMEOUT _dmarc.slow.example\n_dmarc.part.example. TXT \"v=DMARC1; p=reject\"\n"       \
	"; SERVFAIL _dmarc.sub.part.example\n_dmarc.t.example. TXT \"v=DMARC1; p=reject; t=y\"\n"                          \
	"_dmarc.bad.example. TXT \"v=DMARC1; p=junk\"\n"                                                                   \
	"_dmarc.two.example. TXT \"v=DMARC1; p=reject\"\n_dmarc.two.example. TXT \"v=DMARC1; p=none\"\n"                   \
	"_dmarc.join.example. TXT \"v=DMARC1; p=quar\" \"antine\"\n"

struct verdict {
	const char *from, *spf, *dkim; /* domains that passed; with '?' in front: temperror */
	enum dmarc_word word;
	enum dmarc_policy policy;
};

static void test_verdicts(void **state)
{
	static const struct verdict verdicts[] = {
		/* Section 4.4, table 1. */
		{ "news.example.com", NULL, "foo.example.com", DMARC_PASS, DMARC_POLICY_QUARANTINE },
		{ "news.example.com", NULL, "news.example.com", DMARC_PASS, DMARC_POLICY_QUARANTINE },
		{ "news.example.com", NULL, "foo.example.net", DMARC_FAIL, DMARC_POLICY_QUARANTINE },
		{ "news.example.com", "example.com", NULL, DMARC_PASS, DMARC_POLICY_QUARANTINE },
		{ "news.example.com", "badexample.com", "com", DMARC_FAIL, DMARC_POLICY_QUARANTINE },
		{ "example.com", "EXAMPLE.com", NULL, DMARC_PASS, DMARC_POLICY_REJECT },
		{ "example.com", NULL, NULL, DMARC_FAIL, DMARC_POLICY_REJECT },
		{ "gone.example.com", NULL, NULL, DMARC_FAIL, DMARC_POLICY_NONE },
		{ "own.example.com", "example.com", NULL, DMARC_PASS, DMARC_POLICY_NONE },
		{ "sub.strict.example", "strict.example", "sub.sub.strict.example", DMARC_FAIL, DMARC_POLICY_REJECT },
		{ "sub.strict.example", NULL, "sub.strict.example", DMARC_PASS, DMARC_POLICY_REJECT },
		/* A public suffix: existing names below it, names that don't exist, neighbours. */
		{ "real.bank", NULL, "a.real.bank", DMARC_PASS, DMARC_POLICY_NONE },
		{ "real.bank", NULL, "other.bank", DMARC_FAIL, DMARC_POLICY_NONE },
		{ "fake.bank", NULL, NULL, DMARC_FAIL, DMARC_POLICY_REJECT },
		{ "bank", NULL, NULL, DMARC_FAIL, DMARC_POLICY_QUARANTINE },
		{ "nothing.example", "nothing.example", NULL, DMARC_NONE, DMARC_POLICY_NONE },
		{ "bad.example", "bad.example", NULL, DMARC_NONE, DMARC_POLICY_NONE },
		{ "two.example", "two.example", NULL, DMARC_NONE, DMARC_POLICY_NONE },
		{ "join.example", "join.example", NULL, DMARC_PASS, DMARC_POLICY_QUARANTINE },
		{ "slow.example", "slow.example", NULL, DMARC_TEMPERROR, DMARC_POLICY_NONE },
		{ "part.example", NULL, "sub.part.example", DMARC_TEMPERROR, DMARC_POLICY_REJECT },
		{ "part.example", "part.example", "sub.part.example", DMARC_PASS, DMARC_POLICY_REJECT },
		{ "part.example", "?part.example", NULL, DMARC_TEMPERROR, DMARC_POLICY_REJECT },
		{ "part.example", "?other.example", NULL, DMARC_FAIL, DMARC_POLICY_REJECT },
		{ "part.example", NULL, "?part.example", DMARC_TEMPERROR, DMARC_POLICY_REJECT },
		{ "t.example", NULL, NULL, DMARC_FAIL, DMARC_POLICY_REJECT },
		/* Several domains: the worst. */
		{ "example.com,own.example.com", "example.com", NULL, DMARC_PASS, DMARC_POLICY_REJECT },
		{ "own.example.com,strict.example", "own.example.com", NULL, DMARC_FAIL, DMARC_POLICY_REJECT },
		{ "", "example.com", NULL, DMARC_PERMERROR, DMARC_POLICY_NONE },
		{ "a.a,b.a,c.a,d.a,e.a,f.a", NULL, NULL, DMARC_PERMERROR, DMARC_POLICY_NONE },
	};
	struct fixture f = open_zone(ZONE);

	for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
		const struct verdict *v = &verdicts[i];
		struct spf_result spf = { .word = v->spf && *v->spf == '?' ? SPF_TEMPERROR : SPF_PASS, .domain = v->spf ? v->spf + (*v->spf == '?') : "" };
		struct dkim_result dkim = { .word = v->dkim && *v->dkim == '?' ? DKIM_TEMPERROR : DKIM_PASS,
					    .domain = v->dkim ? v->dkim + (*v->dkim == '?') : "" };
		const char *domains[8];
		struct dmarc_input in = { .domains = domains, .spf = v->spf ? &spf : NULL, .dkim = &dkim, .n_dkim = v->dkim != NULL };
		struct slice rest = slice_from(v->from);
		struct dmarc_result result;

		while (rest.len > 0)
			domains[in.n_domains++] = arena_slice(f.arena, slice_cut(rest, ',', &rest));
		assert_int_equal(dmarc_check(f.resolver, &in, DEADLINE_NEVER, f.arena, &result), 0);
		if (result.word != v->word || result.policy != v->policy)
			fail_msg("%s (spf %s, dkim %s): %s %s: %s", v->from, v->spf, v->dkim, dmarc_word_text(result.word),
				 dmarc_policy_text(result.policy), result.reason);
		assert_true(*result.reason);
	}
	close_zone(&f);
}

/* --- From ---------------------------------------------------------------------------------------------------------------------- */

static void test_domains_of_from(void **state)
{
	static const struct {
		const char *value, *domains; /* NULL: not readable */
	} cases[] = {
		{ " joe@example.com", "example.com" },
		{ "Joe <joe@EXAMPLE.com>", "example.com" },
		{ "\"Joe, <x@evil.example>\" <joe@example.com>", "example.com" },
		{ "joe@example.com (a comment (nested) with x@y.example)", "example.com" },
		{ "Joe\r\n <joe@example.com>, Ann <ann@example.org>,", "example.com example.org" },
		{ "a@example.com, b@example.com", "example.com" },
		{ "list: a@example.com, b@example.net;", "example.com example.net" },
		{ "undisclosed:;", "" },
		{ "<@relay.example,@b.example:joe@example.com>", "example.com" },
		{ "\"a@b\"@example.com", "example.com" },
		{ "joe@b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
		{ "joe @ example . com", "example.com" },
		{ "joe@example.com.", "example.com" },
		{ "=?utf-8?q?joe=40x?= <joe@example.com>", "example.com" },
		{ "", "" },
		{ "joe", NULL },
		{ "Joe <joe>", NULL },
		{ "<>", NULL },
		{ "joe@[192.0.2.1]", NULL },
		{ "joe@", NULL },
		{ "joe@exa mple..com", NULL },
		{ "a@b.example <c@d.example> x", NULL },
		{ "<a@b.example> <c@d.example>", NULL },
		{ "<a@b.example", NULL },
		{ "\"unclosed <a@b.example>", NULL },
		{ "(unclosed a@b.example", NULL },
		{ "a@b.example;", NULL },
		{ "group: a@b.example", NULL },
		{ "a@b.example\x01", NULL },
	};
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *const *domains;
		struct buffer all = { 0 };
		unsigned n = 0;
		int r = from_domains(a, slice_from(cases[i].value), &domains, &n);

		if (r != (cases[i].domains ? 0 : -EINVAL))
			fail_msg("\"%s\": %d", cases[i].value, r);
		for (unsigned k = 0; k < n; k++)
			buffer_printf(&all, "%s%s", k ? " " : "", domains[k]);
		if (cases[i].domains)
			assert_string_equal(all.len ? all.data : "", cases[i].domains);
		buffer_done(&all);
	}
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_a_record),
		cmocka_unit_test(test_tags_and_their_defaults),
		cmocka_unit_test(test_the_eight_questions_of_a_long_name),
		cmocka_unit_test(test_organizational_domains),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_domains_of_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
