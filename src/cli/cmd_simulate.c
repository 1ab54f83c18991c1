/* A server that answers as a large receiver does: for tests, and for administrators who want to see what their
 * configuration would do. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "simulate/simulator.h"
#include "world/file.h"
#include "world/linux.h"

#define FILE_MAX (1u << 20)
#define CHANGES_MAX 100u
#define BUILTIN "providers.yaml"

enum { OPTION_AS = 256, OPTION_FILE, OPTION_LISTEN, OPTION_CERTIFICATE, OPTION_KEY, OPTION_MAILDIR, OPTION_SEED, OPTION_SET, OPTION_LIST, OPTION_TALK };

struct simulate_command {
	const struct cli_command *self;
	struct cli_options common;
	struct simulator_options options;
	const char *as, *file;
	unsigned n_listen, n_sets, n_lists;
	struct endpoint listen[SIMULATOR_LISTENERS_MAX];
	const char *sets[CHANGES_MAX], *lists[CHANGES_MAX];
};

/* --- the provider ------------------------------------------------------------------------------------------------- */

static void print_name(const char *name, const char *about, void *context)
{
	fprintf(context, "  %-13s %s\n", name, about);
}

static void print_names(FILE *to)
{
	_cleanup_(freep) char *why = NULL;

	fprintf(to, "\nProviders:\n");
	(void) provider_names(BUILTIN, slice_new(providers_builtin, providers_builtin_len), print_name, to, &why);
}

static int apply_changes(const struct simulate_command *c, struct provider *p)
{
	for (unsigned i = 0; i < c->n_sets; i++) {
		_cleanup_(freep) char *why = NULL;
		int r = provider_set(p, c->sets[i], &why);

		if (r == -ENOENT)
			return cli_wrong_usage(c->self, "--set %s: %s has no such rule, or it isn't RULE.KEY=VALUE", c->sets[i], p->name);
		if (r < 0)
			return cli_wrong_usage(c->self, "--set %s: %s", c->sets[i], why ? why : strerrordesc_np(-r));
	}
	for (unsigned i = 0; i < c->n_lists; i++) {
		int r = provider_set_list(p, c->lists[i]);

		if (r == -ENOENT)
			return cli_wrong_usage(c->self, "--list %s: %s has no such list, or it isn't NAME=NETWORK,...", c->lists[i], p->name);
		if (r < 0)
			return cli_wrong_usage(c->self, "--list %s: networks look like 192.0.2.0/24", c->lists[i]);
	}
	return CLI_YES;
}

static int load_provider(const struct simulate_command *c, struct world *w, struct arena *a, struct provider **ret)
{
	_cleanup_(freep) char *text = NULL, *why = NULL;
	struct slice source = slice_new(providers_builtin, providers_builtin_len);
	size_t len;
	int r = 0;

	if (c->file) {
		r = file_read_all(w, c->file, FILE_MAX, &text, &len);
		if (r < 0)
			return cli_failed("%s: %s", c->file, strerrordesc_np(-r));
		source = slice_new(text, len);
	}
	r = provider_read(c->file ? c->file : BUILTIN, source, c->as, a, ret, &why);
	if (r == -ENOENT) {
		(void) cli_wrong_usage(c->self, "there is no provider \"%s\"", c->as ? c->as : "");
		if (!c->file)
			print_names(stderr);
		return CLI_USAGE;
	}
	if (r < 0)
		return cli_failed("%s", why ? why : strerrordesc_np(-r));
	return apply_changes(c, *ret);
}

/* --- running --------------------------------------------------------------------------------------------------------- */

struct report_job {
	struct simulator *simulator;
	bool json;
};

static void print_report(void *arg)
{
	const struct report_job *j = arg;
	_cleanup_buffer_ struct buffer out = { 0 };

	simulator_report(j->simulator, j->json, &out);
	if (buffer_error(&out) == 0)
		(void) fwrite(out.data, 1, out.len, stdout);
	(void) fflush(stdout);
}

static int open_listeners(const struct simulate_command *c, struct simulator *s)
{
	char text[ENDPOINT_TEXT];

	for (unsigned i = 0; i < c->n_listen; i++) {
		int r = simulator_listen(s, &c->listen[i]);

		if (r < 0)
			return cli_failed("%s: %s", endpoint_format(&c->listen[i], text), strerrordesc_np(-r));
		fprintf(stderr, "%s listens on %s\n", s->provider->name, endpoint_format(listener_endpoint(s->listeners[i]), text));
	}
	return CLI_YES;
}

/* Until SIGTERM or SIGINT; SIGUSR1 asks for a report in between. */
static int play(struct world *w, struct simulator *s, bool json, const sigset_t *signals)
{
	struct report_job job = { s, json };
	struct loop *loop;
	int r = loop_new(w, "simulator", 0, 0, &loop), signal = 0;

	if (r < 0)
		return r;
	r = simulator_run(s, loop);
	if (r >= 0)
		r = loop_start(loop);
	while (r >= 0 && sigwait(signals, &signal) == 0 && signal == SIGUSR1)
		r = loop_spawn(loop, "report", print_report, &job);
	loop_stop(loop);
	if (r >= 0)
		print_report(&job);
	loop_free(loop);
	return r;
}

