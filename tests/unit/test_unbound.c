/* The resolver over libunbound, asking a small DNS server that lives in this program. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "dns/cache.h"
#include "dns/mx.h"
#include "dns/name.h"
#include "dns/rdata.h"
#include "dns/zone.h"
#include "world/linux.h"
#include "world/sim.h"

/* --- the server: answers from a zone, over UDP -------------------------------------------------------------- */

/* The names below .test are never validated, so that a trust anchor of this machine does not matter. */
static const char zone_text[] =
	"$ORIGIN test.\n"
	"mail     600 MX 10 mx1\n"
	"mail     MX 20 mx2\n"
	"mx1      A 192.0.2.1\n"
	"mx1      AAAA 2001:db8::1\n"
	"mx2      A 192.0.2.2\n"
	"alias    120 CNAME alias2\n"
	"alias2   CNAME mx1\n"
	"text     TXT \"v=spf1 \" \"-all\"\n"
	"strange\\.dot TXT \"odd\"\n"
	"null     MX 0 .\n"
	"; SERVFAIL broken\n"
	"; TIMEOUT  silent\n"
	"tlsa     TLSA 3 1 1 00112233\n"
	"$ORIGIN sealed.example.\n"
	"www      A 192.0.2.3\n"
	"1.0.0.127.in-addr.arpa. PTR mx1.test.\n";

struct server {
	int fd;
	struct zone *zone;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint questions;
	char address[32];
};

static void put_u16(struct buffer *b, unsigned v)
{
	buffer_append_char(b, (char) (v >> 8));
	buffer_append_char(b, (char) v);
}

static void put_record(struct buffer *b, const struct dns_name *name, unsigned type, uint32_t ttl, struct slice rdata)
{
	buffer_append(b, name->wire, name->len);
	put_u16(b, type);
	put_u16(b, 1);
	put_u16(b, ttl >> 16);
	put_u16(b, ttl);
	put_u16(b, (unsigned) rdata.len);
	buffer_append_slice(b, rdata);
}

/* Back to wire form, for the types that the tests ask for. */
static void put_answer(struct buffer *b, const struct dns_name *name, enum dns_type type, const struct dns_answer *answer)
{
	for (unsigned i = 0; i < answer->n_records; i++) {
		const struct dns_record *record = &answer->records[i];
		_cleanup_buffer_ struct buffer rdata = { .data = NULL };
		struct dns_name target;

		if (type == DNS_A || type == DNS_AAAA)
			buffer_append(&rdata, record->ip.bytes, type == DNS_A ? 4 : 16);
		if (type == DNS_MX)
			put_u16(&rdata, record->preference);
		if (type == DNS_TXT)
			buffer_append_char(&rdata, (char) record->data.len);
		if (record->data.data)
			buffer_append_slice(&rdata, record->data);
		if (record->name && dns_name_parse(slice_from(record->name), NULL, &target) == 0)
			buffer_append(&rdata, target.wire, target.len);
		put_record(b, name, type, answer->ttl, buffer_slice(&rdata));
	}
}

/* Appends the answers for a question, along its aliases; returns how many records, and the rcode. */
static unsigned answer_question(struct server *s, struct dns_name name, enum dns_type type, struct arena *a, struct buffer *b,
				unsigned *rcode, bool *silent)
{
	struct dns_answer answer;
	unsigned n = 0;
	bool cname = true;

	*rcode = 0;
	*silent = false;
	while (cname) {
		if (zone_find(s->zone, &name, type, a, &answer, &cname) < 0)
			abort();
		put_answer(b, &name, cname ? DNS_CNAME : type, &answer);
		n += answer.n_records;
		if (cname && dns_name_parse(slice_from(answer.records[0].name), NULL, &name) < 0)
			abort();
	}
	*rcode = answer.status == DNS_NXDOMAIN ? 3 : answer.status == DNS_SERVFAIL ? 2 : 0;
	*silent = answer.status == DNS_TIMEOUT;
	return n;
}

