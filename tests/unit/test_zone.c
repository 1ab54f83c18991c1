/* Master files: what is read, what is refused, and what the zone then answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "world/linux.h"

struct fixture {
	struct world *world;
	struct resolver *resolver;
	struct arena *arena;
};

static struct fixture open_zone(const char *text)
{
	struct fixture f;
	struct zone *zone;
	char *why;

	assert_int_equal(world_linux_new(NULL, &f.world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	if (zone_parse(slice_from(text), "test.zone", &zone, &why) < 0)
		fail_msg("%s", why);
	assert_null(why);
	assert_int_equal(zone_resolver_new(f.world, zone, 0, &f.resolver), 0);
	return f;
}

static void close_zone(struct fixture *f)
{
	resolver_free(f->resolver);
	arena_free(f->arena);
	world_free(f->world);
}

static struct dns_answer ask(struct fixture *f, const char *name, enum dns_type type)
{
	struct dns_answer answer;

	assert_int_equal(dns_query(f->resolver, name, type, DEADLINE_NEVER, f->arena, &answer), 0);
	return answer;
}

static void assert_status(struct fixture *f, const char *name, enum dns_type type, enum dns_status status)
{
	struct dns_answer answer = ask(f, name, type);

	assert_int_equal(answer.status, status);
	assert_int_equal(answer.n_records > 0, status == DNS_OK);
	assert_int_equal(answer.why == NULL, status == DNS_OK);
}

static void assert_ip(const struct dns_answer *answer, unsigned i, const char *expected)
{
	char text[IP_TEXT];

	assert_true(i < answer->n_records);
	assert_string_equal(ip_format(&answer->records[i].ip, text), expected);
}

/* --- reading ------------------------------------------------------------------------------------------- */

static const char all_types[] =
	"$ORIGIN example.org.\n"
	"$TTL 1h\n"
	"@\t\tIN SOA ns1 hostmaster (\n"
	"\t\t\t2026010100 ; serial\n"
	"\t\t\t3h 1h 1w 1h )\n"
	"\t\tNS ns1\n"
	"\t\tMX 10 mx1\n"
	"\t\tMX 20 mx2.example.net.\n"
	"\t\tTXT \"v=spf1 \" \"-all\"\n"
	"MX1\t300 IN A 192.0.2.1\n"
	"mx1\tIN 300 AAAA 2001:DB8::1\n"
	"www CNAME @\n"
	"1.2.0.192.in-addr.arpa. PTR mx1\n"
	"_submission._tcp SRV 0 1 587 mx1\n"
	"_25._tcp.mx1 TLSA 3 1 1 ( 0123456789abcdef\n"
	"   0123456789ABCDEF )\n"
	"odd TYPE65280 \\# 4 DEADBEEF\n"
	"generic A \\# 4 c0000209\n"
	"bare TXT unquoted words\n"
	"escape TXT \"say \\\"hi\\\" \\; \\200\\\\\"\n"
	"caa CAA 0 issue \"ca.example\"\n";

