/* The MTA-STS policies of the domains that we send to (RFC 8461): found, kept, renewed.
 *
 * A policy's life: the first message to a domain asks for its record; where there is one, the policy is fetched by HTTPS
 * while the addresses are looked up, and from then on it is kept, in memory and in a SQLite file, for its max_age. As long
 * as it lives it counts, whether the record can be seen or not: who could hide the record could also have forged the
 * MX. In the background policies of domains that we write to are looked at once a day: another id in the record means that
 * it is fetched anew, and so does half of its life being over. What fails then is logged and told with the next session's
 * TLS report; the old policy goes on. A fetch that failed is not tried again for five minutes (section 3.3).
 *
 * All fetches are made by fibers of one loop, at most a few at a time, on the worker pool; sessions of all loops wait for
 * them. Nothing here ever fails a delivery. */
#pragma once

#include "base/buffer.h"
#include "dns/resolver.h"
#include "route/mta_sts.h"

struct sts_config {
	bool off;
	uint16_t port;        /* of policy hosts; 0: 443 (tests use another) */
	const char *ca_file;  /* NULL: the system's */
	const char *path;     /* of the SQLite file; NULL: only in memory */
	usec_t timeout;       /* for one fetch; 0: 1 min */
	usec_t refresh;       /* how often the record of a domain is looked at; 0: 1 day */
	usec_t look;          /* how often it is looked which policies are due; 0: 1 min */
	unsigned entries;     /* domains that are kept; 0: 20,000 */
};

/* What came of a fetch; RFC 8460 section 4.3.2.2 has a result type for each. */
enum sts_trouble { STS_FETCHED, STS_UNREACHABLE, STS_BAD_CERTIFICATE, STS_INVALID };

/* One fetch, as the service asks for it and as a test may answer it. */
struct sts_fetch {
	const char *domain;
	const struct sts_config *config;
	const struct ip *ips;  /* of mta-sts.<domain> */
	unsigned n_ips;
	struct buffer body;    /* out */
	char why[256];         /* out, unless STS_FETCHED */
};
/* On a worker. */
typedef enum sts_trouble (*sts_fetcher)(struct sts_fetch *f);
enum sts_trouble sts_fetch_https(struct sts_fetch *f); /* sts_fetch.c: libcurl */
void sts_fetch_begin(void); /* libcurl is needed, and no longer */
void sts_fetch_end(void);

struct sts;
/* The file is read, so call it where blocking does no harm. A file that can't be read or written is said in the log, and
 * policies are kept in memory alone. config outlives it. fetcher NULL: sts_fetch_https. */
int sts_new(struct world *w, const struct log *log, struct resolver *resolver, const struct sts_config *config, sts_fetcher fetcher,
	    struct sts **ret);
/* Fetches and renewals happen on this loop from now on, until it is stopped. Without a start whoever asks fetches, and nothing
 * is renewed: for commands. */
int sts_start(struct sts *s, struct loop *loop);
/* When all loops that ask have stopped. */
void sts_free(struct sts *s);
DEFINE_FREEP(struct sts, sts_free)

struct sts_answer {
	bool found;                /* there is a policy, and it counts */
	struct sts_policy policy;  /* mode STS_NONE without one */
	const char *id;
	const char *text;          /* of the policy, for reports */
	enum sts_trouble trouble;  /* of the last fetch, if that failed: also beside an older policy that counts */
	const char *why;           /* for people, with trouble */
};
/* domain: A-labels, lower case. From a fiber of any loop; all in *ret lies in the arena. Waits for the DNS and for a first
 * fetch, until the deadline at most; what doesn't come until then is as if it weren't there. 0, -ECANCELED, -ENOMEM. */
int sts_find(struct sts *s, const char *domain, usec_t deadline, struct arena *a, struct sts_answer *ret);
/* The same without a wait: 1 with *ret; 0: it would have to wait; -ENOMEM. */
int sts_find_cached(struct sts *s, const char *domain, struct arena *a, struct sts_answer *ret);
