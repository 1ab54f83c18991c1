/* Suppression: recipients that a server refused for good are remembered, and what a bulk sender has for them afterwards is
 * refused when it is submitted, instead of being sent into the same refusal again. Off by default.
 *
 * What is remembered is the tenant, the recipient, when, and the reply. A tenant is who logged in, or else the domain of the
 * sender's address: what one of them learns says nothing to the others. Only senders that fit a pattern count, and only
 * replies of the class no_such_user.
 *
 * It lies in a SQLite file, so that a restart forgets nothing. Writing goes on in the background: a note that is lost with the
 * process is made again by the next refusal. Trouble with the file is logged and lets mail pass. */
#pragma once

#include "base/log.h"
#include "mail/address.h"
#include "world/world.h"

struct suppression_config {
	bool enabled;
	const char *path;
	const char *const *senders; /* patterns (route/match.h); n 0: every sender */
	unsigned n_senders;
	usec_t keep;                /* then the recipient gets another chance; 0: a year */
};
#define SUPPRESSION_REASON_MAX 300u

struct suppression;
int suppression_new(struct world *w, const struct log *log, struct suppression **ret);
/* When all loops have stopped. */
void suppression_free(struct suppression *s);
DEFINE_FREEP(struct suppression, suppression_free)

/* Whose list this is: a text in out, or NULL when the sender isn't one whose refusals count. user: who logged in, or NULL. */
#define TENANT_MAX 260u
const char *suppression_tenant(const struct suppression_config *c, const char *user, struct slice sender, char out[static TENANT_MAX]);
/* Notes a refusal. Doesn't wait; on any loop. */
void suppression_note(struct suppression *s, const struct suppression_config *c, const char *tenant, const char *recipient, const char *reason);

struct suppressed {
	wall_t since;
	char reason[SUPPRESSION_REASON_MAX];
};
/* From a fiber. -ENOENT: nothing is known of it, or the file can't be asked. */
int suppression_find(struct suppression *s, const struct suppression_config *c, const char *tenant, const char *recipient, struct suppressed *ret);

/* For administrators, outside of the server or on a worker; all block. -EIO with *ret_why (on the heap). */
int suppression_list(const char *path, const char *tenant, void (*each)(const char *tenant, const char *recipient, const struct suppressed *s, void *context),
		     void *context, char **ret_why); /* tenant NULL: of all. No file: nothing is listed */
int suppression_add(const char *path, const char *tenant, const char *recipient, const char *reason, wall_t since, char **ret_why);
/* *ret_removed: how many. tenant NULL: of all. */
int suppression_remove(const char *path, const char *tenant, const char *recipient, unsigned *ret_removed, char **ret_why);
