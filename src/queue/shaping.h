/* How much a receiver is given: limits that hold whatever else is learned (pace.h, window.h), as configuration.
 *
 * There are two levels. A site is one set of receiving hosts; a provider is one operator with many sites, known by the end
 * of its hosts' names. A limit of 0 is not set. What a rule for the site says goes before what its provider says, and
 * that before the keys of `queue`; the sums over all sites of a provider hold beside those of each site. */
#pragma once

#include "base/time.h"
#include "base/wildcard.h"

struct rate {
	unsigned count; /* messages; 0: no limit */
	usec_t per;     /* in this time */
};

struct shaping_limits {
	unsigned connections;      /* of one site */
	unsigned all_connections;  /* of all sites of the provider together */
	unsigned messages_per_connection;
	unsigned recipients_per_transaction;
	struct rate rate;          /* of one site */
	struct rate all_rate;      /* of all sites of the provider together */
};

struct shaping_rule {
	const char *name;          /* of the provider; NULL: a rule for sites */
	const char *const *hosts;  /* of a provider: endings of names, NULL: as shipped; of sites: patterns */
	unsigned n_hosts;
	struct shaping_limits limits;
};

struct shaping_config {
	const struct shaping_rule *providers, *sites;
	unsigned n_providers, n_sites;
};

/* "100/1h", "10/s". -EINVAL; -ERANGE: more than a million, or in more than 31 days. */
int rate_parse(struct slice text, struct rate *ret);
/* Takes from `more` what is not set in l. */
void shaping_limits_fill(struct shaping_limits *l, const struct shaping_limits *more);
bool shaping_limits_any(const struct shaping_limits *l);
/* The first rule for a site that has this key, or one of these hosts; NULL: none. */
const struct shaping_rule *shaping_rule_of(const struct shaping_config *c, const char *site, const char *const *hosts,
					   unsigned n_hosts);
