/* Content that the next server can't take as it is: encoded for it (mail/downgrade.h), where that is allowed.
 *
 * The message is looked at before MAIL, so that one that can't go comes back with the reason; what is kept in the spool
 * stays as it is, for the next server may be able to take it. */
#pragma once

#include "deliver/deliver.h"
#include "deliver/services.h"
#include "mail/downgrade.h"

/* Does the envelope's content type ask for something that the server lacks? */
bool convert_is_needed(const struct envelope *e, const struct next_server *to);
/* 0 with *ret, in the arena and to be ended with downgrade_done; 1: it isn't to be, and *ret_why says why not; -errno of
 * the spool; -ENOMEM. */
int convert_plan(struct spool_reader *reader, const struct envelope *e, const struct next_server *to, enum convert_policy policy,
		 struct arena *a, struct downgrade **ret, struct refusal *ret_why);
