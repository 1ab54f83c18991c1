/* What the server puts in front of the program of a pipe with a user: becomes that user for good, and then the program.
 * By hand it is of little use. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "main/privileges.h"

#define CANNOT_RUN 126

static int run(const struct cli_command *self, int argc, char **argv)
{
	_cleanup_(freep) char *why = NULL;
	struct identity id;
	int r;

	if (argc < 3 || argv[2][0] != '/')
		return cli_wrong_usage(self, "a user and a program with its whole path are needed");
	r = privileges_of_user(argv[1], &id, &why);
	if (r >= 0 && id.uid == 0) {
		fprintf(stderr, "a program that reads mail must not be root\n");
		return CANNOT_RUN;
	}
	if (r >= 0 && geteuid() != id.uid)
		r = privileges_drop(&id, &why);
	if (r < 0) {
		fprintf(stderr, "%s\n", why ? why : strerrordesc_np(-r));
		return CANNOT_RUN;
	}
	execv(argv[2], argv + 2);
	fprintf(stderr, "%s: %s\n", argv[2], strerrordesc_np(errno));
	return CANNOT_RUN;
}

const struct cli_command cli_exec_as = {
	.name = "exec-as",
	.usage = "Usage: yizhan exec-as USER PROGRAM [ARGUMENT...]\n"
		 "\n"
		 "Becomes the user, with its groups and without a way back, and then the program. The server\n"
		 "calls it for a pipe that has a user.\n"
		 "\n"
		 "Status 126: that was not possible; else it is the program's.\n",
	.run = run,
};
