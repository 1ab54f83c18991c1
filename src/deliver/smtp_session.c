#include "deliver/smtp_session.h"

#include <stdlib.h>

#include "deliver/candidates.h"
#include "deliver/protection.h"
#include "deliver/smtp_transaction.h"

#define BDAT_FAILURES_MAX 3u /* hosts that are found not to cope with it, in one attempt */

struct smtp_session {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	struct slot *slot;
	const struct slot_info *info;
	struct arena *arena;        /* of the last search for a connection, and of what was found */
	struct smtp_client *client; /* NULL: no connection */
	/* For mail to this domain with this wish the connection was found to be protected well enough; policies may change, so
	 * not for ever. */
	char cleared[DOMAIN_MAX + 1];
	enum policy_wish cleared_wish;
	usec_t cleared_until;
};

#define CLEARED_FOR USEC_MIN

/* The search for a server that takes a delivery, through the candidates. It goes on where it was when a connection breaks
 * in the middle. */
struct search {
	struct smtp_session *session;
	const struct delivery *delivery;
	struct policies policies;
	struct candidates candidates;
	usec_t until;           /* the end of the attempt, whatever comes */
	unsigned tried;         /* of an LMTP server with a fixed place: 0 or 1 */
	bool failed;            /* `failure` holds something */
	struct outcome failure; /* the most telling failure so far */
};

/* --- failures ------------------------------------------------------------------------------------------------- */

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
	      F_STR("host", o->host), F_STR("address", o->ip.family ? ip_format(&o->ip, ip) : NULL), F_STR("source", o->source),
	      F_STR("tls", o->tls), F_STR("tls_wanted", o->tls_wanted), F_STR("tls_reached", o->tls_reached),
	      F_STR("reply", reply_to_line(&o->reply, s->session->arena)), F_STR("stage", stage_name(o->stage)), F_STR("outcome", what));
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

/* policy NULL: to a mailbox server. */
static void fill_peer(const struct smtp_session *s, const struct target_host *host, const struct host_policy *policy,
		      const struct dial_target *at, struct smtp_peer *ret)
{
	const struct hop *hop = s->info->hop;

	*ret = (struct smtp_peer) {
		.endpoint = at->to, .host = host ? host->name : NULL, .tls = TLS_NONE, .from = at->from, .source = at->source
	};
	if (hop->kind == HOP_LMTP || !policy) {
		ret->lmtp = true;
		return;
	}
	ret->policy = policy;
	ret->tls = policy->tls;
	if (hop->kind == HOP_RELAY) {
		ret->implicit_tls = hop->relay->implicit_tls;
		ret->login = relay_has_login(hop->relay) ? hop->relay : NULL;
	}
}

static void disconnect(struct smtp_session *s, bool polite)
{
	smtp_client_close(TAKE_PTR(s->client), polite);
	s->cleared_until = 0;
}

