/* The record and the policy of MTA-STS, and the life of a policy in a simulated world with policy hosts of our own making. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "route/mta_sts.h"
#include "route/sts.h"
#include "world/sim.h"

/* --- the record -------------------------------------------------------------------------------------------------- */

static void test_records_are_told_from_others_and_from_broken_ones(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *id;
	} cases[] = {
		{ "v=STSv1; id=20160831085700Z;", 1, "20160831085700Z" },
		{ "v=STSv1;id=a", 1, "a" },
		{ "v=STSv1 ;\tid=a ; ext.-_1=b:c", 1, "a" },
		{ "v=STSv1; x=y; id=1; id=2", 1, "1" },
		{ "v=STSv1", 0, NULL },
		{ "v=STSv2; id=a", 0, NULL },
		{ "V=STSv1; id=a", 0, NULL },
		{ " v=STSv1; id=a", 0, NULL },
		{ "v=spf1 -all", 0, NULL },
		{ "", 0, NULL },
		{ "v=STSv1;", -EINVAL, NULL },
		{ "v=STSv1; id=", -EINVAL, NULL },
		{ "v=STSv1; id=a-b", -EINVAL, NULL },
		{ "v=STSv1; id=0123456789012345678901234567890123", -EINVAL, NULL },
		{ "v=STSv1; id=a; =b", -EINVAL, NULL },
		{ "v=STSv1; id=a; x", -EINVAL, NULL },
		{ "v=STSv1; id=a; x=b=c", -EINVAL, NULL },
		{ "v=STSv1;; id=a", -EINVAL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char id[STS_ID_MAX + 1] = "untouched";

		assert_int_equal(sts_record_parse(slice_from(cases[i].text), id), cases[i].result);
		assert_string_equal(id, cases[i].id ? cases[i].id : "untouched");
	}
}

/* --- the policy --------------------------------------------------------------------------------------------------- */

static int parse(const char *text, struct arena *a, struct sts_policy *ret, const char **ret_why)
{
	return sts_policy_parse(slice_from(text), a, ret, ret_why);
}

static void test_a_policy_is_read_and_names_its_hosts(void **state)
{
	struct sts_policy p;
	struct arena *a;
	const char *why;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(parse("version: STSv1\r\nmode: enforce\r\nmx: Mail.Example.com\r\nmx:*.example.net \r\nnew-field: \303\244\r\n"
			       "max_age:   604800\r\nmode: none\r\n", a, &p, &why), 0);
	assert_int_equal(p.mode, STS_ENFORCE);
	assert_int_equal(p.max_age, 604800);
	assert_int_equal(p.n_patterns, 2);
	assert_true(sts_policy_names(&p, "mail.example.com"));
	assert_true(sts_policy_names(&p, "a.example.net"));
	assert_false(sts_policy_names(&p, "example.net"));
	assert_false(sts_policy_names(&p, ".example.net"));
	assert_false(sts_policy_names(&p, "a.b.example.net"));
	assert_false(sts_policy_names(&p, "mail.example.com.evil.example"));
	assert_int_equal(parse("max_age: 9999999999\nmode: none\nversion: STSv1", a, &p, &why), 0);
	assert_int_equal(p.max_age, STS_AGE_MAX);
	assert_int_equal(p.n_patterns, 0);
	arena_free(a);
}

static void test_what_is_wrong_with_a_policy_is_said(void **state)
{
	static const char *const cases[][2] = {
		{ "mode: none\nmax_age: 1\n", "version is missing" },
		{ "version: STSv1\nmax_age: 1\n", "mode is missing" },
		{ "version: STSv1\nmode: none\n", "max_age is missing" },
		{ "version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx is named" },
		{ "version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1" },
		{ "version: STSv1\nmode: Enforce\nmax_age: 1\n", "mode is neither enforce nor testing nor none" },
		{ "version: STSv1\nmode: none\nmax_age: -1\n", "max_age is not a number of seconds" },
		{ "version: STSv1\nmode: none\nmax_age: 12345678901\n", "max_age is not a number of seconds" },
		{ "version: STSv1\nmode: testing\nmx: *\nmax_age: 1\n", "a value of mx is not the name of a host" },
		{ "version: STSv1\nmode: testing\nmx: a.*.example\nmax_age: 1\n", "a value of mx is not the name of a host" },
		{ "version: STSv1\nmode: testing\nmx:\nmax_age: 1\n", "a value of mx is not the name of a host" },
		{ "version: STSv1\n<html>\n", "a line is not \"name: value\"" },
		{ "version: STSv1\nx: a\001b\n", "a line has control characters" },
		{ "", "version is missing" },
	};
	struct sts_policy p;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *why = NULL;

		assert_int_equal(parse(cases[i][0], a, &p, &why), -EINVAL);
		assert_string_equal(why, cases[i][1]);
	}
	arena_free(a);
}

