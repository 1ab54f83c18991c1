/* Dialling: from one address, or a name that a proxy knows, to a connected stream, from the source that was chosen. */
#pragma once

#include "deliver/failure.h"
#include "world/stream.h"

struct dial_target {
	struct endpoint to;          /* kind ENDPOINT_NONE: the proxy finds `host` by its name, at to.port */
	const char *host;            /* NULL: only the address is known */
	struct ip from;              /* an address of ours; family 0: any */
	const struct source *source; /* NULL: none was asked for; then there is no proxy */
};

/* Chooses where connections of this hop into a family (4, 6; 0: of a name) come from, by weight: fills from and source. A
 * member that the site (NULL: none is known) has blocked lately is passed over while there is another one. False: the
 * hop's pool doesn't reach the family. */
bool dial_choose(struct deliverer *d, const struct deliver_settings *settings, const struct hop *hop, const char *site,
		 unsigned family, struct dial_target *ret);
/* This site refuses mail from this source, which has dial_source_text. */
void dial_blocked(struct deliverer *d, const char *site, const char *source);
/* Can hosts be given to the hop's proxies by name? Only where every member of its pool can do that. */
bool dial_by_name(const struct hop *hop);
/* Ours, for events: "192.0.2.1"; NULL: nobody chose. In the arena, or static. */
const char *dial_source_text(const struct dial_target *t, struct arena *a);

/* All of it, with the proxy. -errno, and *ret_why says more than that (in the arena), or is NULL. */
int dial(struct deliverer *d, const struct dial_target *t, usec_t deadline, struct arena *a, struct stream **ret,
	 const char **ret_why);
/* Without a proxy, in two steps, as net_connect_start and net_connect_wait. */
int dial_start(const struct dial_target *t, struct transport **ret);
/* What is told when it failed. */
void dial_failure(const struct dial_target *t, int error, const char *why, struct arena *a, struct outcome *ret);
