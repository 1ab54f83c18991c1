#include "queue/home.h"

#include "queue/deadline.h"
#include "queue/ladder.h"
#include "queue/owner.h"

#define UNTRIED_MAX 3u        /* in a row; then it counts as an attempt that failed */
#define SHORT_WAIT (30 * USEC_SEC)
#define SHORT_OF_MEMORY (10 * USEC_SEC)

static const char *address_of(struct view *v, unsigned i)
{
	const struct envelope *e = view_envelope(v);

	return e ? e->recipients[i].address : NULL;
}

static const char *hop_text(const struct hop *hop, char *out, size_t size)
{
	return hop ? hop_describe(hop, out, size) : NULL;
}

/* --- good news -------------------------------------------------------------------------------- */

/* Who asked to be told of the success is told by us when the message has come into a mailbox, or has passed to
 * a server that knows nothing of notifications (RFC 3461 sections 5.2.2 and 5.2.7). */
/* RFC 2852 section 4.1.4: the sender is told where its wish is not known any more, and with "T" at each step. */
static bool owes_relayed(const struct envelope *e, unsigned i, const struct outcome *o)
{
	if (!e->deliver_by || (e->recipients[i].notify & NOTIFY_NEVER))
		return false;
	return e->by_trace || (e->by_mode == 'N' && !o->time_kept);
}

static void owe_success(struct view *v, unsigned i, const struct outcome *o, const struct hop *hop)
{
	const struct envelope *e;
	bool mailbox = hop && hop_is_mailbox(hop->kind), wanted;

	if (!(v->message->flags & MESSAGE_WANTS_SUCCESS) || (v->message->flags & MESSAGE_NULL_SENDER))
		return;
	e = view_envelope(v);
	if (!e)
		return;
	wanted = e->recipients[i].notify & NOTIFY_SUCCESS;
	if (mailbox ? !wanted : !(wanted && o->kind == OUTCOME_RELAYED) && !owes_relayed(e, i, o))
		return;
	v->message->recipients[i].flags |= mailbox ? RECIPIENT_OWES_DELIVERED : RECIPIENT_OWES_RELAYED;
	home_set_last(v->home, &v->message->recipients[i], o);
}

static void delivered(struct view *v, unsigned i, const struct outcome *o, const struct hop *hop)
{
	struct home *h = v->home;
	char text[200], ip[IP_TEXT];

	COUNT(h, delivered);
	home_set_state(h, v->message, i, STATE_DONE);
	/* A warning that was not sent yet has lost its sense. */
	v->message->recipients[i].flags &= (unsigned) ~RECIPIENT_OWES_DELAY;
	owe_success(v, i, o, hop);
	home_changed(v->message);
	if (h->queue->events)
		EVENT(h->queue->events, v->message->entry.id, EVENT_DELIVERED, F_STR("to", address_of(v, i)),
		      F_STR("hop", hop_text(hop, text, sizeof(text))), F_STR("host", o->host),
		      F_STR("address", o->ip.family ? ip_format(&o->ip, ip) : NULL), F_STR("source", o->source),
		      F_STR("tls", o->tls), F_STR("tls_wanted", o->tls_wanted), F_STR("tls_reached", o->tls_reached),
		      F_STR("reply", o->reply.code ? reply_to_line(&o->reply, h->scratch) : o->reply.text),
		      F_BOOL("relayed", o->kind == OUTCOME_RELAYED));
}

/* --- the end without success ------------------------------------------------------------------ */

/* RFC 3461 section 4.1: what was asked for is obeyed. Where nothing was, a sender whose address somebody else has used is not
 * bothered with what that one did (RFC 5321 section 6.2: dropping without notification is for mail that is fraudulent with very
 * high confidence). */
bool home_may_tell(const struct home *h, const struct envelope *e, unsigned notify, unsigned what)
{
	if (notify == 0)
		return !(e->flags & ENVELOPE_DOUBTFUL) || queue_configuration(h->queue)->notify_doubtful;
	return notify & what;
}

