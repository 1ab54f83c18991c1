/* Giving up root: ports are bound and keys read while we have it, then we become an ordinary user for good. */
#pragma once

#include "main/config.h"

struct identity {
	bool change; /* false: we stay who we are */
	unsigned uid, gid;
	char name[64];
};
/* That user, with its own group. -ESRCH. */
int privileges_of_user(const char *name, struct identity *ret, char **ret_why);
/* Whom the configuration names. Not root, or nobody named: change is false. On failure *ret_why says what to
 * do (on the heap): -ESRCH no such user, -EPERM. */
int privileges_find(const struct config *c, struct identity *ret, char **ret_why);
/* Makes the spool directory if it is missing and gives it to the user; existing ones must be the user's. */
int privileges_prepare_spool(const struct identity *id, const char *path, char **ret_why);
/* Becomes the user in all threads, for good; checks that there is no way back. */
int privileges_drop(const struct identity *id, char **ret_why);
