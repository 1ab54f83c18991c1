/* Two servers under everything that can happen to them: power cuts, also in the middle of a change of the disk, kills
 * and stops, failing and full disks, partitions and resets, a DNS with gaps, and a remote that is as bad as servers
 * get. Clients hand letters to both all the while. In the end each letter that was accepted has arrived at least once,
 * or its sender was told; it has arrived more than once only where a trouble parted a delivery from its record; and
 * what is on the disks is what a recovery reads: nothing. */
#include "sim/client.h"
#include "sim/remote.h"

struct totals {
	struct tally tally;
	unsigned crashes, kills, breaks, stops, disk_faults, full_disks, partitions, resets;
	unsigned starts, failed_starts;
	unsigned faulty_disks; /* seeds in which disks failed */
	uint64_t hash;         /* of the last seed's events */
};

/* One seed's run. */
struct run {
	struct scene *scene;
	struct totals *totals;
	bool deaths, disks, network, dns;
};

/* --- what is sent ---------------------------------------------------------------------------------------- */

static const char *const zone = "remote.example. 300 IN MX 10 mx.remote.example.\n"
				"mx.remote.example. 300 IN A 192.0.2.50\n";

static void add_target(struct scene *s, struct letter *l)
{
	const struct node *n = &s->nodes[scene_dice(s, s->n_nodes)];
	static const char *const locals[] = { "alice", "bob", "carol" };
	char address[48];

	switch (scene_dice(s, 10)) {
	case 0:
		(void) snprintf(address, sizeof(address), "nobody%u@%s", l->n_targets, n->domain);
		letter_add(l, TARGET_NOBODY, n, address);
		break;
	case 1:
	case 2:
		(void) snprintf(address, sizeof(address), "dora%u@remote.example", l->n_targets);
		letter_add(l, TARGET_REMOTE, NULL, address);
		break;
	default:
		(void) snprintf(address, sizeof(address), "%s@%s", locals[scene_dice(s, ARRAY_LEN(locals))], n->domain);
		for (unsigned i = 0; i < l->n_targets; i++)
			if (strcmp(l->targets[i].address, address) == 0)
				return;
		letter_add(l, TARGET_MAILBOX, n, address);
	}
}

static struct letter *write_letter(struct scene *s, void *context)
{
	const struct node *entry = context, *home = &s->nodes[scene_dice(s, s->n_nodes)];
	size_t size = scene_chance(s, 80) ? scene_dice(s, 4000) : scene_dice(s, 100000);
	struct letter *l = letter_new(s, entry, home, 1 + size);

	for (unsigned n = scene_chance(s, 60) ? 1 : 1 + (unsigned) scene_dice(s, LETTER_RECIPIENTS); n > 0; n--)
		add_target(s, l);
	return l;
}

/* --- what goes wrong --------------------------------------------------------------------------------------- */

static usec_t some_pause(struct scene *s)
{
	return scene_dice(s, scene_chance(s, 50) ? 3 * USEC_SEC : 3 * USEC_MIN);
}

static void cut_or_kill(struct run *r, struct node *n)
{
	struct scene *s = r->scene;

	switch (scene_dice(s, 3)) {
	case 0:
		r->totals->crashes++;
		node_crash(n, some_pause(s));
		break;
	case 1:
		r->totals->kills++;
		node_kill(n, some_pause(s));
		break;
	default:
		r->totals->breaks++;
		node_break_at(n, 1 + scene_dice(s, 60), some_pause(s));
	}
}

/* A sync, a write or anything else fails once or a few times, in the spool, in a mailbox or anywhere. */
static void break_disk(struct run *r, struct node *n)
{
	static const unsigned ops[] = { SIM_SYNC, SIM_WRITE, SIM_SYNC | SIM_WRITE, SIM_OPEN, SIM_RENAME | SIM_SYNC_DIRECTORY, SIM_CHANGES };
	static const char *const paths[] = { "/var/spool", "/var/mail", NULL };
	struct scene *s = r->scene;
	struct sim_fault f = {
		.ops = ops[scene_dice(s, ARRAY_LEN(ops))],
		.path = paths[scene_dice(s, ARRAY_LEN(paths))],
		.error = scene_chance(s, 80) ? -EIO : -ENOSPC,
		.skip = scene_dice(s, 10),
		.times = 1 + scene_dice(s, 3),
	};

	r->totals->disk_faults++;
	scene_tell(s, "%s: %llu operations of kind %x on %s will fail with %s, after %llu that do not", n->name, (unsigned long long) f.times,
		   f.ops, f.path ? f.path : "any path", strerrorname_np(-f.error), (unsigned long long) f.skip);
	scene_trouble(s, TROUBLE_DISK, n, NULL, scene_now(s), DEADLINE_NEVER);
	sim_host_add_fault(n->host, &f);
}

