/* Users in databases. The query of the configuration gets the user's name as $1, never as a part of its text, and gives
 * back one row with the columns
 *
 *	password    verifiers as in users/verifier.h
 *	addresses   (may be missing) patterns separated by spaces or commas
 *	name        (may be missing) the user's name as it is to be shown
 *
 * Everything here blocks: on a worker. 0, -ENOENT, -EAGAIN (the database can't be asked, or gives no such row: logged),
 * -ENOMEM. */
#pragma once

#include "users/users.h"

/* Opened for each question: it lies on this machine, and may be replaced while we run. */
int sqlite_find(const struct log *log, const struct users_backend_config *config, struct slice folded_name, struct user *ret);

/* Keeps a few connections open. */
struct postgresql;
int postgresql_new(const struct log *log, const struct users_backend_config *config, struct postgresql **ret);
void postgresql_free(struct postgresql *p); /* NULL is fine */
int postgresql_find(struct postgresql *p, struct slice folded_name, struct user *ret);

/* What a row says. password NULL: he has none. For both of them. -EAGAIN: the verifiers aren't understood (logged). */
int sql_user(const struct log *log, const char *place, const char *name, const char *password, const char *addresses,
	     struct user *ret);
