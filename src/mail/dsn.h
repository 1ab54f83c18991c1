/* Delivery status notifications: the letters that tell a sender what became of a message.
 *
 * A notification is a multipart/report (RFC 6522) of three parts: a text for a person, a
 * message/delivery-status for programs (RFC 3464), and the message that it is about, or its header.
 * queue decides when one is due and to whom it goes (always from the null reverse-path, RFC 3461
 * section 6); here it is only written. Addresses in UTF-8 follow RFC 6533: with an ASCII return address the
 * notification stays ASCII throughout, so that it can travel where SMTPUTF8 can't. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "mail/envelope.h"
#include "mail/status.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };
const char *dsn_action_name(enum dsn_action action);

struct dsn_recipient {
	const char *final;       /* local@domain that we tried last */
	const char *orcpt;       /* "type;address" as in the envelope, or NULL */
	enum dsn_action action;
	struct status status;    /* class 0: 5.0.0, 4.0.0 or 2.0.0 is used, as the action says */
	const char *remote_mta;  /* the name of the server that answered, or NULL */
	const char *remote_address; /* and its IP address as text, or NULL */
	const char *diagnostic;  /* its answer ("550 5.1.1 No such user"), or NULL */
	const char *meaning;     /* for people: what became of it and what they can do; NULL: what `status` says */
	const char *reason;      /* our own sentence when no server answered ("Connection timed out"), or NULL */
	wall_t last_attempt;     /* 0: not known */
	wall_t retry_until;      /* for DSN_DELAYED; 0: not known */
	const char *log_id;      /* the id that the remote server gave it, or NULL */
};

/* The original message, read as far as it is needed: up to len octets from offset into data; returns how
 * many (0 at the end) or -errno. It may wait. */
typedef ssize_t (*dsn_read_fn)(void *context, uint64_t offset, void *data, size_t len);

struct dsn_input {
	const char *host;             /* who reports: our name */
	const struct envelope *original; /* its id, arrival, reverse_path (the addressee), envid, ret... */
	const struct dsn_recipient *recipients;
	unsigned n_recipients;        /* at least 1 */
	msgid_t id;                   /* of the notification: its Message-ID and boundary */
	wall_t now;
	uint64_t random;              /* a fresh random number for the boundary */
	dsn_read_fn read;             /* NULL: nothing is returned */
	void *context;
	uint64_t max_content;         /* a larger original is returned as its header only; 0: 50,000 octets */
	uint64_t max_header;          /* a longer header section is cut after a line; 0: 65,536 octets */
	const char *contact;          /* whom a person may ask ("postmaster@example.org"), or NULL */
};

struct dsn_result {
	enum body_type body; /* BODY_7BIT or BODY_8BITMIME */
	bool smtputf8;       /* only for an addressee in UTF-8 */
	bool full;           /* the original was returned in full */
};

/* Appends the whole notification, CRLF line ends, no dot-stuffing. The original is returned in full only for
 * a failure, when the sender did not ask for RET=HDRS, it is small enough, is not BINARYMIME, was not sent
 * with REQUIRETLS (RFC 8689 section 5), and fits in lines (else its header). An original that can't be read
 * is left out. -EINVAL: no recipient, or a null reverse-path (a notification of a notification is never
 * written); -ENOMEM. */
int dsn_write(const struct dsn_input *in, struct buffer *out, struct dsn_result *ret);
