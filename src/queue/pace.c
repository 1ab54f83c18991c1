#include "queue/pace.h"

#define BURST_PART 10u  /* of a limit may go at once */
#define GUESS_FASTER 4u /* times */

void pace_limit(struct pace *p, const struct rate *r)
{
	unsigned burst = MAX(r->count / BURST_PART, 1u);

	if (r->count == 0) {
		p->interval = p->slack = 0;
		return;
	}
	/* In a span that begins with the burst, the others may not be more than what is left. */
	p->interval = (r->per + r->count - burst) / (r->count - burst + 1);
	p->interval = MAX(p->interval, (usec_t) 1);
	p->slack = (burst - 1) * p->interval;
}

void pace_take(struct pace *p, usec_t t)
{
	if (p->interval > 0)
		p->at = deadline_after(MAX(p->at, t), p->interval);
}

static void meter_turn(struct meter *m, usec_t t)
{
	if (t < deadline_after(m->since, METER_SPAN))
		return;
	m->before = t < deadline_after(m->since, 2 * METER_SPAN) ? m->count : 0;
	m->count = 0;
	m->since = t;
}

void meter_count(struct meter *m, usec_t t)
{
	meter_turn(m, t);
	m->count++;
}

usec_t meter_interval(const struct meter *m, usec_t t)
{
	struct meter now = *m;
	usec_t span;

	meter_turn(&now, t);
	if (now.count + now.before == 0)
		return 0;
	span = t - now.since + (now.before > 0 ? METER_SPAN : 0);
	return MAX(span / (now.count + now.before), (usec_t) 1);
}

void learned_slow_down(struct learned_pace *l, usec_t usual, usec_t t)
{
	usec_t interval = l->pace.interval;

	/* The rest of a row of replies to what was sent at the same time says nothing new. */
	if (interval > 0 && t < deadline_after(l->changed, MIN(interval, PACE_HOLDS)))
		return;
	if (usual == 0 && interval == 0)
		interval = PACE_SLOWEST;
	else
		interval = 2 * MAX(interval, usual);
	l->guessed = usual == 0 && (l->pace.interval == 0 || !l->took);
	l->pace.interval = MIN(MAX(interval, 2 * PACE_NONE), PACE_SLOWEST);
	l->pace.at = deadline_after(t, l->pace.interval);
	l->took = false;
	l->taken = 0;
	l->changed = t;
}

/* One that was taken says more than the guess. The next one need not wait for what was guessed before. */
static void guess_again(struct learned_pace *l, usec_t t)
{
	l->pace.interval /= GUESS_FASTER;
	l->pace.at = MIN(l->pace.at, deadline_after(t, l->pace.interval));
}

void learned_taken(struct learned_pace *l, usec_t t)
{
	l->took = true;
	if (l->pace.interval == 0)
		return;
	if (!l->guessed && (++l->taken < PACE_TAKEN || t < deadline_after(l->changed, PACE_HOLDS)))
		return;
	if (l->guessed)
		guess_again(l, t);
	else
		l->pace.interval -= (l->pace.interval + 7) / 8;
	if (l->pace.interval < PACE_NONE)
		l->pace.interval = 0;
	l->taken = 0;
	l->changed = t;
}

void learned_recall(struct learned_pace *l, usec_t interval, usec_t age, usec_t t)
{
	bool guessed = interval >= PACE_SLOWEST; /* nobody is so slow for long */

	if (age >= USEC_DAY)
		return;
	for (; age >= USEC_HOUR; age -= USEC_HOUR)
		interval -= interval / 4;
	if (interval < PACE_NONE)
		return;
	*l = (struct learned_pace) { .pace.interval = MIN(interval, PACE_SLOWEST), .changed = t, .guessed = guessed };
}