static int simulate(const struct simulate_command *c, struct world *w, const sigset_t *signals)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_(simulator_freep) struct simulator *s = NULL;
	_cleanup_(freep) char *why = NULL;
	struct provider *p;
	int r = arena_new(0, &arena);

	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	r = load_provider(c, w, arena, &p);
	if (r != CLI_YES)
		return r;
	r = simulator_new(w, p, &c->options, &s, &why);
	if (r < 0)
		return cli_failed("%s", why ? why : strerrordesc_np(-r));
	r = open_listeners(c, s);
	if (r != CLI_YES)
		return r;
	r = play(w, s, c->common.json, signals);
	return r < 0 ? cli_failed("%s", strerrordesc_np(-r)) : CLI_YES;
}

/* --- the command ------------------------------------------------------------------------------------------------------ */

static int take_change(struct simulate_command *c, const char **list, unsigned *n)
{
	if (*n == CHANGES_MAX)
		return cli_wrong_usage(c->self, "more than %u changes", CHANGES_MAX);
	list[(*n)++] = optarg;
	return CLI_YES;
}

static int take_option(struct simulate_command *c, int option)
{
	switch (option) {
	case OPTION_AS: c->as = optarg; return CLI_YES;
	case OPTION_FILE: c->file = optarg; return CLI_YES;
	case OPTION_CERTIFICATE: c->options.certificate = optarg; return CLI_YES;
	case OPTION_KEY: c->options.key = optarg; return CLI_YES;
	case OPTION_MAILDIR: c->options.maildir = optarg; return CLI_YES;
	case OPTION_TALK: c->options.talk = true; return CLI_YES;
	case OPTION_SET: return take_change(c, c->sets, &c->n_sets);
	case OPTION_LIST: return take_change(c, c->lists, &c->n_lists);
	case OPTION_SEED:
		return slice_to_u64(slice_from(optarg), &c->options.seed) < 0 ? cli_wrong_usage(c->self, "\"%s\" is no number", optarg) : CLI_YES;
	case OPTION_LISTEN:
		if (c->n_listen == SIMULATOR_LISTENERS_MAX || endpoint_parse(slice_from(optarg), &c->listen[c->n_listen]) < 0 ||
		    c->listen[c->n_listen].kind != ENDPOINT_IP)
			return cli_wrong_usage(c->self, "\"%s\" is no address to listen on (like 127.0.0.1:2525), or there are too many", optarg);
		c->n_listen++;
		return CLI_YES;
	default: return cli_wrong_usage(c->self, "it has no configuration file");
	}
}

static int parse(struct simulate_command *c, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "as", required_argument, NULL, OPTION_AS },
		{ "file", required_argument, NULL, OPTION_FILE },
		{ "listen", required_argument, NULL, OPTION_LISTEN },
		{ "certificate", required_argument, NULL, OPTION_CERTIFICATE },
		{ "key", required_argument, NULL, OPTION_KEY },
		{ "maildir", required_argument, NULL, OPTION_MAILDIR },
		{ "seed", required_argument, NULL, OPTION_SEED },
		{ "set", required_argument, NULL, OPTION_SET },
		{ "list", required_argument, NULL, OPTION_LIST },
		{ "talk", no_argument, NULL, OPTION_TALK },
		{ 0 },
	};
	int option, status;

	while ((option = cli_next_option(c->self, argc, argv, options, &c->common, &status)) >= 0) {
		int r = take_option(c, option);

		if (r != CLI_YES)
			return r;
	}
	if (status == CLI_YES)
		print_names(stdout);
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(c->self, "what is \"%s\"?", argv[optind]);
	if (!c->as && !c->file)
		return cli_wrong_usage(c->self, "--as says which provider; --help lists them");
	if (!c->options.certificate != !c->options.key)
		return cli_wrong_usage(c->self, "--certificate and --key belong together");
	return -1;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	struct simulate_command c = { .self = self };
	struct world *w;
	sigset_t signals;
	int r = parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (c.n_listen == 0)
		(void) endpoint_parse(SLICE("127.0.0.1:2525"), &c.listen[c.n_listen++]);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = world_linux_new(NULL, &w);
	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	r = simulate(&c, w, &signals);
	world_free(w);
	return r;
}

const struct cli_command cli_simulate = {
	.name = "simulate-provider",
	.summary = "a server that answers as Gmail, Outlook, Yahoo... do, to try one's sending with",
	.usage = "Usage: yizhan simulate-provider --as NAME [options]\n"
		 "\n"
		 "Plays a large receiver: its extensions, limits, refusals and quirks. Takes messages (and throws them away)\n"
		 "until SIGTERM or Ctrl-C, then prints what it saw: clients, messages, and how often each rule answered;\n"
		 "also on SIGUSR1. docs/SIMULATE.md shows how to point a server at it.\n"
		 "\n"
		 "      --as NAME         one of the providers below\n"
		 "      --file FILE       providers of your own, in the form of src/simulate/providers.yaml\n"
		 "      --listen ADDRESS  default 127.0.0.1:2525; may be given several times; port 0 takes a free one\n"
		 "      --certificate FILE, --key FILE    for STARTTLS; without them one is made\n"
		 "      --maildir DIR     keep what is taken\n"
		 "      --seed N          of what happens by chance (default 0)\n"
		 "      --set RULE.KEY=VALUE    change a rule, like --set unusual-rate.rate='10 per 1s by client'\n"
		 "      --list NAME=NETWORK,... the clients on a list, like --list blocked=127.0.0.1\n"
		 "      --talk            show the dialogue on standard error\n"
		 "      --json            the report as one line of JSON\n",
	.run = run,
};
