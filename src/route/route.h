/* Where does it go? From an address to a ladder of hops, and from a hop to the hosts to try.
 *
 * The first step is pure: domains that end here first, then the routes in their order, then the default
 * (mx). The second asks the DNS: MX by preference, implicit MX, null MX, our own name among the exchangers
 * (a loop: RFC 5321 section 5.1), and gives the site: the key that all domains with the same set of
 * exchangers share. */
#pragma once

#include "dns/resolver.h"
#include "mail/address.h"
#include "mail/envelope.h"
#include "route/hop.h"

struct route_domain {
	const char *name;                 /* lower case, A-labels; "*.example.org" matches all below */
	struct hop deliver;
	const char *const *recipients;    /* local parts, lower case; NULL: every one */
	unsigned n_recipients;
};
/* A header field and the patterns for its value, of which one must match. A field that isn't there has the value "". */
struct route_header {
	const char *name;
	const char *const *values;
	unsigned n_values;
};
/* All of its conditions must hold. */
struct route_rule {
	const char *const *to;            /* patterns: "*", "*.lan.example" (domain), "bob@example.org"; NULL: any */
	unsigned n_to;
	const char *const *from;
	unsigned n_from;
	const char *const *user;          /* patterns for who logged in: "*" is anybody who did, "" is nobody; NULL: any */
	unsigned n_user;
	uint64_t size_min, size_max;      /* octets, both included; size_max 0: no limit */
	const struct route_header *headers;
	unsigned n_headers;
	struct ladder ladder;
};
struct route_config {
	const char *hostname;
	const char *const *own_names;     /* further names of this host, for loop detection */
	unsigned n_own_names;
	const struct ip *own_addresses;   /* addresses at which we listen on mx_port, for loop detection */
	unsigned n_own_addresses;
	const struct route_domain *domains;
	unsigned n_domains;
	const struct source_pool *sources;
	unsigned n_sources;
	const struct relay *relays;
	unsigned n_relays;
	const struct route_rule *rules;
	unsigned n_rules;
	const char *const *headers;       /* the names of all fields that some rule looks at, at most ENVELOPE_HEADERS */
	unsigned n_headers;
	uint16_t mx_port;                 /* 25; tests use another */
	usec_t dns_timeout;               /* for one routing decision; 0: 60 s */
};

struct router;
int router_new(struct world *w, const struct log *log, struct resolver *resolver, const struct route_config *config, struct router **ret);
/* Where the policies of MTA-STS are kept; before the first question. Without it there are none. */
struct sts;
void router_set_sts(struct router *r, struct sts *sts);
/* From any thread: later questions use the new configuration. The old one must stay valid until router_free. In two
 * steps, of which the second can't fail. */
struct route_index;
int router_prepare(struct router *r, const struct route_config *config, struct route_index **ret);
void router_adopt(struct router *r, struct route_index *index);
void route_index_free(struct route_index *i);
DEFINE_FREEP(struct route_index, route_index_free)
const struct route_config *router_config(const struct router *r);
void router_free(struct router *r);
DEFINE_FREEP(struct router, router_free)

enum locality {
	LOCALITY_REMOTE,       /* not a domain of ours */
	LOCALITY_HERE,         /* a domain of ours, and the recipient exists as far as we know */
	LOCALITY_NO_SUCH_USER, /* a domain of ours without this recipient */
};
/* postmaster (in any case) exists in every local domain (RFC 5321 section 4.5.1), with subaddresses
 * (user+detail) looked up without the detail, too. Doesn't wait. */
enum locality route_locality(struct router *r, const struct address *to);

/* What routes look at beside the recipient. */
struct route_facts {
	const struct address *from; /* NULL: the null path */
	const char *user;           /* who logged in, or NULL */
	bool content_unknown;       /* it didn't come yet: size and headers mean nothing */
	uint64_t size;
	const struct envelope_header *headers;
	unsigned n_headers;
};
/* Those of a message. room: for the sender's address; it and the envelope must stay as long as the facts. */
void route_facts_of(const struct envelope *e, struct address *room, struct route_facts *ret);

/* The ladder for a recipient. The result points into the configuration (address literals: a HOP_HOST in the
 * arena). When the content is not known yet and decides whether a rule matches, nothing can be said: a ladder without
 * hops. Doesn't wait. 0 or -ENOMEM. */
int route_find(struct router *r, const struct address *to, const struct route_facts *facts, struct arena *a,
	       struct ladder *ret);

/* Is there a rung in any route that opens by the time that a message has waited, or a deadline? */
bool route_has_delays(struct router *r);

enum target_status {
	TARGET_OK,
	TARGET_NO_DOMAIN,  /* 5.1.2: the domain does not exist */
	TARGET_NULL_MX,    /* 5.1.10, RFC 7505 */
	TARGET_NO_HOST,    /* 5.4.4: neither MX nor address records */
	TARGET_LOOP,       /* 5.4.6: the best exchanger is this host */
	TARGET_TEMPORARY,  /* 4.4.3: DNS trouble */
};
struct target_host {
	const char *name;   /* NULL for an address */
	struct ip ip;
	uint16_t port;
	uint16_t preference;
	uint16_t weight; /* its share among those of the same preference; all 0: each as likely */
};
struct target {
	enum target_status status;
	const char *why;             /* for people, when status isn't OK */
	const char *site;            /* key: "mx:mx1.example.org,mx2.example.org>mx3.example.org" (equals, then the less
	                              * preferred), "relay:backup", "srv:_smtp._tcp.example.org", "maildir:example.org" */
	const char *domain;          /* A-labels */
	unsigned n_hosts;
	struct target_host *hosts;   /* by preference; equals in canonical order: shuffle when connecting */
	bool implicit;               /* no MX: the domain itself */
	bool secure;                 /* the MX answer was validated */
	uint32_t ttl;                /* seconds for which all of this holds; UINT32_MAX: until a reload */
};
/* What a hop means for a domain. May wait for the DNS (from a fiber); everything in *ret lies in the arena. */
int route_target(struct router *r, const struct hop *hop, struct slice domain, usec_t deadline, struct arena *a, struct target *ret);
/* The same from the cache alone: 1 with *ret, 0 when the DNS must be asked, -ENOMEM. */
int route_target_cached(struct router *r, const struct hop *hop, struct slice domain, struct arena *a, struct target *ret);
/* The addresses of a target host, IPv6 and IPv4 as the DNS gives them (in the arena). 0, -ECANCELED, -ENOMEM. */
struct address_list {
	unsigned n;
	struct ip *ips;
	bool temporary; /* some question failed for now: an empty list isn't final */
	bool secure;    /* all of it was validated by DNSSEC */
};
int route_addresses(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct address_list *ret);
/* Do we listen there? */
bool route_is_own_address(struct router *r, const struct ip *ip, uint16_t port);
