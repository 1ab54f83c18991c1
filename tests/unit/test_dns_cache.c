/* The cache of answers and the front of the resolver: in a simulated world, whose clock the tests move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/cache.h"
#include "dns/name.h"
#include "dns/zone.h"
#include "world/sim.h"

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct arena *arena;
};

static struct fixture begin(void)
{
	struct fixture f;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f.sim), 0);
	assert_int_equal(sim_host_new(f.sim, "h", "", &f.host, &f.world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	return f;
}

static void end(struct fixture *f)
{
	arena_free(f->arena);
	world_free(f->world);
	sim_free(f->sim);
}

static void pass_time(struct fixture *f, usec_t time)
{
	sim_run(f->sim, sim_now(f->sim) + time);
}

static struct dns_answer positive(uint32_t ttl, struct dns_record *records, unsigned n)
{
	return (struct dns_answer) { .status = DNS_OK, .ttl = ttl, .canonical = "a.example", .records = records, .n_records = n };
}

static void test_an_answer_comes_back_as_a_whole_copy_with_what_is_left_of_its_time(void **state)
{
	struct fixture f = begin();
	struct dns_record records[2] = {
		{ .name = "mx1.example", .preference = 10 },
		{ .data = SLICE("bytes\0inside"), .preference = 7 },
	};
	struct dns_answer in = positive(100, records, 2), out;
	struct dns_cache *c;

	in.secure = true;
	in.why = "because";
	assert_int_equal(dns_cache_new(f.world, 0, &c), 0);
	assert_int_equal(dns_cache_get(c, "a.example", DNS_MX, f.arena, &out), 0);
	dns_cache_put(c, "a.example", DNS_MX, &in);
	records[0].name = "changed";
	pass_time(&f, 30 * USEC_SEC);
	assert_int_equal(dns_cache_get(c, "a.example", DNS_MX, f.arena, &out), 1);
	assert_int_equal(out.ttl, 70);
	assert_int_equal(out.n_records, 2);
	assert_true(out.secure);
	assert_string_equal(out.records[0].name, "mx1.example");
	assert_int_equal(out.records[0].preference, 10);
	assert_null(out.records[1].name);
	assert_true(slice_eq(out.records[1].data, SLICE("bytes\0inside")));
	assert_string_equal(out.canonical, "a.example");
	assert_string_equal(out.why, "because");
	assert_int_equal(dns_cache_get(c, "a.example", DNS_A, f.arena, &out), 0);
	assert_int_equal(dns_cache_get(c, "b.example", DNS_MX, f.arena, &out), 0);
	dns_cache_free(c); /* what was copied out stays */
	assert_string_equal(out.records[0].name, "mx1.example");
	end(&f);
}

static void test_an_answer_is_gone_when_its_time_is_over(void **state)
{
	struct fixture f = begin();
	struct dns_answer in = positive(100, NULL, 0), out;
	struct dns_cache *c;

	assert_int_equal(dns_cache_new(f.world, 0, &c), 0);
	dns_cache_put(c, "a.example", DNS_A, &in);
	pass_time(&f, 100 * USEC_SEC - 1);
	assert_int_equal(dns_cache_get(c, "a.example", DNS_A, f.arena, &out), 1);
	assert_int_equal(out.ttl, 1);
	pass_time(&f, 1);
	assert_int_equal(dns_cache_get(c, "a.example", DNS_A, f.arena, &out), 0);
	assert_int_equal(dns_cache_stats(c).entries, 0);
	in.ttl = 0; /* RFC 1035 section 3.2.1: not to be kept */
	dns_cache_put(c, "a.example", DNS_A, &in);
	assert_int_equal(dns_cache_stats(c).entries, 0);
	dns_cache_free(c);
	end(&f);
}