static void serve_one(struct server *s, const uint8_t *query, size_t len, const struct sockaddr_in *from)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	_cleanup_buffer_ struct buffer b = { .data = NULL }, records = { .data = NULL };
	static const char soa[] = "\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\x1e";
	struct dns_name name, root = { .len = 1 };
	unsigned n, rcode;
	bool silent;
	int used;

	atomic_fetch_add(&s->questions, 1);
	if (len < 12 || arena_new(0, &a) < 0)
		return;
	used = dns_name_from_wire(query + 12, len - 12, &name);
	if (used < 0 || len < 12 + (size_t) used + 4)
		return;
	n = answer_question(s, name, (enum dns_type) (query[12 + used] << 8 | query[13 + used]), a, &records, &rcode, &silent);
	if (silent)
		return;
	buffer_append(&b, query, 2);
	put_u16(&b, 0x8180 | rcode);
	put_u16(&b, 1);
	put_u16(&b, n);
	put_u16(&b, rcode == 2 ? 0 : n == 0 || rcode == 3);
	put_u16(&b, 0);
	buffer_append(&b, query + 12, (size_t) used + 4);
	buffer_append_slice(&b, buffer_slice(&records));
	if (rcode != 2 && (n == 0 || rcode == 3))
		put_record(&b, &root, DNS_SOA, 30, slice_new(soa, 22));
	(void) sendto(s->fd, b.data, b.len, 0, (const struct sockaddr *) from, sizeof(*from));
}

static void *serve(void *arg)
{
	struct server *s = arg;
	uint8_t query[2048];

	while (!atomic_load(&s->stop)) {
		struct pollfd p = { .fd = s->fd, .events = POLLIN };
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t n;

		if (poll(&p, 1, 20) <= 0)
			continue;
		n = recvfrom(s->fd, query, sizeof(query), 0, (struct sockaddr *) &from, &from_len);
		if (n > 0)
			serve_one(s, query, (size_t) n, &from);
	}
	return NULL;
}

static void start_server(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	char *why;

	*s = (struct server) { .fd = socket(AF_INET, SOCK_DGRAM, 0) };
	assert_int_equal(bind(s->fd, (struct sockaddr *) &a, sizeof(a)), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *) &a, &len), 0);
	snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", ntohs(a.sin_port));
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &s->zone, &why), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_server(struct server *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
	close(s->fd);
	zone_free(s->zone);
}

/* --- the resolver under test ------------------------------------------------------------------------------------ */

struct fixture {
	struct server server;
	struct world *world;
	struct resolver *resolver;
	struct loop *loops[2];
	struct arena *arena;
	const char *trust_anchor;
	void (*fn)(struct fixture *f);
	atomic_uint running, answered;
};

static void fixture_main(void *arg)
{
	struct fixture *f = arg;

	f->fn(f);
	atomic_fetch_sub(&f->running, 1);
}

static void await(struct fixture *f)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned i = 0; i < 60000 && atomic_load(&f->running) > 0; i++)
		nanosleep(&pause, NULL);
	assert_int_equal(atomic_load(&f->running), 0);
}

static void in_fiber(struct fixture *f, void (*fn)(struct fixture *f), bool both_loops)
{
	const char *servers[] = { f->server.address };
	struct dns_config config = { .servers = servers, .n_servers = 1, .trust_anchor = f->trust_anchor ? f->trust_anchor : "/dev/null" }; /* not what this machine has */
	char *why;

	start_server(&f->server);
	f->fn = fn;
	assert_int_equal(world_linux_new(NULL, &f->world), 0);
	assert_int_equal(arena_new(0, &f->arena), 0);
	if (resolver_new(f->world, NULL, &config, &f->resolver, &why) < 0)
		fail_msg("%s", why);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_new(f->world, "t", 0, 0, &f->loops[i]), 0);
		assert_int_equal(loop_start(f->loops[i]), 0);
	}
	atomic_init(&f->running, both_loops ? 2 : 1);
	assert_int_equal(loop_spawn(f->loops[0], "test", fixture_main, f), 0);
	if (both_loops)
		assert_int_equal(loop_spawn(f->loops[1], "test", fixture_main, f), 0);
	await(f);
	for (unsigned i = 0; i < 2; i++) {
		loop_stop(f->loops[i]);
		loop_free(f->loops[i]);
	}
	resolver_free(f->resolver);
	arena_free(f->arena);
	world_free(f->world);
	stop_server(&f->server);
}

