/* The simulated world: time, loops, the death of processes and machines, determinism. Its network:
 * test_sim_net.c; its disk: test_sim_disk.c and test_sim_crash.c. */
#include "sim_net_fixture.h"
#include "world/file.h"

/* --- time ----------------------------------------------------------------------------------------- */

static void sleeper(void *arg)
{
	struct fixture *f = arg;

	f->result = fiber_sleep_until(now() + USEC_HOUR);
	f->when = now();
}

static void test_an_hour_passes_at_once(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 1);
	start = sim_now(f.sim);
	on_client(&f, sleeper);
	sim_run(f.sim, start + USEC_HOUR - 1);
	assert_int_equal(f.result, 1);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, 0);
	assert_int_equal(f.when, start + USEC_HOUR);
	assert_int_equal(world_wall(f.client_world) - world_wall(f.server_world), 0);
	sim_host_set_clock(f.client, -(int64_t) USEC_HOUR);
	assert_int_equal(world_wall(f.server_world) - world_wall(f.client_world), USEC_HOUR);
	tear_down(&f);
}

static bool result_is_set(void *context)
{
	return ((struct fixture *) context)->result <= 0;
}

static void test_running_ends_at_the_limit_or_when_it_is_done(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 1);
	start = sim_now(f.sim);
	on_client(&f, sleeper);
	assert_false(sim_run_until(f.sim, result_is_set, &f, start + USEC_MIN));
	assert_int_equal(sim_now(f.sim), start + USEC_MIN);
	assert_true(sim_run_until(f.sim, result_is_set, &f, start + USEC_DAY));
	assert_int_equal(sim_now(f.sim), start + USEC_HOUR);
	tear_down(&f);
}

static void test_stopping_a_loop_cancels_its_sleepers(void **state)
{
	struct fixture f;

	set_up(&f, 1);
	on_client(&f, sleeper);
	sim_run(f.sim, sim_now(f.sim) + USEC_SEC);
	assert_int_equal(loop_fiber_count(f.client_loop), 1);
	tear_down(&f);
	assert_int_equal(f.result, -ECANCELED);
}

static void test_randomness_repeats_with_the_seed_and_differs_between_hosts(void **state)
{
	uint64_t v[2][2];

	for (int i = 0; i < 2; i++) {
		struct fixture f;

		set_up(&f, 9);
		world_random(f.server_world, &v[i][0], sizeof(v[i][0]));
		world_random(f.client_world, &v[i][1], sizeof(v[i][1]));
		tear_down(&f);
	}
	assert_true(v[0][0] == v[1][0] && v[0][1] == v[1][1]);
	assert_true(v[0][0] != v[0][1]);
}

/* --- death ---------------------------------------------------------------------------------------- */

/* Waits in every way there is; all of them must end when the power goes. */
static void waits_in_a_file(void *arg)
{
	_cleanup_(file_closep) struct file *file = NULL;
	struct fixture *f = arg;
	int r = file_open(world_current(), "/f", FILE_WRITE | FILE_CREATE, 0600, &file);

	while (r >= 0) {
		r = file_append(file, SLICE("some bytes"));
		if (r >= 0)
			r = file_sync(file);
	}
	f->result = r;
}

static void test_all_waits_end_when_the_power_goes(void **state)
{
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct fixture f, g;

		set_up(&f, seed);
		listen_here(&f);
		f.amount = 1u << 20;
		g = f;
		on_server(&f, server_reads);
		on_server(&f, server_counts);
		on_server(&g, waits_in_a_file);
		on_server(&f, sleeper);
		on_client(&f, client_sends);
		sim_run(f.sim, sim_now(f.sim) + (50 + seed) * USEC_MS);
		assert_int_equal(loop_fiber_count(f.server_loop), 4);
		sim_host_crash(f.server);
		assert_false(sim_host_is_up(f.server));
		if (seed % 2)
			sim_run(f.sim, sim_now(f.sim) + USEC_MIN); /* they unwind by themselves, too */
		end_server(&f);
		assert_int_equal(g.result, -EIO);
		sim_run(f.sim, sim_now(f.sim) + USEC_MIN);
		assert_int_equal(f.result, -ECONNRESET); /* the client */
		assert_int_equal(sim_host_restart(f.server, &f.server_world), 0);
		f.server_loop = loop_on(f.server_world);
		tear_down(&f);
	}
}

