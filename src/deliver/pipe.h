/* The courier for programs: each recipient's message is the standard input of a program of its own.
 *
 * It is written as a mailbox would have it (deliver/local_text.h). The program's environment is made from nothing: PATH,
 * and what is known of the message; nothing that this server was started with. What it writes is read, and the beginning
 * is told with the outcome. Its exit status decides (sysexits.h): 0 delivered, EX_TEMPFAIL (75) later, EX_NOUSER (67) no
 * such mailbox, all other refused for good; but when it can't be run, dies of a signal or takes too long, that is trouble of
 * ours, and the message waits.
 *
 * It runs as the server does, or as another user when the server is root, through `yizhan exec-as`; never as root. */
#pragma once

#include "deliver/deliverer.h"

void pipe_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot);

/* What the arguments and the environment are made from. */
struct pipe_facts {
	const char *recipient, *local, *detail, *domain; /* local: lower case, without "+detail" ("" when there is none) */
	const struct envelope *envelope;
};
/* -EINVAL: this is no address, or it has a part that can't be handed over; -ENOMEM. In the arena. */
int pipe_facts_of(const struct envelope *e, const char *recipient, struct arena *a, struct pipe_facts *ret);
/* The arguments with everything filled in, ended by NULL. -EINVAL: one would begin with a "-" that isn't in the
 * command, and the program could take it for an option. -ENOMEM. */
int pipe_arguments(const struct pipe_command *c, const struct pipe_facts *f, struct arena *a, const char *const **ret);
/* SENDER, RECIPIENT..., ended by NULL. NULL: memory. */
const char *const *pipe_environment(const struct pipe_facts *f, struct arena *a);
/* status: as program_wait gives it. said: what it wrote, or "". */
void pipe_outcome(const struct pipe_command *c, int status, const char *said, struct arena *a, struct outcome *ret);
