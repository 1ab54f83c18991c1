/* What a host must show: the voices of route, DANE, MTA-STS and message, joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "route/policy.h"
#include "world/sim.h"

#define SHA "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char zone_text[] =
	"; SECURE signed.example\n"
	"signed.example               MX 10 mx.signed.example.\n"
	"mx.signed.example            A 192.0.2.1\n"
	"_25._tcp.mx.signed.example   TLSA 3 1 1 " SHA "\n"
	"odd.signed.example           A 192.0.2.2\n"
	"_25._tcp.odd.signed.example  TLSA 1 1 1 " SHA "\n"
	"bare.signed.example          A 192.0.2.3\n"
	"sick.signed.example          A 192.0.2.4\n"
	"; SERVFAIL _25._tcp.sick.signed.example\n"
	"alias.signed.example         CNAME signed.example\n"
	"plain.example                MX 10 mx.plain.example.\n"
	"_smtp._tcp.signed.example    SRV 0 0 25 mx.signed.example.\n"
	"_smtp._tcp.plain.example     SRV 0 0 25 mx.signed.example.\n"
	"mx.plain.example             A 192.0.2.5\n"
	"; SERVFAIL sick.example\n"
	"_mta-sts.plain.example       TXT \"v=STSv1; id=1\"\n"
	"mta-sts.plain.example        A 192.0.2.9\n"
	"_mta-sts.signed.example      TXT \"v=STSv1; id=1\"\n"
	"mta-sts.signed.example       A 192.0.2.9\n";

static const char *mode; /* of the policies */

static enum sts_trouble fake_fetch(struct sts_fetch *f)
{
	buffer_printf(&f->body, "version: STSv1\nmode: %s\nmx: mx.plain.example\nmax_age: 86400\n", mode);
	return STS_FETCHED;
}

