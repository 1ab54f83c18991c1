#include "deliver/verify.h"

#include "deliver/dial.h"
#include "deliver/maildir.h"
#include "deliver/smtp_client.h"
#include "world/file.h"

#define PROBE_HOSTS_MAX 3u

/* --- mailboxes here ------------------------------------------------------------------------------------ */

static int verify_maildir(struct deliverer *d, const struct hop *hop, const char *address, struct arena *a, struct verify_result *ret)
{
	struct file_info info;
	const char *path;
	int r;

	r = maildir_path(hop->maildir, address, a, &path);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		*ret = (struct verify_result) { .status = VERIFY_MISSING, .by = "an address that can't be a path" };
		return 0;
	}
	r = path_info(d->world, path, &info);
	*ret = (struct verify_result) {
		.status = r == -ENOENT || r == -ENOTDIR || (r >= 0 && !info.is_directory) ? VERIFY_MISSING
			  : r < 0							  ? VERIFY_TEMPORARY
											  : VERIFY_EXISTS,
		.by = path,
	};
	return 0;
}

/* --- asking the next hop ---------------------------------------------------------------------------------- */

struct probe {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	const struct hop *hop;
	const char *address, *sender;
	usec_t deadline;
	struct arena *arena;
};

static usec_t left(const struct probe *p)
{
	usec_t at = now();

	return p->deadline > at ? p->deadline - at : 0;
}

static int take_reply(const struct probe *p, struct smtp_client *c, const struct reply *reply, struct verify_result *ret)
{
	ret->by = remote_name(&c->remote, p->arena);
	ret->reply = *reply;
	ret->reply.text = arena_strdup(p->arena, reply->text ? reply->text : "");
	return ret->reply.text ? 0 : -ENOMEM;
}

static int ask_rcpt(const struct probe *p, struct smtp_client *c, struct verify_result *ret)
{
	char *mail = arena_printf(p->arena, "MAIL FROM:<%s>", p->sender), *rcpt = arena_printf(p->arena, "RCPT TO:<%s>", p->address);
	struct reply reply;
	int r;

	if (!mail || !rcpt)
		return -ENOMEM;
	r = smtp_client_ask(c, mail, left(p), p->arena, &reply);
	if (r < 0)
		return r;
	if (!REPLY_OK(&reply)) /* about the sender: nothing is known of the recipient */
		return take_reply(p, c, &reply, ret);
	r = smtp_client_ask(c, rcpt, left(p), p->arena, &reply);
	if (r < 0)
		return r;
	ret->status = REPLY_OK(&reply) ? VERIFY_EXISTS : REPLY_PERMANENT(&reply) ? VERIFY_MISSING : VERIFY_TEMPORARY;
	return take_reply(p, c, &reply, ret);
}

/* One address of one host. -errno: it could not be asked; the next one may know. */
static int probe_address(const struct probe *p, const struct smtp_peer *peer, struct verify_result *ret)
{
	struct outcome failure = { 0 };
	struct smtp_client *c;
	int r;

	r = smtp_client_open(p->deliverer, p->settings, peer, p->arena, &c, &failure);
	if (r < 0) {
		ret->by = failure.host ? failure.host : peer->host;
		return r;
	}
	r = ask_rcpt(p, c, ret);
	smtp_client_close(c, r >= 0);
	return r;
}

static void fill_peer(const struct hop *hop, struct smtp_peer *ret)
{
	*ret = (struct smtp_peer) { .tls = hop->tls, .lmtp = hop->kind == HOP_LMTP };
	if (hop->kind == HOP_RELAY) {
		ret->tls = hop->relay->tls;
		ret->implicit_tls = hop->relay->implicit_tls;
		ret->login = relay_has_login(hop->relay) ? hop->relay : NULL;
	}
}

/* A host that can't show what it must is asked nothing either: a login may be part of it. */
static int find_policy(const struct probe *p, const struct target_host *host, struct smtp_peer *peer, struct host_policy *policy)
{
	struct router *router = p->deliverer->router;
	struct domain_policy *domain = arena_new_type(p->arena, struct domain_policy);
	int r;

	if (!domain)
		return -ENOMEM;
	r = policy_of_domain(router, p->hop, slice_from(host->name ? host->name : ""), p->deadline, p->arena, domain);
	if (r >= 0)
		r = policy_of_host(router, domain, peer->tls, host, WISH_NONE, p->deadline, p->arena, policy);
	if (r < 0)
		return r;
	peer->policy = policy;
	peer->tls = policy->tls;
	return policy->refusal == REFUSED_NOT ? 0 : -EHOSTUNREACH;
}

