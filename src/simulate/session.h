/* One connection to a simulated provider: an SMTP session whose answers are the provider's.
 *
 * It reads commands as Yizhan's own server does (same parsers, same care: bare line feeds, pipelining, BDAT, what is
 * buffered behind STARTTLS), asks the provider's rules at each step, and otherwise says yes. */
#pragma once

#include "simulate/simulator.h"
#include "smtp/bdat.h"
#include "smtp/line.h"
#include "smtp/parameters.h"

#define SIMULATED_RECIPIENTS_MAX 1000u
#define SIMULATED_HEAD_MAX 65536u /* of a message, for rules that look at it */

/* A message on its way in. */
struct simulated_message {
	bool begun;                /* MAIL was taken */
	const char *sender;        /* in the session's mail arena */
	enum body_type body;
	bool utf8;
	unsigned n_recipients;
	bool in_chunks, spoiled;   /* BDAT has begun; a chunk was refused */
	struct content_check check;
	struct buffer head;
	uint64_t octets;
	struct file *file;
	char *path, *final;        /* in tmp/ and in new/, with --maildir */
	char id[24];
};
struct simulated_session {
	struct simulator *simulator;
	const struct provider *provider;
	struct simulated_client *client;
	struct stream *stream;
	struct line_reader reader;
	struct extensions offered;
	struct arena *arena, *mail_arena;
	char address[IP_TEXT];
	struct ip ip;
	bool tls, extended, over;
	const char *helo;          /* in the arena; NULL: not said */
	const char *recipient;     /* that RCPT is about, while its rules are asked */
	unsigned messages, errors;
	usec_t drip;
	struct simulated_message message;
	const char *recipients[SIMULATED_RECIPIENTS_MAX]; /* of the message, in the mail arena */
};

/* In a fiber of its own; frees x and all that it has. */
void simulated_session(void *arg);

/* --- behave.c: the rules -------------------------------------------------------------------------------------------- */

/* Asks the rules of this place: waits where they say so, and gives the answer that one of them has (counted). 0: none of
 * them answers; 1: *ret does; -errno: the connection is lost. */
int simulated_behave(struct simulated_session *x, enum at at, const struct behaviour **ret);
/* Fills placeholders in, formats, counts refusals, waits where there is a tar pit, and sends (dripping if need be). */
int simulated_say(struct simulated_session *x, const struct reply *reply);

/* --- message.c: content ------------------------------------------------------------------------------------------------ */

int simulated_take_content(void *context, struct slice data); /* context: the session */
void simulated_message_forget(struct simulated_session *x);   /* RSET and the like; removes a file that is not whole */
/* The value of a field in the head of the message, or data NULL. */
struct slice simulated_field(const struct simulated_session *x, const char *name);
/* The message is taken: where there is a Maildir it lies in new/ now. -errno when it could not be written. */
int simulated_message_keep(struct simulated_session *x);
