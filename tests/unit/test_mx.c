/* Exchangers, addresses and reverse names, out of a zone, in a simulated world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/mx.h"
#include "dns/zone.h"
#include "world/sim.h"

static const char zone_text[] =
	"$ORIGIN example.\n"
	"two        MX 20 b.mx\n"
	"two        MX 10 z.mx\n"
	"two        MX 10 A.mx\n"
	"two        MX 30 a.mx\n"
	"twin       MX 10 a.mx\n"
	"twin       MX 20 b.mx\n"
	"twin       MX 10 z.mx\n"
	"implicit   A 192.0.2.1\n"
	"implicit6  AAAA 2001:db8::1\n"
	"text       TXT \"no mail here\"\n"
	"null       MX 0 .\n"
	"mixed      MX 0 .\n"
	"mixed      MX 10 a.mx\n"
	"address    MX 10 192.0.2.9.\n"
	"address    A 192.0.2.1\n"
	"partly     MX 5 192.0.2.9.\n"
	"partly     MX 6 bad\\032name\n"
	"partly     MX 10 a.mx\n"
	"alias      CNAME two\n"
	"alias2     CNAME implicit\n"
	"dangling   CNAME nowhere\n"
	"; SERVFAIL broken\n"
	"; TIMEOUT  slow\n"
	"; TIMEOUT  half\n"
	"half       A 192.0.2.7\n"
	"a.mx       A 192.0.2.10\n"
	"a.mx       A 192.0.2.11\n"
	"a.mx       AAAA 2001:db8::10\n"
	"b.mx       A 192.0.2.20\n"
	"halfmx     MX 10 half\n"
	"$ORIGIN in-addr.arpa.\n"
	"10.2.0.192 PTR a.mx.example.\n"
	"20.2.0.192 PTR liar.example.\n"
	"20.2.0.192 PTR a.mx.example.\n"
	"20.2.0.192 PTR b.mx.example.\n"
	"30.2.0.192 PTR a.mx.example.\n"
	"40.2.0.192 PTR slow.example.\n"
	"; SERVFAIL 50.2.0.192\n"
	"$ORIGIN 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.\n"
	"0.1 PTR a.mx.example.\n";

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct resolver *resolver;
	struct arena *arena;
	void (*fn)(struct fixture *f);
	bool done;
};

static void fixture_main(void *arg)
{
	struct fixture *f = arg;

	f->fn(f);
	f->done = true;
}

static void in_fiber(const char *text, void (*fn)(struct fixture *f))
{
	struct fixture f = { .fn = fn };
	struct zone *zone;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f.sim), 0);
	assert_int_equal(sim_host_new(f.sim, "h", "", &f.host, &f.world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	assert_int_equal(zone_parse(slice_from(text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(f.world, zone, 0, &f.resolver), 0);
	assert_int_equal(loop_new(f.world, "l", 0, 0, &f.loop), 0);
	assert_int_equal(loop_start(f.loop), 0);
	assert_int_equal(loop_spawn(f.loop, "test", fixture_main, &f), 0);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_true(f.done);
	loop_stop(f.loop);
	loop_free(f.loop);
	resolver_free(f.resolver);
	arena_free(f.arena);
	world_free(f.world);
	sim_free(f.sim);
}

/* "status: preference name, ..." as one text that is easy to compare. */
static const char *describe(struct fixture *f, const char *domain)
{
	static const char *const names[] = { "ok", "implicit", "null", "no domain", "no host", "temporary" };
	_cleanup_buffer_ struct buffer b = { .data = NULL };
	struct mx_set set;

	assert_int_equal(dns_mx(f->resolver, domain, now() + USEC_MIN, f->arena, &set), 0);
	buffer_append_str(&b, names[set.status]);
	for (unsigned i = 0; i < set.n_hosts; i++)
		buffer_printf(&b, "%s%u %s", i ? ", " : ": ", set.hosts[i].preference, set.hosts[i].name);
	assert_int_equal(set.n_hosts > 0, set.status <= MX_IMPLICIT);
	assert_int_equal(set.why != NULL, set.status > MX_IMPLICIT);
	assert_int_equal(set.note != NULL, set.n_skipped > 0);
	return arena_slice(f->arena, buffer_slice(&b));
}

static void exchangers(struct fixture *f)
{
	assert_string_equal(describe(f, "two.example"), "ok: 10 a.mx.example, 10 z.mx.example, 20 b.mx.example");
	assert_string_equal(describe(f, "twin.example."), describe(f, "TWO.example"));
	assert_string_equal(describe(f, "alias.example"), describe(f, "two.example"));
}

static void test_exchangers_come_by_preference_and_equals_by_name(void **state)
{
	in_fiber(zone_text, exchangers);
}

