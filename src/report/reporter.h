/* The inside of report/: what its files share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "report/report.h"
#include "report/store.h"

struct pending; /* collect.c */

struct reporter {
	struct world *world;
	const struct log *log;
	_Atomic(const struct report_config *) config;
	struct resolver *resolver;
	struct queue *queue;
	struct loop *loop;

	/* collect.c */
	struct hash_key key;
	pthread_mutex_t lock; /* around the following */
	struct hash pending;
	unsigned n_pending;
	uint64_t lost;        /* notes for which there was no room */
	bool posted;          /* the loop knows, or will */
	struct failures *failures; /* failure.c: those that wait, and how many went out */
	struct post post;

	/* of the loop alone */
	struct cond wake;
	usec_t flush_at;      /* DEADLINE_NEVER: nothing waits */
	wall_t due;           /* when reports are sent next */
	bool sending;
	struct cond sent;
	bool complained;      /* the file could not be used, and that was said */
	atomic_bool started, running; /* the queue moves; there is a fiber */
	atomic_bool stopping;
};

static inline const struct report_config *reporter_config(struct reporter *r)
{
	return atomic_load(&r->config);
}

/* Writes what is pending to the file; blocks, unless in a fiber. 0 or -errno, which was logged. */
int collect_flush(struct reporter *r);
void collect_forget(struct reporter *r); /* frees what is pending */
/* A note, from any thread; texts are copied. */
void collect_note(struct reporter *r, enum report_kind kind, wall_t time, const char *domain, const char *policy, struct slice row);

/* What a sending is asked for, and what came of it. */
struct sending {
	struct reporter *reporter;
	const struct report_config *config; /* as it was when it began */
	enum report_kind kind;
	bool by_hand, dry_run;
	const char *domain; /* NULL: all */
	struct arena *arena;
	/* Called for each outcome when it is not NULL; -ENOMEM. */
	int (*outcome)(const struct report_outcome *o, void *context);
	void *context;
	wall_t next; /* when something is to be tried again; 0: nothing is */
};
/* From a fiber of the reporter's loop. 0, -EIO, -ENOMEM, -ECANCELED. */
int send_reports(struct sending *s);
/* Signs a message of ours, where there are keys for its author, and hands it to the queue. */
int send_message(struct reporter *r, const char *from, const char *to, struct slice text);
