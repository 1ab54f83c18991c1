/* The answers of the last minutes, so that the second question about a name costs a look-up in memory.
 *
 * An answer enters after the resolver gave it and stays for its time to live, but at most a day (nothing
 * negative for more than 15 minutes: RFC 2308 section 5; trouble for seconds: RFC 2308 section 7), or until
 * it is the one that nobody has asked for the longest and room is needed. All loops share one cache; its
 * mutex is held over straight code only, never over a wait. */
#pragma once

#include "dns/resolver.h"

struct dns_cache;

/* max_entries: 0 for 50,000. */
int dns_cache_new(struct world *w, unsigned max_entries, struct dns_cache **ret);
void dns_cache_free(struct dns_cache *c);
DEFINE_FREEP(struct dns_cache, dns_cache_free)

/* name: as dns_name_format writes it. 1 with a copy in the arena, whose ttl is what is left of it; 0; -ENOMEM. */
int dns_cache_get(struct dns_cache *c, const char *name, enum dns_type type, struct arena *a, struct dns_answer *ret);
/* Keeps a copy, in place of an older one; when memory is out, it doesn't. */
void dns_cache_put(struct dns_cache *c, const char *name, enum dns_type type, const struct dns_answer *answer);
void dns_cache_clear(struct dns_cache *c);

struct dns_cache_stats {
	uint64_t hits, misses;
	unsigned entries;
};
struct dns_cache_stats dns_cache_stats(struct dns_cache *c);

/* For how many seconds an answer may be kept; 0: not at all. */
uint32_t dns_cache_lifetime(const struct dns_answer *answer);
