/* SMTP over a connection that the other side has opened: an on-demand mail relay (RFC 2645 section 5.3). After its ATRN the
 * customer is the server, and greets. There is one connection and no other: when it breaks, that was all. */
#pragma once

#include "deliver/deliverer.h"

/* As courier->reversed in queue/site.h says. */
void smtp_reversed_run(struct deliverer *d, const struct deliver_settings *settings, struct stream *stream, const char *tls,
		       struct slot *(*next)(void *context), void *context);
