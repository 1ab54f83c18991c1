#include "queue/shaping.h"

#include <errno.h>

#define RATE_MOST 1000000u
#define RATE_LONGEST (31 * USEC_DAY)

int rate_parse(struct slice text, struct rate *ret)
{
	struct slice per, count = slice_cut(text, '/', &per);
	char one[4] = "1";
	uint64_t n;
	usec_t time;

	if (!per.data || slice_to_u64(count, &n) < 0)
		return -EINVAL;
	if (per.len == 1 && ascii_is_alpha(per.data[0])) { /* "10/s" */
		one[1] = per.data[0];
		per = slice_new(one, 2);
	}
	if (duration_parse(per, &time) < 0)
		return -EINVAL;
	if (n == 0 || n > RATE_MOST || time == 0 || time > RATE_LONGEST)
		return -ERANGE;
	*ret = (struct rate) { (unsigned) n, time };
	return 0;
}

void shaping_limits_fill(struct shaping_limits *l, const struct shaping_limits *more)
{
	if (l->connections == 0)
		l->connections = more->connections;
	if (l->all_connections == 0)
		l->all_connections = more->all_connections;
	if (l->messages_per_connection == 0)
		l->messages_per_connection = more->messages_per_connection;
	if (l->recipients_per_transaction == 0)
		l->recipients_per_transaction = more->recipients_per_transaction;
	if (l->rate.count == 0)
		l->rate = more->rate;
	if (l->all_rate.count == 0)
		l->all_rate = more->all_rate;
}

bool shaping_limits_any(const struct shaping_limits *l)
{
	return l->connections || l->all_connections || l->messages_per_connection || l->recipients_per_transaction ||
	       l->rate.count || l->all_rate.count;
}

static bool rule_fits(const struct shaping_rule *rule, const char *site, const char *const *hosts, unsigned n_hosts)
{
	for (unsigned i = 0; i < rule->n_hosts; i++) {
		struct slice pattern = slice_from(rule->hosts[i]);

		if (wildcard_match(pattern, slice_from(site)))
			return true;
		for (unsigned h = 0; h < n_hosts; h++)
			if (hosts[h] && wildcard_match(pattern, slice_from(hosts[h])))
				return true;
	}
	return false;
}

const struct shaping_rule *shaping_rule_of(const struct shaping_config *c, const char *site, const char *const *hosts,
					   unsigned n_hosts)
{
	for (unsigned i = 0; i < c->n_sites; i++)
		if (rule_fits(&c->sites[i], site, hosts, n_hosts))
			return &c->sites[i];
	return NULL;
}