static void test_a_policy_has_its_limits(void **state)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	struct sts_policy p;
	const char *why;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	buffer_append_str(&b, "version: STSv1\nmode: testing\nmax_age: 1\n");
	for (unsigned i = 0; i < STS_PATTERNS_MAX; i++)
		buffer_printf(&b, "mx: mx%u.example\n", i);
	assert_int_equal(sts_policy_parse(buffer_slice(&b), a, &p, &why), 0);
	assert_int_equal(p.n_patterns, STS_PATTERNS_MAX);
	buffer_append_str(&b, "mx: more.example\n");
	assert_int_equal(sts_policy_parse(buffer_slice(&b), a, &p, &why), -EINVAL);
	buffer_clear(&b);
	buffer_append_str(&b, "version: STSv1\nmode: none\nmax_age: 1\n");
	while (b.len <= STS_POLICY_MAX)
		buffer_append_str(&b, "x: y\n");
	assert_int_equal(sts_policy_parse(buffer_slice(&b), a, &p, &why), -EINVAL);
	assert_string_equal(why, "it is longer than 64 KB");
	arena_free(a);
}

/* --- its life ---------------------------------------------------------------------------------------------------------- */

static char path[] = "/tmp/yizhan-sts-XXXXXX";

/* What the policy host says, and how often it was asked. One test at a time. */
static struct {
	enum sts_trouble trouble;
	const char *body;
	unsigned asked;
} web;

static enum sts_trouble fake_fetch(struct sts_fetch *f)
{
	web.asked++;
	buffer_append_str(&f->body, web.body);
	snprintf(f->why, sizeof(f->why), "no such host");
	return web.trouble;
}

struct fixture {
	struct sim *sim;
	struct world *world;
	struct loop *loop, *other;
	struct resolver *resolver;
	struct sts_config config;
	struct sts *sts;
	struct arena *arena;
	void (*fn)(struct fixture *f);
	usec_t lasts; /* 0: 40 days */
	unsigned done;
};

#define RECORD(id) "_mta-sts.example.org 60 TXT \"v=STSv1; id=" id ";\"\nmta-sts.example.org 60 A 192.0.2.1\n"
#define POLICY "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmax_age: 172800\r\n"

static void set_zone(struct fixture *f, const char *text)
{
	struct zone *zone;
	char *why;

	assert_int_equal(zone_parse(slice_from(text), "z", &zone, &why), 0);
	if (f->resolver)
		zone_resolver_set_zone(f->resolver, zone);
	else
		assert_int_equal(zone_resolver_new(f->world, zone, 0, &f->resolver), 0);
}

static void fixture_main(void *arg)
{
	struct fixture *f = arg;

	f->fn(f);
	f->done++;
}

static void open_sts(struct fixture *f)
{
	assert_int_equal(sts_new(f->world, world_log(f->world), f->resolver, &f->config, fake_fetch, &f->sts), 0);
	assert_int_equal(sts_start(f->sts, f->loop), 0);
}

static void run(struct fixture *f, void (*fn)(struct fixture *f))
{
	struct sim_host *host;

	web.asked = 0;
	web.trouble = STS_FETCHED;
	web.body = POLICY;
	f->fn = fn;
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "h", "", &host, &f->world), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	set_zone(f, RECORD("1"));
	assert_int_equal(loop_new(f->world, "l", 0, 0, &f->loop), 0);
	assert_int_equal(loop_start(f->loop), 0);
	assert_int_equal(loop_new(f->world, "o", 0, 0, &f->other), 0);
	assert_int_equal(loop_start(f->other), 0);
	open_sts(f);
	assert_int_equal(loop_spawn(f->other, "test", fixture_main, f), 0);
	sim_run(f->sim, sim_now(f->sim) + (f->lasts ? f->lasts : 40 * USEC_DAY));
	assert_int_equal(f->done, 1);
	loop_stop(f->other);
	loop_stop(f->loop);
	sts_free(f->sts);
	loop_free(f->other);
	loop_free(f->loop);
	resolver_free(f->resolver);
	arena_free(f->arena);
	world_free(f->world);
	sim_free(f->sim);
}

