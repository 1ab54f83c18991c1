/* Which hosts offer a service: SRV records (RFC 2782).
 *
 * The hosts come back by priority, those of the same priority in canonical order; which of them is tried first is
 * drawn by weight at the time of connecting (deliver/host_order.h). That the service isn't offered (a target of
 * ".", or no record at all) is told apart from trouble with the DNS. */
#pragma once

#include "dns/resolver.h"

#define SRV_HOSTS_MAX 20u /* that are given back */

enum srv_status {
	SRV_OK,
	SRV_NONE,      /* nobody offers the service */
	SRV_TEMPORARY, /* the DNS could not say */
};
struct srv_host {
	const char *name; /* lower case, no final dot, a host name */
	uint16_t port, priority, weight;
};
struct srv_set {
	enum srv_status status;
	unsigned n_hosts;
	struct srv_host *hosts;
	const char *why; /* for people, unless it is SRV_OK */
	bool secure;     /* validated by DNSSEC */
	uint32_t ttl;    /* seconds */
};

/* name: "_submission._tcp.example.org". From a fiber; everything in *ret lies in the arena. 0, -ECANCELED, -ENOMEM. */
int dns_srv(struct resolver *r, const char *name, usec_t deadline, struct arena *a, struct srv_set *ret);
/* The same from the cache alone, without waiting: 1 with *ret, 0 when the DNS must be asked, -ENOMEM. */
int dns_srv_cached(struct resolver *r, const char *name, struct arena *a, struct srv_set *ret);
