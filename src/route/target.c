#include "route/route.h"

#include <stdio.h>

#include "dns/mx.h"
#include "dns/srv.h"
#include "route/exchangers.h"
#include "route/router.h"

#define DNS_TIMEOUT_DEFAULT (60 * USEC_SEC)
#define OWN_CHECK_TIMEOUT (10 * USEC_SEC) /* for the addresses of all exchangers together */

/* One look at the DNS: with waiting, or from the cache alone. */
struct question {
	struct router *router;
	const struct route_config *config;
	usec_t deadline;
	bool cached;
	struct arena *arena;
};

static int ask_mx(const struct question *q, const char *domain, struct mx_set *ret)
{
	if (q->cached)
		return dns_mx_cached(q->router->resolver, domain, q->arena, ret);
	return dns_mx(q->router->resolver, domain, q->deadline, q->arena, ret);
}

static bool is_own_name(const struct route_config *config, const char *name)
{
	if (config->hostname && slice_ieq_str(slice_from(name), config->hostname))
		return true;
	for (unsigned i = 0; i < config->n_own_names; i++)
		if (slice_ieq_str(slice_from(name), config->own_names[i]))
			return true;
	return false;
}

/* 1 when one of its addresses is ours, 0 when none is (as far as can be told), -EAGAIN when the cache doesn't
 * know, -ENOMEM, -ECANCELED. */
static int has_own_address(const struct question *q, const char *name, usec_t deadline)
{
	struct dns_address_list list;
	int r;

	if (q->cached) {
		r = dns_addresses_cached(q->router->resolver, name, DNS_IPV4_AND_IPV6, q->arena, &list);
		if (r <= 0)
			return r < 0 ? r : -EAGAIN;
	} else {
		r = dns_addresses(q->router->resolver, name, DNS_IPV4_AND_IPV6, deadline, q->arena, &list);
		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < list.n_ips; i++)
		if (route_is_own_address(q->router, &list.ips[i], route_mx_port(q->config)))
			return 1;
	return 0;
}

/* Drops us and what is worse. Returns how many hosts are left, or a negative errno as above. */
static int drop_ourselves(const struct question *q, struct target_host *hosts, unsigned n)
{
	usec_t deadline = q->cached ? 0 : MIN(q->deadline, deadline_after(now(), OWN_CHECK_TIMEOUT));
	bool own[MX_HOSTS_MAX] = { false };

	for (unsigned i = 0; i < n; i++) {
		int r = is_own_name(q->config, hosts[i].name);

		if (r == 0 && q->config->n_own_addresses > 0)
			r = has_own_address(q, hosts[i].name, deadline);
		if (r < 0)
			return r;
		own[i] = r > 0;
		if (own[i])
			break; /* whoever comes later is not better than us */
	}
	return (int) exchangers_before_us(hosts, own, n);
}

static enum target_status status_of_mx(enum mx_status s)
{
	switch (s) {
	case MX_OK:
	case MX_IMPLICIT:
		return TARGET_OK;
	case MX_NULL:
		return TARGET_NULL_MX;
	case MX_NO_DOMAIN:
		return TARGET_NO_DOMAIN;
	case MX_NO_HOST:
		return TARGET_NO_HOST;
	case MX_TEMPORARY:
		break;
	}
	return TARGET_TEMPORARY;
}

static const char *why_of(enum target_status s)
{
	switch (s) {
	case TARGET_NO_DOMAIN:
		return "the domain does not exist";
	case TARGET_NULL_MX:
		return "the domain takes no mail, as its null MX record says";
	case TARGET_NO_HOST:
		return "the domain has neither MX nor address records";
	case TARGET_LOOP:
		return "the mail loops back: the best exchanger of the domain is this host";
	case TARGET_TEMPORARY:
		return "the DNS could not say for now";
	case TARGET_OK:
		break;
	}
	return NULL;
}

#define SUFFIX_TEXT (24 + 64 + 8)

/* "" mostly, else what tells this site from that of the same hosts with another policy, or asked from other addresses. A
 * relay's policy and its own addresses are said by its name. */
static const char *site_suffix(const struct hop *hop, char out[static SUFFIX_TEXT])
{
	bool relay = hop->kind == HOP_RELAY;
	int used = 0;

	out[0] = '\0';
	if (!relay && hop->tls != TLS_MAY)
		used = snprintf(out, SUFFIX_TEXT, ";tls=%s", tls_policy_name(hop->tls));
	if (hop->source && !(relay && hop->source == hop->relay->source))
		snprintf(out + used, SUFFIX_TEXT - (size_t) used, ";from=%.64s", hop->source->name);
	return out;
}

static int fail(struct target *ret, enum target_status status, const char *why)
{
	ret->status = status;
	ret->why = why ? why : why_of(status);
	return 1;
}

