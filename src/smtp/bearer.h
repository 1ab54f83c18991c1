/* The messages by which SASL carries the access tokens of OAuth, for both sides:
 *
 *	OAUTHBEARER  RFC 7628:  n,a=user@example.org,^Ahost=...^Aport=...^Aauth=Bearer TOKEN^A^A
 *	XOAUTH2      of Google and Microsoft, the same thing before it was a standard:  user=...^Aauth=Bearer TOKEN^A^A
 *
 * (^A is the octet 1.) */
#pragma once

#include "base/buffer.h"

struct bearer {
	char user[256];     /* "" when the client doesn't say */
	struct slice token; /* a view of the message; empty: it asks without one, to learn what is wanted */
};
/* -EINVAL: it is no such message. */
int oauthbearer_parse(struct slice message, struct bearer *ret);
int xoauth2_parse(struct slice message, struct bearer *ret);

/* Appends the message of a client. host and port: what it has connected to, as RFC 7628 section 3.1 asks for; host NULL: left
 * out. The token is one by bearer_is_token, the user a name without control characters. */
void oauthbearer_format(const char *user, const char *host, unsigned port, const char *token, struct buffer *out);
void xoauth2_format(const char *user, const char *token, struct buffer *out);

/* RFC 6750 section 2.1: b64token. An empty one is one, too. */
bool bearer_is_token(struct slice s);
