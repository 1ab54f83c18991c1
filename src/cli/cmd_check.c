#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "main/check.h"

enum { OPTION_SCHEMA = 256, OPTION_KEYS };

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

static int check(struct world *w, void *arg)
{
	const struct cli_options *common = arg;
	_cleanup_config_errors_ struct config_errors errors = { 0 };
	_cleanup_(config_freep) struct config *config = NULL;
	int r = cli_load_config(w, common->config, true, &config);

	if (r != CLI_YES) {
		check_the_rest(w, common->config);
		return r;
	}
	check_surroundings(w, config, &errors);
	if (errors.count) {
		fwrite(errors.text.data, 1, errors.text.len, stderr);
		return CLI_NO;
	}
	printf("%s is fine: %s, %u listening address%s, %u domain%s, %u route%s\n", common->config, config->hostname,
	       config->receive.n_listeners, config->receive.n_listeners == 1 ? "" : "es", config->route.n_domains,
	       config->route.n_domains == 1 ? "" : "s", config->route.n_rules, config->route.n_rules == 1 ? "" : "s");
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
		{ 0 },
	};
	struct cli_options common = { .config = CLI_CONFIG };
	int c, status;

	while ((c = cli_next_option(self, argc, argv, options, &common, &status)) >= 0) {
		if (c == OPTION_SCHEMA)
			return print(config_json_schema(), "\n");
		if (c == OPTION_KEYS)
			return print(config_keys_text(), "");
	}
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"? The configuration is given with -c", argv[optind]);
	return cli_run(check, &common);
}

const struct cli_command cli_check = {
	.name = "check",
	.summary = "check the configuration, the keys and the directories",
	.usage = "Usage: yizhan check [-c FILE]\n"
		 "       yizhan check --schema | --keys\n"
		 "\n"
		 "Checks the configuration and what it names: keys, certificates, zone files, users,\n"
		 "directories. Prints every mistake as file:line:column: what is wrong. Status 0: it is fine.\n"
		 "\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --schema          print the JSON Schema of the configuration, for editors\n"
		 "      --keys            print all keys with their types, defaults and purposes\n",
	.run = run,
};
