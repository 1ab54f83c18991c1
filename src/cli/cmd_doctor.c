#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/wildcard.h"
#include "cli/cli.h"
#include "doctor/doctor.h"
#include "mail/address.h"
#include "world/fiber.h"

#define GIVEN_MAX 32u      /* of each option that may come several times */
#define ADDRESSES_MAX 256u
#define SUBJECT_SHOWN 40

enum { OPTION_ZONE = 256, OPTION_ADDRESS, OPTION_LIST, OPTION_TIMEOUT, OPTION_NO_CONFIG };

struct doctor_command {
	const struct cli_command *self;
	struct cli_options common;
	const char *domain, *zone;
	bool no_config;
	usec_t timeout;
	unsigned n_addresses, n_lists;
	struct ip addresses[GIVEN_MAX];
	struct list_config lists[GIVEN_MAX];
};

/* --- what the configuration means to be true ---------------------------------------------------------------------- */

struct collecting {
	unsigned n;
	struct doctor_address *all;
};

static void add_address(struct collecting *c, const struct ip *ip, const char *ehlo, bool given)
{
	if (!ip->family || c->n == ADDRESSES_MAX || (!given && !ip_is_public(ip)))
		return;
	for (unsigned i = 0; i < c->n; i++)
		if (ip_equal(&c->all[i].ip, ip) && (!ehlo || !c->all[i].ehlo || slice_ieq_str(slice_from(ehlo), c->all[i].ehlo)))
			return;
	c->all[c->n++] = (struct doctor_address) { .ip = *ip, .ehlo = ehlo };
}

/* Pools first: they know what is said in EHLO. What leaves through a proxy has the address of another machine. */
static void add_configured(struct collecting *c, const struct config *config)
{
	const struct route_config *route = &config->route;

	for (unsigned i = 0; i < route->n_sources; i++)
		for (unsigned k = 0; k < route->sources[i].n_sources; k++) {
			const struct source *s = &route->sources[i].sources[k];

			if (!s->proxy)
				add_address(c, &s->ip, s->ehlo ? s->ehlo : config->hostname, false);
		}
	add_address(c, &config->deliver.source, config->hostname, false);
	add_address(c, &config->deliver.source6, config->hostname, false);
	for (unsigned i = 0; i < route->n_own_addresses; i++)
		add_address(c, &route->own_addresses[i], config->hostname, false);
	for (unsigned i = 0; i < config->receive.n_listeners; i++)
		if (config->receive.listeners[i].address.kind == ENDPOINT_IP)
			add_address(c, &config->receive.listeners[i].address.ip, config->hostname, false);
}

static bool is_local(const struct config *config, const char *domain)
{
	for (unsigned i = 0; i < config->route.n_domains; i++)
		if (wildcard_match(slice_from(config->route.domains[i].name), slice_from(domain)))
			return true;
	return false;
}

static void take_config(struct doctor_input *in, const struct config *config)
{
	in->hostname = config->hostname;
	in->own_names = config->route.own_names;
	in->n_own_names = config->route.n_own_names;
	in->own_addresses = config->route.own_addresses;
	in->n_own_addresses = config->route.n_own_addresses;
	in->local = is_local(config, in->domain);
	in->signing = &config->signing;
	in->tls = config->receive.has_tls ? &config->receive.tls : NULL;
	in->sts = &config->sts;
}

/* Those of the configuration, then those of the command. -ENOMEM. */
static int take_lists(struct doctor_input *in, const struct doctor_command *c, const struct config *config, struct arena *a)
{
	unsigned n = config ? config->gate.checks.n_lists : 0;
	struct list_config *all = arena_new_array(a, struct list_config, n + c->n_lists + 1);

	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		all[i] = config->gate.checks.lists[i];
	for (unsigned i = 0; i < c->n_lists; i++)
		all[n++] = c->lists[i];
	in->lists = all;
	in->n_lists = n;
	return 0;
}

static int fill(struct doctor_input *in, const struct doctor_command *c, const struct config *config, struct arena *a)
{
	struct collecting addresses = { .all = arena_new_array(a, struct doctor_address, ADDRESSES_MAX) };

	if (!addresses.all)
		return -ENOMEM;
	if (config) {
		take_config(in, config);
		add_configured(&addresses, config);
	}
	for (unsigned i = 0; i < c->n_addresses; i++)
		add_address(&addresses, &c->addresses[i], in->hostname, true);
	in->addresses = addresses.all;
	in->n_addresses = addresses.n;
	return take_lists(in, c, config, a);
}

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

/* Bytes from the network may be anything; memory that is out leaves the value away. */
static void set_text(json_t *o, const char *key, const char *value)
{
	size_t size = value ? 4 * strlen(value) + 16 : 0;
	char *safe = value ? malloc(size) : NULL;

	if (value)
		json_object_set_new(o, key, json_string(safe ? cli_safe(value, safe, size) : ""));
	else
		json_object_set_new(o, key, json_null());
	free(safe);
}

