/* The runner of seeds itself: it survives a seed that dies, and finds out which faults it takes. */
#include "sim/scene.h"
#include "sim/seeds.h"

#include <signal.h>
#include <unistd.h>

#define FAULTS 40u

/* Fails when faults 3 and 17 both happen, and for another reason when 5 does without 3. */
static void run_fragile(uint64_t seed, void *totals)
{
	bool happened[FAULTS];

	for (unsigned i = 0; i < FAULTS; i++) {
		happened[i] = seeds_want_fault(i);
		if (happened[i])
			seeds_note_fault(i);
	}
	if (seed == 2 && happened[5] && !happened[3])
		abort();
	if (seed == 2 && happened[3] && happened[17]) {
		(void) seeds_note_failure("three and seventeen", "three and seventeen met");
		seeds_end_failed();
	}
}

static void test_a_failure_is_traced_to_the_faults_that_it_takes(void **state)
{
	unsigned faults[SEEDS_FAULTS];

	assert_int_equal(seeds_shrink(run_fragile, 2, 30, faults), 2);
	assert_int_equal(faults[0], 3);
	assert_int_equal(faults[1], 17);
}

static void count(uint64_t seed, void *totals)
{
	unsigned *t = totals;

	t[0]++;
	t[1] += (unsigned) seed;
}

static void test_what_seeds_count_is_added_up_over_all_workers(void **state)
{
	unsigned totals[2] = { 0 }, n;

	(void) unsetenv("SEED");
	n = seeds_run(&(struct seeds) { 37, count, totals, 2 });
	assert_int_equal(totals[0], n);
	if (!getenv("FROM"))
		assert_int_equal(totals[1], n * (n + 1) / 2);
}

static void die(uint64_t seed, void *totals)
{
	if (seed == 7)
		abort();
	if (seed == 8)
		_exit(0);
	if (seed == 9)
		raise(SIGKILL);
}

static void test_a_seed_that_dies_has_failed_however_it_died(void **state)
{
	unsigned totals[1];

	assert_true(seeds_run_apart(die, 1, totals, 1));
	assert_false(seeds_run_apart(die, 7, totals, 1));
	assert_false(seeds_run_apart(die, 8, totals, 1));
	assert_false(seeds_run_apart(die, 9, totals, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_failure_is_traced_to_the_faults_that_it_takes),
		cmocka_unit_test(test_what_seeds_count_is_added_up_over_all_workers),
		cmocka_unit_test(test_a_seed_that_dies_has_failed_however_it_died),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
