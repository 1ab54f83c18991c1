#include "deliver/smtp_client.h"

#include <stdlib.h>

#include "deliver/dial.h"
#include "deliver/login.h"
#include "deliver/protection.h"

#define QUIT_TIME (2 * USEC_SEC)

usec_t smtp_client_deadline(const struct smtp_client *c, usec_t timeout)
{
	return MIN(deadline_after(now(), timeout), c->until);
}

int smtp_client_error(const struct smtp_client *c, int error)
{
	return error == -ETIMEDOUT && now() >= c->until ? -ETIME : error;
}

int smtp_client_reply(struct smtp_client *c, usec_t timeout, struct arena *a, struct reply *ret)
{
	return smtp_read_reply(&c->lines, a, smtp_client_deadline(c, timeout), ret);
}

int smtp_client_verdict(struct smtp_client *c, usec_t timeout, struct arena *a, struct reply *ret)
{
	return smtp_read_verdict(&c->lines, a, smtp_client_deadline(c, timeout), ret);
}

int smtp_client_ask(struct smtp_client *c, const char *text, usec_t timeout, struct arena *a, struct reply *ret)
{
	usec_t deadline = smtp_client_deadline(c, timeout);
	int r;

	if (!text)
		return -ENOMEM;
	if (stream_peek(c->stream).len > 0)
		return -EALREADY;
	r = stream_put_str(c->stream, text, deadline);
	if (r >= 0)
		r = stream_put_str(c->stream, "\r\n", deadline);
	if (r < 0)
		return r;
	return smtp_client_reply(c, timeout, a, ret);
}

/* The name under which something is remembered about the host. */
static const char *remembered_name(const struct smtp_client *c, char room[static ENDPOINT_TEXT])
{
	return c->peer.host ? c->peer.host : endpoint_format(&c->peer.endpoint, room);
}

void smtp_client_learn_bdat(struct smtp_client *c, enum bdat_known what)
{
	char room[ENDPOINT_TEXT];

	if (c->bdat == what)
		return;
	c->bdat = what;
	remember(c->deliverer->remembered, REMEMBERED_BDAT, remembered_name(c, room), (uint8_t) what,
		 c->settings->config.remember_chunking);
}

static void recall_bdat(struct smtp_client *c)
{
	char room[ENDPOINT_TEXT];

	if (c->extensions.bits & EXT_CHUNKING)
		c->bdat = recall(c->deliverer->remembered, REMEMBERED_BDAT, remembered_name(c, room));
}

/* What the steps of opening share: where to put the words about a failure. */
struct opening {
	struct smtp_client *client;
	struct arena *scratch;
	struct outcome *failure;
};

static int lost(struct opening *o, enum stage stage, int error)
{
	failure_connection(o->failure, stage, &o->client->remote, smtp_client_error(o->client, error), o->scratch);
	return error;
}

/* Such a refusal is about us or about the server, not about a message: the site as a whole is affected. */
static int refused(struct opening *o, enum stage stage, const struct reply *reply)
{
	failure_reply(o->failure, stage, &o->client->remote, reply);
	o->failure->kind = OUTCOME_DEFERRED;
	o->failure->site_fault = true;
	return -ECONNREFUSED;
}

static int trouble(struct opening *o, enum stage stage, enum reply_class class, int detail, const char *text)
{
	failure_local(o->failure, stage, class, 451, 7, detail, text);
	o->failure->site_fault = true;
	outcome_about(o->failure, &o->client->remote);
	return -EACCES;
}

/* --- connecting ---------------------------------------------------------------------------------------- */

/* Which of our addresses it is: RFC 8460 section 4.4 asks for it. That of a proxy is not ours to know. */
static void note_own_end(struct smtp_client *c)
{
	struct endpoint own;

	if (c->peer.source && c->peer.source->proxy)
		return;
	if (transport_local_endpoint(c->stream->transport, &own) == 0 && own.kind == ENDPOINT_IP)
		c->remote.local = own.ip;
}

static int connect_peer(struct opening *o)
{
	struct smtp_client *c = o->client;
	const struct smtp_peer *p = &c->peer;
	struct dial_target t = { .to = p->endpoint, .host = p->host, .from = p->from, .source = p->source };
	const char *why = NULL;
	int r;

	c->remote.source = dial_source_text(&t, c->arena);
	if (p->connected && *p->connected) {
		c->stream = TAKE_PTR(*p->connected);
		c->encrypted = p->protected_by != NULL;
		c->remote.tls = p->protected_by;
	} else {
		r = dial(c->deliverer, &t, smtp_client_deadline(c, c->settings->config.connect_timeout), o->scratch, &c->stream, &why);
		if (r < 0) {
			dial_failure(&t, r, why, o->scratch, o->failure);
			return r;
		}
	}
	note_own_end(c);
	line_reader_init(&c->lines, c->stream);
	c->lines.accept_bare_lf = true;
	return 0;
}

