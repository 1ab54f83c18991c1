#include "deliver/smtp_session.h"

#include <stdlib.h>

#include "deliver/services.h"
#include "deliver/smtp_client.h"
#include "deliver/smtp_transaction.h"

struct smtp_session {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	struct slot *slot;
	const struct slot_info *info;
	struct arena *arena;        /* of the last search for a connection, and of what was found */
	struct smtp_client *client; /* NULL: no connection */
};

/* The search for a server that takes a delivery: host by host, address by address. It goes on where it was when a
 * connection breaks in the middle. */
struct search {
	struct smtp_session *session;
	const struct delivery *delivery;
	struct target_host *hosts; /* in the order in which they are tried */
	unsigned n_hosts;
	unsigned host;          /* the one that is being tried */
	bool begun;             /* its addresses are known */
	struct address_list addresses;
	unsigned address;       /* the next one of them */
	unsigned tried;
	bool failed;            /* `failure` holds something */
	struct outcome failure; /* the most telling failure so far */
};

/* --- hosts in order ------------------------------------------------------------------------------------------- */

/* RFC 5321 section 5.1: hosts of equal preference in random order. They are sorted by preference already. */
static void shuffle_equals(struct world *w, struct target_host *hosts, unsigned n)
{
	for (unsigned from = 0, to; from < n; from = to) {
		to = from + 1;
		while (to < n && hosts[to].preference == hosts[from].preference)
			to++;
		for (unsigned left = to - from; left > 1; left--) {
			unsigned a = from + left - 1, b = from + (unsigned) world_random_below(w, left);
			struct target_host other = hosts[a];

			hosts[a] = hosts[b];
			hosts[b] = other;
		}
	}
}

/* For the trace: what happened to somebody else than the server whose reply the queue will hear of. */
static void tell(const struct search *s, const struct outcome *o, const char *what)
{
	const struct delivery *d = s->delivery;
	const char *to = d->recipients[0].address;
	char ip[IP_TEXT];

	if (!s->session->deliverer->events)
		return;
	if (d->n_recipients > 1)
		to = arena_printf(s->session->arena, "%s and %u more", to, d->n_recipients - 1);
	EVENT(s->session->deliverer->events, d->id, EVENT_ATTEMPT, F_STR("to", to), F_STR("site", s->session->info->site),
	      F_STR("host", o->host), F_STR("address", o->ip.family ? ip_format(&o->ip, ip) : NULL), F_STR("tls", o->tls),
	      F_STR("reply", reply_to_line(&o->reply, s->session->arena)), F_STR("stage", stage_name(o->stage)),
	      F_STR("outcome", what));
}

/* Which of two failures tells more: a server's own words before silence, a temporary one before a final one (as long
 * as one host may take it later, nothing is final). */
static void note_failure(struct search *s, const struct outcome *o)
{
	bool better = !s->failed || (s->failure.kind == OUTCOME_FAILED && o->kind != OUTCOME_FAILED) ||
		      (o->from_remote && !s->failure.from_remote && o->kind == s->failure.kind);

	if (s->failed)
		tell(s, better ? &s->failure : o, "next host");
	if (better)
		s->failure = *o;
	s->failed = true;
}

/* --- one address ------------------------------------------------------------------------------------------------ */

static bool needs_tls(const struct smtp_session *s, const struct delivery *d)
{
	return s->info->hop->kind != HOP_LMTP && services_need_tls(d->envelope);
}

static bool has_protection(const struct smtp_client *c)
{
	return c->verified && (c->extensions.bits & EXT_REQUIRETLS);
}

static void fill_peer(const struct smtp_session *s, const struct target_host *host, const struct endpoint *endpoint,
		      struct smtp_peer *ret)
{
	const struct hop *hop = s->info->hop;

	*ret = (struct smtp_peer) { .endpoint = *endpoint, .host = host ? host->name : NULL, .tls = hop->tls };
	if (hop->kind == HOP_RELAY) {
		ret->tls = hop->relay->tls;
		ret->implicit_tls = hop->relay->implicit_tls;
		ret->login = hop->relay->user ? hop->relay : NULL;
	} else if (hop->kind == HOP_LMTP) {
		ret->tls = TLS_NONE;
		ret->lmtp = true;
	}
}

static void disconnect(struct smtp_session *s, bool polite)
{
	smtp_client_close(TAKE_PTR(s->client), polite);
}

/* RFC 8689 section 4.2.1: without protection this message goes back, and nothing follows from that for others. */
static void note_missing_protection(struct search *s, const struct smtp_peer *peer, bool encrypted, struct outcome *failure)
{
	struct remote remote = { .host = peer->host, .ip = peer->endpoint.ip };
	struct arena *a = s->session->arena;
	const char *name = remote_name(&remote, a);

	if (encrypted)
		failure_local(failure, STAGE_EHLO, CLASS_POLICY, 550, 7, 30,
			      arena_printf(a, "%s does not offer REQUIRETLS, which the message needs", name));
	else
		failure_local(failure, STAGE_STARTTLS, CLASS_POLICY, 550, 7, 10,
			      arena_printf(a, "the message needs verified TLS (REQUIRETLS): %s", failure->reply.text));
	failure->host = arena_strdup(a, peer->host);
	failure->ip = peer->endpoint.ip;
}

