/* Where mail waits whose site does not work.
 *
 * A site that is down keeps nothing in its line: what is there and what comes is sent home (JOB_PARKED), and rests
 * there without a job and without its envelope in memory; its message stands in the lot of that site. When it is
 * time for a probe, the owner of the site calls for one message, of one home after the other until one has some, and
 * when the site works again, for all: they become due and take their usual way. So 100,000 messages to a dead provider cost neither attempts nor memory
 * beyond their own, and nobody looks at them before the provider answers.
 *
 * Who was called may be gone before it reaches the site: then another one is called. A call can be lost when there is no
 * memory for it. Therefore a parked recipient also has a time: after PARKED_MOST
 * it goes to the line again by itself, to be parked again if need be; then it is told what the trouble is, too. A
 * message can stand in one lot only; its recipients for another site that is down come back after PARKED_BESIDE.
 *
 * Everything belongs to the loop of the home. */
#pragma once

#include "queue/message.h"
#include "queue/path.h"

#define PARKED_MOST USEC_HOUR
#define PARKED_BESIDE (5 * USEC_MIN)

struct home;

struct lot {
	struct hash_node node;
	struct home *home;
	struct path *path;       /* names the site */
	struct list parked;      /* messages, by work */
	unsigned n;
	unsigned wanted;         /* so many were called and did not go yet */
	struct link called;      /* on the home's list then */
};

/* Puts it into the lot of a site. False: it stays out (it is in another one, or on another list, or no memory). */
bool lot_park(struct home *h, struct message *m, struct path *p);
/* Takes it out, when it is in one. What was parked of it waits for its time now. */
void lot_leave(struct message *m, usec_t not_before);
/* Takes it out when none of its recipients is parked any more. */
void lot_look_after(struct message *m);
/* The site wants so many of its messages. False: none is here. */
bool lot_call(struct home *h, const struct path *p, unsigned n);
/* Lets some of those go that were called; the keeper does it again until no lot is on the list. */
void lots_tick(struct home *h);
/* So many wait for this site. */
unsigned lot_size(const struct home *h, uint64_t hash, const char *site);
void lots_free_all(struct home *h); /* their messages must have left or be gone */
