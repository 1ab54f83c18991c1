/* A job: recipients of one message that go the same way, travelling between threads.
 *
 * Made at the message's home, it waits there until its destination is resolved, goes to the owner of the site,
 * stands in the site's line, is taken by a slot and delivered, and comes home with what became of it. It is the
 * home's memory all the time and is freed there. The home may call it back; the owner returns it untried when
 * it still stands in the line. As long as one is out, its message keeps the packed envelope in memory. */
#pragma once

#include "queue/fair.h"
#include "queue/message.h"
#include "queue/path.h"
#include "queue/site.h"
#include "world/fiber.h"

enum job_result {
	JOB_TRIED,    /* the outcomes are in the delivery */
	JOB_RECALLED, /* back because the home asked */
	JOB_ESCAPED,  /* back because the site has a trouble for which a later rung exists */
	JOB_PARKED,   /* back because the site does not work: it waits at home until the owner calls */
	JOB_LATER,    /* back because its sender is too fast for the receiver: not before the job's time */
	JOB_UNFIT,    /* no memory, or the envelope can't be read */
};

struct active;
struct site;
struct home;
struct destination;

struct job {
	struct fair_item line; /* in the site's line, or (the link) on the destination's list */
	struct post post;      /* to the owner, and back */
	struct post recall;    /* to the owner, and back */
	struct job *next;      /* of the same message */
	struct message *message;
	struct home *home;
	struct path *path;     /* NULL while its destination is being resolved */
	union {
		struct site *site;               /* at the owner, while it stands in the line */
		struct destination *destination; /* at home, while there is no path */
	};
	struct active *active; /* while it is being delivered, and afterwards */
	usec_t later;          /* with LATER */
	char *why;             /* with RECALLED, ESCAPED, PARKED and LATER: what the site's trouble is; or NULL */
	uint8_t why_class;     /* its class */
	uint8_t result;
	uint8_t owner;         /* the home whose loop it was sent to */
	uint8_t escapes;       /* WHEN_... for which a later rung of the ladder is used */
	int8_t priority;       /* RFC 6710, or DEADLINE_PRIORITY */
	bool canary;           /* tests whether the site's trouble is over */
	bool recalling;        /* home: the recall post is under way */
	bool back;             /* home: it has come back meanwhile */
	atomic_bool taken;     /* it is being delivered */
	uint16_t attempts;
	uint32_t turn;         /* whose it is, for fairness */
	uint32_t n;
	uint32_t capacity;
	uint32_t recipients[]; /* indexes in the envelope */
};

/* A delivery in the hands of a courier, and what belongs to it. In its own arena. */
struct active {
	struct delivery delivery;
	struct envelope envelope;
	struct job *job;
};
static inline struct active *active_of(struct delivery *d) { return container_of(d, struct active, delivery); }

struct job *job_new(struct home *h, struct message *m, unsigned capacity); /* NULL: memory */
/* Gives back the room for recipients that never came; it may move, so it must not be linked yet. */
struct job *job_shrink(struct job *j);
/* With its delivery's arena, if it has one still. */
void job_free(struct job *j);
