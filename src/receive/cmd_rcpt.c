/* RCPT (RFC 5321 section 4.1.1.3): one more recipient, if it may be. */
#include "receive/access.h"
#include "receive/commands.h"
#include "receive/gate_session.h"
#include "receive/submission.h"
#include "receive/suppress.h"
#include "receive/transaction.h"

static enum reply_id refusal(int error, bool utf8_offered)
{
	switch (error) {
	case -E2BIG:
		return REPLY_RECIPIENT_TOO_LONG;
	case -EILSEQ:
		return utf8_offered ? REPLY_RECIPIENT_NOT_UTF8 : REPLY_NEEDS_SMTPUTF8;
	case -EBADMSG:
		return REPLY_BAD_PARAMETERS;
	case -ENOBUFS:
		return REPLY_TOO_MANY_PARAMETERS;
	default:
		return REPLY_BAD_RECIPIENT;
	}
}

/* RFC 5321 section 4.5.1: <postmaster> without a domain is the postmaster of this server. Finds a domain of
 * ours that has one: our host name if mail for it ends here, else the first domain that is configured.
 * -EADDRNOTAVAIL when no domain ends here. */
static int postmaster_here(struct session *s, struct arena *a, struct address *ret)
{
	struct router *router = session_shared(s)->router;
	const struct route_config *routes = router_config(router);

	for (unsigned i = 0; i <= routes->n_domains; i++) {
		const char *domain = i == 0 ? s->settings->config->hostname : routes->domains[i - 1].name;
		char *text = arena_printf(a, "postmaster@%s", domain);

		if (!text)
			return -ENOMEM;
		if (address_parse(slice_from(text), ADDRESS_ALLOW_UTF8, ret) == 0 && route_locality(router, ret) == LOCALITY_HERE)
			return 0;
	}
	return -EADDRNOTAVAIL;
}

/* 1: accepted; else what the reply returned. */
static int take_recipient(struct session *s, struct path_args *args)
{
	struct transaction *t = s->transaction;
	struct rcpt_parameters p;
	enum reply_id allowed;
	struct reply custom;
	const char *when;
	bool discard;
	int r;

	if (rcpt_parameters_parse(args, s->offered, t->smtputf8, t->arena, &p, &custom) < 0)
		return session_reply_custom(s, &custom);
	if (args->path.utf8 && !t->smtputf8)
		return session_reply(s, REPLY_NEEDS_SMTPUTF8);
	if (args->path.domain.len == 0) {
		r = postmaster_here(s, t->arena, &args->path);
		if (r < 0)
			return session_reply(s, r == -ENOMEM ? REPLY_OUT_OF_MEMORY : REPLY_NO_POSTMASTER);
	}
	allowed = access_recipient(s, &args->path, &t->sender, t->arena, &custom);
	if (allowed == REPLY_COUNT)
		return session_reply_custom(s, &custom);
	if (allowed != REPLY_RECIPIENT_OK)
		return session_reply_with(s, allowed, args->path.text, SLICE_NULL);
	allowed = submission_check_recipient(s, &args->path, &t->sender);
	if (allowed != REPLY_RECIPIENT_OK)
		return session_reply_with(s, allowed, args->path.text, SLICE_NULL);
	if (suppress_recipient(s, &args->path, &t->sender, t->arena, &when))
		return session_reply_with(s, REPLY_SUPPRESSED, args->path.text, slice_from(when));
	r = session_gate_rcpt(s, &args->path, &discard);
	if (r <= 0)
		return r;
	if (discard) {
		t->accepted++;
		return 1;
	}
	r = transaction_count_domain(t, &args->path);
	if (r == -E2BIG)
		return session_reply_number(s, REPLY_TOO_MANY_DOMAINS, session_limits(s)->recipient_domains);
	if (r >= 0)
		r = transaction_add_recipient(t, &args->path, &p);
	return r < 0 ? session_reply_error(s, r) : 1;
}

int cmd_rcpt(struct session *s, const struct command *c)
{
	struct transaction *t = s->transaction;
	struct path_args args;
	int r;

	if (!(s->offered & EXT_PIPELINING) && session_out_of_turn(s, "the reply to RCPT", false))
		return 0;
	if (!t)
		return session_reply(s, REPLY_MAIL_FIRST);
	if (t->chunked)
		return session_reply_with(s, REPLY_CHUNKS_BEGUN, c->name, SLICE_NULL);
	r = rcpt_args_parse(c->args, s->offered & EXT_SMTPUTF8, &args);
	if (r < 0) {
		t->refused++;
		return session_reply(s, refusal(r, s->offered & EXT_SMTPUTF8));
	}
	s->subject = args.path.text;
	/* RFC 5321 section 4.5.3.1.10: 452, so that the client sends the rest in another message. */
	if (t->accepted >= session_recipients_max(s))
		return session_reply_number(s, REPLY_TOO_MANY_RECIPIENTS, session_recipients_max(s));
	r = take_recipient(s, &args);
	if (r <= 0) {
		t->refused++;
		return r;
	}
	return session_reply(s, REPLY_RECIPIENT_OK);
}
