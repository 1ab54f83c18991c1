/* What a domain and one of its hosts publish about protection, and what comes of it, as JSON for `yizhan route`. */
#pragma once

#include "admin/making.h"
#include "route/policy.h"

/* Into the object of a host: "wanted", "refused" (why), "dane" (a status), "dane_why", "tlsa" (a list), and "mta_sts" with
 * "mode", "id", "hosts", "trouble", where the domain has a policy or should have one. domain: of the recipient. From a
 * fiber; waits for the DNS. 0, -ECANCELED, -ENOMEM. */
int host_policy_add(struct router *r, const struct hop *hop, struct slice domain, const struct target_host *host, usec_t deadline,
		    struct arena *a, struct making *o);
