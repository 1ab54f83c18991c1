/* Mail that is picked up: a customer who is on line at times only connects, says who he is, and has the connection turned
 * around (ATRN, RFC 2645). What waits for his domains goes over it.
 *
 * The mail of such a domain takes a route by HOP_ATRN. Its site has no hosts and no owner; as long as nobody picks it up it is
 * parked at home (parking.h). While somebody does, the home of his session owns the site, with one slot that serves in the
 * session's own fiber:
 *
 *	queue_pickup_begin   the domains are his now, and their mail is called
 *	queue_pickup_run     the courier carries it, domain by domain, until nothing more comes or the connection ends
 *	queue_pickup_end     what is left is parked again
 *
 * receive and deliver meet here: the one brings the connection, the other speaks over it (courier->reversed in site.h). */
#pragma once

#include "queue/queue.h"
#include "world/stream.h"

#define PICKUP_DOMAINS_MAX 100u

struct pickup;

/* From a fiber of one of the queue's loops. *ret_messages: so many waited for these domains. -EBUSY: somebody is picking up
 * the mail of one of them; -EINVAL: not a domain, or too many; -ENOMEM. */
int queue_pickup_begin(struct queue *q, const struct slice *domains, unsigned n, struct pickup **ret, unsigned *ret_messages);
/* From the same fiber, once. Takes the stream. tls: what protects it, for the trace, or NULL. Returns how many messages had an
 * answer. */
unsigned queue_pickup_run(struct pickup *p, struct stream *stream, const char *tls);
/* On the same loop: after the delivery that is under way nothing more is sent. */
void queue_pickup_stop(struct pickup *p);
void queue_pickup_end(struct pickup *p); /* frees it; NULL is fine */
DEFINE_FREEP(struct pickup, queue_pickup_end)

/* --- for the owners of sites ------------------------------------------------------------------ */

#define PICKUP_REASON "The recipient's server picks its mail up when it is on line, and has not done so yet"

struct pickups;
struct job;
int pickups_new(struct pickups **ret); /* -ENOMEM */
void pickups_free(struct pickups *p);
/* The index of the home where this site is being picked up, or -ENOENT. From any thread. */
int pickups_owner(struct pickups *p, const char *site);
