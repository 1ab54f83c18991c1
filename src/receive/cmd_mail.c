/* MAIL (RFC 5321 section 4.1.1.2): a message begins. */
#include <stdio.h>

#include "receive/access.h"
#include "receive/auth.h"
#include "receive/commands.h"
#include "receive/gate_session.h"
#include "receive/submission.h"
#include "receive/transaction.h"

static enum reply_id refusal(int error, bool utf8_offered)
{
	switch (error) {
	case -E2BIG:
		return REPLY_SENDER_TOO_LONG;
	case -EILSEQ:
		return utf8_offered ? REPLY_SENDER_NOT_UTF8 : REPLY_NEEDS_SMTPUTF8;
	case -EBADMSG:
		return REPLY_BAD_PARAMETERS;
	case -ENOBUFS:
		return REPLY_TOO_MANY_PARAMETERS;
	default:
		return REPLY_BAD_SENDER;
	}
}

/* RFC 4865 section 4.2 and RFC 2852 section 4: durations become times. REPLY_SENDER_OK, or what is wrong. */
static enum reply_id take_times(struct session *s, const struct mail_parameters *p)
{
	wall_t when = world_wall(session_shared(s)->world), most = when + (wall_t) session_limits(s)->hold;
	struct envelope *e = &s->transaction->envelope;

	if (p->hold_for) {
		e->hold_until = when + (wall_t) (p->hold_for * USEC_SEC);
		e->flags |= ENVELOPE_HOLD_FOR;
		s->transaction->hold_for = (wall_t) (p->hold_for * USEC_SEC);
	}
	if (p->hold_until > when)
		e->hold_until = p->hold_until;
	if (e->hold_until > most)
		return REPLY_HOLD_TOO_LONG;
	if (p->by.mode) {
		e->deliver_by = MAX(when + (wall_t) p->by.seconds * (wall_t) USEC_SEC, (wall_t) 1);
		e->by_mode = p->by.mode;
		e->by_trace = p->by.trace;
	}
	/* RFC 4865 section 5.2.2. */
	return e->deliver_by && e->hold_until > e->deliver_by ? REPLY_HOLD_AND_BY : REPLY_SENDER_OK;
}

/* RFC 6710 section 4.1: a higher priority is for those whom somebody trusts. */
static void take_priority(struct session *s, const struct mail_parameters *p)
{
	const struct receive_limits *l = session_limits(s);
	int most = (int) (s->trusted || s->user ? l->trusted_priority : l->priority);

	s->transaction->has_priority = p->has_priority;
	s->transaction->envelope.priority = MIN(p->priority, most);
	s->transaction->lowered = p->priority > most;
}

/* 1: they are taken; else what the reply returned. */
static int take_services(struct session *s, const struct mail_parameters *p)
{
	const char *refused = s->listener->no_soliciting;
	enum reply_id times = take_times(s, p);

	if (times == REPLY_HOLD_TOO_LONG)
		return session_reply_number(s, times, session_limits(s)->hold / USEC_SEC);
	if (times != REPLY_SENDER_OK)
		return session_reply(s, times);
	take_priority(s, p);
	s->transaction->envelope.solicit = p->solicit;
	if (p->solicit && refused) {
		struct slice class = solicit_match(slice_from(p->solicit), slice_from(refused));

		if (class.data)
			return session_reply_with(s, REPLY_SOLICITING, class, SLICE_NULL);
	}
	return 1;
}

/* Takes over what MAIL said beside the address. 1: done; else what the reply returned. */
static int take_parameters(struct session *s, const struct path_args *args)
{
	struct transaction *t = s->transaction;
	struct mail_parameters p;
	struct reply error;
	int r;

	if (mail_parameters_parse(args, s->offered, session_limits(s)->message_size, t->arena, &p, &error) < 0)
		return error.code == 552 ? session_reply_number(s, REPLY_TOO_LARGE, session_limits(s)->message_size)
					 : session_reply_custom(s, &error);
	if (args->path.utf8 && !p.smtputf8)
		return session_reply(s, REPLY_NEEDS_SMTPUTF8);
	t->smtputf8 = p.smtputf8;
	if (p.body == BODY_BINARYMIME)
		transaction_is_binary(t);
	t->envelope.envid = p.envid;
	t->envelope.ret = p.ret;
	t->envelope.flags |= p.requiretls ? ENVELOPE_REQUIRETLS : 0;
	r = take_services(s, &p);
	return r <= 0 ? r : session_gate_mail(s, p.size);
}

/* RFC 6710 section 4.1: that the priority is another one than was asked for is said. */
static int greet_sender(struct session *s)
{
	int priority = s->transaction->envelope.priority;
	char text[8];

	if (!s->transaction->lowered)
		return session_reply(s, REPLY_SENDER_OK);
	snprintf(text, sizeof(text), "%d", priority);
	return session_reply_with(s, REPLY_PRIORITY_LOWERED, slice_from(text), SLICE_NULL);
}

/* The same. */
static int check_domain(struct session *s)
{
	const struct address *sender = &s->transaction->sender;
	enum reply_id why = submission_check_sender(s, sender);

	return why == REPLY_SENDER_OK ? 1 : session_reply_with(s, why, sender->text, SLICE_NULL);
}

int cmd_mail(struct session *s, const struct command *c)
{
	enum reply_id allowed, pressed;
	struct path_args args;
	int r;

	/* RFC 2920 section 3.1: without PIPELINING in our EHLO (after HELO, above all) each reply is waited for. */
	if (!(s->offered & EXT_PIPELINING) && session_out_of_turn(s, "the reply to MAIL", false))
		return 0;
	if (s->transaction)
		return session_reply(s, REPLY_NESTED_MAIL);
	if (s->messages >= session_limits(s)->messages)
		return session_close_at_limit(s, REPLY_TOO_MANY_MESSAGES, session_limits(s)->messages);
	pressed = pressure_on_message(&session_shared(s)->pressure);
	if (pressed != REPLY_SENDER_OK)
		return session_reply(s, pressed);
	r = mail_args_parse(c->args, s->offered & EXT_SMTPUTF8, &args);
	if (r < 0)
		return session_reply(s, refusal(r, s->offered & EXT_SMTPUTF8));
	s->subject = args.path.text;
	allowed = access_sender(s);
	if (allowed != REPLY_SENDER_OK)
		return session_reply(s, allowed);
	r = auth_check_sender(s, &args.path);
	if (r <= 0)
		return r;
	r = transaction_begin(s, &args.path);
	if (r < 0) {
		transaction_end(s);
		return session_reply_error(s, r);
	}
	r = take_parameters(s, &args);
	if (r > 0)
		r = check_domain(s);
	if (r <= 0) {
		transaction_end(s);
		return r;
	}
	return greet_sender(s);
}
