#include "receive/offers.h"

#include "receive/session.h"


/* What every server of today has. */
#define USUAL                                                                                          \
	(EXT_PIPELINING | EXT_SIZE | EXT_8BITMIME | EXT_ENHANCEDSTATUSCODES | EXT_DSN | EXT_SMTPUTF8 | \
	 EXT_CHUNKING | EXT_STARTTLS | EXT_LIMITS)
/* These come with what they need, and not by name. */
#define BY_THEMSELVES (EXT_AUTH | EXT_ETRN | EXT_XCLIENT | EXT_XFORWARD)
/* RFC 2033 section 5 demands the first two of an LMTP server; our replies have codes in any case. */
#define NEEDED_BY_LMTP EXT_PIPELINING

unsigned offers_possible(enum listen_role role)
{
	unsigned all = USUAL | EXT_BINARYMIME | EXT_REQUIRETLS | EXT_DELIVERBY | EXT_MT_PRIORITY | EXT_RRVS | EXT_NO_SOLICITING |
		       EXT_VRFY | EXT_EXPN | EXT_HELP;

	if (role != ROLE_LMTP)
		all |= EXT_ATRN;
	/* RFC 4865 section 4.2: on no other port. */
	return role == ROLE_SUBMISSION ? all | EXT_FUTURERELEASE : all;
}

unsigned offers_optional(enum listen_role role)
{
	unsigned needed = EXT_ENHANCEDSTATUSCODES | (role == ROLE_LMTP ? NEEDED_BY_LMTP : 0);

	return offers_possible(role) & ~needed;
}

/* BINARYMIME: hardly any next hop takes it, so what came with it would come back as a bounce. RRVS: nothing here knows
 * since when a mailbox has its owner. DELIVERBY and MT-PRIORITY: promises to one's own users. */
unsigned offers_of_role(enum listen_role role)
{
	switch (role) {
	case ROLE_MX:
		return USUAL | EXT_REQUIRETLS;
	case ROLE_SUBMISSION:
		return USUAL | EXT_REQUIRETLS | EXT_DELIVERBY | EXT_MT_PRIORITY | EXT_FUTURERELEASE;
	case ROLE_LMTP:
		break;
	}
	return USUAL;
}

static bool may_etrn(const struct session *s)
{
	const struct receive_config *c = s->settings->config;
	const struct endpoint *peer = &s->stream->peer;

	if (c->n_etrn_domains == 0 || s->role == ROLE_LMTP)
		return false;
	for (unsigned i = 0; i < c->n_etrn_clients; i++)
		if (peer->kind == ENDPOINT_IP && !s->unnamed && cidr_contains(&c->etrn_clients[i], &peer->ip))
			return true;
	return s->trusted;
}

void session_offers(const struct session *s, struct extensions *ret)
{
	const struct receive_listener *l = s->listener;
	const struct receive_limits *limits = session_limits(s);
	unsigned bits = (offers_of_role(l->role) | l->offer | (l->no_soliciting ? EXT_NO_SOLICITING : 0)) & ~l->withhold;

	if (!s->settings->tls || s->tls)
		bits &= ~(unsigned) EXT_STARTTLS;
	/* RFC 8689 section 2: only inside of TLS. */
	if (!s->tls)
		bits &= ~(unsigned) EXT_REQUIRETLS;
	/* RFC 3030 section 3: only together. */
	if (!(bits & EXT_CHUNKING))
		bits &= ~(unsigned) EXT_BINARYMIME;
	if (may_etrn(s))
		bits |= EXT_ETRN & ~l->withhold;
	if (s->may_xclient)
		bits |= EXT_XCLIENT | EXT_XFORWARD;
	*ret = (struct extensions) {
		.bits = bits,
		.size = limits->message_size,
		.mail_max = limits->messages,
		.rcpt_max = limits->recipients,
		.rcpt_domain_max = limits->recipient_domains,
		.hold_max = (unsigned) (limits->hold / USEC_SEC),
		.hold_until = world_wall(session_shared(s)->world) + (wall_t) limits->hold,
		.solicit = l->no_soliciting,
	};
}
