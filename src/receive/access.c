#include "receive/access.h"

bool access_is_trusted(const struct receive_config *config, const struct endpoint *peer)
{
	if (peer->kind == ENDPOINT_UNIX)
		return true;
	for (unsigned i = 0; i < config->n_trusted; i++)
		if (cidr_contains(&config->trusted[i], &peer->ip))
			return true;
	return false;
}

bool access_normalizes(const struct session *s)
{
	const struct receive_config *config = s->settings->config;
	const struct endpoint *peer = &s->stream->peer;

	for (unsigned i = 0; i < config->n_normalize && peer->kind == ENDPOINT_IP && !s->unnamed; i++)
		if (cidr_contains(&config->normalize[i], &peer->ip))
			return true;
	return false;
}

enum reply_id access_listener(enum listen_role role, bool known)
{
	return role == ROLE_SUBMISSION && !known ? REPLY_AUTH_FIRST : REPLY_SENDER_OK;
}

enum reply_id access_sender(const struct session *s)
{
	return access_listener(s->role, s->trusted || s->user);
}

/* A route may refuse: then it is better said now than in a bounce. */
static enum reply_id check_route(struct router *router, const struct address *to, const struct route_facts *facts, struct arena *a,
				 struct reply *ret_custom)
{
	struct ladder ladder;

	if (router_config(router)->n_rules == 0)
		return REPLY_RECIPIENT_OK;
	if (route_find(router, to, facts, a, &ladder) < 0)
		return REPLY_OUT_OF_MEMORY;
	if (ladder.n_hops == 0 || ladder.hops[0].kind != HOP_REJECT)
		return REPLY_RECIPIENT_OK;
	*ret_custom = (struct reply) {
		.code = 550,
		.enhanced = { 5, 7, 1 },
		.text = ladder.hops[0].text ? ladder.hops[0].text : "Mail to this address is refused here",
	};
	return REPLY_COUNT;
}

enum reply_id access_address(struct router *router, bool may_relay, const struct address *to, const struct route_facts *facts,
			     struct arena *a, struct reply *ret_custom)
{
	switch (route_locality(router, to)) {
	case LOCALITY_NO_SUCH_USER:
		return REPLY_NO_SUCH_USER;
	case LOCALITY_REMOTE:
		if (!may_relay)
			return REPLY_RELAY_DENIED;
		break;
	case LOCALITY_HERE:
		break;
	}
	return check_route(router, to, facts, a, ret_custom);
}

enum reply_id access_recipient(struct session *s, const struct address *to, const struct address *from, struct arena *a,
			       struct reply *ret_custom)
{
	const struct route_facts facts = { .from = from, .user = s->user, .content_unknown = true };

	return access_address(session_shared(s)->router, s->trusted || s->user, to, &facts, a, ret_custom);
}
