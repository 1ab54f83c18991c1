#include <stdio.h>

#include "cli/cli.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { 0 } };
	struct cli_options common = { 0 };
	int status;

	while (cli_next_option(self, argc, argv, options, &common, &status) >= 0)
		;
	if (status >= 0)
		return status;
	if (common.json)
		printf("{\"version\":\"%s\"}\n", YIZHAN_VERSION);
	else
		printf("yizhan %s\n", YIZHAN_VERSION);
	return CLI_YES;
}

const struct cli_command cli_version = {
	.name = "version",
	.summary = "print the version",
	.usage = "Usage: yizhan version [--json]\n"
		 "\n"
		 "Prints the version of this program.\n",
	.run = run,
};