static void test_a_host_answers_again_after_its_restart(void **state)
{
	struct fixture f;
	usec_t start;

	set_up(&f, 1);
	listen_here(&f);
	sim_host_crash(f.server);
	end_server(&f);
	start = sim_now(f.sim);
	on_client(&f, client_sends);
	sim_run(f.sim, start + 20 * USEC_SEC);
	assert_int_equal(f.result, 1); /* still trying */
	assert_int_equal(sim_host_restart(f.server, &f.server_world), 0);
	assert_int_equal(sim_host_restart(f.server, &f.server_world), -EBUSY);
	f.server_loop = loop_on(f.server_world);
	listen_here(&f);
	on_server(&f, server_reads);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, 0);
	assert_int_equal(f.server_result, 0);
	tear_down(&f);
}

static void test_a_killed_process_leaves_its_machine_refusing(void **state)
{
	struct world *other;
	struct fixture f;

	set_up(&f, 1);
	assert_int_equal(sim_host_process(f.server, &other), 0);
	listen_here(&f);
	sim_world_kill(f.server_world);
	assert_true(sim_host_is_up(f.server));
	end_server(&f);
	on_client(&f, client_sends);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, -ECONNREFUSED);
	f.server_world = other;
	f.server_loop = loop_on(other);
	tear_down(&f);
}

static void server_waits_for_more(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	int r;

	assert_int_equal(listener_accept(f->listener, DEADLINE_NEVER, &t, NULL), 0);
	assert_int_equal(stream_new(t, NULL, &s), 0);
	assert_int_equal(stream_put_str(s, "220", DEADLINE_NEVER), 0);
	r = (int) stream_fill(s, DEADLINE_NEVER); /* sends it */
	f->server_result = r;
}

static void client_reads_to_the_end(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct fixture *f = arg;
	struct transport *t;
	ssize_t n;

	assert_int_equal(net_connect(&f->at, NULL, DEADLINE_NEVER, &t), 0);
	assert_int_equal(stream_new(t, &f->at, &s), 0);
	while ((n = stream_fill(s, DEADLINE_NEVER)) > 0)
		;
	f->seen = stream_peek(s).len;
	f->result = (int) n;
}

static void test_what_a_killed_process_had_sent_arrives_before_the_end(void **state)
{
	struct fixture f;

	set_up(&f, 1);
	listen_here(&f);
	on_server(&f, server_waits_for_more);
	on_client(&f, client_reads_to_the_end);
	while (f.server_loop && sim_connection_count(f.sim) == 0)
		sim_run(f.sim, sim_now(f.sim) + 1);
	sim_run(f.sim, sim_now(f.sim) + 10500);
	sim_host_kill(f.server);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.server_result, -ECANCELED);
	assert_int_equal(f.seen, 3);
	assert_int_equal(f.result, 0);
	tear_down(&f);
}

/* Two machines that talk to each other while everything happens to them. What arrives is always the front
 * of what was sent, and in the end nothing is left over (the address sanitizer looks, too). */
struct machine {
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct listener *listener;
	struct endpoint at, other;
	uint64_t arrived;
	bool up;
};

static void machine_reads(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	struct machine *m = arg;
	struct transport *t;
	uint64_t seen = 0;

	if (listener_accept(m->listener, now() + USEC_MIN, &t, NULL) < 0)
		return;
	assert_int_equal(stream_new(t, NULL, &s), 0);
	(void) read_pattern(s, &seen, now() + USEC_MIN);
	m->arrived += seen;
}

