/* What the running server knows of the receivers it writes to: limits, what was learned, troubles. */
#include <stdio.h>

#include "base/wildcard.h"
#include "cli/cli.h"

struct sites_command {
	struct cli_options common;
	const char *pattern; /* NULL: all */
	const char *order;   /* "hold", "release"; NULL: shows them */
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

static void print_held(const json_t *held)
{
	char text[2048];

	for (size_t i = 0; i < json_array_size(held); i++)
		printf("held until `yizhan sites release`: %s\n",
		       cli_safe(json_string_value(json_array_get(held, i)), text, sizeof(text)));
}

static int give_order(struct world *w, const struct config *config, struct sites_command *c)
{
	char command[32];
	json_t *request, *answer;
	int r;

	snprintf(command, sizeof(command), "sites.%s", c->order);
	request = json_pack("{s:s, s:s}", "command", command, "site", c->pattern);
	if (!request)
		return cli_failed("not a text in UTF-8, or out of memory");
	r = cli_ask(w, config, request, take_row, c, false, &answer);
	json_decref(request);
	if (r != CLI_YES)
		return r;
	if (c->common.json)
		printf("{\"%s\":true}\n", c->order);
	else if (strcmp(c->order, "hold") == 0)
		printf("held: what waits for it, and what comes, stays until `yizhan sites release %s`\n", c->pattern);
	else
		printf("released\n");
	json_decref(answer);
	return CLI_YES;
}

static int ask(struct world *w, void *arg)
{
	struct sites_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	json_t *request, *answer;
	int r = cli_load_places(w, c->common.config, &config);

	if (r != CLI_YES)
		return r;
	if (c->order)
		return give_order(w, config, c);
	request = json_pack("{s:s}", "command", "sites");
	r = cli_ask(w, config, request, take_row, c, false, &answer);
	json_decref(request);
	if (r != CLI_YES)
		return r;
	if (c->common.json)
		cli_print_json(c->rows);
	else if (c->shown == 0)
		printf("no sites\n");
	if (!c->common.json)
		print_held(json_object_get(answer, "held"));
	json_decref(answer);
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
	if (optind < argc && (strcmp(argv[optind], "hold") == 0 || strcmp(argv[optind], "release") == 0))
		c.order = argv[optind++];
	if (optind < argc)
		c.pattern = argv[optind++];
	if (c.order && !c.pattern)
		return cli_wrong_usage(self, "which site? `sites %s` needs its key, or a domain, with * and ? if you like", c.order);
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
		 "       yizhan sites hold|release PATTERN [-c FILE] [--json]\n"
		 "\n"
		 "Asks the running server for the sites that it has mail or connections for, or had a moment ago: the window of\n"
		 "connections and its limit, the pace that was learned, how long final replies usually take, the last error.\n"
		 "PATTERN has * and ?: '*.google.com*'. Status 1: no server runs with this configuration.\n"
		 "\n"
		 "  hold      what waits for these sites, and what comes later, stays, also over a restart; PATTERN is compared\n"
		 "            with their names and with the domains of recipients. What gets too old goes back all the same\n"
		 "  release   lets it go; the same PATTERN as before\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as one JSON array\n",
	.run = run,
};
