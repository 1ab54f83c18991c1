#include <stdarg.h>
#include <stdio.h>

#include "cli/cli.h"

int cli_wrong_usage(const struct cli_command *self, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "yizhan %s: ", self->name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\nTry 'yizhan %s --help'.\n", self->name);
	return CLI_USAGE;
}

int cli_failed(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "yizhan: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_NO;
}

int cli_next_option(const struct cli_command *self, int argc, char **argv, const struct option *options,
		    struct cli_options *common, int *ret_exit)
{
	*ret_exit = -1;
	opterr = 0;
	for (;;) {
		int at = optind ? optind : 1, c = getopt_long(argc, argv, ":c:h", options, NULL);

		switch (c) {
		case 'c':
			common->config = optarg;
			break;
		case 'j':
			common->json = true;
			break;
		case 'h':
			fputs(self->usage, stdout);
			*ret_exit = CLI_YES;
			return -1;
		case '?':
			*ret_exit = cli_wrong_usage(self, "unknown option %s", argv[at < argc ? at : argc - 1]);
			return -1;
		case ':':
			*ret_exit = cli_wrong_usage(self, "%s needs a value", argv[at < argc ? at : argc - 1]);
			return -1;
		default:
			return c;
		}
	}
}
