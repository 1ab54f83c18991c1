#include <stdio.h>

#include "admin/command.h"
#include "cli/cli.h"
#include "world/fiber.h"

#define EXPLAIN_TIME (2 * USEC_MIN)

enum { OPTION_FROM = 256, OPTION_USER, OPTION_SIZE, OPTION_HEADER };

struct route_command {
	struct cli_options common;
	const char *to, *from, *user;
	uint64_t size;
	unsigned n_headers;
	const char *headers[ENVELOPE_HEADERS]; /* "X-Campaign: spring" */
};

/* --- for people -------------------------------------------------------------------------------------------------- */

static void print_host(const json_t *host)
{
	const json_t *addresses = json_object_get(host, "addresses");

	printf("       ");
	if (json_object_get(host, "preference"))
		printf("%5llu ", (unsigned long long) cli_number(host, "preference"));
	printf("%s port %llu:", cli_text(host, "name"), (unsigned long long) cli_number(host, "port"));
	for (size_t i = 0; i < json_array_size(addresses); i++)
		printf(" %s", json_string_value(json_array_get(addresses, i)));
	if (!json_array_size(addresses))
		printf(" no address");
	if (*cli_text(host, "trouble"))
		printf(" (%s)", cli_text(host, "trouble"));
	putchar('\n');
}

static void print_rung(size_t i, const json_t *rung)
{
	const json_t *hosts = json_object_get(rung, "hosts");
	const char *status = cli_text(rung, "status");

	printf("%5zu  %s", i + 1, cli_text(rung, "hop"));
	if (*cli_text(rung, "when"))
		printf(", when %s", cli_text(rung, "when"));
	if (*cli_text(rung, "tls"))
		printf(", TLS: %s", cli_text(rung, "tls"));
	if (*cli_text(rung, "text"))
		printf(": %s", cli_text(rung, "text"));
	if (*cli_text(rung, "login"))
		printf(", logged in as %s", cli_text(rung, "login"));
	if (json_is_true(json_object_get(rung, "implicit_mx")))
		printf(", no MX: the domain itself");
	if (json_is_true(json_object_get(rung, "dnssec")))
		printf(", DNSSEC");
	putchar('\n');
	if (*status && strcmp(status, "ok") != 0)
		printf("       %s%s%s\n", status, *cli_text(rung, "why") ? ": " : "", cli_text(rung, "why"));
	if (*cli_text(rung, "site"))
		printf("       site %s\n", cli_text(rung, "site"));
	for (size_t k = 0; k < json_array_size(hosts); k++)
		print_host(json_array_get(hosts, k));
}

static void print_explanation(const json_t *o)
{
	const json_t *ladder = json_object_get(o, "ladder");
	const char *locality = cli_text(o, "locality");

	if (strcmp(locality, "no such user") == 0) {
		printf("%s: its domain ends here, and there is no such user: refused at RCPT with 550 5.1.1\n", cli_text(o, "address"));
		return;
	}
	printf("%s: %s\n", cli_text(o, "address"), strcmp(locality, "here") == 0 ? "its domain ends here" : "goes to another server");
	printf("because of %s\n", cli_text(o, "rule"));
	for (size_t i = 0; i < json_array_size(ladder); i++)
		print_rung(i, json_array_get(ladder, i));
}

/* --- the question ---------------------------------------------------------------------------------------------------- */

struct question {
	struct address to, from;
	struct envelope_header headers[ENVELOPE_HEADERS];
	struct route_facts facts;
};

static int read_headers(const struct route_command *c, struct arena *a, struct question *ret)
{
	for (unsigned i = 0; i < c->n_headers; i++) {
		struct slice value, name = slice_cut(slice_from(c->headers[i]), ':', &value);

		if (!value.data || name.len == 0)
			return cli_failed("\"%s\" is not a header field; write it like \"X-Campaign: spring\"", c->headers[i]);
		ret->headers[i] = (struct envelope_header) { arena_slice(a, slice_trim(name)), arena_slice(a, slice_trim(value)) };
		if (!ret->headers[i].name || !ret->headers[i].value)
			return cli_failed("out of memory");
	}
	return CLI_YES;
}

