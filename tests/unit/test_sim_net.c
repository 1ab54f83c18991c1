/* The simulated network: what connections do, and what goes wrong with them. */
#include "sim_net_fixture.h"

/* --- connections ---------------------------------------------------------------------------------- */

static void test_two_hosts_talk(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct fixture f;

		set_up(&f, seed);
		listen_here(&f);
		f.amount = 1 + sim_random_below(f.sim, 10000);
		on_server(&f, server_echoes);
		on_client(&f, client_talks);
		sim_run(f.sim, DEADLINE_NEVER);
		assert_int_equal(f.result, 0);
		assert_int_equal(f.server_result, 0);
		assert_int_equal(f.seen, f.amount);
		tear_down(&f);
	}
}

static void test_the_order_holds_over_the_worst_of_links(void **state)
{
	struct sim_link way = sim_link_default();

	way.segment_max = 7;
	way.jitter = USEC_SEC;
	way.loss_per_mille = 200;
	way.send_buffer = 900;
	way.receive_buffer = 300;
	way.bandwidth = 20000;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct fixture f;

		set_up(&f, seed);
		sim_set_link(f.sim, f.client, f.server, &way);
		listen_here(&f);
		f.amount = 20000;
		on_server(&f, server_reads);
		on_client(&f, client_sends);
		sim_run(f.sim, DEADLINE_NEVER);
		assert_int_equal(f.result, 0);
		assert_int_equal(f.server_result, 0);
		assert_int_equal(f.server_seen, f.amount);
		assert_true(f.when > USEC_SEC); /* 20000 bytes take a second of bandwidth */
		tear_down(&f);
	}
}

static void server_never_reads(void *arg)
{
	struct fixture *f = arg;
	struct transport *t;

	assert_int_equal(listener_accept(f->listener, DEADLINE_NEVER, &t, NULL), 0);
	(void) fiber_sleep_until(now() + USEC_DAY);
	transport_close(t);
}

static void test_a_peer_that_does_not_read_stops_the_writer(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 3);
	listen_here(&f);
	start = sim_now(f.sim);
	f.amount = 1000000;
	f.deadline = start + 10 * USEC_MIN;
	on_server(&f, server_never_reads);
	on_client(&f, client_sends);
	sim_run(f.sim, start + USEC_HOUR);
	assert_int_equal(f.result, -ETIMEDOUT);
	assert_int_equal(f.when, f.deadline);
	tear_down(&f);
}

static void test_nobody_listens(void **state)
{
	struct fixture f;

	set_up(&f, 1);
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ECONNREFUSED);

	f.at = endpoint("192.0.2.77:25"); /* nobody's address */
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -EHOSTUNREACH);

	f.at = endpoint("[2001:db8::1]:25"); /* the client has no address of that family */
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ENETUNREACH);

	f.at = endpoint("unix:/run/nobody");
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ENOENT);
	tear_down(&f);
}

struct plan {
	struct sim_fate fate;
	unsigned asked;
};

static void planned(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct plan *p = context;

	assert_string_equal(sim_host_name(c->from), "client");
	assert_int_equal(c->at->port, PORT);
	p->asked++;
	*fate = p->fate;
}

static void test_a_black_hole_ends_at_the_deadline(void **state)
{
	struct plan p = { .fate.kind = SIM_BLACKHOLE };
	struct fixture f;
	usec_t start;

	set_up(&f, 1);
	listen_here(&f);
	sim_set_connect_hook(f.sim, planned, &p);
	start = sim_now(f.sim);
	f.deadline = start + 30 * USEC_SEC;
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ETIMEDOUT);
	assert_int_equal(f.when, f.deadline);
	assert_int_equal(p.asked, 1);

	f.deadline = DEADLINE_NEVER; /* then the kernel gives up by itself */
	start = sim_now(f.sim);
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ETIMEDOUT);
	assert_in_range(f.when - start, 127 * USEC_SEC, 128 * USEC_SEC);
	tear_down(&f);
}

static void test_a_reset_comes_at_the_chosen_byte(void **state)
{
	for (uint64_t after = 0; after < 3000; after += 97) {
		struct plan p = { .fate = { .kind = SIM_RESET, .after = after } };
		struct fixture f;

		set_up(&f, after);
		sim_set_connect_hook(f.sim, planned, &p);
		listen_here(&f);
		f.amount = 3000;
		on_server(&f, server_reads);
		on_client(&f, client_talks);
		sim_run(f.sim, DEADLINE_NEVER);
		assert_int_equal(f.server_result, -ECONNRESET);
		assert_int_equal(f.server_seen, after);
		assert_int_equal(f.result, -ECONNRESET);
		tear_down(&f);
	}
}

