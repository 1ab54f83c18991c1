/* What LMTP (RFC 2033) does differently: after the content there is one reply for each recipient that was
 * accepted, in their order; and who says 2xx has put the message into a mailbox. LHLO is in smtp_client.c. */
#pragma once

#include "deliver/smtp_client.h"

/* Reads the replies for the recipients with pending[i], filling their outcomes (remote: for them, with strings that
 * live as long as they). -errno: the connection is lost. */
int lmtp_read_replies(struct smtp_client *c, const struct remote *remote, struct delivery *d, const bool *pending,
		      unsigned n);