static struct sts_answer find(struct fixture *f)
{
	struct sts_answer answer;

	assert_int_equal(sts_find(f->sts, "example.org", now() + USEC_MIN, f->arena, &answer), 0);
	return answer;
}

static void sleep_for(usec_t time)
{
	assert_int_equal(fiber_sleep_until(now() + time), 0);
}

static void first_contact(struct fixture *f)
{
	struct sts_answer answer;

	assert_int_equal(sts_find_cached(f->sts, "example.org", f->arena, &answer), 0);
	answer = find(f);
	assert_true(answer.found);
	assert_int_equal(answer.policy.mode, STS_ENFORCE);
	assert_string_equal(answer.id, "1");
	assert_string_equal(answer.text, "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 172800");
	assert_int_equal(web.asked, 1);
	assert_int_equal(sts_find_cached(f->sts, "example.org", f->arena, &answer), 1);
	assert_true(answer.found);
	assert_true(find(f).found);
	assert_int_equal(web.asked, 1);
	assert_int_equal(sts_find(f->sts, "example.net", now() + USEC_MIN, f->arena, &answer), 0);
	assert_false(answer.found);
	assert_int_equal(web.asked, 1);
}

static void test_a_policy_is_fetched_once_and_then_known(void **state)
{
	struct fixture f = { 0 };

	run(&f, first_contact);
}

static void failures(struct fixture *f)
{
	struct sts_answer answer;

	web.trouble = STS_BAD_CERTIFICATE;
	answer = find(f);
	assert_false(answer.found);
	assert_int_equal(answer.trouble, STS_BAD_CERTIFICATE);
	assert_string_equal(answer.why, "no such host");
	sleep_for(4 * USEC_MIN);
	web.trouble = STS_FETCHED;
	assert_false(find(f).found);
	assert_int_equal(web.asked, 1);
	sleep_for(2 * USEC_MIN);
	assert_true(find(f).found);
	assert_int_equal(find(f).trouble, STS_FETCHED);
	assert_int_equal(web.asked, 2);
}

static void test_a_fetch_that_failed_is_tried_again_after_five_minutes(void **state)
{
	struct fixture f = { 0 };

	run(&f, failures);
}

static void invalid(struct fixture *f)
{
	web.body = "version: STSv1\n";
	assert_int_equal(find(f).trouble, STS_INVALID);
	assert_string_equal(find(f).why, "mode is missing");
}

static void test_a_body_that_is_no_policy_is_none(void **state)
{
	struct fixture f = { 0 };

	run(&f, invalid);
}

static void renewals(struct fixture *f)
{
	struct sts_answer answer;

	assert_true(find(f).found);
	set_zone(f, RECORD("2"));
	web.body = "version: STSv1\nmode: testing\nmx: mx.example.org\nmax_age: 172800\n";
	sleep_for(13 * USEC_HOUR); /* a quarter of its life is 12 hours: the record is looked at */
	assert_int_equal(web.asked, 2);
	answer = find(f);
	assert_int_equal(answer.policy.mode, STS_TESTING);
	assert_string_equal(answer.id, "2");
	/* Without a new id it is fetched when half of its life is over, and goes on. */
	sleep_for(60 * USEC_HOUR);
	assert_true(web.asked >= 3);
	assert_true(find(f).found);
}

static void test_policies_are_renewed_by_id_and_before_they_end(void **state)
{
	struct fixture f = { 0 };

	run(&f, renewals);
}

static void endings(struct fixture *f)
{
	struct sts_answer answer;

	assert_true(find(f).found);
	web.trouble = STS_UNREACHABLE;
	set_zone(f, "mta-sts.example.org A 192.0.2.1\n"); /* the record is gone, too */
	sleep_for(47 * USEC_HOUR);
	answer = find(f);
	assert_true(answer.found); /* it counts as long as it lives */
	assert_int_equal(answer.trouble, STS_UNREACHABLE);
	sleep_for(2 * USEC_HOUR);
	assert_false(find(f).found);
}

