/* EHLO, HELO and LHLO (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1). What EHLO offers is made up in offers.c. */
#include "receive/auth.h"
#include "receive/commands.h"
#include "receive/gate_session.h"
#include "receive/offers.h"

#define LOOKUP_TIME (5 * USEC_SEC)

/* The client's reverse name, for the Received field: asked once, when somebody who means it is there. */
static void look_up_client(struct session *s)
{
	const struct endpoint *peer = &s->stream->peer;
	usec_t deadline = deadline_after(now(), LOOKUP_TIME);
	const char *name;

	if (s->looked_up || !s->settings->config->reverse_lookup || peer->kind != ENDPOINT_IP)
		return;
	s->looked_up = true;
	if (dns_reverse(session_shared(s)->resolver, &peer->ip, deadline, s->arena, &name) == 0 && name[0])
		s->client_name = name;
}

static int offer(struct session *s)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	struct extensions e;

	session_offers(s, &e);
	if (auth_offer(s)) {
		e.bits |= EXT_AUTH;
		e.auth = s->mechanisms;
	} else if (!s->user) {
		e.bits &= ~(unsigned) EXT_ATRN; /* RFC 2645 section 5.1.1: both or neither */
	}
	extensions_format(&e, s->settings->config->hostname, NULL, &text);
	if (buffer_error(&text) < 0)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	s->offered = e.bits;
	return session_put(s, buffer_slice(&text));
}

int cmd_ehlo(struct session *s, const struct command *c)
{
	bool lmtp = s->role == ROLE_LMTP, extended = c->verb != VERB_HELO;
	struct slice name;
	char *copy;
	int r;

	if (lmtp != (c->verb == VERB_LHLO))
		return session_reply(s, lmtp ? REPLY_USE_LHLO : REPLY_USE_EHLO);
	/* RFC 2920 section 3.1: EHLO is the last command of a group; before our reply nobody can know
	 * that he may send ahead. */
	if (session_out_of_turn(s, "the reply to EHLO", false))
		return 0;
	if (helo_parse(c->args, true, &name) < 0)
		return session_reply_with(s, REPLY_BAD_HELLO, c->name, SLICE_NULL);
	copy = slice_dup(name);
	if (!copy)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	session_forget(s);
	s->helo = copy;
	r = session_gate_helo(s);
	if (r <= 0) {
		session_forget(s);
		return r;
	}
	s->hello = extended ? HELLO_EHLO : HELLO_HELO;
	look_up_client(s);
	return extended ? offer(s) : session_put(s, s->settings->wire[lmtp][WIRE_HELO]);
}