static void machine_sends(void *arg)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	_cleanup_(file_closep) struct file *file = NULL;
	struct machine *m = arg;
	struct transport *t;

	if (net_connect(&m->other, NULL, now() + USEC_MIN, &t) < 0)
		return;
	assert_int_equal(stream_new(t, NULL, &s), 0);
	(void) send_pattern(s, world_random_below(m->world, 200000), now() + USEC_MIN);
	if (file_open(m->world, "/log", FILE_WRITE | FILE_CREATE | FILE_APPEND, 0600, &file) >= 0 &&
	    file_append(file, SLICE("sent")) >= 0)
		(void) file_sync(file);
}

static void machine_start(struct machine *m)
{
	m->loop = loop_on(m->world);
	assert_int_equal(listener_open(m->world, &m->at, NULL, &m->listener), 0);
	m->up = true;
}

static void machine_end(struct machine *m)
{
	loop_stop(m->loop);
	listener_close(m->listener);
	loop_free(m->loop);
	world_free(m->world);
	m->up = false;
}

static void something_happens(struct sim *s, struct machine *m)
{
	switch (sim_random_below(s, 12)) {
	case 0:
		sim_host_crash(m->host);
		break;
	case 1:
		sim_host_kill(m->host);
		break;
	case 2:
		sim_partition(s, m->host, NULL);
		break;
	case 3:
		sim_heal_all(s);
		break;
	case 4:
		(void) sim_reset_connections(s, m->host, NULL);
		break;
	case 5:
	case 6:
		if (m->up) {
			machine_end(m);
		} else {
			sim_host_crash(m->host);
			assert_int_equal(sim_host_restart(m->host, &m->world), 0);
			machine_start(m);
		}
		break;
	default:
		for (int i = 0; m->up && i < 3; i++) {
			assert_int_equal(loop_spawn(m->loop, "reads", machine_reads, m), 0);
			assert_int_equal(loop_spawn(m->loop, "sends", machine_sends, m), 0);
		}
	}
}

static void test_any_mixture_of_misfortunes_leaves_nothing_behind(void **state)
{
	struct sim_link way = sim_link_default();
	uint64_t arrived = 0;

	way.refuse_per_mille = way.blackhole_per_mille = way.reset_per_mille = way.stall_per_mille = 50;
	way.loss_per_mille = 20;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct sim_options o = { .seed = seed };
		struct machine m[2] = { { .at = endpoint(SERVER ":25"), .other = endpoint(CLIENT ":25") },
					{ .at = endpoint(CLIENT ":25"), .other = endpoint(SERVER ":25") } };
		struct sim *s;

		assert_int_equal(sim_new(&o, &s), 0);
		sim_set_link(s, NULL, NULL, &way);
		assert_int_equal(sim_host_new(s, "a", SERVER, &m[0].host, &m[0].world), 0);
		assert_int_equal(sim_host_new(s, "b", CLIENT, &m[1].host, &m[1].world), 0);
		machine_start(&m[0]);
		machine_start(&m[1]);
		for (int i = 0; i < 60; i++) {
			something_happens(s, &m[sim_random_below(s, 2)]);
			sim_run(s, sim_now(s) + sim_random_below(s, USEC_SEC << sim_random_below(s, 6)));
		}
		for (int i = 0; i < 2; i++) {
			arrived += m[i].arrived;
			if (m[i].up)
				machine_end(&m[i]);
		}
		assert_int_equal(sim_connection_count(s), 0);
		sim_free(s);
	}
	assert_true(arrived > 1000000);
}

/* --- several loops in a world --------------------------------------------------------------------- */

struct question {
	struct completion answer;
	struct loop *other;
};

static void answer(void *arg)
{
	struct question *q = arg;

	(void) fiber_sleep_until(now() + USEC_SEC);
	completion_done(&q->answer, 42);
}

static void ask(void *arg)
{
	struct fixture *f = arg;
	struct question q;

	completion_init(&q.answer);
	assert_int_equal(loop_spawn(f->client_loop, "answer", answer, &q), 0);
	f->result = completion_wait(&q.answer);
	f->when = now();
}