/* The connection is good enough for such mail. */
static void clear(struct smtp_session *s, const struct policies *p)
{
	(void) slice_copy(p->recipients_domain, s->cleared, sizeof(s->cleared));
	s->cleared_wish = p->wish;
	s->cleared_until = deadline_after(now(), CLEARED_FOR);
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

	r = smtp_client_open(session->deliverer, session->settings, peer, session->arena, &session->client, failure);
	if (r == 0 && !(session->client->extensions.bits & EXT_REQUIRETLS)) {
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

/* connected: the connection to it, which is taken; NULL: none yet. 0: s->session->client is there. -ECANCELED ends the
 * search; other errors mean the next address. */
static int try_endpoint(struct search *s, const struct target_host *host, const struct host_policy *policy,
			const struct dial_target *at, struct stream **connected)
{
	struct smtp_session *session = s->session;
	struct smtp_peer peer;
	struct outcome failure;
	int r;

	fill_peer(session, host, policy, at, &peer);
	peer.connected = connected;
	peer.until = s->until;
	if (policy && policy->wish == WISH_PROTECTED)
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
	if (r < 0 && host)
		candidates_failed(&s->candidates, host, &failure);
	if (r >= 0)
		clear(session, &s->policies);
	return r;
}

/* --- all of them ------------------------------------------------------------------------------------------------------- */

static void note_candidate(void *context, const struct outcome *o)
{
	note_failure(context, o);
}

static usec_t attempt_until(const struct smtp_session *s, const struct delivery *d)
{
	const struct deliver_config *c = &s->settings->config;

	return deadline_after(deadline_after(now(), c->attempt_timeout), d->envelope->size * USEC_SEC / c->minimum_rate);
}

static int search_begin(struct search *s, struct smtp_session *session, const struct delivery *d, usec_t until)
{
	arena_reset(session->arena);
	*s = (struct search) {
		.session = session,
		.delivery = d,
		.until = until,
		.candidates = { .info = session->info, .trouble = note_candidate, .context = s },
	};
	policies_begin(&s->policies, session->deliverer, session->settings, session->info, d, session->arena);
	s->candidates.policies = session->info->hop->kind == HOP_LMTP ? NULL : &s->policies;
	s->candidates.race = (struct race) {
		.deliverer = session->deliverer, .settings = session->settings, .arena = session->arena, .until = s->until
	};
	return candidates_begin(&s->candidates);
}

/* The next connection that becomes a session. */
static int try_candidates(struct search *s)
{
	for (;;) {
		const struct candidate *c;
		struct stream *stream;
		int r;

		r = candidates_connect(&s->candidates, &c, &stream);
		if (r < 0)
			return r;
		r = try_endpoint(s, c->host, c->policy, &c->at, &stream);
		if (r == 0)
			candidates_worked(&s->candidates, c);
		if (r == 0 || r == -ECANCELED)
			return r;
	}
}

/* Looks for the next server that talks to us: 0 with a client, or s->failure, with strings in the session's arena. */
static int find_connection(struct search *s)
{
	const struct hop *hop = s->session->info->hop;
	int r = -EHOSTUNREACH;

	if (hop->kind == HOP_LMTP && hop->lmtp.kind != ENDPOINT_NONE) {
		if (s->tried++ == 0)
			r = try_endpoint(s, NULL, NULL, &(struct dial_target) { .to = hop->lmtp }, NULL);
	} else {
		r = try_candidates(s);
	}
	if (r == -ENOMEM && !s->failed) {
		failure_local(&s->failure, STAGE_DNS, CLASS_OTHER, 451, 3, 0, NULL);
		s->failed = true;
	}
	if (r == 0) {
		if (s->failed)
			tell(s, &s->failure, "next host");
		s->failed = false;
		return 0;
	}
	if (!s->failed)
		failure_local(&s->failure, STAGE_DNS, CLASS_UNREACHABLE, 451, 4, 4,
			      now() < s->until ? "there is no host to connect to"
					       : "the attempt took longer than deliver.attempt_timeout and minimum_rate allow");
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

/* The server could not cope with BDAT: what it said about the content does not count. */
static bool is_about_content(const struct outcome *o)
{
	return o->kind == OUTCOME_DEFERRED && (o->stage == STAGE_DATA || o->stage == STAGE_DOT);
}

/* There was no room for it in the transaction. */
static bool is_left_over(const struct outcome *o)
{
	return o->kind == OUTCOME_NONE;
}

/* Narrows the delivery down to some of its recipients; the others keep their outcomes. False: there are none. */
static bool keep(struct delivery *d, bool (*which)(const struct outcome *o))
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_recipients; i++) {
		struct delivery_recipient r = d->recipients[i];

		if (!which(&r.outcome))
			continue;
		d->recipients[i] = d->recipients[n];
		d->recipients[n++] = r;
	}
	d->n_recipients = n;
	return n > 0;
}

/* Is the connection that is there protected as this delivery needs it? */
static bool is_protected(struct smtp_session *s, const struct delivery *d)
{
	struct smtp_client *c = s->client;
	struct target_host host = { .name = c->remote.host, .ip = c->remote.ip, .port = c->peer.endpoint.port };
	const struct host_policy *policy;
	struct policies p;

	if (c->peer.lmtp)
		return true;
	policies_begin(&p, s->deliverer, s->settings, s->info, d, s->arena);
	if (p.wish == WISH_PROTECTED && !(c->extensions.bits & EXT_REQUIRETLS))
		return false;
	if (now() < s->cleared_until && p.wish == s->cleared_wish && slice_ieq_str(p.recipients_domain, s->cleared))
		return true;
	arena_reset(s->arena);
	if (policies_of_host(&p, &host, &policy) < 0 || !protection_holds(c, policy))
		return false;
	c->remote.tls_wanted = arena_strdup(c->arena, policy->wanted);
	clear(s, &p);
	return true;
}

/* May the connection that is there be used for one more? RFC 9422 section 4.1: MAILMAX. */
static bool is_fit(struct smtp_session *s, const struct delivery *d)
{
	const struct smtp_client *c = s->client;
	unsigned most = s->info->messages_per_connection;

	if (most == 0)
		most = s->settings->config.messages_per_connection;
	if (c->extensions.mail_max > 0 && c->mails >= c->extensions.mail_max)
		return false;
	return c->messages < most && is_protected(s, d);
}

static int no_memory(struct delivery *d)
{
	struct outcome o;

	failure_local(&o, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0, NULL);
	failure_spread(&o, d);
	return -ENOMEM;
}

/* One transaction, over the connection that is there or a new one. 1: the delivery is narrowed down to recipients that
 * another one may bring further; 0: that was all. -EPROTONOSUPPORT: 1 by DATA, and from the beginning of the search. */
static int carry_once(struct search *search, struct delivery *d)
{
	struct smtp_session *s = search->session;
	bool fresh = !s->client;
	int r = 0;

	if (fresh) {
		slot_searches(s->slot, true);
		r = find_connection(search);
		slot_searches(s->slot, false);
	}
	if (r < 0) {
		failure_spread(&search->failure, d);
		return 0;
	}
	s->client->until = search->until;
	if (d->recipients[0].outcome.kind != OUTCOME_NONE)
		tell(search, &d->recipients[0].outcome, "next host");
	forget_outcomes(d);
	r = smtp_transaction(s->client, d);
	if (r >= 0)
		return keep(d, is_left_over);
	disconnect(s, false);
	if (r == -ECANCELED || r == -EIO)
		return 0;
	if (r == -ESTALE && !fresh) {
		forget_outcomes(d); /* that the server has closed meanwhile says nothing about this message */
		return 1;
	}
	if (r != -EPROTONOSUPPORT)
		return keep(d, may_go_elsewhere);
	return keep(d, is_about_content) ? r : 0;
}

/* RFC 5321 section 5.1: the hosts are tried in order until one succeeds. That one has answered the first words is no
 * success yet; without going on, one that always breaks down later would keep the others from ever being asked. What the
 * server has not taken because a transaction of it is small (RFC 9422, RFC 5321 section 4.5.3.1.10) follows at once. */
static void carry(struct smtp_session *s, struct delivery *whole)
{
	struct delivery d = *whole;
	struct search search;
	unsigned by_data = 0;
	int r = 1;

	if (s->client && !is_fit(s, whole))
		disconnect(s, true);
	if (search_begin(&search, s, &d, attempt_until(s, whole)) < 0) {
		(void) no_memory(&d);
		return;
	}
	for (;;) {
		r = carry_once(&search, &d);
		if (r == 0 || (r < 0 && ++by_data > BDAT_FAILURES_MAX))
			return;
		if (r > 0 && !s->client)
			continue; /* with the next candidate */
		if (r < 0) {
			tell(&search, &d.recipients[0].outcome, "again without BDAT");
			forget_outcomes(&d);
		}
		if (s->client && !is_fit(s, whole))
			disconnect(s, true);
		if (search_begin(&search, s, &d, r < 0 ? search.until : attempt_until(s, whole)) < 0) {
			(void) no_memory(&d);
			return;
		}
	}
}

/* Moves the recipients of the first one's domain to the front; returns how many there are. */
static unsigned gather_domain(struct delivery_recipient *r, unsigned n)
{
	struct slice domain = policies_address_domain(r[0].address);
	unsigned same = 1;

	for (unsigned i = 1; i < n; i++) {
		struct delivery_recipient found = r[i];

		if (!slice_ieq(policies_address_domain(found.address), domain))
			continue;
		r[i] = r[same];
		r[same++] = found;
	}
	return same;
}

/* Domains that share their hosts share transactions, too, unless what they publish differs: then each domain's recipients go
 * as it wants them to. */
static void carry_by_domain(struct smtp_session *s, struct delivery *whole)
{
	struct delivery part = *whole;
	unsigned left = whole->n_recipients;

	if (s->info->hop->kind != HOP_MX || gather_domain(whole->recipients, left) == left ||
	    !policies_differ(whole, s->deliverer, s->settings, s->info, s->arena)) {
		carry(s, whole);
		return;
	}
	for (; left > 0; left -= part.n_recipients) {
		part.recipients = whole->recipients + whole->n_recipients - left;
		part.n_recipients = gather_domain(part.recipients, left);
		carry(s, &part);
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
		carry_by_domain(&s, delivery);
		slot_done(slot, delivery);
	}
	disconnect(&s, true);
}
