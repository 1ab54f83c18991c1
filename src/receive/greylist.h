/* Greylisting (RFC 6647): who comes for the first time is asked to come again, which software that only sends spam
 * rarely does.
 *
 * What is remembered is the client's network (/24 or /64, because large senders try again from a neighbour), sender and
 * recipient. A triplet that comes again after `delay` and within `window` passes, and so it does for `keep` after it was
 * last seen. A network that has brought `passes` different triplets through is not asked any more at all; and of one that has
 * brought a valid DKIM signature, messages from that domain pass.
 *
 * It lies in a SQLite file, so that a restart forgets nothing, and every question runs on the worker pool. The networks
 * that are known are also remembered here for a while, so that they cost no question. Trouble with the file lets
 * mail pass and is logged: a greylist that can't write must not stop the mail. */
#pragma once

#include "base/net.h"
#include "world/world.h"

struct greylist_config {
	bool enabled;
	const char *path;
	usec_t delay, window, keep;
	unsigned passes;      /* 0: networks are never let through as such */
};

enum greylist_answer {
	GREYLIST_PASS,        /* came again */
	GREYLIST_KNOWN,       /* the network is known */
	GREYLIST_NEW,         /* never seen */
	GREYLIST_EARLY,       /* came again too early */
	GREYLIST_SIGNER,      /* the network has sent signed mail of this domain */
	GREYLIST_BROKEN,      /* the file could not be asked: let it pass */
};

struct greylist;
int greylist_new(struct world *w, const struct log *log, struct greylist **ret);
void greylist_free(struct greylist *g);
DEFINE_FREEP(struct greylist, greylist_free)

/* From a fiber. look_only: nothing is written (for explaining). *ret_wait: how long still, of GREYLIST_NEW and
 * GREYLIST_EARLY. 0 or -ENOMEM. */
int greylist_ask(struct greylist *g, const struct greylist_config *config, const struct ip *client, struct slice sender,
		 struct slice recipient, bool look_only, enum greylist_answer *ret, usec_t *ret_wait);
/* A message from there, whose sender is in this domain (lower case, A-labels), was taken and had a valid signature of it. From
 * a fiber. Trouble is logged. */
void greylist_note_signer(struct greylist *g, const struct greylist_config *config, const struct ip *client, const char *domain);
