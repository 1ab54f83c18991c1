#include "sim/faults.h"

#include "base/hash.h"
#include "sim/remote.h"
#include "sim/seeds.h"

#define HANGS (20 * USEC_MIN) /* what is cut off may hang for so long: longer than any time-out */
#define CALL_TIME 20
#define SYNC_TIME 500

/* --- drawing ---------------------------------------------------------------------------------------------- */

/* Dice of their own, so that the faults depend on the seed alone and not on what the world does. */
struct dice {
	uint64_t state;
};

static uint64_t roll(struct dice *d, uint64_t n)
{
	uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return n > 0 ? (z ^ z >> 31) % n : 0;
}

static bool chance(struct dice *d, unsigned per_cent)
{
	return roll(d, 100) < per_cent;
}

static enum fault_kind roll_kind(struct dice *d, const struct fault_mix *mix)
{
	unsigned sum = 0, at;

	for (unsigned i = 0; i < FAULT_KINDS; i++)
		sum += mix->weights[i];
	at = (unsigned) roll(d, sum);
	for (unsigned i = 0; i < FAULT_KINDS; i++) {
		if (at < mix->weights[i])
			return (enum fault_kind) i;
		at -= mix->weights[i];
	}
	return FAULT_KILL;
}

static void roll_disk(struct dice *d, struct fault *f)
{
	static const unsigned ops[] = { SIM_SYNC, SIM_WRITE, SIM_SYNC | SIM_WRITE, SIM_OPEN, SIM_RENAME | SIM_SYNC_DIRECTORY, SIM_CHANGES };
	static const char *const paths[] = { "/var/spool", "/var/mail", NULL };

	f->disk = (struct sim_fault) {
		.ops = ops[roll(d, ARRAY_LEN(ops))],
		.path = paths[roll(d, ARRAY_LEN(paths))],
		.error = chance(d, 80) ? -EIO : -ENOSPC,
		.skip = roll(d, 10),
		.times = chance(d, 85) ? 1 + roll(d, 3) : 0,
	};
}

static void roll_link(struct dice *d, struct fault *f)
{
	f->link = sim_link_default();
	f->link.jitter = roll(d, chance(d, 50) ? 50 * USEC_MS : 3 * USEC_SEC);
	f->link.segment_max = chance(d, 30) ? 1 + (unsigned) roll(d, 40) : 1448;
	f->link.loss_per_mille = (unsigned) roll(d, 100);
	f->link.refuse_per_mille = (unsigned) roll(d, 200);
	f->link.blackhole_per_mille = (unsigned) roll(d, 100);
	f->link.reset_per_mille = (unsigned) roll(d, 400);
	f->link.stall_per_mille = (unsigned) roll(d, 100);
	f->link.within = 1 + roll(d, chance(d, 50) ? 1500 : 60000);
}

static void roll_fault(struct dice *d, const struct scene *s, const struct fault_mix *mix, struct fault *f)
{
	f->kind = roll_kind(d, mix);
	f->until = f->at + 1 + roll(d, chance(d, 50) ? mix->lasts / 10 : mix->lasts);
	f->node = (unsigned) roll(d, s->n_nodes);
	f->other = (f->node + 1 + (unsigned) roll(d, s->n_nodes - 1)) % s->n_nodes;
	f->remote = (unsigned) roll(d, s->n_remotes);
	f->pause = roll(d, chance(d, 50) ? 3 * USEC_SEC : 3 * USEC_MIN);
	f->zone = mix->n_zones > 1 ? 1 + (unsigned) roll(d, mix->n_zones - 1) : 0;
	f->behaviours = chance(d, 50) ? 1u << roll(d, 10) : (unsigned) roll(d, REMOTE_ALL + 1);
	f->amount = f->kind == FAULT_BREAK	  ? 1 + roll(d, 60)
		    : f->kind == FAULT_FULL	  ? roll(d, 1200u << 10) /* the servers keep 1 MiB in reserve */
		    : f->kind == FAULT_SLOW_DISK  ? roll(d, chance(d, 50) ? 50 * USEC_MS : 2 * USEC_SEC)
		    : f->kind == FAULT_DNS	  ? roll(d, 70)
						  : 50 + roll(d, 900);
	roll_disk(d, f);
	roll_link(d, f);
}

void scene_faults_draw(struct scene *s, const struct fault_mix *mix, usec_t until, struct faults *ret)
{
	struct dice dice = { hash_u64(s->seed ^ UINT64_C(0xfa0175)) };
	usec_t at = scene_now(s);

	*ret = (struct faults) { .scene = s, .mix = mix, .list = calloc(SEEDS_FAULTS, sizeof(struct fault)) };
	assert(ret->list);
	while (ret->n < SEEDS_FAULTS) {
		/* Some follow on each other's heels. */
		at += roll(&dice, chance(&dice, 50) ? mix->gap / 6 : 4 * mix->gap);
		if (at >= until)
			break;
		ret->list[ret->n] = (struct fault) { .number = ret->n, .at = at };
		roll_fault(&dice, s, mix, &ret->list[ret->n++]);
	}
}

/* --- what they do ------------------------------------------------------------------------------------------ */

