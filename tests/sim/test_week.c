/* A week: a destination is dead from the beginning, in one of the ways in which destinations are, and comes back after
 * days, or not in time. The servers die now and then meanwhile. RFC 5321 section 4.5.4.1: mail is tried for days, at
 * growing intervals; the sender is told once that it is late, and at last that it did not arrive; and when the
 * destination is back, it gets its mail within the longest interval. */
#include "sim/client.h"
#include "sim/faults.h"
#include "sim/remote.h"
#include "sim/seeds.h"
#include "sim/watch.h"

#define EXPIRE (5 * USEC_DAY)
#define WARN (4 * USEC_HOUR)
/* The longest interval of the retries (4 h) and of a site's rest (30 min), each with a tenth of chance. */
#define LONGEST (5 * USEC_HOUR + 30 * USEC_MIN)
#define WINDOW (10 * USEC_MIN)
#define ATTEMPTS_MAX 60u /* connections within that time: a handful for each start, one for each probe */

enum death { GONE, REFUSES, NO_DNS, BUSY, MOVES, DEATHS };
static const char *const death_names[] = { "can't be reached", "refuses connections", "is not in the DNS", "is too busy for any mail",
					   "is gone, until the DNS names another" };

struct totals {
	struct tally tally;
	unsigned deaths[DEATHS];
	unsigned late, expired, delays, attempts, server_deaths;
};

struct run {
	struct scene *scene;
	struct totals *totals;
	enum death death;
	bool dead;
	usec_t back; /* when the destination is well */
	usec_t recent[ATTEMPTS_MAX];
	unsigned attempts;
};

#define ADDRESSES "mx1.remote.example. 60 IN A 192.0.2.50\nmx2.remote.example. 60 IN A 192.0.2.51\n"
static const char *const zone = "remote.example. 60 IN MX 10 mx1.remote.example.\n" ADDRESSES;
static const char *const moved = "remote.example. 60 IN MX 10 mx2.remote.example.\n" ADDRESSES;
static const char *const nothing = "; SERVFAIL remote.example.\n" ADDRESSES;

/* --- the dead ----------------------------------------------------------------------------------------------- */

/* However many letters wait, a dead destination is not called more often than now and then. */
static void meet(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct run *r = context;
	usec_t *slot = &r->recent[r->attempts % ATTEMPTS_MAX];

	if (!scene_node_of(r->scene, c->from) || c->at->port != 25 || c->to != r->scene->remotes[0]->machine.host)
		return;
	scene_check(r->scene, !r->dead || *slot == 0 || scene_now(r->scene) - *slot >= WINDOW,
		    "a rate is not kept: %u connections to a dead destination within %.3f s", ATTEMPTS_MAX, (double) (scene_now(r->scene) - *slot) / 1e6);
	*slot = scene_now(r->scene);
	r->attempts++;
	if (r->dead && r->death == REFUSES)
		fate->kind = SIM_REFUSE;
}

static void die(struct run *r)
{
	struct scene *s = r->scene;

	r->dead = true;
	scene_tell(s, "remote.example %s, until %.0f", death_names[r->death], (double) r->back / 1e6);
	if (r->death == GONE || r->death == MOVES)
		sim_partition(s->sim, s->remotes[0]->machine.host, NULL);
	else if (r->death == NO_DNS)
		scene_change_zone(s, nothing);
	else if (r->death == BUSY)
		s->remotes[0]->behaviours = REMOTE_BUSY;
	s->remotes[0]->always = true;
}

static void come_back(struct run *r)
{
	struct scene *s = r->scene;

	scene_tell(s, "remote.example is well");
	if (r->death == MOVES) {
		scene_change_zone(s, moved);
		return;
	}
	r->dead = false;
	if (r->death == GONE)
		sim_heal(s->sim, s->remotes[0]->machine.host, NULL);
	else if (r->death == NO_DNS)
		scene_change_zone(s, zone);
	s->remotes[0]->behaviours = 0;
}

/* --- the letters --------------------------------------------------------------------------------------------- */

static struct letter *write_letter(struct scene *s, void *context)
{
	struct node *entry = context;
	struct letter *l = letter_new(s, entry, entry, 1 + scene_dice(s, 3000));

	letter_add(l, TARGET_REMOTE, NULL, "dora@remote.example");
	if (scene_chance(s, 30))
		letter_add(l, TARGET_MAILBOX, entry, scene_chance(s, 50) ? "bob@a.example" : "carol@a.example");
	return l;
}