static void fill_disk(struct run *r, struct node *n)
{
	struct scene *s = r->scene;
	uint64_t left = scene_dice(s, 1200u << 10); /* the servers keep 1 MiB in reserve */

	r->totals->full_disks++;
	scene_tell(s, "the disk of %s has %llu KiB left", n->name, (unsigned long long) (left >> 10));
	scene_trouble(s, TROUBLE_DISK, n, NULL, scene_now(s), DEADLINE_NEVER);
	sim_host_set_capacity(n->host, sim_host_disk_used(n->host) + left);
}

static void mend_disk(struct run *r, struct node *n)
{
	scene_tell(r->scene, "the disk of %s is well", n->name);
	sim_host_clear_faults(n->host);
	sim_host_set_capacity(n->host, 0);
}

static void cut_network(struct run *r)
{
	struct scene *s = r->scene;
	struct node *a = &s->nodes[0], *b = &s->nodes[1];

	if (scene_chance(s, 50)) {
		r->totals->resets++;
		scene_tell(s, "%u connections are reset", sim_reset_connections(s->sim, scene_chance(s, 50) ? a->host : b->host, NULL));
		scene_trouble(s, TROUBLE_NETWORK, NULL, NULL, scene_now(s), scene_now(s));
	} else {
		r->totals->partitions++;
		scene_tell(s, "nothing gets through between a and b");
		sim_partition(s->sim, a->host, b->host);
	}
	/* What hangs then may do so until its longest time-out. */
	scene_trouble(s, TROUBLE_NETWORK, a, b, scene_now(s), scene_now(s) + 20 * USEC_MIN);
}

static void heal_network(struct run *r)
{
	struct scene *s = r->scene;

	sim_heal_all(s->sim);
	scene_tell(s, "the network is well");
	scene_trouble(s, TROUBLE_NETWORK, &s->nodes[0], &s->nodes[1], scene_now(s), scene_now(s) + 20 * USEC_MIN);
}

static void something_happens(struct run *r)
{
	struct scene *s = r->scene;
	struct node *n = &s->nodes[scene_dice(s, s->n_nodes)];

	switch (scene_dice(s, 10)) {
	case 0:
		if (r->network)
			cut_network(r);
		break;
	case 1:
		if (r->network)
			heal_network(r);
		break;
	case 2:
		if (r->disks)
			break_disk(r, n);
		break;
	case 3:
		if (r->disks && scene_chance(s, 30))
			fill_disk(r, n);
		break;
	case 4:
		mend_disk(r, n);
		if (r->dns)
			s->dns_trouble = (unsigned) scene_dice(s, 60);
		break;
	case 5:
		if (n->state != NODE_UP)
			break;
		r->totals->stops++;
		scene_tell(s, "%s is stopped", n->name);
		node_stop(n, some_pause(s));
		break;
	default:
		if (r->deaths)
			cut_or_kill(r, n);
	}
}

/* --- one seed ------------------------------------------------------------------------------------------------ */

static void check_recoveries(struct run *r)
{
	struct scene *s = r->scene;

	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		if (n->state == NODE_UP && !r->disks)
			scene_check(s, n->found.quarantined == 0 && n->found.lost_messages == 0,
				    "%s set %llu records aside and lost %llu messages, though its disk keeps what was synced", n->name,
				    (unsigned long long) n->found.quarantined, (unsigned long long) n->found.lost_messages);
	}
}

static void suffer(struct run *r, usec_t until)
{
	struct scene *s = r->scene;

	while (scene_now(s) < until) {
		scene_run_for(s, scene_dice(s, scene_chance(s, 50) ? 5 * USEC_SEC : 2 * USEC_MIN));
		check_recoveries(r);
		something_happens(r);
	}
	for (unsigned i = 0; i < s->n_nodes; i++) {
		node_break_at(&s->nodes[i], 0, 0);
		mend_disk(r, &s->nodes[i]);
	}
	heal_network(r);
	s->dns_trouble = 0;
}

