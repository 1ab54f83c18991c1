#include "cli/cli.h"
#include "main/run.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { "exit-with-parent", no_argument, NULL, 256 }, { 0 } };
	struct cli_options common = { .config = CLI_CONFIG };
	struct run_options o = { 0 };
	int c, status;

	while ((c = cli_next_option(self, argc, argv, options, &common, &status)) >= 0)
		if (c == 256)
			o.exit_with_parent = 1;
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"? The configuration is given with -c", argv[optind]);
	o.config_path = common.config;
	return run_server(&o) == 0 ? CLI_YES : CLI_NO;
}

const struct cli_command cli_serve = {
	.name = "serve",
	.summary = "run the server in the foreground",
	.usage = "Usage: yizhan serve [-c FILE] [--exit-with-parent]\n"
		 "\n"
		 "Runs the server in the foreground and logs to standard error.\n"
		 "\n"
		 "  SIGHUP            read the configuration again, without dropping a session; a file\n"
		 "                    with mistakes is refused, and the old one stays in force\n"
		 "  SIGTERM, SIGINT   finish what is under way (stop_timeout), then end; twice: at once\n"
		 "\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --exit-with-parent  stop when the process that started this one ends\n",
	.run = run,
};