bool home_give_up(struct view *v, unsigned i, const char *reason)
{
	struct home *h = v->home;
	struct message *m = v->message;
	struct recipient *r = &m->recipients[i];
	const struct envelope *e = view_envelope(v);
	unsigned notify = e ? e->recipients[i].notify : 0;
	char text[400];

	/* RFC 3461 section 4.1: whoever said NEVER must not be told, and who did not must be. */
	if (!e && !(m->flags & MESSAGE_NULL_SENDER)) {
		home_set_state(h, m, i, STATE_WAITING);
		r->next = deadline_after(v->now, SHORT_OF_MEMORY);
		return false;
	}
	COUNT(h, failed);
	home_set_state(h, m, i, STATE_DONE);
	r->flags &= (unsigned) ~RECIPIENT_OWES_DELAY;
	/* RFC 3461 section 4.1: NEVER and the absence of FAILURE are obeyed; and nothing is sent about a message
	 * without a sender (RFC 5321 section 4.5.5). */
	if (!(m->flags & MESSAGE_NULL_SENDER) && home_may_tell(h, e, notify, NOTIFY_FAILURE))
		r->flags |= RECIPIENT_OWES_FAILURE;
	else if (e && (e->flags & ENVELOPE_DOUBTFUL) && notify == 0)
		LOG(h->queue->log, LOG_INFO, "Nobody is told that a message failed: its sender's address is forged, as SPF or DMARC says",
		    F_ID("id", m->entry.id), F_STR("from", e->reverse_path), F_STR("to", e->recipients[i].address));
	home_changed(m);
	if (r->last && !reason)
		reason = last_reply_describe(r->last, text, sizeof(text));
	EVENT(h->queue->events, m->entry.id, EVENT_FAILED, F_STR("to", e ? e->recipients[i].address : NULL),
	      F_STR("reason", reason), F_STR("class", reply_class_name(r->last ? r->last->class : CLASS_NONE)),
	      F_UINT("attempts", r->attempts));
	if ((m->flags & MESSAGE_NULL_SENDER) && e)
		LOG(h->queue->log, LOG_INFO, "A message from nobody can't be delivered and ends here",
		    F_ID("id", m->entry.id), F_STR("to", e->recipients[i].address), F_STR("reason", reason));
	return true;
}

void home_hold(struct view *v, unsigned i, const char *reason)
{
	home_set_state(v->home, v->message, i, STATE_HELD);
	home_changed(v->message);
	EVENT(v->home->queue->events, v->message->entry.id, EVENT_HELD, F_STR("to", address_of(v, i)),
	      F_STR("reason", reason));
}

void home_drop(struct view *v, unsigned i, const char *reason)
{
	home_set_state(v->home, v->message, i, STATE_DONE);
	v->message->recipients[i].flags &= (unsigned) ~RECIPIENT_OWES;
	home_changed(v->message);
	EVENT(v->home->queue->events, v->message->entry.id, EVENT_REMOVED, F_STR("to", address_of(v, i)),
	      F_STR("reason", reason));
}

/* --- another rung, or another time ------------------------------------------------------------ */

void home_tell_stepped(struct view *v, unsigned i, const struct ladder *l, unsigned next, const char *because,
		       const char *reason)
{
	const struct recipient *r = &v->message->recipients[i];
	char from[200], to[200];

	EVENT(v->home->queue->events, v->message->entry.id, EVENT_STEPPED, F_STR("to", address_of(v, i)),
	      F_STR("from_hop", r->rung < l->n_hops ? hop_describe(&l->hops[r->rung], from, sizeof(from)) : NULL),
	      F_STR("to_hop", hop_describe(&l->hops[next], to, sizeof(to))), F_STR("because", because), F_STR("reason", reason));
}

static void go_to_rung(struct view *v, unsigned i, unsigned next)
{
	struct recipient *r = &v->message->recipients[i];

	r->rung = MIN(next, 255u);
	r->next = 0;
	home_set_state(v->home, v->message, i, STATE_WAITING);
	home_changed(v->message);
}

static bool step(struct view *v, unsigned i, enum reply_class class, bool permanent, const char *because)
{
	const struct recipient *r = &v->message->recipients[i];
	struct address address;
	struct ladder l;
	unsigned next;

	if (home_ladder(v, i, &l, &address) < 0 || ladder_next(&l, r->rung, class, permanent, &next) < 0)
		return false;
	home_tell_stepped(v, i, &l, next, reply_class_name(class), because);
	go_to_rung(v, i, next);
	return true;
}

/* A server that greylists may say itself when it will take the message. */
static usec_t wait_for(struct view *v, const struct recipient *r, const struct outcome *o)
{
	struct retry_schedule s = queue_schedule(queue_configuration(v->home->queue));
	uint64_t random = 0;
	usec_t hint;

	world_random(v->home->queue->world, &random, sizeof(random));
	if (o->class == CLASS_GREYLISTED && o->from_remote && o->reply.text && retry_hint(slice_from(o->reply.text), &hint))
		return retry_hinted(hint, random);
	return retry_delay(&s, r->attempts, o->class, random);
}

