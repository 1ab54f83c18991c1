#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "identity/judge.h"
#include "world/fiber.h"
#include "world/file.h"

#define PIECE ((size_t) 64 * 1024)

enum { OPTION_ZONE = 256, OPTION_CLIENT, OPTION_HELO, OPTION_FROM, OPTION_RCPT, OPTION_TIME, OPTION_RECEIVER, OPTION_REASONS };

struct verify_command {
	struct cli_options common;
	const char *zone, *helo, *mail_from, *receiver, *message;
	bool have_client, have_time, reasons;
	struct ip client;
	wall_t time;
};

/* --- the message ---------------------------------------------------------------------------------------------- */

static int feed_stdin(struct content *m, char *piece)
{
	size_t n;
	int r = 0;

	while (r >= 0 && (n = fread(piece, 1, PIECE, stdin)) > 0)
		r = content_feed(m, slice_new(piece, n));
	return r < 0 ? r : ferror(stdin) ? -EIO : 0;
}

static int feed_file(struct world *w, const char *path, struct content *m, char *piece)
{
	_cleanup_(file_closep) struct file *f = NULL;
	uint64_t offset = 0;
	ssize_t n;
	int r;

	r = file_open(w, path, FILE_READ, 0, &f);
	if (r < 0)
		return r;
	while ((n = file_pread(f, piece, PIECE, offset)) > 0) {
		r = content_feed(m, slice_new(piece, (size_t) n));
		if (r < 0)
			return r;
		offset += (uint64_t) n;
	}
	return (int) n;
}

