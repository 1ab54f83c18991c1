/* For tests of the queue: one simulated machine with a spool, a zone as its DNS, a queue on two loops, and a courier
 * whose answers the test decides. */
#pragma once

#include "admin/journal.h"
#include "queue/queue.h"
#include "world/sim.h"

#define OFFICE_DELIVERIES 20000

struct office;

/* One recipient in one attempt. */
struct attempt {
	msgid_t id;
	char address[80], site[120];
	usec_t at;
	unsigned group; /* recipients in the same delivery */
	unsigned attempts;
	enum outcome_kind kind;
};

struct office {
	struct sim *sim;
	struct sim_host *host;
	struct world *world;
	struct loop *loops[2], *outside;
	struct resolver *resolver;
	struct router *router;
	struct spool *spool;
	struct queue *queue;
	struct route_config routes;
	struct queue_config config;
	struct spool_config spool_config;
	struct log log;
	struct event_sink events;
	unsigned event_counts[16];
	bool wants_journal; /* from prepare: events go there, too */
	struct journal *journal;
	struct loop *journal_loop;
	void (*halted)(struct office *s); /* from prepare: what frees things of the test's own when the loops have ended */
	struct courier courier;

	/* The courier: fills the outcome. The default delivers everything. */
	void (*answer)(struct office *s, const struct slot_info *info, const struct delivery *d, struct delivery_recipient *r);
	usec_t service; /* time that a delivery takes */
	struct envelope wish; /* its times and its priority are those of the next messages */
	unsigned n_attempts;
	struct attempt *attempts;
	unsigned running, most_running;

	void (*body)(struct office *s);
	bool done;
	struct arena *arena;

	/* office_crash: what was accepted, and when the power went. */
	msgid_t accepted[OFFICE_DELIVERIES];
	unsigned n_accepted;
	usec_t crashes[16];
	unsigned n_crashes;
};

/* Runs body in a fiber of the first loop of a fresh machine, with everything started; then stops the queue. With
 * afterwards, all of it is restarted for another round. */
void office_play(void (*prepare)(struct office *s), void (*body)(struct office *s), void (*afterwards)(struct office *s));

/* The same, but the power goes when body returns. */
void office_play_and_cut(void (*prepare)(struct office *s), void (*body)(struct office *s), void (*afterwards)(struct office *s));

/* Runs body for up to three seconds and takes the power away, or kills the process, so many times (at most 16); then
 * starts once more, for check. */
void office_crash(uint64_t seed, unsigned crashes, void (*prepare)(struct office *s), void (*body)(struct office *s),
		  void (*check)(struct office *s));

/* Answers for the courier. */
void answer_reply(struct delivery_recipient *r, enum stage stage, int code, int subject, int detail, const char *text);
void answer_fault(struct delivery_recipient *r, enum stage stage, const char *text); /* the site is down */

/* Submits a message; recipients: addresses separated by spaces, each perhaps with "/NOTIFY" as a number. From the
 * body. Returns its id. */
msgid_t office_submit(struct office *s, const char *from, const char *recipients);
/* The same, when it may fail: 0 or what queue_submit returned. */
int office_try_submit(struct office *s, const char *from, const char *recipients, msgid_t *ret_id);
/* Lets virtual time pass. */
void office_wait(usec_t time);
struct queue_summary office_summary(struct office *s);
/* Attempts for this address (NULL: any) at a site (NULL: any). */
unsigned office_count(const struct office *s, const char *address, const char *site);
const struct attempt *office_last(const struct office *s, const char *address);
unsigned office_events(const struct office *s, const char *kind);
/* The content of a message in the spool, in the office's arena. */
const char *office_content(struct office *s, msgid_t id);
