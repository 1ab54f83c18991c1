/* Who wants a report: what the domain says, and whether those whom it names agree. */
#pragma once

#include "dns/resolver.h"
#include "report/uri.h"

struct destinations {
	unsigned n;
	struct report_uri uri[REPORT_URIS_MAX];
};

/* rua= or ruf= of the DMARC record of a policy domain. Destinations outside of its organization are asked for their consent
 * (RFC 9990 section 3); tag: "rua" or "ruf", which such a consent may replace. From a fiber. Everything lies in the arena.
 * 0, also for none; -EAGAIN: the DNS can't say now; -ECANCELED, -ENOMEM. */
int destinations_of_dmarc(struct resolver *r, const char *policy_domain, struct slice list, const char *tag, usec_t deadline,
			  struct arena *a, struct destinations *ret);
/* Those of the record _smtp._tls (RFC 8460 section 3). The same results. */
int destinations_of_tls(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct destinations *ret);
