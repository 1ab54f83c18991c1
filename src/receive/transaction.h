/* A transaction is one message on its way in (RFC 5321 section 3.3):
 *
 *   transaction_begin          MAIL: an id, the sender, a place in the spool
 *   transaction_add_recipient  RCPT
 *   transaction_open_content   DATA, or the first BDAT: our Received field goes in front
 *   transaction_sink           the content goes through here into the spool, and is looked at on the way
 *   transaction_finish         the end was reached: commit, and the reply that makes us responsible; or a refusal
 *   transaction_end            forgets it all: RSET, EHLO, a refusal, the end of the session
 *
 * It lives in the session's mail arena, which is reset when it ends. */
#pragma once

#include "mail/envelope.h"
#include "mail/header.h"
#include "receive/session.h"
#include "smtp/bdat.h"
#include "smtp/normalize.h"
#include "smtp/parameters.h"

struct judging;

struct transaction {
	struct session *session;
	struct arena *arena;
	struct envelope envelope;       /* its client fields are filled at the end */
	struct address sender;          /* a view of envelope.reverse_path */
	unsigned capacity;              /* of envelope.recipients */
	struct slice *domains;          /* different ones, when their number is limited */
	unsigned n_domains;
	uint32_t *fingerprints;         /* of the recipients' addresses, for finding one given twice */
	unsigned accepted;              /* RCPT commands that got a 250 (LMTP replies to each) */
	unsigned refused;               /* those that did not */
	bool smtputf8;                  /* said in MAIL */
	bool binary;                    /* BODY=BINARYMIME: content may be anything, and comes by BDAT */
	wall_t hold_for;                /* HOLDFOR, or 0 */
	bool has_priority;              /* MT-PRIORITY was given */
	bool lowered;                   /* and more than this client may have */
	uint64_t line;                  /* with binary: octets of the present line */
	bool long_lines;                /* some are longer than SMTP allows */
	struct slice solicit;           /* the class for which the content is refused */
	struct buffer head;             /* the header section so far, where somebody has to look into it */
	bool gathers_head;
	struct spool_writer *writer;
	struct signing *signing;        /* what is stored goes by it, too; NULL: it isn't signed */
	unsigned signatures;            /* that were put in front */
	struct header_scanner header;
	bool digested;                  /* what came is digested, to know it again */
	struct digest digest;
	bool begun;                     /* the beginning of the content was looked at and written */
	unsigned n_held;                /* octets that are held until enough is there to look at */
	char held[HEADER_START_OCTETS];
	struct judging *judging;        /* from the beginning of the content on; NULL: nothing is asked of it (judging.h) */
	unsigned late_headers;          /* from this one on, headers of the gate's rules came after that */
	bool rewriting;                 /* the header is held until its end, and changed (receive/submission.h) */
	struct buffer held_header;
	unsigned tolerated;             /* enum content_defect */
	bool normalizing;               /* the client's line ends are made CRLF */
	struct normalizer normalizer;
	bool chunked;                   /* a BDAT was taken */
	struct content_check chunks;    /* the content so far, when it comes by BDAT */
	struct content_sink sink;
};

/* -ENOMEM; what spool_writer_new returns: -ENOSPC, -EROFS. s->transaction is set on success only. */
int transaction_begin(struct session *s, const struct address *sender);
/* NULL is fine: nothing happens without a transaction. */
void transaction_end(struct session *s);
/* An address that is there already is not added again. 0 or -ENOMEM. */
int transaction_add_recipient(struct transaction *t, const struct address *address, const struct rcpt_parameters *p);

/* RFC 3030 section 3: the content may be anything, and is kept as it is. */
void transaction_is_binary(struct transaction *t);
/* Counts its domain among those of the recipients, where they are limited (RFC 9422 section 4.3). 0; -E2BIG: it would
 * be one too many; -ENOMEM. */
int transaction_count_domain(struct transaction *t, const struct address *address);

#define ERROR_HEADER_TOO_LARGE (-EMSGSIZE) /* of those who take the content apart */
/* Puts octets of the message behind what is stored of it, past the signature if there is to be one. What the spool says. */
int transaction_store(struct transaction *t, struct slice data);
/* 0 or what the spool says. */
int transaction_open_content(struct transaction *t);
void transaction_content_limits(const struct session *s, struct content_limits *ret);

/* What is known of the content when its end was read. */
struct content_facts {
	int error;              /* what the copying returned */
	unsigned defects;
	uint64_t defect_offset;
	bool eight_bit;
};
/* Replies to the content (for LMTP to each recipient) and ends the transaction. -errno: the connection is lost. */
int transaction_finish(struct session *s, const struct content_facts *facts);
/* Only the refusal: the transaction stays. error < 0. */
int transaction_reply_refusal(struct session *s, const struct content_facts *facts);
