#include "receive/judging.h"

#include "mail/authres.h"
#include "mail/header.h"
#include "receive/gate_session.h"
#include "receive/seal.h"
#include "receive/transaction.h"

/* A header that waits for the verdict on its ARC chain must fit into what can be put in front later. */
#define TIME USEC_MIN /* when nothing is configured */
#define WAITING_HEADER_MAX ((size_t) 64 * 1024)

struct judging {
	struct session *session;
	const struct identity_config *config;
	const char *authserv_id;
	struct content *message;   /* NULL: nothing is judged, only forged fields are taken out */
	struct buffer held;        /* our own field, then the header section so far */
	size_t own;                /* octets of the former */
	size_t looked;             /* up to here there is no blank line */
	bool waits;                /* held stays until it is known whether the chain of ARC holds */
	struct fiber_group asking;
	bool asks;
	bool asked_ahead;          /* for what the header section names */
	int error;                 /* of a fiber that asks */
	struct iprev_result iprev;
	bool has_iprev;
	struct judge_result result;
	bool judged;
	bool seals;
	const char *added;         /* when it seals: the fields that are above the content */
	struct dmarc_decision decision;
};

/* --- whose mail ----------------------------------------------------------------------------------------------- */

bool judging_wanted(const struct session *s)
{
	return s->settings->config->identity.verify && !s->trusted;
}

bool session_is_judged(const struct session *s)
{
	return judging_wanted(s) && s->role == ROLE_MX && !s->user && session_shared(s)->resolver;
}

static const struct ip *client_of(const struct judging *j)
{
	const struct ip *client = &j->session->visit->facts.client;

	return client->family ? client : NULL;
}

static usec_t deadline_of(const struct judging *j)
{
	return deadline_after(now(), j->config->judge.time ? j->config->judge.time : TIME);
}

/* --- what can be asked while the content comes -------------------------------------------------------------------- */

static void spf_fiber(void *arg)
{
	struct judging *j = arg;
	int r = gate_gather(j->session->visit, GATE_NEEDS_SPF);

	j->error = r < 0 ? r : j->error;
}

static void iprev_fiber(void *arg)
{
	struct judging *j = arg;
	int r = iprev_check(session_shared(j->session)->resolver, client_of(j), 0, deadline_of(j), j->session->mail_arena, &j->iprev);

	j->has_iprev = r >= 0;
	j->error = r < 0 ? r : j->error;
}

static int ask(struct judging *j)
{
	int r;

	fiber_group_init(&j->asking);
	j->asks = true;
	if (!client_of(j))
		return 0;
	r = fiber_group_spawn(&j->asking, "spf", spf_fiber, j);
	return r < 0 ? r : fiber_group_spawn(&j->asking, "iprev", iprev_fiber, j);
}

static int prepare_seal(struct judging *j, struct slice received)
{
	int r = seal_is_wanted(j->session);

	if (r <= 0)
		return r;
	j->seals = true;
	j->added = arena_slice(j->session->mail_arena, received);
	return j->added ? arc_seal_prepare(j->message) : -ENOMEM;
}

int judging_begin(struct session *s, struct slice received, struct judging **ret)
{
	struct judging *j = arena_new_type(s->mail_arena, struct judging);
	struct content_config limits = s->settings->config->identity.content;
	int r = 0;

	if (!j)
		return -ENOMEM;
	j->session = s;
	j->config = &s->settings->config->identity;
	j->authserv_id = j->config->name ? j->config->name : s->settings->config->hostname;
	limits.header = session_limits(s)->header_size;
	buffer_append_slice(&j->held, received);
	j->own = j->looked = j->held.len;
	if (session_is_judged(s)) {
		r = content_new(s->mail_arena, &limits, false, &j->message);
		if (r >= 0)
			r = prepare_seal(j, received);
		if (r >= 0)
			r = ask(j);
	}
	if (r >= 0)
		r = buffer_error(&j->held);
	if (r < 0) {
		judging_done(j);
		return r == -EAGAIN ? -ENOMEM : r; /* too many fibers: the client may come again */
	}
	*ret = j;
	return 0;
}

