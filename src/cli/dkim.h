/* `yizhan dkim`: its two halves. */
#pragma once

#include "cli/cli.h"

struct dkim_command {
	const struct cli_command *self;
	struct cli_options common;
	const char *domain; /* as A-labels in lower case; NULL (check): all */
	/* keygen */
	const char *selector, *output;
	bool ed25519;
	unsigned bits;
	/* check */
	const char *zone;
};

/* Both from inside cli_run. */
int dkim_keygen(struct world *w, void *arg);
int dkim_check(struct world *w, void *arg);