static void print_json(const char *domain, const struct doctor_report *report)
{
	json_t *all = json_object(), *list = json_array();

	for (unsigned i = 0; i < report->n; i++) {
		const struct doctor_finding *f = &report->findings[i];
		json_t *o = json_object();

		set_text(o, "check", f->check);
		set_text(o, "subject", f->subject);
		set_text(o, "state", doctor_state_name(f->state));
		set_text(o, "found", f->found);
		set_text(o, "advice", f->advice);
		json_object_set_new(o, "publish", f->publish ? json_string(f->publish) : json_null());
		json_array_append_new(list, o);
	}
	set_text(all, "domain", domain);
	set_text(all, "result", doctor_state_name(report->worst));
	json_object_set_new(all, "checks", list);
	cli_print_json(all);
	json_decref(all);
}

/* --- for people ------------------------------------------------------------------------------------------------------- */

static bool has_colours(void)
{
	const char *no = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(no && *no);
}

static const char *colour_of(enum doctor_state s)
{
	switch (s) {
	case DOCTOR_GREEN:
		return "\033[32m";
	case DOCTOR_YELLOW:
	case DOCTOR_UNKNOWN:
		return "\033[33m";
	case DOCTOR_RED:
		return "\033[1;31m";
	case DOCTOR_SKIPPED:
		break;
	}
	return "\033[2m";
}

static void print_table(const struct doctor_report *report)
{
	bool colours = has_colours();
	int width = 7;
	char subject[300], found[600];

	for (unsigned i = 0; i < report->n; i++)
		width = MAX(width, (int) MIN(strlen(report->findings[i].subject), (size_t) SUBJECT_SHOWN));
	printf("%-11s  %-*s  %-7s  FOUND\n", "CHECK", width, "SUBJECT", "STATE");
	for (unsigned i = 0; i < report->n; i++) {
		const struct doctor_finding *f = &report->findings[i];

		printf("%-11s  %-*s  %s%-7s%s  %s\n", f->check, width, cli_safe(f->subject, subject, sizeof(subject)),
		       colours ? colour_of(f->state) : "", doctor_state_name(f->state), colours ? "\033[0m" : "",
		       cli_safe(f->found, found, sizeof(found)));
	}
}

static bool same_text(const char *x, const char *y)
{
	return x && y ? strcmp(x, y) == 0 : x == y;
}

/* One remedy may be for several findings, also of different checks. */
static bool same_remedy(const struct doctor_finding *x, const struct doctor_finding *y)
{
	return x->state == y->state && same_text(x->advice, y->advice) && same_text(x->publish, y->publish);
}

static bool same_subject(const struct doctor_finding *x, const struct doctor_finding *y)
{
	return strcmp(x->check, y->check) == 0 && strcmp(x->subject, y->subject) == 0;
}

static void print_publish(const char *lines)
{
	while (*lines) {
		size_t n = strcspn(lines, "\n");

		printf("    %.*s\n", (int) n, lines);
		lines += n + (lines[n] == '\n');
	}
}

static void print_remedy(const struct doctor_report *report, unsigned at)
{
	const struct doctor_finding *f = &report->findings[at];
	char shown[600];

	for (unsigned i = 0; i < at; i++)
		if (same_remedy(&report->findings[i], f))
			return;
	printf("\n%s, %s", f->check, cli_safe(f->subject, shown, sizeof(shown)));
	for (unsigned i = at + 1; i < report->n; i++)
		if (same_remedy(&report->findings[i], f) && !same_subject(&report->findings[i], &report->findings[i - 1]))
			printf("; %s, %s", report->findings[i].check, cli_safe(report->findings[i].subject, shown, sizeof(shown)));
	printf(" (%s): %s\n", doctor_state_name(f->state), cli_safe(f->advice, shown, sizeof(shown)));
	if (f->publish)
		print_publish(f->publish);
}

static void print_report(const char *domain, const struct doctor_report *report)
{
	static const enum doctor_state order[] = { DOCTOR_RED, DOCTOR_UNKNOWN, DOCTOR_YELLOW };

	print_table(report);
	for (size_t s = 0; s < ARRAY_LEN(order); s++)
		for (unsigned i = 0; i < report->n; i++)
			if (report->findings[i].state == order[s] && report->findings[i].advice)
				print_remedy(report, i);
	if (report->worst == DOCTOR_GREEN)
		printf("\nNothing is wrong with %s.\n", domain);
}

/* --- the work ---------------------------------------------------------------------------------------------------------- */

/* CLI_YES also without a configuration, when none was named and none is there. */
static int load_config(struct world *w, const struct doctor_command *c, struct config **ret)
{
	const char *path = c->common.config ? c->common.config : CLI_CONFIG;
	int r;

	if (c->no_config || (!c->common.config && access(path, F_OK) < 0))
		return CLI_YES;
	r = cli_load_config(w, path, false, ret);
	if (r != CLI_YES && !c->common.config)
		fprintf(stderr, "yizhan: --no-config looks at the domain alone\n");
	return r;
}

