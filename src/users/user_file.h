/* The password file: one line for each user,
 *
 *	name:verifiers[:attributes]
 *
 * Verifiers as in users/verifier.h; attributes are words like addresses=a@example.org,*@team.example.org. Empty lines and
 * those that begin with # say nothing.
 *
 * The server reads it when it is asked and the file has changed since; a line that it doesn't understand is logged and
 * passed over, the others hold. `yizhan user` changes it by the functions at the end. */
#pragma once

#include "users/users.h"

#define USER_FILE_MAX (64u << 20)

struct user_line {
	struct slice name, addresses; /* views of the line; addresses.data NULL: nothing is said */
	struct verifiers verifiers;   /* verifiers_done */
};
/* 1: a user; 0: nothing in it; -EINVAL with *ret_why (static text); -ENOMEM. */
int user_line_parse(struct slice line, struct user_line *ret, const char **ret_why);

struct user_file;
int user_file_new(struct world *w, const struct log *log, const char *path, struct user_file **ret);
void user_file_free(struct user_file *f);
DEFINE_FREEP(struct user_file, user_file_free)
/* May block. -ENOENT, -EAGAIN (the file can't be read: logged), -ENOMEM. */
int user_file_find(struct user_file *f, struct slice folded_name, struct user *ret);
/* A hash out of the file, for the checks that fail; the heap, or NULL when it holds none. */
char *user_file_sample(struct user_file *f);

/* --- for the command line --------------------------------------------------------------------------------------- */

/* Replaces the line of a user, or adds one when there is none; line without its newline, NULL: takes it away.
 * text: the whole file. Everything else stays as it is. 1: it was there before; 0: not; -ENOMEM. */
int user_file_edit(struct slice text, struct slice folded_name, const char *line, struct buffer *out);
