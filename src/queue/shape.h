/* What a site is given at most, at its owner: the limits of shaping.h, and the pace that was learned (pace.h).
 *
 * A site that has no limit and was never too fast for its receiver has no shape at all: its messages pay for one look at
 * a pointer. All sites of a provider that has limits have the same owner, so its sums are plain variables, too: the loop is
 * chosen by the provider's name instead of the site's key (shape_path). That loop carries all mail for the provider, which
 * is never much at a time: a provider with limits has few connections.
 *
 * Sites of a provider wait in turn: for a connection in `starved`, and for its rate in `waiting`, where only the first
 * has a timer. While others are starved, a connection ends after TURN messages. */
#pragma once

#include "base/list.h"
#include "queue/pace.h"
#include "queue/provider.h"
#include "queue/slow.h"

#define SHAPE_TURN 10u

struct home;
struct path;
struct queue;
struct site;
struct slot;

/* A provider at the home that owns its sites. Stays until the home ends: what went out counts on. */
struct provider_state {
	struct link link;                /* home->providers */
	const struct provider *provider; /* the newest */
	unsigned slots;                  /* alive, of all sites */
	struct pace pace;
	struct list starved, waiting;    /* shapes */
	struct list idle;                /* slots that wait for work */
	struct slow_keys slow;           /* domains of senders */
	struct shape *turn;              /* whose turn it is for the connection that is free */
};

struct shape {
	struct site *site;
	struct provider_state *provider; /* NULL: none */
	struct link starved, waiting;
	struct pace pace;
	struct learned_pace learned;
	struct slow_keys slow;             /* domains of senders, where there is no provider */
	unsigned messages_per_connection;  /* 0: as everywhere */
};

/* Which limits hold for a path, and who owns its site. */
void shape_path(struct queue *q, struct path *p);
/* The same from the key of a site alone, as well as it can be said. */
unsigned shape_owner_by_key(struct queue *q, struct slice key, uint64_t hash);
/* How many recipients a transaction may have there. */
unsigned shape_recipients(struct queue *q, const struct path *p);
/* The widest window of a site; 0: as everywhere. */
unsigned shape_connections(const struct path *p);

/* The limit of its rate. */
struct rate shape_rate(const struct site *s);

/* Gives a site the shape that its path asks for; again when it has a new path. -ENOMEM. */
int shape_site(struct site *s);
void shape_free(struct site *s);
void shape_free_providers(struct home *h);

/* May a message go now? If not, the site is looked at again when it may. For sites with a shape, as all of these. */
bool shape_admits(struct site *s);
/* May the site open a further connection? If not, its turn comes. */
bool shape_has_room(struct site *s);
/* One goes. */
void shape_took(struct site *s);
/* It has mail and no connection that could take it at its turn: it asks for another turn when it has one. */
void shape_cannot(struct site *s);
/* The site has nothing to send, or may not: others need not wait for it. */
void shape_leave(struct site *s);

void shape_slot_started(struct site *s, struct slot *slot);
/* It has no work. False: another site needs its connection. */
bool shape_slot_idle(struct slot *slot);
void shape_slot_ended(struct slot *slot);

/* The receiver says that we are too fast, and there is one connection left to close. Without memory nothing is learned. */
void shape_throttled(struct site *s, usec_t t);
/* The same, but it is the sender's domain that is too fast. */
struct job;
void shape_sender_throttled(struct site *s, const struct job *j, usec_t t);
/* May this job go, which was taken from the line? 0: yes; else it goes home until then. */
usec_t shape_sender_asks(struct site *s, const struct job *j, usec_t t);
void shape_sender_taken(struct site *s, const struct job *j, usec_t t);
/* What was learned before, as long ago as age. */
void shape_recall(struct site *s, usec_t interval, usec_t age);
/* When the site may be forgotten: what went out still counts until then. */
usec_t shape_until(const struct site *s);
