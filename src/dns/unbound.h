/* The resolver that asks the real DNS: libunbound, which validates DNSSEC by itself.
 *
 * Its work runs in a thread of the library. A fiber asks, parks, and is woken on its own loop when the answer
 * has come; results enter through a small loop named "dns", which does nothing but take them from the library
 * and post them to the loops that wait. */
#pragma once

#include "dns/resolver.h"

/* The members of config but zone; on failure *ret_why (on the heap) says what to mend. -EINVAL, -ENOENT,
 * -ENOMEM, -ENOSYS in a simulation. log may be NULL. */
int unbound_resolver_new(struct world *w, const struct log *log, const struct dns_config *config,
			 struct resolver **ret, char **ret_why);