void judging_done(struct judging *j)
{
	if (!j)
		return;
	if (j->asks)
		fiber_group_done(&j->asking);
	content_free(TAKE_PTR(j->message));
	buffer_done(&j->held);
}

/* --- the content on its way ----------------------------------------------------------------------------------------- */

int judging_watch(struct judging *j, struct slice data)
{
	int r = j->message ? content_feed(j->message, data) : 0;

	if (r >= 0 && j->message && j->message->header_done && !j->asked_ahead) {
		j->asked_ahead = true;
		judge_ahead(session_shared(j->session)->resolver, j->message, deadline_of(j), j->session->mail_arena, &j->asking);
	}
	return r;
}

/* Where the header section ends in what is held: behind its blank line; 0: it isn't there yet. */
static size_t find_end(struct judging *j)
{
	struct slice all = buffer_slice(&j->held), rest;
	const char *found;

	/* The first line may be blank already; else it stands behind another one. */
	if (all.len >= j->own + 2 && memcmp(all.data + j->own, "\r\n", 2) == 0)
		return j->own + 2;
	rest = slice_skip(all, MAX(j->own, j->looked > 3 ? j->looked - 3 : 0));
	found = memmem(rest.data, rest.len, "\r\n\r\n", 4);
	j->looked = all.len;
	return found ? (size_t) (found - all.data) + 4 : 0;
}

/* What our own field may not run into (transaction.c says why). */
static struct slice prefix_of(enum header_start start)
{
	return start == HEADER_START_TEXT ? SLICE("\r\n") : start == HEADER_START_MAILBOX ? SLICE("X-Mailbox-Line: ") : SLICE_NULL;
}

static void note_removed(const struct judging *j, unsigned n)
{
	if (n > 0)
		LOG(session_shared(j->session)->log, LOG_INFO, "fields of a message that claimed to be ours were taken out",
		    F_ID("id", j->session->transaction->envelope.id), F_STR("client", j->session->client), F_UINT("fields", n),
		    F_STR("name", j->authserv_id));
}

void judging_remove_forged(const struct judging *j, struct slice header, struct buffer *out)
{
	note_removed(j, authres_remove_forged(header, j->authserv_id, true, out));
}

/* Appends what is held, with what it needs in front and without what is forged. arc: also the fields of ARC that say they
 * are ours. */
static void append_held(const struct judging *j, bool arc, struct buffer *out)
{
	struct slice header = slice_skip(buffer_slice(&j->held), j->own);
	enum header_start start = header.len ? header_start(header) : HEADER_START_FIELD;
	unsigned removed = 0;

	/* All of it is part of a line that might have become a field. */
	start = start == HEADER_START_UNKNOWN ? HEADER_START_TEXT : start;
	buffer_append(out, j->held.data, j->own);
	buffer_append_slice(out, prefix_of(start));
	if (start == HEADER_START_TEXT)
		buffer_append_slice(out, header);
	else
		removed = authres_remove_forged(header, j->authserv_id, arc, out);
	note_removed(j, removed);
}

/* Lets go of the first `end` octets of what is held, and of what came behind them. */
static int let_go(struct judging *j, size_t end)
{
	struct transaction *t = j->session->transaction;
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice header = slice_new(j->held.data + j->own, end - j->own);
	struct slice rest = slice_skip(buffer_slice(&j->held), end);
	bool arc = authres_has_forged_arc(header, j->authserv_id);
	int r;

	if (arc && j->message && end <= WAITING_HEADER_MAX) {
		r = transaction_store(t, rest);
		j->held.len = end;
		j->waits = true;
		return r;
	}
	j->held.len = end;
	append_held(j, arc, &out);
	buffer_append_slice(&out, rest);
	r = buffer_error(&out);
	buffer_done(&j->held);
	return r < 0 ? r : transaction_store(t, buffer_slice(&out));
}

int judging_hold(struct judging *j, struct slice data, bool *ret_begun)
{
	size_t end;
	int r;

	buffer_append_slice(&j->held, data);
	r = buffer_error(&j->held);
	if (r < 0)
		return r;
	end = find_end(j);
	/* What comes behind could still be taken for a field of ours, by a reader who passes over lines that are no fields. */
	if (end == 0)
		return j->held.len - j->own <= session_limits(j->session)->header_size ? 0 : ERROR_HEADER_TOO_LARGE;
	r = let_go(j, end);
	*ret_begun = r >= 0;
	return r;
}

