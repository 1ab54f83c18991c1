#include <stdio.h>

#include "cli/cli.h"

static void print_pressure(const json_t *receive)
{
	const json_t *limits = json_object_get(receive, "limits"), *one;
	char value[16], mark[16];
	const char *name;

	printf("limits  connections: %s", cli_text(limits, "state"));
	if (cli_number(limits, "limited_addresses") || cli_number(limits, "limited_networks"))
		printf(" (%llu addresses and %llu networks at their limit)", (unsigned long long) cli_number(limits, "limited_addresses"),
		       (unsigned long long) cli_number(limits, "limited_networks"));
	json_object_foreach((json_t *) json_object_get(receive, "pressure"), name, one)
		printf("; %s: %s (%s, mark %s)", name, cli_text(one, "state"), cli_size(cli_number(one, "value"), value),
		       cli_size(cli_number(one, "mark"), mark));
	printf("\n");
}

static void print_gate_and_logins(const json_t *receive)
{
	const json_t *gate = json_object_get(receive, "gate"), *logins = json_object_get(receive, "logins");

	printf("gate    %llu refused, %llu put off; logins: %llu, %llu failed, %llu locked out\n",
	       (unsigned long long) cli_number(gate, "rejected"), (unsigned long long) cli_number(gate, "deferred"),
	       (unsigned long long) cli_number(logins, "ok"), (unsigned long long) cli_number(logins, "failed"),
	       (unsigned long long) cli_number(logins, "locked"));
}

static void print_status(const json_t *o)
{
	const json_t *receive = json_object_get(o, "receive"), *deliver = json_object_get(o, "deliver");
	const json_t *spool = json_object_get(o, "spool"), *journal = json_object_get(o, "journal");
	const json_t *warnings = json_object_get(o, "warnings");
	char up[64], oldest[64], size[16], disk[16], bytes[16];

	printf("%s, Yizhan %s, up %s, %zu loops\n\n", cli_text(o, "hostname"), cli_text(o, "version"),
	       cli_ago(cli_number(o, "uptime_s"), up, sizeof(up)), json_array_size(json_object_get(o, "loops")));
	for (size_t i = 0; i < json_array_size(warnings); i++)
		printf("!       %s\n", json_string_value(json_array_get(warnings, i)));
	printf("in      %llu sessions now, %llu connections, %llu messages, %s, %llu refusals\n",
	       (unsigned long long) cli_number(receive, "sessions"), (unsigned long long) cli_number(receive, "connections"),
	       (unsigned long long) cli_number(receive, "messages"), cli_size(cli_number(receive, "bytes"), bytes),
	       (unsigned long long) cli_number(receive, "refused"));
	print_gate_and_logins(receive);
	print_pressure(receive);
	printf("queue   %llu messages, %llu recipients, %s, oldest %s; %llu active, %llu deferred, %llu held; %llu sites\n",
	       (unsigned long long) cli_number(o, "messages"), (unsigned long long) cli_number(o, "recipients"),
	       cli_size(cli_number(o, "bytes"), size), cli_ago(cli_number(o, "oldest_s"), oldest, sizeof(oldest)),
	       (unsigned long long) cli_number(o, "active"), (unsigned long long) cli_number(o, "deferred"),
	       (unsigned long long) cli_number(o, "held"), (unsigned long long) cli_number(o, "sites"));
	printf("out     %llu delivered, %llu deferred, %llu failed, %llu bounces\n",
	       (unsigned long long) cli_number(deliver, "delivered"), (unsigned long long) cli_number(deliver, "deferred"),
	       (unsigned long long) cli_number(deliver, "failed"), (unsigned long long) cli_number(deliver, "bounced"));
	printf("spool   %s, %s on disk in %llu segments, %llu commits with %llu syncs (%s)\n", cli_text(spool, "state"),
	       cli_size(cli_number(spool, "bytes_on_disk"), disk), (unsigned long long) cli_number(spool, "segments"),
	       (unsigned long long) cli_number(spool, "commits"), (unsigned long long) cli_number(spool, "syncs"),
	       cli_text(spool, "path"));
	printf("journal %llu events, %llu lost; %llu log lines lost\n", (unsigned long long) cli_number(journal, "events"),
	       (unsigned long long) cli_number(journal, "dropped"), (unsigned long long) cli_number(o, "log_lines_dropped"));
}

static int ask(struct world *w, void *arg)
{
	const struct cli_options *common = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	json_t *request, *answer;
	int r = cli_load_places(w, common->config, &config);

	if (r != CLI_YES)
		return r;
	request = json_pack("{s:s}", "command", "status");
	r = cli_ask(w, config, request, NULL, NULL, false, &answer);
	json_decref(request);
	if (r != CLI_YES)
		return r;
	if (common->json) {
		json_object_del(answer, "ok");
		cli_print_json(answer);
	} else {
		print_status(answer);
	}
	json_decref(answer);
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { 0 } };
	struct cli_options common = { .config = CLI_CONFIG };
	int status;

	while (cli_next_option(self, argc, argv, options, &common, &status) >= 0)
		;
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"?", argv[optind]);
	return cli_run(ask, &common);
}

const struct cli_command cli_status = {
	.name = "status",
	.summary = "what the running server is doing",
	.usage = "Usage: yizhan status [-c FILE] [--json]\n"
		 "\n"
		 "Asks the running server for its numbers: sessions, queue, deliveries, spool.\n"
		 "Status 1: no server runs with this configuration.\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as one JSON object\n",
	.run = run,
};
