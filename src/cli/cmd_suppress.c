/* The list of recipients that were refused for good, as the server keeps it and as administrators change it. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "world/file.h"

enum { OPTION_TENANT = 256, OPTION_REASON };

struct suppress_command {
	const struct cli_command *self;
	struct cli_options common;
	const char *action, *address, *tenant, *reason;
};
struct listing {
	json_t *rows; /* with --json */
	unsigned n;
};

static void print_row(const char *tenant, const char *recipient, const struct suppressed *s, void *context)
{
	struct listing *l = context;
	char since[32], shown[600], whose[300], whom[500];

	(void) wall_format_seconds(s->since, since, sizeof(since));
	if (l->rows) {
		json_array_append_new(l->rows, json_pack("{s:s, s:s, s:s, s:s}", "tenant", tenant, "recipient", recipient, "since", since, "reason",
							 s->reason));
		return;
	}
	if (l->n++ == 0)
		printf("%-20s %-24s %-36s %s\n", "SINCE", "TENANT", "RECIPIENT", "REASON");
	printf("%-20s %-24s %-36s %s\n", since, cli_safe(tenant, whose, sizeof(whose)), cli_safe(recipient, whom, sizeof(whom)),
	       cli_safe(s->reason, shown, sizeof(shown)));
}

static int list(const struct suppress_command *c, const char *path, char **ret_why)
{
	struct listing l = { .rows = c->common.json ? json_array() : NULL };
	int r = suppression_list(path, c->tenant, print_row, &l, ret_why);

	if (r >= 0 && l.rows)
		cli_print_json(l.rows);
	json_decref(l.rows);
	return r;
}

/* Root makes it, but the server has to write it: it belongs to whom the directory belongs. */
static void give_away(struct world *w, const char *path)
{
	_cleanup_(freep) char *directory = strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	struct file_info info;

	if (!slash)
		return;
	*slash = '\0';
	if (path_info(w, directory, &info) == 0 && geteuid() == 0 && chown(path, info.uid, info.gid) < 0)
		fprintf(stderr, "yizhan: %s belongs to root now; the server may be unable to write it\n", path);
}

static int add(const struct suppress_command *c, struct world *w, const char *path, char **ret_why)
{
	struct file_info info;
	bool fresh = path_info(w, path, &info) == -ENOENT;
	int r = suppression_add(path, c->tenant, c->address, c->reason, world_wall(w), ret_why);

	if (fresh)
		give_away(w, path);
	if (r >= 0 && !c->common.json)
		printf("Mail of %s to %s is refused from now on\n", c->tenant, c->address);
	return r;
}

static int change(const struct suppress_command *c, struct world *w, const char *path, char **ret_why)
{
	unsigned removed = 0;
	int r;

	if (strcmp(c->action, "add") == 0)
		return add(c, w, path, ret_why);
	r = suppression_remove(path, c->tenant, c->address, &removed, ret_why);
	if (r >= 0 && removed == 0)
		return cli_failed("%s is not on the list%s%s", c->address, c->tenant ? " of " : "", c->tenant ? c->tenant : ""), -ENOENT;
	if (r >= 0 && !c->common.json)
		printf("Mail to %s may be sent again\n", c->address);
	return r;
}

static int work(struct world *w, void *arg)
{
	const struct suppress_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(freep) char *why = NULL;
	struct address address;
	int r = cli_load_config(w, c->common.config, false, &config);

	if (r != CLI_YES)
		return r;
	if (c->address && address_parse(slice_from(c->address), ADDRESS_ALLOW_UTF8, &address) < 0)
		return cli_failed("\"%s\" is not an address", c->address);
	if (!config->queue.suppression.enabled)
		fprintf(stderr, "yizhan: suppression.enabled is false, so the server does not look at this list\n");
	r = c->address ? change(c, w, config->queue.suppression.path, &why) : list(c, config->queue.suppression.path, &why);
	if (r == -EIO)
		(void) cli_failed("%s", why ? why : "no memory");
	return r < 0 ? CLI_NO : CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS, { "tenant", required_argument, NULL, OPTION_TENANT }, { "reason", required_argument, NULL, OPTION_REASON }, { 0 },
	};
	struct suppress_command c = { .self = self, .common.config = CLI_CONFIG, .reason = "added by an administrator" };
	int option, status;
	bool lists;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0)
		*(option == OPTION_TENANT ? &c.tenant : &c.reason) = optarg;
	if (status >= 0)
		return status;
	c.action = optind < argc ? argv[optind] : "";
	lists = strcmp(c.action, "list") == 0;
	if (!lists && strcmp(c.action, "add") != 0 && strcmp(c.action, "remove") != 0)
		return cli_wrong_usage(self, "list, add or remove?");
	if (argc - optind != (lists ? 1 : 2))
		return cli_wrong_usage(self, lists ? "list takes no address" : "one address is needed");
	c.address = lists ? NULL : argv[optind + 1];
	if (strcmp(c.action, "add") == 0 && !c.tenant)
		return cli_wrong_usage(self, "add needs --tenant: who logs in, or the domain of the sender");
	return cli_run(work, &c);
}

const struct cli_command cli_suppress = {
	.name = "suppress",
	.summary = "recipients that were refused for good: list, add, remove",
	.usage = "Usage: yizhan suppress list [--tenant NAME] [-c FILE] [--json]\n"
		 "       yizhan suppress add ADDRESS --tenant NAME [--reason TEXT] [-c FILE]\n"
		 "       yizhan suppress remove ADDRESS [--tenant NAME] [-c FILE]\n"
		 "\n"
		 "Where suppression.enabled is true, recipients that a server refused for good are remembered for the\n"
		 "tenant that sent to them, and refused when it submits something for them again. A tenant is who logged\n"
		 "in, or else the domain of the sender. Changes count at once, no reload is needed.\n"
		 "\n"
		 "      --tenant NAME     of this one only\n"
		 "      --reason TEXT     what the refusal says\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --json            list: as a JSON array\n"
		 "\n"
		 "Status 1: the address was not on the list, or the list can't be opened.\n",
	.run = run,
};
