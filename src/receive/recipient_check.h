/* Does the recipient exist? The answers of the verifier (queue/verifier.h), remembered: who exists for `positive`, who
 * doesn't for `negative`, and trouble for a moment, so that a server that is down is not asked for each recipient.
 *
 * The memory is bounded, belongs to all loops, and forgets at a restart. */
#pragma once

#include "queue/verifier.h"

enum recipient_scope { RECIPIENTS_UNCHECKED, RECIPIENTS_LOCAL, RECIPIENTS_ALL };
struct recipient_check_config {
	int scope;              /* enum recipient_scope: mailboxes and LMTP of our domains; or also fixed hosts and relays */
	const char *sender;     /* of the probe's MAIL; NULL: the null path */
	usec_t positive, negative, timeout;
	unsigned entries;       /* remembered; 0: 50,000 */
	bool defer;             /* while the verifier can't say; else the recipient is taken */
};

struct recipient_memory;
int recipient_memory_new(struct world *w, struct recipient_memory **ret);
void recipient_memory_free(struct recipient_memory *m);
DEFINE_FREEP(struct recipient_memory, recipient_memory_free)

/* From a fiber. verifier->verify NULL: VERIFY_UNKNOWN. *ret_remembered: nobody was asked now. 0, -ECANCELED, -ENOMEM. */
int recipient_verify(struct recipient_memory *m, const struct recipient_check_config *config, const struct verifier *verifier,
		     const struct hop *hop, const char *address, struct arena *a, struct verify_result *ret, bool *ret_remembered);
