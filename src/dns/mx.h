/* Which hosts take the mail of a domain: RFC 5321 section 5.1 and RFC 7505.
 *
 * dns_mx asks for the MX records of a domain and gives the exchangers in canonical order: by preference,
 * equals by name. So two domains with the same exchangers give the same list, which is what a site is made
 * of; whoever connects shuffles the equals at that time. dns_addresses then finds where a host is, asking
 * for both families at once.
 *
 * "Cannot tell now" (MX_TEMPORARY) is never mixed up with "there is none". */
#pragma once

#include "dns/resolver.h"

#define MX_RECORDS_MAX 100u /* of an answer, the rest is not looked at */
#define MX_HOSTS_MAX 20u    /* that are given back */

enum mx_status {
	MX_OK,        /* hosts from MX records */
	MX_IMPLICIT,  /* no MX record: the domain itself, which has an address, is the one host */
	MX_NULL,      /* takes no mail, and says so: RFC 7505 section 3 */
	MX_NO_DOMAIN, /* the domain does not exist */
	MX_NO_HOST,   /* it exists, but neither MX nor address records, or no usable MX among those it has */
	MX_TEMPORARY, /* the DNS could not say */
};

struct mx_host {
	const char *name; /* lower case, no final dot, a host name */
	uint16_t preference;
};

struct mx_set {
	enum mx_status status;
	const char *domain;    /* that the records belong to: the end of the CNAME chain */
	unsigned n_hosts;      /* more than 0 with MX_OK and MX_IMPLICIT only */
	struct mx_host *hosts;
	unsigned n_skipped;    /* records that name no host: an address as text, a broken name, "." among others */
	const char *note;      /* for people: what was skipped and why; NULL when nothing was */
	const char *why;       /* for people: with every status but MX_OK and MX_IMPLICIT */
	bool secure;           /* the MX answer (or the proof that there is none) was validated by DNSSEC */
	uint32_t ttl;          /* seconds for which all of this holds */
};

/* domain: ASCII (A-labels), with or without a final dot. From a fiber; everything in *ret lies in the arena.
 * 0, -ECANCELED or -ENOMEM. */
int dns_mx(struct resolver *r, const char *domain, usec_t deadline, struct arena *a, struct mx_set *ret);
/* The same from the cache alone, without waiting: 1 with *ret, 0 when the DNS must be asked, -ENOMEM. */
int dns_mx_cached(struct resolver *r, const char *domain, struct arena *a, struct mx_set *ret);

enum dns_families { DNS_IPV4 = 1, DNS_IPV6 = 2, DNS_IPV4_AND_IPV6 = 3 };

struct dns_address_list {
	unsigned n_ips;
	struct ip *ips;        /* IPv6 first, each family in the order of the answer */
	bool temporary;        /* some question failed for now: an empty list isn't final */
	bool nxdomain;         /* there is no such name */
	bool secure;           /* every question asked was answered, and validated */
	bool validated;        /* an answer was validated: the zone is signed, even if another question failed for now */
	const char *canonical; /* the end of the CNAME chain */
	const char *why;       /* for people, when there is no address or something was temporary; else NULL */
	uint32_t ttl;          /* seconds */
};
/* The addresses of a host; both families are asked for at the same time. 0, -ECANCELED or -ENOMEM. */
int dns_addresses(struct resolver *r, const char *host, unsigned families, usec_t deadline, struct arena *a,
		  struct dns_address_list *ret);
/* The same from the cache alone: 1 when all of it was there, 0, -ENOMEM. */
int dns_addresses_cached(struct resolver *r, const char *host, unsigned families, struct arena *a,
			 struct dns_address_list *ret);
