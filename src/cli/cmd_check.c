#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "main/check.h"

enum { OPTION_SCHEMA = 256, OPTION_KEYS, OPTION_GATE, OPTION_REPLIES };

struct check_command {
	struct cli_options common;
	bool gate;
};

/* The rules as the server will look at them: stage by stage. */
static void print_gate(const struct config *config)
{
	const struct gate_rules *rules = &config->gate.rules;
	char text[1000];

	for (unsigned stage = 0; stage < GATE_STAGES; stage++)
		for (unsigned i = 0; i < rules->n; i++)
			if (rules->rules[i].stage == stage)
				printf("%s: %s\n", rules->rules[i].name, gate_rule_describe(&rules->rules[i], text, sizeof(text)));
	if (!rules->n)
		printf("the gate has no rules\n");
}

/* The file has mistakes, which have been told: the files that it names may be missing all the same. */
static void check_the_rest(struct world *w, const char *path)
{
	_cleanup_config_errors_ struct config_errors errors = { 0 }, told = { 0 };
	_cleanup_(config_freep) struct config *config = NULL;

	if (config_load_places(w, path, &told, &config) < 0)
		return;
	check_named_files(w, config, &errors);
	if (errors.count)
		fwrite(errors.text.data, 1, errors.text.len, stderr);
}

/* One line each: name, codes and text with tabs between, for people and for the documentation. */
static int print_replies(void)
{
	for (unsigned i = 0; i < REPLY_COUNT; i++) {
		const struct reply *r = reply_of(i);
		char text[600];
		size_t n = slice_copy(slice_from(r->text), text, sizeof(text));

		for (size_t k = 0; k < n; k++)
			text[k] = text[k] == '\n' ? ' ' : text[k];
		printf("%s\t%d", reply_name(i), r->code);
		if (r->enhanced[0])
			printf(" %d.%d.%d", r->enhanced[0], r->enhanced[1], r->enhanced[2]);
		printf("\t%s\n", text);
	}
	return CLI_YES;
}

static int check(struct world *w, void *arg)
{
	const struct check_command *c = arg;
	const struct cli_options *common = &c->common;
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	_cleanup_(config_freep) struct config *config = NULL;
	int r = cli_load_config(w, common->config, true, &config);

	if (r != CLI_YES) {
		check_the_rest(w, common->config);
		return r;
	}
	check_surroundings(w, config, &errors);
	if (errors.warnings.len)
		fwrite(errors.warnings.data, 1, errors.warnings.len, stderr);
	if (errors.count) {
		fwrite(errors.text.data, 1, errors.text.len, stderr);
		return CLI_NO;
	}
	if (c->gate) {
		print_gate(config);
		return CLI_YES;
	}
	printf("%s is fine: %s, %u listening address%s, %u domain%s, %u route%s%s\n", common->config, config->hostname,
	       config->receive.n_listeners, config->receive.n_listeners == 1 ? "" : "es", config->route.n_domains,
	       config->route.n_domains == 1 ? "" : "s", config->route.n_rules, config->route.n_rules == 1 ? "" : "s",
	       config->gate.rules.n ? "; check --gate shows the rules of the gate" : "");
	return CLI_YES;
}

static int print(char *text, const char *end)
{
	if (!text)
		return cli_failed("out of memory");
	printf("%s%s", text, end);
	free(text);
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "schema", no_argument, NULL, OPTION_SCHEMA },
		{ "keys", no_argument, NULL, OPTION_KEYS },
		{ "replies", no_argument, NULL, OPTION_REPLIES },
		{ "gate", no_argument, NULL, OPTION_GATE },
		{ 0 },
	};
	struct check_command command = { .common.config = CLI_CONFIG };
	int c, status;

	while ((c = cli_next_option(self, argc, argv, options, &command.common, &status)) >= 0) {
		if (c == OPTION_SCHEMA)
			return print(config_json_schema(), "\n");
		if (c == OPTION_REPLIES)
			return print_replies();
		command.gate |= c == OPTION_GATE;
		if (c == OPTION_KEYS)
			return print(config_keys_text(), "");
	}
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"? The configuration is given with -c", argv[optind]);
	return cli_run(check, &command);
}

const struct cli_command cli_check = {
	.name = "check",
	.summary = "check the configuration, the keys and the directories",
	.usage = "Usage: yizhan check [-c FILE] [--gate]\n"
		 "       yizhan check --schema | --keys | --replies\n"
		 "\n"
		 "Checks the configuration and what it names: keys, certificates, zone files, users,\n"
		 "directories. Prints every mistake as file:line:column: what is wrong. Status 0: it is fine.\n"
		 "\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --gate            print the rules of the gate in the order in which they are looked at\n"
		 "      --schema          print the JSON Schema of the configuration, for editors\n"
		 "      --keys            print all keys with their types, defaults and purposes\n"
		 "      --replies         print the names and texts of all replies\n",
	.run = run,
};