static int probe_host(const struct probe *p, const struct target_host *host, struct verify_result *ret)
{
	struct address_list list = { 0 };
	struct host_policy policy;
	struct smtp_peer peer;
	int r = -EHOSTUNREACH;

	fill_peer(p->hop, &peer);
	peer.host = host->name;
	if (host->ip.family) {
		list = (struct address_list) { .n = 1, .ips = (struct ip *) &host->ip };
	} else {
		int found = route_addresses(p->deliverer->router, host, p->deadline, p->arena, &list);

		if (found < 0)
			return found;
	}
	if (!peer.lmtp) {
		int found = find_policy(p, host, &peer, &policy);

		if (found < 0)
			return found;
	}
	for (unsigned i = 0; i < list.n && i < PROBE_HOSTS_MAX && r < 0 && r != -ECANCELED && r != -ENOMEM && left(p); i++) {
		struct dial_target from;

		if (!dial_choose(p->deliverer, p->settings, p->hop, NULL, list.ips[i].family, &from))
			continue;
		peer.from = from.from;
		peer.source = from.source;
		peer.endpoint = (struct endpoint) { .kind = ENDPOINT_IP, .ip = list.ips[i], .port = host->port };
		r = probe_address(p, &peer, ret);
	}
	return r;
}

static int probe_target(const struct probe *p, struct verify_result *ret)
{
	const char *at = strrchr(p->address, '@');
	struct target target;
	int r;

	r = route_target(p->deliverer->router, p->hop, slice_from(at ? at + 1 : ""), p->deadline, p->arena, &target);
	if (r < 0)
		return r;
	r = -EHOSTUNREACH;
	for (unsigned i = 0; i < target.n_hosts && i < PROBE_HOSTS_MAX && r < 0 && r != -ECANCELED && r != -ENOMEM && left(p); i++)
		r = probe_host(p, &target.hosts[i], ret);
	return r;
}

static int probe(const struct probe *p, struct verify_result *ret)
{
	struct verify_result result = { .status = VERIFY_TEMPORARY };
	int r;

	if (p->hop->kind == HOP_LMTP && p->hop->lmtp.kind != ENDPOINT_NONE) {
		struct smtp_peer peer;

		fill_peer(p->hop, &peer);
		peer.endpoint = p->hop->lmtp;
		r = probe_address(p, &peer, &result);
	} else {
		r = probe_target(p, &result);
	}
	if (r == -ECANCELED || r == -ENOMEM)
		return r;
	*ret = result; /* whoever could not be asked may be there later */
	return 0;
}

/* --- the interface ---------------------------------------------------------------------------------------- */

/* A copy of the settings whose waits are no longer than the probe may take. */
static struct deliver_settings shorter(const struct deliver_settings *s, usec_t wait)
{
	struct deliver_settings copy = *s;

	copy.config.connect_timeout = MIN(copy.config.connect_timeout, wait);
	copy.config.greeting_timeout = MIN(copy.config.greeting_timeout, wait);
	copy.config.command_timeout = MIN(copy.config.command_timeout, wait);
	return copy;
}

static int verify(void *context, const struct hop *hop, const char *address, const char *sender, usec_t deadline, struct arena *a,
		  struct verify_result *ret)
{
	struct deliverer *d = context;
	_cleanup_(deliver_settings_unrefp) struct deliver_settings *settings = NULL;
	struct deliver_settings hasty;
	struct probe p = { .deliverer = d, .hop = hop, .address = address, .sender = sender, .deadline = deadline, .arena = a };

	switch (hop->kind) {
	case HOP_MAILDIR:
		return verify_maildir(d, hop, address, a, ret);
	case HOP_LMTP:
	case HOP_HOST:
	case HOP_RELAY:
		settings = deliverer_settings(d);
		hasty = shorter(settings, left(&p));
		p.settings = &hasty;
		return probe(&p, ret);
	default:
		*ret = (struct verify_result) { .status = VERIFY_UNKNOWN };
		return 0;
	}
}

struct verifier deliverer_verifier(struct deliverer *d)
{
	return (struct verifier) { .verify = verify, .context = d };
}
