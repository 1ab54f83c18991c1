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

/* What others said may hold anything. */
static const char *safe(const json_t *o, const char *key, char out[static 512])
{
	return cli_safe(cli_text(o, key), out, 512);
}

static void print_host(const json_t *host)
{
	const json_t *addresses = json_object_get(host, "addresses");
	char text[512];

	printf("       ");
	if (json_object_get(host, "preference"))
		printf("%5llu ", (unsigned long long) cli_number(host, "preference"));
	printf("%s port %llu:", cli_text(host, "name"), (unsigned long long) cli_number(host, "port"));
	for (size_t i = 0; i < json_array_size(addresses); i++)
		printf(" %s", json_string_value(json_array_get(addresses, i)));
	if (!json_array_size(addresses))
		printf(" no address");
	if (cli_number(host, "weight"))
		printf(", weight %llu", (unsigned long long) cli_number(host, "weight"));
	if (json_is_true(json_object_get(host, "dnssec")))
		printf(", DNSSEC");
	if (*cli_text(host, "trouble"))
		printf(" (%s)", cli_text(host, "trouble"));
	putchar('\n');
	if (*cli_text(host, "sick_until"))
		printf("             asked last until %s: %s\n", cli_text(host, "sick_until"), safe(host, "last_error", text));
}

/* Below the addresses of a host: what it must show, and where that comes from. */
static void print_policy(const json_t *host)
{
	const json_t *sts = json_object_get(host, "mta_sts"), *records = json_object_get(host, "tlsa");
	char text[512];

	if (*cli_text(host, "refused"))
		printf("             can't be used now: %s\n", safe(host, "refused", text));
	else if (*cli_text(host, "wanted"))
		printf("             must show: %s\n", cli_text(host, "wanted"));
	if (*cli_text(host, "dane"))
		printf("             DANE: %s%s%s%s\n", cli_text(host, "dane"), *cli_text(host, "dane_why") ? " (" : "",
		       safe(host, "dane_why", text), *cli_text(host, "dane_why") ? ")" : "");
	for (size_t i = 0; i < json_array_size(records); i++)
		printf("                   TLSA %s\n", json_string_value(json_array_get(records, i)));
	if (*cli_text(sts, "mode"))
		printf("             MTA-STS: %s, id %s\n", cli_text(sts, "mode"), cli_text(sts, "id"));
	if (*cli_text(sts, "trouble"))
		printf("             MTA-STS: the policy can't be fetched: %s\n", safe(sts, "trouble", text));
}

static const char *milliseconds(const json_t *o, const char *key, char out[static 32])
{
	duration_format(cli_number(o, key) * USEC_MS, out, 32);
	return out;
}

static void print_pace(const json_t *live)
{
	char text[32];

	if (!cli_number(live, "rate") && !cli_number(live, "interval") && !cli_number(live, "usual_reply"))
		return;
	printf("       pace:");
	if (cli_number(live, "rate"))
		printf(" at most %llu messages in %s", (unsigned long long) cli_number(live, "rate"), milliseconds(live, "rate_per", text));
	if (*cli_text(live, "provider"))
		printf(" (%s)", cli_text(live, "provider"));
	if (cli_number(live, "interval"))
		printf(", learned: one in %s", milliseconds(live, "interval", text));
	if (cli_number(live, "usual_reply"))
		printf(", a reply takes %s", milliseconds(live, "usual_reply", text));
	putchar('\n');
}

static void print_live(const json_t *live)
{
	char text[512];

	printf("       state: %s", cli_text(live, "state"));
	if (cli_number(live, "window"))
		printf(", %llu of %llu connections (at most %llu), %llu waiting", (unsigned long long) cli_number(live, "connections"),
		       (unsigned long long) cli_number(live, "window"), (unsigned long long) cli_number(live, "window_most"),
		       (unsigned long long) cli_number(live, "waiting"));
	if (*cli_text(live, "next"))
		printf(", tried again at %s after %llu failures", cli_text(live, "next"), (unsigned long long) cli_number(live, "failures"));
	putchar('\n');
	print_pace(live);
	if (*cli_text(live, "cool"))
		printf("       cool-down (%s) until %s%s\n", cli_text(live, "cool"), cli_text(live, "cool_until"),
		       json_is_true(json_object_get(live, "canary")) ? "; a canary is out" : ", then one message tests it");
	if (*cli_text(live, "last_error"))
		printf("       last error: %s\n", safe(live, "last_error", text));
}

