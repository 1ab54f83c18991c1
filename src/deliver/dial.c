#include "deliver/dial.h"

#include <stdio.h>

#include "deliver/socks.h"

#define BLOCKED_KEPT USEC_HOUR
#define SITE_TEXT 1024u

/* --- which source --------------------------------------------------------------------------------------- */

/* Long keys of sites are cut; their beginnings tell them apart well enough. */
static void pair_name(const char *site, const char *source, char out[static SITE_TEXT])
{
	snprintf(out, SITE_TEXT, "%s %s", source, site);
}

void dial_blocked(struct deliverer *d, const char *site, const char *source)
{
	char name[SITE_TEXT];

	pair_name(site, source, name);
	remember(d->remembered, REMEMBERED_BLOCKED, name, 1, BLOCKED_KEPT);
}

struct choice {
	struct deliverer *deliverer;
	const char *site;
};

static bool is_welcome(void *context, const struct source *s)
{
	const struct choice *c = context;
	char name[SITE_TEXT];

	pair_name(c->site, s->text, name);
	return recall(c->deliverer->remembered, REMEMBERED_BLOCKED, name) == 0;
}

static const struct source *choose_member(struct deliverer *d, const struct source_pool *pool, const char *site, unsigned family)
{
	struct choice choice = { .deliverer = d, .site = site };
	source_filter filter = site && pool->n_sources > 1 ? is_welcome : NULL;
	unsigned weight = source_pool_weight(pool, family, filter, &choice);

	if (weight == 0 && filter) {
		filter = NULL; /* blocked or not, there is no other */
		weight = source_pool_weight(pool, family, NULL, NULL);
	}
	return source_pool_choose(pool, family, world_random_below(d->world, weight), filter, &choice);
}

bool dial_choose(struct deliverer *d, const struct deliver_settings *settings, const struct hop *hop, const char *site,
		 unsigned family, struct dial_target *ret)
{
	const struct source *source;

	ret->source = NULL;
	ret->from = (struct ip) { 0 };
	if (hop->kind == HOP_LMTP)
		return true;
	if (!hop->source) {
		ret->from = family == 4 ? settings->config.source : family == 6 ? settings->config.source6 : ret->from;
		return true;
	}
	source = choose_member(d, hop->source, site, family);
	if (!source)
		return false;
	ret->source = source;
	ret->from = source->ip;
	return true;
}

bool dial_by_name(const struct hop *hop)
{
	const struct source_pool *pool = hop->source;

	for (unsigned i = 0; pool && i < pool->n_sources; i++)
		if (pool->sources[i].weight > 0 && !source_reaches(&pool->sources[i], 0))
			return false;
	return pool != NULL;
}

const char *dial_source_text(const struct dial_target *t, struct arena *a)
{
	char ip[IP_TEXT];

	if (t->source)
		return t->source->text;
	return t->from.family ? arena_strdup(a, ip_format(&t->from, ip)) : NULL;
}

/* --- the connection --------------------------------------------------------------------------------------- */

static const struct endpoint *local_end(const struct dial_target *t, struct endpoint *room)
{
	if (!t->from.family)
		return NULL;
	*room = (struct endpoint) { .kind = ENDPOINT_IP, .ip = t->from };
	return room;
}

int dial_start(const struct dial_target *t, struct transport **ret)
{
	struct endpoint from;

	return net_connect_start(&t->to, local_end(t, &from), ret);
}

/* --- through a proxy ------------------------------------------------------------------------------------ */

static int reach_proxy(struct deliverer *d, const struct dial_target *t, usec_t deadline, struct arena *a, struct stream **ret)
{
	const struct proxy *proxy = t->source->proxy;
	struct target_host host = { .name = proxy->at.name, .ip = proxy->at.ip, .port = proxy->at.port };
	struct address_list list = { 0 };
	struct endpoint from, to;
	struct transport *transport;
	int r;

	r = route_addresses(d->router, &host, deadline, a, &list);
	if (r < 0)
		return r;
	r = -EHOSTUNREACH;
	for (unsigned i = 0; i < list.n && r < 0 && r != -ECANCELED && now() < deadline; i++) {
		if (t->from.family && t->from.family != list.ips[i].family)
			continue;
		to = (struct endpoint) { .kind = ENDPOINT_IP, .ip = list.ips[i], .port = host.port };
		r = net_connect(&to, local_end(t, &from), deadline, &transport);
	}
	return r < 0 ? r : stream_new(transport, &t->to, ret);
}

static int dial_proxy(struct deliverer *d, const struct dial_target *t, usec_t deadline, struct arena *a, struct stream **ret,
		      const char **ret_why)
{
	_cleanup_(stream_freep) struct stream *s = NULL;
	char buffer[128];
	int r;

	r = reach_proxy(d, t, deadline, a, &s);
	if (r == -ECANCELED || r == -ENOMEM)
		return r;
	if (r < 0) {
		if (r != -EADDRNOTAVAIL)
			*ret_why = arena_printf(a, "the proxy %s can't be reached: %s", t->source->proxy->text,
						strerror_r(-r, buffer, sizeof(buffer)));
		return r;
	}
	r = socks_connect(s, t->source->proxy, &t->to, t->host, deadline, a, ret_why);
	if (r >= 0)
		*ret = TAKE_PTR(s);
	return r;
}

int dial(struct deliverer *d, const struct dial_target *t, usec_t deadline, struct arena *a, struct stream **ret,
	 const char **ret_why)
{
	struct transport *transport;
	struct endpoint from;
	int r;

	*ret_why = NULL;
	if (t->source && t->source->proxy)
		return dial_proxy(d, t, deadline, a, ret, ret_why);
	r = net_connect(&t->to, local_end(t, &from), deadline, &transport);
	return r < 0 ? r : stream_new(transport, &t->to, ret);
}

void dial_failure(const struct dial_target *t, int error, const char *why, struct arena *a, struct outcome *ret)
{
	struct remote remote = { .host = t->host, .source = dial_source_text(t, a) };
	char ip[IP_TEXT];

	if (t->to.kind == ENDPOINT_IP)
		remote.ip = t->to.ip;
	if (!why && error == -EADDRNOTAVAIL && t->from.family)
		why = arena_printf(a, "the source address %s is none of this machine", ip_format(&t->from, ip));
	else if (!why && error == -EADDRINUSE && t->from.family)
		why = arena_printf(a, "all ports of the source address %s are in use", ip_format(&t->from, ip));
	failure_connection_because(ret, STAGE_CONNECT, &remote, error, why, a);
}
