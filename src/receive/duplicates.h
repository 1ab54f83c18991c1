/* Messages that we have taken but whose sender may not know it (RFC 1047): the connection ended before it had our reply to
 * the final dot, so it will send them again.
 *
 * What a session can know is this. Behind the 250 it waits for the next command. If anything comes, the client goes on, and so
 * it has had the reply; the same if it said QUIT and the replies could be written, or if it closed the connection in order
 * when the reply had arrived. If instead the connection breaks, or writing fails, or nothing comes for too long, the message is
 * remembered here with its id: who sent it, for whom, and a digest of its content as it came (without our own fields). A message that is the same in all of that, and comes within the window, is acknowledged with the first id and
 * not queued again.
 *
 * Only what was committed gets here, so a message acknowledged this way is durable like any other. The table is bounded,
 * the oldest goes first; it lives in memory and starts empty. */
#pragma once

#include "base/digest.h"
#include "base/id.h"
#include "mail/envelope.h"
#include "world/world.h"

struct duplicates;

struct duplicate_key {
	uint64_t who; /* client, sender, recipients */
	uint64_t size;
	struct digest_value content;
};

/* entries: at most so many are kept. -ENOMEM. */
int duplicates_new(struct world *w, unsigned entries, struct duplicates **ret);
void duplicates_free(struct duplicates *d);
DEFINE_FREEP(struct duplicates, duplicates_free)

/* Content goes through it as it comes. Costs no lock. */
void duplicates_begin(const struct duplicates *d, struct digest *content);
/* client: its address as text, or what it logged in as. The order of recipients makes no difference. */
void duplicates_key(const struct duplicates *d, const char *client, const struct envelope *e, const struct digest *content,
		    struct duplicate_key *ret);

/* From any thread; don't wait. */
void duplicates_remember(struct duplicates *d, const struct duplicate_key *key, msgid_t id, usec_t window);
/* True when this message is remembered: *ret_id is what it was called. */
bool duplicates_find(struct duplicates *d, const struct duplicate_key *key, msgid_t *ret_id);

struct duplicates_counts {
	unsigned remembered; /* now */
	uint64_t recognized; /* so far */
};
void duplicates_count(struct duplicates *d, struct duplicates_counts *ret);