static void print_what(const json_t *rung)
{
	char text[512];

	if (*cli_text(rung, "when"))
		printf(", when %s", cli_text(rung, "when"));
	if (*cli_text(rung, "source"))
		printf(", from %s", cli_text(rung, "source"));
	if (*cli_text(rung, "user"))
		printf(", as user %s", cli_text(rung, "user"));
	if (*cli_text(rung, "tls"))
		printf(", TLS: %s", cli_text(rung, "tls"));
	if (*cli_text(rung, "text"))
		printf(": %s", safe(rung, "text", text));
	if (*cli_text(rung, "login"))
		printf(", logged in as %s", cli_text(rung, "login"));
	if (json_is_true(json_object_get(rung, "implicit_mx")))
		printf(", no MX: the domain itself");
	if (json_is_true(json_object_get(rung, "dnssec")))
		printf(", DNSSEC");
}

static void print_rung(size_t i, const json_t *rung)
{
	const json_t *hosts = json_object_get(rung, "hosts"), *live = json_object_get(rung, "live");
	const char *status = cli_text(rung, "status"), *verdict = cli_text(rung, "verdict");
	char text[512];

	printf("%5zu  %s", i + 1, cli_text(rung, "hop"));
	print_what(rung);
	putchar('\n');
	if (*verdict)
		printf("       %s%s: %s\n", strcmp(verdict, "next") == 0 ? "=> " : "", verdict, safe(rung, "because", text));
	if (*status && strcmp(status, "ok") != 0)
		printf("       %s%s%s\n", status, *cli_text(rung, "why") ? ": " : "", safe(rung, "why", text));
	if (*cli_text(rung, "site"))
		printf("       site %s\n", cli_text(rung, "site"));
	if (live)
		print_live(live);
	for (size_t k = 0; k < json_array_size(hosts); k++) {
		print_host(json_array_get(hosts, k));
		print_policy(json_array_get(hosts, k));
	}
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
	if (!json_is_true(json_object_get(o, "live")))
		printf("No server runs with this configuration, so nothing is known of cool-downs, windows and the health of hosts.\n");
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

/* Without a server: by the configuration and the DNS alone. */
static int explain(struct world *w, const struct question *q, const struct config *config, struct arena *arena, json_t **ret)
{
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	_cleanup_(router_freep) struct router *router = NULL;
	_cleanup_(sts_freep) struct sts *sts = NULL;
	struct sts_config sts_config = config->sts;
	_cleanup_(freep) char *why = NULL;
	struct making making = making_object();
	int r = resolver_new(w, NULL, &config->dns, &resolver, &why);

	if (r >= 0)
		r = router_new(w, NULL, resolver, &config->route, &router);
	sts_config.path = NULL; /* what is kept belongs to the server */
	if (r >= 0 && !sts_config.off)
		r = sts_new(w, NULL, resolver, &sts_config, NULL, &sts);
	if (r >= 0)
		router_set_sts(router, sts);
	if (r >= 0)
		r = explain_route(router, NULL, &q->to, &q->facts, deadline_after(now(), EXPLAIN_TIME), arena, &making);
	if (making_take(&making, ret) < 0)
		r = -ENOMEM;
	return r < 0 ? cli_failed("%s", why ? why : strerrordesc_np(-r)) : CLI_YES;
}

/* The server knows more, when one runs. */
static int ask_server(struct world *w, const struct route_command *c, const struct question *q, const struct config *config,
		      json_t **ret)
{
	struct making making = making_object(), *o = &making, headers = making_list();
	json_t *request = NULL;
	int r;

	json_set_text(o, "command", "route");
	json_set_text(o, "to", c->to);
	json_set_text(o, "from", c->from);
	json_set_text(o, "user", c->user);
	json_set_number(o, "size", c->size);
	for (unsigned i = 0; i < q->facts.n_headers; i++) {
		struct making pair = making_list();

		json_append_text(&pair, q->facts.headers[i].name);
		json_append_text(&pair, q->facts.headers[i].value);
		json_append(&headers, &pair);
	}
	json_put(o, "headers", &headers);
	if (making_take(o, &request) < 0)
		return cli_failed("out of memory");
	r = cli_ask(w, config, request, NULL, NULL, true, ret);
	json_decref(request);
	return r;
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
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct question q = { 0 };
	json_t *result = NULL;
	int r = cli_load_config(w, c->common.config, false, &config);

	if (r != CLI_YES)
		return r;
	if (arena_new(0, &arena) < 0)
		return cli_failed("out of memory");
	r = read_question(c, arena, &q);
	if (r != CLI_YES)
		return r;
	if (ask_server(w, c, &q, config, &result) != CLI_YES)
		r = explain(w, &q, config, arena, &result);
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
	.usage = "Usage: yizhan route ADDRESS [options]\n"
		 "\n"
		 "Shows which rule decides, the ladder of hops with their conditions, which of them the next message\n"
		 "would take and why not the others, and the hosts with their addresses as the DNS gives them now.\n"
		 "Where a server runs with this configuration, it is asked, and adds what it knows: cool-downs, back-off,\n"
		 "windows, last errors, hosts that are asked last. Without one the DNS is asked by this command.\n"
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
