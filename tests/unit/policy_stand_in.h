/* In the place of route/policy.c, for tests that have no router: domains publish nothing, hosts are the right ones, and the
 * route alone says what is wanted, unless the message has wishes. */
#pragma once

#include "route/policy.h"

int policy_of_domain(struct router *r, const struct hop *hop, struct slice domain, usec_t deadline, struct arena *a,
		     struct domain_policy *ret)
{
	const char *name = arena_slice(a, domain);

	if (!name)
		return -ENOMEM;
	*ret = (struct domain_policy) { .domain = name, .canonical = name, .by_mx = hop->kind == HOP_MX };
	return 0;
}

int policy_of_domain_cached(struct router *r, const struct hop *hop, struct slice domain, struct arena *a, struct domain_policy *ret)
{
	int error = policy_of_domain(r, hop, domain, 0, a, ret);

	return error < 0 ? error : 1;
}

bool policy_is_special(const struct domain_policy *p)
{
	return false;
}

int policy_of_host(struct router *r, const struct domain_policy *domain, enum tls_policy route, const struct target_host *host,
		   enum policy_wish wish, usec_t deadline, struct arena *a, struct host_policy *ret)
{
	enum tls_policy tls = wish == WISH_PROTECTED ? TLS_VERIFY : route;

	*ret = (struct host_policy) { .domain = domain, .host = host->name, .tls = tls, .wish = wish, .wanted = tls_policy_name(tls) };
	return 0;
}