static void test_loops_of_one_world_answer_each_other(void **state)
{
	struct fixture f;
	struct loop *asking;
	usec_t start;

	set_up(&f, 1);
	asking = loop_on(f.client_world);
	start = sim_now(f.sim);
	assert_int_equal(loop_spawn(asking, "ask", ask, &f), 0);
	sim_run(f.sim, DEADLINE_NEVER);
	assert_int_equal(f.result, 42);
	assert_int_equal(f.when, start + USEC_SEC);

	/* Stopping the one that asks waits for the other, which goes on. */
	assert_int_equal(loop_spawn(asking, "ask", ask, &f), 0);
	sim_run(f.sim, sim_now(f.sim) + USEC_MS);
	f.result = 1;
	start = sim_now(f.sim);
	loop_stop(asking);
	assert_int_equal(f.result, 42);
	assert_true(sim_now(f.sim) > start);
	loop_free(asking);
	tear_down(&f);
}

/* --- determinism ---------------------------------------------------------------------------------- */

static uint64_t story(uint64_t seed)
{
	struct sim_link way = sim_link_default();
	struct fixture f, g;
	uint64_t hash;

	way.reset_per_mille = 300;
	way.loss_per_mille = 50;
	set_up(&f, seed);
	sim_set_link(f.sim, NULL, NULL, &way);
	listen_here(&f);
	f.amount = 30000;
	g = f;
	on_server(&f, server_echoes);
	on_client(&f, client_talks);
	on_client(&g, waits_in_a_file);
	sim_run(f.sim, sim_now(f.sim) + 40 * USEC_MS);
	sim_host_crash(f.client);
	sim_run(f.sim, sim_now(f.sim) + USEC_MIN);
	hash = sim_trace_hash(f.sim);
	assert_true(sim_event_count(f.sim) > 50);
	tear_down(&f);
	return hash;
}

static void test_one_seed_has_one_story(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		assert_true(story(seed) == story(seed));
	assert_true(story(1) != story(2));
}

/* --- looking ---------------------------------------------------------------------------------------- */

struct waits {
	unsigned sleeping, endless;
	usec_t until;
};

static void waits_for_ever(void *arg)
{
	(void) fiber_wait("nothing", DEADLINE_NEVER);
}

static void note_wait(void *context, const struct sim_wait *w)
{
	struct waits *n = context;

	if (strcmp(w->what, "sleep") == 0) {
		n->sleeping++;
		n->until = w->deadline;
	}
	n->endless += strcmp(w->what, "nothing") == 0 && w->deadline == DEADLINE_NEVER && strcmp(sim_host_name(w->host), "server") == 0;
}

static void test_whoever_waits_can_be_seen(void **state)
{
	struct waits n = { 0 };
	struct fixture f;
	usec_t start;

	set_up(&f, 1);
	start = sim_now(f.sim);
	on_client(&f, sleeper);
	on_server(&f, waits_for_ever);
	sim_run(f.sim, start + USEC_SEC);
	sim_each_wait(f.sim, note_wait, &n);
	assert_int_equal(n.sleeping, 1);
	assert_int_equal(n.until, start + USEC_HOUR);
	assert_int_equal(n.endless, 1);
	sim_host_kill(f.server);
	sim_each_wait(f.sim, note_wait, &n);
	assert_int_equal(n.endless, 1);
	tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_hour_passes_at_once),
		cmocka_unit_test(test_running_ends_at_the_limit_or_when_it_is_done),
		cmocka_unit_test(test_stopping_a_loop_cancels_its_sleepers),
		cmocka_unit_test(test_randomness_repeats_with_the_seed_and_differs_between_hosts),
		cmocka_unit_test(test_all_waits_end_when_the_power_goes),
		cmocka_unit_test(test_a_host_answers_again_after_its_restart),
		cmocka_unit_test(test_a_killed_process_leaves_its_machine_refusing),
		cmocka_unit_test(test_what_a_killed_process_had_sent_arrives_before_the_end),
		cmocka_unit_test(test_any_mixture_of_misfortunes_leaves_nothing_behind),
		cmocka_unit_test(test_loops_of_one_world_answer_each_other),
		cmocka_unit_test(test_one_seed_has_one_story),
		cmocka_unit_test(test_whoever_waits_can_be_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