/* The next try would come after the deadline, or after this rung's share of it: the next rung, or the end. False: it may
 * wait for it. */
static bool cannot_wait(struct view *v, unsigned i, usec_t next, const char *reason)
{
	struct recipient *r = &v->message->recipients[i];
	struct address to;
	struct ladder l;
	usec_t deadline;
	unsigned rung;

	if (!(v->message->flags & MESSAGE_TIMED) || home_ladder(v, i, &l, &to) < 0)
		return false;
	deadline = home_deadline(v, &l);
	if (deadline == 0 || next < message_time(v->message, deadline_share(&l, deadline, r->rung)))
		return false;
	if (deadline_next(&l, r->rung, &rung) >= 0) {
		home_tell_stepped(v, i, &l, rung, "deadline", reason);
		go_to_rung(v, i, rung);
		return true;
	}
	if (l.deadline == 0 || next < message_time(v->message, l.deadline))
		return false;
	r->flags |= RECIPIENT_EXPIRED;
	return home_give_up(v, i, "its route's deadline comes before the next try");
}

static void defer(struct view *v, unsigned i, const char *reason, const struct outcome *o)
{
	struct home *h = v->home;
	struct recipient *r = &v->message->recipients[i];
	usec_t at = deadline_after(v->now, wait_for(v, r, o));
	char next[32];

	if (cannot_wait(v, i, at, reason))
		return;
	r->next = at;
	r->rung = 0; /* the next round begins again below */
	home_set_state(h, v->message, i, STATE_WAITING);
	home_changed(v->message);
	COUNT(h, deferred);
	wall_format_rfc3339((wall_t) r->next + queue_wall_offset(h->queue), next, sizeof(next));
	EVENT(h->queue->events, v->message->entry.id, EVENT_DEFERRED, F_STR("to", address_of(v, i)),
	      F_STR("reason", reason), F_STR("class", reply_class_name(o->class)), F_STR("next", next),
	      F_UINT("attempts", r->attempts));
}

/* Who isn't there now will not be there for the next newsletter. */
static void note_hard_bounce(struct view *v, unsigned i, const struct outcome *o, const char *reply)
{
	const struct suppression_config *config;
	struct suppression *s = queue_suppression(v->home->queue, &config);
	const struct envelope *e;
	char tenant[TENANT_MAX];

	if (!config->enabled || o->class != CLASS_NO_SUCH_USER || !o->from_remote)
		return;
	e = view_envelope(v);
	if (e && suppression_tenant(config, e->user, slice_from(e->reverse_path), tenant))
		suppression_note(s, config, tenant, e->recipients[i].address, reply);
}

static void tried_in_vain(struct view *v, unsigned i, const struct outcome *o)
{
	struct message *m = v->message;
	struct recipient *r = &m->recipients[i];
	bool permanent = o->kind == OUTCOME_FAILED;
	char text[400] = "";

	home_set_last(v->home, r, o);
	if (r->last)
		last_reply_describe(r->last, text, sizeof(text));
	if (r->attempts < ATTEMPTS_MAX)
		r->attempts++;
	if (step(v, i, o->class, permanent, text))
		return;
	if (permanent) {
		note_hard_bounce(v, i, o, text);
		(void) home_give_up(v, i, NULL);
	} else {
		defer(v, i, text, o);
	}
}

static void not_tried(struct view *v, unsigned i)
{
	struct recipient *r = &v->message->recipients[i];
	static const struct outcome broken = {
		.kind = OUTCOME_DEFERRED, .stage = STAGE_CONNECT, .class = CLASS_UNREACHABLE,
		.reply = { 451, { 4, 4, 2 }, "The connection ended several times before this recipient was tried" },
	};

	if (++r->untried >= UNTRIED_MAX) {
		r->untried = 0;
		tried_in_vain(v, i, &broken);
		return;
	}
	r->next = 0;
	home_set_state(v->home, v->message, i, STATE_WAITING);
}

