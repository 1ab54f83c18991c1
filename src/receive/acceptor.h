/* An acceptor is the receiver's part of one loop: a door (a listening socket with a fiber that accepts) for each
 * listener, and the sessions that came in through them. Everything here belongs to its loop; from other threads
 * only the counters are read, and orders come by post.
 *
 * An acceptor's life: acceptor_new and acceptor_add_door before the loop runs, or by post on a reload;
 * acceptor_open_doors starts the fibers; acceptor_close_doors and acceptor_stop end them. */
#pragma once

#include <stdatomic.h>

#include "identity/key_cache.h"
#include "receive/clients.h"
#include "receive/duplicates.h"
#include "receive/pressure.h"
#include "receive/settings.h"
#include "world/stream.h"

/* What all acceptors of a receiver share; const but for the atomics and what locks itself. */
struct receive_shared {
	struct world *world;
	const struct log *log;
	const struct event_sink *events;
	struct router *router;
	struct resolver *resolver;
	struct queue *queue;
	struct clients *clients;
	struct duplicates *duplicates;
	struct attempts *attempts;
	struct gate_shared gate;
	struct dmarc_sink dmarc_sink;
	atomic_uint sessions; /* on all loops */
	atomic_bool crowded;  /* they reached their limit, and did not fall far enough since */
	atomic_ullong refused_crowded;
	struct pressure pressure;
};

struct acceptor {
	struct receive_shared *shared;
	struct loop *loop;
	struct receive_settings *settings; /* for new sessions */
	struct list doors, sessions;
	struct fiber_group fibers;         /* of the doors and the sessions */
	struct users_turns passwords;       /* for its sessions that log in */
	struct key_cache *keys;             /* of signatures; NULL until the first is verified */
	bool stopping;
	atomic_ullong connections, accepted, refused, messages, bytes;
	atomic_ullong gate_rejected, gate_deferred; /* by its rules and checks */
	atomic_ullong logins, logins_failed, logins_locked;
};

struct door {
	struct acceptor *acceptor;
	struct listener *listener;
	const struct receive_listener *config; /* configurations stay valid as long as the receiver */
	struct endpoint address; /* as configured */
	enum listen_role role;
	bool implicit_tls;
	bool open, closing;
	struct fiber *fiber;     /* while it accepts */
	struct link link;
};

int acceptor_new(struct receive_shared *shared, struct loop *loop, struct receive_settings *settings, struct acceptor **ret);
void acceptor_free(struct acceptor *a); /* no session and no running door must be left */
DEFINE_FREEP(struct acceptor, acceptor_free)

/* Takes the listener over, also on failure. */
int door_new(struct listener *listener, const struct receive_listener *config, struct door **ret);
void door_free(struct door *d); /* NULL is fine */
/* The door is the acceptor's from now on. */
void acceptor_add_door(struct acceptor *a, struct door *d);

/* The following on the acceptor's own loop. */
/* A place for one more connection of this client: -EUSERS, -EDQUOT, -ENOMEM as clients_enter says. */
int acceptor_enter_client(struct acceptor *a, const struct endpoint *peer, struct client_place **ret);
/* A fiber's whole work: starts the doors that don't run yet, and tries again until all do. */
void acceptor_open_doors(struct acceptor *a);
void acceptor_close_door(struct door *d);
void acceptor_stop(struct acceptor *a, usec_t deadline); /* from a fiber; returns when all is gone */
