#include <stdio.h>

#include "base/suggest.h"
#include "cli/cli.h"

enum { OPTION_SENDER = 256, OPTION_RECIPIENT, OPTION_SITE, OPTION_OLDER, OPTION_CLASS, OPTION_HELD, OPTION_LIMIT, OPTION_ALL };

struct queue_command {
	struct cli_options common;
	const char *verb;
	json_t *filter; /* of every request */
	int argc;
	char **ids;
	json_t *rows; /* with --json */
	uint64_t count;
};

/* --- for people ------------------------------------------------------------------------------------------------ */

static void print_recipient(const json_t *r)
{
	char address[512], reply[1024], ago[64];
	const char *class = cli_text(r, "class");
	int64_t since;

	printf("    %-40s %s", cli_safe(cli_text(r, "address"), address, sizeof(address)), cli_text(r, "status"));
	if (cli_number(r, "attempts"))
		printf(", %llu attempt%s", (unsigned long long) cli_number(r, "attempts"), cli_number(r, "attempts") == 1 ? "" : "s");
	if (cli_seconds_since(cli_text(r, "next"), &since) && since < 0)
		printf(", next in %s", cli_ago((uint64_t) -since, ago, sizeof(ago)));
	if (*cli_text(r, "hop"))
		printf(", by %s", cli_text(r, "hop"));
	if (*cli_text(r, "waits_for"))
		printf(", waits for %s", cli_text(r, "waits_for"));
	putchar('\n');
	if (*cli_text(r, "last_reply"))
		printf("        %s%s%s\n", class, *class ? ": " : "", cli_safe(cli_text(r, "last_reply"), reply, sizeof(reply)));
}

static void print_message(const json_t *m)
{
	const json_t *recipients = json_object_get(m, "recipients");
	char size[16], ago[64], sender[512];

	printf("%s  %6s  %-14s  from <%s>\n", cli_text(m, "id"), cli_size(cli_number(m, "size"), size),
	       cli_ago(cli_number(m, "age_s"), ago, sizeof(ago)), cli_safe(cli_text(m, "sender"), sender, sizeof(sender)));
	if (*cli_text(m, "release"))
		printf("    held until %s, as its sender wants\n", cli_text(m, "release"));
	if (*cli_text(m, "asks"))
		printf("    asks for: %s\n", cli_safe(cli_text(m, "asks"), sender, sizeof(sender)));
	for (size_t i = 0; i < json_array_size(recipients); i++)
		print_recipient(json_array_get(recipients, i));
}

static void take_row(const json_t *row, void *context)
{
	struct queue_command *q = context;

	q->count++;
	if (q->common.json)
		json_array_append(q->rows, (json_t *) row);
	else
		print_message(row);
}

