/* What a reply of another server means to Yizhan: the classifier's own rules, and what the queue does then. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "queue/consequence.h"
#include "world/file.h"

#define REPLY_MAX 65536u

enum { OPTION_MX = 256, OPTION_STAGE };

struct classify_command {
	struct cli_options common;
	const char *mx, *operand;
	enum stage stage;
	bool stage_given;
};

/* While it runs. */
struct classifying {
	const struct classify_command *command;
	struct classifier *classifier;
	struct retry_schedule schedule;
	struct arena *arena;
	json_t *list; /* with --json */
	bool table, headed;
	unsigned bad;
};

/* --- what is known of one reply ----------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *place_of(const struct classification *c)
{
	char place[300];

	if (!c->rule)
		return json_null();
	snprintf(place, sizeof(place), "%s:%u", c->file, c->line);
	return json_string(place);
}

/* "next rung (when: blocked), else bounce" */
static void describe_then(const struct consequence *q, bool brief, char *out, size_t size)
{
	char retry[32], expire[32], otherwise[120] = "bounce";

	if (!q->permanent && brief)
		snprintf(otherwise, sizeof(otherwise), "retry");
	else if (!q->permanent)
		snprintf(otherwise, sizeof(otherwise), "again in %s, until it is %s old",
			 duration_for_people(q->retry, retry, sizeof(retry)), duration_for_people(q->expire, expire, sizeof(expire)));
	else if (!brief)
		snprintf(otherwise, sizeof(otherwise), "back to the sender at once");
	if (brief && q->when)
		snprintf(out, size, "next rung, else %s", otherwise);
	else if (brief || (!q->when && q->permanent))
		snprintf(out, size, "%s", otherwise);
	else if (q->when)
		snprintf(out, size, "at once the next rung with `when: %s` or `any`, if the route has one; else %s", q->when, otherwise);
	else
		snprintf(out, size, "a rung with `when: any`, if the route has one; else %s", otherwise);
}

static json_t *found_json(const struct classifying *x, const struct reply *reply, const struct classification *c)
{
	struct consequence q;
	char then[300];

	consequence_of(c, reply, &x->schedule, &q);
	describe_then(&q, false, then, sizeof(then));
	return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:s, s:i, s:s, s:s}", "class", reply_class_name(c->class), "fault",
			 fault_name(c->fault), "limit", limit_key_name(c->key), "permanent", q.permanent, "rule", text_or_null(c->rule), "place",
			 place_of(c), "next_rung", text_or_null(q.when), "otherwise", q.permanent ? "bounce" : "retry", "retry_seconds",
			 (int) (q.retry / USEC_SEC), "site", q.site, "then", then);
}

/* --- where it would mean something else ---------------------------------------------------------------------------- */

static bool means_the_same(const struct classification *a, const struct classification *b)
{
	return a->class == b->class && a->treat == b->treat && a->fault == b->fault;
}

static bool says_the_same(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "class", "fault", "permanent", "rule" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			return false;
	return true;
}

/* kind: "stages" or "providers". */
static void add_elsewhere(const struct classifying *x, json_t *list, const struct reply *reply, const struct classification *here, enum stage stage,
			  const char *host, const char *kind, const char *name)
{
	struct classification c;
	json_t *o, *names, *known;

	classify(x->classifier, reply, stage, host, &c);
	if (means_the_same(&c, here))
		return;
	o = found_json(x, reply, &c);
	for (size_t i = 0; i < json_array_size(list); i++) {
		known = json_array_get(list, i);
		names = json_object_get(known, kind);
		if (!names || !says_the_same(known, o))
			continue;
		json_array_append_new(names, json_string(name));
		json_decref(o);
		return;
	}
	json_object_set_new(o, kind, json_pack("[s]", name));
	json_array_append_new(list, o);
}

/* What nobody said (the stage, the server) is tried out. Logging in and STARTTLS have meanings of their own for every
 * reply; whoever asks about them says so. */
static json_t *elsewhere(const struct classifying *x, const struct reply *reply, const struct classification *here)
{
	static const enum stage stages[] = { STAGE_GREETING, STAGE_EHLO, STAGE_MAIL, STAGE_RCPT, STAGE_DATA, STAGE_DOT };
	json_t *list = json_array();
	const char *ending, *name;
	char host[300];

	for (size_t i = 0; i < ARRAY_LEN(stages) && !x->command->stage_given; i++)
		if (stages[i] != x->command->stage)
			add_elsewhere(x, list, reply, here, stages[i], x->command->mx, "stages", stage_name(stages[i]));
	for (unsigned i = 0; !x->command->mx && (name = classifier_provider(x->classifier, i, &ending)); i++) {
		snprintf(host, sizeof(host), "mx%s", ending);
		add_elsewhere(x, list, reply, here, x->command->stage, host, "providers", name);
	}
	return list;
}

/* --- for people ----------------------------------------------------------------------------------------------------- */