static struct dns_answer ask(struct fixture *f, const char *name, enum dns_type type)
{
	struct dns_answer answer;

	assert_int_equal(dns_query(f->resolver, name, type, now() + 30 * USEC_SEC, f->arena, &answer), 0);
	assert_int_equal(answer.n_records > 0, answer.status == DNS_OK);
	assert_int_equal(answer.why == NULL, answer.status == DNS_OK);
	return answer;
}

static void answers(struct fixture *f)
{
	char text[IP_TEXT];
	struct dns_answer a;
	unsigned before;

	a = ask(f, "Mail.TEST.", DNS_MX);
	assert_int_equal(a.n_records, 2);
	assert_string_equal(a.canonical, "mail.test");
	assert_in_range(a.ttl, 599, 600);
	assert_false(a.secure);
	a = ask(f, "alias.test", DNS_A);
	assert_string_equal(a.canonical, "mx1.test");
	assert_string_equal(ip_format(&a.records[0].ip, text), "192.0.2.1");
	assert_in_range(a.ttl, 119, 120);
	a = ask(f, "text.test", DNS_TXT);
	assert_true(slice_eq_str(a.records[0].data, "v=spf1 -all"));
	a = ask(f, "strange\\.dot.test", DNS_TXT);
	assert_true(slice_eq_str(a.records[0].data, "odd"));
	a = ask(f, "tlsa.test", DNS_TLSA);
	assert_int_equal(a.records[0].data.len, 7);
	a = ask(f, "mx1.test", DNS_TXT);
	assert_int_equal(a.status, DNS_NODATA);
	assert_in_range(a.ttl, 29, 30);
	a = ask(f, "nowhere.test", DNS_A);
	assert_int_equal(a.status, DNS_NXDOMAIN);
	assert_string_equal(a.why, "nowhere.test does not exist");
	a = ask(f, "broken.test", DNS_A);
	assert_int_equal(a.status, DNS_SERVFAIL);
	before = atomic_load(&f->server.questions);
	assert_int_equal(ask(f, "alias.test", DNS_A).status, DNS_OK);
	assert_int_equal(ask(f, "nowhere.test", DNS_A).status, DNS_NXDOMAIN);
	assert_int_equal(ask(f, "broken.test", DNS_A).status, DNS_SERVFAIL);
	assert_int_equal(atomic_load(&f->server.questions), before);
}

static void test_each_kind_of_answer_comes_as_what_it_is(void **state)
{
	struct fixture f = { .world = NULL };

	in_fiber(&f, answers, false);
}

static void exchangers(struct fixture *f)
{
	struct dns_address_list list;
	struct mx_set set;
	const char *name;
	struct ip ip;

	assert_int_equal(dns_mx(f->resolver, "mail.test", now() + 10 * USEC_SEC, f->arena, &set), 0);
	assert_int_equal(set.n_hosts, 2);
	assert_string_equal(set.hosts[1].name, "mx2.test");
	assert_int_equal(dns_mx(f->resolver, "null.test", now() + 10 * USEC_SEC, f->arena, &set), 0);
	assert_int_equal(set.status, MX_NULL);
	assert_int_equal(dns_mx(f->resolver, "alias.test", now() + 10 * USEC_SEC, f->arena, &set), 0);
	assert_int_equal(set.status, MX_IMPLICIT);
	assert_string_equal(set.hosts[0].name, "mx1.test");
	assert_int_equal(dns_addresses(f->resolver, "mx1.test", DNS_IPV4_AND_IPV6, now() + 10 * USEC_SEC, f->arena, &list), 0);
	assert_int_equal(list.n_ips, 2);
	assert_int_equal(ip_parse(SLICE("127.0.0.1"), &ip), 0);
	assert_int_equal(dns_reverse(f->resolver, &ip, now() + 10 * USEC_SEC, f->arena, &name), 0);
	assert_string_equal(name, ""); /* mx1.test has another address */
}

