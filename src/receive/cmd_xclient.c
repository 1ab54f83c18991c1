/* XCLIENT and XFORWARD: a program that the configuration lists speaks for another client. XCLIENT changes who the client
 * is, with all that follows from it; XFORWARD only what is noted about the next message. Postfix made both (its
 * XCLIENT_README and XFORWARD_README). */
#include "receive/auth.h"
#include "receive/commands.h"
#include "receive/gate_session.h"
#include "smtp/client_attributes.h"

/* 1: *ret is filled; else what the reply returned. */
static int parse(struct session *s, const struct command *c, unsigned takes, struct arena *a, struct client_attributes *ret)
{
	struct slice wrong = c->args.len > 0 ? c->args : c->name;
	int r = c->args.len > 0 ? client_attributes_parse(c->args, takes, a, ret, &wrong) : -EINVAL;

	if (r == 0)
		return 1;
	return r == -ENOMEM ? session_reply(s, REPLY_OUT_OF_MEMORY)
			    : session_reply_with(s, REPLY_BAD_ATTRIBUTE, wrong, SLICE_NULL);
}

/* Where the client is; what was not given stays. An address that isn't known can't be trusted, and becomes no known one by a
 * name. Another client has not logged in because the one before had. */
static int change_client(struct session *s, const struct client_attributes *c)
{
	struct endpoint client = s->stream->peer;
	const char *name = s->client_name;
	bool known = s->looked_up, may_trust = !s->unnamed;
	int r;

	if (c->given & ATTRIBUTE_ADDR) {
		client = (struct endpoint) { .kind = c->addr.family ? ENDPOINT_IP : ENDPOINT_NONE, .ip = c->addr };
		may_trust = c->addr.family;
		known = false;
		name = NULL;
	}
	if (c->given & ATTRIBUTE_PORT)
		client.port = c->port;
	r = session_become(s, &client, may_trust);
	if (r < 0)
		return r;
	s->spoken_for |= (c->given & ATTRIBUTE_ADDR) != 0;
	s->looked_up = known || (c->given & ATTRIBUTE_NAME);
	s->client_name = c->given & ATTRIBUTE_NAME ? c->name : name;
	return 0;
}

int cmd_xclient(struct session *s, const struct command *c)
{
	struct client_attributes attributes = { 0 };
	char before[IP_TEXT];
	int r;

	if (s->transaction)
		return session_reply_with(s, REPLY_IN_TRANSACTION, c->name, SLICE_NULL);
	/* It is the last command of a group: what follows is meant for another client's session. */
	if (session_out_of_turn(s, "the reply to XCLIENT", false))
		return 0;
	r = parse(s, c, ATTRIBUTES_OF_XCLIENT, s->arena, &attributes);
	if (r <= 0)
		return r;
	memcpy(before, s->client, sizeof(before));
	r = change_client(s, &attributes);
	if (r < 0) {
		/* Going on would mean to take the next client's mail as that of the program that speaks for it. */
		const struct endpoint client = { .kind = ENDPOINT_IP, .ip = attributes.addr };

		return session_refuse_client(s, &client, r);
	}
	if (attributes.given & (ATTRIBUTE_LOGIN | ATTRIBUTE_ADDR))
		r = auth_become(s, attributes.login);
	session_forget(s);
	if (r < 0)
		return session_reply(s, REPLY_AUTH_TEMPORARY);
	if (attributes.helo) {
		s->helo = slice_dup(slice_from(attributes.helo));
		if (!s->helo)
			return session_reply(s, REPLY_OUT_OF_MEMORY);
		r = session_gate_helo(s); /* there may come no EHLO in which it would be asked */
		if (r <= 0) {
			session_forget(s);
			return r;
		}
		s->hello = attributes.proto && attributes.proto[0] == 'S' ? HELLO_HELO : HELLO_EHLO;
	}
	LOG(session_shared(s)->log, LOG_INFO, "XCLIENT: the client is another one now", F_STR("from", before),
	    F_STR("client", s->client), F_STR("name", s->client_name), F_STR("user", s->user));
	return session_put(s, s->settings->wire[s->role == ROLE_LMTP][WIRE_BANNER]);
}

int cmd_xforward(struct session *s, const struct command *c)
{
	struct client_attributes attributes = s->forwarded ? *s->forwarded : (struct client_attributes) { 0 };
	int r;

	if (s->transaction)
		return session_reply_with(s, REPLY_IN_TRANSACTION, c->name, SLICE_NULL);
	if (!s->mail_arena && arena_new(2048, &s->mail_arena) < 0)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	r = parse(s, c, ATTRIBUTES_OF_XFORWARD, s->mail_arena, &attributes);
	if (r <= 0)
		return r;
	if (!s->forwarded)
		s->forwarded = arena_new_type(s->mail_arena, struct client_attributes);
	if (!s->forwarded)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	*s->forwarded = attributes;
	return session_reply(s, REPLY_XFORWARDED);
}
