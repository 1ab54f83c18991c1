/* NOOP (RFC 5321 section 4.1.1.9): arguments are ignored. */
#include "receive/commands.h"

int cmd_noop(struct session *s, const struct command *c)
{
	return session_reply(s, REPLY_DONE);
}
