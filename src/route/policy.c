#include "route/policy.h"

#include "route/router.h"

/* From the weakest to the strongest. */
static unsigned strength(enum tls_policy p)
{
	static const unsigned char order[] = { [TLS_NONE] = 0, [TLS_MAY] = 1, [TLS_REQUIRED] = 2, [TLS_VERIFY] = 3, [TLS_DANE] = 4 };

	return order[p];
}

static void demand(struct host_policy *p, enum tls_policy tls, enum policy_voice by)
{
	if (strength(tls) <= strength(p->tls))
		return;
	p->tls = tls;
	p->by = by;
}

/* --- the domain ------------------------------------------------------------------------------------------------ */

/* One look at what a domain says: with waiting, or from the caches alone. */
struct question {
	struct router *router;
	usec_t deadline;
	bool cached;
	struct arena *arena;
};

/* Does DNSSEC vouch for the names of its hosts (RFC 7672 section 2.2.1, RFC 7673 section 3.1)? 1, 0 (the cache doesn't know),
 * -errno. */
static int ask_names(const struct question *q, const char *name, enum dns_type type, struct domain_policy *p)
{
	struct resolver *resolver = q->router->resolver;
	struct dns_answer answer;
	int r = q->cached ? dns_query_cached(resolver, name, type, q->arena, &answer)
			  : dns_query(resolver, name, type, q->deadline, q->arena, &answer);

	if (r < 0 || (q->cached && r == 0))
		return r;
	p->doubtful = DNS_STATUS_TEMPORARY(answer.status);
	p->secure = answer.secure || p->doubtful;
	if (type == DNS_MX && answer.canonical && !p->doubtful)
		p->canonical = answer.canonical;
	return 1;
}

static int ask_sts(const struct question *q, struct domain_policy *p)
{
	struct sts *sts = q->router->sts;
	struct ip ip;
	int r;

	if (!sts || !p->domain[0] || ip_parse(slice_from(p->domain), &ip) >= 0)
		return 1;
	if (q->cached)
		return sts_find_cached(sts, p->domain, q->arena, &p->sts);
	r = sts_find(sts, p->domain, q->deadline, q->arena, &p->sts);
	return r < 0 ? r : 1;
}

/* 1, 0 (the caches don't know), -errno. */
static int ask_domain(const struct question *q, const struct hop *hop, struct slice domain, struct domain_policy *ret)
{
	const char *srv = hop_srv_name(hop);
	struct domain_policy p = { .by_mx = hop->kind == HOP_MX, .by_srv = srv != NULL, .secure = true };
	char name[DOMAIN_MAX + 1];
	bool is_name;
	int r;

	r = route_domain_text(domain, name);
	if (r == -ENOMEM)
		return r;
	is_name = r >= 0 && name[0] != '[';
	p.domain = p.canonical = r < 0 ? arena_slice(q->arena, domain) : arena_strdup(q->arena, name);
	if (!p.domain)
		return -ENOMEM;
	r = 1;
	if (srv)
		r = ask_names(q, srv, DNS_SRV, &p);
	else if (p.by_mx && is_name)
		r = ask_names(q, p.domain, DNS_MX, &p);
	if (r > 0 && is_name && hop_tls(hop) != TLS_NONE)
		r = ask_sts(q, &p);
	if (r > 0)
		*ret = p;
	return r;
}

int policy_of_domain(struct router *r, const struct hop *hop, struct slice domain, usec_t deadline, struct arena *a,
		     struct domain_policy *ret)
{
	struct question q = { .router = r, .deadline = deadline, .arena = a };
	int error = ask_domain(&q, hop, domain, ret);

	return error < 0 ? error : 0;
}

int policy_of_domain_cached(struct router *r, const struct hop *hop, struct slice domain, struct arena *a, struct domain_policy *ret)
{
	struct question q = { .router = r, .cached = true, .arena = a };

	return ask_domain(&q, hop, domain, ret);
}

bool policy_is_special(const struct domain_policy *p)
{
	return p->secure || p->sts.found || p->sts.trouble != STS_FETCHED;
}

/* --- a host ----------------------------------------------------------------------------------------------------- */

static int refuse(struct host_policy *p, enum policy_refusal refusal, const char *why)
{
	if (!why)
		return -ENOMEM;
	if (p->refusal == REFUSED_NOT) {
		p->refusal = refusal;
		p->why = why;
	}
	return 0;
}

/* RFC 7672 section 3.2.2: the domain whose MX records named the host, as it was given and as it is called at the end of
 * its aliases. */
static void add_references(struct host_policy *p)
{
	const struct domain_policy *d = p->domain;

	if (!d->by_mx)
		return;
	if (strcmp(d->domain, p->dane.base) != 0)
		p->references[p->n_references++] = d->domain;
	if (strcmp(d->canonical, d->domain) != 0 && strcmp(d->canonical, p->dane.base) != 0)
		p->references[p->n_references++] = d->canonical;
}

/* RFC 7672 section 2.2: what is published about this host. */
static int ask_dane(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct host_policy *p)
{
	struct dns_address_list list;
	int error;

	p->dane.base = host->name;
	if (!p->domain->secure) {
		p->dane.why = p->domain->by_srv ? "the SRV records are not protected by DNSSEC"
						: "the MX records are not protected by DNSSEC";
		return 0;
	}
	error = dns_addresses(r->resolver, host->name, DNS_IPV4_AND_IPV6, deadline, a, &list);
	if (error >= 0)
		error = dane_find(r->resolver, host->name, host->port, &list, deadline, a, &p->dane);
	if (error < 0)
		return error;
	if (p->dane.status == DANE_ERROR)
		return refuse(p, REFUSED_DNS, p->dane.why);
	if (p->dane.status == DANE_UNUSABLE)
		demand(p, TLS_REQUIRED, VOICE_DANE);
	add_references(p);
	return 0;
}

