/* Rules, local domains, and what a hop means, with a zone as the DNS, in a simulated world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "route/exchangers.h"
#include "route/match.h"
#include "route/route.h"
#include "world/sim.h"

static const char zone_text[] =
	"$ORIGIN example.\n"
	"two        MX 10 a.mx\n"
	"two        MX 10 b.mx\n"
	"two        MX 20 c.mx\n"
	"twin       MX 10 b.mx\n"
	"twin       MX 20 c.mx\n"
	"twin       MX 10 a.mx\n"
	"other      MX 10 a.mx\n"
	"other      MX 20 b.mx\n"
	"other      MX 20 c.mx\n"
	"implicit   A 192.0.2.1\n"
	"text       TXT \"no mail here\"\n"
	"null       MX 0 .\n"
	"backup     MX 10 a.mx\n"
	"backup     MX 20 us\n"
	"backup     MX 20 b.mx\n"
	"backup     MX 30 c.mx\n"
	"hidden     MX 10 a.mx\n"
	"hidden     MX 20 alias-of-us\n"
	"hidden     MX 30 c.mx\n"
	"best       MX 5 also-us\n"
	"best       MX 10 a.mx\n"
	"pointer    A 192.0.2.99\n"
	"alias-of-us A 192.0.2.99\n"
	"us         A 192.0.2.99\n"
	"also-us    A 192.0.2.98\n"
	"; SERVFAIL broken\n"
	"; TIMEOUT  slow\n"
	"xn--bcher-kva MX 10 a.mx\n"
	"_smtp._tcp.srv  SRV 20 0 2525 c.mx\n"
	"_smtp._tcp.srv  SRV 10 3 25 b.mx\n"
	"_smtp._tcp.srv  SRV 10 1 26 a.mx\n"
	"_smtp._tcp.srv  SRV 5 1 25 .\n"
	"_smtp._tcp.none SRV 0 0 0 .\n"
	"_smtp._tcp.text TXT \"no service here\"\n"
	"; SERVFAIL _smtp._tcp.broken\n"
	"a.mx       A 192.0.2.10\n"
	"a.mx       AAAA 2001:db8::10\n"
	"b.mx       A 192.0.2.20\n"
	"c.mx       A 192.0.2.30\n";

/* --- the configuration ------------------------------------------------------------------------ */

static const char *const alice_and_bob[] = { "alice", "bob" };
static const char *const lan[] = { "*.lan.example" };
static const char *const boss[] = { "boss@corp.example" };
static const char *const everybody[] = { "*" };
static const char *const newsletter[] = { "*@news.example" };
static const char *const nobody[] = { "" };
static const char *const buecher[] = { "b\xc3\xbc" "cher.example" };
static const char *const own_names[] = { "also-us.example" };

static const struct host_port relay_hosts[] = { { .name = "smtp.provider.example", .port = 587 }, { .ip = { 4, { 192, 0, 2, 77 } }, .port = 2525 } };
static const struct relay backup = { .name = "backup", .n_hosts = 2, .hosts = relay_hosts };

static const struct hop lan_hops[] = { { .kind = HOP_HOST, .host = { .ip = { 4, { 10, 0, 0, 7 } }, .port = 25 } } };
static const struct hop boss_hops[] = { { .kind = HOP_HOLD } };
static const struct hop news_hops[] = { { .kind = HOP_RELAY, .relay = &backup } };
static const struct hop bounce_hops[] = { { .kind = HOP_DISCARD } };
static const struct hop buecher_hops[] = { { .kind = HOP_REJECT, .text = "no books" } };
static const struct hop all_hops[] = {
	{ .kind = HOP_MX }, { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_UNREACHABLE | WHEN_BLOCKED },
};

