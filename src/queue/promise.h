/* What few messages have asked for and must be remembered of them in memory: a time by which they are to be delivered
 * (RFC 2852). It stands beside the messages, so that the million that ask for nothing pay nothing.
 *
 * A message with MESSAGE_TIMED has one, from the commit (or the recovery) until it is gone, or its sender was told. */
#pragma once

#include "base/hash.h"
#include "queue/message.h"

struct promise {
	struct hash_node node;
	const struct message *message;
	usec_t by;   /* monotonic; 0: before the clock began */
	char mode;   /* 'R': then it is given up; 'N': then its sender is told */
};

struct home;
/* Sets MESSAGE_TIMED. -ENOMEM. */
int promise_make(struct home *h, struct message *m, usec_t by, char mode);
/* NULL: there is none. */
const struct promise *promise_of(const struct home *h, const struct message *m);
/* Nothing when there is none. */
void promise_forget(struct home *h, struct message *m);
