#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

struct trace {
	struct cli_options common;
	msgid_t id;
	json_t *events; /* with --json */
	int64_t first_ms;
	uint64_t count;
};

static int take_line(struct slice line, void *context)
{
	struct trace *t = context;
	json_t *event = json_loadb(line.data, line.len, 0, NULL);

	if (!event)
		return 0;
	t->count++;
	if (t->common.json)
		json_array_append(t->events, event);
	else
		timeline_print(event, &t->first_ms, "");
	json_decref(event);
	return 0;
}

static int search(struct world *w, void *arg)
{
	struct trace *t = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *directory = NULL;
	json_t *request, *answer = NULL;
	int r = cli_load_places(w, t->common.config, &config);

	if (r != CLI_YES)
		return r;
	/* A running server writes what it still holds; without one everything is in the files. */
	request = json_pack("{s:s}", "command", "journal.flush");
	cli_ask(w, config, request, NULL, NULL, true, &answer);
	json_decref(answer);
	json_decref(request);

	if (asprintf(&directory, "%s/journal", config->spool.path) < 0)
		return cli_failed("out of memory");
	r = journal_search(w, directory, t->id, take_line, t);
	if (r == -ENOENT)
		return cli_failed("there is no journal in %s", directory);
	if (r == -EACCES)
		return cli_failed("no permission for %s; ask as root or as the user that the server runs as", directory);
	if (r < 0)
		return cli_failed("cannot read the journal in %s: %s", directory, strerrordesc_np(-r));
	if (t->common.json)
		cli_print_json(t->events);
	if (!t->count)
		return cli_failed("the journal in %s knows no such message (it keeps events for %llu days)", directory,
				  (unsigned long long) (config->journal.keep / USEC_DAY));
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { 0 } };
	struct trace t = { .common.config = CLI_CONFIG };
	int status;

	while (cli_next_option(self, argc, argv, options, &t.common, &status) >= 0)
		;
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return cli_wrong_usage(self, "one message id is needed");
	if (id_parse(slice_from(argv[optind]), &t.id) < 0)
		return cli_wrong_usage(self, "\"%s\" is not a message id (13 letters and digits, as in the 250 reply and the Received field)",
				       argv[optind]);
	t.events = json_array();
	status = cli_run(search, &t);
	json_decref(t.events);
	return status;
}

const struct cli_command cli_trace = {
	.name = "trace",
	.summary = "the life of one message",
	.usage = "Usage: yizhan trace ID [-c FILE] [--json]\n"
		 "\n"
		 "Prints what happened to a message, from the journal in the spool directory: who sent it,\n"
		 "how it was routed, what each server said, when it will be tried again. Works with and\n"
		 "without a running server. The id is in the reply to the sender and in the Received field.\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as a JSON array of events\n"
		 "\n"
		 "Status 1: the journal knows no such message.\n",
	.run = run,
};