static int read_question(const struct route_command *c, struct arena *a, struct question *ret)
{
	if (address_parse(slice_from(c->to), ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER, &ret->to) < 0)
		return cli_failed("\"%s\" is not an address", c->to);
	if (c->from && address_parse(slice_from(c->from), ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_NULL, &ret->from) < 0)
		return cli_failed("\"%s\" is not an address", c->from);
	ret->facts = (struct route_facts) { .from = c->from && ret->from.text.len > 0 ? &ret->from : NULL,
					    .user = c->user,
					    .size = c->size,
					    .headers = ret->headers,
					    .n_headers = c->n_headers };
	return read_headers(c, a, ret);
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

static int explain(struct world *w, const struct route_command *c, const struct config *config, struct making *result)
{
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	_cleanup_(router_freep) struct router *router = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_(freep) char *why = NULL;
	struct question q = { 0 };
	int r = arena_new(0, &arena);

	if (r >= 0) {
		r = read_question(c, arena, &q);
		if (r != CLI_YES)
			return r;
		r = resolver_new(w, NULL, &config->dns, &resolver, &why);
	}
	if (r >= 0)
		r = router_new(w, NULL, resolver, &config->route, &router);
	if (r >= 0)
		r = explain_route(w, router, &q.to, &q.facts, deadline_after(now(), EXPLAIN_TIME), arena, result);
	return r < 0 ? cli_failed("%s", why ? why : strerrordesc_np(-r)) : CLI_YES;
}

/* A rung is a way when it needs no host, or has one with an address. */
static bool rung_is_way(const json_t *rung)
{
	const json_t *hosts = json_object_get(rung, "hosts");
	const char *status = cli_text(rung, "status");

	if (strncmp(cli_text(rung, "hop"), "reject", 6) == 0 || (*status && strcmp(status, "ok") != 0))
		return false;
	for (size_t i = 0; i < json_array_size(hosts); i++)
		if (json_array_size(json_object_get(json_array_get(hosts, i), "addresses")))
			return true;
	return !hosts;
}

static int leads_somewhere(const json_t *result)
{
	const json_t *ladder = json_object_get(result, "ladder");

	for (size_t i = 0; i < json_array_size(ladder); i++)
		if (rung_is_way(json_array_get(ladder, i)))
			return CLI_YES;
	return CLI_NO;
}

static int work(struct world *w, void *arg)
{
	const struct route_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	struct making making;
	json_t *result = NULL;
	int r = cli_load_config(w, c->common.config, false, &config);

	if (r != CLI_YES)
		return r;
	making = making_object();
	r = explain(w, c, config, &making);
	if (making_take(&making, &result) < 0)
		return cli_failed("out of memory");
	if (r == CLI_YES) {
		if (c->common.json)
			cli_print_json(result);
		else
			print_explanation(result);
		r = leads_somewhere(result);
	}
	json_decref(result);
	return r;
}

static bool take_option(struct route_command *c, int option, const char *argument)
{
	switch (option) {
	case OPTION_FROM:
		c->from = argument;
		return true;
	case OPTION_USER:
		c->user = argument;
		return true;
	case OPTION_SIZE:
		return config_size_parse(slice_from(argument), &c->size) == 0;
	default:
		if (c->n_headers == ARRAY_LEN(c->headers))
			return false;
		c->headers[c->n_headers++] = argument;
		return true;
	}
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS,
						 { "from", required_argument, NULL, OPTION_FROM },
						 { "user", required_argument, NULL, OPTION_USER },
						 { "size", required_argument, NULL, OPTION_SIZE },
						 { "header", required_argument, NULL, OPTION_HEADER },
						 { 0 } };
	struct route_command c = { .common.config = CLI_CONFIG };
	int option, status;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0)
		if (!take_option(&c, option, optarg))
			return cli_wrong_usage(self, option == OPTION_SIZE ? "--size needs a number of octets, like 20M"
									   : "there are more --header than a route can look at");
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return cli_wrong_usage(self, "one address is needed");
	c.to = argv[optind];
	return cli_run(work, &c);
}

const struct cli_command cli_route = {
	.name = "route",
	.summary = "how mail to an address would go, and why",
	.usage = "Usage: yizhan route ADDRESS [--from SENDER] [--user NAME] [--size N] [--header 'NAME: VALUE'] [-c FILE] [--json]\n"
		 "\n"
		 "Shows which rule decides, the ladder of hops with their conditions, the MX hosts and their\n"
		 "addresses as the DNS gives them now. Asks the DNS itself; no server need run.\n"
		 "\n"
		 "      --from SENDER     for routes that look at the sender\n"
		 "      --user NAME       who logged in to send it\n"
		 "      --size N          of the message, like 20M\n"
		 "      --header TEXT     a field of its header, like 'X-Campaign: spring'; may be given several times\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --json            as one JSON object\n"
		 "\n"
		 "Status 1: mail to this address would be refused, or there is no way to it now.\n",
	.run = run,
};
