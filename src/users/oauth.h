/* OAuth tokens that mail programs log in with (their messages: smtp/bearer.h). Whether a token holds and whose it is, is asked by
 * HTTPS (introspection, RFC 7662) on a worker; the answer is kept for a moment under a digest of the token. */
#pragma once

#include "users/users.h"

struct oauth;
int oauth_new(struct world *w, const struct log *log, const struct users_oauth_config *config, struct oauth **ret);
void oauth_free(struct oauth *o); /* NULL is fine */
/* In a fiber; waits. 0 with the user's name on the heap; -EACCES: not a token that is good for us; -EAGAIN: can't be asked
 * (logged); -ENOMEM. */
int oauth_check(struct oauth *o, struct slice token, char **ret_user);

/* What the answer to a question says (RFC 7662 section 2.2). 0 with the name on the heap and the time until which it holds
 * (seconds since 1970; 0: not said); -EACCES: not active, or not for us; -EPROTO: not an answer; -ENOMEM. */
int introspection_parse(struct slice json, const struct users_oauth_config *config, char **ret_user, uint64_t *ret_expires);
