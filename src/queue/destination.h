/* A destination: what a home knows about a hop and a domain, so that a message to a domain that is known costs
 * one look-up.
 *
 * It is resolved from the router's caches when possible, else by a fiber; the jobs for it wait on its list
 * meanwhile, so that 100,000 messages to one domain ask the DNS once. What it learned holds for a minute, and
 * less where the DNS says so. It belongs to its home's loop. */
#pragma once

#include "queue/job.h"

struct destination {
	struct hash_node node;
	struct home *home;
	const struct hop *hop;
	bool resolving;
	struct path *path;         /* NULL: see status */
	enum target_status status; /* when it is known and there is no path */
	char *why;
	usec_t until;              /* what is known holds until then; 0: nothing is known yet */
	struct list waiting;       /* jobs, by line.link */
	struct link turn;          /* on the home's list, while it waits for a resolver */
	struct job *open;          /* the job that is being filled, in the batch of this number */
	uint64_t batch;
	size_t domain_len, key_len;
	char *key;                 /* the domain first */
};
static inline struct slice destination_domain(const struct destination *d) { return slice_new(d->key, d->domain_len); }

/* Finds or makes it. Afterwards it has a path, or a status that says why not, or is being resolved. -ENOMEM. */
int destination_find(struct home *h, const struct hop *hop, struct slice domain, struct destination **ret);
/* The job waits for it to be resolved: then it is sent, or comes home. */
void destination_wait(struct destination *d, struct job *j);
/* Forgets what no longer holds. */
void destination_sweep(struct home *h, usec_t t);
void destination_free_all(struct home *h);
/* How a resolved status is told to a recipient. */
void destination_outcome(enum target_status status, const char *why, struct outcome *ret);
