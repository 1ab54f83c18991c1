/* What is remembered of recipients: for how long, and how many of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "receive/recipient_check.h"
#include "world/fiber.h"
#include "world/sim.h"

struct scene {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loop;
	struct arena *arena;
	struct recipient_memory *memory;
	struct recipient_check_config config;
	unsigned asked;
	enum verify_status answer;
	/* the question */
	const char *address;
	struct verify_result result;
	bool remembered, done;
};

static int verify(void *context, const struct hop *hop, const char *address, const char *sender, usec_t deadline, struct arena *a,
		  struct verify_result *ret)
{
	struct scene *s = context;

	assert_string_equal(sender, "");
	assert_true(deadline == now() + s->config.timeout);
	s->asked++;
	*ret = (struct verify_result) { .status = s->answer, .by = "mx.example", .reply = { 550, { 5, 1, 1 }, "nobody here" } };
	return 0;
}

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_int_equal(sim_new(&(struct sim_options) { .seed = 1 }, &s->sim), 0);
	assert_int_equal(sim_host_new(s->sim, "host", "", &s->host, &s->world), 0);
	assert_int_equal(loop_new(s->world, "loop", 0, 0, &s->loop), 0);
	assert_int_equal(loop_start(s->loop), 0);
	assert_int_equal(arena_new(0, &s->arena), 0);
	assert_int_equal(recipient_memory_new(s->world, &s->memory), 0);
	s->config = (struct recipient_check_config) { .scope = RECIPIENTS_LOCAL, .positive = USEC_HOUR, .negative = 5 * USEC_MIN,
						      .timeout = 20 * USEC_SEC, .entries = 10 };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	recipient_memory_free(s->memory);
	arena_free(s->arena);
	loop_stop(s->loop);
	loop_free(s->loop);
	world_free(s->world);
	sim_free(s->sim);
	free(s);
	return 0;
}

static void ask_fiber(void *arg)
{
	struct scene *s = arg;
	const struct verifier verifier = { .verify = verify, .context = s };
	const struct hop hop = { .kind = HOP_LMTP };

	assert_int_equal(recipient_verify(s->memory, &s->config, &verifier, &hop, s->address, s->arena, &s->result, &s->remembered), 0);
	s->done = true;
}

static enum verify_status ask(struct scene *s, const char *address)
{
	s->address = address;
	s->done = false;
	assert_int_equal(loop_spawn(s->loop, "ask", ask_fiber, s), 0);
	sim_run(s->sim, world_now(s->world) + USEC_MS);
	assert_true(s->done);
	return s->result.status;
}

static void pass_time(struct scene *s, usec_t d)
{
	sim_run(s->sim, world_now(s->world) + d);
}

static void each_answer_is_remembered_for_its_time(void **state)
{
	static const struct { enum verify_status status; usec_t life; } kinds[] = {
		{ VERIFY_EXISTS, USEC_HOUR }, { VERIFY_MISSING, 5 * USEC_MIN }, { VERIFY_TEMPORARY, 30 * USEC_SEC },
	};
	struct scene *s = *state;

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		char address[32];

		snprintf(address, sizeof(address), "a%u@b.example", i);
		s->answer = kinds[i].status;
		s->asked = 0;
		assert_int_equal(ask(s, address), kinds[i].status);
		assert_false(s->remembered);
		pass_time(s, kinds[i].life - USEC_SEC);
		assert_int_equal(ask(s, address), kinds[i].status);
		assert_true(s->remembered && s->asked == 1);
		assert_string_equal(s->result.reply.text, "nobody here");
		assert_string_equal(s->result.by, "mx.example");
		assert_int_equal(s->result.reply.enhanced[1], 1);
		pass_time(s, 2 * USEC_SEC);
		ask(s, address);
		assert_int_equal(s->asked, 2);
	}
}

static void what_cannot_be_asked_is_not_remembered(void **state)
{
	struct scene *s = *state;

	s->answer = VERIFY_UNKNOWN;
	ask(s, "a@b.example");
	ask(s, "a@b.example");
	assert_int_equal(s->asked, 2);
}

static void the_oldest_is_forgotten_first(void **state)
{
	struct scene *s = *state;

	s->answer = VERIFY_MISSING;
	for (unsigned i = 0; i < 11; i++) {
		char address[32];

		snprintf(address, sizeof(address), "a%u@b.example", i);
		ask(s, address);
	}
	assert_int_equal(s->asked, 11);
	ask(s, "a10@b.example");
	ask(s, "a1@b.example");
	assert_int_equal(s->asked, 11);
	ask(s, "a0@b.example");
	assert_int_equal(s->asked, 12);
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCENE(each_answer_is_remembered_for_its_time),
		WITH_SCENE(what_cannot_be_asked_is_not_remembered),
		WITH_SCENE(the_oldest_is_forgotten_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
