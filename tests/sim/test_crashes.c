/* Two or three servers under everything that can happen to them (sim/faults.h), while clients hand letters to them.
 * All the while, and in the end: each letter that was accepted has arrived, or its sender was told, or it waits; it
 * has arrived more than once only where a trouble parted a delivery from its record; what is in the index is on the
 * disk; limits are kept; and nothing is left behind (sim/watch.h). */
#include "sim/client.h"
#include "sim/faults.h"
#include "sim/remote.h"
#include "sim/seeds.h"
#include "sim/watch.h"

#define CACHES_MAX (2u << 20)  /* of one server: chunks, arenas, answers of the DNS */
#define LEAKS_MAX (2u << 20) /* of all: what the libraries keep */

struct totals {
	struct tally tally;
	unsigned happened[FAULT_KINDS];
	unsigned starts, failed_starts, looks;
	unsigned left; /* KiB of memory that restarted servers held more than at the start */
	unsigned kept; /* KiB of memory that drained servers held more than at the start: their caches */
	unsigned hash[2]; /* of the events; of one seed */
};

/* One seed's run. */
struct run {
	struct scene *scene;
	struct totals *totals;
	struct fault_mix mix;
	struct faults faults;
	struct client *clients[SCENE_SERVERS];
	char config[300];
	size_t memory; /* of the servers when they had started, and nothing had come */
};

/* Servers of others: two for one domain, of which the DNS names now one and now the other, and one for another. */
#define REMOTE_ADDRESSES                                                                              \
	"mx1.remote.example. 60 IN A 192.0.2.50\nmx2.remote.example. 60 IN A 192.0.2.51\n"            \
	"other.example. 300 IN MX 10 mx.other.example.\nmx.other.example. 300 IN A 192.0.2.52\n"

static const char *const zones[] = {
	"remote.example. 60 IN MX 10 mx1.remote.example.\n" REMOTE_ADDRESSES,
	"remote.example. 60 IN MX 10 mx2.remote.example.\n" REMOTE_ADDRESSES,
	"remote.example. 60 IN MX 10 mx1.remote.example.\nremote.example. 60 IN MX 20 mx2.remote.example.\n" REMOTE_ADDRESSES,
	"remote.example. 60 IN A 192.0.2.51\n" REMOTE_ADDRESSES,
};

/* --- what is sent ---------------------------------------------------------------------------------------- */

static bool has_target(const struct letter *l, const char *address)
{
	for (unsigned i = 0; i < l->n_targets; i++)
		if (strcmp(l->targets[i].address, address) == 0)
			return true;
	return false;
}

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
	case 3:
		(void) snprintf(address, sizeof(address), "dora%u@%s", l->n_targets, scene_chance(s, 70) ? "remote.example" : "other.example");
		letter_add(l, TARGET_REMOTE, NULL, address);
		break;
	default:
		(void) snprintf(address, sizeof(address), "%s@%s", locals[scene_dice(s, ARRAY_LEN(locals))], n->domain);
		if (!has_target(l, address))
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

static void draw_mix(struct scene *s, struct fault_mix *mix)
{
	bool deaths = scene_chance(s, 85), disks = scene_chance(s, 35), network = scene_chance(s, 40), dns = scene_chance(s, 40);

	*mix = (struct fault_mix) { .gap = 30 * USEC_SEC, .lasts = 3 * USEC_MIN, .zones = zones, .n_zones = ARRAY_LEN(zones) };
	mix->weights[FAULT_POWER] = mix->weights[FAULT_KILL] = deaths ? 5 : 0;
	mix->weights[FAULT_BREAK] = deaths ? 8 : 0;
	mix->weights[FAULT_STOP] = 3;
	mix->weights[FAULT_RIVAL] = 1;
	mix->weights[FAULT_DISK] = disks ? 4 : 0;
	mix->weights[FAULT_FULL] = disks ? 1 : 0;
	mix->weights[FAULT_SLOW_DISK] = 1;
	mix->weights[FAULT_SHORT_WRITES] = 2;
	mix->weights[FAULT_RESET] = mix->weights[FAULT_PARTITION] = network ? 2 : 0;
	mix->weights[FAULT_BAD_LINES] = mix->weights[FAULT_REMOTE_GONE] = network ? 1 : 0;
	mix->weights[FAULT_DNS] = mix->weights[FAULT_DNS_MOVES] = dns ? 3 : 0;
	mix->weights[FAULT_REMOTE] = 8;
}

