/* Marks with a way back, and the counting of clients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/clients.h"
#include "receive/pressure.h"
#include "world/sim.h"

static void test_a_level_begins_at_its_mark_and_ends_behind_it(void **state)
{
	const struct pressure_marks memory = { .high = 800, .high_ends = 720, .critical = 900, .critical_ends = 810 };
	static const struct {
		uint64_t value;
		enum pressure_level expected;
	} way[] = {
		{ 0, PRESSURE_NONE }, { 799, PRESSURE_NONE }, { 800, PRESSURE_HIGH }, { 799, PRESSURE_HIGH }, { 720, PRESSURE_HIGH },
		{ 719, PRESSURE_NONE }, { 799, PRESSURE_NONE }, { 900, PRESSURE_CRITICAL }, { 899, PRESSURE_CRITICAL },
		{ 810, PRESSURE_CRITICAL }, { 809, PRESSURE_HIGH }, { 899, PRESSURE_HIGH }, { 950, PRESSURE_CRITICAL }, { 0, PRESSURE_NONE },
	};
	enum pressure_level level = PRESSURE_NONE;

	for (size_t i = 0; i < ARRAY_LEN(way); i++) {
		level = pressure_judge(level, way[i].value, &memory);
		if (level != way[i].expected)
			fail_msg("step %zu: level %u", i, level);
	}
}

static void test_of_free_space_little_is_bad(void **state)
{
	const struct pressure_marks disk = { .high = 100, .high_ends = 110, .critical = 50, .critical_ends = 55, .below = true };
	static const struct {
		uint64_t value;
		enum pressure_level expected;
	} way[] = {
		{ 1000, PRESSURE_NONE }, { 100, PRESSURE_NONE }, { 99, PRESSURE_HIGH }, { 109, PRESSURE_HIGH }, { 110, PRESSURE_NONE },
		{ 49, PRESSURE_CRITICAL }, { 54, PRESSURE_CRITICAL }, { 55, PRESSURE_HIGH }, { 0, PRESSURE_CRITICAL }, { 200, PRESSURE_NONE },
	};
	const struct pressure_marks none = { .below = true };
	enum pressure_level level = PRESSURE_NONE;

	for (size_t i = 0; i < ARRAY_LEN(way); i++) {
		level = pressure_judge(level, way[i].value, &disk);
		if (level != way[i].expected)
			fail_msg("step %zu: level %u", i, level);
	}
	assert_int_equal(pressure_judge(PRESSURE_CRITICAL, 0, &none), PRESSURE_NONE);
}

static void test_a_full_disk_refuses_and_a_disk_with_room_takes_again(void **state)
{
	struct pressure_config config = { .spool_path = "/", .disk_high = 1000, .disk_critical = 500 };
	struct sim *sim;
	struct sim_host *host;
	struct world *w;
	struct pressure p;

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &sim), 0);
	assert_int_equal(sim_host_new(sim, "server", "192.0.2.25", &host, &w), 0);
	pressure_init(&p, w, NULL);
	assert_int_equal(pressure_on_message(&p), REPLY_SENDER_OK); /* nothing is configured: nothing is looked at */
	pressure_configure(&p, &config);
	assert_int_equal(pressure_on_message(&p), REPLY_SENDER_OK);
	assert_true(atomic_load(&p.gauges[PRESSURE_DISK].value) > 1000);
	config.disk_high = UINT64_C(1) << 50;
	assert_int_equal(pressure_on_message(&p), REPLY_SENDER_OK); /* measured a moment ago */
	sim_run(sim, sim_now(sim) + 2 * USEC_SEC);
	assert_int_equal(pressure_on_message(&p), REPLY_DISK_FULL);
	assert_int_equal(pressure_on_session(&p), REPLY_DONE);
	assert_false(pressure_keeps_doors_shut(&p));
	config.disk_critical = UINT64_C(1) << 49;
	sim_run(sim, sim_now(sim) + 2 * USEC_SEC);
	assert_int_equal(pressure_on_session(&p), REPLY_UNDER_PRESSURE);
	assert_true(pressure_keeps_doors_shut(&p));
	assert_int_equal(atomic_load(&p.gauges[PRESSURE_DISK].refused), 2);
	config.disk_high = 0; /* a reload switches it off: what held before holds no more */
	sim_run(sim, sim_now(sim) + 2 * USEC_SEC);
	assert_false(pressure_keeps_doors_shut(&p));
	assert_int_equal(pressure_on_message(&p), REPLY_SENDER_OK);
	world_free(w);
	sim_free(sim);
}

/* --- clients ------------------------------------------------------------------------------------------------ */

struct fixture {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct clients *clients;
	struct client_limits limits;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &f->sim), 0);
	assert_int_equal(sim_host_new(f->sim, "server", "192.0.2.25", &f->host, &f->world), 0);
	assert_int_equal(clients_new(f->world, NULL, &f->clients), 0);
	f->limits = (struct client_limits) { .per_address = 10, .per_network = 25, .prefix4 = 24, .prefix6 = 64, .relief = 20 };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct client_counts n;

	clients_count(f->clients, &n);
	assert_int_equal(n.addresses + n.networks + n.limited_addresses + n.limited_networks, 0);
	clients_free(f->clients);
	world_free(f->world);
	sim_free(f->sim);
	free(f);
	return 0;
}

