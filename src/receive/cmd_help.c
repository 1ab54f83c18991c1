/* HELP (RFC 5321 section 4.1.1.8): the commands that this client may use now. */
#include "receive/commands.h"

int cmd_help(struct session *s, const struct command *c)
{
	_cleanup_buffer_ struct buffer verbs = { 0 };

	commands_describe(s, &verbs);
	if (buffer_error(&verbs) < 0)
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	return session_reply_with(s, REPLY_HELP, buffer_slice(&verbs), SLICE_NULL);
}
