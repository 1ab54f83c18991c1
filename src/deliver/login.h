/* Logging in to a relay (RFC 4954) by the strongest mechanism that it offers and that there are means for:
 *
 *	EXTERNAL                 the certificate that was shown in TLS
 *	OAUTHBEARER, XOAUTH2     an access token (tokens.h)
 *	SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, SCRAM-SHA-256, SCRAM-SHA-1     a password that stays here, by GNU SASL
 *	PLAIN, LOGIN             a password
 *
 * What shows password or token to whoever listens is used under TLS only, or when the server is on this machine. A relay
 * that wants nothing but a certificate need not offer anything. */
#pragma once

#include "deliver/smtp_client.h"

struct Gsasl;
int login_init(struct Gsasl **ret); /* once, before any other thread uses it */
void login_done(struct Gsasl *g);   /* NULL is fine */

/* As c->peer.login says. 0; -errno with *ret_failure, its strings in scratch. */
int login(struct smtp_client *c, struct arena *scratch, struct outcome *ret_failure);
