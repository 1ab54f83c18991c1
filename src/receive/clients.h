/* How many connections each client address has, over all loops: what connections_per_ip counts. An IPv6
 * client is counted by its /64, which is what one customer usually has.
 *
 * A session takes a place when it begins and leaves it when it ends; an address without connections costs
 * nothing. */
#pragma once

#include "base/net.h"
#include "world/world.h"

struct clients;
struct client_place;

int clients_new(struct world *w, struct clients **ret);
void clients_free(struct clients *c); /* all places must have been left */
DEFINE_FREEP(struct clients, clients_free)

/* -EUSERS when the address has `limit` connections already; -ENOMEM. From any thread; doesn't wait. */
int clients_enter(struct clients *c, const struct ip *ip, unsigned limit, struct client_place **ret);
void clients_leave(struct clients *c, struct client_place *p); /* NULL is fine */
