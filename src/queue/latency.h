/* How long a receiver takes for its final reply, and whether that has become much longer than usual.
 *
 * A receiver that gets more than it can work off answers later and later, long before it says so. The usual time follows
 * slowly what is seen (more slowly when that is longer), the recent one quickly. When the recent is more than three
 * times the usual one, and half a second more, the receiver is slow. Who stays slow for a hundred messages or two is usual at
 * last. Pure numbers; the owner of the site calls. */
#pragma once

#include "base/time.h"

struct latency {
	uint32_t usual, recent; /* in 1/16 ms */
	uint16_t n;             /* messages seen, up to LATENCY_KNOWN */
};

#define LATENCY_KNOWN 16u                /* before so many nothing is usual */
#define LATENCY_MORE (500 * USEC_MS)
#define LATENCY_LARGEST (256u << 10)     /* octets: the time of larger messages is that of the network */

void latency_note(struct latency *l, usec_t time);
bool latency_is_slow(const struct latency *l);
static inline usec_t latency_usual(const struct latency *l) { return l->usual * USEC_MS / 16; }
/* Knows already what is usual. */
void latency_recall(struct latency *l, usec_t usual);
