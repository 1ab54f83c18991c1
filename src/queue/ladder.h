/* Which rung next? The rules by which a recipient moves along its ladder, as pure functions.
 *
 * Every round of attempts begins at the first rung (or at a later one whose delay has passed), and goes up
 * only: when a rung fails for a reason that a later one names in its `when`, the recipient moves there at once.
 * A fault of our path (no connection, our address blocked, no TLS) may move it even when the reply was
 * final; a fault of the recipient or of the content never does. */
#pragma once

#include "queue/outcome.h"
#include "route/hop.h"

/* The condition that a class of failure fulfils (WHEN_UNREACHABLE...), 0 when it is nobody's path. */
unsigned ladder_condition(enum reply_class class);
/* Where a round begins for a recipient that has been here for so long. */
unsigned ladder_start(const struct ladder *l, usec_t waited);
/* The rung to move to from `rung` after a failure of this class; permanent: the reply was final. -ENOENT: none. */
int ladder_next(const struct ladder *l, unsigned rung, enum reply_class class, bool permanent, unsigned *ret);
/* All conditions under which a recipient at `rung` would leave it at once (WHEN_ANY spelled out), for the
 * site that it waits for. */
unsigned ladder_escapes(const struct ladder *l, unsigned rung);
/* The next rung that opens by delay alone, as a time since arrival; 0: none. */
usec_t ladder_delay(const struct ladder *l, unsigned rung);
