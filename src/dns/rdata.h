/* What a record says: from the bytes of its RDATA to a struct dns_record, and whole answers packed into one
 * block of memory, so that a cache can hold them and an arena receive them. */
#pragma once

#include "dns/name.h"
#include "dns/resolver.h"

#define DNS_RECORDS_MAX 256u /* of one answer; no one needs more, and a hostile server must not cost more */

/* Text and bytes of *ret lie in the arena. rdata is uncompressed. -EBADMSG when it isn't what the type has;
 * -ENOMEM. */
int dns_record_parse(enum dns_type type, struct slice rdata, struct arena *a, struct dns_record *ret);

/* The bytes that a packed copy of an answer's records, names and texts takes. */
size_t dns_answer_packed_size(const struct dns_answer *answer);
/* Copies all that the answer points to into block (aligned for any type) and makes *ret point there. */
void dns_answer_pack(const struct dns_answer *answer, void *block, struct dns_answer *ret);
/* A copy in the arena. -ENOMEM. */
int dns_answer_copy(const struct dns_answer *answer, struct arena *a, struct dns_answer *ret);

const char *dns_type_name(enum dns_type type, char buffer[static 16]); /* "MX", "TYPE65280" */
const char *dns_status_name(enum dns_status status); /* "NXDOMAIN" */
