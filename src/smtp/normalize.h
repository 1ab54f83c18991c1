/* Line ends for clients that are known to send strange ones and may: every LF without a CR before it, and every CR without a
 * LF behind it, becomes CR LF. So two CRs and a LF are two line ends: nothing is collapsed, and no line end is lost.
 *
 * This is about content only, when its real end (CR LF "." CR LF, RFC 5321 section 4.1.1.4) has been found by the strict rule:
 * where a message ends is never a matter of taste. */
#pragma once

#include "base/slice.h"

struct normalizer {
	bool after_cr;    /* the last octet was a CR, which is held back */
	uint64_t changed; /* line ends */
};
/* Takes from the front of *in. True with the next run of output in *ret (a view of the input or of static text), false when
 * the input is used up. A CR at the end of it is held back until the next call or normalizer_finish. */
bool normalizer_next(struct normalizer *n, struct slice *in, struct slice *ret);
struct slice normalizer_finish(struct normalizer *n); /* the last run, may be empty; static text */
