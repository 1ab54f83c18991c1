/* What few messages have asked for, or a route for them, and must be remembered of them in memory: a time by which they
 * are to be delivered (RFC 2852, deadline.h). It stands beside the messages, so that the million that ask for nothing pay nothing.
 *
 * A message with MESSAGE_TIMED has one, from the commit (or the recovery) until it is gone, or its sender was told. */
#pragma once

#include "base/hash.h"
#include "queue/message.h"

struct promise {
	struct hash_node node;
	const struct message *message;
	usec_t by;   /* monotonic; 0: before the clock began; DEADLINE_NEVER: only a route has a deadline */
	usec_t look; /* when the share of some recipient's rung is over (deadline.h); DEADLINE_NEVER: none has one */
	char mode;   /* 'R': then it is given up; 'N': then its sender is told; 0: by a route */
};

struct home;
/* Sets MESSAGE_TIMED. -ENOMEM. */
int promise_make(struct home *h, struct message *m, usec_t by, char mode);
/* Something is to be looked at by then, because a route has a deadline. -ENOMEM. */
int promise_look(struct home *h, struct message *m, usec_t at);
/* NULL: there is none. */
struct promise *promise_of(const struct home *h, const struct message *m);
/* Nothing when there is none. */
void promise_forget(struct home *h, struct message *m);
