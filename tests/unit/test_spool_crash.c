/* The spool against a model, under power cuts, kills and failing disks at random moments.
 *
 * Workers commit, note, read, remove and give up messages at random until the power goes in the middle of some
 * operation on the disk; then the machine boots and the recovered spool must agree with what its callers were told:
 * what was acknowledged is there with every byte, what was removed long enough ago is not, what was refused has not
 * come back. Each seed is one machine that goes through several such lives. SEEDS=n runs more of them, SEED=n one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/spool_scene.h"

#define LIVES 6
#define WORKERS 6
#define OPS 25
#define IDS (LIVES * WORKERS * OPS + 1)

enum model_state {
	MODEL_NONE,
	MODEL_UNSURE,   /* the power went while it was committed */
	MODEL_REFUSED,
	MODEL_THERE,
	MODEL_REMOVED,
};

struct model_message {
	enum model_state state;
	uint64_t size;
	uint32_t durable_note, newest_note; /* at least, at most */
	usec_t removed_at, noted_at, refused_at;
};

struct model {
	struct scene *c;
	uint64_t seed;
	struct model_message m[IDS];
	msgid_t next;
	unsigned workers;
	usec_t last_commit; /* when one was last acknowledged */
	bool faults;        /* the disk failed in this life */
	usec_t end;         /* so long at least it lived */
};

static uint64_t dice(struct model *k, uint64_t n)
{
	return sim_random_below(k->c->sim, n);
}

/* Says which seed it was, for a failure to be repeated. */
static void agree(const struct model *k, bool holds, const char *what, msgid_t id)
{
	if (holds)
		return;
	(void) fprintf(stderr, "seed %llu, message %llu: %s\n", (unsigned long long) k->seed, (unsigned long long) id, what);
	fail();
}

static bool up(const struct model *k)
{
	return sim_host_is_up(k->c->host);
}

/* --- what the workers do --------------------------------------------------------------------------------- */

static void commit(struct model *k)
{
	msgid_t id = k->next++;
	struct model_message *m = &k->m[id];
	int r;

	m->size = dice(k, 4) ? dice(k, 3000) : dice(k, 90000);
	m->state = MODEL_UNSURE;
	r = scene_commit_front(k->c, id, m->size, id % 3 ? 0 : MIN(m->size, 1 + dice(k, 900)));
	if (r >= 0) {
		m->state = MODEL_THERE;
		k->last_commit = sim_now(k->c->sim);
	} else if (up(k)) {
		m->state = MODEL_REFUSED;
		m->refused_at = sim_now(k->c->sim);
		agree(k, k->faults, "a commit was refused without a reason", id);
	}
}

static void give_up(struct model *k)
{
	char junk[700] = { 0 };
	struct spool_writer *w;
	msgid_t id = k->next++;

	k->m[id].state = MODEL_REFUSED;
	k->m[id].refused_at = 0; /* it was never committed: it can't be there */
	if (spool_writer_new(k->c->spool, id, &w) < 0)
		return;
	for (uint64_t n = dice(k, 100); n > 0; n--)
		if (spool_writer_append(w, slice_new(junk, sizeof(junk))) < 0)
			break;
	spool_writer_abort(w);
}

static msgid_t pick(struct model *k)
{
	for (unsigned tries = 0; tries < 20 && k->next > 1; tries++) {
		msgid_t id = 1 + dice(k, k->next - 1);

		if (k->m[id].state == MODEL_THERE)
			return id;
	}
	return MSGID_NONE;
}

static void note(struct model *k, bool sync)
{
	msgid_t id = pick(k);
	struct model_message *m = &k->m[id];
	uint32_t number;
	int r;

	if (id == MSGID_NONE)
		return;
	number = ++m->newest_note;
	m->noted_at = sim_now(k->c->sim);
	r = scene_note(k->c, id, number, sync);
	if (sync && r >= 0 && m->durable_note < number)
		m->durable_note = number;
	if (up(k) && !k->faults)
		agree(k, r >= 0 || (r == -ENOENT && m->state == MODEL_REMOVED), "a note was refused", id);
}