int judging_release(struct judging *j)
{
	return let_go(j, j->held.len);
}

/* --- the verdicts ------------------------------------------------------------------------------------------------------ */

static struct verdicts verdicts_of(const struct judging *j)
{
	const struct session *s = j->session;
	const struct gate_facts *f = &s->visit->facts;

	return (struct verdicts) {
		.authserv_id = j->authserv_id,
		.client = j->judged ? client_of(j) : NULL,
		.helo = s->helo,
		.mail_from = s->transaction->envelope.reverse_path,
		.user = j->config->logins ? s->user : NULL,
		.result = j->judged ? &j->result : NULL,
		.iprev = j->has_iprev ? &j->iprev : NULL,
		.hits = f->hits,
		.n_hits = f->n_hits,
	};
}

static int judge(struct judging *j)
{
	const struct session *s = j->session;
	struct judge_input in = {
		.client = client_of(j),
		.helo = s->helo ? s->helo : "",
		.mail_from = s->transaction->envelope.reverse_path,
		.receiver = s->settings->config->hostname,
		.now = world_wall(session_shared(s)->world),
	};
	struct acceptor *a = s->acceptor;
	struct judge_config config = j->config->judge;
	int r = content_end(j->message);

	if (r >= 0 && !a->keys)
		r = key_cache_new(session_shared(s)->world, &a->keys);
	config.dkim.known = a->keys;
	if (r >= 0)
		r = fiber_group_wait(&j->asking, DEADLINE_NEVER); /* they have their own deadlines */
	if (r >= 0)
		r = j->error;
	in.spf = s->visit->spf;
	return r < 0 ? r : judge_message(session_shared(s)->resolver, j->message, &in, &config, DEADLINE_NEVER, s->mail_arena,
					 &j->result);
}

static void fill_facts(const struct judging *j)
{
	struct gate_facts *f = &j->session->visit->facts;

	f->dkim = verdicts_dkim_word(&j->result);
	f->arc = arc_word_text(j->result.arc.word);
	f->dmarc = dmarc_word_text(j->result.dmarc.word);
}

static int note_verdicts(const struct judging *j)
{
	struct session *s = j->session;
	const struct verdicts v = verdicts_of(j);
	struct arena *a = s->mail_arena;
	const char *spf = verdicts_spf_text(&v, a), *dkim = verdicts_dkim_text(&v, a), *arc = verdicts_arc_text(&v, a);
	const char *dmarc = verdicts_dmarc_text(&v, a), *iprev = v.iprev ? verdicts_iprev_text(&v, a) : NULL;

	if (!spf || !dkim || !arc || !dmarc || (v.iprev && !iprev))
		return -ENOMEM;
	EVENT(session_shared(s)->events, s->transaction->envelope.id, EVENT_VERIFIED, F_STR("spf", spf), F_STR("dkim", dkim),
	      F_STR("arc", j->result.arc.word == ARC_NONE ? NULL : arc), F_STR("dmarc", dmarc), F_STR("iprev", iprev));
	return 0;
}

int judging_end(struct judging *j)
{
	int r;

	if (!j->message)
		return 0;
	r = judge(j);
	if (r < 0)
		return r == -EAGAIN ? -ENOMEM : r;
	j->judged = true;
	fill_facts(j);
	return note_verdicts(j);
}

/* --- what is done ---------------------------------------------------------------------------------------------------- */

static void report(const struct judging *j)
{
	const struct transaction *t = j->session->transaction;

	if (!j->result.dmarc.policy_domain[0])
		return;
	dmarc_sink_note(&session_shared(j->session)->dmarc_sink,
			&(struct dmarc_note) {
				.client = client_of(j),
				.mail_from = t->envelope.reverse_path,
				.recipient = t->envelope.n_recipients ? t->envelope.recipients[0].address : NULL,
				.verdict = &j->result,
				.disposition = j->decision.disposition,
				.override = j->decision.override,
				.comment = j->decision.comment,
				.message = j->message,
				.arrival = t->envelope.arrival,
			});
}

