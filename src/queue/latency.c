#include "queue/latency.h"

#define PART_SLOWER 512u
#define PART_FASTER 128u
#define PART_RECENT 4u
#define TIME_MOST (UINT32_MAX / 64)

static uint32_t units(usec_t time)
{
	return (uint32_t) MIN(time * 16 / USEC_MS, (usec_t) TIME_MOST);
}

static uint32_t approach(uint32_t from, uint32_t to, uint32_t part)
{
	/* A step of at least one unit, or it would never arrive. */
	return to > from ? from + (to - from + part - 1) / part : from - (from - to + part - 1) / part;
}

void latency_note(struct latency *l, usec_t time)
{
	uint32_t t = units(MIN(time, USEC_DAY));

	if (l->n == 0)
		l->usual = l->recent = t;
	/* At first it is the mean. */
	l->usual = approach(l->usual, t, l->n < LATENCY_KNOWN ? l->n + 1u : t > l->usual ? PART_SLOWER : PART_FASTER);
	l->recent = approach(l->recent, t, PART_RECENT);
	if (l->n < LATENCY_KNOWN)
		l->n++;
}

bool latency_is_slow(const struct latency *l)
{
	return l->n >= LATENCY_KNOWN && l->recent > 3 * l->usual + units(LATENCY_MORE);
}

void latency_recall(struct latency *l, usec_t usual)
{
	*l = (struct latency) { .usual = units(MIN(usual, USEC_DAY)), .recent = units(MIN(usual, USEC_DAY)), .n = LATENCY_KNOWN };
}
