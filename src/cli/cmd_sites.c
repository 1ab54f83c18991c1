/* What the running server knows of the receivers it writes to: limits, what was learned, troubles. */
#include <stdio.h>

#include "base/wildcard.h"
#include "cli/cli.h"

struct sites_command {
	struct cli_options common;
	const char *pattern; /* NULL: all */
	json_t *rows;
	uint64_t shown;
};

static void print_pace(const json_t *s)
{
	char per[32];

	if (cli_number(s, "rate"))
		printf(", at most %llu messages in %s", (unsigned long long) cli_number(s, "rate"),
		       duration_format(cli_number(s, "rate_per") * USEC_MS, per, sizeof(per)));
	if (cli_number(s, "interval"))
		printf(", learned: one message in %s", duration_format(cli_number(s, "interval") * USEC_MS, per, sizeof(per)));
	if (cli_number(s, "usual_reply"))
		printf(", answers in %s", duration_format(cli_number(s, "usual_reply") * USEC_MS, per, sizeof(per)));
}

static void print_site(const json_t *s)
{
	char key[2048], error[1024], ago[64];
	int64_t since;

	printf("%s\n    %s", cli_safe(cli_text(s, "site"), key, sizeof(key)), cli_text(s, "state"));
	if (cli_seconds_since(cli_text(s, "next"), &since) && since < 0)
		printf(", next in %s", cli_ago((uint64_t) -since, ago, sizeof(ago)));
	printf(", %llu waiting, %llu of %llu connections (at most %llu)", (unsigned long long) cli_number(s, "waiting"),
	       (unsigned long long) cli_number(s, "connections"), (unsigned long long) cli_number(s, "window"),
	       (unsigned long long) cli_number(s, "window_most"));
	if (*cli_text(s, "provider"))
		printf(", provider %s", cli_text(s, "provider"));
	print_pace(s);
	putchar('\n');
	if (*cli_text(s, "last_error"))
		printf("    %s\n", cli_safe(cli_text(s, "last_error"), error, sizeof(error)));
}

static void take_row(const json_t *row, void *context)
{
	struct sites_command *c = context;

	if (c->pattern && !wildcard_match(slice_from(c->pattern), slice_from(cli_text(row, "site"))))
		return;
	c->shown++;
	if (c->common.json)
		json_array_append(c->rows, (json_t *) row);
	else
		print_site(row);
}

static int ask(struct world *w, void *arg)
{
	struct sites_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	json_t *request, *answer;
	int r = cli_load_places(w, c->common.config, &config);

	if (r != CLI_YES)
		return r;
	request = json_pack("{s:s}", "command", "sites");
	r = cli_ask(w, config, request, take_row, c, false, &answer);
	json_decref(request);
	if (r != CLI_YES)
		return r;
	json_decref(answer);
	if (c->common.json)
		cli_print_json(c->rows);
	else if (c->shown == 0)
		printf("no sites\n");
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { 0 } };
	struct sites_command c = { 0 };
	int status;

	c.common.config = CLI_CONFIG;
	while (cli_next_option(self, argc, argv, options, &c.common, &status) >= 0)
		;
	if (status >= 0)
		return status;
	if (optind < argc)
		c.pattern = argv[optind++];
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"?", argv[optind]);
	c.rows = json_array();
	status = c.rows ? cli_run(ask, &c) : cli_failed("out of memory");
	json_decref(c.rows);
	return status;
}

const struct cli_command cli_sites = {
	.name = "sites",
	.summary = "the receivers that mail goes to: limits, what was learned of them, troubles",
	.usage = "Usage: yizhan sites [PATTERN] [-c FILE] [--json]\n"
		 "\n"
		 "Asks the running server for the sites that it has mail or connections for, or had a moment ago: the window of\n"
		 "connections and its limit, the pace that was learned, how long final replies usually take, the last error.\n"
		 "PATTERN has * and ?: '*.google.com*'. Status 1: no server runs with this configuration.\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as one JSON array\n",
	.run = run,
};