/* The servers stop and start again: their spools hold nothing, and nothing comes a second time. */
static void start_over(struct run *r)
{
	struct scene *s = r->scene;

	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		scene_check(s, node_fibers(n) == 2 * n->threads, "%s has %u fibers when nothing is to be done", n->name, node_fibers(n));
		node_stop(n, DEADLINE_NEVER);
		node_start(n);
		scene_check(s, n->found.messages == 0, "%s found %llu messages after it had stopped with an empty queue", n->name,
			    (unsigned long long) n->found.messages);
		r->totals->starts += n->starts;
		r->totals->failed_starts += n->failed_starts;
	}
	scene_run_for(s, USEC_HOUR);
	letters_collect(s);
}

static void run_seed(uint64_t seed, void *context)
{
	struct run r = { .totals = context };
	struct scene_options options = { .n_servers = 2, .zone = zone, .config = "queue: {retry: [1m, 5m, 15m], warn: never}\n" };
	struct client_plan plan = { .write = write_letter };
	struct client *clients[2];
	struct scene *s;
	usec_t until;

	scene_new(seed, &options, &s);
	r.scene = s;
	r.deaths = scene_chance(s, 80);
	r.disks = scene_chance(s, 35);
	r.network = scene_chance(s, 40);
	r.dns = scene_chance(s, 30);
	r.totals->faulty_disks += r.disks;
	until = scene_now(s) + 5 * USEC_MIN + scene_dice(s, 20 * USEC_MIN);
	remote_new(s, "remote", "192.0.2.50", (unsigned) scene_dice(s, REMOTE_ALL + 1), until);
	for (unsigned i = 0; i < s->n_nodes; i++) {
		sim_host_set_ordered(s->nodes[i].host, scene_chance(s, 30));
		node_start(&s->nodes[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		plan.server = &s->nodes[i];
		plan.context = &s->nodes[i];
		plan.sessions = 1 + (unsigned) scene_dice(s, 4);
		plan.letters = 60;
		plan.until = until;
		plan.pause = scene_dice(s, scene_chance(s, 30) ? USEC_SEC : 40 * USEC_SEC);
		plan.hang_up_per_cent = (unsigned) scene_dice(s, 10);
		client_new(s, i ? "client-b" : "client-a", i ? "192.0.2.101" : "192.0.2.100", &plan, &clients[i]);
	}
	suffer(&r, until);
	while (!client_is_done(clients[0]) || !client_is_done(clients[1])) {
		scene_check(s, scene_now(s) < until + USEC_HOUR, "the clients did not come to their end");
		scene_run_for(s, USEC_MIN);
	}
	scene_check(s, scene_drain(s, 4 * USEC_DAY), "the queues are not empty after four days");
	start_over(&r);
	letters_judge(s, &r.totals->tally);
	r.totals->hash = sim_trace_hash(s->sim);
	client_free(clients[0]);
	client_free(clients[1]);
	scene_free(s);
}

static void test_whatever_happens_no_accepted_letter_is_lost(void **state)
{
	struct totals t = { 0 };
	unsigned seeds = scene_each_seed(100, run_seed, &t);

	tally_print(&t.tally, "crashes", seeds);
	printf("# %u power cuts, %u in the middle of a change, %u kills, %u stops; %u starts, %u in vain\n", t.crashes, t.breaks,
	       t.kills, t.stops, t.starts, t.failed_starts);
	printf("# %u resets, %u partitions; %u seeds with %u faults of the disk and %u full disks\n", t.resets, t.partitions,
	       t.faulty_disks, t.disk_faults, t.full_disks);
	if (seeds >= 100)
		assert_true(t.tally.twice_by_death > 0 && t.tally.failures > 0 && t.tally.accepted > 10 * seeds);
}

static void test_a_seed_repeats_itself_to_the_last_event(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct totals a = { 0 }, b = { 0 };

		run_seed(seed, &a);
		run_seed(seed, &b);
		assert_true(a.hash == b.hash);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whatever_happens_no_accepted_letter_is_lost),
		cmocka_unit_test(test_a_seed_repeats_itself_to_the_last_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
