/* The exchangers of a domain, put in order, without the DNS (RFC 5321 section 5.1). */
#pragma once

#include "route/route.h"

/* own[i]: hosts[i] is this host. When one is, it and all that are not preferred to it are dropped: we are the
 * exchanger of that preference, and the mail must only go to better ones. Returns how many are left: 0 means that
 * there is none better than us, a loop. hosts: by preference. */
unsigned exchangers_before_us(struct target_host *hosts, const bool *own, unsigned n);
/* The key of the site: "mx:a,b>c", a and b of the same preference. suffix: appended, "" mostly. In the arena;
 * NULL: memory. */
char *exchangers_key(const struct target_host *hosts, unsigned n, const char *suffix, struct arena *a);