static double seconds(usec_t t)
{
	return (double) t / 1e6;
}

static void trouble_everybody(struct scene *s, enum trouble_kind kind, usec_t until)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		scene_trouble(s, kind, &s->nodes[i], NULL, scene_now(s), until);
}

static void disk_begins(struct scene *s, struct node *n, const struct fault *f)
{
	char times[40] = "all";

	if (f->disk.times > 0)
		(void) snprintf(times, sizeof(times), "%llu", (unsigned long long) f->disk.times);
	scene_tell(s, "fault %u: %s: %s operations of kind %x on %s fail with %s, after %llu that do not", f->number, n->name, times, f->disk.ops,
		   f->disk.path ? f->disk.path : "any path", strerrorname_np(-f->disk.error), (unsigned long long) f->disk.skip);
	scene_trouble(s, TROUBLE_DISK, n, NULL, scene_now(s), DEADLINE_NEVER);
	sim_host_add_fault(n->host, &f->disk);
}

static void disk_fills(struct scene *s, struct node *n, const struct fault *f)
{
	scene_tell(s, "fault %u: the disk of %s has %llu KiB left", f->number, n->name, (unsigned long long) (f->amount >> 10));
	scene_trouble(s, TROUBLE_DISK, n, NULL, scene_now(s), DEADLINE_NEVER);
	sim_host_set_capacity(n->host, sim_host_disk_used(n->host) + f->amount);
}

static void lines_go_bad(struct scene *s, const struct fault *f)
{
	const struct sim_link *l = &f->link;

	scene_tell(s, "fault %u: all ways: jitter %.3f s, %u bytes together, of 1000 segments %u lost, of 1000 connections %u refused, %u never "
		   "answered, %u reset and %u hung within %llu bytes", f->number, seconds(l->jitter), l->segment_max, l->loss_per_mille,
		   l->refuse_per_mille, l->blackhole_per_mille, l->reset_per_mille, l->stall_per_mille, (unsigned long long) l->within);
	trouble_everybody(s, TROUBLE_NETWORK, deadline_after(f->until, HANGS));
	sim_set_link(s->sim, NULL, NULL, l);
}

static void remote_changes(struct scene *s, struct remote *r, const struct fault *f)
{
	char text[300] = "";
	size_t len = 0;

	for (unsigned set = f->behaviours; set && len + 40 < sizeof(text); set &= set - 1)
		len += (size_t) snprintf(text + len, sizeof(text) - len, ", %s", behaviour_name((enum behaviour) (set & -set)));
	scene_tell(s, "fault %u: %s is well or%s", f->number, r->name, len ? text + 1 : " well");
	r->behaviours = f->behaviours;
}

static void network_breaks(struct scene *s, struct node *n, const struct fault *f)
{
	struct node *other = &s->nodes[f->other];

	if (f->kind == FAULT_RESET) {
		scene_tell(s, "fault %u: %u connections of %s are reset", f->number, sim_reset_connections(s->sim, n->host, NULL), n->name);
		trouble_everybody(s, TROUBLE_NETWORK, deadline_after(scene_now(s), HANGS));
	} else if (f->kind == FAULT_REMOTE_GONE) {
		scene_tell(s, "fault %u: %s can't be reached", f->number, s->remotes[f->remote]->name);
		sim_partition(s->sim, s->remotes[f->remote]->machine.host, NULL);
		trouble_everybody(s, TROUBLE_NETWORK, deadline_after(f->until, HANGS));
	} else {
		scene_tell(s, "fault %u: nothing gets through between %s and %s", f->number, n->name, other->name);
		sim_partition(s->sim, n->host, other->host);
		trouble_everybody(s, TROUBLE_NETWORK, deadline_after(f->until, HANGS));
	}
}

static void process_ends(struct scene *s, struct node *n, const struct fault *f)
{
	switch (f->kind) {
	case FAULT_POWER:
		scene_tell(s, "fault %u:", f->number);
		node_crash(n, f->pause);
		break;
	case FAULT_BREAK:
		scene_tell(s, "fault %u: the power of %s will go in change %llu of its disk", f->number, n->name, (unsigned long long) f->amount);
		node_break_at(n, f->amount, f->pause);
		break;
	case FAULT_KILL:
		scene_tell(s, "fault %u:", f->number);
		node_kill(n, f->pause);
		break;
	case FAULT_STOP:
		scene_tell(s, "fault %u: %s is stopped", f->number, n->name);
		node_stop(n, f->pause);
		break;
	default:
		scene_tell(s, "fault %u: a second server is started on the spool of %s", f->number, n->name);
		node_rival(n);
	}
}

/* One that needs a server that is up, or at least not down, finds it so. */
static bool possible(const struct node *n, const struct fault *f)
{
	switch (f->kind) {
	case FAULT_STOP:
	case FAULT_RIVAL:
		return n->state == NODE_UP;
	case FAULT_POWER:
	case FAULT_KILL:
	case FAULT_BREAK:
		return n->state != NODE_DOWN;
	default:
		return true;
	}
}