static void test_each_kind_of_answer_has_its_longest_life(void **state)
{
	struct dns_answer a = { .status = DNS_OK, .ttl = 10 * 86400 };

	assert_int_equal(dns_cache_lifetime(&a), 86400);
	a.ttl = 60;
	assert_int_equal(dns_cache_lifetime(&a), 60);
	a.status = DNS_NXDOMAIN;
	a.ttl = 86400;
	assert_int_equal(dns_cache_lifetime(&a), 900);
	a.status = DNS_NODATA;
	a.ttl = 0;
	assert_int_equal(dns_cache_lifetime(&a), 5);
	for (int s = DNS_SERVFAIL; s <= DNS_BOGUS; s++) {
		a.status = (enum dns_status) s;
		assert_in_range(dns_cache_lifetime(&a), 5, 30);
	}
}

static void test_a_full_cache_forgets_what_was_not_asked_for_the_longest(void **state)
{
	struct fixture f = begin();
	struct dns_answer in = positive(100, NULL, 0), out;
	struct dns_cache *c;
	char name[32];

	assert_int_equal(dns_cache_new(f.world, 3, &c), 0);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		dns_cache_put(c, name, DNS_A, &in);
	}
	assert_int_equal(dns_cache_get(c, "n0.example", DNS_A, f.arena, &out), 1);
	dns_cache_put(c, "n3.example", DNS_A, &in);
	dns_cache_put(c, "n3.example", DNS_A, &in); /* in its own place */
	assert_int_equal(dns_cache_stats(c).entries, 3);
	assert_int_equal(dns_cache_get(c, "n0.example", DNS_A, f.arena, &out), 1);
	assert_int_equal(dns_cache_get(c, "n1.example", DNS_A, f.arena, &out), 0);
	assert_int_equal(dns_cache_get(c, "n2.example", DNS_A, f.arena, &out), 1);
	assert_int_equal(dns_cache_get(c, "n3.example", DNS_A, f.arena, &out), 1);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "m%u.example", i);
		dns_cache_put(c, name, DNS_A, &in);
		assert_true(dns_cache_stats(c).entries <= 3);
	}
	dns_cache_clear(c);
	assert_int_equal(dns_cache_stats(c).entries, 0);
	dns_cache_free(c);
	end(&f);
}

static void test_an_enormous_answer_is_not_kept(void **state)
{
	struct fixture f = begin();
	struct dns_record record = { .data = { calloc(1, 100000), 100000 } };
	struct dns_answer in = positive(100, &record, 1);
	struct dns_cache *c;

	assert_int_equal(dns_cache_new(f.world, 3, &c), 0);
	dns_cache_put(c, "a.example", DNS_TXT, &in);
	assert_int_equal(dns_cache_stats(c).entries, 0);
	dns_cache_free(c);
	free((void *) (uintptr_t) record.data.data);
	end(&f);
}

/* --- the front ---------------------------------------------------------------------------------------------- */

struct asked {
	struct fixture f;
	struct resolver *resolver;
	struct loop *loop;
	unsigned questions;
	enum dns_status status; /* what the hook makes of them */
	usec_t delay;
	usec_t patience;
	struct dns_answer answer;
	int result;
};

static void count_questions(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	struct asked *q = context;

	q->questions++;
	*status = q->status;
	*delay = q->delay;
}

