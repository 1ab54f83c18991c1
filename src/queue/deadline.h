/* Mail that is worth nothing later: a route says `deadline: 60s`, or its sender gave it a time (RFC 2852).
 *
 * Each rung of the ladder has an equal share of the time, whatever its `when` says; a rung that keeps, throws away or
 * rejects has none. When the share is over, or the next try would come after it, the recipient moves to the next rung at
 * once; and from the last one, when the time that the route gives is over or nothing can be tried before, back to its
 * sender, early enough to do something else. (What its sender gave a time to is returned when that is over: RFC 2852
 * section 4.1.3.)
 *
 * As long as it is urgent, it goes before all others in the line of its site. All times here are since the message
 * arrived. Pure functions. */
#pragma once

#include "base/time.h"
#include "route/hop.h"

#define DEADLINE_URGENT (15 * USEC_MIN)       /* with so little time left it goes first */
#define DEADLINE_PRIORITY 10                  /* above those of RFC 6710 */

/* The rung at which it should be by now. */
unsigned deadline_rung(const struct ladder *l, usec_t deadline, usec_t age);
/* When the share of a rung is over. */
usec_t deadline_share(const struct ladder *l, usec_t deadline, unsigned rung);
/* The rung behind this one. -ENOENT: it is the last. */
int deadline_next(const struct ladder *l, unsigned rung, unsigned *ret);
