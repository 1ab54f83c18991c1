/* Domain names that many messages have in common: each stands in memory once for a home.
 *
 * In lower case. A name goes with the last one that has it. */
#pragma once

#include "base/hash.h"

struct name {
	struct hash_node node;
	struct hash *table;
	uint32_t references;
	uint16_t len;
	char text[]; /* terminated */
};

/* The domain of an address, for everybody who asks with this table. NULL: there is no memory, or it isn't clear
 * from the outside what the domain is (no @, or several): nothing is to be concluded from that. */
struct name *name_of(struct hash *table, const struct hash_key *key, const char *address);
void name_unref(struct name *n); /* NULL is fine */

/* Can an address with this domain match the pattern (base/wildcard.h)? domain may be NULL: yes, perhaps. */
bool name_may_match(const struct name *domain, const char *pattern);
