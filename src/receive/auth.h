/* Logging in (RFC 4954) as the rest of the session sees it; the command itself is in cmd_auth.c, the mechanisms in sasl.h.
 *
 * AUTH is offered where the listener allows it, under TLS; without TLS only where that is configured, and then only by
 * mechanisms that don't show the password. What is offered is in the session's `mechanisms`. */
#pragma once

#include "receive/session.h"

/* Decides what this session is offered in its reply to EHLO; false: nothing. */
bool auth_offer(struct session *s);
/* TLS has begun: nobody is logged in any more (RFC 3207 section 4.2). */
void auth_forget(struct session *s);
/* Somebody whom we believe says who it is (XCLIENT); user NULL: nobody. 0, or -errno when his addresses can't be looked up. */
int auth_become(struct session *s, const char *user);
/* A user sends only as addresses that are his; the null sender is everybody's. 1: it may be; else what the reply returned. */
int auth_check_sender(struct session *s, const struct address *from);
