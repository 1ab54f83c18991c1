/* Logging in to a relay (RFC 4954) through GNU SASL: SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN, the best that the
 * server offers. The last two show the password to whoever listens, so they are used under TLS only, or when the
 * server is on this machine. */
#pragma once

#include "deliver/smtp_client.h"

struct Gsasl;
int login_init(struct Gsasl **ret); /* once, before any other thread uses it */
void login_done(struct Gsasl *g);   /* NULL is fine */

/* As c->peer.login says. 0; -errno with *ret_failure, its strings in scratch. */
int login(struct smtp_client *c, struct arena *scratch, struct outcome *ret_failure);