static int hear_greeting(struct opening *o)
{
	struct smtp_client *c = o->client;
	struct slice name, rest;
	struct reply reply;
	int r;

	r = smtp_client_reply(c, c->settings->config.greeting_timeout, o->scratch, &reply);
	if (r < 0)
		return lost(o, STAGE_GREETING, r);
	if (reply.code == 220) {
		name = slice_cut(slice_head(slice_from(reply.text), DOMAIN_MAX), ' ', &rest);
		c->greeting = arena_slice(c->arena, name);
		if (!c->encrypted && !c->peer.lmtp)
			c->remote.tls_reached = "plain";
		return 0;
	}
	r = refused(o, STAGE_GREETING, &reply);
	/* RFC 7504 section 4: 521 means that this host takes no mail at all. 554 means many things, so that
	 * other hosts and later attempts are worth while. */
	if (reply.code == 521)
		o->failure->kind = OUTCOME_FAILED;
	return r;
}

/* EHLO, or what stands in for it. */
static int introduce(struct opening *o)
{
	struct smtp_client *c = o->client;
	usec_t timeout = c->settings->config.command_timeout;
	const char *host = c->peer.source && c->peer.source->ehlo ? c->peer.source->ehlo : c->settings->hostname;
	struct reply reply;
	int r;

	c->extensions = (struct extensions) { 0 };
	r = smtp_client_ask(c, arena_printf(c->arena, "%s %s", c->peer.lmtp ? "LHLO" : "EHLO", host), timeout, o->scratch, &reply);
	if (r < 0)
		return lost(o, STAGE_EHLO, r);
	if (reply.code == 250) {
		extensions_parse(slice_from(reply.text), &c->extensions);
		return 0;
	}
	/* RFC 5321 section 3.2: a server that doesn't know EHLO is greeted with HELO. */
	if (REPLY_PERMANENT(&reply) && !c->peer.lmtp) {
		r = smtp_client_ask(c, arena_printf(c->arena, "HELO %s", host), timeout, o->scratch, &reply);
		if (r < 0)
			return lost(o, STAGE_EHLO, r);
		if (reply.code == 250)
			return 0;
	}
	return refused(o, STAGE_EHLO, &reply);
}

/* --- TLS ------------------------------------------------------------------------------------------------- */

/* For each TLS failure: what it means for whom. A policy of the domain concerns the mail of this domain, not all of the site. */
static int tls_trouble(struct opening *o, int detail, const char *text)
{
	const struct host_policy *p = o->client->peer.policy;
	int r;

	if (p && p->by != VOICE_ROUTE && text)
		text = arena_printf(o->scratch, "%s (wanted here: %s)", text, p->wanted);
	r = trouble(o, STAGE_STARTTLS, CLASS_TLS, detail, text);
	o->failure->site_fault = !p || p->by == VOICE_ROUTE;
	return r;
}

static int handshake(struct opening *o)
{
	struct smtp_client *c = o->client;
	struct tls_failure failure = { 0 };
	struct tls_context *context = deliver_settings_tls(c->settings, c->peer.login);
	struct tls_expected expected;
	struct tls_info info;
	char ip[IP_TEXT];
	int r;

	c->remote.tls_reached = NULL;
	if (!context)
		return tls_trouble(o, 0, "the client certificate for this relay belongs to another configuration than the one in force");
	/* What the server sent in the clear behind its 220 may be somebody else's; nobody sends that in
	 * good faith (RFC 3207 section 4.2). */
	if (stream_peek(c->stream).len > 0)
		return tls_trouble(o, 5, arena_printf(o->scratch, "%s sent something in the clear behind its reply to STARTTLS",
						      remote_name(&c->remote, o->scratch)));
	r = protection_expect(&c->peer, c->remote.ip.family ? ip_format(&c->remote.ip, ip) : NULL, o->scratch, &expected);
	if (r >= 0)
		r = tls_connect_to(context, c->stream, &expected, smtp_client_deadline(c, c->settings->config.command_timeout),
				   o->scratch, &info, &failure);
	if (r >= 0)
		r = protection_reached(c, &info, &failure.why);
	if (r == -ECANCELED || r == -ENOMEM)
		return lost(o, STAGE_STARTTLS, r);
	if (r < 0) {
		protection_note_failure(c, r, &failure);
		(void) tls_trouble(o, r == -EKEYREJECTED ? 5 : 0,
				   arena_printf(o->scratch, "%s: %s", remote_name(&c->remote, o->scratch),
						failure.why ? failure.why : "the TLS handshake failed"));
		return r;
	}
	protection_note_success(c, &info);
	line_reader_init(&c->lines, c->stream);
	c->lines.accept_bare_lf = true;
	return 0;
}

