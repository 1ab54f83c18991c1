/* Two servers, a remote and a handful of letters, and in each run one thing fails once: an allocation, a call of a
 * disk, a connection; which one goes round through all that the run makes. Whatever it is, each letter that was
 * accepted has arrived in the end or its sender was told, nothing hangs, and nothing is left behind. */
#include "faults/faults.h"
#include "sim/client.h"
#include "sim/remote.h"

#define LETTERS 8u

/* What fails in a run, and what came of all runs. */
struct plan {
	unsigned node;            /* whose disk, or whose connections */
	struct sim_fault disk;    /* ops 0: none */
	uint64_t connection;      /* the n-th of the node; 0: none */
	enum sim_fate_kind fate;
	bool allocations;         /* what faults_walk says */
	/* set by the run */
	uint64_t hash, connections;
	struct tally tally;
	unsigned runs;
};

static const char *const zone = "remote.example. 300 IN MX 10 mx.remote.example.\n"
				"mx.remote.example. 300 IN A 192.0.2.50\n";

/* One of each kind, in turn. */
static struct letter *write_letter(struct scene *s, void *context)
{
	struct node *a = &s->nodes[0], *b = &s->nodes[1];
	const struct plan *p = context;
	unsigned n = s->n_letters;
	struct letter *l = letter_new(s, a, a, n % 4 == 3 ? 70000 : 500);

	if (n % 4 == 0 || n % 4 == 3)
		letter_add(l, TARGET_MAILBOX, b, "bob@b.example");
	/* A bounce whose original can't be read goes out without it, and this test would not know it again. */
	if (n % 4 == 1 && p->disk.ops != SIM_READ)
		letter_add(l, TARGET_NOBODY, b, "nobody@b.example");
	if (n % 4 == 1 || n % 4 == 3)
		letter_add(l, TARGET_REMOTE, NULL, "dora@remote.example");
	if (n % 4 == 2 || n % 4 == 0)
		letter_add(l, TARGET_MAILBOX, a, "carol@a.example");
	return l;
}

/* --- what fails ------------------------------------------------------------------------------------------ */

static bool in_a_server(void *context)
{
	return loop_current() && scene_node_of(context, sim_host_of(loop_world(loop_current())));
}

/* What a server logs goes into the story, whose memory is the test's. */
static void log_aside(void *context, const char *line, size_t len)
{
	struct node *n = context;
	const char *text = memchr(line, ' ', len);

	faults_pause();
	if (text && len > 0)
		scene_tell(n->scene, "%s:%.*s", n->name, (int) (line + len - text - 1), text);
	faults_resume();
}

static void meet(void *context, const struct sim_connect *c, struct sim_fate *fate)
{
	struct plan *p = context;

	fate->kind = SIM_PASS;
	if (!c->to || strcmp(sim_host_name(c->from), p->node == 0 ? "a" : "b") != 0)
		return;
	p->connections++;
	if (p->connections != p->connection)
		return;
	fate->kind = p->fate;
	fate->after = 600;
}

static void arm(struct scene *s, struct plan *p)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		s->nodes[i].log.write = log_aside;
	if (p->allocations)
		faults_begin(in_a_server, s);
	if (p->connection > 0)
		scene_trouble(s, TROUBLE_NETWORK, &s->nodes[p->node], NULL, 0, DEADLINE_NEVER);
	sim_set_connect_hook(s->sim, meet, p);
	if (p->disk.ops) {
		scene_trouble(s, TROUBLE_DISK, &s->nodes[p->node], NULL, 0, DEADLINE_NEVER);
		sim_host_add_fault(s->nodes[p->node].host, &p->disk);
	}
}

static uint64_t seed(void)
{
	const char *value = getenv("SEED");

	return value ? strtoull(value, NULL, 10) : 3;
}

/* --- a run -------------------------------------------------------------------------------------------------- */

static void check(struct scene *s, const struct plan *p, bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "--- %s of %u: operation %x number %llu with %s; connection %llu\n", p->node ? "b" : "a", s->n_nodes, p->disk.ops,
		(unsigned long long) p->disk.skip + 1, p->disk.error ? strerrorname_np(-p->disk.error) : "-",
		(unsigned long long) p->connection);
	scene_fail(s, "%s", what);
}

/* Nothing waits for anything, and a new start finds nothing. */
static void check_quiet(struct scene *s, const struct plan *p)
{
	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		check(s, p, n->failed_starts == 0, "a server did not start");
		/* On each loop: the queue's keeper and the door of the only listener. */
		check(s, p, node_fibers(n) == 2 * n->threads, "a server has fibers too many or too few when nothing is to be done");
		node_stop(n, DEADLINE_NEVER);
		node_start(n);
		check(s, p, n->found.messages == 0 && n->found.quarantined == 0, "a server that stopped with an empty queue found messages");
	}
	check(s, p, sim_connection_count(s->sim) == 0, "connections are open when nothing is to be done");
}