static void begin_asking(struct asked *q, const char *text)
{
	struct zone *zone;
	char *why;

	*q = (struct asked) { .f = begin(), .patience = USEC_MIN };
	assert_int_equal(zone_parse(slice_from(text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(q->f.world, zone, 0, &q->resolver), 0);
	zone_resolver_set_hook(q->resolver, count_questions, q);
	assert_int_equal(loop_new(q->f.world, "l", 0, 0, &q->loop), 0);
	assert_int_equal(loop_start(q->loop), 0);
}

static void end_asking(struct asked *q)
{
	loop_stop(q->loop);
	loop_free(q->loop);
	resolver_free(q->resolver);
	end(&q->f);
}

static void ask_fiber(void *arg)
{
	struct asked *q = arg;

	q->result = dns_query(q->resolver, "A.example.", DNS_A, now() + q->patience, q->f.arena, &q->answer);
}

static void ask(struct asked *q)
{
	q->result = -1;
	assert_int_equal(loop_spawn(q->loop, "ask", ask_fiber, q), 0);
	pass_time(&q->f, q->delay + USEC_SEC);
	assert_int_equal(q->result, 0);
}

static void test_the_second_question_does_not_reach_the_zone(void **state)
{
	struct asked q;
	struct dns_answer answer;

	begin_asking(&q, "a.example. 600 A 192.0.2.1\n");
	assert_int_equal(dns_query_cached(q.resolver, "a.example", DNS_A, q.f.arena, &answer), 0);
	q.delay = 2 * USEC_SEC;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_OK);
	ask(&q);
	assert_int_equal(q.questions, 1);
	assert_int_equal(dns_query_cached(q.resolver, "a.EXAMPLE", DNS_A, q.f.arena, &answer), 1);
	assert_int_equal(answer.n_records, 1);
	pass_time(&q.f, 600 * USEC_SEC);
	assert_int_equal(dns_query_cached(q.resolver, "a.example", DNS_A, q.f.arena, &answer), 0);
	assert_int_equal(dns_query_cached(q.resolver, "not..a.name", DNS_A, q.f.arena, &answer), 1);
	assert_int_equal(answer.status, DNS_NXDOMAIN);
	end_asking(&q);
}

static void test_trouble_is_remembered_for_seconds_only(void **state)
{
	struct asked q;

	begin_asking(&q, "a.example. 600 A 192.0.2.1\n");
	q.status = DNS_SERVFAIL;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_SERVFAIL);
	q.status = DNS_OK;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_SERVFAIL);
	pass_time(&q.f, 30 * USEC_SEC);
	ask(&q);
	assert_int_equal(q.answer.status, DNS_OK);
	end_asking(&q);
}

static void test_the_impatience_of_one_is_not_the_answer_for_another(void **state)
{
	struct asked q;

	begin_asking(&q, "a.example. 600 A 192.0.2.1\n");
	q.delay = 2 * USEC_SEC;
	q.patience = USEC_SEC;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_TIMEOUT);
	q.patience = USEC_MIN;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_OK);
	end_asking(&q);
}

static void test_a_real_time_out_is_remembered(void **state)
{
	struct asked q;

	begin_asking(&q, "a.example. 600 A 192.0.2.1\n");
	q.delay = 10 * USEC_SEC;
	q.patience = 5 * USEC_SEC;
	ask(&q);
	assert_int_equal(q.answer.status, DNS_TIMEOUT);
	assert_int_equal(dns_query_cached(q.resolver, "a.example", DNS_A, q.f.arena, &q.answer), 1);
	end_asking(&q);
}