/* STARTTLS as the policy wants it. After TLS was started, EHLO must be said again. 1: started; 0: goes on without. */
static int start_tls(struct opening *o)
{
	struct smtp_client *c = o->client;
	bool needed = c->peer.tls != TLS_MAY && c->peer.tls != TLS_NONE;
	struct reply reply;
	int r;

	if (c->encrypted || c->peer.tls == TLS_NONE)
		return 0;
	if (!(c->extensions.bits & EXT_STARTTLS)) {
		protection_note(c->deliverer, c->peer.policy, &c->remote, c->greeting, TLS_REPORT_STARTTLS_NOT_SUPPORTED, NULL);
		if (!needed)
			return 0;
		return tls_trouble(o, 4, arena_printf(o->scratch, "%s does not offer STARTTLS, and TLS is required here",
						      remote_name(&c->remote, o->scratch)));
	}
	r = smtp_client_ask(c, "STARTTLS", c->settings->config.command_timeout, o->scratch, &reply);
	if (r < 0)
		return lost(o, STAGE_STARTTLS, r);
	if (reply.code != 220) {
		protection_note(c->deliverer, c->peer.policy, &c->remote, c->greeting, TLS_REPORT_STARTTLS_NOT_SUPPORTED, reply.text);
		if (!needed && reply.code != 421)
			return 0;
		r = refused(o, STAGE_STARTTLS, &reply);
		o->failure->class = CLASS_TLS;
		return r;
	}
	r = handshake(o);
	return r < 0 ? r : 1;
}

/* --- all of it --------------------------------------------------------------------------------------------- */

static int open_steps(struct opening *o)
{
	struct smtp_client *c = o->client;
	int r;

	r = connect_peer(o);
	if (r >= 0 && c->peer.implicit_tls)
		r = handshake(o);
	if (r >= 0)
		r = hear_greeting(o);
	if (r >= 0)
		r = introduce(o);
	if (r < 0)
		return r;
	r = start_tls(o);
	if (r > 0)
		r = introduce(o);
	if (r < 0)
		return r;
	recall_bdat(c);
	return c->peer.login ? login(c, o->scratch, o->failure) : 0;
}

int smtp_client_open(struct deliverer *d, const struct deliver_settings *settings, const struct smtp_peer *peer,
		     struct arena *scratch, struct smtp_client **ret, struct outcome *ret_failure)
{
	struct smtp_client *c = calloc(1, sizeof(*c));
	struct opening o = { .client = c, .scratch = scratch, .failure = ret_failure };
	int r;

	if (!c || arena_new(0, &c->arena) < 0) {
		free(c);
		if (peer->connected)
			stream_free(TAKE_PTR(*peer->connected));
		failure_local(ret_failure, STAGE_CONNECT, CLASS_OTHER, 451, 3, 0, NULL);
		return -ENOMEM;
	}
	c->deliverer = d;
	c->settings = settings;
	c->peer = *peer;
	c->until = peer->until ? peer->until : DEADLINE_NEVER;
	c->remote.host = peer->host;
	if (peer->endpoint.kind == ENDPOINT_IP)
		c->remote.ip = peer->endpoint.ip;
	if (peer->policy && !peer->lmtp)
		c->remote.tls_wanted = arena_strdup(c->arena, peer->policy->wanted);
	r = open_steps(&o);
	c->peer.policy = NULL;
	if (r < 0) {
		bool polite = ret_failure->from_remote && ret_failure->reply.code != 421;

		/* Its words may refer to the client's own memory. */
		outcome_copy(ret_failure, scratch, ret_failure);
		smtp_client_close(c, polite);
		return r;
	}
	*ret = c;
	return 0;
}

void smtp_client_close(struct smtp_client *c, bool polite)
{
	struct reply reply;

	if (!c)
		return;
	c->until = DEADLINE_NEVER;
	if (polite && c->stream && smtp_client_ask(c, "QUIT", QUIT_TIME, c->arena, &reply) == -ECANCELED)
		stream_flush_now(c->stream);
	stream_free(c->stream);
	arena_free(c->arena);
	free(c);
}