static void play(void *context)
{
	struct plan *p = context;
	struct scene_options options = { .n_servers = 2, .zone = zone, .config = "queue: {retry: [1m, 5m], warn: never}\n" };
	struct client_plan plan = { .sessions = 2, .letters = LETTERS, .until = USEC_HOUR, .write = write_letter, .context = p, .pause = 2 * USEC_SEC };
	struct scene *s;
	struct client *c;

	p->connections = 0;
	p->runs++;
	scene_new(seed(), &options, &s);
	remote_new(s, "remote", "192.0.2.50", REMOTE_DEFERS, 2 * USEC_MIN);
	node_start(&s->nodes[0]);
	node_start(&s->nodes[1]);
	arm(s, p);
	plan.server = &s->nodes[0];
	client_new(s, "client", "192.0.2.100", &plan, &c);
	while (!client_is_done(c) && scene_now(s) < USEC_HOUR)
		scene_run_for(s, USEC_MIN);
	check(s, p, client_is_done(c), "the client did not come to its end");
	check(s, p, scene_drain(s, 2 * USEC_DAY), "the queues are not empty after two days");
	faults_end();
	p->hash = sim_trace_hash(s->sim);
	sim_host_clear_faults(s->nodes[0].host);
	sim_host_clear_faults(s->nodes[1].host);
	check_quiet(s, p);
	letters_collect(s);
	letters_judge(s, &p->tally);
	client_free(c);
	scene_free(s);
}

static void report(const struct plan *p, const char *what)
{
	tally_print(&p->tally, what, p->runs);
}

/* --- the tests ---------------------------------------------------------------------------------------------------- */

static bool is_alone(void)
{
	return getenv("FAULT") != NULL;
}

static void test_an_allocation_fails(void **state)
{
	struct plan p = { .allocations = true };
	struct faults_walk w = { .name = "two servers", .scenario = play, .context = &p, .times = 1, .most = 150 };

	assert_true(faults_enough(faults_walk(&w), 100));
	report(&p, "an allocation fails");
}

/* As when another process takes all there is for a moment. */
static void test_allocations_in_a_row_fail(void **state)
{
	struct plan p = { .allocations = true };
	struct faults_walk w = { .name = "two servers", .scenario = play, .context = &p, .times = 20, .most = 40 };

	assert_true(faults_enough(faults_walk(&w), 40));
	report(&p, "twenty allocations in a row fail");
}

/* Does the run differ from the one without a failure? Then there was one. */
static bool differs(struct plan *p, uint64_t hash)
{
	play(p);
	return p->hash != hash;
}

/* How many operations of its kind a run makes. */
static uint64_t count_operations(struct plan *p, uint64_t hash)
{
	uint64_t below = 0, above = 64; /* skip = below fails, skip = above does not */

	for (p->disk.skip = above; differs(p, hash); p->disk.skip = above *= 4)
		below = above;
	while (above - below > 1) {
		p->disk.skip = (below + above) / 2;
		if (differs(p, hash))
			below = p->disk.skip;
		else
			above = p->disk.skip;
	}
	return above;
}

static const struct disk_case {
	const char *name;
	enum sim_disk_op op;
	int error;
} disk_cases[] = {
	{ "open", SIM_OPEN, -ENFILE },
	{ "read", SIM_READ, -EIO },
	{ "write", SIM_WRITE, -EIO },
	{ "write", SIM_WRITE, -ENOSPC },
	{ "sync", SIM_SYNC, -EIO },
	{ "allocate", SIM_ALLOCATE, -ENOSPC },
	{ "rename", SIM_RENAME, -EIO },
	{ "link", SIM_LINK, -EIO },
	{ "unlink", SIM_UNLINK, -EIO },
	{ "mkdir", SIM_MAKE_DIRECTORY, -ENOSPC },
	{ "sync of a directory", SIM_SYNC_DIRECTORY, -EIO },
	{ "stat", SIM_INFO, -EIO },
};

#define DISK_POINTS 10u /* of each case and server */

static void fail_disk(const struct disk_case *c, unsigned node, struct tally *tally)
{
	struct plan p = { .node = node, .disk = { .ops = c->op, .error = c->error, .skip = UINT32_MAX, .times = 1 } };
	uint64_t hash, total, points;

	play(&p);
	hash = p.hash;
	p.disk.skip = 0;
	if (!differs(&p, hash)) {
		print_message("# %s of %s: none\n", c->name, node ? "b" : "a");
		return;
	}
	total = count_operations(&p, hash);
	points = faults_points(total, DISK_POINTS);
	for (uint64_t i = 0; i < points; i++) {
		p.disk.skip = i * total / points;
		play(&p);
	}
	print_message("# %s of %s with %s: %llu of %llu failed once\n", c->name, node ? "b" : "a", strerrorname_np(-c->error),
		      (unsigned long long) points, (unsigned long long) total);
	tally->accepted += p.tally.accepted;
	tally->refused += p.tally.refused;
}

static void test_a_call_of_the_disk_fails(void **state)
{
	struct tally tally = { 0 };

	for (unsigned i = 0; i < ARRAY_LEN(disk_cases) && !is_alone(); i++)
		for (unsigned node = 0; node < 2; node++)
			fail_disk(&disk_cases[i], node, &tally);
	print_message("# %u letters accepted, %u refused\n", tally.accepted, tally.refused);
}

static void test_a_connection_fails(void **state)
{
	static const enum sim_fate_kind fates[] = { SIM_REFUSE, SIM_UNREACHABLE, SIM_BLACKHOLE, SIM_RESET };
	struct plan p = { 0 };
	uint64_t total;

	play(&p);
	total = p.connections;
	assert_true(total >= 2);
	for (p.connection = 1; p.connection <= total && !is_alone(); p.connection++) {
		for (unsigned i = 0; i < ARRAY_LEN(fates); i++) {
			p.fate = fates[i];
			play(&p);
		}
	}
	print_message("# %llu connections failed in %zu manners\n", (unsigned long long) total, ARRAY_LEN(fates));
	report(&p, "a connection fails");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_an_allocation_fails, faults_teardown),
		cmocka_unit_test_teardown(test_allocations_in_a_row_fail, faults_teardown),
		cmocka_unit_test(test_a_call_of_the_disk_fails),
		cmocka_unit_test(test_a_connection_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