static void test_cancelling_ends_a_question(void **state)
{
	struct asked q;

	begin_asking(&q, "a.example. 600 A 192.0.2.1\n");
	q.delay = 10 * USEC_SEC;
	q.result = -1;
	assert_int_equal(loop_spawn(q.loop, "ask", ask_fiber, &q), 0);
	pass_time(&q.f, USEC_SEC);
	loop_stop(q.loop);
	assert_int_equal(q.result, -ECANCELED);
	loop_free(q.loop);
	resolver_free(q.resolver);
	end(&q.f);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void test_names_have_one_spelling(void **state)
{
	static const struct {
		const char *text, *expected; /* NULL: not a name */
	} cases[] = {
		{ "Example.ORG", "example.org" }, { "example.org.", "example.org" }, { "", "" }, { ".", "" },
		{ "\\101.b", "e.b" }, { "a\\.b.c", "a\\.b.c" }, { "a\\046b.c", "a\\.b.c" }, { "sp\\032ace", "sp\\032ace" },
		{ "_25._tcp.x", "_25._tcp.x" }, { "..", NULL }, { ".a", NULL }, { "a..b", NULL }, { "a\\", NULL },
		{ "a\\25", NULL }, { "a\\256", NULL },
		{ "a123456789b123456789c123456789d123456789e123456789f123456789g12",
		  "a123456789b123456789c123456789d123456789e123456789f123456789g12" },
		{ "a123456789b123456789c123456789d123456789e123456789f123456789g123", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[DNS_NAME_TEXT];
		struct dns_name n, again;
		int r = dns_name_parse(slice_from(cases[i].text), NULL, &n);

		assert_int_equal(r == 0, cases[i].expected != NULL);
		if (r < 0)
			continue;
		assert_string_equal(dns_name_format(&n, text), cases[i].expected);
		assert_int_equal(dns_name_parse(slice_from(text), NULL, &again), 0);
		assert_true(dns_name_equal(&n, &again));
		assert_int_equal(dns_name_from_wire(n.wire, n.len, &again), n.len);
		assert_true(dns_name_equal(&n, &again));
		assert_int_equal(dns_name_from_wire(n.wire, n.len - 1u, &again), -EBADMSG);
	}
}

static void test_the_longest_name_fits_and_one_byte_more_does_not(void **state)
{
	char name[512];
	struct dns_name n, origin, w;

	snprintf(name, sizeof(name), "%0*d.%0*d.%0*d.%0*d", 63, 0, 63, 0, 63, 0, 61, 0);
	assert_int_equal(dns_name_parse(slice_from(name), NULL, &n), 0);
	assert_int_equal(n.len, 255);
	assert_int_equal(dns_name_wildcard(&n, &w), -ENAMETOOLONG);
	snprintf(name, sizeof(name), "%0*d.%0*d.%0*d.%0*d", 63, 0, 63, 0, 63, 0, 62, 0);
	assert_int_equal(dns_name_parse(slice_from(name), NULL, &n), -ENAMETOOLONG);
	assert_int_equal(dns_name_parse(SLICE("ab."), NULL, &origin), 0);
	snprintf(name, sizeof(name), "%0*d.%0*d.%0*d.%0*d", 63, 0, 63, 0, 63, 0, 58, 0);
	assert_int_equal(dns_name_parse(slice_from(name), &origin, &n), 0);
	assert_int_equal(n.len, 255);
	snprintf(name, sizeof(name), "%0*d.%0*d.%0*d.%0*d", 63, 0, 63, 0, 63, 0, 59, 0);
	assert_int_equal(dns_name_parse(slice_from(name), &origin, &n), -ENAMETOOLONG);
}

static void test_host_names_are_told_from_other_text(void **state)
{
	assert_true(dns_name_is_host("mx1.example.org"));
	assert_true(dns_name_is_host("xn--bcher-kva.example"));
	assert_true(dns_name_is_host("mail_1.example"));
	assert_true(dns_name_is_host("1.2.example3"));
	assert_true(dns_name_is_host("localhost"));
	assert_false(dns_name_is_host(""));
	assert_false(dns_name_is_host("192.0.2.1"));
	assert_false(dns_name_is_host("2001:db8::1"));
	assert_false(dns_name_is_host("-a.example"));
	assert_false(dns_name_is_host("a..b"));
	assert_false(dns_name_is_host("a.example."));
	assert_false(dns_name_is_host("a b.example"));
	assert_false(dns_name_is_host("a\\.b.example"));
	assert_false(dns_name_is_host("b\xc3\xbc""cher.example"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_comes_back_as_a_whole_copy_with_what_is_left_of_its_time),
		cmocka_unit_test(test_an_answer_is_gone_when_its_time_is_over),
		cmocka_unit_test(test_each_kind_of_answer_has_its_longest_life),
		cmocka_unit_test(test_a_full_cache_forgets_what_was_not_asked_for_the_longest),
		cmocka_unit_test(test_an_enormous_answer_is_not_kept),
		cmocka_unit_test(test_the_second_question_does_not_reach_the_zone),
		cmocka_unit_test(test_trouble_is_remembered_for_seconds_only),
		cmocka_unit_test(test_the_impatience_of_one_is_not_the_answer_for_another),
		cmocka_unit_test(test_a_real_time_out_is_remembered),
		cmocka_unit_test(test_cancelling_ends_a_question),
		cmocka_unit_test(test_names_have_one_spelling),
		cmocka_unit_test(test_the_longest_name_fits_and_one_byte_more_does_not),
		cmocka_unit_test(test_host_names_are_told_from_other_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
