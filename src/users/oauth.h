/* OAuth tokens: the messages in which mail programs send them, and the question to the server that gave them out.
 *
 *	OAUTHBEARER  RFC 7628:  n,a=user@example.org,^Ahost=...^Aport=...^Aauth=Bearer TOKEN^A^A
 *	XOAUTH2      of Google and Microsoft, the same thing before it was a standard:  user=...^Aauth=Bearer TOKEN^A^A
 *
 * (^A is the octet 1.) Whether a token holds and whose it is, is asked by HTTPS (introspection, RFC 7662) on a worker; the
 * answer is kept for a moment under a digest of the token. */
#pragma once

#include "users/users.h"

struct bearer {
	char user[256];     /* "" when the client doesn't say */
	struct slice token; /* a view of the message; empty: it asks without one, to learn what is wanted */
};
/* -EINVAL: it is no such message. */
int oauthbearer_parse(struct slice message, struct bearer *ret);
int xoauth2_parse(struct slice message, struct bearer *ret);

struct oauth;
int oauth_new(struct world *w, const struct log *log, const struct users_oauth_config *config, struct oauth **ret);
void oauth_free(struct oauth *o); /* NULL is fine */
/* In a fiber; waits. 0 with the user's name on the heap; -EACCES: not a token that is good for us; -EAGAIN: can't be asked
 * (logged); -ENOMEM. */
int oauth_check(struct oauth *o, struct slice token, char **ret_user);

/* What the answer to a question says (RFC 7662 section 2.2). 0 with the name on the heap and the time until which it holds
 * (seconds since 1970; 0: not said); -EACCES: not active, or not for us; -EPROTO: not an answer; -ENOMEM. */
int introspection_parse(struct slice json, const struct users_oauth_config *config, char **ret_user, uint64_t *ret_expires);
