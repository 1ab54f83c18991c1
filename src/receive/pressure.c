#include "receive/pressure.h"

#include "world/fiber.h"
#include "world/file.h"

#define INTERVAL USEC_SEC
#define RELIEF 10u /* percent */

const char *pressure_name(enum pressure_kind kind)
{
	static const char *const names[PRESSURE_KINDS] = { "memory", "disk", "files" };

	return names[kind];
}

static bool reached(uint64_t value, uint64_t mark, bool below)
{
	return below ? value < mark : value >= mark;
}

enum pressure_level pressure_judge(enum pressure_level before, uint64_t value, const struct pressure_marks *m)
{
	if (m->high == 0)
		return PRESSURE_NONE;
	if (m->critical > 0 && reached(value, before == PRESSURE_CRITICAL ? m->critical_ends : m->critical, m->below))
		return PRESSURE_CRITICAL;
	if (reached(value, before == PRESSURE_NONE ? m->high : m->high_ends, m->below))
		return PRESSURE_HIGH;
	return PRESSURE_NONE;
}

/* --- measuring ---------------------------------------------------------------------------------------------- */

struct measure {
	struct world *world;
	const struct pressure_config *config;
	uint64_t values[PRESSURE_KINDS];
	bool known[PRESSURE_KINDS];
	uint64_t memory_limit;
};

static bool looks_at_memory(const struct pressure_config *c)
{
	return c->memory_high > 0;
}

static bool looks_at_disk(const struct pressure_config *c)
{
	return c->spool_path && (c->disk_high > 0 || c->files_high > 0);
}

/* On the worker pool. */
static int measure(void *arg)
{
	struct measure *m = arg;
	const struct pressure_config *c = m->config;
	uint64_t total;

	if (looks_at_memory(c)) {
		struct world_memory memory;

		world_memory(m->world, &memory);
		m->values[PRESSURE_MEMORY] = memory.resident;
		m->memory_limit = c->memory_limit ? c->memory_limit : memory.limit;
		m->known[PRESSURE_MEMORY] = memory.resident > 0 && m->memory_limit > 0;
	}
	if (looks_at_disk(c)) {
		m->known[PRESSURE_DISK] = path_space(m->world, c->spool_path, &m->values[PRESSURE_DISK], &total) == 0;
		/* Some file systems make files as they need them, and say that there are none. */
		m->known[PRESSURE_FILES] = path_files(m->world, c->spool_path, &m->values[PRESSURE_FILES], &total) == 0 &&
					   total > 0;
	}
	return 0;
}

static void set_marks(const struct measure *m, enum pressure_kind kind, struct pressure_marks *ret)
{
	const struct pressure_config *c = m->config;
	unsigned relief = c->relief ? c->relief : RELIEF;

	if (kind == PRESSURE_MEMORY) {
		*ret = (struct pressure_marks) {
			.high = m->memory_limit / 100 * c->memory_high,
			.critical = m->memory_limit / 100 * c->memory_critical,
		};
		ret->high_ends = ret->high / 100 * (100 - MIN(relief, 100u));
		ret->critical_ends = ret->critical / 100 * (100 - MIN(relief, 100u));
		return;
	}
	*ret = (struct pressure_marks) {
		.high = kind == PRESSURE_DISK ? c->disk_high : c->files_high,
		.critical = kind == PRESSURE_DISK ? c->disk_critical : c->files_critical,
		.below = true,
	};
	ret->high_ends = ret->high + ret->high * relief / 100;
	ret->critical_ends = ret->critical + ret->critical * relief / 100;
}

static void say(const struct pressure *p, enum pressure_kind kind, enum pressure_level level, uint64_t value, uint64_t mark)
{
	static const struct {
		enum log_level level;
		const char *text;
	} lines[PRESSURE_KINDS][3] = {
		[PRESSURE_MEMORY] = {
			{ LOG_NOTICE, "there is memory enough again: mail is taken as usual" },
			{ LOG_WARNING, "memory is short: new sessions get 421 and new messages 452 until some is given back" },
			{ LOG_ERROR, "memory is nearly used up: no connections are accepted" },
		},
		[PRESSURE_DISK] = {
			{ LOG_NOTICE, "there is disk space enough again: mail is taken as usual" },
			{ LOG_WARNING, "the disk of the spool is nearly full: new messages get 452; make room there" },
			{ LOG_ERROR, "the disk of the spool is full: no connections are accepted; make room there" },
		},
		[PRESSURE_FILES] = {
			{ LOG_NOTICE, "the file system of the spool has room for files again: mail is taken as usual" },
			{ LOG_WARNING, "the file system of the spool has nearly no inodes left: new messages get 452; remove files there" },
			{ LOG_ERROR, "the file system of the spool has no inodes left: no connections are accepted; remove files there" },
		},
	};

	LOG(p->log, lines[kind][level].level, lines[kind][level].text,
	    F_UINT(kind == PRESSURE_MEMORY ? "resident" : "free", value), F_UINT("mark", mark));
}

