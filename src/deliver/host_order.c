#include "deliver/host_order.h"

static void move_to_front(struct target_host *hosts, unsigned i)
{
	struct target_host chosen = hosts[i];

	memmove(hosts + 1, hosts, i * sizeof(*hosts));
	hosts[0] = chosen;
}

/* RFC 2782: a number is drawn up to the sum of the weights, and the first host whose running sum reaches it is next. Hosts
 * without weight beside others with some have the share of one drawn number. */
static unsigned draw(struct world *w, const struct target_host *hosts, unsigned n)
{
	uint64_t sum = 0, drawn;
	unsigned zeros = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += hosts[i].weight;
		zeros += hosts[i].weight == 0;
	}
	if (zeros == n)
		return (unsigned) world_random_below(w, n);
	drawn = world_random_below(w, sum + (zeros > 0));
	if (drawn == sum) { /* one of those without weight */
		uint64_t which = world_random_below(w, zeros);

		for (unsigned i = 0; i < n; i++)
			if (hosts[i].weight == 0 && which-- == 0)
				return i;
	}
	for (unsigned i = 0; i < n; i++) {
		if (drawn < hosts[i].weight)
			return i;
		drawn -= hosts[i].weight;
	}
	return 0;
}

void hosts_shuffle(struct world *w, struct target_host *hosts, unsigned n)
{
	for (; n > 1; hosts++, n--)
		move_to_front(hosts, draw(w, hosts, n));
}

/* Keeps the order of the others, and of the sick among themselves. */
static void sick_ones_last(struct router *r, const struct source_pool *source, struct target_host *hosts, unsigned n)
{
	unsigned left = n > 1 ? n : 0;

	for (unsigned i = 0; left > 0; left--) {
		struct target_host h = hosts[i];

		if (!route_health_get(r, &h, source, NULL)) {
			i++;
			continue;
		}
		memmove(hosts + i, hosts + i + 1, (n - i - 1) * sizeof(*hosts));
		hosts[n - 1] = h;
	}
}

void hosts_in_order(struct world *w, struct router *r, const struct hop *hop, struct target_host *hosts, unsigned n)
{
	for (unsigned from = 0, to; from < n; from = to) {
		to = from + 1;
		while (to < n && hosts[to].preference == hosts[from].preference)
			to++;
		hosts_shuffle(w, hosts + from, to - from);
		/* RFC 5321 section 5.1: the preference of MX hosts is kept. */
		if (hop->kind == HOP_MX)
			sick_ones_last(r, hop->source, hosts + from, to - from);
	}
	if (hop->kind != HOP_MX)
		sick_ones_last(r, hop->source, hosts, n);
}