static const char *explain_fault(const char *fault)
{
	static const struct {
		const char *fault, *text;
	} texts[] = {
		{ "path", "path: our address or our connections" },
		{ "sender", "sender: its address, its domain, or our login" },
		{ "recipient", "recipient: its mailbox" },
		{ "content", "content: this message" },
		{ "server", "server: the remote one, or its rules" },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(texts[i].fault, fault) == 0)
			return texts[i].text;
	return fault;
}

/* "at greeting, mail" or "from google" */
static void print_names(const json_t *other)
{
	const json_t *stages = json_object_get(other, "stages"), *names = stages ? stages : json_object_get(other, "providers");

	for (size_t i = 0; i < json_array_size(names); i++)
		printf("%s%s", i ? ", " : stages ? "at " : "from ", json_string_value(json_array_get(names, i)));
}

static void print_one(const json_t *o)
{
	const json_t *others = json_object_get(o, "elsewhere");
	char shown[2300];

	printf("reply  %s\n", cli_safe(cli_text(o, "reply"), shown, sizeof(shown)));
	printf("rule   ");
	if (*cli_text(o, "rule"))
		printf("%s, %s\n", cli_safe(cli_text(o, "rule"), shown, sizeof(shown)), cli_text(o, "place"));
	else
		printf("none: the code alone decides\n");
	printf("class  %s, %s\n", cli_text(o, "class"), json_is_true(json_object_get(o, "permanent")) ? "permanent" : "temporary");
	printf("fault  %s\n", explain_fault(cli_text(o, "fault")));
	if (strcmp(cli_text(o, "limit"), "address") != 0)
		printf("limit  counts by %s\n", cli_text(o, "limit"));
	printf("then   %s\n", cli_text(o, "then"));
	printf("site   %s\n", cli_text(o, "site"));
	for (size_t i = 0; i < json_array_size(others); i++) {
		const json_t *other = json_array_get(others, i);

		printf("%s", i ? "       " : "but    ");
		print_names(other);
		printf(": %s, %s, fault of the %s (%s)\n", cli_text(other, "class"), json_is_true(json_object_get(other, "permanent")) ? "permanent" : "temporary",
		       cli_text(other, "fault"), *cli_text(other, "rule") ? cli_text(other, "rule") : "no rule");
	}
}

static void print_row(struct classifying *x, const json_t *o, const struct consequence *q)
{
	char then[300], shown[400], rule[400] = "-";

	describe_then(q, true, then, sizeof(then));
	if (!x->headed)
		printf("%-12s %-9s %-9s %-23s %-46s %s\n", "CLASS", "FAULT", "LASTS", "THEN", "RULE", "REPLY");
	x->headed = true;
	if (*cli_text(o, "rule"))
		snprintf(rule, sizeof(rule), "%s %s", cli_text(o, "place"), cli_text(o, "rule"));
	printf("%-12s %-9s %-9s %-23s %-46s %s\n", cli_text(o, "class"), cli_text(o, "fault"), q->permanent ? "permanent" : "temporary", then, rule,
	       cli_safe(cli_text(o, "reply"), shown, sizeof(shown)));
}

/* --- one reply after the other ---------------------------------------------------------------------------------------- */

static void take_reply(struct classifying *x, const struct reply *reply)
{
	struct classification c;
	struct consequence q;
	char *line = reply_to_line(reply, x->arena);
	json_t *o;

	classify(x->classifier, reply, x->command->stage, x->command->mx, &c);
	consequence_of(&c, reply, &x->schedule, &q);
	o = found_json(x, reply, &c);
	json_object_set_new(o, "reply", json_string(line ? line : ""));
	json_object_set_new(o, "stage", json_string(stage_name(x->command->stage)));
	if (!x->table)
		json_object_set_new(o, "elsewhere", elsewhere(x, reply, &c));
	if (x->list)
		json_array_append(x->list, o);
	else if (x->table)
		print_row(x, o, &q);
	else
		print_one(o);
	json_decref(o);
}

static void complain(struct classifying *x, struct slice line)
{
	char text[200], shown[200];

	snprintf(text, sizeof(text), "%.*s", (int) MIN(line.len, (size_t) 80), line.data);
	(void) cli_failed("\"%s\" is no refusal of a server (like \"550 5.7.1 text\")", cli_safe(text, shown, sizeof(shown)));
	x->bad++;
}

/* A reply is there, or all that came of it. */
static void finish_reply(struct classifying *x, struct reply_parser *p, struct slice last)
{
	if (p->reply.code >= 400)
		take_reply(x, &p->reply);
	else if (!x->table) /* among many, what was taken is passed over */
		complain(x, last);
	arena_reset(x->arena);
	reply_parser_init(p, x->arena);
}

