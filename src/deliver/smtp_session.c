#include "deliver/smtp_session.h"

#include <stdlib.h>

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

/* The search for a server that listens. */
struct search {
	struct smtp_session *session;
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

/* Which of two failures tells more: a server's own words before silence, a temporary one before a final one (as long
 * as one host may take it later, nothing is final). */
static void note_failure(struct search *s, const struct outcome *o)
{
	bool better = !s->failed || (s->failure.kind == OUTCOME_FAILED && o->kind != OUTCOME_FAILED) ||
		      (o->from_remote && !s->failure.from_remote && o->kind == s->failure.kind);

	if (better)
		s->failure = *o;
	s->failed = true;
}

/* --- one address ------------------------------------------------------------------------------------------------ */

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

/* 0: s->session->client is there. -ECANCELED ends the search; other errors mean the next address. */
static int try_endpoint(struct search *s, const struct target_host *host, const struct endpoint *endpoint)
{
	struct smtp_session *session = s->session;
	struct smtp_peer peer;
	struct outcome failure;
	int r;

	s->tried++;
	fill_peer(session, host, endpoint, &peer);
	r = smtp_client_open(session->deliverer, session->settings, &peer, session->arena, &session->client, &failure);
	if (r < 0 && failure.stage == STAGE_STARTTLS && !failure.from_remote && peer.tls == TLS_MAY && !peer.implicit_tls &&
	    r != -ECANCELED) {
		/* Opportunistic TLS (RFC 7435): what fails to be encrypted goes in the clear rather than not at
		 * all, unless somebody asked for more. */
		LOG(session->deliverer->log, LOG_INFO, "TLS failed; trying again without, as the policy allows",
		    F_STR("site", session->info->site), F_STR("reason", failure.reply.text));
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
	if (r < 0)
		return r;
	if (ret->n == 0)
		note_trouble(s, host, CLASS_UNREACHABLE, ret->temporary ? 451 : 550, ret->temporary ? 3 : 4,
			     arena_printf(session->arena, ret->temporary ? "the addresses of %s could not be looked up for now"
									 : "the host %s has no address",
					  host->name ? host->name : "the target"));
	return 0;
}

static int try_host(struct search *s, const struct target_host *host)
{
	struct smtp_session *session = s->session;
	unsigned most = session->settings->config.max_addresses;
	struct address_list addresses;
	int r;

	r = find_addresses(s, host, &addresses);
	if (r < 0)
		return r;
	r = -EHOSTUNREACH;
	for (unsigned i = 0; i < addresses.n && s->tried < most; i++) {
		struct endpoint endpoint = { .kind = ENDPOINT_IP, .ip = addresses.ips[i], .port = host->port };

		if (session->info->hop->kind == HOP_MX && route_is_own_address(session->deliverer->router, &endpoint.ip, endpoint.port)) {
			note_trouble(s, host, CLASS_OTHER, 554, 6,
				     arena_printf(session->arena, "mail for %s loops back: %s is an address of this server",
						  session->info->domain, host->name ? host->name : "the host"));
			continue;
		}
		r = try_endpoint(s, host, &endpoint);
		if (r == 0 || r == -ECANCELED)
			return r;
	}
	return r;
}

/* Looks for a server that talks to us: 0 with a client, or *ret_failure in s->arena. */
static int find_connection(struct smtp_session *session, struct outcome *ret_failure)
{
	const struct target *target = session->info->target;
	const struct hop *hop = session->info->hop;
	struct search s = { .session = session };
	struct target_host *hosts;
	int r = -EHOSTUNREACH;

	arena_reset(session->arena);
	if (hop->kind == HOP_LMTP && hop->lmtp.kind != ENDPOINT_NONE) {
		r = try_endpoint(&s, NULL, &hop->lmtp);
	} else {
		hosts = arena_new_array(session->arena, struct target_host, MAX(target->n_hosts, 1u));
		if (hosts && target->n_hosts > 0) {
			memcpy(hosts, target->hosts, target->n_hosts * sizeof(*hosts));
			shuffle_equals(session->deliverer->world, hosts, target->n_hosts);
		}
		for (unsigned i = 0; hosts && i < target->n_hosts && r != 0 && r != -ECANCELED; i++)
			r = try_host(&s, &hosts[i]);
	}
	if (r == 0)
		return 0;
	if (!s.failed)
		failure_local(&s.failure, STAGE_DNS, CLASS_UNREACHABLE, 451, 4, 4, "there is no host to connect to");
	if (r == -ECANCELED)
		s.failure.kind = OUTCOME_NONE;
	*ret_failure = s.failure;
	return r;
}

/* --- one delivery ----------------------------------------------------------------------------------------------------- */

static void disconnect(struct smtp_session *s, bool polite)
{
	smtp_client_close(TAKE_PTR(s->client), polite);
}

static void carry(struct smtp_session *s, struct delivery *d)
{
	bool fresh;
	int r;

	if (s->client && s->client->messages >= s->settings->config.messages_per_connection)
		disconnect(s, true);
	do {
		struct outcome failure;

		fresh = !s->client;
		if (fresh && find_connection(s, &failure) < 0) {
			failure_spread(&failure, d);
			return;
		}
		for (unsigned i = 0; i < d->n_recipients; i++)
			d->recipients[i].outcome = (struct outcome) { .kind = OUTCOME_NONE };
		r = smtp_transaction(s->client, d);
		if (r < 0)
			disconnect(s, false);
		/* A kept connection that the server has closed meanwhile says nothing about this message. */
	} while (r == -ESTALE && !fresh);
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
