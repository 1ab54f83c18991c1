/* DATA (RFC 5321 section 4.1.1.4): the content, up to the dot. What ends it and what doesn't is in smtp/data.h. */
#include "receive/commands.h"
#include "receive/transaction.h"

/* Receives the content and replies to it. */
static int receive_content(struct session *s)
{
	struct transaction *t = s->transaction;
	struct content_limits limits;
	struct content_result result;
	struct content_facts facts;
	int r;

	transaction_content_limits(s, &limits);
	r = smtp_copy_data(s->stream, &t->sink, &limits, &result);
	facts = (struct content_facts) {
		.error = r,
		.defects = result.defects,
		.defect_offset = result.defect_offset,
		.eight_bit = result.eight_bit,
	};
	if (!result.ended) {
		/* Somewhere inside of the content: what follows must not be taken for commands. */
		s->over = true;
		s->linger = true;
	}
	return transaction_finish(s, &facts);
}

int cmd_data(struct session *s, const struct command *c)
{
	struct transaction *t = s->transaction;
	int r;

	/* RFC 2920 section 3.1: DATA is the last command of a group. What stands behind it was sent without
	 * waiting for our 354, and must neither be taken for content nor for commands. */
	if (session_out_of_turn(s, "the reply to DATA", false))
		return 0;
	if (c->args.len > 0)
		return session_reply_with(s, REPLY_NO_ARGUMENTS, c->name, SLICE_NULL);
	if (!t)
		return session_reply(s, REPLY_MAIL_FIRST);
	if (t->chunked)
		return session_reply_with(s, REPLY_CHUNKS_BEGUN, c->name, SLICE_NULL);
	if (t->binary) /* RFC 3030 section 3 */
		return session_reply(s, REPLY_BINARY_NEEDS_BDAT);
	if (t->accepted == 0)
		return session_reply(s, t->refused > 0 ? REPLY_NO_VALID_RECIPIENTS : REPLY_RCPT_FIRST);
	r = transaction_open_content(t);
	if (r < 0) {
		transaction_end(s);
		return session_reply_error(s, r);
	}
	r = session_reply(s, REPLY_START_DATA);
	if (r < 0)
		return r;
	return receive_content(s);
}
