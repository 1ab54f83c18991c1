#include "receive/gate_session.h"

#include "receive/acceptor.h"
#include "receive/transaction.h"

/* --- facts --------------------------------------------------------------------------------------------- */

static const char *const role_names[] = { [ROLE_MX] = "mx", [ROLE_SUBMISSION] = "submission", [ROLE_LMTP] = "lmtp" };

/* Of whom nobody can say who it is, the address is that of a proxy: rules about addresses don't mean it. */
static struct ip client_address(const struct session *s)
{
	const struct endpoint *peer = &s->stream->peer;

	return peer->kind == ENDPOINT_IP && !s->unnamed ? peer->ip : (struct ip) { .family = 0 };
}

static int new_visit(struct session *s)
{
	struct gate_visit *v = s->visit ? s->visit : arena_new_type(s->arena, struct gate_visit);

	if (!v)
		return -ENOMEM;
	if (s->visit)
		gate_visit_done(v);
	gate_visit_init(v, s->settings->gate, s->arena);
	v->facts.listener = role_names[s->role];
	v->facts.trusted = s->trusted;
	v->facts.client = client_address(s);
	s->visit = v;
	return 0;
}

/* What may have changed since the last stage. */
static void fill_session(struct session *s)
{
	struct gate_facts *f = &s->visit->facts;

	f->helo = s->helo;
	f->user = s->user;
	f->tls = s->tls != NULL;
	f->tls_version = s->tls ? s->tls->version : NULL;
	f->tls_cipher = s->tls ? s->tls->cipher : NULL;
	f->certificate = s->tls ? s->tls->peer_subject : NULL;
	f->certificate_verified = s->tls && s->tls->peer_verified;
}

/* The domain as it stands in the DNS; what has no such form is compared as it was written. */
static int domain_text(struct arena *a, const struct address *address, const char **ret)
{
	int r = domain_to_ascii(a, address->domain, ret);

	if (r == -EINVAL) {
		*ret = arena_slice(a, address->domain);
		r = *ret ? 0 : -ENOMEM;
	}
	return r;
}

/* --- replies -------------------------------------------------------------------------------------------- */

int session_refuse(struct session *s, const struct gate_answer *answer)
{
	const struct reply *reply = answer->id == REPLY_COUNT ? &answer->custom : reply_of(answer->id);
	const struct transaction *t = s->transaction;
	int r;

	s->refused_by = answer->by;
	atomic_fetch_add_explicit(reply->code >= 500 ? &s->acceptor->gate_rejected : &s->acceptor->gate_deferred, 1,
				  memory_order_relaxed);
	LOG(session_shared(s)->log, LOG_INFO, "refused by the gate", F_STR("rule", answer->by), F_STR("client", s->client),
	    F_STR("helo", s->helo), F_STR("stage", gate_stage_name(s->gate_stage)),
	    F_STR("from", t ? t->envelope.reverse_path : NULL),
	    s->gate_stage == GATE_RCPT ? F_SLICE("to", s->subject) : F_STR("to", NULL));
	if (answer->close)
		s->over = s->linger = true;
	r = answer->id == REPLY_COUNT ? session_reply_text(s, &answer->custom)
				      : session_reply_with(s, answer->id, slice_from(answer->first), slice_from(answer->second));
	s->refused_by = NULL;
	return r;
}

/* Waits as long as a tarpit says; the server's stop ends it. 0, or -ECANCELED. */
static int wait_in_tar(struct session *s)
{
	usec_t delay = s->visit->delay;
	bool waiting = s->waiting;
	int r;

	s->visit->delay = 0;
	if (!delay)
		return 0;
	s->waiting = !s->transaction;
	r = fiber_sleep_until(deadline_after(now(), delay));
	s->waiting = waiting;
	return r;
}

/* What a stage came to: 1, or what the reply returned. */
static int conclude(struct session *s, int r, const struct gate_answer *answer)
{
	int waited = r >= 0 ? wait_in_tar(s) : 0;

	if (waited < 0)
		r = waited;
	if (r > 0)
		return 1;
	if (r < 0)
		return session_reply_error(s, r);
	return session_refuse(s, answer);
}

