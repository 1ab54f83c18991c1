/* SASL (RFC 4422) by GNU SASL, the server's side of one exchange: PLAIN, LOGIN, SCRAM-SHA-1, SCRAM-SHA-256 and the latter
 * with channel binding, EXTERNAL.
 *
 *	sasl_new     for a mechanism
 *	sasl_step    a message of the client in, one of ours out, until it is done
 *	sasl_free    wipes what GNU SASL let us see of the password
 *
 * SCRAM is decided here: the user's verifier is looked up in the first step, and the last one compares. PLAIN and LOGIN end with
 * user and password in hand, EXTERNAL with a name; whether they are right is the caller's business. */
#pragma once

#include "base/buffer.h"
#include "users/users.h"

struct Gsasl;
int sasl_init(struct Gsasl **ret); /* once for all exchanges; -ENOMEM */
void sasl_done(struct Gsasl *g);   /* NULL is fine */

struct sasl;
/* mechanism: enum auth_mechanism. -EOPNOTSUPP: the library doesn't have it; -ENOMEM. */
int sasl_new(struct Gsasl *g, struct world *w, const struct log *log, struct users *users, unsigned mechanism, struct sasl **ret);
void sasl_free(struct sasl *x); /* NULL is fine */
/* The channel binding of the connection: kind "tls-exporter" or "tls-unique". For all SCRAM mechanisms, also those without
 * -PLUS: they find out when somebody in between hid that we have it (RFC 5802 section 6). */
int sasl_set_binding(struct sasl *x, const char *kind, struct slice data);

enum { SASL_DONE = 0, SASL_MORE = 1 };
/* input.data NULL: nothing was sent. In a fiber; waits for a worker. Appends our message to out (nothing: there is none).
 * SASL_DONE, SASL_MORE; -EBADMSG: not a message of this mechanism; -EACCES: no; -EAGAIN: the user can't be looked up now;
 * -ENOMEM. */
int sasl_step(struct sasl *x, struct slice input, struct buffer *out);

/* What the client has said so far; NULL: nothing yet. */
const char *sasl_user(const struct sasl *x);
const char *sasl_authorization(const struct sasl *x); /* the identity that it wants to act as */
const char *sasl_password(const struct sasl *x);
/* Of SCRAM: who it is. Hands over; zeroed when nobody was found. */
void sasl_take_user(struct sasl *x, struct user *ret);