static const struct route_domain domains[] = {
	{ .name = "here.example", .deliver = { .kind = HOP_MAILDIR, .maildir = "/mail/{local}" }, .recipients = alice_and_bob, .n_recipients = 2 },
	{ .name = "*.sub.example", .deliver = { .kind = HOP_MAILDIR, .maildir = "/sub/{local}" } },
	{ .name = "open.example", .deliver = { .kind = HOP_LMTP, .lmtp = { .kind = ENDPOINT_UNIX, .path = "/run/lmtp" } } },
};
#define RULE(number, t, f, h) \
	{ .to = (t), .n_to = 1, .from = (f), .n_from = 1, .ladder = { .rule = "routes[" #number "]", .n_hops = ARRAY_LEN(h), .hops = (h) } }
static const struct route_rule rules[] = {
	RULE(0, lan, NULL, lan_hops),
	RULE(1, boss, NULL, boss_hops),
	RULE(2, NULL, newsletter, news_hops),
	RULE(3, NULL, nobody, bounce_hops),
	RULE(4, buecher, NULL, buecher_hops),
	RULE(5, everybody, NULL, all_hops),
};
static const struct ip own_addresses[] = { { 4, { 192, 0, 2, 99 } } };
static const struct route_config config = {
	.hostname = "us.example", .own_names = own_names, .n_own_names = 1, .own_addresses = own_addresses, .n_own_addresses = 1,
	.domains = domains, .n_domains = ARRAY_LEN(domains), .rules = rules, .n_rules = ARRAY_LEN(rules), .mx_port = 25,
};
static const struct route_config empty_config = { .hostname = "us.example", .mx_port = 25 };

/* --- the scene -------------------------------------------------------------------------------- */

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
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

static void in_fiber(void (*fn)(struct fixture *f))
{
	struct fixture f = { .fn = fn };
	struct zone *zone;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f.sim), 0);
	assert_int_equal(sim_host_new(f.sim, "h", "", &f.host, &f.world), 0);
	assert_int_equal(arena_new(0, &f.arena), 0);
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(f.world, zone, 0, &f.resolver), 0);
	assert_int_equal(router_new(f.world, NULL, f.resolver, &config, &f.router), 0);
	assert_int_equal(loop_new(f.world, "l", 0, 0, &f.loop), 0);
	assert_int_equal(loop_start(f.loop), 0);
	assert_int_equal(loop_spawn(f.loop, "test", fixture_main, &f), 0);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_true(f.done);
	loop_stop(f.loop);
	loop_free(f.loop);
	router_free(f.router);
	resolver_free(f.resolver);
	arena_free(f.arena);
	world_free(f.world);
	sim_free(f.sim);
}

static struct address address(const char *text)
{
	struct address a = { .text = { "", 0 } };

	if (text[0])
		assert_int_equal(address_parse(slice_from(text), ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER, &a), 0);
	return a;
}

static enum locality locality(struct fixture *f, const char *text)
{
	struct address a = address(text);

	return route_locality(f->router, &a);
}

static struct ladder ladder(struct fixture *f, const char *to, const char *from)
{
	struct address t = address(to), s = address(from);
	struct ladder l;

	assert_int_equal(route_find(f->router, &t, &(struct route_facts) { .from = from[0] ? &s : NULL }, f->arena, &l), 0);
	return l;
}

/* --- rules ------------------------------------------------------------------------------------ */