/* --- stages ------------------------------------------------------------------------------------------------ */

/* RFC 5321 section 3.1: a server that does not want the client greets it with 554. */
static int refuse_connection(struct session *s, struct gate_answer *answer)
{
	struct reply reply = answer->id == REPLY_COUNT ? answer->custom : *reply_of(answer->id);

	answer->close = true;
	if (reply.code / 100 == 5 && reply.code != 521)
		s->greeting_code = 554;
	else if (reply.code / 100 == 4)
		s->greeting_code = 421;
	return session_refuse(s, answer);
}

/* RFC 5321 section 4.3.1: the client waits for the greeting; who can't wait is rarely a mail server. 1: it waited. */
static int keep_waiting(struct session *s)
{
	const struct gate_visit *v = s->visit;
	usec_t delay = v->gate->config->checks.greeting_delay;
	ssize_t n;

	if (!delay || s->implicit_tls || !gate_is_stranger(v) || gate_is_welcome(v))
		return 1;
	s->waiting = true;
	n = stream_fill(s->stream, deadline_after(now(), delay));
	s->waiting = false;
	if (n == -ETIMEDOUT)
		return 1;
	if (n == -ECANCELED)
		return session_close(s, REPLY_STOPPING);
	if (n <= 0)
		return n < 0 ? (int) n : -ENODATA;
	(void) session_out_of_turn(s, "the greeting", false);
	return 0;
}

int session_gate_connect(struct session *s)
{
	struct gate_answer answer;
	int r;

	/* An idle session shall cost little: what is not needed yet is made at the first MAIL. */
	if (!gate_acts_early(s->settings->gate))
		return 1;
	s->gate_stage = GATE_CONNECT;
	r = new_visit(s);
	if (r < 0)
		return session_reply_error(s, r);
	s->waiting = true;
	r = gate_at_connect(s->visit, &answer);
	/* Who is on a white list need not wait: that must be known before the greeting. */
	if (r > 0 && s->visit->gate->config->checks.greeting_delay && s->visit->gate->config->checks.welcome &&
	    gate_is_stranger(s->visit)) {
		int gathered = gate_gather(s->visit, GATE_NEEDS_LISTS);

		r = gathered < 0 ? gathered : r;
	}
	s->waiting = false;
	if (r == 0) {
		r = wait_in_tar(s);
		return r < 0 ? session_reply_error(s, r) : refuse_connection(s, &answer);
	}
	r = conclude(s, r, &answer);
	return r > 0 ? keep_waiting(s) : r;
}

/* Is it still the client that the visit began with? A trusted proxy may have named another one since. */
static bool is_same_client(const struct session *s)
{
	const struct gate_facts *f = &s->visit->facts;
	struct ip client = client_address(s);

	return ip_equal(&f->client, &client) && f->trusted == s->trusted;
}

/* 1, or what the reply returned. */
static int follow_client(struct session *s)
{
	struct gate_answer answer;
	int r;

	if (is_same_client(s))
		return 1;
	s->gate_stage = GATE_CONNECT;
	r = new_visit(s);
	return conclude(s, r < 0 ? r : gate_at_connect(s->visit, &answer), &answer);
}

int session_gate_helo(struct session *s)
{
	struct gate_answer answer;
	struct gate_visit *v = s->visit;
	int r;

	if (!v)
		return 1;
	r = follow_client(s);
	if (r <= 0)
		return r;
	s->gate_stage = GATE_HELO;
	fill_session(s);
	r = conclude(s, gate_at_helo(v, &answer), &answer);
	if (r <= 0)
		return r;
	/* What was found out serves the Received field, too. */
	if (!s->looked_up && v->facts.reverse == GATE_REVERSE_CONFIRMED) {
		s->client_name = v->facts.reverse_name;
		s->looked_up = true;
	}
	return 1;
}

