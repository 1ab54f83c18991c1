/* The access tokens with which we log in to relays (RFC 6749), fetched and renewed by ourselves.
 *
 * An account is what tokens are fetched for: endpoint, client, grant, scope, refresh token's file. Its life: the first login
 * fetches a token, on a worker; all logins that want one meanwhile, on whatever loop, wait for that fetch. The token then
 * serves all connections until shortly before it ends. One that a server no longer takes is given back (tokens_refused), and
 * the next login fetches another, but not more than one a minute. A fetch that fails is not repeated for a while, which
 * doubles: from 5 s up to 5 min when the endpoint doesn't answer, from 1 min up to 1 h when it refuses; whoever asks
 * meanwhile hears why. That is logged when it begins, when its reason changes, and when it is over.
 *
 * A refresh token is read from its file each time. When the endpoint gives a new one, it is written there at once; should that
 * fail, it is said in the log, kept in memory, and written with the next fetch. Tokens are in nothing that is logged, and
 * memory that held them is wiped. */
#pragma once

#include "base/arena.h"
#include "route/hop.h"
#include "world/https.h"

#define TOKEN_REFUSED_REST USEC_MIN

struct tokens;
/* post NULL: https_post; a test has its own. -ENOMEM. */
int tokens_new(struct world *w, const struct log *log, int (*post)(struct https_post *p), struct tokens **ret);
void tokens_free(struct tokens *t); /* when nobody waits; NULL is fine */
DEFINE_FREEP(struct tokens, tokens_free)

/* In a fiber; waits for as long as a fetch takes (account->timeout). The configuration lives as long as t. 0 with a token in the
 * arena; -EAGAIN with a sentence in *ret_why (in the arena, NULL when memory is out): there is none now; -ENOMEM. */
int tokens_get(struct tokens *t, const struct relay_oauth *account, struct arena *a, const char **ret, const char **ret_why);
/* A server does not take it. True: another one may be had, so that it is worth asking again at once. */
bool tokens_refused(struct tokens *t, const struct relay_oauth *account, const char *token);