static void take_line(struct classifying *x, struct reply_parser *p, struct slice line)
{
	int r;

	if (line.len > 0 && line.data[line.len - 1] == '\r')
		line.len--;
	line = slice_trim(line);
	if (line.len == 0)
		return;
	r = reply_parser_line(p, line);
	if (r == 0)
		return;
	if (r > 0) {
		finish_reply(x, p, line);
		return;
	}
	complain(x, line);
	arena_reset(x->arena);
	reply_parser_init(p, x->arena);
}

static void take_operand(struct classifying *x)
{
	struct slice rest = slice_from(x->command->operand);
	struct reply_parser p;

	reply_parser_init(&p, x->arena);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		take_line(x, &p, line);
	}
	if (p.lines > 0)
		finish_reply(x, &p, slice_from(x->command->operand));
}

static void take_input(struct classifying *x)
{
	char line[2048];
	struct reply_parser p;

	reply_parser_init(&p, x->arena);
	while (fgets(line, sizeof(line), stdin)) {
		struct slice s = slice_from(line);

		if (s.len > 0 && s.data[s.len - 1] == '\n')
			s.len--;
		take_line(x, &p, s);
	}
	if (p.lines > 0)
		finish_reply(x, &p, SLICE_NULL);
}

/* --- the command -------------------------------------------------------------------------------------------------------- */

/* Without -c the usual file counts where there is one. */
static int open_classifier(struct world *w, const struct classify_command *command, struct config **ret_config, struct classifying *x)
{
	_cleanup_(freep) char *why = NULL;
	struct file_info info;
	const char *path = command->common.config;
	int r;

	if (!path && path_info(w, CLI_CONFIG, &info) >= 0)
		path = CLI_CONFIG;
	if (path && cli_load_config(w, path, false, ret_config) != CLI_YES)
		return -EINVAL;
	if (*ret_config) {
		const struct queue_config *q = &(*ret_config)->queue;

		x->schedule = (struct retry_schedule) { .delays = q->retry, .n_delays = q->n_retry, .expire = q->expire, .warn = q->warn };
	}
	r = classifier_new(w, *ret_config ? (*ret_config)->queue.reply_classes : NULL, &x->classifier, &why);
	if (r < 0)
		(void) cli_failed("%s", why ? why : strerrordesc_np(-r));
	return r;
}

static int work(struct world *w, void *arg)
{
	const struct classify_command *command = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct classifying x = { .command = command, .table = strcmp(command->operand, "-") == 0 };

	if (arena_new(REPLY_MAX, &arena) < 0)
		return cli_failed("out of memory");
	if (open_classifier(w, command, &config, &x) < 0)
		return CLI_NO;
	x.arena = arena;
	if (command->common.json)
		x.list = json_array();
	if (x.table)
		take_input(&x);
	else
		take_operand(&x);
	if (x.list && (x.table || json_array_size(x.list) > 0))
		cli_print_json(x.table ? x.list : json_array_get(x.list, 0));
	json_decref(x.list);
	classifier_free(x.classifier);
	return x.bad ? CLI_NO : CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS, { "mx", required_argument, NULL, OPTION_MX }, { "stage", required_argument, NULL, OPTION_STAGE }, { 0 },
	};
	struct classify_command c = { .stage = STAGE_RCPT };
	int option, status;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0) {
		if (option == OPTION_MX) {
			c.mx = optarg;
			continue;
		}
		if (stage_from_name(slice_from(optarg), &c.stage) < 0)
			return cli_wrong_usage(self, "\"%s\" is no stage (greeting, ehlo, starttls, auth, mail, rcpt, data, dot)", optarg);
		c.stage_given = true;
	}
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return cli_wrong_usage(self, "one reply is needed, in quotes, or - for many from standard input");
	c.operand = argv[optind];
	return cli_run(work, &c);
}

const struct cli_command cli_classify = {
	.name = "classify",
	.summary = "what a server's reply means, whose fault it is, and what follows",
	.usage = "Usage: yizhan classify REPLY [--mx HOST] [--stage STAGE] [-c FILE] [--json]\n"
		 "       yizhan classify - < REPLIES\n"
		 "\n"
		 "Says which rule fits a reply like \"550 5.7.1 No thanks\", its class, whose fault it is, and what\n"
		 "Yizhan does when it gets it. The rules are the shipped ones, behind those of queue.reply_classes in the\n"
		 "configuration, if there is one. With - each line of standard input is a reply (\"550-\" goes on in the\n"
		 "next line), and each refusal gives a row. docs/REPLY_CLASSES.md explains rules and classes.\n"
		 "\n"
		 "      --mx HOST         the server that answered; some codes mean something else at some providers\n"
		 "      --stage STAGE     to what: greeting, ehlo, starttls, auth, mail, rcpt (default), data, dot\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ", where it exists)\n"
		 "      --json            as JSON: an object, with - an array of them\n"
		 "\n"
		 "What isn't said is tried: lines with \"but\" name stages and providers where it would mean something else.\n"
		 "Status 1: a line was no refusal of a server, or the rules can't be read.\n",
	.run = run,
};
