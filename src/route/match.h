/* The patterns of routes, matched without asking anybody.
 *
 * A pattern with an @ is compared with the whole address, one without with the domain alone. `*` stands
 * for any run of characters, `?` for one: "*.lan.example" are all names below lan.example (but not that
 * name itself), "*" is everything. Letters match in either case. The null reverse-path matches "*" and "". */
#pragma once

#include "route/route.h"

/* domain: of the address, in lower case and as A-labels (the null path and a bare postmaster: ""). */
bool route_pattern_matches(const char *pattern, const struct address *address, const char *domain);
/* Does one of them match? n 0 with patterns NULL: there is no condition, so it does. */
bool route_patterns_match(const char *const *patterns, unsigned n, const struct address *address, const char *domain);
/* Do size and headers fulfil what the rule asks of them? */
bool route_content_matches(const struct route_rule *rule, const struct route_facts *facts);
/* Does the rule look at size or headers? */
static inline bool route_wants_content(const struct route_rule *rule)
{
	return rule->size_min > 0 || rule->size_max > 0 || rule->n_headers > 0;
}
/* user: NULL for nobody, whom "" matches alone. */
bool route_user_matches(const struct route_rule *rule, const char *user);