void home_apply(struct view *v, unsigned i, const struct outcome *o, const struct hop *hop)
{
	struct recipient *r = &v->message->recipients[i];

	if (r->state != STATE_POSTED)
		return;
	if (o->kind != OUTCOME_NONE)
		r->untried = 0;
	switch (o->kind) {
	case OUTCOME_NONE:
		not_tried(v, i);
		break;
	case OUTCOME_DELIVERED:
	case OUTCOME_RELAYED:
		delivered(v, i, o, hop);
		break;
	case OUTCOME_DEFERRED:
	case OUTCOME_FAILED:
		tried_in_vain(v, i, o);
		break;
	}
}

/* --- a job comes home ------------------------------------------------------------------------- */

/* What the site's trouble is becomes what the recipient waits for. */
static bool learn_why(struct view *v, const struct job *j, struct recipient *r)
{
	struct outcome o = { .class = j->why_class, .stage = STAGE_CONNECT, .reply.text = j->why };

	if (!j->why || r->last)
		return false;
	home_set_last(v->home, r, &o);
	return true;
}

/* It was not its turn yet. */
static void came_back_untried(struct view *v, const struct job *j, unsigned i)
{
	struct recipient *r = &v->message->recipients[i];

	if (learn_why(v, j, r))
		home_changed(v->message);
	if (j->result == JOB_ESCAPED && step(v, i, j->why_class, false, j->why))
		return;
	/* Without another rung (the routes may have changed meanwhile) it doesn't come back at once. */
	r->next = j->result == JOB_ESCAPED ? deadline_after(v->now, SHORT_WAIT) : 0;
	home_set_state(v->home, v->message, i, STATE_WAITING);
}

/* Its site does not work. Who can't be parked comes back after a while. The reason is remembered by those alone who
 * will have to tell it: it isn't worth a note for everybody. */
static void came_back_parked(struct view *v, const struct job *j, unsigned i)
{
	struct message *m = v->message;
	struct recipient *r = &m->recipients[i];
	struct retry_schedule s = queue_schedule(queue_configuration(v->home->queue));
	bool parked = !v->home->stopping && lot_park(v->home, m, j->path);

	home_set_state(v->home, m, i, STATE_WAITING);
	r->next = deadline_after(v->now, parked ? PARKED_MOST : PARKED_BESIDE);
	if (parked)
		r->flags |= RECIPIENT_PARKED;
	if (message_age(m, v->now) >= MIN(PARKED_MOST, retry_warn(&s)))
		(void) learn_why(v, j, r);
}

static void came_back_unfit(struct view *v, const struct job *j, unsigned i)
{
	struct outcome o = { .kind = OUTCOME_DEFERRED, .stage = STAGE_LOCAL, .class = CLASS_OTHER,
			     .reply = { 451, { 4, 3, 0 }, j->why ? j->why : "Local trouble" } };

	home_apply(v, i, &o, NULL);
}

static void apply_job(struct view *v, const struct job *j)
{
	for (uint32_t n = 0; n < j->n; n++) {
		const struct delivery_recipient *dr =
			j->result == JOB_TRIED ? &j->active->delivery.recipients[n] : NULL;
		uint32_t i = dr ? dr->index : j->recipients[n];

		switch ((enum job_result) j->result) {
		case JOB_TRIED:
			home_apply(v, i, &dr->outcome, j->path->hop);
			break;
		case JOB_RECALLED:
		case JOB_ESCAPED:
			came_back_untried(v, j, i);
			break;
		case JOB_PARKED:
			/* Somebody has called it back meanwhile, and wants to look at it. */
			if (j->back)
				came_back_untried(v, j, i);
			else
				came_back_parked(v, j, i);
			break;
		case JOB_LATER:
			came_back_untried(v, j, i);
			if (v->message->recipients[i].state == STATE_WAITING)
				v->message->recipients[i].next = j->later;
			break;
		case JOB_UNFIT:
			came_back_unfit(v, j, i);
			break;
		}
	}
}

void home_take_back(struct home *h, struct job *j)
{
	struct message *m = j->message;
	struct view v = {
		.home = h, .message = m, .now = now(), .envelope = j->active ? &j->active->envelope : NULL
	};

	if (j->recalling) {
		j->back = true; /* and again when the recall has come back, too */
		return;
	}
	for (struct job **at = &m->jobs; *at; at = &(*at)->next) {
		if (*at != j)
			continue;
		*at = j->next;
		break;
	}
	apply_job(&v, j);
	home_settle(h, m, v.envelope);
	if (j->active) {
		struct arena *a = j->active->delivery.arena;

		j->active = NULL;
		home_arena_put(h, a);
	}
	job_free(j);
	if (h->stopping)
		cond_broadcast(&h->quiet);
}