static void print_summary(const json_t *o)
{
	char size[16], ago[64];

	printf("%llu messages for %llu recipients, %s, the oldest %s old\n", (unsigned long long) cli_number(o, "messages"),
	       (unsigned long long) cli_number(o, "recipients"), cli_size(cli_number(o, "bytes"), size),
	       cli_ago(cli_number(o, "oldest_s"), ago, sizeof(ago)));
	printf("%llu active, %llu deferred, %llu held; %llu sites\n", (unsigned long long) cli_number(o, "active"),
	       (unsigned long long) cli_number(o, "deferred"), (unsigned long long) cli_number(o, "held"),
	       (unsigned long long) cli_number(o, "sites"));
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static bool shows_rows(const char *verb)
{
	return strcmp(verb, "list") == 0 || strcmp(verb, "show") == 0;
}

/* value is taken over. Whoever orders something must not have a condition dropped. */
static int set_condition(json_t *filter, const char *key, json_t *value)
{
	if (json_object_set_new(filter, key, value) < 0)
		return cli_failed("%s: not a text in UTF-8, or out of memory", key);
	return 0;
}

/* One request: for one id, or for all that the options say. *changed counts what was acted on. */
static int ask_one(struct world *w, const struct config *config, struct queue_command *q, const char *id, uint64_t *changed)
{
	char name[64];
	json_t *request = json_deep_copy(q->filter), *answer;
	int r;

	snprintf(name, sizeof(name), "queue.%s", q->verb);
	r = set_condition(request, "command", json_string(name));
	if (r == 0 && id)
		r = set_condition(request, "id", json_string(id));
	if (r != 0) {
		json_decref(request);
		return r;
	}
	r = cli_ask(w, config, request, take_row, q, false, &answer);
	json_decref(request);
	if (r != CLI_YES)
		return r;
	*changed += cli_number(answer, "messages");
	if (strcmp(q->verb, "summary") == 0) {
		json_object_del(answer, "ok");
		if (q->common.json)
			cli_print_json(answer);
		else
			print_summary(answer);
	}
	json_decref(answer);
	return CLI_YES;
}

static int finish(struct queue_command *q, uint64_t changed)
{
	static const struct { const char *verb, *done; } words[] = {
		{ "retry", "will be tried now" }, { "hold", "held" }, { "release", "released" },
		{ "bounce", "bounced" }, { "remove", "removed" },
	};

	if (shows_rows(q->verb)) {
		if (q->common.json)
			cli_print_json(q->rows);
		else if (!q->count)
			printf("no messages\n");
		return CLI_YES;
	}
	if (strcmp(q->verb, "summary") == 0)
		return CLI_YES;
	if (q->common.json)
		printf("{\"messages\":%llu}\n", (unsigned long long) changed);
	for (size_t i = 0; !q->common.json && i < ARRAY_LEN(words); i++)
		if (strcmp(words[i].verb, q->verb) == 0)
			printf("%llu message%s %s\n", (unsigned long long) changed, changed == 1 ? "" : "s", words[i].done);
	return changed ? CLI_YES : CLI_NO;
}

static int ask(struct world *w, void *arg)
{
	struct queue_command *q = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	uint64_t changed = 0;
	int r = cli_load_places(w, q->common.config, &config);

	if (r == CLI_YES && !q->argc)
		r = ask_one(w, config, q, NULL, &changed);
	for (int i = 0; r == CLI_YES && i < q->argc; i++)
		r = ask_one(w, config, q, q->ids[i], &changed);
	return r == CLI_YES ? finish(q, changed) : r;
}

/* --- the command line ------------------------------------------------------------------------------------------- */

static const struct option options[] = {
	CLI_LONG_OPTIONS,
	{ "sender", required_argument, NULL, OPTION_SENDER },
	{ "recipient", required_argument, NULL, OPTION_RECIPIENT },
	{ "site", required_argument, NULL, OPTION_SITE },
	{ "older", required_argument, NULL, OPTION_OLDER },
	{ "class", required_argument, NULL, OPTION_CLASS },
	{ "held", no_argument, NULL, OPTION_HELD },
	{ "limit", required_argument, NULL, OPTION_LIMIT },
	{ "all", no_argument, NULL, OPTION_ALL },
	{ 0 },
};

static int take_option(const struct cli_command *self, int c, json_t *filter)
{
	static const char *const texts[] = { "sender", "recipient", "site" };
	uint64_t n;

	switch (c) {
	case OPTION_SENDER:
	case OPTION_RECIPIENT:
	case OPTION_SITE:
		return set_condition(filter, texts[c - OPTION_SENDER], json_string(optarg));
	case OPTION_CLASS:
		return set_condition(filter, "class", json_string(optarg));
	case OPTION_HELD:
		return set_condition(filter, "held", json_true());
	case OPTION_ALL:
		return set_condition(filter, "all", json_true());
	case OPTION_OLDER:
		if (duration_parse(slice_from(optarg), &n) < 0)
			return cli_wrong_usage(self, "--older needs a duration like 2h, not \"%s\"", optarg);
		return set_condition(filter, "older_than_s", json_integer((json_int_t) (n / USEC_SEC)));
	default:
		if (slice_to_u64(slice_from(optarg), &n) < 0 || n == 0 || n > UINT32_MAX)
			return cli_wrong_usage(self, "--limit needs a number, not \"%s\"", optarg);
		return set_condition(filter, "limit", json_integer((json_int_t) n));
	}
}

static int check_verb(const struct cli_command *self, const char *verb)
{
	static const char *const verbs[] = { "list", "show", "retry", "hold", "release", "bounce", "remove", "summary" };
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i], verb) == 0)
			return 0;
	near = suggest_nearest(slice_from(verb), verbs, ARRAY_LEN(verbs));
	return cli_wrong_usage(self, "there is no \"queue %s\"%s%s%s", verb, near ? ", did you mean \"" : "", near ? near : "",
			       near ? "\"?" : "");
}

static int run_with(const struct cli_command *self, struct queue_command *q, int argc, char **argv)
{
	int c, status;

	while ((c = cli_next_option(self, argc, argv, options, &q->common, &status)) >= 0) {
		status = take_option(self, c, q->filter);
		if (status)
			return status;
	}
	if (status >= 0)
		return status;
	if (optind >= argc)
		return cli_wrong_usage(self, "what to do? list, show, retry, hold, release, bounce, remove or summary");
	q->verb = argv[optind++];
	status = check_verb(self, q->verb);
	if (status)
		return status;
	q->argc = argc - optind;
	q->ids = argv + optind;
	if (strcmp(q->verb, "show") == 0 && !q->argc)
		return cli_wrong_usage(self, "queue show needs the id of a message");
	return cli_run(ask, q);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	struct queue_command q = { .common.config = CLI_CONFIG, .filter = json_object(), .rows = json_array() };
	int r = run_with(self, &q, argc, argv);

	json_decref(q.filter);
	json_decref(q.rows);
	return r;
}

const struct cli_command cli_queue = {
	.name = "queue",
	.summary = "list, show, retry, hold, release, bounce, remove, summary",
	.usage = "Usage: yizhan queue VERB [ID...] [-c FILE] [--json] [which messages]\n"
		 "\n"
		 "  list      the messages that wait           summary   how many there are\n"
		 "  show      one message in detail            retry     try them now\n"
		 "  hold      keep them until released         release   let held ones go\n"
		 "  bounce    give up and tell the senders     remove    throw them away silently\n"
		 "\n"
		 "Which messages (several together mean all of them; patterns may have * and ?):\n"
		 "  ID...                 by id; or\n"
		 "      --sender PATTERN  --recipient PATTERN  --site PATTERN\n"
		 "      --older DURATION  waiting longer than 2h, 3d...\n"
		 "      --class CLASS     of the last reply: blocked, throttled, greylisted, mailbox_full,\n"
		 "                        no_such_user, spam_content, tls, auth, policy, too_big, unreachable, other\n"
		 "      --held            held ones only\n"
		 "      --all             all, where a change would need one of the others\n"
		 "      --limit N         at most so many\n"
		 "\n"
		 "  -c, --config FILE     the server's configuration (default " CLI_CONFIG ")\n"
		 "      --json            as JSON\n"
		 "\n"
		 "Status 1: no server runs with this configuration, or no message was concerned.\n",
	.run = run,
};