static void test_a_policy_counts_until_its_end_whatever_can_be_seen(void **state)
{
	struct fixture f = { 0 };

	run(&f, endings);
}

static void unused(struct fixture *f)
{
	web.body = "version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 31557600\n";
	assert_true(find(f).found);
	set_zone(f, RECORD("2"));
	sleep_for(29 * USEC_DAY);
	assert_int_equal(web.asked, 2);
	set_zone(f, RECORD("3"));
	sleep_for(5 * USEC_DAY); /* nobody has asked for a month */
	assert_true(web.asked <= 3);
}

static void test_policies_that_nobody_asks_for_are_left_alone(void **state)
{
	struct fixture f = { 0 };

	run(&f, unused);
}

static void two_records(struct fixture *f)
{
	set_zone(f, RECORD("1") RECORD("2"));
	assert_false(find(f).found);
	assert_int_equal(web.asked, 0);
}

static void test_two_records_are_none(void **state)
{
	struct fixture f = { 0 };

	run(&f, two_records);
}

static void restart_first(struct fixture *f)
{
	assert_true(find(f).found);
	sleep_for(USEC_SEC);
}

static void restart_then(struct fixture *f)
{
	struct sts_answer answer;

	web.trouble = STS_UNREACHABLE;
	set_zone(f, "");
	answer = find(f);
	assert_true(answer.found);
	assert_string_equal(answer.id, "1");
	assert_int_equal(web.asked, 0);
}

static void test_a_restart_forgets_no_policy(void **state)
{
	char file[80];
	struct fixture f = { .config.path = file, .lasts = USEC_HOUR }, g = { .config.path = file, .lasts = USEC_HOUR };

	assert_non_null(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/mta-sts.db", path);
	run(&f, restart_first);
	run(&g, restart_then);
	unlink(file);
	assert_int_equal(rmdir(path), 0);
}

static void crowd(struct fixture *f)
{
	char domain[64], zone[8000] = "";
	struct sts_answer answer;

	for (unsigned i = 0; i < 20; i++)
		snprintf(zone + strlen(zone), sizeof(zone) - strlen(zone),
			 "_mta-sts.d%u.example TXT \"v=STSv1; id=1\"\nmta-sts.d%u.example A 192.0.2.1\n", i, i);
	set_zone(f, zone);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(domain, sizeof(domain), "d%u.example", i);
		assert_int_equal(sts_find(f->sts, domain, now() + USEC_MIN, f->arena, &answer), 0);
		assert_true(answer.found);
	}
	assert_int_equal(sts_find(f->sts, "d19.example", now() + USEC_MIN, f->arena, &answer), 0);
	assert_int_equal(web.asked, 20);
	assert_int_equal(sts_find(f->sts, "d0.example", now() + USEC_MIN, f->arena, &answer), 0);
	assert_int_equal(web.asked, 21); /* it had to go */
}

static void test_no_more_domains_are_kept_than_allowed(void **state)
{
	struct fixture f = { .config.entries = 10 };

	run(&f, crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_are_told_from_others_and_from_broken_ones),
		cmocka_unit_test(test_a_policy_is_read_and_names_its_hosts),
		cmocka_unit_test(test_what_is_wrong_with_a_policy_is_said),
		cmocka_unit_test(test_a_policy_has_its_limits),
		cmocka_unit_test(test_a_policy_is_fetched_once_and_then_known),
		cmocka_unit_test(test_a_fetch_that_failed_is_tried_again_after_five_minutes),
		cmocka_unit_test(test_a_body_that_is_no_policy_is_none),
		cmocka_unit_test(test_policies_are_renewed_by_id_and_before_they_end),
		cmocka_unit_test(test_a_policy_counts_until_its_end_whatever_can_be_seen),
		cmocka_unit_test(test_policies_that_nobody_asks_for_are_left_alone),
		cmocka_unit_test(test_two_records_are_none),
		cmocka_unit_test(test_a_restart_forgets_no_policy),
		cmocka_unit_test(test_no_more_domains_are_kept_than_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
