/* One message over one connection: MAIL, RCPT for each recipient, the content, and what the server says to each
 * (RFC 5321 section 3.3; pipelined by RFC 2920, the content by BDAT of RFC 3030 where that is offered). LMTP
 * is the same but for the end: see lmtp.h.
 *
 * Every recipient gets its own outcome. A connection that breaks before the reply to the content leaves the rest
 * deferred: the message is sent again, be it twice (RFC 1047). */
#pragma once

#include "deliver/smtp_client.h"

/* Fills the outcomes of the delivery. 0: the connection can be used on. -ESTALE: it was gone or closing before the
 * server had taken anything, on a connection that had worked before: worth another try on a fresh one (the
 * outcomes are filled as if it weren't). -EPROTONOSUPPORT: it could not cope with BDAT, which is remembered: the recipients whose
 * outcome is of STAGE_DATA or later are worth another try on a fresh one, by DATA. Another -errno: the connection is finished.
 * Recipients left with OUTCOME_NONE after a 0 were too many for one transaction (RFC 9422, or 452); some got another
 * outcome then, so it may be called again for the rest. */
int smtp_transaction(struct smtp_client *c, struct delivery *d);
