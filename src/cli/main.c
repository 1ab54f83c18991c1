/* The table of subcommands, and what is said when none of them is meant. */
#include <stdio.h>

#include "base/suggest.h"
#include "cli/cli.h"

static const struct cli_command *const commands[] = {
	&cli_serve,
	&cli_check,
	&cli_sandbox,
	&cli_status,
	&cli_queue,
	&cli_sites,
	&cli_trace,
	&cli_route,
	&cli_explain,
	&cli_classify,
	&cli_doctor,
	&cli_verify,
	&cli_dkim,
	&cli_dmarc,
	&cli_tlsrpt,
	&cli_user,
	&cli_suppress,
	&cli_simulate,
	&cli_exec_as,
	&cli_version,
};

static void print_help(FILE *to)
{
	fprintf(to, "Yizhan %s, a mail transfer agent.\n\nUsage: yizhan COMMAND [options]\n\n", YIZHAN_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i]->summary)
			fprintf(to, "  %-17s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to, "\nEvery command takes --help, and -c FILE for a configuration other than\n" CLI_CONFIG
		    ". Exit status: 0 yes, 1 no, 2 wrong usage.\n");
}

static const struct cli_command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	const char *names[ARRAY_LEN(commands)];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i]->name;
	near = suggest_nearest(slice_from(name), names, ARRAY_LEN(names));
	fprintf(stderr, "yizhan: there is no command \"%s\"", name);
	if (near)
		fprintf(stderr, ", did you mean \"%s\"?", near);
	fprintf(stderr, "\nTry 'yizhan help'.\n");
	return CLI_USAGE;
}

static int help(int argc, char **argv)
{
	const struct cli_command *command;

	if (argc < 2) {
		print_help(stdout);
		return CLI_YES;
	}
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	fputs(command->usage, stdout);
	return CLI_YES;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;

	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return cli_version.run(&cli_version, 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help(argc - 1, argv + 1);
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	return command->run(command, argc - 1, argv + 1);
}
