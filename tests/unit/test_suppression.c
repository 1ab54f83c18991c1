/* Recipients that were refused for good: whose list it is, what is remembered, for how long. The clock is the simulation's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "queue/suppression.h"
#include "world/fiber.h"
#include "world/sim.h"

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct suppression *list;
	struct suppression_config config;
	char path[64];
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "192.0.2.25", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(suppression_new(s->world, NULL, &s->list), 0);
	strcpy(s->path, "/tmp/test-suppression-XXXXXX");
	assert_non_null(mkdtemp(s->path));
	strcat(s->path, "/db");
	s->config = (struct suppression_config) { .enabled = true, .path = s->path, .keep = 30 * USEC_DAY };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;
	char command[100];

	loop_stop(s->loop);
	loop_free(s->loop);
	suppression_free(s->list);
	world_free(s->world);
	sim_free(s->sim);
	*strrchr(s->path, '/') = '\0';
	snprintf(command, sizeof(command), "rm -rf %s", s->path);
	assert_int_equal(system(command), 0);
	free(s);
	return 0;
}

struct visit {
	struct scene *scene;
	const char *tenant, *recipient, *reason; /* reason NULL: it asks */
	struct suppressed found;
	int result;
	bool done;
};

static void visit_fiber(void *arg)
{
	struct visit *v = arg;
	struct scene *s = v->scene;

	if (v->reason)
		suppression_note(s->list, &s->config, v->tenant, v->recipient, v->reason);
	else
		v->result = suppression_find(s->list, &s->config, v->tenant, v->recipient, &v->found);
	v->done = true;
}

static void go(struct visit *v)
{
	assert_int_equal(loop_spawn(v->scene->loop, "visit", visit_fiber, v), 0);
	sim_run(v->scene->sim, world_now(v->scene->world) + USEC_MS);
	assert_true(v->done);
}

static void note(struct scene *s, const char *tenant, const char *recipient, const char *reason)
{
	go(&(struct visit) { .scene = s, .tenant = tenant, .recipient = recipient, .reason = reason });
}

static bool is_known(struct scene *s, const char *tenant, const char *recipient)
{
	struct visit v = { .scene = s, .tenant = tenant, .recipient = recipient };

	go(&v);
	return v.result == 0;
}

static void count(const char *tenant, const char *recipient, const struct suppressed *found, void *context)
{
	(*(unsigned *) context)++;
}

static unsigned listed(struct scene *s, const char *tenant)
{
	unsigned n = 0;
	char *why = NULL;

	assert_int_equal(suppression_list(s->path, tenant, count, &n, &why), 0);
	return n;
}

/* --- whose ------------------------------------------------------------------------------------------------------------ */

static const char *tenant(struct scene *s, const char *user, const char *sender)
{
	static char out[TENANT_MAX];

	return suppression_tenant(&s->config, user, slice_from(sender), out);
}

static void a_tenant_is_who_logged_in_or_the_domain_of_the_sender(void **state)
{
	struct scene *s = *state;

	assert_string_equal(tenant(s, NULL, "News@Example.ORG"), "example.org");
	assert_string_equal(tenant(s, "Shop", "news@example.org"), "shop");
	assert_null(tenant(s, "shop", ""));
	assert_null(tenant(s, NULL, "no address"));
	s->config.enabled = false;
	assert_null(tenant(s, NULL, "news@example.org"));
}

static void only_senders_that_fit_a_pattern_have_a_list(void **state)
{
	static const char *const senders[] = { "news@*", "bulk.example" };
	struct scene *s = *state;

	s->config.senders = senders;
	s->config.n_senders = ARRAY_LEN(senders);
	assert_string_equal(tenant(s, NULL, "NEWS@example.org"), "example.org");
	assert_string_equal(tenant(s, NULL, "anybody@Bulk.example"), "bulk.example");
	assert_null(tenant(s, NULL, "alice@example.org"));
}

/* --- what -------------------------------------------------------------------------------------------------------------- */

static void what_was_noted_is_found_by_its_tenant_alone(void **state)
{
	struct scene *s = *state;
	struct visit v = { .scene = s, .tenant = "example.org", .recipient = "GONE@dest.example" };

	assert_false(is_known(s, "example.org", "gone@dest.example"));
	note(s, "example.org", "Gone@Dest.example", "550 5.1.1 No such user");
	go(&v);
	assert_int_equal(v.result, 0);
	assert_string_equal(v.found.reason, "550 5.1.1 No such user");
	assert_true(v.found.since / (int64_t) USEC_SEC == world_wall(s->world) / (int64_t) USEC_SEC);
	assert_false(is_known(s, "other.example", "gone@dest.example"));
	assert_false(is_known(s, "example.org", "here@dest.example"));
}

static void time_gives_another_chance_and_cleans_up(void **state)
{
	struct scene *s = *state;

	note(s, "a", "x@dest.example", "550 no");
	sim_run(s->sim, deadline_after(world_now(s->world), 29 * USEC_DAY));
	assert_true(is_known(s, "a", "x@dest.example"));
	sim_run(s->sim, deadline_after(world_now(s->world), 2 * USEC_DAY));
	assert_false(is_known(s, "a", "x@dest.example"));
	assert_int_equal(listed(s, NULL), 1);
	note(s, "a", "y@dest.example", "550 no");
	assert_int_equal(listed(s, NULL), 1);
}

static void administrators_see_and_change_it(void **state)
{
	struct scene *s = *state;
	unsigned removed = 7;
	char *why = NULL;

	assert_int_equal(listed(s, NULL), 0);
	assert_int_equal(suppression_add(s->path, "A", "X@dest.example", "asked", world_wall(s->world), &why), 0);
	assert_int_equal(suppression_add(s->path, "b", "x@dest.example", "asked", world_wall(s->world), &why), 0);
	assert_int_equal(listed(s, NULL), 2);
	assert_int_equal(listed(s, "a"), 1);
	assert_true(is_known(s, "a", "x@dest.example"));
	assert_int_equal(suppression_remove(s->path, "c", "x@dest.example", &removed, &why), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(suppression_remove(s->path, "a", "x@DEST.example", &removed, &why), 0);
	assert_int_equal(removed, 1);
	assert_int_equal(suppression_remove(s->path, NULL, "x@dest.example", &removed, &why), 0);
	assert_int_equal(removed, 1);
	assert_int_equal(listed(s, NULL), 0);
}

static void a_file_that_is_none_lets_mail_pass_and_is_named(void **state)
{
	struct scene *s = *state;
	FILE *f = fopen(s->path, "w");
	unsigned n = 0;
	char *why = NULL;

	assert_non_null(f);
	for (unsigned i = 0; i < 200; i++)
		fputs("this is no database\n", f);
	fclose(f);
	note(s, "a", "x@dest.example", "550 no");
	assert_false(is_known(s, "a", "x@dest.example"));
	assert_int_equal(suppression_list(s->path, NULL, count, &n, &why), -EIO);
	assert_non_null(strstr(why, s->path));
	free(why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_tenant_is_who_logged_in_or_the_domain_of_the_sender, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_senders_that_fit_a_pattern_have_a_list, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_noted_is_found_by_its_tenant_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(time_gives_another_chance_and_cleans_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(administrators_see_and_change_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_file_that_is_none_lets_mail_pass_and_is_named, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
