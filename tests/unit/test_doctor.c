/* The doctor: all questions at the same time, one deadline for all, and records that mean what they should. */
#include "dns/cache.h"
#include "unit/doctor_scene.h"

static unsigned questions;

static void slow_answers(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	questions++;
	*delay = *(usec_t *) context;
}

static void test_what_doesnt_depend_on_each_other_is_asked_at_once(void **state)
{
	usec_t delay = USEC_SEC;
	struct scene s;

	questions = 0;
	scene_open(&s, zone_in_order);
	zone_resolver_set_hook(s.resolver, slow_answers, &delay);
	scene_run(&s);
	assert_int_equal(s.result, 0);
	/* The certificate alone is missing in this scene. */
	for (unsigned i = 0; i < s.report.n; i++)
		if (s.report.findings[i].state != DOCTOR_GREEN)
			assert_string_equal(s.report.findings[i].check, "certificate");
	/* The longest row: _dmarc.example.org, _dmarc.org, _dmarc.net of none, then the MX of rua. */
	assert_in_range(questions, 18, 60);
	assert_in_range(s.took, 2 * USEC_SEC, 5 * USEC_SEC);
	scene_close(&s);
}

static void test_a_dns_that_never_answers_costs_the_timeout_and_is_unknown(void **state)
{
	usec_t delay = USEC_HOUR;
	struct scene s;

	for (unsigned with_timeout = 0; with_timeout < 2; with_timeout++) {
		scene_open(&s, zone_in_order);
		s.in.timeout = with_timeout ? 3 * USEC_SEC : 0;
		zone_resolver_set_hook(s.resolver, slow_answers, &delay);
		scene_run(&s);
		assert_int_equal(s.result, 0);
		assert_int_equal(s.took, with_timeout ? 3 * USEC_SEC : 20 * USEC_SEC);
		for (unsigned i = 0; i < s.report.n; i++) {
			const struct doctor_finding *f = &s.report.findings[i];

			if (strcmp(f->check, "certificate") != 0)
				assert_int_equal(f->state, DOCTOR_UNKNOWN);
			assert_null(f->publish);
		}
		scene_close(&s);
	}
}

/* What comes of the web server. */
static enum sts_trouble bad_certificate(struct sts_fetch *f)
{
	(void) snprintf(f->why, sizeof(f->why), "the certificate is for others");
	return STS_BAD_CERTIFICATE;
}

static enum sts_trouble no_policy(struct sts_fetch *f)
{
	buffer_append_str(&f->body, "hello");
	return STS_FETCHED;
}

static enum sts_trouble endless(struct sts_fetch *f)
{
	for (unsigned i = 0; i < STS_PATTERNS_MAX + 5; i++)
		buffer_append_str(&f->body, "mx: a.example\n");
	return STS_FETCHED;
}

static void test_policies_that_are_none(void **state)
{
	static const sts_fetcher fetchers[] = { bad_certificate, no_policy, endless };

	for (unsigned i = 0; i < ARRAY_LEN(fetchers); i++) {
		const struct doctor_finding *f;
		struct scene s;

		scene_open(&s, zone_in_order);
		s.in.fetcher = fetchers[i];
		scene_run(&s);
		f = fault_of(&s, "mta-sts");
		assert_non_null(f);
		assert_int_equal(f->state, DOCTOR_RED);
		assert_non_null(f->advice);
		if (i == 0)
			assert_non_null(strstr(f->found, "the certificate is for others"));
		scene_close(&s);
	}
}

/* An SPF record of more than 255 octets, with all that a zone has to escape: what is to be published is read back as the same
 * record with the address in it. */
static void test_what_is_to_be_published_is_read_from_a_zone_as_it_was_meant(void **state)
{
	char zone_text[1200], wanted[700], filler[420];
	const struct doctor_finding *f;
	struct dns_answer answer;
	struct zone *zone;
	struct scene s;
	char *why = NULL;

	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	snprintf(zone_text, sizeof(zone_text), "example.org. TXT \"v=spf1 m=a\\\"b\\\\c;d\" \" n=%.200s\" \"%s -all\"\n", filler, filler + 200);
	snprintf(wanted, sizeof(wanted), "v=spf1 ip4:192.0.2.1 m=a\"b\\c;d n=%s -all", filler);
	scene_open(&s, zone_text);
	scene_run(&s);
	f = fault_of(&s, "spf");
	assert_non_null(f);
	assert_non_null(f->publish);
	assert_int_equal(zone_parse(slice_from(f->publish), "published", &zone, &why), 0);
	zone_resolver_set_zone(s.resolver, zone);
	dns_cache_clear(s.resolver->cache);
	assert_int_equal(dns_query(s.resolver, "example.org", DNS_TXT, DEADLINE_NEVER, s.arena, &answer), 0);
	assert_int_equal(answer.n_records, 1);
	assert_true(slice_eq_str(answer.records[0].data, wanted));
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_doesnt_depend_on_each_other_is_asked_at_once),
		cmocka_unit_test(test_a_dns_that_never_answers_costs_the_timeout_and_is_unknown),
		cmocka_unit_test(test_policies_that_are_none),
		cmocka_unit_test(test_what_is_to_be_published_is_read_from_a_zone_as_it_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
