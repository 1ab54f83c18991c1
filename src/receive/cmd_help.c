/* HELP (RFC 5321 section 4.1.1.8). */
#include "receive/commands.h"

int cmd_help(struct session *s, const struct command *c)
{
	return session_reply(s, REPLY_HELP);
}
