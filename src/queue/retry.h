/* When a recipient is tried again, when its sender is warned, and when we give up (RFC 5321 section 4.5.4.1).
 *
 * Pure arithmetic on durations: no clock, and the randomness is handed in. */
#pragma once

#include "base/time.h"
#include "queue/outcome.h"

struct retry_schedule {
	const usec_t *delays; /* after the first attempt, the second...; the last one repeats. NULL: the default */
	unsigned n_delays;
	usec_t expire;        /* 0: 5 days */
	usec_t warn;          /* 0: 4 hours; DEADLINE_NEVER: never */
	const usec_t *greylisted; /* the same for those that are greylisted; then `delays` again. NULL: the default */
	unsigned n_greylisted;
};

usec_t retry_expire(const struct retry_schedule *s);
usec_t retry_warn(const struct retry_schedule *s);
/* How long to wait after so many attempts (at least 1) of which the last was answered like this. Greylisting
 * lifts after minutes, so it has a schedule of its own: by default never later than the usual one. random: any 64
 * bits; the result is up to a tenth longer than the schedule says, so that what failed together does not come back
 * together. */
usec_t retry_delay(const struct retry_schedule *s, unsigned attempts, enum reply_class class, uint64_t random);
/* What a greylisting server says of the time: "try again in 300 seconds", "in 5 minutes", "00:04:59". Whatever it says,
 * the result is between RETRY_HINT_LEAST and RETRY_HINT_MOST. False: nothing. */
#define RETRY_HINT_LEAST (30 * USEC_SEC)
#define RETRY_HINT_MOST USEC_HOUR
bool retry_hint(struct slice text, usec_t *ret);
/* The wait that a hint asks for, a little longer: clocks differ. */
usec_t retry_hinted(usec_t hint, uint64_t random);
/* The longest wait of the schedule. */
usec_t retry_longest(const struct retry_schedule *s);
/* How long a site as a whole is left alone after so many failures in a row (at least 1): 30 s, doubling up to
 * cap, and up to half of that longer, so that sites that went down together are not probed together. */
usec_t retry_backoff(unsigned failures, usec_t cap, uint64_t random);