static void remove_one(struct model *k)
{
	msgid_t id = pick(k);
	int r;

	if (id == MSGID_NONE)
		return;
	k->m[id].state = MODEL_REMOVED;
	k->m[id].removed_at = sim_now(k->c->sim);
	r = spool_remove(k->c->spool, id);
	if (up(k) && !k->faults)
		agree(k, r >= 0, "a removal was refused", id);
	if (r < 0)
		k->m[id].removed_at = DEADLINE_NEVER; /* it may stay */
}

static void read_one(struct model *k)
{
	msgid_t id = pick(k);
	int r;

	if (id == MSGID_NONE)
		return;
	r = scene_check(k->c, id, k->m[id].size);
	if (up(k))
		agree(k, r >= 0 || k->m[id].state == MODEL_REMOVED, "a message does not read back", id);
}

static void worker(void *arg)
{
	struct model *k = arg;

	for (unsigned i = 0; i < OPS && up(k); i++) {
		switch (dice(k, 10)) {
		case 0: case 1: case 2: case 3:
			commit(k);
			break;
		case 4:
			give_up(k);
			break;
		case 5:
			note(k, dice(k, 2));
			break;
		case 6: case 7:
			remove_one(k);
			break;
		case 8:
			read_one(k);
			break;
		default:
			(void) fiber_sleep_until(now() + dice(k, 300 * USEC_MS));
		}
	}
	k->workers--;
}

/* --- one life ------------------------------------------------------------------------------------------------ */

static bool all_ended(void *arg)
{
	return ((struct model *) arg)->workers == 0;
}

/* What the spool has now becomes what it must have next time. */
static void compare(struct model *k, bool clean, usec_t end)
{
	struct scene *c = k->c;

	agree(k, c->recovery.quarantined == 0, "something was quarantined", MSGID_NONE);
	agree(k, c->recovery.lost_messages == 0, "a message was lost", MSGID_NONE);
	for (msgid_t id = 1; id < k->next; id++) {
		const struct scene_message *found = scene_find(c, id);
		struct model_message *m = &k->m[id];
		bool sure = clean || (!k->faults && m->removed_at + 200 * USEC_MS < end);

		switch (m->state) {
		case MODEL_NONE:
			agree(k, !found, "it was never there", id);
			break;
		case MODEL_UNSURE:
			break;
		case MODEL_REFUSED:
			/* A failed segment is void as soon as another one has begun. */
			agree(k, !found || (m->refused_at > 0 && k->last_commit <= m->refused_at), "the refused came back", id);
			break;
		case MODEL_THERE:
			agree(k, found, "an acknowledged message is gone", id);
			break;
		case MODEL_REMOVED:
			agree(k, !found || !sure || m->removed_at == DEADLINE_NEVER, "a removed message came back", id);
			break;
		}
		if (!found) {
			m->state = MODEL_NONE;
			continue;
		}
		agree(k, !found->wrong, "its envelope or note are another's", id);
		agree(k, found->size == m->size, "its size is wrong", id);
		if (clean && !k->faults)
			m->durable_note = m->newest_note;
		agree(k, found->note >= m->durable_note && found->note <= m->newest_note, "its note is too old", id);
		m->durable_note = m->newest_note = found->note;
		m->state = MODEL_THERE;
	}
}

static int check_all(struct scene *c, void *arg)
{
	struct model *k = arg;

	for (unsigned i = 0; i < c->found_count; i++)
		agree(k, scene_check(c, c->found[i].id, c->found[i].size) == 0, "it does not read back", c->found[i].id);
	return 0;
}

