/* In which order hosts are asked: by weight, and those that did not work last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "deliver/host_order.h"
#include "dns/zone.h"
#include "world/sim.h"

#define ROUNDS 20000u

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct resolver *resolver;
	struct router *router;
};

static const struct route_config config = { .hostname = "us.example" };

static int set_up(void **state)
{
	static struct fixture f;
	struct zone *zone;
	char *why;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 7 }, &f.sim), 0);
	assert_int_equal(sim_host_new(f.sim, "h", "", &f.host, &f.world), 0);
	assert_int_equal(zone_parse(SLICE(""), "z", &zone, &why), 0);
	assert_int_equal(zone_resolver_new(f.world, zone, 0, &f.resolver), 0);
	assert_int_equal(router_new(f.world, NULL, f.resolver, &config, &f.router), 0);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	router_free(f->router);
	resolver_free(f->resolver);
	world_free(f->world);
	sim_free(f->sim);
	return 0;
}

/* How often was each host the first? */
static void count_first(struct world *w, const struct target_host *hosts, unsigned n, unsigned *ret)
{
	struct target_host drawn[8];

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned seen = 0;

		memcpy(drawn, hosts, n * sizeof(*hosts));
		hosts_shuffle(w, drawn, n);
		ret[drawn[0].port]++;
		for (unsigned i = 0; i < n; i++)
			seen |= 1u << drawn[i].port;
		assert_int_equal(seen, (1u << n) - 1); /* nobody is lost */
	}
}

static void assert_share(unsigned count, double share)
{
	double seen = (double) count / ROUNDS;

	if (seen < share - 0.02 || seen > share + 0.02)
		fail_msg("a share of %.3f instead of %.3f", seen, share);
}

static void test_weights_are_shares(void **state)
{
	struct fixture *f = *state;
	const struct target_host hosts[] = { { .port = 0, .weight = 1 }, { .port = 1, .weight = 3 }, { .port = 2, .weight = 6 } };
	unsigned first[3] = { 0 };

	count_first(f->world, hosts, 3, first);
	assert_share(first[0], 0.1);
	assert_share(first[1], 0.3);
	assert_share(first[2], 0.6);
}

static void test_without_weights_each_is_as_likely(void **state)
{
	struct fixture *f = *state;
	const struct target_host hosts[] = { { .port = 0 }, { .port = 1 }, { .port = 2 }, { .port = 3 } };
	unsigned first[4] = { 0 };

	count_first(f->world, hosts, 4, first);
	for (unsigned i = 0; i < 4; i++)
		assert_share(first[i], 0.25);
}

/* RFC 2782: a weight of 0 beside others means a very small chance, but some. */
static void test_a_weight_of_zero_is_a_small_chance(void **state)
{
	struct fixture *f = *state;
	const struct target_host hosts[] = { { .port = 0, .weight = 0 }, { .port = 1, .weight = 49 }, { .port = 2, .weight = 50 } };
	unsigned first[3] = { 0 };

	count_first(f->world, hosts, 3, first);
	assert_share(first[0], 0.01);
	assert_true(first[0] > 0);
	assert_share(first[1], 0.49);
}

static const char *names(const struct target_host *hosts, unsigned n, char out[static 64])
{
	out[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		strcat(out, hosts[i].name);
	return out;
}

static void test_a_host_that_failed_is_asked_last_until_it_works_or_time_has_passed(void **state)
{
	struct fixture *f = *state;
	const struct hop relay = { .kind = HOP_RELAY }, mx = { .kind = HOP_MX };
	const struct target_host hosts[] = { { .name = "a", .preference = 1 }, { .name = "b", .preference = 2 }, { .name = "c", .preference = 3 } };
	struct target_host drawn[3];
	struct host_health health;
	char text[64];

#define ORDER(hop) (memcpy(drawn, hosts, sizeof(hosts)), hosts_in_order(f->world, f->router, (hop), drawn, 3), names(drawn, 3, text))
	assert_string_equal(ORDER(&relay), "abc");
	route_health_failed(f->router, &hosts[0], NULL, "the connection was refused");
	assert_string_equal(ORDER(&relay), "bca");
	assert_string_equal(ORDER(&mx), "abc"); /* whose preference is not ours to change */
	assert_true(route_health_get(f->router, &hosts[0], NULL, &health));
	assert_string_equal(health.why, "the connection was refused");
	assert_int_equal(health.failures, 1);
	route_health_failed(f->router, &hosts[0], NULL, "again"); /* at the same time: nothing new */
	assert_true(route_health_get(f->router, &hosts[0], NULL, &health));
	assert_int_equal(health.failures, 1);
	route_health_failed(f->router, &hosts[2], NULL, "no route");
	assert_string_equal(ORDER(&relay), "bac");
	sim_run(f->sim, world_now(f->world) + USEC_MIN + 1);
	assert_string_equal(ORDER(&relay), "abc");
	route_health_failed(f->router, &hosts[0], NULL, "still"); /* for twice as long */
	sim_run(f->sim, world_now(f->world) + USEC_MIN + 1);
	assert_string_equal(ORDER(&relay), "bca");
	route_health_worked(f->router, &hosts[0], NULL);
	assert_string_equal(ORDER(&relay), "abc");
	assert_false(route_health_get(f->router, &hosts[0], NULL, &health));
	assert_int_equal(health.failures, 0);
#undef ORDER
}

static void test_health_is_told_apart_by_port_and_by_source(void **state)
{
	struct fixture *f = *state;
	const struct source_pool pool = { .name = "second" };
	const struct target_host host = { .name = "a", .port = 25 }, other = { .name = "a", .port = 26 };

	route_health_failed(f->router, &host, &pool, "x");
	assert_true(route_health_get(f->router, &host, &pool, NULL));
	assert_false(route_health_get(f->router, &host, NULL, NULL));
	assert_false(route_health_get(f->router, &other, &pool, NULL));
}

static void test_so_many_sick_hosts_are_remembered_and_no_more(void **state)
{
	struct fixture *f = *state;
	char name[32];
	struct target_host host = { .name = name };

	for (unsigned i = 0; i <= HEALTH_HOSTS_MAX; i++) {
		snprintf(name, sizeof(name), "host%u", i);
		route_health_failed(f->router, &host, NULL, "x");
	}
	assert_true(route_health_get(f->router, &host, NULL, NULL));
	strcpy(name, "host0");
	assert_false(route_health_get(f->router, &host, NULL, NULL));
	strcpy(name, "host1");
	assert_true(route_health_get(f->router, &host, NULL, NULL));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_weights_are_shares),
		T(test_without_weights_each_is_as_likely),
		T(test_a_weight_of_zero_is_a_small_chance),
		T(test_a_host_that_failed_is_asked_last_until_it_works_or_time_has_passed),
		T(test_health_is_told_apart_by_port_and_by_source),
		T(test_so_many_sick_hosts_are_remembered_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
