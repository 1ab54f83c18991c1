/* Providers: operators of many sites, known by the end of their hosts' names (reply-classes.yaml). They are part of the
 * classifier that was read, and stay as long as the queue. */
#pragma once

#include "queue/shaping.h"

struct provider {
	struct provider *next;
	char *name;
	unsigned n_suffixes;
	char **suffixes; /* ".google.com", lower case */
	struct shaping_limits limits;
};

/* host may be NULL. */
bool provider_has(const struct provider *p, const char *host);
