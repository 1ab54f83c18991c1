/* RSET (RFC 5321 section 4.1.1.5): the message that was begun is forgotten, the greeting is not. */
#include "receive/commands.h"
#include "receive/transaction.h"

int cmd_rset(struct session *s, const struct command *c)
{
	transaction_end(s);
	return session_reply(s, REPLY_DONE);
}