/* 1, 0 (the cache doesn't know), -ENOMEM, -ECANCELED. */
static int target_of_mx(const struct question *q, const struct hop *hop, struct slice domain, struct target *ret)
{
	char name[DOMAIN_MAX + 1], suffix[SUFFIX_TEXT];
	struct target t = { .status = TARGET_OK };
	struct mx_set set = { .status = MX_TEMPORARY };
	int r;

	r = route_domain_text(domain, name);
	if (r == -ENOMEM)
		return r;
	t.domain = r < 0 ? arena_slice(q->arena, domain) : arena_strdup(q->arena, name);
	if (!t.domain)
		return -ENOMEM;
	*ret = t;
	if (r < 0 || name[0] == '\0' || name[0] == '[')
		return fail(ret, TARGET_NO_DOMAIN, "this is not a domain name");
	r = ask_mx(q, name, &set);
	if (r < 0 || (q->cached && r == 0))
		return r;
	t.secure = set.secure;
	t.implicit = set.status == MX_IMPLICIT;
	t.ttl = set.ttl;
	*ret = t;
	if (status_of_mx(set.status) != TARGET_OK)
		return fail(ret, status_of_mx(set.status), set.why);

	t.n_hosts = MIN(set.n_hosts, MX_HOSTS_MAX);
	t.hosts = arena_new_array(q->arena, struct target_host, t.n_hosts);
	if (!t.hosts)
		return -ENOMEM;
	for (unsigned i = 0; i < t.n_hosts; i++)
		t.hosts[i] = (struct target_host){
			.name = set.hosts[i].name,
			.port = route_mx_port(q->config),
			.preference = set.hosts[i].preference,
		};
	r = drop_ourselves(q, t.hosts, t.n_hosts);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (r == 0)
		return fail(ret, TARGET_LOOP, NULL);
	t.n_hosts = (unsigned) r;
	t.site = exchangers_key(t.hosts, t.n_hosts, site_suffix(hop, suffix), q->arena);
	if (!t.site)
		return -ENOMEM;
	*ret = t;
	return 1;
}

static int ask_srv(const struct question *q, const char *name, struct srv_set *ret)
{
	if (q->cached)
		return dns_srv_cached(q->router->resolver, name, q->arena, ret);
	return dns_srv(q->router->resolver, name, q->deadline, q->arena, ret);
}

/* An SRV name stands in the configuration: that it leads nowhere is a fault of our path, and not of the recipient, so it is
 * temporary trouble that lets the ladder go on. 1, 0 (the cache doesn't know), -ENOMEM, -ECANCELED. */
static int target_of_srv(const struct question *q, const struct hop *hop, struct slice domain, struct target *ret)
{
	char name[DOMAIN_MAX + 1], suffix[SUFFIX_TEXT];
	struct srv_set set = { .status = SRV_TEMPORARY };
	struct target t = { .status = TARGET_OK };
	int r = ask_srv(q, hop_srv_name(hop), &set);

	if (r < 0 || (q->cached && r == 0))
		return r;
	if (route_domain_text(domain, name) < 0)
		slice_copy(domain, name, sizeof(name));
	t.domain = arena_strdup(q->arena, name);
	t.site = hop->kind == HOP_RELAY ? arena_printf(q->arena, "relay:%s%s", hop->relay->name, site_suffix(hop, suffix))
					: arena_printf(q->arena, "srv:%s%s", hop->srv, site_suffix(hop, suffix));
	t.hosts = arena_new_array(q->arena, struct target_host, MAX(set.n_hosts, 1u));
	if (!t.domain || !t.site || !t.hosts)
		return -ENOMEM;
	t.secure = set.secure;
	t.ttl = set.ttl;
	t.n_hosts = set.n_hosts;
	for (unsigned i = 0; i < set.n_hosts; i++)
		t.hosts[i] = (struct target_host) { .name = set.hosts[i].name, .port = set.hosts[i].port,
						    .preference = set.hosts[i].priority, .weight = set.hosts[i].weight };
	*ret = t;
	return set.status == SRV_OK ? 1 : fail(ret, TARGET_TEMPORARY, set.why);
}

static struct target_host from_host_port(const struct host_port *h, uint16_t preference)
{
	return (struct target_host) { .name = h->name, .ip = h->ip, .port = h->port, .preference = preference };
}

/* Those with a weight share the mail, the others follow in the order in which they were written. */
static void hosts_of_relay(const struct relay *relay, struct target_host *hosts)
{
	unsigned n = 0;

	for (unsigned i = 0; relay->weights && i < relay->n_hosts; i++) {
		if (relay->weights[i] == 0)
			continue;
		hosts[n] = from_host_port(&relay->hosts[i], 0);
		hosts[n++].weight = relay->weights[i];
	}
	for (unsigned i = 0; i < relay->n_hosts; i++)
		if (!relay->weights || relay->weights[i] == 0) {
			hosts[n] = from_host_port(&relay->hosts[i], (uint16_t) MIN(n, 65535u));
			n++;
		}
}

