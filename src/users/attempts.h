/* How often somebody has tried to log in in vain: counted for each client address (IPv6 by its /64, which is what one
 * customer usually has) and for each account, whether it exists or not. Who reaches the limit within the window is locked
 * out for a while.
 *
 * Those that are under way count as if they failed: so many at the same time are not more than many in a row, and one more
 * has to wait. The table holds digests of names, is bounded, and forgets the oldest first. */
#pragma once

#include "base/net.h"
#include "users/users.h"

struct attempts;
int attempts_new(struct world *w, struct attempts **ret);
void attempts_free(struct attempts *a);
DEFINE_FREEP(struct attempts, attempts_free)

enum attempts_key { ATTEMPTS_ADDRESS, ATTEMPTS_ACCOUNT, ATTEMPTS_KEYS };
/* One attempt: whom it is about. */
struct attempt {
	bool has[ATTEMPTS_KEYS];
	uint64_t digest[ATTEMPTS_KEYS][2];
};
/* ip NULL: not counted by address (unix sockets, clients that are trusted). */
void attempt_init(const struct attempts *a, const struct ip *ip, struct attempt *ret);
void attempt_set_account(const struct attempts *a, struct slice folded_name, struct attempt *t);

/* From any thread; none of them waits. */

/* Is he locked out by this key? Then *ret_left is the time until it ends. */
bool attempts_locked(struct attempts *a, const struct attempt *t, enum attempts_key key, usec_t *ret_left);
/* Before a password is looked at. -EBUSY: locked out by *ret_key for *ret_left. -EAGAIN: so many are trying just now that these
 * could lock him out; ask again in a moment. -ENOMEM. After 0 one of the following three must tell how it went, at once. */
int attempts_begin(struct attempts *a, const struct users_limits *limits, const struct attempt *t, enum attempts_key *ret_key,
		   usec_t *ret_left);
/* It was in vain: the keys (1 << enum attempts_key) by which it locks him out. */
unsigned attempts_failed(struct attempts *a, const struct users_limits *limits, const struct attempt *t);
/* It went well (the account begins anew), or nothing can be said about it: the attempt doesn't count. */
void attempts_succeeded(struct attempts *a, const struct attempt *t);
void attempts_undecided(struct attempts *a, const struct attempt *t);
