/* What follows from a reply: the words for it, from the rules by which the queue goes (queue/ladder.h, queue/retry.h,
 * queue/site.h). For people who ask; the queue itself looks at the class alone. */
#pragma once

#include "queue/classify.h"
#include "queue/retry.h"

struct consequence {
	bool permanent;     /* the recipient is given up, unless a rung takes it */
	unsigned condition; /* the WHEN_... by which a later rung takes it at once; 0: no rung does */
	const char *when;   /* its name; NULL for none */
	usec_t retry;       /* the first wait, jitter left out; 0 when permanent */
	usec_t expire;      /* tries end so long after arrival */
	const char *site;   /* what the reply does to other mail for the same site; static text */
};
/* reply: as it came, of 4xx or 5xx. Always fills *ret. */
void consequence_of(const struct classification *c, const struct reply *reply, const struct retry_schedule *schedule,
		    struct consequence *ret);
