/* TLSA records and the rules of RFC 7672 section 2.2 for finding them, out of a zone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/tlsa.h"
#include "dns/zone.h"
#include "world/sim.h"

#define SHA "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char zone_text[] =
	"; SECURE signed.example\n"
	"mx.signed.example             A 192.0.2.1\n"
	"_25._tcp.mx.signed.example    TLSA 3 1 1 " SHA "\n"
	"_25._tcp.mx.signed.example    TLSA 0 0 1 " SHA "\n"
	"bare.signed.example           A 192.0.2.2\n"
	"pkix.signed.example           A 192.0.2.3\n"
	"_25._tcp.pkix.signed.example  TLSA 1 1 1 " SHA "\n"
	"_25._tcp.pkix.signed.example  TLSA 3 1 1 0011\n"
	"slow.signed.example           A 192.0.2.4\n"
	"; TIMEOUT _25._tcp.slow.signed.example\n"
	"sick.signed.example           A 192.0.2.5\n"
	"; SERVFAIL _25._tcp.sick.signed.example\n"
	"half.signed.example           A 192.0.2.6\n"
	"; SERVFAIL half.signed.example\n"
	"_25._tcp.half.signed.example  TLSA 3 1 1 " SHA "\n"
	"else.signed.example           A 192.0.2.7\n"
	"_25._tcp.else.signed.example  CNAME tlsa.plain.example\n"
	"shared.signed.example         A 192.0.2.8\n"
	"_25._tcp.shared.signed.example CNAME all._dane.signed.example\n"
	"all._dane.signed.example      TLSA 2 0 1 " SHA "\n"
	"alias.signed.example          CNAME mx.signed.example\n"
	"alias2.signed.example         CNAME bare.signed.example\n"
	"_25._tcp.alias2.signed.example TLSA 3 1 1 " SHA "\n"
	"out.signed.example            CNAME mx.plain.example\n"
	"_25._tcp.out.signed.example   TLSA 3 1 1 " SHA "\n"
	"sick-alias.signed.example     CNAME slow.signed.example\n"
	"_25._tcp.sick-alias.signed.example TLSA 3 1 1 " SHA "\n"
	"mx.plain.example              A 192.0.2.20\n"
	"_25._tcp.mx.plain.example     TLSA 3 1 1 " SHA "\n"
	"in.plain.example              CNAME mx.signed.example\n"
	"tlsa.plain.example            TLSA 3 1 1 " SHA "\n"
	"silent.plain.example          A 192.0.2.21\n"
	"; TIMEOUT _25._tcp.silent.plain.example\n";

struct fixture {
	struct resolver *resolver;
	struct arena *arena;
	void (*fn)(struct fixture *f);
	unsigned questions; /* for TLSA records */
	bool done;
};

static void count(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	((struct fixture *) context)->questions += type == DNS_TLSA;
}

static void fixture_main(void *arg)
{
	struct fixture *f = arg;

	f->fn(f);
	f->done = true;
}

static void in_fiber(void (*fn)(struct fixture *f))
{
	struct fixture f = { .fn = fn };
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct zone *zone;
	struct sim *sim;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "h", "", &host, &world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(world, zone, 0, &f.resolver), 0);
	zone_resolver_set_hook(f.resolver, count, &f);
	assert_int_equal(loop_new(world, "l", 0, 0, &loop), 0);
	assert_int_equal(loop_start(loop), 0);
	assert_int_equal(loop_spawn(loop, "test", fixture_main, &f), 0);
	sim_run(sim, DEADLINE_NEVER);
	assert_true(f.done);
	loop_stop(loop);
	loop_free(loop);
	resolver_free(f.resolver);
	arena_free(f.arena);
	world_free(world);
	sim_free(sim);
}

static struct dane find(struct fixture *f, const char *host)
{
	struct dns_address_list list;
	struct dane dane;

