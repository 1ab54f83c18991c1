/* Where a domain wants its reports: the lists of URIs in rua= and ruf= of DMARC (RFC 9989 section 4.7) and of TLSRPT
 * (RFC 8460 section 3). Pure: the text comes from strangers. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"

#define REPORT_URIS_MAX 10u /* of one list; further ones are not looked at */

enum report_scheme { REPORT_MAILTO = 1, REPORT_HTTPS = 2 };

struct report_uri {
	enum report_scheme scheme;
	const char *text;    /* the URI as it was written, without its size */
	const char *address; /* of mailto: local@domain, decoded (RFC 6068 section 2); else NULL */
	const char *host;    /* behind the @, or the authority's: as A-labels in lower case */
	uint16_t port;       /* of https */
	uint64_t size;       /* octets of the largest report that is wanted ("!10m", RFC 9989 section 4.8); 0: any */
};

/* schemes: a sum of enum report_scheme. What is malformed, of another scheme, or meant for more than one mailbox is passed
 * over (RFC 9990 section 2.5). Everything lies in the arena. 0 with *ret_n of them, also none; -ENOMEM. */
int report_uris_parse(struct arena *a, struct slice list, unsigned schemes, struct report_uri ret[static REPORT_URIS_MAX],
		      unsigned *ret_n);