static int read_message(struct world *w, const char *path, struct content *m, struct arena *a)
{
	char *piece = arena_alloc(a, PIECE);
	int r;

	if (!piece)
		return -ENOMEM;
	r = strcmp(path, "-") == 0 ? feed_stdin(m, piece) : feed_file(w, path, m, piece);
	return r < 0 ? r : content_end(m);
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

/* Text that may have come from the network; what isn't UTF-8 becomes "". */
static json_t *text(const char *s)
{
	json_t *o = json_string(s);

	return o ? o : json_string("");
}

static void add_reason(const struct verify_command *c, json_t *o, const char *reason)
{
	if (c->reasons)
		json_object_set_new(o, "reason", text(reason));
}

static json_t *show_dkim(const struct verify_command *c, const struct judge_result *result)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < result->n_dkim; i++) {
		const struct dkim_result *d = &result->dkim[i];
		json_t *o = json_object();

		json_object_set_new(o, "result", text(dkim_word_text(d->word)));
		json_object_set_new(o, "domain", text(d->domain));
		json_object_set_new(o, "selector", text(d->selector));
		add_reason(c, o, d->reason);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *show(const struct verify_command *c, const struct judge_result *result)
{
	json_t *all = json_object(), *spf = json_object(), *arc, *dmarc;

	json_object_set_new(spf, "result", text(spf_word_text(result->spf.word)));
	json_object_set_new(spf, "explanation", text(result->spf.explanation));
	add_reason(c, spf, result->spf.reason);
	json_object_set_new(all, "spf", spf);
	if (!c->message)
		return all;
	arc = json_object();
	dmarc = json_object();
	json_object_set_new(all, "dkim", show_dkim(c, result));
	json_object_set_new(arc, "result", text(arc_word_text(result->arc.word)));
	add_reason(c, arc, result->arc.reason);
	json_object_set_new(all, "arc", arc);
	json_object_set_new(dmarc, "result", text(dmarc_word_text(result->dmarc.word)));
	json_object_set_new(dmarc, "policy", text(dmarc_policy_text(result->dmarc.policy)));
	json_object_set_new(dmarc, "domain", text(result->dmarc.domain));
	add_reason(c, dmarc, result->dmarc.reason);
	json_object_set_new(all, "dmarc", dmarc);
	return all;
}

static int print(const struct verify_command *c, const struct judge_result *result)
{
	json_t *all = show(c, result);
	char *line = json_dumps(all, JSON_COMPACT);

	json_decref(all);
	if (!line)
		return cli_failed("out of memory");
	puts(line);
	free(line);
	return CLI_YES;
}

/* --- the work ------------------------------------------------------------------------------------------------------- */

/* The DNS: a zone file, or what the configuration says, or that of the system. */
static int open_resolver(struct world *w, const struct verify_command *c, struct config **ret_config, struct resolver **ret)
{
	static const struct dns_config system = { 0 };
	_cleanup_(freep) char *why = NULL;
	struct dns_config zone = { .zone = c->zone };
	const struct dns_config *dns = c->zone ? &zone : &system;
	int r;

	if (!c->zone && c->common.config) {
		r = cli_load_config(w, c->common.config, false, ret_config);
		if (r != CLI_YES)
			return r;
		dns = &(*ret_config)->dns;
	}
	r = resolver_new(w, NULL, dns, ret, &why);
	return r < 0 ? cli_failed("%s", why ? why : strerrordesc_np(-r)) : CLI_YES;
}

static int work(struct world *w, void *arg)
{
	const struct verify_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_(content_freep) struct content *message = NULL;
	struct judge_input in = { .client = c->have_client ? &c->client : NULL, .helo = c->helo, .mail_from = c->mail_from,
				   .receiver = c->receiver, .now = c->have_time ? c->time : world_wall(w) };
	struct judge_result result;
	int r = open_resolver(w, c, &config, &resolver);

	if (r != CLI_YES)
		return r;
	r = arena_new(0, &arena);
	if (r >= 0 && c->message)
		r = content_new(arena, NULL, true, &message);
	if (r >= 0 && c->message) {
		r = read_message(w, c->message, message, arena);
		if (r < 0)
			return cli_failed("%s: %s", c->message, strerrordesc_np(-r));
	}
	if (r >= 0)
		r = judge_message(resolver, message, &in, NULL, DEADLINE_NEVER, arena, &result);
	return r < 0 ? cli_failed("%s", strerrordesc_np(-r)) : print(c, &result);
}

/* One option of our own; CLI_YES, or what the command must return. */
static int take_option(const struct cli_command *self, struct verify_command *c, int option)
{
	uint64_t seconds;

	switch (option) {
	case OPTION_ZONE:
		c->zone = optarg;
		break;
	case OPTION_CLIENT:
		if (ip_parse(slice_from(optarg), &c->client) < 0)
			return cli_wrong_usage(self, "\"%s\" is not an IP address", optarg);
		c->have_client = true;
		break;
	case OPTION_HELO:
		c->helo = optarg;
		break;
	case OPTION_FROM:
		c->mail_from = optarg;
		break;
	case OPTION_TIME:
		if (slice_to_u64(slice_from(optarg), &seconds) < 0 || seconds > UINT32_MAX * 1000ull)
			return cli_wrong_usage(self, "\"%s\" is not a time in seconds since 1970", optarg);
		c->time = (wall_t) (seconds * USEC_SEC);
		c->have_time = true;
		break;
	case OPTION_RECEIVER:
		c->receiver = optarg;
		break;
	case OPTION_REASONS:
		c->reasons = true;
		break;
	default: /* the recipient: nothing depends on it yet */
		break;
	}
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "zone", required_argument, NULL, OPTION_ZONE },
		{ "client-ip", required_argument, NULL, OPTION_CLIENT },
		{ "helo", required_argument, NULL, OPTION_HELO },
		{ "mail-from", required_argument, NULL, OPTION_FROM },
		{ "rcpt", required_argument, NULL, OPTION_RCPT },
		{ "time", required_argument, NULL, OPTION_TIME },
		{ "receiver", required_argument, NULL, OPTION_RECEIVER },
		{ "reasons", no_argument, NULL, OPTION_REASONS },
		{ 0 },
	};
	struct verify_command c = { .helo = "", .mail_from = "" };
	int option, status, r;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0) {
		r = take_option(self, &c, option);
		if (r != CLI_YES)
			return r;
	}
	if (status >= 0)
		return status;
	if (argc - optind > 1)
		return cli_wrong_usage(self, "one message only");
	c.message = argv[optind];
	if (!c.message && !c.have_client)
		return cli_wrong_usage(self, "without a message there is only SPF to judge, and that needs --client-ip");
	return cli_run(work, &c);
}

const struct cli_command cli_verify = {
	.name = "verify",
	.summary = "SPF, DKIM, ARC and DMARC verdicts on a message",
	.usage = "Usage: yizhan verify [options] [MESSAGE]\n"
		 "\n"
		 "Judges a message in a file (- is standard input) as the server would if it came from that client now,\n"
		 "and prints one JSON object with the result words of RFC 8601. Without a message, only SPF is judged.\n"
		 "\n"
		 "      --client-ip IP    the address of the client\n"
		 "      --helo NAME       what it called itself\n"
		 "      --mail-from ADDR  the reverse-path; empty: the null one, then SPF checks the name of HELO\n"
		 "      --rcpt ADDR       the recipient\n"
		 "      --receiver NAME   our own name, for the macros of SPF\n"
		 "      --time SECONDS    judge as at that time (seconds since 1970) instead of now\n"
		 "      --zone FILE       this master file is all the DNS there is; the comment lines\n"
		 "                        \"; TIMEOUT name\" and \"; SERVFAIL name\" make these names fail so\n"
		 "      --reasons         says also why, for each verdict\n"
		 "  -c, --config FILE     take the DNS servers from this configuration (default: the system's)\n"
		 "\n"
		 "Status 0: it could be judged, whatever the verdict.\n",
	.run = run,
};
