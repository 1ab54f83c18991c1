/* Two servers, and the way between them breaks: connections are lost at any byte, hang, are refused for a while. Each
 * letter that server a has accepted lies in its mailbox on server b in the end, and lies there once, unless a
 * connection was lost between b's commit and the moment at which a had read of it. */
#include "sim/client.h"

#include "admin/journal.h"
#include "sim/seeds.h"
#include "sim/watch.h"

struct totals {
	struct tally tally;
	unsigned lost_connections, refused_connections, lost_replies;
};

/* What the connections from a to b meet. */
struct outage {
	struct scene *scene;
	unsigned broken;      /* so many are lost or hang, then... */
	usec_t refused_until; /* ...none is made until */
	usec_t refused_for;
	enum sim_fate_kind refusal;
	unsigned lost, refused;
};

static void meet(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct outage *o = context;
	struct scene *s = o->scene;

	if (c->from != s->nodes[0].host || c->to != s->nodes[1].host)
		return;
	if (o->broken > 0) {
		o->broken--;
		o->lost++;
		fate->kind = scene_chance(s, 80) ? SIM_RESET : SIM_STALL;
		fate->from_server = scene_chance(s, 50);
		fate->after = scene_dice(s, fate->from_server ? 600 : 1u << scene_dice(s, 16));
		/* It hangs for as long as the longest time-out, that of the final dot. */
		scene_trouble(s, TROUBLE_NETWORK, &s->nodes[0], &s->nodes[1], scene_now(s), scene_now(s) + 15 * USEC_MIN);
		scene_tell(s, "the connection %llu from a to b will %s after byte %llu from %s", (unsigned long long) c->number,
			   fate->kind == SIM_RESET ? "be reset" : "hang", (unsigned long long) fate->after, fate->from_server ? "b" : "a");
		if (o->broken == 0)
			o->refused_until = scene_now(s) + o->refused_for;
		return;
	}
	if (scene_now(s) < o->refused_until) {
		o->refused++;
		fate->kind = o->refusal;
		scene_tell(s, "the connection %llu from a to b is not made", (unsigned long long) c->number);
		return;
	}
	fate->kind = SIM_PASS;
}

static struct outage make_outage(struct scene *s)
{
	static const enum sim_fate_kind refusals[] = { SIM_REFUSE, SIM_UNREACHABLE, SIM_BLACKHOLE };

	return (struct outage) {
		.scene = s,
		.broken = 1 + (unsigned) scene_dice(s, 4),
		.refused_for = scene_dice(s, 30 * USEC_MIN),
		.refusal = refusals[scene_dice(s, ARRAY_LEN(refusals))],
	};
}

static struct letter *write_letter(struct scene *s, void *context)
{
	struct letter *l = letter_new(s, &s->nodes[0], &s->nodes[0], 1 + scene_dice(s, scene_chance(s, 70) ? 3000 : 60000));

	letter_add(l, TARGET_MAILBOX, &s->nodes[1], "bob@b.example");
	if (scene_chance(s, 30))
		letter_add(l, TARGET_MAILBOX, &s->nodes[1], "carol@b.example");
	return l;
}

/* --- what a's journal says ------------------------------------------------------------------------------------ */

static int count_lost_reply(struct slice line, void *context)
{
	unsigned *n = context;

	*n += memmem(line.data, line.len, "\"event\":\"attempt\"", 17) != NULL && memmem(line.data, line.len, "\"stage\":\"dot\"", 13) != NULL;
	return 0;
}

/* Each copy too many stands beside an attempt of a whose reply to the content it never read. */
static void check_journal(struct scene *s, struct totals *totals)
{
	for (unsigned i = 0; i < s->n_copies; i++) {
		const struct copy *c = &s->copies[i];
		const struct addressee *t = &c->letter->targets[c->target];
		unsigned lost = 0;
		msgid_t id;

		assert_int_equal(id_parse(slice_from(c->ids[c->n_hops - 1]), &id), 0);
		assert_true(journal_search(s->nodes[0].world, "/var/spool/yizhan/journal", id, count_lost_reply, &lost) >= 0);
		scene_check(s, t->copies - 1 <= lost, "letter %u came %u times to %s, and server a lost %u replies to it", c->letter->number,
			    t->copies, t->address, lost);
		totals->lost_replies += lost;
	}
}

/* --- one seed ----------------------------------------------------------------------------------------------------- */

/* What a stopped server leaves: a spool in which a new start finds nothing. */
static void check_spools(struct scene *s)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		node_stop(n, DEADLINE_NEVER);
		node_start(n);
		scene_check(s, n->found.messages == 0 && n->found.quarantined == 0 && n->found.lost_messages == 0,
			    "%s found %llu messages after it had stopped with an empty queue (%llu records set aside)", n->name,
			    (unsigned long long) n->found.messages, (unsigned long long) n->found.quarantined);
	}
}

