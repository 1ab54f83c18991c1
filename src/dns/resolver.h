/* The resolver: questions to the DNS, answered to the fiber that asked.
 *
 * Two stand behind the one interface: dns/unbound.h asks real servers through libunbound and validates
 * DNSSEC; dns/zone.h answers from a master file (tests, the sandbox, `yizhan verify --zone`). In front of
 * either is a cache per resolver, so that the second question about a domain costs a look-up in memory.
 *
 * Temporary trouble (SERVFAIL, time-out, bogus signatures) is never "no such name": it is an error of its
 * own, and who asks must not decide anything on it. */
#pragma once

#include "base/arena.h"
#include "base/net.h"
#include "world/fiber.h"

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_TLSA = 52 };

enum dns_status {
	DNS_OK,        /* at least one record */
	DNS_NODATA,    /* the name exists, without this type */
	DNS_NXDOMAIN,  /* the name does not exist */
	DNS_SERVFAIL,  /* the servers failed, or could not be reached */
	DNS_TIMEOUT,
	DNS_BOGUS,     /* DNSSEC signatures that don't hold */
};
#define DNS_STATUS_TEMPORARY(s) ((s) >= DNS_SERVFAIL)

struct dns_record {
	uint16_t preference;     /* MX preference, SRV priority */
	uint16_t weight, port;   /* SRV */
	struct ip ip;            /* A, AAAA */
	const char *name;        /* MX, PTR, CNAME, SRV, NS: lower case, without the final dot; "" is the root (null MX) */
	struct slice data;       /* TXT: the strings joined; TLSA and others: rdata */
};

struct dns_answer {
	enum dns_status status;
	bool secure;             /* validated by DNSSEC (also for a proof that there is nothing) */
	uint32_t ttl;            /* seconds; of a negative answer, too */
	const char *canonical;   /* the name at the end of the CNAME chain, lower case, no final dot */
	unsigned n_records;
	struct dns_record *records;
	const char *why;         /* for people, of an answer that isn't OK: "SERVFAIL from the servers of example.org" */
};

struct resolver;
struct resolver_ops {
	/* From a fiber; everything in *ret lies in the arena. 0 with a status, or -ECANCELED/-ENOMEM. The deadline
	 * having passed is status DNS_TIMEOUT. name: ASCII, with or without a final dot. */
	int (*query)(struct resolver *r, const char *name, enum dns_type type, usec_t deadline, struct arena *a,
		     struct dns_answer *ret);
	void (*free)(struct resolver *r);
};
struct resolver {
	const struct resolver_ops *ops;
	struct world *world;
	struct dns_cache *cache; /* may be NULL */
};

/* One question, following CNAMEs (at most 8 in a row). Cached answers come back without waiting. */
int dns_query(struct resolver *r, const char *name, enum dns_type type, usec_t deadline, struct arena *a,
	      struct dns_answer *ret);
/* Is the answer in the cache? Never waits: 1 and *ret filled, 0 when not. */
int dns_query_cached(struct resolver *r, const char *name, enum dns_type type, struct arena *a, struct dns_answer *ret);
/* 192.0.2.1 -> 1.2.0.192.in-addr.arpa, and the nibbles of IPv6. In the arena. */
char *dns_reverse_name(struct arena *a, const struct ip *ip, const char *suffix_or_null);
/* Does the name have this address? 1, 0 (also for what is no host name), -EAGAIN when that can't be told now, or another
 * -errno. */
int dns_has_address(struct resolver *r, const char *name, const struct ip *ip, usec_t deadline, struct arena *a);
/* The name of an address if that name has this address, too (forward-confirmed); "" when it has none. At most
 * 10 names are tried. In the arena. -EAGAIN: temporary trouble. */
int dns_reverse(struct resolver *r, const struct ip *ip, usec_t deadline, struct arena *a, const char **ret);
void resolver_free(struct resolver *r);
DEFINE_FREEP(struct resolver, resolver_free)

struct dns_config {
	const char *zone;               /* a master file: all the DNS there is; else: */
	const char *const *servers;     /* "127.0.0.1:5353"; n_servers 0: those of /etc/resolv.conf */
	unsigned n_servers;
	const char *trust_anchor;       /* file with the root key, or NULL: /usr/share/dns/root.key if it is there */
	usec_t timeout;                 /* of one question; 0: 20 s */
	unsigned cache_entries;         /* 0: 50,000 */
};
/* Picks the kind by the configuration. On failure *ret_why says what to mend (on the heap). config outlives it. */
int resolver_new(struct world *w, const struct log *log, const struct dns_config *config, struct resolver **ret, char **ret_why);
