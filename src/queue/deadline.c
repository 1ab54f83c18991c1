#include "queue/deadline.h"

#include <errno.h>

/* How many of the first rungs carry mail. */
static unsigned carrying(const struct ladder *l)
{
	unsigned n = 0;

	while (n < l->n_hops && l->hops[n].kind != HOP_HOLD && l->hops[n].kind != HOP_DISCARD && l->hops[n].kind != HOP_REJECT)
		n++;
	return MAX(n, 1u);
}

unsigned deadline_rung(const struct ladder *l, usec_t deadline, usec_t age)
{
	unsigned n = carrying(l);

	if (deadline == 0 || age >= deadline)
		return deadline == 0 ? 0 : n - 1;
	return (unsigned) (age / (deadline / n + 1));
}

usec_t deadline_share(const struct ladder *l, usec_t deadline, unsigned rung)
{
	unsigned n = carrying(l);

	return rung + 1 >= n ? deadline : (deadline / n + 1) * (rung + 1);
}

int deadline_next(const struct ladder *l, unsigned rung, unsigned *ret)
{
	if (rung + 1 >= carrying(l))
		return -ENOENT;
	*ret = rung + 1;
	return 0;
}
