/* What does the world see of a domain, and of this host? Each check asks the DNS (and for one of them a web server) as a
 * stranger would, compares with what the configuration means to be true, and finds green, yellow or red; where a record is
 * missing or wrong, it says which one to publish.
 *
 *	doctor.c             the table of checks; all of them at the same time, each in a fiber of its own
 *	check_*.c            one or two checks each
 *	check.h              what they share
 *
 * Nothing here changes anything, and a check that can't be done says so: trouble with the DNS is never "missing". */
#pragma once

#include "dns/resolver.h"
#include "identity/signing.h"
#include "receive/dnslist.h"
#include "route/sts.h"
#include "tls/tls.h"

enum doctor_state {
	DOCTOR_GREEN,
	DOCTOR_SKIPPED, /* there is nothing to look at: why */
	DOCTOR_YELLOW,  /* works, but not as well as it could */
	DOCTOR_UNKNOWN, /* it could not be found out: why */
	DOCTOR_RED,     /* mail suffers from it */
};
const char *doctor_state_name(enum doctor_state s); /* "green" */

/* One of the addresses from which our mail leaves. */
struct doctor_address {
	struct ip ip;
	const char *ehlo; /* the name that is said there; NULL: not known */
};

struct doctor_input {
	const char *domain;   /* A-labels, lower case */
	const char *hostname; /* NULL: there is no configuration, and all that depends on it is skipped */
	const char *const *own_names; /* further names of this host */
	unsigned n_own_names;
	const struct ip *own_addresses; /* where it takes mail from other servers */
	unsigned n_own_addresses;
	bool local;           /* mail for the domain ends here */
	const struct doctor_address *addresses; /* that the world can see, each once */
	unsigned n_addresses;
	const struct signing_config *signing;   /* NULL: nothing is signed */
	const struct tls_server_config *tls;    /* NULL: there are no certificates */
	const struct list_config *lists;
	unsigned n_lists;
	const struct sts_config *sts;           /* port and CAs of policy hosts; NULL: as everywhere */
	sts_fetcher fetcher;                    /* NULL: sts_fetch_https */
	usec_t timeout;                         /* for all of it; 0: 20 s */
};

struct doctor_finding {
	const char *check;   /* the name of the check: "mx" */
	const char *subject; /* "example.org", "192.0.2.1" */
	enum doctor_state state;
	const char *found;   /* a sentence without its full stop; may hold bytes from the network */
	const char *advice;  /* what to do, a sentence; NULL with green and skipped */
	const char *publish; /* records in master-file form, each with a newline; NULL: none would help */
};
struct doctor_report {
	enum doctor_state worst; /* never DOCTOR_SKIPPED */
	unsigned n;
	const struct doctor_finding *findings; /* in the order of the table of checks */
};
/* From a fiber of a real world: files and CAs are read. All in *ret lies in the arena. Takes until the timeout at most. 0, -ECANCELED, -ENOMEM. */
int doctor_examine(struct world *w, struct resolver *r, const struct doctor_input *in, struct arena *a, struct doctor_report *ret);