static void test_a_reset_can_take_the_reply_alone(void **state)
{
	struct plan p = { .fate = { .kind = SIM_RESET, .from_server = true, .after = 10 } };
	struct fixture f;

	set_up(&f, 5);
	sim_set_connect_hook(f.sim, planned, &p);
	listen_here(&f);
	f.amount = 500;
	on_server(&f, server_echoes);
	on_client(&f, client_talks);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.server_seen, 500); /* the server has it all */
	assert_int_equal(f.seen, 10);
	assert_int_equal(f.result, -ECONNRESET);
	tear_down(&f);
}

static void test_a_stalled_connection_ends_by_deadlines_only(void **state)
{
	struct plan p = { .fate = { .kind = SIM_STALL, .after = 100 } };
	struct fixture f;

	set_up(&f, 5);
	sim_set_connect_hook(f.sim, planned, &p);
	listen_here(&f);
	f.amount = 500;
	f.deadline = sim_now(f.sim) + 5 * USEC_MIN;
	on_server(&f, server_reads);
	on_client(&f, client_talks);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.server_result, -ETIMEDOUT);
	assert_int_equal(f.server_seen, 100);
	assert_int_equal(f.result, -ETIMEDOUT);
	tear_down(&f);
}

static void server_hangs_up_unread(void *arg)
{
	struct fixture *f = arg;
	struct transport *t;
	char c;

	assert_int_equal(listener_accept(f->listener, DEADLINE_NEVER, &t, NULL), 0);
	while (t->ops->read(t, &c, 1) == -EAGAIN)
		assert_int_equal(t->ops->wait(t, WAIT_READ, DEADLINE_NEVER), 0);
	transport_close(t);
}

static void test_closing_with_unread_input_resets(void **state)
{
	struct fixture f;

	set_up(&f, 2);
	listen_here(&f);
	f.amount = 5000;
	on_server(&f, server_hangs_up_unread);
	on_client(&f, client_talks);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ECONNRESET);
	tear_down(&f);
}

static void test_a_partition_delays_what_was_sent(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 4);
	listen_here(&f);
	f.amount = 1000000;
	on_server(&f, server_reads);
	on_client(&f, client_sends);
	start = sim_now(f.sim);
	sim_run(f.sim, start + 30 * USEC_MS);
	assert_int_equal(f.result, 1);
	sim_partition(f.sim, f.client, f.server);
	sim_run(f.sim, start + 5 * USEC_MIN);
	assert_int_equal(f.result, 1);
	sim_heal(f.sim, f.server, f.client);
	sim_run(f.sim, start + 6 * USEC_MIN);
	assert_int_equal(f.result, 0);
	assert_int_equal(f.server_seen, f.amount);
	tear_down(&f);
}

static void test_a_long_partition_ends_the_senders_connection(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 4);
	listen_here(&f);
	f.amount = 1000000;
	on_server(&f, server_reads);
	on_client(&f, client_sends);
	start = sim_now(f.sim);
	sim_run(f.sim, start + 30 * USEC_MS);
	sim_partition(f.sim, f.client, NULL);
	sim_run(f.sim, start + USEC_HOUR);
	assert_int_equal(f.result, -ETIMEDOUT);
	assert_int_equal(f.server_result, 1); /* the reader hears nothing */
	sim_heal_all(f.sim);
	tear_down(&f);
}

static void test_all_connections_can_be_reset(void **state)
{
	struct fixture f;

	set_up(&f, 6);
	listen_here(&f);
	f.amount = 100000;
	on_server(&f, server_reads);
	on_client(&f, client_sends);
	sim_run(f.sim, sim_now(f.sim) + 50 * USEC_MS);
	assert_int_equal(sim_reset_connections(f.sim, f.client, f.client), 0);
	assert_int_equal(sim_reset_connections(f.sim, f.client, f.server), 1);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ECONNRESET);
	assert_int_equal(f.server_result, -ECONNRESET);
	tear_down(&f);
}