static void look(struct run *r, enum watch_end end)
{
	r->totals->looks++;
	watch_disks(r->scene, end);
}

/* A few times in between the disks are looked at; the dice say when, but not those of the world. */
static void suffer(struct run *r, usec_t until)
{
	struct scene *s = r->scene;
	usec_t from = scene_now(s), part = (until - from) / 4;

	for (unsigned i = 1; i <= 4; i++) {
		scene_faults_run(&r->faults, from + i * part);
		look(r, i % 2 ? WATCH_KILL : WATCH_POWER);
	}
	scene_faults_run(&r->faults, until);
	scene_faults_end(&r->faults);
}

/* --- one seed ------------------------------------------------------------------------------------------------ */

static void begin(struct run *r, uint64_t seed)
{
	unsigned n = 2 + (seed % 4 == 0);
	struct scene_options options = { .n_servers = n, .zone = zones[0], .config = r->config, .connections = 6 + (unsigned) (seed % 40) };

	(void) snprintf(r->config, sizeof(r->config), "queue: {retry: [1m, 5m, 15m], warn: never, site_connections: %u, site_initial: %u}\n",
			2 + (unsigned) (seed % 7), 1 + (unsigned) (seed % 2));
	scene_new(seed, &options, &r->scene);
	remote_new(r->scene, "mx1.remote", "192.0.2.50", 0, DEADLINE_NEVER);
	remote_new(r->scene, "mx2.remote", "192.0.2.51", 0, DEADLINE_NEVER);
	remote_new(r->scene, "mx.other", "192.0.2.52", 0, DEADLINE_NEVER);
	draw_mix(r->scene, &r->mix);
	for (unsigned i = 0; i < n; i++) {
		sim_host_set_ordered(r->scene->nodes[i].host, scene_chance(r->scene, 30));
		node_start(&r->scene->nodes[i]);
	}
	r->memory = watch_memory(r->scene);
}

static void send_letters(struct run *r, usec_t until)
{
	static const char *const names[] = { "client-a", "client-b", "client-c" }, *const ips[] = { "192.0.2.100", "192.0.2.101", "192.0.2.102" };
	struct client_plan plan = { .write = write_letter, .letters = 40, .until = until };
	struct scene *s = r->scene;

	for (unsigned i = 0; i < s->n_nodes; i++) {
		plan.server = &s->nodes[i];
		plan.context = &s->nodes[i];
		plan.sessions = 1 + (unsigned) scene_dice(s, 4);
		plan.pause = scene_dice(s, scene_chance(s, 30) ? USEC_SEC : 40 * USEC_SEC);
		plan.hang_up_per_cent = (unsigned) scene_dice(s, 10);
		client_new(s, names[i], ips[i], &plan, &r->clients[i]);
	}
}

static bool clients_are_done(const struct run *r)
{
	for (unsigned i = 0; i < r->scene->n_nodes; i++)
		if (!client_is_done(r->clients[i]))
			return false;
	return true;
}

/* With the last message the memory for it is given back, but for caches whose size does not depend on how many there
 * were. */
static void check_memory(struct run *r)
{
	size_t now;

	for (unsigned i = 0; i < r->scene->n_nodes; i++)
		client_free(TAKE_PTR(r->clients[i]));
	now = watch_memory(r->scene);
	scene_check(r->scene, now <= r->memory + r->scene->n_nodes * CACHES_MAX, "the servers hold %zu KiB of memory, and held %zu when they began",
		    now >> 10, r->memory >> 10);
	r->totals->kept += now > r->memory ? (unsigned) ((now - r->memory) >> 10) : 0;
}

/* After a new start not even the caches are there. */
static void check_leaks(struct run *r)
{
	size_t now = watch_memory(r->scene);

	r->totals->left += now > r->memory ? (unsigned) ((now - r->memory) >> 10) : 0;
	scene_check(r->scene, now <= r->memory + LEAKS_MAX, "the servers hold %zu KiB of memory after a new start, and held %zu when they began",
		    now >> 10, r->memory >> 10);
}

