/* Another program, run for one piece of work: it is given something to read, says something, and ends.
 *
 *	program_start   a new process in a process group of its own, without a shell; nothing of ours is open in it but
 *	                the two pipes, and its environment is what it is given
 *	program_write   to its standard input, program_end_input when there is no more
 *	program_read    from its standard output and standard error, which are one
 *	program_wait    until it has ended
 *	program_free    whatever of its group still runs when it was not waited for is killed
 *
 * Everything but the start waits in the fiber alone. Reading, writing and waiting may happen in different fibers of the loop
 * that started it. A simulation has no programs: program_start says -ENOSYS. */
#pragma once

#include "world/world.h"

struct program;

struct program_options {
	const char *const *argv; /* argv[0] is an absolute path; ends with NULL */
	const char *const *env;  /* "NAME=value", all there is; ends with NULL */
};

/* From a fiber. -ENOENT, -EACCES, -ENOEXEC: it can't be run; -ENOMEM, -EMFILE, -EAGAIN; -ENOSYS. */
int program_start(struct world *w, const struct program_options *o, struct program **ret);
/* All of it. -EPIPE: the program reads no more; -ETIMEDOUT, -ECANCELED. */
int program_write(struct program *p, const void *data, size_t len, usec_t deadline);
void program_end_input(struct program *p);
/* What is there, up to len octets; 0: there will be no more. -ETIMEDOUT, -ECANCELED. */
ssize_t program_read(struct program *p, void *data, size_t len, usec_t deadline);
/* Until it has ended: its exit status (0 to 255), or a negative signal number. -ETIMEDOUT, -ECANCELED. */
int program_wait(struct program *p, usec_t deadline, int *ret_status);
/* The whole group, at once. */
void program_kill(struct program *p);
/* Waits for a program that had to be killed, and is not cancellable then. NULL is fine. */
void program_free(struct program *p);
DEFINE_FREEP(struct program, program_free)
/* Would a program have the rights of root? */
bool program_is_root(struct world *w);