/* Hops that need no DNS. 1, or -ENOMEM. */
static int target_of_configured(const struct question *q, const struct hop *hop, struct slice domain,
				struct target *ret)
{
	struct target t = { .status = TARGET_OK, .ttl = UINT32_MAX };
	char text[ENDPOINT_TEXT + DOMAIN_TEXT + 16], name[DOMAIN_MAX + 1], suffix[SUFFIX_TEXT];
	const struct relay *relay = hop->relay;
	struct hop anywhere = *hop;

	if (route_domain_text(domain, name) < 0)
		slice_copy(domain, name, sizeof(name));
	t.domain = arena_strdup(q->arena, name);
	if (hop->kind == HOP_RELAY)
		t.n_hosts = relay->n_hosts;
	else if (hop->kind == HOP_HOST || (hop->kind == HOP_LMTP && hop->lmtp.kind == ENDPOINT_NONE))
		t.n_hosts = 1;
	t.hosts = arena_new_array(q->arena, struct target_host, MAX(t.n_hosts, 1u));
	if (!t.domain || !t.hosts)
		return -ENOMEM;

	switch (hop->kind) {
	case HOP_RELAY:
		hosts_of_relay(relay, t.hosts);
		t.site = arena_printf(q->arena, "relay:%s%s", relay->name, site_suffix(hop, suffix));
		break;
	case HOP_HOST:
		t.hosts[0] = from_host_port(&hop->host, 0);
		anywhere.source = NULL; /* the suffix says it */
		hop_describe(&anywhere, text, sizeof(text));
		t.site = arena_printf(q->arena, "host:%s%s", text + strlen("host "), site_suffix(hop, suffix));
		break;
	case HOP_LMTP:
		if (t.n_hosts > 0)
			t.hosts[0] = from_host_port(&hop->lmtp_host, 0);
		t.site = arena_strdup(q->arena, hop_describe(hop, text, sizeof(text)));
		break;
	case HOP_MAILDIR:
		t.site = arena_printf(q->arena, "maildir:%s", name);
		break;
	case HOP_ATRN:
		t.site = arena_printf(q->arena, "atrn:%s", name);
		break;
	default:
		t.site = arena_strdup(q->arena, hop_describe(hop, text, sizeof(text)));
		break;
	}
	if (!t.site)
		return -ENOMEM;
	*ret = t;
	/* An address literal, or a fixed host, that is this very server. */
	if (hop->kind == HOP_HOST && !hop->host.name &&
	    route_is_own_address(q->router, &hop->host.ip, hop->host.port))
		return fail(ret, TARGET_LOOP, "the mail loops back: this address is this host");
	return 1;
}

static int find_target(const struct question *q, const struct hop *hop, struct slice domain, struct target *ret)
{
	if (hop->kind == HOP_MX)
		return target_of_mx(q, hop, domain, ret);
	return hop_srv_name(hop) ? target_of_srv(q, hop, domain, ret) : target_of_configured(q, hop, domain, ret);
}

int route_target(struct router *r, const struct hop *hop, struct slice domain, usec_t deadline, struct arena *a,
		 struct target *ret)
{
	struct question q = { .router = r, .config = router_config(r), .arena = a };
	struct target t = { .status = TARGET_TEMPORARY };
	int error;

	q.deadline =
		MIN(deadline, deadline_after(world_now(r->world),
					     q.config->dns_timeout ? q.config->dns_timeout : DNS_TIMEOUT_DEFAULT));
	error = find_target(&q, hop, domain, &t);
	if (error < 0)
		return error;
	*ret = t;
	return 0;
}

int route_target_cached(struct router *r, const struct hop *hop, struct slice domain, struct arena *a,
			struct target *ret)
{
	struct question q = { .router = r, .config = router_config(r), .cached = true, .arena = a };
	struct target t = { .status = TARGET_TEMPORARY };
	int found = find_target(&q, hop, domain, &t);

	if (found > 0)
		*ret = t;
	return found;
}

int route_addresses(struct router *r, const struct target_host *host, usec_t deadline, struct arena *a,
		    struct address_list *ret)
{
	struct dns_address_list list;
	int error;

	if (!host->name) {
		struct ip *ip = arena_new_type(a, struct ip);

		if (!ip)
			return -ENOMEM;
		*ip = host->ip;
		*ret = (struct address_list) { .n = 1, .ips = ip };
		return 0;
	}
	error = dns_addresses(r->resolver, host->name, DNS_IPV4_AND_IPV6, deadline, a, &list);
	if (error < 0)
		return error;
	*ret = (struct address_list) { .n = list.n_ips, .ips = list.ips, .temporary = list.temporary, .secure = list.secure };
	return 0;
}
