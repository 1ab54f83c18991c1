/* The doctor, each of whose allocations fails once: the whole report or -ENOMEM, never another colour, and nothing is left
 * behind. */
#include "faults/faults.h"
#include "unit/doctor_scene.h"

static const char zone_out_of_order[] = "example.org. MX 10 mx.example.org.\nexample.org. MX 20 in.example.org.\nmx.example.org. A 192.0.2.1\n"
					"example.org. TXT \"v=spf1 -all\"\n_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n"
					"1.2.0.192.bl.example. A 127.0.0.2\n2.0.0.127.bl.example. A 127.0.0.2\n; SERVFAIL in.example.org\n";

/* Colours in order of the findings, as it was without a failure. */
static char expected[200];

static void fiber(void *arg)
{
	struct scene *s = arg;

	faults_begin(NULL, NULL);
	s->result = doctor_examine(s->world, s->resolver, &s->in, s->arena, &s->report);
	faults_end();
	s->done = true;
}

static void examination(void *context)
{
	char colours[200] = "";
	struct scene s;

	scene_open(&s, context);
	assert_int_equal(loop_spawn(s.loop, "doctor", fiber, &s), 0);
	sim_run(s.sim, DEADLINE_NEVER);
	assert_true(s.done);
	if (s.result < 0)
		assert_true(s.result == -ENOMEM && faults_fired());
	for (unsigned i = 0; s.result == 0 && i < s.report.n && i + 1 < sizeof(colours); i++) {
		assert_non_null(s.report.findings[i].found);
		colours[i] = doctor_state_name(s.report.findings[i].state)[0];
	}
	if (s.result == 0 && !faults_fired())
		strcpy(expected, colours);
	if (s.result == 0 && strcmp(colours, expected) != 0)
		fail_msg("%s instead of %s", colours, expected);
	scene_close(&s);
}

static void test_examinations(void **state)
{
	static char good[sizeof(zone_in_order)], bad[sizeof(zone_out_of_order)];
	uint64_t n;

	strcpy(good, zone_in_order);
	strcpy(bad, zone_out_of_order);
	examination(good); /* libraries set themselves up once */
	n = faults_walk(&(struct faults_walk) { .name = "a domain in order", .scenario = examination, .context = good, .times = 1, .most = 400 });
	n += faults_walk(&(struct faults_walk) { .name = "a domain out of order", .scenario = examination, .context = bad, .times = 1, .most = 400 });
	assert_true(faults_enough(n, 60));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(test_examinations, faults_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