static void implicit(struct fixture *f)
{
	assert_string_equal(describe(f, "implicit.example"), "implicit: 0 implicit.example");
	assert_string_equal(describe(f, "implicit6.example"), "implicit: 0 implicit6.example");
	assert_string_equal(describe(f, "alias2.example"), "implicit: 0 implicit.example");
	assert_string_equal(describe(f, "text.example"), "no host");
	assert_string_equal(describe(f, "mx.example"), "no host");
}

static void test_a_domain_without_mx_is_its_own_exchanger_if_it_has_an_address(void **state)
{
	in_fiber(zone_text, implicit);
}

static void null_mx(struct fixture *f)
{
	struct mx_set set;

	assert_string_equal(describe(f, "null.example"), "null");
	assert_string_equal(describe(f, "mixed.example"), "ok: 10 a.mx.example");
	assert_int_equal(dns_mx(f->resolver, "mixed.example", DEADLINE_NEVER, f->arena, &set), 0);
	assert_string_equal(set.note, "the MX '.' of mixed.example beside others means nothing (RFC 7505 section 3)");
}

static void test_a_null_mx_says_that_no_mail_is_taken(void **state)
{
	in_fiber(zone_text, null_mx);
}

static void useless(struct fixture *f)
{
	struct mx_set set;

	assert_string_equal(describe(f, "address.example"), "no host");
	assert_string_equal(describe(f, "partly.example"), "ok: 10 a.mx.example");
	assert_int_equal(dns_mx(f->resolver, "partly.example", DEADLINE_NEVER, f->arena, &set), 0);
	assert_int_equal(set.n_skipped, 2);
	assert_string_equal(set.note,
			    "the MX '192.0.2.9' of partly.example is an address, where a name must be (RFC 5321 section 5.1)");
}

static void test_records_that_name_no_host_are_skipped_and_noted(void **state)
{
	in_fiber(zone_text, useless);
}

static void failing(struct fixture *f)
{
	assert_string_equal(describe(f, "nowhere.example"), "no domain");
	assert_string_equal(describe(f, "not..valid"), "no domain");
	assert_string_equal(describe(f, "dangling.example"), "no domain");
	assert_string_equal(describe(f, "broken.example"), "temporary");
	assert_string_equal(describe(f, "slow.example"), "temporary");
	assert_string_equal(describe(f, "half.example"), "temporary"); /* its MX can't be told */
}

static void test_trouble_is_told_from_absence(void **state)
{
	in_fiber(zone_text, failing);
}

static void cached(struct fixture *f)
{
	struct mx_set set;
	struct dns_address_list list;

	assert_int_equal(dns_mx_cached(f->resolver, "implicit.example", f->arena, &set), 0);
	assert_int_equal(dns_mx(f->resolver, "implicit.example", DEADLINE_NEVER, f->arena, &set), 0);
	assert_int_equal(dns_mx_cached(f->resolver, "implicit.example", f->arena, &set), 1);
	assert_int_equal(set.status, MX_IMPLICIT);
	assert_int_equal(dns_addresses_cached(f->resolver, "a.mx.example", DNS_IPV4, f->arena, &list), 0);
	assert_int_equal(dns_addresses(f->resolver, "a.mx.example", DNS_IPV4, DEADLINE_NEVER, f->arena, &list), 0);
	assert_int_equal(dns_addresses_cached(f->resolver, "a.mx.example", DNS_IPV4, f->arena, &list), 1);
	assert_int_equal(list.n_ips, 2);
	assert_int_equal(dns_addresses_cached(f->resolver, "a.mx.example", DNS_IPV4_AND_IPV6, f->arena, &list), 0);
}

static void test_the_cache_alone_answers_only_what_it_has(void **state)
{
	in_fiber(zone_text, cached);
}

static void many_hosts(struct fixture *f)
{
	struct mx_set set;

	assert_int_equal(dns_mx(f->resolver, "many.example", DEADLINE_NEVER, f->arena, &set), 0);
	assert_int_equal(set.status, MX_OK);
	assert_int_equal(set.n_hosts, MX_HOSTS_MAX);
	for (unsigned i = 1; i < set.n_hosts; i++)
		assert_true(set.hosts[i - 1].preference < set.hosts[i].preference);
}

static void test_a_domain_with_hundreds_of_exchangers_gets_the_first(void **state)
{
	_cleanup_buffer_ struct buffer text = { .data = NULL };

	for (unsigned i = 0; i < 400; i++)
		buffer_printf(&text, "many.example. MX %u h%u.example.\n", 1000 - i, i);
	in_fiber(text.data, many_hosts);
}

/* --- addresses ------------------------------------------------------------------------------------------------- */

static void delay_all(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	*delay = USEC_SEC;
}