static void test_exchangers_and_addresses_come_through_it(void **state)
{
	struct fixture f = { .world = NULL };

	in_fiber(&f, exchangers, false);
}

static void deadline(struct fixture *f)
{
	struct dns_answer a;
	usec_t start = now();

	assert_int_equal(dns_query(f->resolver, "silent.test", DNS_A, now() + 50 * USEC_MS, f->arena, &a), 0);
	assert_int_equal(a.status, DNS_TIMEOUT);
	assert_string_equal(a.why, "the DNS look-up of silent.test failed: no answer in time");
	assert_in_range(now() - start, 50 * USEC_MS, 5 * USEC_SEC);
	assert_int_equal(dns_query(f->resolver, "mx1.test", DNS_A, 0, f->arena, &a), 0);
	assert_true(a.status == DNS_TIMEOUT || a.status == DNS_OK);
}

static void test_a_silent_server_costs_no_more_than_the_deadline(void **state)
{
	struct fixture f = { .world = NULL };

	in_fiber(&f, deadline, false);
}

static void cancelled_question(void *arg)
{
	struct fixture *f = arg;
	struct dns_answer a;

	assert_int_equal(dns_query(f->resolver, "silent.test", DNS_A, DEADLINE_NEVER, f->arena, &a), -ECANCELED);
}

static void cancelling(struct fixture *f)
{
	struct fiber_group group;

	fiber_group_init(&group);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(fiber_group_spawn(&group, "question", cancelled_question, f), 0);
	assert_int_equal(fiber_sleep_until(now() + 20 * USEC_MS), 0);
	fiber_group_done(&group);
}

static void test_a_question_can_be_cancelled(void **state)
{
	struct fixture f = { .world = NULL };

	in_fiber(&f, cancelling, false);
}

/* Answers, deadlines and cancellations cross each other in every order. */
struct storm {
	struct fixture *f;
	unsigned seed;
};

static void storm_question(void *arg)
{
	struct storm *s = arg;
	struct arena *a;
	struct dns_answer answer;
	char name[32];
	int r;

	assert_int_equal(arena_new(0, &a), 0);
	snprintf(name, sizeof(name), "n%u.test", s->seed % 50);
	r = dns_query(s->f->resolver, s->seed % 3 ? name : "silent.test", DNS_A, now() + s->seed % 7 * 300, a, &answer);
	assert_true(r == 0 || r == -ECANCELED);
	if (r == 0 && answer.status == DNS_NXDOMAIN)
		atomic_fetch_add(&s->f->answered, 1);
	arena_free(a);
}

static void storm(struct fixture *f)
{
	enum { N = 100 };
	struct storm *storms = calloc(N, sizeof(*storms));
	unsigned seed = 1;

	for (unsigned round = 0; round < 60; round++) {
		struct fiber_group group;

		dns_cache_clear(f->resolver->cache);
		fiber_group_init(&group);
		for (unsigned i = 0; i < N; i++) {
			seed = seed * 1103515245 + 12345;
			storms[i] = (struct storm) { f, seed >> 8 };
			assert_int_equal(fiber_group_spawn(&group, "q", storm_question, &storms[i]), 0);
		}
		assert_int_equal(fiber_sleep_until(now() + seed % 2000), 0);
		fiber_group_done(&group);
	}
	free(storms);
}

static void test_answers_deadlines_and_cancellations_may_cross(void **state)
{
	struct fixture f = { .world = NULL };

	in_fiber(&f, storm, true);
	assert_true(atomic_load(&f.answered) > 0);
}

