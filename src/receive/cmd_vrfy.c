/* VRFY (RFC 5321 section 4.1.1.6): no address is confirmed or denied (RFC 5321 section 3.5.3, RFC 5321 section 7.3). */
#include "receive/commands.h"

int cmd_vrfy(struct session *s, const struct command *c)
{
	return session_reply(s, c->args.len > 0 ? REPLY_VRFY : REPLY_VRFY_WHAT);
}
