/* The gate when memory runs out: each allocation of a visit fails once. What comes back is -ENOMEM, or the answer that
 * there is with memory; nothing is refused that is not refused with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/zone.h"
#include "faults/faults.h"
#include "receive/gate.h"
#include "world/sim.h"

static const char zone_text[] = "2.0.0.127.bl.example. A 127.0.0.2\n"
				"7.2.0.192.bl.example. A 127.0.0.2\n"
				"7.2.0.192.bl.example. TXT \"because\"\n"
				"8.2.0.192.in-addr.arpa. PTR mail.good.example.\n"
				"mail.good.example. A 192.0.2.8\n"
				"good.example. MX 10 mail.good.example.\n";

static const struct list_config lists[] = { { .zone = "bl.example", .weight = 1 } };
static struct gate_value any[] = { { .text = "*" } };
static const struct rate_rule rates[] = { { .key = RATE_CLIENT, .allowed = { 5, 5, 5 }, .per = USEC_HOUR } };
static const struct concurrency_rule places[] = { { .key = RATE_NETWORK, .sessions = 2 } };
static const struct route_domain domains[] = { { .name = "here.example", .deliver = { .kind = HOP_MAILDIR, .maildir = "/mail/{local}" } } };
static const struct route_config routes = { .hostname = "mx.here.example", .domains = domains, .n_domains = 1, .mx_port = 25 };

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct zone *zone;
	struct resolver *resolver;
	struct router *router;
	struct arena *arena;
	const char *client;
	const char *expected; /* by whom it is refused, or NULL */
	struct gate_config config;
	bool done;
};

static int exists(void *context, const struct hop *hop, const char *address, const char *sender, usec_t deadline, struct arena *a,
		  struct verify_result *ret)
{
	*ret = (struct verify_result) { .status = VERIFY_EXISTS, .by = arena_strdup(a, "a test") };
	return ret->by ? 0 : -ENOMEM;
}

static int visit(struct scene *s, struct gate *g, struct gate_answer *answer)
{
	struct gate_visit v;
	bool discard;
	int r;

	gate_visit_init(&v, g, s->arena);
	v.mail_arena = s->arena;
	v.facts.listener = "mx";
	ip_parse(slice_from(s->client), &v.facts.client);
	r = gate_at_connect(&v, answer);
	v.facts.helo = "mail.good.example";
	if (r > 0)
		r = gate_at_helo(&v, answer);
	address_parse(SLICE("a@good.example"), ADDRESS_OF_ENVELOPE, &v.facts.sender);
	v.facts.sender_domain = "good.example";
	if (r > 0)
		r = gate_at_mail(&v, answer);
	address_parse(SLICE("bob@here.example"), ADDRESS_OF_ENVELOPE, &v.facts.recipient);
	v.facts.recipient_domain = "here.example";
	if (r > 0)
		r = gate_at_rcpt(&v, answer, &discard);
	if (r > 0)
		r = gate_at_data(&v, answer);
	gate_visit_done(&v);
	return r;
}

static int whole(struct scene *s, struct gate_answer *answer)
{
	struct gate_shared shared;
	struct gate *g = NULL;
	char *why = NULL;
	int r = gate_shared_init(&shared, s->world, NULL, s->resolver, s->router, &s->config);

	shared.verifier = (struct verifier) { .verify = exists };
	if (r >= 0)
		r = gate_new(&shared, &s->config, "mx.here.example", &g, &why);
	if (r >= 0)
		r = visit(s, g, answer);
	gate_free(g);
	gate_shared_done(&shared);
	free(why);
	return r;
}

static void visit_fiber(void *arg)
{
	struct scene *s = arg;
	struct gate_answer answer = { 0 };
	int r;

	faults_begin(NULL, NULL);
	r = whole(s, &answer);
	faults_end();
	if (r < 0 && !(faults_fired() && r == -ENOMEM))
		fail_msg("%s", strerror(-r));
	if (r == 0 && (!s->expected || strcmp(answer.by, s->expected) != 0))
		fail_msg("refused by %s", answer.by);
	if (r > 0)
		assert_null(s->expected);
	s->done = true;
}

static void a_visit(void *context)
{
	struct scene s = { .client = context };
	struct gate_condition listed = { .key = gate_key_find(SLICE("reverse")), .n = 1, .values = any };
	const struct gate_rule rule = { .name = "x", .stage = GATE_CONNECT, .action = GATE_CONTINUE, .match = &listed, .n_match = 1 };
	char *why = NULL;

	s.expected = strcmp(context, "192.0.2.7") == 0 ? "checks.lists" : strcmp(context, "192.0.2.8") == 0 ? NULL : "checks.reverse";
	s.config = (struct gate_config) {
		.rules = { .n = 1, .rules = &rule },
		.checks = { .lists = lists, .n_lists = 1, .lists_reject = 1, .refuse_at = GATE_WHEN_RCPT, .dns_timeout = USEC_MIN,
			    .reverse = GATE_REVERSE_MATCHING, .reverse_action = GATE_POLICY_REJECT, .helo = GATE_HELO_UNRESOLVED,
			    .sender_domain = GATE_SENDER_EXISTS, .rates = rates, .n_rates = 1, .concurrency = places, .n_concurrency = 1,
			    .recipients = { .scope = RECIPIENTS_LOCAL, .positive = USEC_HOUR, .negative = USEC_HOUR, .timeout = USEC_MIN } },
	};
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s.sim), 0);
	assert_int_equal(sim_host_new(s.sim, "h", "", &s.host, &s.world), 0);
	assert_int_equal(arena_new(64, &s.arena), 0);
	assert_int_equal(zone_parse(slice_from(zone_text), "z", &s.zone, &why), 0);
	assert_int_equal(zone_resolver_new(s.world, s.zone, 100, &s.resolver), 0);
	assert_int_equal(router_new(s.world, NULL, s.resolver, &routes, &s.router), 0);
	assert_int_equal(loop_new(s.world, "l", 0, 0, &s.loop), 0);
	assert_int_equal(loop_start(s.loop), 0);
	assert_int_equal(loop_spawn(s.loop, "visit", visit_fiber, &s), 0);
	sim_run(s.sim, DEADLINE_NEVER);
	assert_true(s.done);
	loop_stop(s.loop);
	loop_free(s.loop);
	router_free(s.router);
	resolver_free(s.resolver);
	arena_free(s.arena);
	world_free(s.world);
	sim_free(s.sim);
}

static void test_visits(void **state)
{
	static char listed[] = "192.0.2.7", fine[] = "192.0.2.8", nameless[] = "192.0.2.9";
	uint64_t n = faults_walk_both("a listed client", a_visit, listed, 0) + faults_walk_both("a client in order", a_visit, fine, 0) +
		     faults_walk_both("a client without a name", a_visit, nameless, 0);

	assert_true(faults_enough(n, 60));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_visits, faults_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
