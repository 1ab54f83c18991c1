/* How many connections each client has, over all loops: by its address, and by the network around it, which is what one
 * customer of a provider usually has. Whoever reaches a limit stays limited until it has closed a few: then it may come
 * again. Reaching and leaving are one line each in the log.
 *
 * A session takes a place when it begins and leaves it when it ends; an address without connections costs
 * nothing. */
#pragma once

#include "base/net.h"
#include "world/world.h"

struct clients;
struct client_place;

struct client_limits {
	unsigned per_address, per_network; /* 0: no limit */
	unsigned prefix4, prefix6;         /* bits of the network */
	unsigned relief;                   /* percent of a limit: so many must be closed before the next is let in */
};
/* limit - relief, and at least one below it. */
unsigned client_limit_ends(unsigned limit, unsigned relief);

int clients_new(struct world *w, const struct log *log, struct clients **ret);
void clients_free(struct clients *c); /* all places must have been left */
DEFINE_FREEP(struct clients, clients_free)

/* -EUSERS when the address has too many connections, -EDQUOT when its network has; -ENOMEM. From any thread; doesn't
 * wait. */
int clients_enter(struct clients *c, const struct ip *ip, const struct client_limits *l, struct client_place **ret);
void clients_leave(struct clients *c, struct client_place *p); /* NULL is fine */

struct client_counts {
	unsigned addresses, networks;                 /* with connections now */
	unsigned limited_addresses, limited_networks; /* of these, at their limit */
	uint64_t refused_addresses, refused_networks; /* connections, so far */
};
void clients_count(struct clients *c, struct client_counts *ret);
