/* The command of a `pipe`: a program and its arguments, run without a shell.
 *
 * Arguments may hold {recipient}, {sender}, {local}, {detail}, {domain}, {user} and {id}; what is filled in is always one
 * argument, whatever stands in it. */
#pragma once

#include "base/arena.h"
#include "base/slice.h"
#include "base/time.h"

#define PIPE_ARGUMENTS_MAX 64u

struct pipe_command {
	unsigned n_args;
	const char *const *args; /* args[0]: an absolute path, without placeholders */
	const char *user;        /* whom it runs as; NULL: as the server */
	usec_t timeout;
};

/* Takes a command that was written as one text apart at its blanks; there is no quoting: whoever needs a blank in an
 * argument writes a list. In the arena. -EINVAL: it is empty, has a quote, a backslash or a control character, where somebody
 * expects a shell; -E2BIG: too many; -ENOMEM. */
int pipe_command_split(struct slice text, struct arena *a, const char *const **ret_args, unsigned *ret_n);
/* A placeholder that is none (a part of the argument), or a brace that isn't closed; SLICE_NULL when all is well. */
struct slice pipe_argument_flaw(struct slice argument);

/* Finds out what stands at the front of an argument: the text up to the next placeholder, and that one's name (data NULL:
 * there is none). Takes both off. Braces that hold no known name are text. */
enum pipe_word { PIPE_RECIPIENT, PIPE_SENDER, PIPE_LOCAL, PIPE_DETAIL, PIPE_DOMAIN, PIPE_USER, PIPE_ID, PIPE_WORDS };
struct slice pipe_argument_next(struct slice *rest, enum pipe_word *ret);
