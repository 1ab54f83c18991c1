#include <stdlib.h>

#include "cli/dkim.h"
#include "identity/own_key.h"
#include "mail/address.h"

enum { OPTION_SELECTOR = 256, OPTION_TYPE, OPTION_BITS, OPTION_OUTPUT, OPTION_ZONE };

static int take_option(struct dkim_command *c, int option, bool *ret_keygen)
{
	uint64_t n;

	*ret_keygen = option != OPTION_ZONE;
	switch (option) {
	case OPTION_SELECTOR:
		if (!own_key_selector_is_valid(slice_from(optarg)))
			return cli_wrong_usage(c->self, "\"%s\" can't be a selector: letters, digits and hyphens, like s1", optarg);
		c->selector = optarg;
		break;
	case OPTION_TYPE:
		c->ed25519 = strcmp(optarg, "ed25519") == 0;
		if (!c->ed25519 && strcmp(optarg, "rsa") != 0)
			return cli_wrong_usage(c->self, "--type takes rsa or ed25519, not \"%s\"", optarg);
		break;
	case OPTION_BITS:
		if (slice_to_u64(slice_from(optarg), &n) < 0 || n < OWN_KEY_BITS || n > 4096)
			return cli_wrong_usage(c->self, "--bits takes a number from %u to 4096 (RFC 8301), not \"%s\"", OWN_KEY_BITS, optarg);
		c->bits = (unsigned) n;
		break;
	case OPTION_OUTPUT:
		c->output = optarg;
		break;
	default:
		c->zone = optarg;
	}
	return CLI_YES;
}

static int run_verb(struct dkim_command *c, const char *verb, const char *domain, struct arena *a)
{
	bool keygen = strcmp(verb, "keygen") == 0;

	if (domain && (domain_to_ascii(a, slice_from(domain), &c->domain) < 0 || !domain_is_valid(slice_from(c->domain), false)))
		return cli_wrong_usage(c->self, "\"%s\" is not a domain", domain);
	if (keygen && !domain)
		return cli_wrong_usage(c->self, "for which domain? yizhan dkim keygen DOMAIN");
	if (!keygen && !c->common.config)
		c->common.config = CLI_CONFIG;
	return cli_run(keygen ? dkim_keygen : dkim_check, c);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "selector", required_argument, NULL, OPTION_SELECTOR },
		{ "type", required_argument, NULL, OPTION_TYPE },
		{ "bits", required_argument, NULL, OPTION_BITS },
		{ "output", required_argument, NULL, OPTION_OUTPUT },
		{ "zone", required_argument, NULL, OPTION_ZONE },
		{ 0 },
	};
	struct dkim_command c = { .self = self, .bits = OWN_KEY_BITS };
	_cleanup_(arena_freep) struct arena *arena = NULL;
	bool keygen, of_keygen = false, of_check = false;
	int option, status, r;

	while ((option = cli_next_option(self, argc, argv, options, &c.common, &status)) >= 0) {
		r = take_option(&c, option, &keygen);
		if (r != CLI_YES)
			return r;
		of_keygen |= keygen;
		of_check |= !keygen;
	}
	if (status >= 0)
		return status;
	if (argc - optind < 1)
		return cli_wrong_usage(self, "what is to be done? One of keygen, check");
	keygen = strcmp(argv[optind], "keygen") == 0;
	if (!keygen && strcmp(argv[optind], "check") != 0)
		return cli_wrong_usage(self, "\"%s\" is none of keygen, check", argv[optind]);
	if (argc - optind > 2)
		return cli_wrong_usage(self, "one domain only");
	if (keygen ? of_check : of_keygen)
		return cli_wrong_usage(self, keygen ? "keygen asks no DNS: --zone is an option of check"
						    : "check makes no key: --selector, --type, --bits and --output are options of keygen");
	if (arena_new(0, &arena) < 0)
		return cli_failed("out of memory");
	return run_verb(&c, argv[optind], argv[optind + 1], arena);
}

const struct cli_command cli_dkim = {
	.name = "dkim",
	.summary = "make a signing key; compare ours with the DNS",
	.usage = "Usage: yizhan dkim keygen DOMAIN [--selector S] [--type rsa|ed25519] [--bits N] [--output FILE]\n"
		 "       yizhan dkim check [DOMAIN] [-c FILE] [--zone FILE] [--json]\n"
		 "\n"
		 "keygen makes a private key, and prints the record for the DNS and the lines for the configuration.\n"
		 "A file that is there is never overwritten. Run as root, it gives the file to the user that the\n"
		 "configuration names.\n"
		 "\n"
		 "      --selector S      the name of the key (default: r and the month, as r202611; e... of Ed25519)\n"
		 "      --type TYPE       rsa (default) or ed25519\n"
		 "      --bits N          of RSA, from 2048 (default) to 4096\n"
		 "      --output FILE     where the key goes (default: DOMAIN.SELECTOR.pem)\n"
		 "\n"
		 "check compares each key that the configuration has for the domain (without one: for all) with what\n"
		 "the DNS says. Status 0: the world finds them all (retired ones don't count); 1: it doesn't, or the\n"
		 "DNS can't say now.\n"
		 "\n"
		 "      --zone FILE       this master file is all the DNS there is\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --json            print JSON\n",
	.run = run,
};