static void test_chances_of_a_link_come_true(void **state)
{
	unsigned refused = 0, reset = 0, fine = 0;

	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim_link way = sim_link_default();
		struct fixture f;

		way.refuse_per_mille = 200;
		way.reset_per_mille = 500;
		way.within = 4000;
		set_up(&f, seed);
		sim_set_link(f.sim, NULL, NULL, &way);
		listen_here(&f);
		f.amount = 4000;
		on_server(&f, server_echoes);
		on_client(&f, client_talks);
		sim_run(f.sim, DEADLINE_NEVER);
		refused += f.result == -ECONNREFUSED;
		reset += f.result == -ECONNRESET;
		fine += f.result == 0 && f.seen == f.amount;
		tear_down(&f);
	}
	assert_int_equal(refused + reset + fine, 300);
	assert_in_range(refused, 30, 90);
	assert_in_range(reset, 80, 160);
}

/* Both ends on one machine, over a unix socket and over loopback. */
static void test_a_host_talks_to_itself(void **state)
{
	static const char *const places[] = { "unix:/run/socket", "127.0.0.1:0", "[::1]:0" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct fixture f;

		set_up(&f, 1);
		f.at = endpoint(places[i]);
		listen_here(&f);
		f.at = *listener_endpoint(f.listener);
		f.amount = 40000;
		on_server(&f, server_echoes);
		on_client(&f, client_talks); /* another machine: it has no such socket */
		sim_run(f.sim, DEADLINE_NEVER);
		assert_true(f.result == -ENOENT || f.result == -ECONNREFUSED);
		assert_int_equal(loop_spawn(f.server_loop, "client", client_talks, &f), 0);
		sim_run(f.sim, DEADLINE_NEVER);
		assert_int_equal(f.result, 0);
		assert_int_equal(f.seen, f.amount);
		tear_down(&f);
	}
}

static void test_an_address_is_taken_once(void **state)
{
	struct listen_options share = { .reuse_port = true };
	struct listener *other;
	struct endpoint any = endpoint("0.0.0.0:25"), six = endpoint("[::]:25"), foreign = endpoint(CLIENT ":25");
	struct fixture f;

	set_up(&f, 1);
	listen_here(&f);
	assert_int_equal(listener_open(f.server_world, &f.at, NULL, &other), -EADDRINUSE);
	assert_int_equal(listener_open(f.server_world, &any, &share, &other), -EADDRINUSE);
	assert_int_equal(listener_open(f.server_world, &foreign, NULL, &other), -EADDRNOTAVAIL);
	assert_int_equal(listener_open(f.server_world, &six, NULL, &other), 0);
	listener_close(other);
	tear_down(&f);
}

static void client_connects_often(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 40; i++)
		client_sends(f);
}

static void test_listeners_on_one_port_share_the_connections(void **state)
{
	struct listen_options share = { .reuse_port = true };
	struct fixture f, g;

	set_up(&f, 1);
	assert_int_equal(listener_open(f.server_world, &f.at, &share, &f.listener), 0);
	g = f;
	assert_int_equal(listener_open(f.server_world, &f.at, &share, &g.listener), 0);
	g.server_loop = loop_on(f.server_world);
	on_server(&f, server_counts);
	on_server(&g, server_counts);
	on_client(&f, client_connects_often);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.count + g.count, 40);
	assert_in_range(f.count, 8, 32);
	loop_stop(g.server_loop);
	listener_close(g.listener);
	loop_free(g.server_loop);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_hosts_talk),
		cmocka_unit_test(test_the_order_holds_over_the_worst_of_links),
		cmocka_unit_test(test_a_peer_that_does_not_read_stops_the_writer),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_a_black_hole_ends_at_the_deadline),
		cmocka_unit_test(test_a_reset_comes_at_the_chosen_byte),
		cmocka_unit_test(test_a_reset_can_take_the_reply_alone),
		cmocka_unit_test(test_a_stalled_connection_ends_by_deadlines_only),
		cmocka_unit_test(test_closing_with_unread_input_resets),
		cmocka_unit_test(test_a_partition_delays_what_was_sent),
		cmocka_unit_test(test_a_long_partition_ends_the_senders_connection),
		cmocka_unit_test(test_all_connections_can_be_reset),
		cmocka_unit_test(test_chances_of_a_link_come_true),
		cmocka_unit_test(test_a_host_talks_to_itself),
		cmocka_unit_test(test_an_address_is_taken_once),
		cmocka_unit_test(test_listeners_on_one_port_share_the_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
