/* How fast messages may follow one another: the limit of a configuration, and what a receiver has taught us.
 *
 * A limit of n messages in a time is kept for every span of that length, wherever it begins: a tenth of them may go at
 * once, the others are spread, so slowly that both together are never more than n.
 *
 * The learned pace is none at all at first. A receiver that says we are too fast makes it half of the rate at which it
 * said so, and each time it says so again half of that. After some messages that it took at that pace, it becomes an eighth
 * faster, until there is none again. A receiver that took nothing told us no rate: one message a minute is a guess, as is what
 * it becomes when still nothing is taken, and so each message that is taken makes it four times as fast. The receiver may
 * only have been down, and is to have its mail soon.
 *
 * Pure numbers, no clock; the owner of the site calls. */
#pragma once

#include "queue/shaping.h"

struct pace {
	usec_t interval; /* between two messages; 0: no limit */
	usec_t slack;    /* how much earlier than that one may go, when none went before */
	usec_t at;       /* the next one goes at this time, less the slack */
};

#define PACE_SLOWEST USEC_MIN       /* that we learn */
#define PACE_NONE (5 * USEC_MS)     /* faster than that is no pace */
#define PACE_TAKEN 4u               /* messages that are taken before it becomes faster */
#define PACE_HOLDS (10 * USEC_SEC)  /* at least for so long */

void pace_limit(struct pace *p, const struct rate *r); /* what went counts on */
/* When the next one may go, which may be in the past. */
static inline usec_t pace_next(const struct pace *p)
{
	return p->interval > 0 && p->at > p->slack ? p->at - p->slack : 0;
}
/* One goes, whether it may or not. */
void pace_take(struct pace *p, usec_t t);

/* How many were taken lately, from which the rate comes. */
struct meter {
	usec_t since;    /* of this count */
	unsigned count;
	unsigned before; /* in the METER_SPAN before that */
};
#define METER_SPAN (10 * USEC_SEC)
void meter_count(struct meter *m, usec_t t);
/* The mean time between two; 0: none was taken lately. */
usec_t meter_interval(const struct meter *m, usec_t t);

struct learned_pace {
	struct pace pace;
	unsigned taken;  /* since it changed */
	usec_t changed;
	bool guessed;    /* from nothing that was taken */
	bool took;       /* something since it became slower */
};
/* Too fast. usual: meter_interval. */
void learned_slow_down(struct learned_pace *l, usec_t usual, usec_t t);
/* One was taken. */
void learned_taken(struct learned_pace *l, usec_t t);
/* Takes over what was learned before, as long ago as `age`: what is old counts less, and nothing after a day. */
void learned_recall(struct learned_pace *l, usec_t interval, usec_t age, usec_t t);