static void test_every_type_of_record_is_read(void **state)
{
	struct fixture f = open_zone(all_types);
	struct dns_answer a;

	a = ask(&f, "example.org", DNS_MX);
	assert_int_equal(a.n_records, 2);
	assert_int_equal(a.ttl, 3600);
	assert_int_equal(a.records[0].preference, 10);
	assert_string_equal(a.records[0].name, "mx1.example.org");
	assert_string_equal(a.records[1].name, "mx2.example.net");
	a = ask(&f, "EXAMPLE.org.", DNS_TXT);
	assert_true(slice_eq_str(a.records[0].data, "v=spf1 -all"));
	assert_string_equal(a.canonical, "example.org");
	a = ask(&f, "mx1.example.org", DNS_A);
	assert_ip(&a, 0, "192.0.2.1");
	assert_int_equal(a.ttl, 300);
	a = ask(&f, "mx1.example.org", DNS_AAAA);
	assert_ip(&a, 0, "2001:db8::1");
	a = ask(&f, "1.2.0.192.in-addr.arpa", DNS_PTR);
	assert_string_equal(a.records[0].name, "mx1.example.org");
	a = ask(&f, "_submission._tcp.example.org", DNS_SRV);
	assert_int_equal(a.records[0].port, 587);
	assert_int_equal(a.records[0].weight, 1);
	a = ask(&f, "_25._tcp.mx1.example.org", DNS_TLSA);
	assert_int_equal(a.records[0].data.len, 19);
	assert_memory_equal(a.records[0].data.data, "\3\1\1\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 19);
	a = ask(&f, "odd.example.org", (enum dns_type) 65280);
	assert_memory_equal(a.records[0].data.data, "\xde\xad\xbe\xef", 4);
	a = ask(&f, "generic.example.org", DNS_A);
	assert_ip(&a, 0, "192.0.2.9");
	a = ask(&f, "bare.example.org", DNS_TXT);
	assert_true(slice_eq_str(a.records[0].data, "unquotedwords"));
	a = ask(&f, "escape.example.org", DNS_TXT);
	assert_true(slice_eq_str(a.records[0].data, "say \"hi\" ; \xc8\\"));
	a = ask(&f, "example.org", DNS_NS);
	assert_string_equal(a.records[0].name, "ns1.example.org");
	assert_status(&f, "caa.example.org", DNS_A, DNS_NODATA);
	assert_status(&f, "example.org", DNS_SOA, DNS_NODATA);
	close_zone(&f);
}

static void test_names_without_an_origin_are_absolute_and_domains_stand_side_by_side(void **state)
{
	struct fixture f = open_zone("a.example. A 192.0.2.1\r\nb.example A 192.0.2.2\r\nc.test. 60 TXT \"x\"");

	assert_status(&f, "a.example", DNS_A, DNS_OK);
	assert_status(&f, "b.example", DNS_A, DNS_OK);
	assert_status(&f, "c.test", DNS_TXT, DNS_OK);
	close_zone(&f);
}

static void test_escaped_bytes_in_names_are_the_bytes(void **state)
{
	struct fixture f = open_zone("\\097b\\046c.example. A 192.0.2.1\n\\@.example. TXT at\n\\000\\255.example. TXT z\n"
				     "x.example. CNAME \\000\\255.example.\n");

	assert_status(&f, "ab\\.c.example", DNS_A, DNS_OK);
	assert_status(&f, "AB\\046C.example.", DNS_A, DNS_OK);
	assert_status(&f, "ab.c.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "@.example", DNS_TXT, DNS_OK);
	assert_string_equal(ask(&f, "x.example", DNS_TXT).canonical, "\\000\\255.example");
	close_zone(&f);
}

static void test_a_string_too_long_for_one_is_joined_again(void **state)
{
	char text[1024];
	struct fixture f;

	snprintf(text, sizeof(text), "k.example. TXT \"%0600d\"\n", 7);
	f = open_zone(text);
	assert_int_equal(ask(&f, "k.example", DNS_TXT).records[0].data.len, 600);
	close_zone(&f);
}

static void test_an_equal_record_counts_once(void **state)
{
	struct fixture f = open_zone("a.example. A 192.0.2.1\na.example. A 192.0.2.1\na.example. A 192.0.2.2\n");

	assert_int_equal(ask(&f, "a.example", DNS_A).n_records, 2);
	close_zone(&f);
}

static void test_mistakes_are_named_with_their_line(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "  A 192.0.2.1\n", "z:1: the first record must begin with a name" },
		{ "\n\na.example. A 192.0.2.256\n", "z:3: A record: not an IPv4 address" },
		{ "a.example. AAAA 192.0.2.1\n", "z:1: AAAA record: not an IPv6 address" },
		{ "a.example. AA 192.0.2.1\n", "z:1: 'AA' is not a record type" },
		{ "a.example. TYPE255 \\# 0\n", "z:1: 'TYPE255' is not a record type" },
		{ "a.example.\n", "z:1: the entry has no record type" },
		{ "a.example. 5 IN\n", "z:1: the entry has no record type" },
		{ "a.example. CH A 192.0.2.1\n", "z:1: 'CH' is a class that mail has no use for: only IN is read" },
		{ "a.example. 3000000000 A 192.0.2.1\n", "z:1: '3000000000' is too large for a time to live" },
		{ "a..example. A 192.0.2.1\n", "z:1: 'a..example.' is not a domain name" },
		{ "a.example. MX 10\n", "z:1: MX record: the record is not complete" },
		{ "a.example. MX 65536 b.\n", "z:1: MX record: not a number from 0 to 65535" },
		{ "a.example. MX 1 b. c.\n", "z:1: MX record: there is too much after the record" },
		{ "a.example. TLSA 3 1 256 00\n", "z:1: TLSA record: not a number from 0 to 255" },
		{ "a.example. TLSA 3 1 1 000\n", "z:1: TLSA record: an odd number of hexadecimal digits" },
		{ "a.example. TXT \"open\nb.example. A 1.2.3.4\n", "z:1: a quoted string has no end on its line" },
		{ "a.example. TXT \"\\256\"\n",
		  "z:1: TXT record: a backslash must be followed by three digits up to 255 or by another character" },
		{ "a.example. TXT ( \"x\"\n", "z:1: '(' without ')'" },
		{ "a.example. TXT x )\n", "z:1: ')' without '('" },
		{ "a.example. A \\# 3 010203\n", "z:1: A record: the bytes are not those of such a record" },
		{ "a.example. A \\# 4 010203\n", "z:1: A record: the length after '\\#' is not that of the digits" },
		{ "a.example. TYPE300 01\n",
		  "z:1: TYPE300 record: records of this type are written as '\\# length hexadecimal' (RFC 3597 section 5)" },
		{ "$TTL never\n", "z:1: 'never' is not a time to live" },
		{ "$ORIGIN\n", "z:1: '$ORIGIN' takes exactly one value" },
		{ "$INCLUDE other\n", "z:1: '$INCLUDE' is not supported here: write the records out in this file" },
		{ "; TIMEOUT a..b\n", "z:1: 'a..b' is not a domain name" },
		{ "a. A 1\nb. A 2\n", "z:1: A record: not an IPv4 address\nz:2: A record: not an IPv4 address" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct zone *zone = NULL;
		char *why;

		assert_int_equal(zone_parse(slice_from(cases[i].text), "z", &zone, &why), -EBADMSG);
		assert_null(zone);
		assert_string_equal(why, cases[i].expected);
		free(why);
	}
}

static void test_a_file_full_of_mistakes_tells_the_first_and_counts_the_rest(void **state)
{
	_cleanup_buffer_ struct buffer text = { .data = NULL };
	struct zone *zone;
	char *why;

	for (unsigned i = 0; i < 50; i++)
		buffer_append_str(&text, "x. A y\n");
	assert_int_equal(zone_parse(buffer_slice(&text), "z", &zone, &why), -EBADMSG);
	assert_non_null(strstr(why, "z:20: "));
	assert_null(strstr(why, "z:21: "));
	assert_non_null(strstr(why, "z: 30 more mistakes"));
	free(why);
}

static void test_an_empty_file_is_a_zone_without_names(void **state)
{
	struct fixture f = open_zone("\n ; nothing\n()\n");

	assert_status(&f, "example.org", DNS_A, DNS_NXDOMAIN);
	close_zone(&f);
}

/* --- answering ---------------------------------------------------------------------------------------------- */

static void test_a_name_above_another_exists_and_any_other_does_not(void **state)
{
	struct fixture f = open_zone("a.b.example. A 192.0.2.1\n");

	assert_status(&f, "a.b.example", DNS_MX, DNS_NODATA);
	assert_status(&f, "b.example", DNS_A, DNS_NODATA);
	assert_status(&f, "example", DNS_A, DNS_NODATA);
	assert_status(&f, "", DNS_A, DNS_NODATA);
	assert_status(&f, "x.a.b.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "c.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "not..a.name", DNS_A, DNS_NXDOMAIN);
	close_zone(&f);
}

static void test_failing_names_fail_for_the_types_they_have_no_record_of(void **state)
{
	struct fixture f = open_zone("$ORIGIN example.\n"
				     "; TIMEOUT slow\n"
				     ";SERVFAIL  broken.example.\n"
				     "; TIMEOUT is a word here\n"
				     "; timeout is.example.\n"
				     ";\tTIMEOUT\ttabs\n"
				     "slow A 192.0.2.1\n"
				     "; TIMEOUT alias\n"
				     "alias CNAME slow\n"
				     "other CNAME broken\n");

	assert_status(&f, "slow.example", DNS_A, DNS_OK);
	assert_status(&f, "slow.example", DNS_TXT, DNS_TIMEOUT);
	assert_status(&f, "broken.example", DNS_A, DNS_SERVFAIL);
	assert_status(&f, "x.broken.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "alias.example", DNS_A, DNS_TIMEOUT);
	assert_status(&f, "alias.example", DNS_CNAME, DNS_OK);
	assert_status(&f, "other.example", DNS_A, DNS_SERVFAIL);
	assert_status(&f, "is.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "tabs.example", DNS_A, DNS_TIMEOUT);
	close_zone(&f);
}

static void test_aliases_are_followed_eight_times_at_most(void **state)
{
	_cleanup_buffer_ struct buffer text = { .data = NULL };
	struct fixture f;
	struct dns_answer a;

	for (unsigned i = 0; i < 20; i++)
		buffer_printf(&text, "c%u.example. %u CNAME c%u.example.\n", i, 100 + i, i + 1);
	buffer_append_str(&text, "c8.example. A 192.0.2.8\nc9.example. A 192.0.2.9\nloop.example. CNAME loop.example.\n"
				 "gone.example. CNAME nowhere.example.\n");
	f = open_zone(text.data);
	a = ask(&f, "c0.example", DNS_A);
	assert_int_equal(a.status, DNS_OK);
	assert_string_equal(a.canonical, "c8.example");
	assert_int_equal(a.ttl, 100);
	assert_ip(&a, 0, "192.0.2.8");
	assert_status(&f, "c10.example", DNS_A, DNS_SERVFAIL);
	assert_status(&f, "loop.example", DNS_A, DNS_SERVFAIL);
	a = ask(&f, "gone.example", DNS_A);
	assert_int_equal(a.status, DNS_NXDOMAIN);
	assert_string_equal(a.canonical, "nowhere.example");
	close_zone(&f);
}

static void test_a_wildcard_answers_for_names_that_do_not_exist(void **state)
{
	struct fixture f = open_zone("*.w.example. MX 10 mx.example.\nhost.w.example. A 192.0.2.1\na.sub.w.example. TXT x\n"
				     "*.fail.example. A 192.0.2.2\n; TIMEOUT *.fail.example.\n");

	assert_string_equal(ask(&f, "any.w.example", DNS_MX).canonical, "any.w.example");
	assert_status(&f, "any.w.example", DNS_MX, DNS_OK);
	assert_status(&f, "deep.er.w.example", DNS_MX, DNS_OK);
	assert_status(&f, "any.w.example", DNS_A, DNS_NODATA);
	/* RFC 4592 section 2.2.1: names that exist, also as empty non-terminals, keep it away. */
	assert_status(&f, "host.w.example", DNS_MX, DNS_NODATA);
	assert_status(&f, "sub.w.example", DNS_MX, DNS_NODATA);
	assert_status(&f, "b.sub.w.example", DNS_MX, DNS_NXDOMAIN);
	assert_status(&f, "w.example", DNS_MX, DNS_NODATA);
	assert_status(&f, "x.fail.example", DNS_A, DNS_OK);
	assert_status(&f, "x.fail.example", DNS_TXT, DNS_TIMEOUT);
	close_zone(&f);
}

static void fail_hook(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay)
{
	unsigned *calls = context;

	(*calls)++;
	if (strcmp(name, "a.example") == 0 && type == DNS_A)
		*status = DNS_BOGUS;
}

static void test_a_hook_can_make_answers_fail_and_sees_no_cached_ones(void **state)
{
	struct fixture f = open_zone("a.example. A 192.0.2.1\nb.example. A 192.0.2.1\n");
	unsigned calls = 0;

	zone_resolver_set_hook(f.resolver, fail_hook, &calls);
	assert_status(&f, "a.example", DNS_A, DNS_BOGUS);
	assert_status(&f, "b.example", DNS_A, DNS_OK);
	assert_status(&f, "b.example", DNS_A, DNS_OK);
	assert_int_equal(calls, 2);
	close_zone(&f);
}

static void test_another_zone_answers_what_the_cache_does_not_know(void **state)
{
	struct fixture f = open_zone("a.example. 60 A 192.0.2.1\nb.example. A 192.0.2.1\n");
	struct zone *zone;
	char *why;

	assert_status(&f, "a.example", DNS_A, DNS_OK);
	assert_int_equal(zone_parse(SLICE("c.example. A 192.0.2.2\n"), "another", &zone, &why), 0);
	zone_resolver_set_zone(f.resolver, zone);
	assert_status(&f, "a.example", DNS_A, DNS_OK);
	assert_status(&f, "b.example", DNS_A, DNS_NXDOMAIN);
	assert_status(&f, "c.example", DNS_A, DNS_OK);
	close_zone(&f);
}

static void test_the_zone_of_a_configuration_is_read_from_its_file(void **state)
{
	char path[] = "/tmp/yizhan-test-XXXXXX";
	struct dns_config config = { .zone = path };
	struct resolver *resolver = NULL;
	struct world *world;
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	char *why;

	fprintf(file, "a.example. A 192.0.2.1\n");
	fflush(file);
	assert_int_equal(world_linux_new(NULL, &world), 0);
	assert_int_equal(resolver_new(world, NULL, &config, &resolver, &why), 0);
	resolver_free(resolver);
	fprintf(file, "a.example. A oops\n");
	fclose(file);
	assert_int_equal(resolver_new(world, NULL, &config, &resolver, &why), -EBADMSG);
	assert_non_null(strstr(why, ":2: A record: not an IPv4 address"));
	free(why);
	remove(path);
	assert_int_equal(resolver_new(world, NULL, &config, &resolver, &why), -ENOENT);
	assert_non_null(strstr(why, "cannot read the zone: No such file"));
	free(why);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type_of_record_is_read),
		cmocka_unit_test(test_names_without_an_origin_are_absolute_and_domains_stand_side_by_side),
		cmocka_unit_test(test_escaped_bytes_in_names_are_the_bytes),
		cmocka_unit_test(test_a_string_too_long_for_one_is_joined_again),
		cmocka_unit_test(test_an_equal_record_counts_once),
		cmocka_unit_test(test_mistakes_are_named_with_their_line),
		cmocka_unit_test(test_a_file_full_of_mistakes_tells_the_first_and_counts_the_rest),
		cmocka_unit_test(test_an_empty_file_is_a_zone_without_names),
		cmocka_unit_test(test_a_name_above_another_exists_and_any_other_does_not),
		cmocka_unit_test(test_failing_names_fail_for_the_types_they_have_no_record_of),
		cmocka_unit_test(test_aliases_are_followed_eight_times_at_most),
		cmocka_unit_test(test_a_wildcard_answers_for_names_that_do_not_exist),
		cmocka_unit_test(test_a_hook_can_make_answers_fail_and_sees_no_cached_ones),
		cmocka_unit_test(test_another_zone_answers_what_the_cache_does_not_know),
		cmocka_unit_test(test_the_zone_of_a_configuration_is_read_from_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
