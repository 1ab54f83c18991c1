/* MAIL (RFC 5321 section 4.1.1.2): a message begins. */
#include "receive/access.h"
#include "receive/commands.h"
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

/* Takes over what MAIL said beside the address. 1: done; else what the reply returned. */
static int take_parameters(struct session *s, const struct path_args *args)
{
	struct transaction *t = s->transaction;
	struct mail_parameters p;
	struct reply error;

	if (mail_parameters_parse(args, s->offered, session_limits(s)->message_size, t->arena, &p, &error) < 0)
		return error.code == 552 ? session_reply_number(s, REPLY_TOO_LARGE, session_limits(s)->message_size)
					 : session_reply_custom(s, &error);
	if (args->path.utf8 && !p.smtputf8)
		return session_reply(s, REPLY_NEEDS_SMTPUTF8);
	t->smtputf8 = p.smtputf8;
	t->envelope.envid = p.envid;
	t->envelope.ret = p.ret;
	return 1;
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
	return session_reply(s, REPLY_SENDER_OK);
}
