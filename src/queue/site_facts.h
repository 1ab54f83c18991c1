/* What the queue knows about one site, for whoever explains a route. */
#pragma once

#include "queue/queue.h"

struct site_facts {
	bool known;             /* mail has gone there lately; else the rest is 0 */
	bool held;              /* an administrator holds its mail, or that of this domain; also when it isn't known */
	const char *state;      /* "open", "backing off"... */
	const char *last_error; /* or NULL */
	unsigned escapes;       /* WHEN_...: a message that has a later rung for one of these moves there at once */
	unsigned failures;      /* of the site as a whole, in a row */
	bool backs_off;         /* nothing goes there, but for one probe at a time */
	wall_t next;            /* when it is probed again; 0: it isn't, or is being so now */
	unsigned cool;          /* WHEN_...: troubles of our path that it has had, and has not been tested since */
	wall_t cool_until;      /* with cool: then one message tests it, the canary */
	unsigned cool_times;    /* how many canaries in a row died, and one more */
	bool canary;            /* it is out */
	unsigned window, window_most, connections, waiting;
	const char *provider;   /* whose limits hold (configuration), or NULL */
	struct rate rate;       /* its limit; count 0: none */
	usec_t interval;        /* learned: between two messages; 0: none */
	usec_t usual;           /* time to a final reply; 0: not known */
};
/* key: of the site, as route_target gives it. From a fiber; texts in the arena. 0 or -ENOMEM. */
int queue_site_facts(struct queue *q, const char *key, struct slice domain, struct arena *a, struct site_facts *ret);