static void addresses(struct fixture *f)
{
	struct dns_address_list list;
	char text[IP_TEXT];
	usec_t start = now();

	zone_resolver_set_hook(f->resolver, delay_all, NULL);
	assert_int_equal(dns_addresses(f->resolver, "A.MX.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_true(now() - start < 2 * USEC_SEC); /* both at once */
	assert_int_equal(list.n_ips, 3);
	assert_string_equal(ip_format(&list.ips[0], text), "2001:db8::10");
	assert_string_equal(ip_format(&list.ips[1], text), "192.0.2.10");
	assert_string_equal(list.canonical, "a.mx.example");
	assert_false(list.temporary || list.nxdomain || list.why);
	assert_int_equal(dns_addresses(f->resolver, "a.mx.example", DNS_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_int_equal(list.n_ips, 1);
	assert_int_equal(dns_addresses(f->resolver, "half.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_int_equal(list.n_ips, 1);
	assert_true(list.temporary);
	assert_int_equal(dns_addresses(f->resolver, "nowhere.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_true(list.n_ips == 0 && list.nxdomain && !list.temporary);
	assert_string_equal(list.why, "nowhere.example does not exist");
	assert_int_equal(dns_addresses(f->resolver, "text.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_string_equal(list.why, "text.example has no address");
	assert_int_equal(dns_addresses(f->resolver, "b.mx.example", DNS_IPV4, now() + USEC_MS, f->arena, &list), 0);
	assert_true(list.n_ips == 0 && list.temporary);
}

static void test_both_families_are_asked_for_at_once(void **state)
{
	in_fiber(zone_text, addresses);
}

static void cancelled_child(void *arg)
{
	struct fixture *f = arg;
	struct dns_address_list list;
	struct arena *a;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(dns_addresses(f->resolver, "a.mx.example", DNS_IPV4_AND_IPV6, DEADLINE_NEVER, a, &list), -ECANCELED);
	arena_free(a);
}

static void cancelling(struct fixture *f)
{
	struct fiber_group group;

	zone_resolver_set_hook(f->resolver, delay_all, NULL);
	fiber_group_init(&group);
	assert_int_equal(fiber_group_spawn(&group, "child", cancelled_child, f), 0);
	assert_int_equal(fiber_sleep_until(now() + 10 * USEC_MS), 0);
	fiber_group_done(&group);
}

static void test_cancelling_ends_both_questions(void **state)
{
	in_fiber(zone_text, cancelling);
}

/* --- reverse ----------------------------------------------------------------------------------------------------- */

static void reverse(struct fixture *f)
{
	static const struct {
		const char *ip, *name; /* NULL: -EAGAIN */
	} cases[] = {
		{ "192.0.2.10", "a.mx.example" },   { "2001:db8::10", "a.mx.example" },
		{ "192.0.2.20", "b.mx.example" },   { "192.0.2.30", "" },
		{ "192.0.2.40", NULL },             { "192.0.2.50", NULL },
		{ "192.0.2.99", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *name = NULL;
		struct ip ip;
		int r;

		assert_int_equal(ip_parse(slice_from(cases[i].ip), &ip), 0);
		r = dns_reverse(f->resolver, &ip, now() + USEC_MIN, f->arena, &name);
		assert_int_equal(r, cases[i].name ? 0 : -EAGAIN);
		if (r == 0)
			assert_string_equal(name, cases[i].name);
	}
}

static void test_a_reverse_name_counts_only_if_it_leads_back(void **state)
{
	in_fiber(zone_text, reverse);
}

static void test_reverse_names_are_spelled_for_both_families_and_for_lists(void **state)
{
	struct arena *a;
	struct ip ip;

	assert_int_equal(arena_new(0, &a), 0);
	assert_int_equal(ip_parse(SLICE("192.0.2.1"), &ip), 0);
	assert_string_equal(dns_reverse_name(a, &ip, NULL), "1.2.0.192.in-addr.arpa");
	assert_string_equal(dns_reverse_name(a, &ip, "bl.example"), "1.2.0.192.bl.example");
	assert_int_equal(ip_parse(SLICE("2001:db8::ab"), &ip), 0);
	assert_string_equal(dns_reverse_name(a, &ip, NULL),
			    "b.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchangers_come_by_preference_and_equals_by_name),
		cmocka_unit_test(test_a_domain_without_mx_is_its_own_exchanger_if_it_has_an_address),
		cmocka_unit_test(test_a_null_mx_says_that_no_mail_is_taken),
		cmocka_unit_test(test_records_that_name_no_host_are_skipped_and_noted),
		cmocka_unit_test(test_trouble_is_told_from_absence),
		cmocka_unit_test(test_the_cache_alone_answers_only_what_it_has),
		cmocka_unit_test(test_a_domain_with_hundreds_of_exchangers_gets_the_first),
		cmocka_unit_test(test_both_families_are_asked_for_at_once),
		cmocka_unit_test(test_cancelling_ends_both_questions),
		cmocka_unit_test(test_a_reverse_name_counts_only_if_it_leads_back),
		cmocka_unit_test(test_reverse_names_are_spelled_for_both_families_and_for_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