static int enter(struct fixture *f, const char *address, struct client_place **ret)
{
	struct ip ip;

	assert_int_equal(ip_parse(slice_from(address), &ip), 0);
	return clients_enter(f->clients, &ip, &f->limits, ret);
}

static void test_an_address_at_its_limit_must_close_a_few_first(void **state)
{
	struct fixture *f = *state;
	struct client_place *p[10], *other, *more;
	struct client_counts n;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(enter(f, "192.0.2.1", &p[i]), 0);
	assert_int_equal(enter(f, "192.0.2.1", &more), -EUSERS);
	assert_int_equal(enter(f, "192.0.2.2", &other), 0);
	clients_leave(f->clients, p[9]);
	assert_int_equal(enter(f, "192.0.2.1", &more), -EUSERS);
	clients_count(f->clients, &n);
	assert_int_equal(n.limited_addresses, 1);
	assert_int_equal(n.refused_addresses, 2);
	clients_leave(f->clients, p[8]); /* 8 of 10: 20 % below */
	assert_int_equal(enter(f, "192.0.2.1", &p[8]), 0);
	assert_int_equal(enter(f, "192.0.2.1", &p[9]), 0);
	clients_count(f->clients, &n);
	assert_int_equal(n.limited_addresses, 0);
	for (unsigned i = 0; i < 10; i++)
		clients_leave(f->clients, p[i]);
	clients_leave(f->clients, other);
	clients_leave(f->clients, NULL);
}

static void network_is_limited(struct fixture *f, const char *const addresses[3], const char *same, const char *other)
{
	struct client_place *p[25], *more;
	struct client_counts n;

	for (unsigned i = 0; i < 25; i++)
		assert_int_equal(enter(f, addresses[i / 10], &p[i]), 0);
	assert_int_equal(enter(f, same, &more), -EDQUOT);
	assert_int_equal(enter(f, other, &more), 0);
	clients_count(f->clients, &n);
	assert_int_equal(n.limited_networks, 1);
	assert_int_equal(n.networks, 2);
	assert_int_equal(n.addresses, 4);
	clients_leave(f->clients, more);
	for (unsigned i = 0; i < 25; i++)
		clients_leave(f->clients, p[i]);
}

static void test_a_network_is_counted_over_its_addresses(void **state)
{
	struct fixture *f = *state;

	network_is_limited(f, (const char *const[]) { "192.0.2.1", "192.0.2.2", "192.0.2.3" }, "192.0.2.200", "192.0.3.1");
	network_is_limited(f, (const char *const[]) { "2001:db8::1", "2001:db8::2:1", "2001:db8::3" }, "2001:db8::ffff:0:0:1",
			   "2001:db8:0:1::1");
	f->limits.prefix4 = 16;
	network_is_limited(f, (const char *const[]) { "192.0.2.1", "192.0.9.2", "192.0.3.3" }, "192.0.200.200", "192.1.3.1");
}

static void test_a_small_limit_has_a_way_back_too(void **state)
{
	struct fixture *f = *state;
	struct client_place *p, *more;

	assert_int_equal(client_limit_ends(1, 10), 0);
	assert_int_equal(client_limit_ends(3, 10), 2);
	assert_int_equal(client_limit_ends(10000, 10), 9000);
	assert_int_equal(client_limit_ends(0, 10), 0);
	f->limits.per_address = 1;
	assert_int_equal(enter(f, "192.0.2.1", &p), 0);
	assert_int_equal(enter(f, "192.0.2.1", &more), -EUSERS);
	clients_leave(f->clients, p);
	assert_int_equal(enter(f, "192.0.2.1", &p), 0);
	clients_leave(f->clients, p);
}

static void test_who_is_here_when_networks_change_their_size_is_counted_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct client_place *a, *b;
	struct client_counts n;

	assert_int_equal(enter(f, "192.0.2.1", &a), 0);
	f->limits.prefix4 = 16;
	assert_int_equal(enter(f, "192.0.2.1", &b), 0);
	clients_count(f->clients, &n);
	assert_int_equal(n.networks, 1);
	clients_leave(f->clients, a);
	clients_leave(f->clients, b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_level_begins_at_its_mark_and_ends_behind_it),
		cmocka_unit_test(test_of_free_space_little_is_bad),
		cmocka_unit_test(test_a_full_disk_refuses_and_a_disk_with_room_takes_again),
		T(test_an_address_at_its_limit_must_close_a_few_first),
		T(test_a_network_is_counted_over_its_addresses),
		T(test_a_small_limit_has_a_way_back_too),
		T(test_who_is_here_when_networks_change_their_size_is_counted_where_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