static void add_faults(struct model *k)
{
	k->faults = dice(k, 3) == 0;
	if (!k->faults)
		return;
	sim_host_add_fault(k->c->host, &(struct sim_fault) {
		.ops = dice(k, 2) ? SIM_SYNC : SIM_WRITE | SIM_RENAME | SIM_SYNC_DIRECTORY,
		.path = "/spool", .error = dice(k, 4) ? -EIO : -ENOSPC, .skip = dice(k, 60), .times = 1 + dice(k, 2) });
}

/* A clean end: the index must be what a recovery builds. */
static void close_and_compare(struct model *k)
{
	struct scene *c = k->c;
	struct spool_stats before, after;

	scene_pass(c, 3 * USEC_SEC); /* what a full disk held back is tried every second */
	sim_host_clear_faults(c->host);
	spool_stats(c->spool, &before);
	scene_reopen(c);
	spool_stats(c->spool, &after);
	if (before.failed)
		k->faults = true;
	compare(k, !before.failed, sim_now(c->sim));
	if (before.failed || before.compacted_bytes != 0)
		return; /* in the middle of compaction the copies count twice */
	agree(k, before.messages == after.messages, "the index had another number of messages", MSGID_NONE);
	agree(k, before.bytes_living == after.bytes_living, "the living bytes were counted wrong", MSGID_NONE);
}

static void restart_and_compare(struct model *k)
{
	struct scene *c = k->c;
	usec_t end = k->end;

	sim_host_clear_faults(c->host);
	scene_restart(c);
	sim_host_crash_at(c->host, 0);
	if (dice(k, 4) == 0) { /* and once more, while it recovers */
		sim_host_crash_at(c->host, 1 + dice(k, 12));
		(void) scene_open(c);
		sim_host_crash_at(c->host, 0);
		if (sim_host_is_up(c->host))
			sim_host_crash(c->host);
		scene_restart(c);
	}
	assert_int_equal(scene_open(c), 0);
	compare(k, false, end);
}

static void live(struct model *k)
{
	struct scene *c = k->c;

	add_faults(k);
	if (dice(k, 4) > 0)
		sim_host_crash_at(c->host, 1 + dice(k, 300));
	k->workers = WORKERS;
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(loop_spawn(c->loop, "worker", worker, k), 0);
	agree(k, sim_run_until(c->sim, all_ended, k, sim_now(c->sim) + USEC_DAY), "somebody waits for ever", MSGID_NONE);
	k->end = sim_now(c->sim);
	if (dice(k, 2))
		for (uint64_t n = dice(k, 400); n > 0 && up(k); n--) { /* time to tidy */
			k->end = sim_now(c->sim);
			scene_pass(c, 50 * USEC_MS);
		}
	if (up(k) && dice(k, 2)) {
		sim_host_crash_at(c->host, 0);
		close_and_compare(k);
	} else {
		if (up(k))
			dice(k, 2) ? sim_host_crash(c->host) : sim_host_kill(c->host);
		restart_and_compare(k);
	}
	scene_run(c, check_all, k);
	k->faults = false;
}

static void run_seed(uint64_t seed)
{
	struct scene *c = malloc(sizeof(*c));
	struct model *k = calloc(1, sizeof(*k));

	assert_true(c && k);
	scene_begin(c, seed);
	c->config.compact_after = 2 * USEC_SEC;
	c->config.compact_percent = 60;
	c->config.spare = seed % 3;
	*k = (struct model) { .c = c, .seed = seed, .next = 1 };
	sim_host_set_ordered(c->host, seed % 3 == 0);
	assert_int_equal(scene_open(c), 0);
	for (unsigned i = 0; i < LIVES; i++)
		live(k);
	scene_end(c);
	free(c);
	free(k);
}

static void test_the_spool_keeps_its_word_through_crashes(void **state)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t from = one ? strtoull(one, NULL, 10) : 1;
	uint64_t to = one ? from : many ? strtoull(many, NULL, 10) : 100;

	for (uint64_t seed = from; seed <= to; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_spool_keeps_its_word_through_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
