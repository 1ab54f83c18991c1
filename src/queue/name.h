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

/* The local parts of a message's recipients leave marks: four of 32 bits for each, chosen by its hash. A pattern whose
 * local part has no wildcard, like bob@*, rules out whom its marks are missing. For one recipient one of some 30,000
 * others looks the same; the more recipients, the less the marks say. */
uint32_t local_marks(const struct hash_key *key, const char *address);
/* Can one of them match the pattern? */
bool locals_may_match(const struct hash_key *key, uint32_t marks, const char *pattern);
