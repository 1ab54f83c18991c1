#include "queue/ladder.h"

#define WHEN_PATH (WHEN_UNREACHABLE | WHEN_BLOCKED | WHEN_TLS | WHEN_THROTTLED)

unsigned ladder_condition(enum reply_class class)
{
	switch (class) {
	case CLASS_UNREACHABLE:
		return WHEN_UNREACHABLE;
	case CLASS_BLOCKED:
		return WHEN_BLOCKED;
	case CLASS_TLS:
		return WHEN_TLS;
	case CLASS_THROTTLED:
		return WHEN_THROTTLED;
	default:
		return 0;
	}
}

unsigned ladder_start(const struct ladder *l, usec_t waited)
{
	unsigned start = 0;

	for (unsigned i = 1; i < l->n_hops; i++)
		if ((l->hops[i].when & WHEN_DELAYED) && waited >= l->hops[i].delayed)
			start = i;
	return start;
}

int ladder_next(const struct ladder *l, unsigned rung, enum reply_class class, bool permanent, unsigned *ret)
{
	unsigned condition = ladder_condition(class);

	for (unsigned i = rung + 1; i < l->n_hops; i++) {
		unsigned when = l->hops[i].when;

		if ((when & condition) == 0 && !((when & WHEN_ANY) && (condition != 0 || !permanent)))
			continue;
		*ret = i;
		return 0;
	}
	return -ENOENT;
}

unsigned ladder_escapes(const struct ladder *l, unsigned rung)
{
	unsigned escapes = 0;

	for (unsigned i = rung + 1; i < l->n_hops; i++)
		escapes |= l->hops[i].when & WHEN_ANY ? WHEN_PATH : l->hops[i].when & WHEN_PATH;
	return escapes;
}

usec_t ladder_delay(const struct ladder *l, unsigned rung)
{
	usec_t delay = 0;

	for (unsigned i = rung + 1; i < l->n_hops; i++)
		if ((l->hops[i].when & WHEN_DELAYED) && (delay == 0 || l->hops[i].delayed < delay))
			delay = MAX(l->hops[i].delayed, (usec_t) 1);
	return delay;
}
