/* Mail of strangers that goes on to another server gets our link of the Authenticated Received Chain (RFC 8617 section 5.1):
 * what we found of it, and a seal over the links before. Whoever forwards it further, or receives it behind us, sees what it was
 * when it came, although a change on the way has broken its signatures.
 *
 * "Another server" is every hop but a Maildir and those that end here; what lies behind LMTP may forward by itself. */
#pragma once

#include "identity/judge.h"
#include "receive/session.h"

/* Is the message that comes in to be sealed? Its recipients are known. 1, 0, -ENOMEM. */
int seal_is_wanted(const struct session *s);

struct seal_input {
	const struct content *message; /* prepared by arc_seal_prepare, fed to its end, with our own fields in front */
	const struct arc_result *chain; /* as it came */
	const char *results;           /* what Authentication-Results says, without its name */
};
/* From the session's fiber: appends the three fields that go on top; the private key works on the worker pool. None when the chain
 * is closed already, or the message is none that could be sealed. ERROR_SIGNING: it must not be taken. */
int seal_message(const struct session *s, const struct seal_input *in, struct buffer *out);