static void sealed(struct fixture *f)
{
	struct dns_answer a = ask(f, "www.sealed.example", DNS_A);

	assert_int_equal(a.status, DNS_BOGUS);
	assert_false(a.secure);
	assert_non_null(strstr(a.why, "DNSSEC validation of www.sealed.example failed"));
	assert_int_equal(ask(f, "mx1.test", DNS_A).status, DNS_OK);
}

static void test_a_zone_that_must_be_signed_and_is_not_is_bogus(void **state)
{
	char path[] = "/tmp/yizhan-test-XXXXXX";
	struct fixture f = { .trust_anchor = path };
	int fd = mkstemp(path);
	static const char anchor[] =
		"sealed.example. IN DS 12345 8 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

	assert_int_equal(write(fd, anchor, sizeof(anchor) - 1), sizeof(anchor) - 1);
	close(fd);
	in_fiber(&f, sealed, false);
	remove(path);
}

/* --- mistakes ------------------------------------------------------------------------------------------------- */

static void test_mistakes_in_the_configuration_are_named(void **state)
{
	static const struct {
		const char *server, *anchor, *expected;
	} cases[] = {
		{ "dns.example.org", NULL, "dns.servers: 'dns.example.org' is not an address with a port" },
		{ "127.0.0.1:0", NULL, "dns.servers: '127.0.0.1:0' is not an address with a port" },
		{ "unix:/x", NULL, "dns.servers: 'unix:/x' is not an address with a port" },
		{ "127.0.0.1:53", "/nonexistent/root.key", "dns.trust_anchor: /nonexistent/root.key: No such file" },
		{ "127.0.0.1:53", "/dev/null/x", "dns.trust_anchor: /dev/null/x: Not a directory" },
		{ "127.0.0.1:53", "/etc/passwd", "is /etc/passwd a file with a root key?" },
	};
	struct world *world;

	assert_int_equal(world_linux_new(NULL, &world), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *servers[] = { cases[i].server };
		struct dns_config config = { .servers = servers, .n_servers = 1, .trust_anchor = cases[i].anchor };
		struct resolver *resolver = NULL;
		char *why;

		assert_true(resolver_new(world, NULL, &config, &resolver, &why) < 0);
		assert_null(resolver);
		assert_non_null(why);
		if (!strstr(why, cases[i].expected))
			fail_msg("%s", why);
		free(why);
	}
	world_free(world);
}

static void test_every_way_to_write_a_server_is_read(void **state)
{
	const char *servers[] = { "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353" };
	struct dns_config config = { .servers = servers, .n_servers = ARRAY_LEN(servers) };
	struct resolver *resolver;
	struct world *world;
	char *why;

	assert_int_equal(world_linux_new(NULL, &world), 0);
	if (resolver_new(world, NULL, &config, &resolver, &why) < 0)
		fail_msg("%s", why);
	resolver_free(resolver); /* never asked anything */
	config.n_servers = 0;
	if (resolver_new(world, NULL, &config, &resolver, &why) < 0)
		fail_msg("%s", why);
	resolver_free(resolver);
	world_free(world);
}

static void test_a_simulated_world_has_no_real_dns(void **state)
{
	struct dns_config config = { .zone = NULL };
	struct resolver *resolver;
	struct sim_host *host;
	struct world *world;
	struct sim *sim;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "h", "", &host, &world), 0);
	assert_int_equal(resolver_new(world, NULL, &config, &resolver, &why), -ENOSYS);
	assert_non_null(why);
	free(why);
	world_free(world);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_of_answer_comes_as_what_it_is),
		cmocka_unit_test(test_exchangers_and_addresses_come_through_it),
		cmocka_unit_test(test_a_silent_server_costs_no_more_than_the_deadline),
		cmocka_unit_test(test_a_question_can_be_cancelled),
		cmocka_unit_test(test_answers_deadlines_and_cancellations_may_cross),
		cmocka_unit_test(test_a_zone_that_must_be_signed_and_is_not_is_bogus),
		cmocka_unit_test(test_mistakes_in_the_configuration_are_named),
		cmocka_unit_test(test_every_way_to_write_a_server_is_read),
		cmocka_unit_test(test_a_simulated_world_has_no_real_dns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