/* 0: s->session->client is there, and good enough. Else *failure says why. */
static int open_protected(struct search *s, struct smtp_peer *peer, struct outcome *failure)
{
	struct smtp_session *session = s->session;
	int r;

	peer->tls = TLS_VERIFY;
	r = smtp_client_open(session->deliverer, session->settings, peer, session->arena, &session->client, failure);
	if (r == 0 && !has_protection(session->client)) {
		disconnect(session, true);
		note_missing_protection(s, peer, true, failure);
		return -EACCES;
	}
	if (r == 0 || r == -ECANCELED || failure->stage != STAGE_STARTTLS)
		return r;
	if (!failure->from_remote)
		note_missing_protection(s, peer, false, failure);
	failure->site_fault = false; /* without TLS it may take all other mail */
	failure->class = CLASS_POLICY;
	return r;
}

/* 0: s->session->client is there. -ECANCELED ends the search; other errors mean the next address. */
static int try_endpoint(struct search *s, const struct target_host *host, const struct endpoint *endpoint)
{
	struct smtp_session *session = s->session;
	struct smtp_peer peer;
	struct outcome failure;
	int r;

	s->tried++;
	fill_peer(session, host, endpoint, &peer);
	if (needs_tls(session, s->delivery))
		r = open_protected(s, &peer, &failure);
	else
		r = smtp_client_open(session->deliverer, session->settings, &peer, session->arena, &session->client, &failure);
	if (r < 0 && failure.stage == STAGE_STARTTLS && !failure.from_remote && peer.tls == TLS_MAY && !peer.implicit_tls &&
	    r != -ECANCELED && r != -ENOMEM) {
		/* Opportunistic TLS (RFC 7435): what fails to be encrypted goes in the clear rather than not at
		 * all, unless somebody asked for more. */
		LOG(session->deliverer->log, LOG_INFO, "TLS failed; trying again without, as the policy allows",
		    F_STR("site", session->info->site), F_STR("reason", failure.reply.text));
		tell(s, &failure, "again without TLS");
		peer.tls = TLS_NONE;
		r = smtp_client_open(session->deliverer, session->settings, &peer, session->arena, &session->client, &failure);
	}
	if (r < 0)
		note_failure(s, &failure);
	return r;
}

static void note_trouble(struct search *s, const struct target_host *host, enum reply_class class, int code, int detail,
			 const char *text)
{
	struct outcome o;

	failure_local(&o, STAGE_DNS, class, code, 4, detail, text);
	o.site_fault = true;
	o.host = host->name;
	note_failure(s, &o);
}

/* --- one host ------------------------------------------------------------------------------------------------------- */

static int find_addresses(struct search *s, const struct target_host *host, struct address_list *ret)
{
	struct smtp_session *session = s->session;
	int r;

	*ret = (struct address_list) { 0 };
	r = route_addresses(session->deliverer->router, host,
			    deadline_after(now(), session->settings->config.connect_timeout), session->arena, ret);
	if (r == -ENOMEM) {
		struct outcome o;

		failure_local(&o, STAGE_DNS, CLASS_OTHER, 451, 3, 0, NULL);
		note_failure(s, &o);
	}
	if (r < 0)
		return r;
	if (ret->n == 0)
		note_trouble(s, host, CLASS_UNREACHABLE, ret->temporary ? 451 : 550, ret->temporary ? 3 : 4,
			     arena_printf(session->arena, ret->temporary ? "the addresses of %s could not be looked up for now"
									 : "the host %s has no address",
					  host->name ? host->name : "the target"));
	return 0;
}

/* The next address of the host; -EHOSTUNREACH when there are no more. */
static int try_next_address(struct search *s, const struct target_host *host)
{
	struct smtp_session *session = s->session;
	struct endpoint endpoint = { .kind = ENDPOINT_IP, .ip = s->addresses.ips[s->address++], .port = host->port };

	if (session->info->hop->kind == HOP_MX &&
	    route_is_own_address(session->deliverer->router, &endpoint.ip, endpoint.port)) {
		note_trouble(s, host, CLASS_OTHER, 554, 6,
			     arena_printf(session->arena, "mail for %s loops back: %s is an address of this server",
					  session->info->domain, host->name ? host->name : "the host"));
		return -EHOSTUNREACH;
	}
	return try_endpoint(s, host, &endpoint);
}

static int try_hosts(struct search *s)
{
	unsigned most = s->session->settings->config.max_addresses;
	int r;

	for (; s->host < s->n_hosts && s->tried < most; s->host++, s->begun = false) {
		const struct target_host *host = &s->hosts[s->host];

		if (!s->begun) {
			r = find_addresses(s, host, &s->addresses);
			if (r == -ECANCELED)
				return r;
			s->begun = true;
			s->address = 0;
		}
		while (s->address < s->addresses.n && s->tried < most) {
			r = try_next_address(s, host);
			if (r == 0 || r == -ECANCELED)
				return r;
		}
	}
	return -EHOSTUNREACH;
}