static void begin(struct faults *all, struct fault *f)
{
	struct scene *s = all->scene;
	struct node *n = &s->nodes[f->node];

	f->state = FAULT_LASTS;
	if (!seeds_want_fault(f->number) || !possible(n, f)) {
		f->state = FAULT_OVER;
		return;
	}
	seeds_note_fault(f->number);
	all->happened[f->kind]++;
	switch (f->kind) {
	case FAULT_DISK:
		disk_begins(s, n, f);
		break;
	case FAULT_FULL:
		disk_fills(s, n, f);
		break;
	case FAULT_SLOW_DISK:
		scene_tell(s, "fault %u: syncs of %s take up to %.3f s", f->number, n->name, seconds(2 * f->amount));
		sim_host_set_disk_speed(n->host, CALL_TIME, f->amount);
		s->slowest_sync = MAX(s->slowest_sync, 2 * f->amount);
		break;
	case FAULT_SHORT_WRITES:
		scene_tell(s, "fault %u: of 1000 writes of %s %llu are short", f->number, n->name, (unsigned long long) f->amount);
		sim_host_set_short_writes(n->host, (unsigned) f->amount);
		break;
	case FAULT_BAD_LINES:
		lines_go_bad(s, f);
		break;
	case FAULT_DNS:
		scene_tell(s, "fault %u: of 100 questions to the DNS %llu fail or take long", f->number, (unsigned long long) f->amount);
		s->dns_trouble = (unsigned) f->amount;
		break;
	case FAULT_DNS_MOVES:
		scene_tell(s, "fault %u: the DNS has zone %u", f->number, f->zone);
		scene_change_zone(s, all->mix->zones[f->zone]);
		break;
	case FAULT_REMOTE:
		remote_changes(s, s->remotes[f->remote], f);
		break;
	case FAULT_RESET:
	case FAULT_PARTITION:
	case FAULT_REMOTE_GONE:
		network_breaks(s, n, f);
		break;
	default:
		process_ends(s, n, f);
	}
	if (f->kind < FAULT_DISK || f->kind == FAULT_RESET)
		f->state = FAULT_OVER;
}

/* Where faults overlap, the first to end ends them all: one thing less to keep in mind when a story is read. */
static void end(struct faults *all, struct fault *f)
{
	struct scene *s = all->scene;
	struct node *n = &s->nodes[f->node];
	struct sim_link well = sim_link_default();

	f->state = FAULT_OVER;
	scene_tell(s, "fault %u is over", f->number);
	switch (f->kind) {
	case FAULT_DISK:
	case FAULT_FULL:
		sim_host_clear_faults(n->host);
		sim_host_set_capacity(n->host, 0);
		break;
	case FAULT_SLOW_DISK:
		sim_host_set_disk_speed(n->host, CALL_TIME, SYNC_TIME);
		break;
	case FAULT_SHORT_WRITES:
		sim_host_set_short_writes(n->host, 0);
		break;
	case FAULT_PARTITION:
		sim_heal(s->sim, n->host, s->nodes[f->other].host);
		break;
	case FAULT_REMOTE_GONE:
		sim_heal(s->sim, s->remotes[f->remote]->machine.host, NULL);
		break;
	case FAULT_BAD_LINES:
		sim_set_link(s->sim, NULL, NULL, &well);
		break;
	case FAULT_DNS:
		s->dns_trouble = 0;
		break;
	case FAULT_DNS_MOVES:
		scene_change_zone(s, all->mix->zones[0]);
		break;
	case FAULT_REMOTE:
		s->remotes[f->remote]->behaviours = 0;
		break;
	default:
		break;
	}
}

/* --- in time -------------------------------------------------------------------------------------------------- */

static usec_t next_of(const struct faults *all, usec_t limit)
{
	for (unsigned i = 0; i < all->n; i++) {
		const struct fault *f = &all->list[i];

		if (f->state != FAULT_OVER)
			limit = MIN(limit, f->state == FAULT_TO_COME ? f->at : f->until);
	}
	return limit;
}

static void do_what_is_due(struct faults *all)
{
	for (unsigned i = 0; i < all->n; i++) {
		struct fault *f = &all->list[i];

		if (f->state == FAULT_TO_COME && f->at <= scene_now(all->scene))
			begin(all, f);
		else if (f->state == FAULT_LASTS && f->until <= scene_now(all->scene))
			end(all, f);
	}
}

void scene_faults_run(struct faults *all, usec_t until)
{
	do {
		scene_run(all->scene, MAX(next_of(all, until), scene_now(all->scene)));
		do_what_is_due(all);
	} while (scene_now(all->scene) < until);
}

void scene_faults_end(struct faults *all)
{
	struct scene *s = all->scene;

	for (unsigned i = 0; i < all->n; i++)
		if (all->list[i].state == FAULT_LASTS)
			end(all, &all->list[i]);
	for (unsigned i = 0; i < s->n_nodes; i++)
		node_break_at(&s->nodes[i], 0, 0);
	sim_heal_all(s->sim);
	trouble_everybody(s, TROUBLE_NETWORK, deadline_after(scene_now(s), HANGS));
}

void scene_faults_done(struct faults *all)
{
	free(all->list);
}