static void take(struct pressure *p, const struct measure *m, enum pressure_kind kind)
{
	struct pressure_gauge *g = &p->gauges[kind];
	enum pressure_level before = atomic_load_explicit(&g->level, memory_order_relaxed), level;
	struct pressure_marks marks;

	set_marks(m, kind, &marks);
	level = m->known[kind] ? pressure_judge(before, m->values[kind], &marks) : PRESSURE_NONE;
	atomic_store_explicit(&g->value, m->values[kind], memory_order_relaxed);
	atomic_store_explicit(&g->mark, m->known[kind] ? marks.high : 0, memory_order_relaxed);
	atomic_store_explicit(&g->level, level, memory_order_relaxed);
	if (level != before)
		say(p, kind, level, m->values[kind], level == PRESSURE_CRITICAL ? marks.critical : level ? marks.high : marks.high_ends);
}

void pressure_init(struct pressure *p, struct world *w, const struct log *log)
{
	*p = (struct pressure) { .world = w, .log = log };
}

void pressure_configure(struct pressure *p, const struct pressure_config *c)
{
	atomic_store(&p->config, c);
	atomic_store(&p->next, 0);
}

void pressure_look(struct pressure *p)
{
	const struct pressure_config *c = atomic_load_explicit(&p->config, memory_order_acquire);
	struct measure m = { .world = p->world, .config = c };

	if (!c || (!looks_at_memory(c) && !looks_at_disk(c) && !p->measured))
		return;
	if (world_now(p->world) < atomic_load_explicit(&p->next, memory_order_relaxed) || atomic_exchange(&p->measuring, true))
		return;
	if (world_offload(p->world, measure, &m) >= 0)
		for (unsigned i = 0; i < PRESSURE_KINDS; i++)
			take(p, &m, i);
	p->measured = true;
	atomic_store_explicit(&p->next, deadline_after(world_now(p->world), c->interval ? c->interval : INTERVAL), memory_order_relaxed);
	atomic_store(&p->measuring, false);
}

/* --- refusing ------------------------------------------------------------------------------------------------- */

static enum pressure_level level_of(const struct pressure *p, enum pressure_kind kind)
{
	return atomic_load_explicit(&p->gauges[kind].level, memory_order_relaxed);
}

static bool presses(struct pressure *p, enum pressure_kind kind, enum pressure_level least)
{
	if (level_of(p, kind) < least)
		return false;
	atomic_fetch_add_explicit(&p->gauges[kind].refused, 1, memory_order_relaxed);
	return true;
}

enum reply_id pressure_on_message(struct pressure *p)
{
	pressure_look(p);
	if (presses(p, PRESSURE_DISK, PRESSURE_HIGH) || presses(p, PRESSURE_FILES, PRESSURE_HIGH))
		return REPLY_DISK_FULL;
	return presses(p, PRESSURE_MEMORY, PRESSURE_HIGH) ? REPLY_OUT_OF_MEMORY : REPLY_SENDER_OK;
}

enum reply_id pressure_on_session(struct pressure *p)
{
	pressure_look(p);
	return presses(p, PRESSURE_MEMORY, PRESSURE_HIGH) || presses(p, PRESSURE_DISK, PRESSURE_CRITICAL) ||
		       presses(p, PRESSURE_FILES, PRESSURE_CRITICAL)
	       ? REPLY_UNDER_PRESSURE
	       : REPLY_DONE;
}

static bool is_critical(const struct pressure *p)
{
	bool critical = false;

	for (unsigned i = 0; i < PRESSURE_KINDS; i++)
		critical |= level_of(p, i) == PRESSURE_CRITICAL;
	return critical;
}

bool pressure_keeps_doors_shut(struct pressure *p)
{
	if (!is_critical(p))
		return false;
	pressure_look(p); /* nobody else does */
	return is_critical(p);
}
