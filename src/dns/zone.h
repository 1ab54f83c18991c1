/* A master file (RFC 1035 section 5) as all the DNS there is: for tests, the sandbox and `yizhan verify`.
 *
 * zone_parse reads the text once into names and records; zone_resolver_new puts the resolver's interface in
 * front of it. Then nothing changes any more, so that all threads may ask. It works in any world.
 *
 * The file may hold records of many domains and needs no SOA. Beyond the standard, the comment lines
 *	; TIMEOUT name
 *	; SERVFAIL name
 * make that name fail so, for the types of which the file has no record at that name, and
 *	; SECURE name
 * makes that name and all below it count as validated by DNSSEC. A name that is neither
 * in the file nor above one that is does not exist; wildcards hold as in RFC 4592. */
#pragma once

#include "dns/name.h"
#include "dns/resolver.h"

struct zone;

/* file: for messages. On failure *ret_why has a line for each mistake, "file:line: text" (on the heap), at most
 * 20 of them. -EBADMSG, -ENOMEM. */
int zone_parse(struct slice text, const char *file, struct zone **ret, char **ret_why);
void zone_free(struct zone *z);
DEFINE_FREEP(struct zone, zone_free)

/* What the zone says, without following a CNAME: DNS_OK with the records of the type, or with the one CNAME
 * record of the name (*ret_cname). Pointers in *ret lie in the arena. 0 or -ENOMEM. */
int zone_find(const struct zone *z, const struct dns_name *name, enum dns_type type, struct arena *a,
	      struct dns_answer *ret, bool *ret_cname);

/* Takes the zone over, also on failure. cache_entries: 0 for the default. */
int zone_resolver_new(struct world *w, struct zone *zone, unsigned cache_entries, struct resolver **ret);

/* For tests: asked before each question that reaches the zone, with a name as dns_name_format writes it. Sets
 * *status to make it fail (it comes as DNS_OK: answer as usual) and *delay to let it take time. May be called
 * from several threads. The resolver must be one of zone_resolver_new. */
typedef void (*zone_hook)(void *context, const char *name, enum dns_type type, enum dns_status *status, usec_t *delay);
void zone_resolver_set_hook(struct resolver *r, zone_hook hook, void *context);
/* For tests: from now on the answers that the cache doesn't have come from this zone, which is taken over. Only while
 * nobody else asks. */
void zone_resolver_set_zone(struct resolver *r, struct zone *zone);
/* For tests: answers count as validated by DNSSEC. */
void zone_resolver_set_secure(struct resolver *r, bool secure);