static void run_seed(uint64_t seed, void *context)
{
	struct totals *totals = context;
	struct client_plan plan = { .sessions = 1, .write = write_letter, .until = USEC_HOUR };
	struct outage outage;
	struct scene *s;
	struct client *c;

	scene_new(seed, &(struct scene_options) { .n_servers = 2, .config = "queue: {retry: [1m, 5m, 15m]}\n" }, &s);
	outage = make_outage(s);
	sim_set_connect_hook(s->sim, meet, &outage);
	node_start(&s->nodes[0]);
	node_start(&s->nodes[1]);
	plan.server = &s->nodes[0];
	plan.sessions = 1 + (unsigned) scene_dice(s, 4);
	plan.letters = 1 + (unsigned) scene_dice(s, 6);
	plan.pause = scene_dice(s, 30 * USEC_SEC);
	client_new(s, "client", "192.0.2.100", &plan, &c);
	while (!client_is_done(c) && scene_now(s) < USEC_HOUR)
		scene_run_for(s, USEC_MIN);
	scene_check(s, client_is_done(c), "the client did not come to its end");
	scene_check(s, scene_drain(s, USEC_DAY), "the queues are not empty after a day");
	watch_forgetting(s);
	watch_rest(s);
	watch_disks(s, WATCH_KILL);
	letters_collect(s);
	for (unsigned i = 0; i < s->n_letters; i++)
		scene_check(s, s->letters[i]->state == LETTER_ACCEPTED, "letter %u was not accepted", i);
	letters_judge(s, &totals->tally);
	check_journal(s, totals);
	check_spools(s);
	totals->lost_connections += outage.lost;
	totals->refused_connections += outage.refused;
	client_free(c);
	scene_free(s);
}

static void test_each_accepted_letter_arrives_once(void **state)
{
	struct totals t = { 0 };
	unsigned seeds = seeds_run(&(struct seeds) { 300, run_seed, (unsigned *) &t, sizeof(t) / sizeof(unsigned) });

	tally_print(&t.tally, "two servers", seeds);
	printf("# %u connections were lost and %u refused on the way; %u replies to a letter were lost\n", t.lost_connections,
	       t.refused_connections, t.lost_replies);
	if (seeds < 100)
		return;
	/* Otherwise the seeds have not been where it hurts. */
	assert_true(t.tally.twice_by_network > 0 && t.lost_replies > t.tally.twice_by_network / 2);
	assert_true(t.refused_connections > seeds && t.lost_connections > seeds);
}

/* --- a week ----------------------------------------------------------------------------------------------------- */

struct attempts {
	struct scene *scene;
	unsigned n;
	usec_t last, shortest, longest; /* between two */
};

static void count_attempt(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct attempts *a = context;
	usec_t t = scene_now(a->scene);

	if (c->from != a->scene->nodes[0].host)
		return;
	if (a->n++ > 0) {
		a->shortest = MIN(a->shortest, t - a->last);
		a->longest = MAX(a->longest, t - a->last);
	}
	a->last = t;
}

/* RFC 5321 section 4.5.4.1: tried for days, at growing intervals; the sender is told that it is late, and at last that
 * it did not arrive. A restart in between forgets nothing of that. */
static void test_after_five_days_of_silence_the_sender_is_told(void **state)
{
	struct client_plan plan = { .sessions = 1, .letters = 1, .write = write_letter, .until = USEC_HOUR };
	struct attempts attempts = { .shortest = DEADLINE_NEVER };
	const struct addressee *t;
	struct scene *s;
	struct client *c;

	scene_new(5, &(struct scene_options) { .n_servers = 2 }, &s);
	attempts.scene = s;
	sim_set_connect_hook(s->sim, count_attempt, &attempts);
	node_start(&s->nodes[0]);
	plan.server = &s->nodes[0];
	client_new(s, "client", "192.0.2.100", &plan, &c);
	scene_run_for(s, 2 * USEC_DAY);
	node_kill(&s->nodes[0], USEC_MIN);
	scene_run_for(s, 3 * USEC_DAY - 2 * USEC_HOUR);
	assert_int_equal(node_messages(&s->nodes[0]), 1);
	scene_run_for(s, 4 * USEC_HOUR);
	assert_int_equal(node_messages(&s->nodes[0]), 0);
	letters_collect(s);
	t = &s->letters[0]->targets[0];
	assert_true(t->copies == 0 && t->failures == 1 && t->delays == 1);
	assert_in_range(attempts.n / s->letters[0]->n_targets, 25, 60); /* each recipient has its own times */
	assert_in_range(attempts.shortest, USEC_SEC, 10 * USEC_MIN);
	assert_in_range(attempts.longest, 3 * USEC_HOUR, 6 * USEC_HOUR);
	client_free(c);
	scene_free(s);
}

/* --- the simulation itself ------------------------------------------------------------------------------------------ */

struct fingerprint {
	uint64_t hash, events;
};

static void fingerprint_of(uint64_t seed, struct fingerprint *ret)
{
	struct client_plan plan = { .sessions = 3, .letters = 6, .write = write_letter, .until = USEC_HOUR };
	struct outage outage;
	struct scene *s;
	struct client *c;

	scene_new(seed, &(struct scene_options) { .n_servers = 2 }, &s);
	outage = make_outage(s);
	sim_set_connect_hook(s->sim, meet, &outage);
	node_start(&s->nodes[0]);
	node_start(&s->nodes[1]);
	plan.server = &s->nodes[0];
	client_new(s, "client", "192.0.2.100", &plan, &c);
	assert_true(scene_drain(s, USEC_DAY));
	ret->hash = sim_trace_hash(s->sim);
	ret->events = sim_event_count(s->sim);
	client_free(c);
	scene_free(s);
}

static void test_a_seed_repeats_itself_to_the_last_event(void **state)
{
	struct fingerprint a, b, c;

	fingerprint_of(7, &a);
	fingerprint_of(7, &b);
	fingerprint_of(8, &c);
	assert_int_equal(a.events, b.events);
	assert_true(a.hash == b.hash && a.hash != c.hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_accepted_letter_arrives_once),
		cmocka_unit_test(test_after_five_days_of_silence_the_sender_is_told),
		cmocka_unit_test(test_a_seed_repeats_itself_to_the_last_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