void judging_refused(struct judging *j)
{
	if (!j->judged)
		return;
	j->decision = (struct dmarc_decision) {
		.disposition = j->result.dmarc.word == DMARC_PASS ? DMARC_DONE_PASS : DMARC_DONE_NONE,
		.override = j->result.dmarc.word == DMARC_FAIL ? DMARC_OVERRIDE_LOCAL_POLICY : DMARC_OVERRIDE_NONE,
		.comment = j->result.dmarc.word == DMARC_FAIL ? "a rule of the gate refused it" : NULL,
	};
	report(j);
}

int judging_decide(struct judging *j, struct gate_answer *ret)
{
	struct gate_visit *v = j->session->visit;

	if (!j->judged)
		return 1;
	verdicts_decide(&j->result, j->message, j->config, v->session.accepted || v->message.accepted, j->session->mail_arena, &j->decision);
	report(j);
	if (verdicts_are_doubtful(&j->result))
		j->session->transaction->envelope.flags |= ENVELOPE_DOUBTFUL;
	if (j->decision.action == DMARC_ACTION_HOLD && !v->message.hold)
		v->message.hold = "identity.dmarc";
	if (j->decision.action != DMARC_ACTION_REJECT)
		return 1;
	*ret = (struct gate_answer) { .id = REPLY_DMARC_REJECTED, .first = j->result.dmarc.domain, .second = j->result.dmarc.policy_domain,
				      .by = "identity.dmarc" };
	return 0;
}

int judging_front(struct judging *j, struct buffer *out)
{
	const struct verdicts v = verdicts_of(j);

	if (j->judged && j->decision.action == DMARC_ACTION_MARK)
		verdicts_quarantine(&j->result.dmarc, out);
	if (v.result || v.user) {
		int r = verdicts_authentication_results(&v, j->session->mail_arena, out);

		if (r < 0)
			return r;
	}
	if (v.result && j->config->received_spf)
		verdicts_received_spf(&v, out);
	return buffer_error(out);
}

/* The results stand in the link as they stand in the field. */
static int results_for_seal(const struct judging *j, const char **ret)
{
	static const char name[] = "Authentication-Results: ";
	const struct verdicts v = verdicts_of(j);
	_cleanup_buffer_ struct buffer field = { 0 };
	struct slice value;
	int r = verdicts_authentication_results(&v, j->session->mail_arena, &field);

	if (r < 0 || buffer_error(&field) < 0)
		return -ENOMEM;
	assert(slice_istarts(buffer_slice(&field), name));
	value = slice_skip(buffer_slice(&field), strlen(name));
	value.len -= 2; /* CRLF */
	*ret = arena_slice(j->session->mail_arena, value);
	return *ret ? 0 : -ENOMEM;
}

int judging_seal(struct judging *j, struct buffer *front)
{
	struct seal_input in = { .message = j->message, .chain = &j->result.arc };
	_cleanup_buffer_ struct buffer link = { 0 };
	int r;

	if (!j->judged || !j->seals)
		return 0;
	r = buffer_error(front);
	if (r >= 0)
		r = results_for_seal(j, &in.results);
	if (r >= 0)
		r = content_front(j->message, slice_from(j->added));
	if (r >= 0)
		r = content_front(j->message, buffer_slice(front));
	if (r >= 0)
		r = seal_message(j->session, &in, &link);
	if (r < 0)
		return r;
	buffer_append_slice(&link, buffer_slice(front));
	if (buffer_error(&link) < 0)
		return -ENOMEM;
	buffer_done(front);
	*front = link;
	link = (struct buffer) { 0 };
	return 0;
}

void judging_append_waiting(const struct judging *j, struct buffer *out)
{
	if (j->waits)
		append_held(j, j->result.arc.word != ARC_PASS, out);
}

/* The greylist asks before there is a signature to look at: next time it knows that this network sends for the domain. */
void judging_remember(struct judging *j)
{
	struct gate_visit *v = j->session->visit;

	for (unsigned i = 0; j->judged && i < j->result.n_dkim; i++)
		if (j->result.dkim[i].word == DKIM_PASS && gate_remember_signer(v, j->result.dkim[i].domain))
			return;
}