	f->questions = 0;
	assert_int_equal(dns_addresses(f->resolver, host, DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_int_equal(list.n_ips, 1);
	assert_int_equal(dane_find(f->resolver, host, 25, &list, now() + USEC_MIN, f->arena, &dane), 0);
	assert_int_equal(dane.n_records > 0, dane.status == DANE_USABLE || dane.status == DANE_UNUSABLE);
	assert_int_equal(dane.why != NULL, dane.status == DANE_NONE || dane.status == DANE_ERROR);
	return dane;
}

/* --- where they are looked for ------------------------------------------------------------------------------ */

static void signed_hosts(struct fixture *f)
{
	struct dane d = find(f, "mx.signed.example");

	assert_int_equal(d.status, DANE_USABLE);
	assert_int_equal(d.n_records, 2);
	assert_string_equal(d.base, "mx.signed.example");
	assert_string_equal(d.name, "_25._tcp.mx.signed.example");
	assert_int_equal(find(f, "bare.signed.example").status, DANE_NONE);
	assert_int_equal(f->questions, 1);
	d = find(f, "shared.signed.example");
	assert_int_equal(d.status, DANE_USABLE);
	assert_string_equal(d.base, "shared.signed.example"); /* an alias of the record changes no name */
}

static void test_a_signed_host_is_asked_for_its_records(void **state)
{
	in_fiber(signed_hosts);
}

static void unusable(struct fixture *f)
{
	struct dane d = find(f, "pkix.signed.example");

	assert_int_equal(d.status, DANE_UNUSABLE);
	assert_int_equal(d.n_records, 2);
}

static void test_records_of_the_usages_0_and_1_and_broken_ones_are_there_but_of_no_use(void **state)
{
	in_fiber(unusable);
}

static void errors(struct fixture *f)
{
	assert_int_equal(find(f, "slow.signed.example").status, DANE_ERROR);
	assert_int_equal(find(f, "sick.signed.example").status, DANE_ERROR);
	assert_non_null(strstr(find(f, "sick.signed.example").why, "the TLSA records of sick.signed.example can't be looked up: "));
	/* An error at the first candidate is not made good by records at the second. */
	assert_int_equal(find(f, "sick-alias.signed.example").status, DANE_ERROR);
}

static void test_an_answer_that_does_not_come_is_never_taken_for_none(void **state)
{
	in_fiber(errors);
}

static void unsigned_zones(struct fixture *f)
{
	assert_int_equal(find(f, "mx.plain.example").status, DANE_NONE);
	assert_int_equal(f->questions, 0);
	assert_int_equal(find(f, "silent.plain.example").status, DANE_NONE);
	assert_int_equal(f->questions, 0);
	/* An unsigned alias of a signed host: anybody could have put it there. */
	assert_int_equal(find(f, "in.plain.example").status, DANE_NONE);
	assert_int_equal(f->questions, 0);
	/* The record itself lies in an unsigned zone. */
	assert_int_equal(find(f, "else.signed.example").status, DANE_NONE);
}

static void test_name_servers_of_unsigned_zones_are_not_asked(void **state)
{
	in_fiber(unsigned_zones);
}

static void aliases(struct fixture *f)
{
	assert_string_equal(find(f, "alias.signed.example").base, "mx.signed.example");
	assert_int_equal(find(f, "alias.signed.example").status, DANE_USABLE);
	/* Nothing at the end of the chain: then the name as it was given. */
	assert_string_equal(find(f, "alias2.signed.example").base, "alias2.signed.example");
	assert_int_equal(find(f, "alias2.signed.example").status, DANE_USABLE);
	assert_string_equal(find(f, "out.signed.example").base, "out.signed.example");
	assert_int_equal(find(f, "out.signed.example").status, DANE_USABLE);
}

static void test_of_an_alias_both_ends_are_candidates(void **state)
{
	in_fiber(aliases);
}

static void half(struct fixture *f)
{
	struct dns_address_list list;

	assert_int_equal(find(f, "half.signed.example").status, DANE_USABLE);
	assert_int_equal(dns_addresses(f->resolver, "half.signed.example", DNS_IPV4_AND_IPV6, now() + USEC_MIN, f->arena, &list), 0);
	assert_true(list.temporary && list.validated && !list.secure);
}

/* Else whoever can suppress one answer of two would have turned DANE off. */
static void test_one_family_that_fails_does_not_make_a_signed_host_unsigned(void **state)
{
	in_fiber(half);
}

/* --- records ----------------------------------------------------------------------------------------------------- */

static void test_records_are_read_and_written(void **state)
{
	char text[TLSA_TEXT];
	struct tlsa_record r;
	uint8_t full[400] = { 3, 0, 0 };

	assert_int_equal(tlsa_parse(SLICE("\3\1\1"), &r), -EBADMSG);
	assert_int_equal(tlsa_parse(SLICE(""), &r), -EBADMSG);
	assert_int_equal(tlsa_parse(SLICE("\3\1\2\xab\x01"), &r), 0);
	assert_string_equal(tlsa_format(&r, text), "3 1 2 ab01");
	assert_false(tlsa_is_usable(&r));
	assert_int_equal(tlsa_parse(slice_new((char *) full, sizeof(full)), &r), 0);
	assert_true(tlsa_is_usable(&r));
	assert_int_equal(strlen(tlsa_format(&r, text)), TLSA_TEXT - 1);
	assert_string_equal(text + TLSA_TEXT - 4, "...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_signed_host_is_asked_for_its_records),
		cmocka_unit_test(test_records_of_the_usages_0_and_1_and_broken_ones_are_there_but_of_no_use),
		cmocka_unit_test(test_an_answer_that_does_not_come_is_never_taken_for_none),
		cmocka_unit_test(test_name_servers_of_unsigned_zones_are_not_asked),
		cmocka_unit_test(test_of_an_alias_both_ends_are_candidates),
		cmocka_unit_test(test_one_family_that_fails_does_not_make_a_signed_host_unsigned),
		cmocka_unit_test(test_records_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