static void local_domains(struct fixture *f)
{
	struct route_index *index;

	assert_int_equal(locality(f, "alice@here.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "Alice@HERE.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "bob+lists+x@here.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "\"b\\ob\"@here.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "carol@here.example"), LOCALITY_NO_SUCH_USER);
	assert_int_equal(locality(f, "+bob@here.example"), LOCALITY_NO_SUCH_USER);
	assert_int_equal(locality(f, "PostMaster@here.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "postmaster"), LOCALITY_HERE);
	assert_int_equal(locality(f, "anybody@a.b.sub.example"), LOCALITY_HERE);
	assert_int_equal(locality(f, "anybody@sub.example"), LOCALITY_REMOTE);
	assert_int_equal(locality(f, "anybody@nothere.example"), LOCALITY_REMOTE);
	assert_int_equal(locality(f, "anybody@[192.0.2.99]"), LOCALITY_REMOTE);
	assert_int_equal(router_prepare(f->router, &empty_config, &index), 0);
	router_adopt(f->router, index);
	assert_int_equal(locality(f, "alice@here.example"), LOCALITY_REMOTE);
	assert_int_equal(locality(f, "postmaster"), LOCALITY_REMOTE);
}

static void test_local_domains_and_their_recipients(void **state)
{
	in_fiber(local_domains);
}

static void matching(struct fixture *f)
{
	struct route_index *index;

	assert_string_equal(ladder(f, "bob@here.example", "x@news.example").rule, "domains: here.example");
	assert_string_equal(ladder(f, "a@b.sub.example", "x@y.example").rule, "domains: *.sub.example");
	assert_string_equal(ladder(f, "a@printer.LAN.example", "x@y.example").rule, "routes[0]");
	assert_string_equal(ladder(f, "a@lan.example", "x@y.example").rule, "routes[5]");
	assert_string_equal(ladder(f, "boss@corp.example", "x@y.example").rule, "routes[1]");
	assert_string_equal(ladder(f, "Boss@Corp.Example", "x@y.example").rule, "routes[1]");
	assert_string_equal(ladder(f, "clerk@corp.example", "x@news.example").rule, "routes[2]");
	assert_string_equal(ladder(f, "clerk@corp.example", "").rule, "routes[3]");
	assert_string_equal(ladder(f, "clerk@b\xc3\xbc" "cher.example", "x@y.example").rule, "routes[4]");
	assert_int_equal(ladder(f, "clerk@corp.example", "x@y.example").n_hops, 2);
	assert_int_equal(router_prepare(f->router, &empty_config, &index), 0);
	router_adopt(f->router, index);
	assert_string_equal(ladder(f, "clerk@corp.example", "x@y.example").rule, "default");
	assert_int_equal(ladder(f, "clerk@corp.example", "x@y.example").hops[0].kind, HOP_MX);
}

static void test_domains_come_first_then_the_first_rule_that_matches(void **state)
{
	in_fiber(matching);
}

/* --- what routes look at beside the addresses --------------------------------------------------- */

static const char *const shop_user[] = { "shop*" };
static const char *const nobody_logged_in[] = { "" };
static const char *const spring[] = { "spring*", "summer" };
static const char *const absent[] = { "" };
static const char *const any_value[] = { "*" };
static const struct route_header campaign[] = { { "X-Campaign", spring, 2 } };
static const struct route_header two_fields[] = { { "X-Campaign", any_value, 1 }, { "X-Tenant", absent, 1 } };
static const struct route_rule picky_rules[] = {
	{ .headers = campaign, .n_headers = 1, .user = shop_user, .n_user = 1,
	  .ladder = { .rule = "spring of the shop", .n_hops = 1, .hops = news_hops } },
	{ .size_min = 1001, .size_max = 2000, .ladder = { .rule = "middling", .n_hops = 1, .hops = news_hops } },
	{ .headers = two_fields, .n_headers = 2, .ladder = { .rule = "campaign without a tenant", .n_hops = 1, .hops = news_hops } },
	{ .user = nobody_logged_in, .n_user = 1, .ladder = { .rule = "nobody logged in", .n_hops = 1, .hops = lan_hops } },
};
static const struct route_config picky_config = {
	.hostname = "us.example", .rules = picky_rules, .n_rules = ARRAY_LEN(picky_rules), .mx_port = 25,
};

static const char *rule_for(struct fixture *f, struct route_facts facts)
{
	struct address to = address("bob@far.example");
	struct ladder l;

	assert_int_equal(route_find(f->router, &to, &facts, f->arena, &l), 0);
	assert_true(l.n_hops > 0 || facts.content_unknown);
	return l.n_hops > 0 ? l.rule : "undecided";
}

static void picky(struct fixture *f)
{
	struct envelope_header spring_sale[] = { { "x-CAMPAIGN", "Spring sale" } };
	struct envelope_header autumn[] = { { "X-Campaign", "autumn" } };
	struct envelope_header of_tenant[] = { { "X-Campaign", "autumn" }, { "X-Tenant", "seven" } };
	struct route_index *index;

	assert_int_equal(router_prepare(f->router, &picky_config, &index), 0);
	router_adopt(f->router, index);
#define FACTS(...) ((struct route_facts) { __VA_ARGS__ })
	assert_string_equal(rule_for(f, FACTS(.user = "shop@x", .headers = spring_sale, .n_headers = 1)), "spring of the shop");
	assert_string_equal(rule_for(f, FACTS(.user = "bank@x", .headers = spring_sale, .n_headers = 1)), "campaign without a tenant");
	assert_string_equal(rule_for(f, FACTS(.headers = spring_sale, .n_headers = 1)), "campaign without a tenant");
	assert_string_equal(rule_for(f, FACTS(.user = "shop@x", .headers = autumn, .n_headers = 1)), "campaign without a tenant");
	assert_string_equal(rule_for(f, FACTS(.user = "shop@x", .headers = of_tenant, .n_headers = 2)), "default");
	assert_string_equal(rule_for(f, FACTS(.headers = of_tenant, .n_headers = 2)), "nobody logged in");
	assert_string_equal(rule_for(f, FACTS(.user = "x", .size = 1000)), "default");
	assert_string_equal(rule_for(f, FACTS(.user = "x", .size = 1001)), "middling");
	assert_string_equal(rule_for(f, FACTS(.user = "x", .size = 2000)), "middling");
	assert_string_equal(rule_for(f, FACTS(.user = "x", .size = 2001)), "default");
	/* Before the content is there, a rule that looks at it can't be passed by. */
	assert_string_equal(rule_for(f, FACTS(.content_unknown = true)), "undecided");
#undef FACTS
}

static void test_routes_look_at_user_size_and_header_fields(void **state)
{
	in_fiber(picky);
}

static void facts_of_an_envelope(struct fixture *f)
{
	struct envelope_header field = { "X-Campaign", "spring" };
	struct envelope e = { .reverse_path = "a@b.example", .user = "shop", .size = 7, .n_headers = 1, .headers = &field };
	struct route_facts facts;
	struct address from;

	(void) f;
	route_facts_of(&e, &from, &facts);
	assert_ptr_equal(facts.from, &from);
	assert_true(slice_eq_str(from.domain, "b.example"));
	assert_string_equal(facts.user, "shop");
	assert_int_equal(facts.size, 7);
	assert_int_equal(facts.n_headers, 1);
	assert_false(facts.content_unknown);
	e.reverse_path = "";
	route_facts_of(&e, &from, &facts);
	assert_null(facts.from);
}

static void test_an_envelope_has_the_facts_for_routes(void **state)
{
	in_fiber(facts_of_an_envelope);
}

static void literals(struct fixture *f)
{
	struct ladder l = ladder(f, "a@[192.0.2.5]", "x@y.example");
	struct target t;
	char text[100];

	assert_int_equal(l.n_hops, 2);
	assert_string_equal(hop_describe(&l.hops[0], text, sizeof(text)), "host 192.0.2.5:25");
	assert_int_equal(l.hops[1].kind, HOP_RELAY);
	assert_int_equal(route_target(f->router, &l.hops[0], SLICE("[192.0.2.5]"), DEADLINE_NEVER, f->arena, &t), 0);
	assert_int_equal(t.status, TARGET_OK);
	assert_string_equal(t.site, "host:192.0.2.5:25");
	l = ladder(f, "a@[IPv6:2001:db8::5]", "x@y.example");
	assert_string_equal(hop_describe(&l.hops[0], text, sizeof(text)), "host [2001:db8::5]:25");
	l = ladder(f, "a@[192.0.2.99]", "x@y.example");
	assert_int_equal(route_target(f->router, &l.hops[0], SLICE("[192.0.2.99]"), DEADLINE_NEVER, f->arena, &t), 0);
	assert_int_equal(t.status, TARGET_LOOP);
}

static void test_an_address_literal_is_its_own_host(void **state)
{
	in_fiber(literals);
}

/* --- targets ---------------------------------------------------------------------------------- */

static const struct hop mx = { .kind = HOP_MX };

static const char *site(struct fixture *f, const char *domain)
{
	static const char *const names[] = { "ok", "no domain", "null mx", "no host", "loop", "temporary" };
	struct target t;

	assert_int_equal(route_target(f->router, &mx, slice_from(domain), now() + USEC_MIN, f->arena, &t), 0);
	assert_int_equal(t.status == TARGET_OK, t.why == NULL);
	return t.status == TARGET_OK ? t.site : names[t.status];
}

static void sites(struct fixture *f)
{
	assert_string_equal(site(f, "two.example"), "mx:a.mx.example,b.mx.example>c.mx.example");
	assert_string_equal(site(f, "TWIN.example."), site(f, "two.example"));
	assert_string_equal(site(f, "other.example"), "mx:a.mx.example>b.mx.example,c.mx.example");
	assert_string_equal(site(f, "implicit.example"), "mx:implicit.example");
	assert_string_equal(site(f, "b\xc3\xbc" "cher.example"), "mx:a.mx.example");
	assert_string_equal(site(f, "text.example"), "no host");
	assert_string_equal(site(f, "null.example"), "null mx");
	assert_string_equal(site(f, "nowhere.example"), "no domain");
	assert_string_equal(site(f, "broken.example"), "temporary");
	assert_string_equal(site(f, "slow.example"), "temporary");
}

static void test_domains_with_the_same_exchangers_share_a_site(void **state)
{
	in_fiber(sites);
}

static void loops(struct fixture *f)
{
	assert_string_equal(site(f, "backup.example"), "mx:a.mx.example");  /* by name: equals and worse are gone */
	assert_string_equal(site(f, "hidden.example"), "mx:a.mx.example");  /* by address */
	assert_string_equal(site(f, "best.example"), "loop");
	assert_string_equal(site(f, "pointer.example"), "loop");            /* implicit, our address */
	assert_string_equal(site(f, "us.example"), "loop");
}

static void test_our_own_host_among_the_exchangers_ends_the_list(void **state)
{
	in_fiber(loops);
}

static void caching(struct fixture *f)
{
	struct target t = { .status = TARGET_LOOP };

	assert_int_equal(route_target_cached(f->router, &mx, SLICE("two.example"), f->arena, &t), 0);
	assert_int_equal(t.status, TARGET_LOOP);
	site(f, "two.example");
	assert_int_equal(route_target_cached(f->router, &mx, SLICE("Two.Example"), f->arena, &t), 1);
	assert_string_equal(t.site, "mx:a.mx.example,b.mx.example>c.mx.example");
	assert_int_equal(t.n_hosts, 3);
	assert_int_equal(t.hosts[2].preference, 20);
	assert_int_equal(t.hosts[2].port, 25);
	assert_true(t.ttl > 0);
}

static void test_what_was_asked_once_is_known_without_waiting(void **state)
{
	in_fiber(caching);
}

static const struct source bulk_sources[] = {
	{ .ip = { 4, { 192, 0, 2, 1 } }, .weight = 3 }, { .ip = { 4, { 192, 0, 2, 2 } }, .weight = 1 },
	{ .ip = { 4, { 192, 0, 2, 3 } }, .weight = 0 }, { .ip = { 6, { 0x20, 1 } }, .weight = 2 },
};
static const struct source_pool bulk = { .name = "bulk", .n_sources = ARRAY_LEN(bulk_sources), .sources = bulk_sources };
static const struct relay itself = { .name = "itself", .n_hosts = 2, .hosts = relay_hosts, .source = &bulk };
static const struct hop from_bulk = { .kind = HOP_RELAY, .relay = &backup, .source = &bulk };
static const struct hop host_from_bulk = { .kind = HOP_HOST, .host = { .ip = { 4, { 10, 0, 0, 7 } }, .port = 25 }, .source = &bulk };
static const struct hop by_itself = { .kind = HOP_RELAY, .relay = &itself, .source = &bulk };

static bool is_second(void *context, const struct source *s)
{
	return s == &bulk_sources[1];
}

static void test_sources_are_chosen_by_family_and_weight(void **state)
{
	static const struct proxy proxy = { .resolves = true }, plain = { .resolves = false };
	struct source any = { .weight = 1, .proxy = &proxy };
	unsigned seen[4] = { 0 };

	assert_int_equal(source_pool_weight(&bulk, 4, NULL, NULL), 4);
	assert_int_equal(source_pool_weight(&bulk, 6, NULL, NULL), 2);
	assert_int_equal(source_pool_weight(&bulk, 0, NULL, NULL), 0);
	for (unsigned draw = 0; draw < 4; draw++)
		seen[source_pool_choose(&bulk, 4, draw, NULL, NULL) - bulk_sources]++;
	assert_int_equal(seen[0], 3);
	assert_int_equal(seen[1], 1);
	assert_ptr_equal(source_pool_choose(&bulk, 6, 1, NULL, NULL), &bulk_sources[3]);
	assert_null(source_pool_choose(&bulk, 0, 0, NULL, NULL));
	assert_int_equal(source_pool_weight(&bulk, 4, is_second, NULL), 1);
	assert_ptr_equal(source_pool_choose(&bulk, 4, 0, is_second, NULL), &bulk_sources[1]);
	/* Behind a proxy our own family doesn't matter; names can only be given to one that looks them up. */
	assert_true(source_reaches(&any, 4) && source_reaches(&any, 6) && source_reaches(&any, 0));
	any.proxy = &plain;
	assert_true(source_reaches(&any, 6) && !source_reaches(&any, 0));
}

static void configured(struct fixture *f)
{
	struct hop required = { .kind = HOP_MX, .tls = TLS_REQUIRED };
	struct address_list list;
	char text[200];
	struct target t;

	assert_int_equal(route_target_cached(f->router, &news_hops[0], SLICE("x.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "relay:backup");
	assert_int_equal(t.n_hosts, 2);
	assert_string_equal(t.hosts[0].name, "smtp.provider.example");
	assert_int_equal(t.hosts[1].port, 2525);
	assert_int_equal(route_target_cached(f->router, &domains[0].deliver, SLICE("Here.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "maildir:here.example");
	assert_int_equal(route_target_cached(f->router, &domains[2].deliver, SLICE("open.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "lmtp:unix:/run/lmtp");
	assert_int_equal(route_target(f->router, &required, SLICE("other.example"), DEADLINE_NEVER, f->arena, &t), 0);
	assert_string_equal(t.site, "mx:a.mx.example>b.mx.example,c.mx.example;tls=required");

	/* What another address of ours is thought of there is another matter. */
	required.source = &bulk;
	assert_int_equal(route_target(f->router, &required, SLICE("other.example"), DEADLINE_NEVER, f->arena, &t), 0);
	assert_string_equal(t.site, "mx:a.mx.example>b.mx.example,c.mx.example;tls=required;from=bulk");
	assert_int_equal(route_target_cached(f->router, &from_bulk, SLICE("x.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "relay:backup;from=bulk");
	assert_int_equal(route_target_cached(f->router, &host_from_bulk, SLICE("x.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "host:10.0.0.7:25;from=bulk");
	assert_string_equal(hop_describe(&host_from_bulk, text, sizeof(text)), "host 10.0.0.7:25 from bulk");
	assert_string_equal(hop_describe(&by_itself, text, sizeof(text)), "relay itself");
	assert_int_equal(route_target_cached(f->router, &by_itself, SLICE("x.example"), f->arena, &t), 1);
	assert_string_equal(t.site, "relay:itself");
	assert_int_equal(route_target(f->router, &(struct hop) { .kind = HOP_MX, .tls = TLS_REQUIRED }, SLICE("other.example"),
				      DEADLINE_NEVER, f->arena, &t), 0);

	assert_int_equal(route_addresses(f->router, &t.hosts[0], DEADLINE_NEVER, f->arena, &list), 0);
	assert_int_equal(list.n, 2);
	assert_int_equal(list.ips[0].family, 6);
	assert_int_equal(route_addresses(f->router, &(struct target_host) { .ip = { 4, { 192, 0, 2, 1 } } }, DEADLINE_NEVER, f->arena, &list), 0);
	assert_int_equal(list.n, 1);
	assert_true(route_is_own_address(f->router, &own_addresses[0], 25));
	assert_false(route_is_own_address(f->router, &own_addresses[0], 2525));
}

static void test_configured_hops_need_no_dns(void **state)
{
	in_fiber(configured);
}

/* --- SRV names, weights ----------------------------------------------------------------------- */

static struct target srv_target(struct fixture *f, const struct hop *hop)
{
	struct target t;

	assert_int_equal(route_target(f->router, hop, SLICE("far.example"), DEADLINE_NEVER, f->arena, &t), 0);
	return t;
}

static void srv_names(struct fixture *f)
{
	const struct hop hop = { .kind = HOP_SRV, .srv = "_smtp._tcp.srv.example" };
	const struct hop unknown = { .kind = HOP_SRV, .srv = "_smtp._tcp.unknown.example" };
	const struct hop none = { .kind = HOP_SRV, .srv = "_smtp._tcp.none.example" };
	const struct hop text = { .kind = HOP_SRV, .srv = "_smtp._tcp.text.example" };
	const struct hop broken = { .kind = HOP_SRV, .srv = "_smtp._tcp.broken.example" };
	const struct relay relay = { .name = "provider", .srv = "_smtp._tcp.srv.example" };
	const struct hop by_relay = { .kind = HOP_RELAY, .relay = &relay };
	struct target t;
	char described[64];

	assert_int_equal(route_target_cached(f->router, &hop, SLICE("far.example"), f->arena, &t), 0);
	t = srv_target(f, &hop);
	assert_int_equal(t.status, TARGET_OK);
	assert_string_equal(t.site, "srv:_smtp._tcp.srv.example");
	assert_int_equal(t.n_hosts, 3); /* by priority; "." is none */
	assert_string_equal(t.hosts[0].name, "a.mx.example");
	assert_int_equal(t.hosts[0].port, 26);
	assert_int_equal(t.hosts[0].weight, 1);
	assert_string_equal(t.hosts[1].name, "b.mx.example");
	assert_int_equal(t.hosts[1].weight, 3);
	assert_int_equal(t.hosts[1].preference, 10);
	assert_string_equal(t.hosts[2].name, "c.mx.example");
	assert_int_equal(t.hosts[2].preference, 20);
	assert_int_equal(route_target_cached(f->router, &hop, SLICE("far.example"), f->arena, &t), 1);
	/* Whatever is wrong with the name, it is no fault of the recipient. */
	assert_int_equal(srv_target(f, &unknown).status, TARGET_TEMPORARY);
	assert_string_equal(srv_target(f, &unknown).why, "_smtp._tcp.unknown.example has no SRV record");
	assert_int_equal(srv_target(f, &none).status, TARGET_TEMPORARY);
	assert_string_equal(srv_target(f, &none).why, "_smtp._tcp.none.example names no host: the service is not offered there");
	assert_int_equal(srv_target(f, &text).status, TARGET_TEMPORARY);
	assert_int_equal(srv_target(f, &broken).status, TARGET_TEMPORARY);
	t = srv_target(f, &by_relay);
	assert_string_equal(t.site, "relay:provider");
	assert_int_equal(t.n_hosts, 3);
	assert_string_equal(hop_describe(&hop, described, sizeof(described)), "srv _smtp._tcp.srv.example");
}

static void test_an_srv_name_leads_to_its_hosts(void **state)
{
	in_fiber(srv_names);
}

static void weights(struct fixture *f)
{
	static const struct host_port hosts[] = { { .name = "spare", .port = 25 }, { .name = "large", .port = 25 },
						  { .name = "second-spare", .port = 25 }, { .name = "small", .port = 25 } };
	static const uint16_t some[] = { 0, 9, 0, 1 };
	const struct relay relay = { .name = "farm", .n_hosts = 4, .hosts = hosts, .weights = some };
	const struct hop hop = { .kind = HOP_RELAY, .relay = &relay };
	struct target t = srv_target(f, &hop);

	assert_int_equal(t.n_hosts, 4);
	assert_string_equal(t.hosts[0].name, "large");
	assert_string_equal(t.hosts[1].name, "small");
	assert_int_equal(t.hosts[0].preference, t.hosts[1].preference);
	assert_int_equal(t.hosts[0].weight, 9);
	assert_string_equal(t.hosts[2].name, "spare");
	assert_string_equal(t.hosts[3].name, "second-spare");
	assert_true(t.hosts[1].preference < t.hosts[2].preference && t.hosts[2].preference < t.hosts[3].preference);
}

static void test_hosts_with_a_weight_come_before_those_without(void **state)
{
	in_fiber(weights);
}

static void test_hops_describe_themselves(void **state)
{
	struct hop later = { .kind = HOP_RELAY, .relay = &backup, .when = WHEN_DELAYED | WHEN_TLS, .delayed = 30 * USEC_MIN };
	char text[100];

	assert_string_equal(hop_describe(&all_hops[1], text, sizeof(text)), "relay backup");
	assert_string_equal(hop_when_describe(&all_hops[1], text, sizeof(text)), "unreachable, blocked");
	assert_string_equal(hop_when_describe(&later, text, sizeof(text)), "tls, delayed 30m");
	assert_string_equal(hop_describe(&domains[0].deliver, text, sizeof(text)), "maildir:/mail/{local}");
	assert_string_equal(hop_describe(&domains[2].deliver, text, sizeof(text)), "lmtp:unix:/run/lmtp");
	hop_when_describe(&later, text, 8);
	assert_string_equal(text, "tls, de");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_local_domains_and_their_recipients),
		cmocka_unit_test(test_domains_come_first_then_the_first_rule_that_matches),
		cmocka_unit_test(test_routes_look_at_user_size_and_header_fields),
		cmocka_unit_test(test_an_envelope_has_the_facts_for_routes),
		cmocka_unit_test(test_an_address_literal_is_its_own_host),
		cmocka_unit_test(test_sources_are_chosen_by_family_and_weight),
		cmocka_unit_test(test_domains_with_the_same_exchangers_share_a_site),
		cmocka_unit_test(test_our_own_host_among_the_exchangers_ends_the_list),
		cmocka_unit_test(test_what_was_asked_once_is_known_without_waiting),
		cmocka_unit_test(test_configured_hops_need_no_dns),
		cmocka_unit_test(test_an_srv_name_leads_to_its_hosts),
		cmocka_unit_test(test_hosts_with_a_weight_come_before_those_without),
		cmocka_unit_test(test_hops_describe_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