struct fixture {
	struct resolver *resolver;
	struct router *router;
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

/* sts NULL: without MTA-STS; else the mode of all policies. */
static void in_fiber(const char *sts_mode, void (*fn)(struct fixture *f))
{
	static const struct route_config config = { .hostname = "out.example" };
	static const struct sts_config sts_config;
	struct fixture f = { .fn = fn };
	struct sts *sts = NULL;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct zone *zone;
	struct sim *sim;
	char *why;

	mode = sts_mode;
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "h", "", &host, &world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(world, zone, 0, &f.resolver), 0);
	assert_int_equal(router_new(world, world_log(world), f.resolver, &config, &f.router), 0);
	assert_int_equal(loop_new(world, "l", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	if (sts_mode) {
		assert_int_equal(sts_new(world, world_log(world), f.resolver, &sts_config, fake_fetch, &sts), 0);
		assert_int_equal(sts_start(sts, loop), 0);
		router_set_sts(f.router, sts);
	}
	assert_int_equal(loop_spawn(loop, "test", fixture_main, &f), 0);
	sim_run(sim, sim_now(sim) + USEC_HOUR);
	assert_true(f.done);
	loop_stop(loop);
	sts_free(sts);
	loop_free(loop);
	router_free(f.router);
	resolver_free(f.resolver);
	arena_free(f.arena);
	world_free(world);
	sim_free(sim);
}

static struct host_policy ask(struct fixture *f, const char *domain, const char *host, enum tls_policy route, enum policy_wish wish)
{
	struct hop hop = { .kind = domain ? HOP_MX : HOP_HOST, .tls = route };
	struct target_host target = { .name = host, .port = 25 };
	struct domain_policy *d = arena_new_type(f->arena, struct domain_policy);
	struct host_policy p;

	assert_int_equal(policy_of_domain(f->router, &hop, slice_from(domain ? domain : host), now() + USEC_MIN, f->arena, d), 0);
	assert_int_equal(policy_of_host(f->router, d, route, &target, wish, now() + USEC_MIN, f->arena, &p), 0);
	assert_int_equal(p.refusal != REFUSED_NOT, p.why != NULL);
	assert_non_null(p.wanted);
	return p;
}

/* --- DANE and the route ------------------------------------------------------------------------------------------- */

static void join_with_route(struct fixture *f)
{
	static const struct {
		const char *domain, *host;
		enum tls_policy route, tls;
		enum policy_refusal refusal;
	} cases[] = {
		{ "signed.example", "mx.signed.example", TLS_MAY, TLS_DANE, REFUSED_NOT },
		{ "signed.example", "mx.signed.example", TLS_NONE, TLS_NONE, REFUSED_NOT },
		{ "signed.example", "mx.signed.example", TLS_VERIFY, TLS_DANE, REFUSED_NOT },
		{ "signed.example", "mx.signed.example", TLS_DANE, TLS_DANE, REFUSED_NOT },
		{ "signed.example", "odd.signed.example", TLS_MAY, TLS_REQUIRED, REFUSED_NOT },
		{ "signed.example", "odd.signed.example", TLS_VERIFY, TLS_VERIFY, REFUSED_NOT },
		{ "signed.example", "odd.signed.example", TLS_DANE, TLS_DANE, REFUSED_NO_DANE },
		{ "signed.example", "bare.signed.example", TLS_MAY, TLS_MAY, REFUSED_NOT },
		{ "signed.example", "bare.signed.example", TLS_REQUIRED, TLS_REQUIRED, REFUSED_NOT },
		{ "signed.example", "bare.signed.example", TLS_DANE, TLS_DANE, REFUSED_NO_DANE },
		{ "signed.example", "sick.signed.example", TLS_MAY, TLS_MAY, REFUSED_DNS },
		{ "signed.example", "sick.signed.example", TLS_NONE, TLS_NONE, REFUSED_NOT },
		/* Insecure MX records can name any host. */
		{ "plain.example", "mx.signed.example", TLS_MAY, TLS_MAY, REFUSED_NOT },
		{ "plain.example", "mx.signed.example", TLS_DANE, TLS_DANE, REFUSED_NO_DANE },
		/* Whether they are insecure can't be told now: nothing is given away. */
		{ "sick.example", "mx.signed.example", TLS_MAY, TLS_DANE, REFUSED_NOT },
		/* A host of the configuration. */
		{ NULL, "mx.signed.example", TLS_MAY, TLS_DANE, REFUSED_NOT },
		{ NULL, "mx.plain.example", TLS_DANE, TLS_DANE, REFUSED_NO_DANE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_policy p = ask(f, cases[i].domain, cases[i].host, cases[i].route, WISH_NONE);

		if (p.tls != cases[i].tls || p.refusal != cases[i].refusal)
			fail_msg("case %zu: tls %s, refusal %d", i, tls_policy_name(p.tls), p.refusal);
	}
}

static void test_the_strictest_of_route_and_dane_counts(void **state)
{
	in_fiber(NULL, join_with_route);
}

static void references(struct fixture *f)
{
	struct host_policy p = ask(f, "signed.example", "mx.signed.example", TLS_MAY, WISH_NONE);

	assert_string_equal(p.dane.base, "mx.signed.example");
	assert_int_equal(p.n_references, 1);
	assert_string_equal(p.references[0], "signed.example");
	p = ask(f, "Alias.signed.example", "mx.signed.example", TLS_MAY, WISH_NONE);
	assert_int_equal(p.n_references, 2);
	assert_string_equal(p.references[0], "alias.signed.example");
	assert_string_equal(p.references[1], "signed.example");
	assert_int_equal(ask(f, NULL, "mx.signed.example", TLS_MAY, WISH_NONE).n_references, 0);
}

static void test_a_certificate_may_be_for_the_domain_whose_mx_it_is(void **state)
{
	in_fiber(NULL, references);
}

static void names_by_srv(struct fixture *f)
{
	static const struct {
		const char *srv;
		enum tls_policy tls;
	} cases[] = { { "_smtp._tcp.signed.example", TLS_DANE }, { "_smtp._tcp.plain.example", TLS_MAY } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct relay relay = { .name = "far", .srv = cases[i].srv };
		const struct hop hops[] = { { .kind = HOP_SRV, .srv = cases[i].srv }, { .kind = HOP_RELAY, .relay = &relay } };
		struct target_host host = { .name = "mx.signed.example", .port = 25 };

		for (size_t k = 0; k < ARRAY_LEN(hops); k++) {
			struct domain_policy d;
			struct host_policy p;

			assert_int_equal(policy_of_domain(f->router, &hops[k], slice_from(host.name), now() + USEC_MIN, f->arena, &d), 0);
			assert_int_equal(policy_of_host(f->router, &d, hop_tls(&hops[k]), &host, WISH_NONE, now() + USEC_MIN, f->arena, &p), 0);
			assert_int_equal(p.tls, cases[i].tls);
			assert_int_equal(p.n_references, 0);
		}
	}
}

static void test_srv_records_vouch_for_hosts_when_they_are_signed(void **state)
{
	in_fiber(NULL, names_by_srv);
}

/* --- the message ------------------------------------------------------------------------------------------------------ */

static void wishes(struct fixture *f)
{
	struct host_policy p = ask(f, "signed.example", "mx.signed.example", TLS_MAY, WISH_OPTIONAL);

	assert_int_equal(p.tls, TLS_MAY);
	assert_string_equal(p.wanted, "may, TLS-Required: No");
	assert_int_equal(ask(f, "signed.example", "sick.signed.example", TLS_MAY, WISH_OPTIONAL).refusal, REFUSED_NOT);
	/* What the administrator wants is no policy of the recipient's. */
	assert_int_equal(ask(f, "signed.example", "mx.signed.example", TLS_REQUIRED, WISH_OPTIONAL).tls, TLS_REQUIRED);
	assert_int_equal(ask(f, "signed.example", "bare.signed.example", TLS_DANE, WISH_OPTIONAL).refusal, REFUSED_NO_DANE);

	assert_int_equal(ask(f, "signed.example", "mx.signed.example", TLS_MAY, WISH_PROTECTED).tls, TLS_DANE);
	p = ask(f, "signed.example", "bare.signed.example", TLS_NONE, WISH_PROTECTED);
	assert_int_equal(p.tls, TLS_VERIFY);
	assert_string_equal(p.wanted, "verify, REQUIRETLS");
	assert_int_equal(ask(f, "plain.example", "mx.plain.example", TLS_MAY, WISH_PROTECTED).refusal, REFUSED_INSECURE);
	assert_int_equal(ask(f, "sick.example", "bare.signed.example", TLS_MAY, WISH_PROTECTED).refusal, REFUSED_DNS);
	assert_int_equal(ask(f, NULL, "mx.plain.example", TLS_MAY, WISH_PROTECTED).tls, TLS_VERIFY);
}

static void test_the_message_may_ask_for_more_and_for_less(void **state)
{
	in_fiber(NULL, wishes);
}

/* --- MTA-STS ------------------------------------------------------------------------------------------------------------- */

static void enforced(struct fixture *f)
{
	struct host_policy p = ask(f, "plain.example", "mx.plain.example", TLS_MAY, WISH_NONE);

	assert_int_equal(p.tls, TLS_VERIFY);
	assert_int_equal(p.by, VOICE_STS);
	assert_string_equal(p.wanted, "verify, MTA-STS enforce of plain.example");
	p = ask(f, "plain.example", "mx.signed.example", TLS_MAY, WISH_NONE);
	assert_int_equal(p.refusal, REFUSED_STS);
	assert_int_equal(ask(f, "plain.example", "mx.plain.example", TLS_NONE, WISH_NONE).tls, TLS_NONE);
	assert_int_equal(ask(f, "plain.example", "mx.signed.example", TLS_MAY, WISH_OPTIONAL).refusal, REFUSED_NOT);
	/* Where TLSA records can be used, they decide; where none can, both have a say. */
	p = ask(f, "signed.example", "mx.signed.example", TLS_MAY, WISH_NONE);
	assert_int_equal(p.tls, TLS_DANE);
	assert_int_equal(p.without, TLS_VERIFY);
	assert_int_equal(p.refusal, REFUSED_NOT);
	assert_int_equal(ask(f, "signed.example", "odd.signed.example", TLS_MAY, WISH_NONE).refusal, REFUSED_STS);
	/* RFC 8689 section 4.2.1. */
	assert_int_equal(ask(f, "plain.example", "mx.plain.example", TLS_MAY, WISH_PROTECTED).refusal, REFUSED_NOT);
}

static void test_an_enforced_policy_asks_for_its_hosts_and_their_certificates(void **state)
{
	in_fiber("enforce", enforced);
}

static void tested(struct fixture *f)
{
	struct host_policy p = ask(f, "plain.example", "mx.signed.example", TLS_MAY, WISH_NONE);

	assert_int_equal(p.tls, TLS_MAY);
	assert_int_equal(p.refusal, REFUSED_NOT);
	assert_string_equal(p.wanted, "may, MTA-STS testing of plain.example");
	assert_int_equal(ask(f, "plain.example", "mx.plain.example", TLS_MAY, WISH_PROTECTED).refusal, REFUSED_NOT);
	assert_int_equal(ask(f, "plain.example", "mx.signed.example", TLS_MAY, WISH_PROTECTED).refusal, REFUSED_INSECURE);
}

static void test_a_policy_in_testing_asks_for_nothing_but_vouches_for_names(void **state)
{
	in_fiber("testing", tested);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_strictest_of_route_and_dane_counts),
		cmocka_unit_test(test_a_certificate_may_be_for_the_domain_whose_mx_it_is),
		cmocka_unit_test(test_srv_records_vouch_for_hosts_when_they_are_signed),
		cmocka_unit_test(test_the_message_may_ask_for_more_and_for_less),
		cmocka_unit_test(test_an_enforced_policy_asks_for_its_hosts_and_their_certificates),
		cmocka_unit_test(test_a_policy_in_testing_asks_for_nothing_but_vouches_for_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