/* The route wants DANE, and this host has none. */
static int miss_dane(struct host_policy *p, struct arena *a)
{
	const char *what = p->dane.status == DANE_UNUSABLE ? "none of its TLSA records can be used"
			   : p->dane.why		   ? p->dane.why
							   : "an address has no TLSA records";

	p->tls = TLS_DANE;
	return refuse(p, REFUSED_NO_DANE,
		      arena_printf(a, "%s can't be proved to be the right host, as the route wants it (tls: dane): %s",
				   p->host ? p->host : "the address", what));
}

/* RFC 8461 section 5. Where TLSA records can be used, they decide. */
static int apply_sts(struct host_policy *p, struct arena *a)
{
	const struct sts_answer *sts = &p->domain->sts;

	if (!p->host || !sts->found || sts->policy.mode != STS_ENFORCE)
		return 0;
	if (sts_policy_names(&sts->policy, p->host)) {
		demand(p, TLS_VERIFY, VOICE_STS);
		return 0;
	}
	p->by = VOICE_STS;
	return refuse(p, REFUSED_STS,
		      arena_printf(a, "the MTA-STS policy of %s, which is to be enforced, does not name %s among its hosts (%s%s)",
				   p->domain->domain, p->host, sts->policy.patterns[0], sts->policy.n_patterns > 1 ? ", ..." : ""));
}

/* RFC 8689 section 4.2.1: it must be known that this is the right host; names that nobody vouches for are none. */
static int need_protection(struct host_policy *p, struct arena *a)
{
	if (p->tls == TLS_NONE || strength(p->tls) < strength(TLS_VERIFY)) {
		p->tls = TLS_VERIFY;
		p->by = VOICE_MESSAGE;
	}
	if (strength(p->without) < strength(TLS_VERIFY))
		p->without = TLS_VERIFY;
	if (p->domain->sts.found && p->host && sts_policy_names(&p->domain->sts.policy, p->host))
		return 0;
	if (p->domain->doubtful)
		return refuse(p, REFUSED_DNS, arena_printf(a, "the %s records that name %s can't be looked up now", p->domain->by_srv ? "SRV" : "MX",
							 p->host ? p->host : "the host"));
	if (p->domain->secure)
		return 0;
	return refuse(p, REFUSED_INSECURE,
		      arena_printf(a, "the message needs a protected way (REQUIRETLS), and nothing vouches for the name of %s: the %s "
				      "records that name it are not protected by DNSSEC, and no MTA-STS policy does it",
				   p->host ? p->host : "the host", p->domain->by_srv ? "SRV" : "MX"));
}

/* For people; never more than a line. */
static const char *describe(const struct host_policy *p, struct arena *a)
{
	const char *tls = tls_policy_name(p->tls);

	if (p->wish == WISH_PROTECTED && p->by == VOICE_MESSAGE)
		return arena_printf(a, "%s, REQUIRETLS", tls);
	if (p->tls == TLS_DANE && p->dane.name)
		return arena_printf(a, "%s, TLSA of %s", tls, p->dane.name);
	if (p->dane.status == DANE_UNUSABLE)
		return arena_printf(a, "%s, no TLSA record of %s can be used", tls, p->dane.name);
	if (p->wish == WISH_OPTIONAL)
		return arena_printf(a, "%s, TLS-Required: No", tls);
	if (p->domain->sts.found && p->host && p->tls != TLS_NONE)
		return arena_printf(a, "%s, MTA-STS %s of %s", tls, sts_mode_name(p->domain->sts.policy.mode), p->domain->domain);
	return tls;
}

/* What is left of the demand should no TLSA record turn out to be of use. */
static enum tls_policy demand_without(const struct host_policy *p, enum tls_policy route)
{
	const struct sts_answer *sts = &p->domain->sts;

	if (route == TLS_DANE)
		return TLS_DANE;
	if (strength(p->tls) >= strength(TLS_VERIFY) || (sts->found && sts->policy.mode == STS_ENFORCE))
		return TLS_VERIFY;
	return TLS_REQUIRED;
}

static int join(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a, struct host_policy *p)
{
	enum tls_policy route = p->tls;
	int error = 0;

	if (route == TLS_NONE && p->wish != WISH_PROTECTED)
		return 0;
	p->tls = route == TLS_DANE ? TLS_VERIFY : route; /* until there are records */
	if (host->name && (route == TLS_DANE || p->wish != WISH_OPTIONAL))
		error = ask_dane(r, host, deadline, a, p);
	if (error < 0)
		return error;
	p->without = demand_without(p, route);
	if (p->dane.status == DANE_USABLE)
		demand(p, TLS_DANE, route == TLS_DANE ? VOICE_ROUTE : VOICE_DANE);
	else if (route == TLS_DANE)
		error = miss_dane(p, a);
	else if (p->wish != WISH_OPTIONAL)
		error = apply_sts(p, a);
	return error >= 0 && p->wish == WISH_PROTECTED ? need_protection(p, a) : error;
}

int policy_of_host(struct router *r, const struct domain_policy *domain, enum tls_policy route, const struct target_host *host,
		   enum policy_wish wish, usec_t deadline, struct arena *a, struct host_policy *ret)
{
	struct host_policy p = { .domain = domain, .host = host->name, .tls = route, .wish = wish };
	int error = join(r, host, deadline, a, &p);

	if (error < 0)
		return error;
	p.wanted = describe(&p, a);
	if (!p.wanted)
		return -ENOMEM;
	*ret = p;
	return 0;
}
