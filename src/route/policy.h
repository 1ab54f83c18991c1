/* What a host must show before mail is given to it.
 *
 * Four voices speak about that, each on its own: the route or relay (`tls:`), the DNS of the host under DNSSEC (DANE,
 * RFC 7672), the domain's web server (MTA-STS, RFC 8461), and the message itself (REQUIRETLS and TLS-Required, RFC 8689).
 * policy_of_domain learns what the recipient's domain says, once for all of its hosts; policy_of_host joins the voices to one
 * demand on one host. Where DANE has a say, MTA-STS has none (RFC 8461 section 2). Nothing is ever taken back because a
 * look-up failed: a host of which it can't be known what it must show is refused for now.
 *
 * deliver connects by it, and `yizhan route` shows it. */
#pragma once

#include "dns/tlsa.h"
#include "route/route.h"
#include "route/sts.h"

/* What the message wishes. */
enum policy_wish {
	WISH_NONE,
	WISH_PROTECTED, /* REQUIRETLS: the right host, under TLS, or not at all */
	WISH_OPTIONAL,  /* TLS-Required: No: what domains publish is to be ignored */
};

/* What the next-hop domain says. */
struct domain_policy {
	const char *domain;    /* A-labels */
	const char *canonical; /* at the end of its CNAME chain */
	bool by_mx;            /* its hosts come from MX records; else they were configured, which makes their names safe, */
	bool by_srv;           /* or come from SRV records that were */
	bool secure;           /* the names of its hosts are: configured, or validated by DNSSEC */
	bool doubtful;         /* the DNS could not say so now: then secure is true, so that nothing is given away */
	struct sts_answer sts; /* of configured hosts: each host's own (RFC 8461 section 3.4) */
};

enum policy_voice { VOICE_ROUTE, VOICE_DANE, VOICE_STS, VOICE_MESSAGE };
enum policy_refusal {
	REFUSED_NOT,
	REFUSED_DNS,          /* the TLSA records can't be looked up */
	REFUSED_NO_DANE,      /* dane is wanted, and there are no records that can be used */
	REFUSED_STS,          /* the domain's policy does not name this host */
	REFUSED_INSECURE,     /* REQUIRETLS, and nothing vouches for the host's name */
};

struct host_policy {
	const struct domain_policy *domain;
	const char *host;           /* NULL: an address, which has no policy but the route's */
	enum tls_policy tls;        /* to be reached: TLS_DANE by the records, TLS_VERIFY by chain and name */
	enum tls_policy without;    /* TLS_DANE, and it turns out that no record can be used: this instead */
	enum policy_voice by;       /* the strictest */
	enum policy_wish wish;
	enum policy_refusal refusal; /* nothing may go there now */
	const char *why;            /* for people, with a refusal */
	const char *wanted;         /* for people: "dane, TLSA of _25._tcp.mx.example.org" */
	struct dane dane;
	unsigned n_references;      /* names that will do beside dane.base in a certificate found by DANE-TA (RFC 7672 */
	const char *references[2];  /* section 3.2.2) */
};

/* domain: of the recipient, as it stands in the address, where the hop asks for MX records; host: else. May wait for the DNS
 * (from a fiber); everything in *ret lies in the arena. 0, -ECANCELED or -ENOMEM. */
int policy_of_domain(struct router *r, const struct hop *hop, struct slice domain, usec_t deadline, struct arena *a,
		     struct domain_policy *ret);
/* The same without a wait: 1 with *ret; 0: it would have to wait; -ENOMEM. */
int policy_of_domain_cached(struct router *r, const struct hop *hop, struct slice domain, struct arena *a, struct domain_policy *ret);
/* Does it say anything? If not, mail for it may go together with that of others. */
bool policy_is_special(const struct domain_policy *p);
/* route: the policy of the hop or relay. The domain must outlive *ret. Waits for the DNS, too; the addresses of the host are
 * asked for first. */
int policy_of_host(struct router *r, const struct domain_policy *domain, enum tls_policy route, const struct target_host *host,
		   enum policy_wish wish, usec_t deadline, struct arena *a, struct host_policy *ret);
