/* The greylist: who has to come again, when, and for how long it is remembered. The clock is the simulation's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "receive/greylist.h"
#include "world/fiber.h"
#include "world/sim.h"

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct greylist *list;
	struct greylist_config config;
	char path[64];
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.25", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(greylist_new(s->world, NULL, &s->list), 0);
	strcpy(s->path, "/tmp/test-greylist-XXXXXX");
	assert_non_null(mkdtemp(s->path));
	strcat(s->path, "/db");
	s->config = (struct greylist_config) { .enabled = true, .path = s->path, .delay = 5 * USEC_MIN, .window = 2 * USEC_DAY,
					       .keep = 36 * USEC_DAY, .passes = 2 };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char command[100];

	loop_stop(s->loop);
	loop_free(s->loop);
	greylist_free(s->list);
	world_free(s->world);
	sim_free(s->sim);
	*strrchr(s->path, '/') = '\0';
	snprintf(command, sizeof(command), "rm -rf %s", s->path);
	assert_int_equal(system(command), 0);
	free(s);
	return 0;
}

struct asking {
	struct scene *scene;
	const char *client, *sender, *recipient;
	bool look_only, done;
	bool signs; /* noted, not asked: recipient is the domain */
	enum greylist_answer answer;
	usec_t wait;
};

static void ask_fiber(void *arg)
{
	struct asking *q = arg;
	struct ip ip;

	assert_int_equal(ip_parse(slice_from(q->client), &ip), 0);
	if (q->signs)
		greylist_note_signer(q->scene->list, &q->scene->config, &ip, q->recipient);
	else
		assert_int_equal(greylist_ask(q->scene->list, &q->scene->config, &ip, slice_from(q->sender), slice_from(q->recipient), q->look_only,
				      &q->answer, &q->wait), 0);
	q->done = true;
}

static void pass_time(struct scene *s, usec_t d)
{
	sim_run(s->sim, deadline_after(world_now(s->world), d));
}

static enum greylist_answer ask(struct scene *s, const char *client, const char *sender, const char *recipient)
{
	struct asking q = { .scene = s, .client = client, .sender = sender, .recipient = recipient };

	assert_int_equal(loop_spawn(s->loop, "ask", ask_fiber, &q), 0);
	sim_run(s->sim, world_now(s->world) + USEC_MS);
	assert_true(q.done);
	return q.answer;
}

static void note_signer(struct scene *s, const char *client, const char *domain)
{
	struct asking q = { .scene = s, .client = client, .recipient = domain, .signs = true };

	assert_int_equal(loop_spawn(s->loop, "note", ask_fiber, &q), 0);
	sim_run(s->sim, world_now(s->world) + USEC_MS);
	assert_true(q.done);
}

static void who_signed_before_passes_with_mail_of_that_domain_from_that_network(void **state)
{
	struct scene *s = *state;

	note_signer(s, "192.0.2.1", "signer.example");
	note_signer(s, "192.0.2.1", "signer.example"); /* remembered: the file is not asked */
	assert_int_equal(ask(s, "192.0.2.99", "x@Signer.example", "c@d"), GREYLIST_SIGNER);
	assert_int_equal(ask(s, "192.0.2.99", "x@other.example", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.99", "x@below.signer.example", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.99", "", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.3.99", "x@signer.example", "c@d"), GREYLIST_NEW);
	pass_time(s, 35 * USEC_DAY);
	assert_int_equal(ask(s, "192.0.2.99", "y@signer.example", "c@d"), GREYLIST_SIGNER);
	pass_time(s, 2 * USEC_DAY);
	assert_int_equal(ask(s, "192.0.2.99", "z@signer.example", "c@d"), GREYLIST_NEW);
}

static void who_comes_again_in_time_passes(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_EARLY);
	pass_time(s, 4 * USEC_MIN);
	assert_int_equal(ask(s, "192.0.2.77", "A@B", "c@D"), GREYLIST_EARLY);
	pass_time(s, 2 * USEC_MIN);
	assert_int_equal(ask(s, "192.0.2.200", "a@b", "c@d"), GREYLIST_PASS);
	assert_int_equal(ask(s, "192.0.3.1", "a@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "x@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "x@d"), GREYLIST_NEW);
}

static void who_comes_again_too_late_is_new(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ask(s, "2001:db8::1", "", "c@d"), GREYLIST_NEW);
	pass_time(s, 3 * USEC_DAY);
	assert_int_equal(ask(s, "2001:db8::1", "", "c@d"), GREYLIST_NEW);
	pass_time(s, USEC_HOUR);
	assert_int_equal(ask(s, "2001:db8::ffff:1", "", "c@d"), GREYLIST_PASS);
	assert_int_equal(ask(s, "2001:db8:0:1::1", "", "c@d"), GREYLIST_NEW);
}