/* The servers stop and start again: their spools hold nothing, and nothing comes a second time. */
static void start_over(struct run *r)
{
	struct scene *s = r->scene;

	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		node_stop(n, DEADLINE_NEVER);
		node_start(n);
		scene_check(s, n->found.messages == 0, "%s found %llu messages after it had stopped with an empty queue", n->name,
			    (unsigned long long) n->found.messages);
		r->totals->starts += n->starts;
		r->totals->failed_starts += n->failed_starts;
	}
	check_leaks(r);
	scene_run_for(s, USEC_HOUR);
	letters_collect(s);
}

static void end(struct run *r)
{
	uint64_t hash = sim_trace_hash(r->scene->sim);

	r->totals->hash[0] = (unsigned) hash;
	r->totals->hash[1] = (unsigned) (hash >> 32);
	for (unsigned i = 0; i < FAULT_KINDS; i++)
		r->totals->happened[i] += r->faults.happened[i];
	scene_faults_done(&r->faults);
	scene_free(r->scene);
}

static void run_seed(uint64_t seed, void *context)
{
	struct run r = { .totals = context };
	struct scene *s;
	usec_t until;

	begin(&r, seed);
	s = r.scene;
	until = scene_now(s) + 5 * USEC_MIN + scene_dice(s, 15 * USEC_MIN);
	scene_faults_draw(s, &r.mix, until, &r.faults);
	send_letters(&r, until);
	suffer(&r, until);
	while (!clients_are_done(&r)) {
		scene_check(s, scene_now(s) < until + USEC_HOUR, "the clients did not come to their end");
		scene_run_for(s, USEC_MIN);
	}
	look(&r, WATCH_POWER);
	scene_check(s, scene_drain(s, 4 * USEC_DAY), "the queues are not empty after four days");
	watch_forgetting(s);
	watch_rest(s);
	check_memory(&r);
	look(&r, WATCH_KILL);
	start_over(&r);
	letters_judge(s, &r.totals->tally);
	end(&r);
}

static void print_totals(const struct totals *t, unsigned seeds)
{
	const unsigned *n = t->happened;

	tally_print(&t->tally, "crashes", seeds);
	printf("# %u power cuts, %u in the middle of a change, %u kills, %u stops; %u starts, %u in vain; %u rivals\n", n[FAULT_POWER],
	       n[FAULT_BREAK], n[FAULT_KILL], n[FAULT_STOP], t->starts, t->failed_starts, n[FAULT_RIVAL]);
	printf("# disks: %u faulty, %u full, %u slow, %u with short writes; looked at %u times\n", n[FAULT_DISK], n[FAULT_FULL],
	       n[FAULT_SLOW_DISK], n[FAULT_SHORT_WRITES], t->looks);
	printf("# memory: drained servers held %u KiB more than at their start, on average, and restarted ones %u KiB\n", t->kept / MAX(seeds, 1u),
	       t->left / MAX(seeds, 1u));
	printf("# network: %u resets, %u partitions, %u bad lines, %u remotes gone, %u bad; DNS: %u failures, %u moves\n", n[FAULT_RESET],
	       n[FAULT_PARTITION], n[FAULT_BAD_LINES], n[FAULT_REMOTE_GONE], n[FAULT_REMOTE], n[FAULT_DNS], n[FAULT_DNS_MOVES]);
}

static void test_whatever_happens_no_accepted_letter_is_lost(void **state)
{
	struct totals t = { 0 };
	unsigned seeds = seeds_run(&(struct seeds) { 1000, run_seed, (unsigned *) &t, sizeof(t) / sizeof(unsigned) });

	print_totals(&t, seeds);
	if (seeds < 100)
		return;
	/* Otherwise the seeds have not been where it hurts. */
	assert_true(t.tally.twice_by_death > 0 && t.tally.failures > 0 && t.tally.accepted > 10 * seeds);
	for (unsigned i = 0; i < FAULT_KINDS; i++)
		assert_true(t.happened[i] > seeds / 50);
}

static void test_a_seed_repeats_itself_to_the_last_event(void **state)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct totals a = { 0 }, b = { 0 };

		/* In one process after another, and each in its own: neither addresses nor what was before may matter. */
		assert_true(seeds_run_apart(run_seed, seed, (unsigned *) &a, sizeof(a) / sizeof(unsigned)));
		run_seed(seed, &b);
		a.kept = a.left = b.kept = b.left = 0; /* the allocator has a past */
		assert_memory_equal(&a, &b, sizeof(a));
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
