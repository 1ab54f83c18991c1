#include "deliver/dial.h"

#include "deliver/socks.h"

bool dial_choose(struct deliverer *d, const struct deliver_settings *settings, const struct hop *hop, unsigned family,
		 struct dial_target *ret)
{
	const struct source *source;
	unsigned weight;

	ret->source = NULL;
	ret->from = (struct ip) { 0 };
	if (hop->kind == HOP_LMTP)
		return true;
	if (!hop->source) {
		ret->from = family == 4 ? settings->config.source : family == 6 ? settings->config.source6 : ret->from;
		return true;
	}
	weight = source_pool_weight(hop->source, family);
	source = source_pool_choose(hop->source, family, world_random_below(d->world, weight));
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
