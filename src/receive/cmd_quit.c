/* QUIT (RFC 5321 section 4.1.1.10). */
#include "receive/commands.h"

int cmd_quit(struct session *s, const struct command *c)
{
	return session_close(s, REPLY_GOODBYE);
}
