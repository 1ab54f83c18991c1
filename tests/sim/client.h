/* A client: a machine whose fibers hand letters to a server over plain SMTP, each letter once, and note what they were
 * told. Sessions differ: pipelined or not, DATA or BDAT, one letter or several in a connection, a moment or a minute
 * between them; some hang up in the middle. A client that loses its connection goes on with the next letter. */
#pragma once

#include "sim/letter.h"

struct client_plan {
	struct node *server;
	unsigned sessions;  /* at the same time */
	unsigned letters;   /* in all, unless `until` comes before */
	usec_t until;       /* no new letter after this */
	usec_t pause;       /* at most, between two letters of one session; 0: none */
	unsigned hang_up_per_cent; /* of letters: the client closes in the middle of it */
	/* Makes the next letter; it may call letter_new and letter_add only. */
	struct letter *(*write)(struct scene *s, void *context);
	void *context;
};

struct client;
/* Begins at once. ip: within 192.0.2.96/27, whom the servers trust. */
void client_new(struct scene *s, const char *name, const char *ip, const struct client_plan *plan, struct client **ret);
bool client_is_done(const struct client *c); /* all its letters are handed in, or were lost */
struct sim_host *client_host(const struct client *c);
void client_free(struct client *c);
