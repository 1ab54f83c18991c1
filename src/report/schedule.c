/* When reports are written down and sent, and what an administrator may ask for. */
#include <stdlib.h>

#include "report/reporter.h"

#define LOOK_AT_CLOCK USEC_HOUR      /* it may be set */
#define AFTER_START ((wall_t) (2 * USEC_MIN)) /* what was left by the last run */
#define DAY ((wall_t) USEC_DAY)

/* --- by the clock -------------------------------------------------------------------------------------------------- */

/* The hour of today or tomorrow, and a random time behind it, so that not all servers of the world report at once. */
static wall_t next_hour(struct reporter *r, wall_t at)
{
	const struct report_config *c = reporter_config(r);
	wall_t due = at / DAY * DAY + (wall_t) c->at + (wall_t) world_random_below(r->world, c->spread + 1);

	return due > at ? due : due + DAY;
}

static int lock_sending(struct reporter *r)
{
	int e = 0;

	while (r->sending && e >= 0)
		e = cond_wait(&r->sent, "another sending of reports", DEADLINE_NEVER);
	if (e >= 0)
		r->sending = true;
	return e;
}

static void unlock_sending(struct reporter *r)
{
	r->sending = false;
	cond_signal(&r->sent);
}

static int send_kind(struct reporter *r, enum report_kind kind, wall_t *next)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct sending s = { .reporter = r, .config = reporter_config(r), .kind = kind };
	int e;

	if (!(kind == REPORT_TLS ? s.config->tls : s.config->dmarc))
		return 0;
	e = arena_new(0, &arena);
	s.arena = arena;
	if (e >= 0)
		e = send_reports(&s);
	if (s.next && s.next < *next)
		*next = s.next;
	return e;
}

/* A fiber: one round. */
static void send_all(void *arg)
{
	struct reporter *r = arg;
	wall_t next = next_hour(r, world_wall(r->world));
	int e = lock_sending(r);

	if (e < 0)
		return;
	collect_flush(r);
	e = send_kind(r, REPORT_DMARC, &next);
	if (e != -ECANCELED)
		e = send_kind(r, REPORT_TLS, &next);
	r->due = MIN(r->due, next);
	unlock_sending(r);
	cond_signal(&r->wake);
}

static usec_t until(struct reporter *r, wall_t due)
{
	wall_t wait = due - world_wall(r->world);

	return deadline_after(now(), wait <= 0 ? 0 : MIN((usec_t) wait, LOOK_AT_CLOCK));
}

static void keep(void *arg)
{
	struct reporter *r = arg;

	for (;;) {
		if (cond_wait(&r->wake, "something to report", MIN(r->flush_at, until(r, r->due))) == -ECANCELED)
			return;
		if (now() >= r->flush_at) {
			r->flush_at = DEADLINE_NEVER;
			collect_flush(r);
		}
		if (world_wall(r->world) >= r->due) {
			r->due = next_hour(r, world_wall(r->world));
			if (fiber_spawn("report sender", send_all, r, NULL) < 0)
				r->due = world_wall(r->world) + AFTER_START;
		}
	}
}

/* Who reports nothing needs no fiber. From the main thread. */
static int begin(struct reporter *r)
{
	const struct report_config *c = reporter_config(r);
	int e;

	if (atomic_load(&r->running) || !(c->dmarc || c->tls))
		return 0;
	r->due = MIN(next_hour(r, world_wall(r->world)), world_wall(r->world) + AFTER_START);
	e = loop_spawn(r->loop, "reports", keep, r);
	if (e >= 0)
		atomic_store(&r->running, true);
	return e;
}

int reporter_start(struct reporter *r)
{
	atomic_store(&r->started, true);
	return begin(r);
}

void reporter_reload(struct reporter *r, const struct report_config *config)
{
	atomic_store(&r->config, config);
	if (atomic_load(&r->started) && begin(r) < 0)
		LOG(r->log, LOG_WARNING, "there was no memory to begin with reports; they begin with the next reload");
}

/* --- by hand ------------------------------------------------------------------------------------------------------- */

int reporter_flush(struct reporter *r)
{
	return collect_flush(r);
}

struct kept_outcome {
	struct kept_outcome *next;
	struct report_outcome outcome;
};

struct order {
	struct completion done;
	struct sending sending;
	struct kept_outcome *first, **end;
};

static int keep_outcome(const struct report_outcome *o, void *context)
{
	struct order *order = context;
	struct arena *a = order->sending.arena;
	struct kept_outcome *k = arena_new_type(a, struct kept_outcome);

	if (!k)
		return -ENOMEM;
	k->outcome = *o;
	k->outcome.domain = arena_strdup(a, o->domain);
	k->outcome.to = arena_strdup(a, o->to);
	k->outcome.what = arena_strdup(a, o->what);
	if (!k->outcome.domain || !k->outcome.to || !k->outcome.what)
		return -ENOMEM;
	*order->end = k;
	order->end = &k->next;
	return 0;
}

/* On the reporter's loop. */
static void carry_out(void *arg)
{
	struct order *order = arg;
	struct reporter *r = order->sending.reporter;
	int e = lock_sending(r);

	if (e >= 0) {
		e = collect_flush(r);
		if (e >= 0)
			e = send_reports(&order->sending);
		if (order->sending.next && order->sending.next < r->due) {
			r->due = order->sending.next;
			cond_signal(&r->wake);
		}
		unlock_sending(r);
	}
	completion_done(&order->done, e);
}

int reporter_send(struct reporter *r, enum report_kind kind, const char *domain, bool dry_run,
		  int (*each)(const struct report_outcome *o, void *context), void *context)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct order order = {
		.sending = { .reporter = r, .config = reporter_config(r), .kind = kind, .by_hand = true, .dry_run = dry_run,
			     .domain = domain, .outcome = keep_outcome, .context = &order },
		.end = &order.first,
	};
	int e;

	if (!(kind == REPORT_TLS ? order.sending.config->tls : order.sending.config->dmarc))
		return -EOPNOTSUPP;
	e = arena_new(0, &arena);
	if (e < 0)
		return e;
	order.sending.arena = arena;
	completion_init(&order.done);
	e = loop_spawn(r->loop, "reports by hand", carry_out, &order);
	if (e < 0)
		return e;
	e = completion_wait(&order.done);
	for (struct kept_outcome *k = order.first; k && e >= 0; k = k->next)
		e = each(&k->outcome, context);
	return e;
}