static int search_begin(struct search *s, struct smtp_session *session, const struct delivery *d)
{
	const struct target *target = session->info->target;

	arena_reset(session->arena);
	*s = (struct search) { .session = session, .delivery = d };
	s->hosts = arena_new_array(session->arena, struct target_host, MAX(target->n_hosts, 1u));
	if (!s->hosts)
		return -ENOMEM;
	if (target->n_hosts > 0)
		memcpy(s->hosts, target->hosts, target->n_hosts * sizeof(*s->hosts));
	s->n_hosts = target->n_hosts;
	shuffle_equals(session->deliverer->world, s->hosts, s->n_hosts);
	return 0;
}

/* Looks for the next server that talks to us: 0 with a client, or s->failure, with strings in the session's arena. */
static int find_connection(struct search *s)
{
	const struct hop *hop = s->session->info->hop;
	int r = -EHOSTUNREACH;

	if (hop->kind == HOP_LMTP && hop->lmtp.kind != ENDPOINT_NONE) {
		if (s->tried == 0)
			r = try_endpoint(s, NULL, &hop->lmtp);
	} else {
		r = try_hosts(s);
	}
	if (r == 0) {
		if (s->failed)
			tell(s, &s->failure, "next host");
		s->failed = false;
		return 0;
	}
	if (!s->failed)
		failure_local(&s->failure, STAGE_DNS, CLASS_UNREACHABLE, 451, 4, 4, "there is no host to connect to");
	if (r == -ECANCELED)
		s->failure.kind = OUTCOME_NONE;
	return r;
}

/* --- one delivery ----------------------------------------------------------------------------- */

static void forget_outcomes(struct delivery *d)
{
	for (unsigned i = 0; i < d->n_recipients; i++)
		d->recipients[i].outcome = (struct outcome) { .kind = OUTCOME_NONE };
}

/* The connection broke, or the server said that it is closing, before the content was out: nobody has taken the message
 * for these. */
static bool may_go_elsewhere(const struct outcome *o)
{
	return o->kind == OUTCOME_DEFERRED && o->stage >= STAGE_MAIL && o->stage < STAGE_DOT &&
	       (!o->from_remote || o->reply.code == 421);
}

/* Narrows the delivery down to the recipients that another server may take; the others keep their outcomes. False:
 * there are none. */
static bool keep_unanswered(struct delivery *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_recipients; i++) {
		struct delivery_recipient r = d->recipients[i];

		if (!may_go_elsewhere(&r.outcome))
			continue;
		d->recipients[i] = d->recipients[n];
		d->recipients[n++] = r;
	}
	d->n_recipients = n;
	return n > 0;
}

/* May the connection that is there be used for one more? RFC 9422 section 4.1: MAILMAX. */
static bool is_fit(const struct smtp_session *s, const struct delivery *d)
{
	const struct smtp_client *c = s->client;
	unsigned most = s->settings->config.messages_per_connection;

	if (c->extensions.mail_max > 0)
		most = MIN(most, c->extensions.mail_max);
	return c->messages < most && (!needs_tls(s, d) || has_protection(c));
}

/* RFC 5321 section 5.1: the hosts are tried in order until one succeeds. That one has answered the first words is no
 * success yet; without going on, one that always breaks down later would keep the others from ever being asked. */
static void carry(struct smtp_session *s, struct delivery *whole)
{
	struct delivery d = *whole;
	struct search search;
	bool fresh;
	int r = 0;

	if (s->client && !is_fit(s, whole))
		disconnect(s, true);
	if (search_begin(&search, s, &d) < 0) {
		failure_local(&search.failure, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0, NULL);
		failure_spread(&search.failure, &d);
		return;
	}
	for (;;) {
		fresh = !s->client;
		if (fresh && find_connection(&search) < 0) {
			failure_spread(&search.failure, &d);
			return;
		}
		if (d.recipients[0].outcome.kind != OUTCOME_NONE)
			tell(&search, &d.recipients[0].outcome, "next host");
		forget_outcomes(&d);
		r = smtp_transaction(s->client, &d);
		if (r >= 0)
			return;
		disconnect(s, false);
		if (r == -ESTALE && !fresh)
			forget_outcomes(&d); /* that the server has closed meanwhile says nothing about this message */
		else if (r == -ECANCELED || r == -EIO || !keep_unanswered(&d))
			return;
	}
}

void smtp_session_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct smtp_session s = { .deliverer = d, .settings = settings, .slot = slot, .info = slot_info(slot) };
	struct delivery *delivery;

	if (arena_new(2048, &arena) < 0)
		return; /* the queue opens another slot when there is memory again */
	s.arena = arena;
	while (slot_next(slot, deadline_after(now(), settings->config.idle_timeout), &delivery) == 0) {
		carry(&s, delivery);
		slot_done(slot, delivery);
	}
	disconnect(&s, true);
}
