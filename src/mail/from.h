/* Whom a From field names (RFC 5322 section 3.4): the domains of its addresses, for DMARC. Pure. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

#define FROM_DOMAINS_MAX 16u

/* The domains in a field's value, folds and all: as A-labels in lower case, each once, in the order of the field; in
 * the arena. Groups, comments, quoted strings and source routes are understood. -EINVAL: it is not a list of
 * addresses, or one has no domain; -E2BIG: more than FROM_DOMAINS_MAX domains; -ENOMEM. */
int from_domains(struct arena *a, struct slice value, const char *const **ret, unsigned *ret_n);
/* The first address of such a value, "local@domain" with the domain as A-labels in lower case, in the arena. -ENOMEM;
 * -EINVAL also when there is none. How many others there are is of no interest. */
int from_first(struct arena *a, struct slice value, const char **ret);
