/* A simulated provider at work: listeners, sessions, and what they have seen.
 *
 * Its life: simulator_new, simulator_listen for each address, simulator_run on a started loop; sessions come and go; the
 * loop is stopped, and simulator_report says what there was. All of it belongs to one loop; simulator_report may be called
 * from there, or when the loop has stopped. */
#pragma once

#include <stdatomic.h>

#include "base/buffer.h"
#include "simulate/memory.h"
#include "simulate/provider.h"
#include "tls/tls.h"
#include "world/fiber.h"

#define SIMULATOR_CLIENTS_MAX 1000u
#define SIMULATOR_LISTENERS_MAX 8u

struct simulator_options {
	const char *certificate, *key; /* PEM files; NULL: one is made, for the provider's host name */
	const char *maildir;           /* accepted messages go there; NULL: nowhere */
	uint64_t seed;                 /* of what happens by chance */
	bool talk;                     /* what is said, on standard error */
};

/* What is known of one client address. */
struct simulated_client {
	struct hash_node node;
	struct simulated_client *next;
	struct ip ip;
	unsigned open, widest; /* connections at this moment, and at most */
	uint64_t connections, messages, refusals;
};
struct simulated_counters {
	uint64_t connections, tls_sessions, messages, recipients, octets, errors, lost;
	uint64_t *rules; /* how many times each rule answered, by its number */
};
struct simulator {
	struct world *world;
	const struct provider *provider;
	struct simulator_options options;
	struct tls_context *tls;
	struct listener *listeners[SIMULATOR_LISTENERS_MAX];
	unsigned n_listeners;
	struct memory memory;
	struct hash clients;
	struct simulated_client *first_client;
	unsigned n_clients;
	unsigned open, in_progress; /* connections, and messages between MAIL and their end */
	uint64_t random, next_id;
	struct simulated_counters seen;
};

/* provider and the texts of options must outlive it. -EINVAL and others with *ret_why (on the heap) when the certificate
 * can't be used. */
int simulator_new(struct world *w, const struct provider *p, const struct simulator_options *o, struct simulator **ret, char **ret_why);
void simulator_free(struct simulator *s);
DEFINE_FREEP(struct simulator, simulator_free)
int simulator_listen(struct simulator *s, const struct endpoint *at);
/* Accepts connections from now on. The loop may run already. */
int simulator_run(struct simulator *s, struct loop *loop);
/* A table for people, or one JSON object. */
void simulator_report(const struct simulator *s, bool json, struct buffer *out);

/* --- for sessions ------------------------------------------------------------------------------------------------- */

/* The client's entry, counted as one more connection; when there are too many of them, one for all the others. NULL:
 * no memory. */
struct simulated_client *simulator_client_came(struct simulator *s, const struct ip *ip);
void simulator_client_went(struct simulator *s, struct simulated_client *c);
/* True in so many of a hundred cases, by the seed. */
bool simulator_chance(struct simulator *s, unsigned percent);
