/* Where our connections come from: a pool of our own addresses, each with the name that belongs to it, and with a
 * proxy in front where there is one.
 *
 * A hop that names a pool connects from its members alone, chosen by weight for each connection; the name that
 * the member has is said in EHLO there, because receivers compare it with the address. A hop without a pool connects
 * from whatever address the kernel takes. What a receiver thinks of us depends on the address, so the key of a
 * site names the pool: two pools have windows, cool-downs and back-offs of their own. Plain configuration,
 * const after it was parsed. */
#pragma once

#include "base/net.h"

struct host_port {
	const char *name; /* a domain name, or NULL when ip is set */
	struct ip ip;
	uint16_t port;
};

/* A SOCKS proxy (RFC 1928). */
struct proxy {
	const char *text;  /* as it was written: "socks5://10.0.0.1:1080" */
	struct host_port at;
	bool resolves;     /* socks5h: it is given the names of hosts, and looks up their addresses itself */
	const char *user;  /* RFC 1929; NULL: without */
	const char *password;
};

struct source {
	struct ip ip;              /* family 0: whatever the kernel takes; only with a proxy */
	const char *ehlo;          /* NULL: the hostname */
	unsigned weight;           /* 0: no new connections from here */
	const struct proxy *proxy; /* NULL: none. Then ip is where we connect to the proxy from */
	const char *text;          /* "192.0.2.1", "192.0.2.1 through socks5://10.0.0.1:1080" */
};

struct source_pool {
	const char *name;
	unsigned n_sources;
	const struct source *sources;
};

/* Can an address of this family (4 or 6; 0: a name that a proxy looks up) be reached from the member? */
bool source_reaches(const struct source *s, unsigned family);
/* Which members count; NULL: all. */
typedef bool (*source_filter)(void *context, const struct source *s);
/* The sum of the weights of the members that reach the family; 0: none does. */
unsigned source_pool_weight(const struct source_pool *p, unsigned family, source_filter filter, void *context);
/* One of them: `draw` is uniform in [0, source_pool_weight). NULL when there is none. */
const struct source *source_pool_choose(const struct source_pool *p, unsigned family, uint64_t draw, source_filter filter,
					void *context);
/* "socks5://HOST:PORT" or "socks5h://HOST", as what stands behind the slashes. False: it is none. */
bool proxy_scheme(struct slice text, bool *ret_resolves, struct slice *ret_host_port);
