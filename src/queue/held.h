/* Sites whose mail an administrator holds: what waits for them, and what comes later, stays until they are released.
 *
 * A site is named by a pattern with * and ?, which is compared with the site's key ("mx:mx1.example.org,...") and with the
 * domain of the recipients. Their mail is parked at home (parking.h), as that of a site that is down, but nobody calls for
 * it. Its age goes on: senders are warned, and what gets too old goes back, as ever.
 *
 * The patterns stand in a file, one a line, in the spool's directory, so that a restart does not let the mail go. */
#pragma once

#include "queue/queue.h"

#define HELD_MAX 1000u     /* patterns */
#define HELD_PATTERN 512u  /* octets of one */
#define HELD_REASON "The administrator of this server has stopped mail to this destination for now"

struct path;
struct held;

int held_new(struct held **ret); /* -ENOMEM */
void held_free(struct held *h);
DEFINE_FREEP(struct held, held_free)
/* Takes the patterns of a text over, one a line. -EBADMSG, -ENOMEM: some of them may have been taken. */
int held_read(struct held *h, struct slice text);
/* Reads the file, before the queue moves. -EBADMSG: it holds something else than patterns; -ENOMEM, -EIO... */
int held_load(struct held *h, struct world *w, const char *file);
/* From any thread; without anything held it costs next to nothing. domain may be without data. */
bool held_matches(struct held *h, const char *key, struct slice domain);