/* The stages before MAIL, at which there was nothing to do. */
static int catch_up(struct session *s)
{
	struct gate_answer answer;
	int r = s->visit ? 0 : new_visit(s);

	if (r >= 0)
		fill_session(s);
	if (r >= 0 && !s->visit->began) {
		r = gate_at_connect(s->visit, &answer);
		if (r > 0)
			r = gate_at_helo(s->visit, &answer);
		assert(r != 0);
	}
	return r;
}

int session_gate_mail(struct session *s, uint64_t announced_size)
{
	struct transaction *t = s->transaction;
	struct gate_visit *v;
	struct gate_answer answer;
	int r;

	s->gate_stage = GATE_MAIL;
	r = catch_up(s);
	if (r < 0)
		return session_reply_error(s, r);
	v = s->visit;
	v->mail_arena = t->arena;
	v->identity = session_is_judged(s) ? &s->settings->config->identity : NULL;
	v->facts.sender = t->sender;
	v->facts.size = announced_size;
	r = domain_text(t->arena, &t->sender, &v->facts.sender_domain);
	if (r < 0)
		return session_reply_error(s, r);
	return conclude(s, gate_at_mail(v, &answer), &answer);
}

int session_gate_rcpt(struct session *s, const struct address *to, bool *ret_discard)
{
	struct transaction *t = s->transaction;
	struct gate_visit *v = s->visit;
	struct gate_answer answer;
	int r;

	s->gate_stage = GATE_RCPT;
	v->facts.recipient = *to;
	v->facts.recipients = t->accepted;
	r = domain_text(t->arena, to, &v->facts.recipient_domain);
	if (r < 0)
		return session_reply_error(s, r);
	return conclude(s, gate_at_rcpt(v, &answer, ret_discard), &answer);
}

int session_gate_data(struct session *s, uint64_t size, struct gate_answer *ret)
{
	int r;

	s->gate_stage = GATE_DATA;
	s->visit->facts.size = size;
	r = gate_at_data(s->visit, ret);
	if (r >= 0 && wait_in_tar(s) < 0)
		r = -ECANCELED;
	return r;
}

void session_gate_end_message(struct session *s)
{
	if (s->visit)
		gate_message_done(s->visit);
}

void session_gate_leave(struct session *s)
{
	if (s->visit)
		gate_visit_done(s->visit);
}

/* --- what rules have set -------------------------------------------------------------------------------------- */

unsigned session_recipients_max(const struct session *s)
{
	const struct gate_visit *v = s->visit;
	unsigned n = !v ? 0 : v->message.recipients ? v->message.recipients : v->session.recipients;

	return n ? n : session_limits(s)->recipients;
}

uint64_t session_message_size_max(const struct session *s)
{
	const struct gate_visit *v = s->visit;
	uint64_t n = !v ? 0 : v->message.message_size ? v->message.message_size : v->session.message_size;

	return n ? n : session_limits(s)->message_size;
}

const char *session_gate_holds(const struct session *s)
{
	return s->visit->message.hold ? s->visit->message.hold : s->visit->session.hold;
}

bool session_gate_discards(const struct session *s)
{
	return s->visit->message.discard || s->visit->session.discard;
}

static void append_headers(const struct session *s, const struct gate_effects *e, unsigned from, struct buffer *out)
{
	const struct reply_subjects about = session_subjects(s);

	for (unsigned k = from; k < e->n_headers; k++) {
		reply_fill(e->headers[k], SLICE_NULL, SLICE_NULL, &about, out);
		buffer_append_str(out, "\r\n");
	}
}

unsigned session_gate_headers(const struct session *s, struct buffer *out)
{
	append_headers(s, &s->visit->session, 0, out);
	append_headers(s, &s->visit->message, 0, out);
	return s->visit->message.n_headers;
}

void session_gate_late_headers(const struct session *s, unsigned from, struct buffer *out)
{
	append_headers(s, &s->visit->message, from, out);
}
