/* Which hosts did not work lately: whoever has a choice between several asks these last for a while.
 *
 * A host is a name (or address) with a port, asked from a pool of our addresses or from anywhere. It becomes sick
 * when no connection to it could be made, or it didn't come as far as to hear of a message; for a minute first, for
 * twice as long with each time it is still so, up to a quarter of an hour. The first connection that works makes it
 * well. Sick does not mean forbidden: when all others fail, or are sick, too, it is asked. What the site as a whole does
 * about such trouble is another matter (queue/site.h). From any thread. */
#pragma once

#include "route/route.h"

#define HEALTH_HOSTS_MAX 4096u /* sick at the same time; beyond that the one that has been so for longest is forgotten */

struct host_health {
	usec_t sick_until;  /* 0: it is well, as far as is known */
	unsigned failures;  /* in a row */
	char why[160];      /* what was seen last, for people */
};

/* source: NULL for anywhere. */
void route_health_failed(struct router *r, const struct target_host *host, const struct source_pool *source, const char *why);
void route_health_worked(struct router *r, const struct target_host *host, const struct source_pool *source);
/* Is it sick now? *ret (may be NULL) is filled in any case. */
bool route_health_get(struct router *r, const struct target_host *host, const struct source_pool *source, struct host_health *ret);