/* Every letter came while it could, or its sender was told; and was told of the delay, once. */
static void judge(struct run *r)
{
	struct scene *s = r->scene;

	for (unsigned i = 0; i < s->n_letters; i++) {
		const struct letter *l = s->letters[i];
		const struct addressee *t = &l->targets[0];
		usec_t age = r->back > l->accepted_at ? r->back - l->accepted_at : 0;
		bool died = scene_was_troubled(s, TROUBLE_DEATH, NULL, 0, scene_now(s));

		if (l->state != LETTER_ACCEPTED)
			continue;
		if (age + LONGEST < EXPIRE)
			scene_check(s, t->copies > 0 && t->failures == 0, "letter %u was given up, though its destination was back after %.0f s", i,
				    (double) age / 1e6);
		if (age > EXPIRE + USEC_HOUR)
			scene_check(s, t->failures > 0 && t->copies == 0, "letter %u was not given up, though its destination was dead for %.0f s", i,
				    (double) age / 1e6);
		if (age > WARN + LONGEST)
			scene_check(s, t->delays > 0, "the sender of letter %u was not told of a delay of %.0f s", i, (double) age / 1e6);
		scene_check(s, died || (t->delays <= 1 && t->failures <= 1), "the sender of letter %u was told %u times of a delay and %u times of a failure",
			    i, t->delays, t->failures);
		r->totals->late += t->copies > 0 && age > USEC_HOUR;
		r->totals->expired += t->failures > 0;
		r->totals->delays += t->delays;
	}
}

/* --- one seed --------------------------------------------------------------------------------------------------- */

static void pass(struct faults *f, usec_t until)
{
	while (scene_now(f->scene) < until) {
		scene_faults_run(f, MIN(until, scene_now(f->scene) + USEC_DAY));
		watch_disks(f->scene, scene_now(f->scene) / USEC_DAY % 2 ? WATCH_POWER : WATCH_KILL);
	}
}

static void run_seed(uint64_t seed, void *context)
{
	struct run r = { .totals = context, .death = (enum death) (seed % DEATHS) };
	struct client_plan plan = { .sessions = 1, .write = write_letter, .pause = 2 * USEC_HOUR, .until = USEC_DAY };
	struct fault_mix mix = { .gap = 8 * USEC_HOUR, .lasts = USEC_HOUR };
	struct faults faults;
	struct client *c;
	struct scene *s;

	scene_new(seed, &(struct scene_options) { .n_servers = 2, .zone = zone }, &s);
	r.scene = s;
	r.totals->deaths[r.death]++;
	remote_new(s, "mx1.remote", "192.0.2.50", 0, DEADLINE_NEVER);
	remote_new(s, "mx2.remote", "192.0.2.51", 0, DEADLINE_NEVER);
	r.back = scene_now(s) + (scene_chance(s, 60) ? USEC_HOUR + scene_dice(s, 5 * USEC_DAY) : 7 * USEC_DAY);
	if (scene_chance(s, 50))
		mix.weights[FAULT_POWER] = mix.weights[FAULT_KILL] = mix.weights[FAULT_BREAK] = mix.weights[FAULT_STOP] = 1;
	mix.weights[FAULT_DNS] = mix.weights[FAULT_SHORT_WRITES] = 1;
	node_start(&s->nodes[0]);
	node_start(&s->nodes[1]);
	sim_set_connect_hook(s->sim, meet, &r);
	die(&r);
	plan.server = &s->nodes[0];
	plan.context = &s->nodes[0];
	plan.letters = 1 + (unsigned) scene_dice(s, 12);
	if (scene_chance(s, 25)) { /* so many that somebody always waits for his turn */
		plan.letters = 120;
		plan.pause = 10 * USEC_MIN;
	}
	client_new(s, "client", "192.0.2.100", &plan, &c);
	scene_faults_draw(s, &mix, r.back, &faults);
	pass(&faults, r.back);
	scene_faults_end(&faults);
	come_back(&r);
	while (!client_is_done(c)) /* it ends within a day of the beginning */
		scene_run_for(s, USEC_HOUR);
	scene_run_for(s, LONGEST);
	scene_check(s, scene_drain(s, scene_now(s) + USEC_HOUR), "the queues are not empty, though the destination is well for %.0f s",
		    (double) LONGEST / 1e6);
	watch_forgetting(s);
	watch_rest(s);
	letters_collect(s);
	letters_judge(s, &r.totals->tally);
	judge(&r);
	r.totals->attempts += r.attempts;
	r.totals->server_deaths += faults.happened[FAULT_POWER] + faults.happened[FAULT_KILL] + faults.happened[FAULT_BREAK];
	client_free(c);
	scene_faults_done(&faults);
	scene_free(s);
}

static void test_a_week_of_retries_ends_as_it_should(void **state)
{
	struct totals t = { 0 };
	unsigned seeds = seeds_run(&(struct seeds) { 200, run_seed, (unsigned *) &t, sizeof(t) / sizeof(unsigned) });

	tally_print(&t.tally, "a week", seeds);
	printf("# %u letters came late, %u senders were told that theirs did not come, %u times that it was late\n", t.late, t.expired, t.delays);
	printf("# %u connections to the dead and the reborn, %u deaths of servers\n", t.attempts, t.server_deaths);
	if (seeds >= 100)
		assert_true(t.late > 0 && t.expired > 0 && t.delays > 0 && t.server_deaths > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_week_of_retries_ends_as_it_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
