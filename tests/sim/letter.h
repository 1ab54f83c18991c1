/* Letters: messages as the outside world knows them, and what became of them.
 *
 * A letter has a number, from which its whole content follows, a sender and recipients. A client submits it once:
 * what it was told is the letter's state. Later letters_collect reads all mailboxes and letters_judge compares: what
 * was accepted has arrived whole, or its sender was told that it could not; what was not handed over has not
 * arrived; and nothing has come twice but where a trouble fell between a delivery and its record. */
#pragma once

#include "sim/scene.h"

#define LETTER_RECIPIENTS 4u

enum letter_state {
	LETTER_NEW,      /* its last octet has not been sent */
	LETTER_IN_DOUBT, /* all of it was sent, and no reply has come */
	LETTER_REFUSED,
	LETTER_ACCEPTED,
};

enum target_kind {
	TARGET_MAILBOX, /* of node */
	TARGET_NOBODY,  /* an address of node that does not exist: the sender is told */
	TARGET_REMOTE,  /* at a remote: it arrives there, or the sender is told */
};

/* One recipient. */
struct addressee {
	enum target_kind kind;
	const struct node *node;
	char address[48];
	bool refused;             /* at RCPT: nobody owes it anything */
	unsigned copies;          /* that have arrived */
	unsigned failures, delays; /* notifications of its failure, and of its delay, that the sender got */
};

struct letter {
	unsigned number;
	enum letter_state state;
	const struct node *entry; /* the server that it was handed to */
	const struct node *home;  /* where its sender has a mailbox */
	char sender[48];
	size_t size;              /* of its body, about */
	unsigned n_targets;
	struct addressee targets[LETTER_RECIPIENTS];
	usec_t accepted_at;
	unsigned unsure;          /* times that a remote took it without saying so */
	struct buffer plain;      /* its content as it arrives, with LF; made when it is first compared */
};

#define COPY_HOPS 4u

/* A letter as it lay in a mailbox or came to a remote. */
struct copy {
	const struct letter *letter;
	unsigned target;
	bool at_remote;
	unsigned n_hops;
	char ids[COPY_HOPS][MSGID_TEXT]; /* under which servers had it, the last one first */
	usec_t at, told;                 /* when it came, and when whoever sent it was told so */
};

/* What came of it, over all letters. */
struct tally {
	unsigned accepted, refused, in_doubt, not_sent;
	unsigned copies, failures;
	unsigned twice_by_network, twice_by_death, twice_by_disk, twice_at_remote;
	unsigned doubtful_arrived; /* in doubt for the client, and it arrived */
};

/* A letter with this sender at home, entering at entry. */
struct letter *letter_new(struct scene *s, const struct node *entry, const struct node *home, size_t size);
void letter_add(struct letter *l, enum target_kind kind, const struct node *node, const char *address);
/* Its header and body as they go over the wire, without dot-stuffing. */
void letter_content(const struct letter *l, struct buffer *out);
/* What a text is: a letter, or a notification about one. */
struct reading {
	struct letter *letter;
	bool notification;
	unsigned failed, delayed; /* of a notification: bit i: it says so of target i */
};
/* Fails the test when it is neither, or a letter that was altered. where: for that. lf: lines end with LF alone. */
void letter_read(struct scene *s, const char *where, struct slice text, bool lf, struct reading *ret);
struct addressee *letter_target(struct letter *l, struct slice address); /* or NULL */
/* Something has arrived for address: finds out which letter it is (or which notification) and notes it. Fails the
 * test when it is none, or altered. lf: lines end with LF alone. at, told: as in struct copy. */
void letter_arrived(struct scene *s, const char *address, struct slice text, bool lf, bool at_remote, usec_t at, usec_t told);
/* Reads all mailboxes of servers that are up. Once, at the end. */
void letters_collect(struct scene *s);
/* Judges all letters; adds to *tally. */
void letters_judge(struct scene *s, struct tally *tally);
void letters_free(struct scene *s);
void tally_print(const struct tally *t, const char *what, unsigned seeds);