static void who_has_passed_is_remembered_while_it_comes(void **state)
{
	struct scene *s = *state;

	s->config.passes = 0;
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_NEW);
	pass_time(s, USEC_HOUR);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_PASS);
		pass_time(s, 30 * USEC_DAY);
	}
	pass_time(s, 7 * USEC_DAY);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_NEW);
}

static void a_network_that_has_passed_often_enough_is_known(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "e@d"), GREYLIST_NEW);
	pass_time(s, USEC_HOUR);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_PASS);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_PASS);
	assert_int_equal(ask(s, "192.0.2.1", "z@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "e@d"), GREYLIST_PASS);
	assert_int_equal(ask(s, "192.0.2.9", "y@b", "c@d"), GREYLIST_KNOWN);
	assert_int_equal(ask(s, "192.0.2.9", "y@b", "c@d"), GREYLIST_KNOWN); /* from memory */
	pass_time(s, 37 * USEC_DAY);
	assert_int_equal(ask(s, "192.0.2.9", "y@b", "c@d"), GREYLIST_NEW);
}

static void looking_writes_nothing(void **state)
{
	struct scene *s = *state;
	for (unsigned i = 0; i < 2; i++) {
		struct asking q = { .scene = s, .client = "192.0.2.1", .sender = "a@b", .recipient = "c@d", .look_only = true };

		assert_int_equal(loop_spawn(s->loop, "look", ask_fiber, &q), 0);
		sim_run(s->sim, world_now(s->world) + USEC_MS);
		assert_true(q.done);
		assert_int_equal(q.answer, GREYLIST_NEW);
		assert_int_equal(q.wait, s->config.delay);
	}
	assert_int_equal(access(s->path, F_OK), -1);
}

static void names_with_quotes_are_names(void **state)
{
	struct scene *s = *state;

	assert_int_equal(ask(s, "192.0.2.1", "'; DROP TABLE triplets; --@b", "c@d"), GREYLIST_NEW);
	assert_int_equal(ask(s, "192.0.2.1", "'; DROP TABLE triplets; --@b", "c@d"), GREYLIST_EARLY);
}

/* Many at the same time go to the file together. */
static void many_at_a_time_are_all_answered(void **state)
{
	struct scene *s = *state;
	struct asking q[300];
	char senders[ARRAY_LEN(q)][16];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
			snprintf(senders[i], sizeof(senders[i]), "%u@b", i % 100);
			q[i] = (struct asking) { .scene = s, .client = "192.0.2.1", .sender = senders[i], .recipient = "c@d" };
			assert_int_equal(loop_spawn(s->loop, "ask", ask_fiber, &q[i]), 0);
		}
		sim_run(s->sim, world_now(s->world) + USEC_MS);
		for (unsigned i = 0; i < ARRAY_LEN(q); i++) {
			assert_true(q[i].done);
			if (round == 0)
				assert_int_equal(q[i].answer, i < 100 ? GREYLIST_NEW : GREYLIST_EARLY);
			else
				assert_int_equal(q[i].answer, i < 2 ? GREYLIST_PASS : GREYLIST_KNOWN);
		}
		pass_time(s, USEC_HOUR);
	}
}

static void a_damaged_file_lets_mail_pass(void **state)
{
	struct scene *s = *state;
	FILE *f = fopen(s->path, "w");

	for (unsigned i = 0; i < 1000; i++)
		fputs("this is not a database ", f);
	fclose(f);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_BROKEN);
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_BROKEN); /* not tried again at once */
	pass_time(s, 2 * USEC_MIN);
	assert_int_equal(ask(s, "192.0.2.1", "a@b", "c@d"), GREYLIST_NEW);
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCENE(who_comes_again_in_time_passes),
		WITH_SCENE(who_signed_before_passes_with_mail_of_that_domain_from_that_network),
		WITH_SCENE(who_comes_again_too_late_is_new),
		WITH_SCENE(who_has_passed_is_remembered_while_it_comes),
		WITH_SCENE(a_network_that_has_passed_often_enough_is_known),
		WITH_SCENE(looking_writes_nothing),
		WITH_SCENE(names_with_quotes_are_names),
		WITH_SCENE(many_at_a_time_are_all_answered),
		WITH_SCENE(a_damaged_file_lets_mail_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
