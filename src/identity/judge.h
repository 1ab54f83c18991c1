/* Everything about one message: SPF, DKIM, ARC and DMARC, as the server and `yizhan verify` both want it.
 *
 * What doesn't depend on each other is asked for at the same time, each in a fiber. DMARC is judged last, when SPF and
 * DKIM are known; its policy is asked for with them. */
#pragma once

#include "identity/arc.h"
#include "identity/dmarc.h"
#include "identity/spf.h"

struct judge_config {
	struct spf_limits spf;
	struct dkim_limits dkim;
	unsigned arc_sets; /* longer chains fail unseen; 0: 50 */
	usec_t time;       /* for all of it; 0: 60 s */
};

struct judge_input {
	const struct ip *client; /* NULL: not known, then SPF is none */
	const char *helo, *mail_from, *receiver;
	wall_t now;
	const struct spf_result *spf; /* known already; NULL: it is asked for here */
};

struct judge_result {
	struct spf_result spf;
	unsigned n_dkim;
	struct dkim_result *dkim; /* in the order of the fields */
	struct arc_result arc;
	struct dmarc_result dmarc;
};

/* When the header section of a message was read and the body still comes: asks for the keys of its signatures and the policy
 * of its From, each in a fiber of the group, so that the answers lie in the cache when they are needed. What is there
 * already is not asked for. The message and the arena must stay until the group has ended. Trouble shows later. */
void judge_ahead(struct resolver *r, const struct content *message, usec_t deadline, struct arena *a, struct fiber_group *group);

/* From a fiber. message: fed to its end; NULL: only SPF is judged. Everything in *ret lies in the arena. config may be
 * NULL. 0, -ECANCELED, -ENOMEM. */
int judge_message(struct resolver *r, const struct content *message, const struct judge_input *in,
		   const struct judge_config *config, usec_t deadline, struct arena *a, struct judge_result *ret);