static int open_resolver(struct world *w, const struct doctor_command *c, const struct config *config, struct resolver **ret)
{
	static const struct dns_config system = { 0 };
	_cleanup_(freep) char *why = NULL;
	struct dns_config zone = { .zone = c->zone };
	int r = resolver_new(w, NULL, c->zone ? &zone : config ? &config->dns : &system, ret, &why);

	return r < 0 ? cli_failed("%s", why ? why : strerrordesc_np(-r)) : CLI_YES;
}

static int work(struct world *w, void *arg)
{
	const struct doctor_command *c = arg;
	_cleanup_(config_freep) struct config *config = NULL;
	_cleanup_(resolver_freep) struct resolver *resolver = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct doctor_input in = { .domain = c->domain, .timeout = c->timeout };
	struct doctor_report report;
	int r = load_config(w, c, &config);

	if (r == CLI_YES)
		r = open_resolver(w, c, config, &resolver);
	if (r != CLI_YES)
		return r;
	r = arena_new(0, &arena);
	if (r >= 0)
		r = fill(&in, c, config, arena);
	if (r >= 0)
		r = doctor_examine(w, resolver, &in, arena, &report);
	if (r < 0)
		return cli_failed("%s", strerrordesc_np(-r));
	if (c->common.json)
		print_json(c->domain, &report);
	else
		print_report(c->domain, &report);
	return report.worst >= DOCTOR_UNKNOWN ? CLI_NO : CLI_YES;
}

/* --- the command ------------------------------------------------------------------------------------------------------- */

/* CLI_YES, or what the command must return. */
static int take_option(struct doctor_command *c, int option)
{
	switch (option) {
	case OPTION_ZONE:
		c->zone = optarg;
		break;
	case OPTION_ADDRESS:
		if (c->n_addresses == GIVEN_MAX)
			return cli_wrong_usage(c->self, "at most %u times --address", GIVEN_MAX);
		if (ip_parse(slice_from(optarg), &c->addresses[c->n_addresses]) < 0)
			return cli_wrong_usage(c->self, "\"%s\" is not an IP address", optarg);
		c->n_addresses++;
		break;
	case OPTION_LIST:
		if (c->n_lists == GIVEN_MAX)
			return cli_wrong_usage(c->self, "at most %u times --list", GIVEN_MAX);
		if (!domain_is_valid(slice_from(optarg), false))
			return cli_wrong_usage(c->self, "\"%s\" is not the name of a DNS list", optarg);
		c->lists[c->n_lists++] = (struct list_config) { .zone = optarg, .weight = 1 };
		break;
	case OPTION_TIMEOUT:
		if (duration_parse(slice_from(optarg), &c->timeout) < 0 || !c->timeout)
			return cli_wrong_usage(c->self, "\"%s\" is not a duration like 20s or 1m", optarg);
		break;
	default:
		c->no_config = true;
	}
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "zone", required_argument, NULL, OPTION_ZONE },
		{ "address", required_argument, NULL, OPTION_ADDRESS },
		{ "list", required_argument, NULL, OPTION_LIST },
		{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
		{ "no-config", no_argument, NULL, OPTION_NO_CONFIG },
		{ 0 },
	};
	struct doctor_command c = { .self = self };
	_cleanup_(arena_freep) struct arena *arena = NULL;
	int option, status, r;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0) {
		r = take_option(&c, option);
		if (r != CLI_YES)
			return r;
	}
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return cli_wrong_usage(self, argc > optind ? "one domain only" : "which domain? yizhan doctor DOMAIN");
	if (c.no_config && c.common.config)
		return cli_wrong_usage(self, "--config and --no-config at once");
	if (arena_new(0, &arena) < 0)
		return cli_failed("out of memory");
	if (domain_to_ascii(arena, slice_from(argv[optind]), &c.domain) < 0 || !domain_is_valid(slice_from(c.domain), false))
		return cli_wrong_usage(self, "\"%s\" is not a domain", argv[optind]);
	return cli_run(work, &c);
}

const struct cli_command cli_doctor = {
	.name = "doctor",
	.summary = "what the world sees of a domain and of this host, and what to mend",
	.usage = "Usage: yizhan doctor DOMAIN [options]\n"
		 "\n"
		 "Looks at a domain as the rest of the world does: its exchangers, SPF, DKIM, DMARC, MTA-STS, TLSRPT and\n"
		 "DANE records; and at this host: the names of the addresses from which mail leaves, its certificates, and\n"
		 "block lists. Prints what is green, yellow and red, and the records to publish.\n"
		 "\n"
		 "      --address IP      mail leaves from here, too (several times; for hosts behind NAT)\n"
		 "      --list NAME       ask this DNS block list, too (several times)\n"
		 "      --timeout TIME    for all of it (default 20s)\n"
		 "      --zone FILE       this master file is all the DNS there is\n"
		 "  -c, --config FILE     what should be true (default " CLI_CONFIG ", if it is there)\n"
		 "      --no-config       look at the domain alone\n"
		 "      --json            print JSON\n"
		 "\n"
		 "Status 0: all is green or yellow. 1: something is red, or could not be found out.\n",
	.run = run,
};
