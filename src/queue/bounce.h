/* Notifications to senders: which recipients of a message are told about, and as what. The text is made by
 * mail/dsn.h; sending it is submitting a new message from the null reverse-path. */
#pragma once

#include "mail/dsn.h"
#include "queue/recipient.h"

/* What a recipient's state says in a notification, and what it says it about. r owes one. Strings lie in the
 * arena, or belong to r and e. expire: after which we give up. 0 or -ENOMEM. */
int bounce_recipient(const struct recipient *r, const struct envelope *e, unsigned index, usec_t expire, struct arena *a,
		     struct dsn_recipient *ret);
