/* Every reply that the server gives, in one table (replies.c): code, enhanced code (RFC 3463, RFC 5248) and a
 * sentence that tells the client what to mend. %1 and %2 in a text are filled in when it is given. */
#pragma once

#include "base/buffer.h"
#include "smtp/reply.h"

enum reply_id {
	/* things that worked */
	REPLY_DONE,
	REPLY_SENDER_OK,
	REPLY_RECIPIENT_OK,
	REPLY_START_DATA,
	REPLY_CHUNK_OK,  /* %1: octets */
	REPLY_ACCEPTED,  /* %1: id */
	REPLY_START_TLS,
	REPLY_VRFY,
	REPLY_HELP, /* %1: the verbs */
	REPLY_VERIFIED, /* %1: the address */
	REPLY_PRIORITY_LOWERED, /* %1: the new one */
	REPLY_XFORWARDED,
	REPLY_ETRN_NONE,    /* %1: the domain */
	REPLY_ETRN_STARTED, /* %1: the domain, %2: how many */
	REPLY_ATRN_TURNED,
	REPLY_GOODBYE,

	/* the command */
	REPLY_LINE_DEFECT, /* %1: which */
	REPLY_LINE_TOO_LONG, /* %1: octets allowed */
	REPLY_LINE_ENDLESS,  /* %1: octets read */
	REPLY_NOT_A_COMMAND,
	REPLY_UNKNOWN_COMMAND, /* %1: the verb */
	REPLY_NOT_OFFERED,     /* %1: the verb */
	REPLY_NO_ARGUMENTS,    /* %1: the verb */
	REPLY_BAD_HELLO,       /* %1: the verb */
	REPLY_USE_LHLO,
	REPLY_USE_EHLO,
	REPLY_BAD_BDAT,
	REPLY_VRFY_WHAT,
	REPLY_NOT_A_LIST,   /* %1: the address */
	REPLY_ETRN_WHAT,
	REPLY_ETRN_REFUSED, /* %1: the domain */
	REPLY_ETRN_FAILED,
	REPLY_ATRN_WHAT,
	REPLY_ATRN_LOGIN,
	REPLY_ATRN_REFUSED, /* %1: the domain, or nothing */
	REPLY_ATRN_BUSY,
	REPLY_ATRN_FAILED,
	REPLY_ATRN_NONE,
	REPLY_BAD_ATTRIBUTE, /* %1: which */
	REPLY_FOREIGN,

	/* the order */
	REPLY_HELLO_FIRST,
	REPLY_TLS_FIRST,
	REPLY_AUTH_FIRST,
	REPLY_MAIL_FIRST,
	REPLY_NESTED_MAIL,
	REPLY_RCPT_FIRST,
	REPLY_NO_VALID_RECIPIENTS,
	REPLY_CHUNKS_BEGUN, /* %1: the verb */
	REPLY_BINARY_NEEDS_BDAT,
	REPLY_TLS_ALREADY,
	REPLY_IN_TRANSACTION, /* %1: the verb */
	REPLY_OUT_OF_TURN,    /* %1: what the client had to wait for */

	/* logging in */
	REPLY_AUTH_DONE,
	REPLY_AUTH_FAILED,
	REPLY_AUTH_CANCELLED,
	REPLY_AUTH_ALREADY,
	REPLY_AUTH_UNKNOWN,   /* %1: the mechanism */
	REPLY_AUTH_TOO_WEAK,  /* %1: the mechanism */
	REPLY_AUTH_NEEDS_TLS, /* %1: the mechanism */
	REPLY_AUTH_WHAT,
	REPLY_AUTH_NOT_BASE64,
	REPLY_AUTH_DEFECT,    /* %1: the mechanism */
	REPLY_AUTH_LINE_TOO_LONG, /* %1: octets allowed */
	REPLY_AUTH_TEMPORARY,
	REPLY_AUTH_ADDRESS_LOCKED, /* %1: how long */
	REPLY_AUTH_ACCOUNT_LOCKED, /* %1: how long */
	REPLY_NOT_YOUR_ADDRESS,    /* %1: the address, %2: the user's own */

	/* sender and recipients */
	REPLY_BAD_SENDER,
	REPLY_SENDER_TOO_LONG,
	REPLY_SENDER_NOT_UTF8,
	REPLY_BAD_RECIPIENT,
	REPLY_RECIPIENT_TOO_LONG,
	REPLY_RECIPIENT_NOT_UTF8,
	REPLY_BAD_PARAMETERS,
	REPLY_TOO_MANY_PARAMETERS,
	REPLY_HOLD_TOO_LONG, /* %1: seconds */
	REPLY_HOLD_AND_BY,
	REPLY_SOLICITING,    /* %1: the class */
	REPLY_TOO_MANY_DOMAINS, /* %1: how many are allowed */
	REPLY_NEEDS_SMTPUTF8,
	REPLY_TOO_MANY_RECIPIENTS, /* %1: how many are allowed */
	REPLY_NO_SUCH_USER,        /* %1: the address */
	REPLY_RELAY_DENIED,        /* %1: the address */
	REPLY_NO_POSTMASTER,
	REPLY_SENDER_DOMAIN,       /* %1: the address */
	REPLY_SENDER_NULL_MX,      /* the same */
	REPLY_RECIPIENT_DOMAIN,    /* the same */
	REPLY_RECIPIENT_NULL_MX,   /* the same */
	REPLY_SUPPRESSED,          /* %1: the address, %2: when it was refused, and how */

	/* the gate */
	REPLY_GATE_REFUSED,      /* %1: the rule */
	REPLY_GATE_DEFERRED,     /* the same */
	REPLY_LISTED,            /* %1: the list, %2: what it says */
	REPLY_LISTED_FOR_NOW,    /* the same */
	REPLY_NO_REVERSE,        /* %1: what is wrong with it */
	REPLY_NO_REVERSE_FOR_NOW, /* the same */
	REPLY_HELO_REFUSED,      /* %1: what is wrong with it */
	REPLY_NULL_MX_SENDER,    /* %1: the domain */
	REPLY_NO_SENDER_DOMAIN,  /* the same */
	REPLY_DNS_TROUBLE,       /* %1: what was asked for */
	REPLY_TOO_FAST,          /* %1: the limit, %2: when the next is possible */
	REPLY_TOO_FAST_CONNECTING, /* the same */
	REPLY_TOO_MANY_SESSIONS, /* %1: whose, %2: how many are allowed */
	REPLY_TOO_MANY_AT_ONCE,  /* the same, of messages */
	REPLY_NO_SUCH_MAILBOX,   /* %1: the address, %2: what its server said */
	REPLY_RECIPIENT_UNVERIFIED, /* %1: the address */
	REPLY_GREYLISTED,        /* %1: how long to wait */
	REPLY_DMARC_REJECTED,    /* %1: the domain in From, %2: whose policy says so */

	/* the content */
	REPLY_CONTENT_DEFECT,   /* %1: which, %2: offset */
	REPLY_TOO_LARGE,        /* %1: octets allowed */
	REPLY_HEADER_TOO_LARGE, /* %1: octets allowed */
	REPLY_NO_FROM,
	REPLY_TWO_FROM,
	REPLY_BAD_FROM,
	REPLY_LOOP,             /* %1: Received fields allowed */

	/* ourselves */
	REPLY_DISK_FULL,
	REPLY_STORAGE_FAILED,
	REPLY_SIGNING_FAILED,
	REPLY_OUT_OF_MEMORY,
	REPLY_TIMEOUT,          /* %1: how long */
	REPLY_SESSION_TIMEOUT,  /* %1: how long */
	REPLY_STOPPING,
	REPLY_TOO_MANY_ERRORS,   /* %1: how many are allowed */
	REPLY_TOO_MANY_COMMANDS, /* the same */
	REPLY_TOO_MANY_MESSAGES, /* the same */
	REPLY_TOO_MANY_CONNECTIONS,  /* the same */
	REPLY_TOO_MANY_FROM_ADDRESS, /* %1: how many are allowed, %2: the address */
	REPLY_TOO_MANY_FROM_NETWORK, /* the same */
	REPLY_UNDER_PRESSURE,

	REPLY_COUNT,
};

const struct reply *reply_of(enum reply_id id);

/* The name by which the configuration knows it: "no_such_user". And back; REPLY_COUNT: no such name. */
extern const char *const reply_names[REPLY_COUNT]; /* made by scripts/reply_names.py */
static inline const char *reply_name(enum reply_id id) { return reply_names[id]; }
enum reply_id reply_from_name(struct slice name);

/* What a text may speak of beside %1 and %2, as {client}, {helo}...; texts of the configuration do. NULL: "". */
struct reply_subjects {
	const char *client, *client_name, *helo, *user, *hostname;
	struct slice sender, recipient;
};
/* The text of a reply with its placeholders filled in, appended to out. What came from the network is shown as
 * printable ASCII or UTF-8, cut to a length that fits on a line. about may be NULL: then braces mean nothing. */
void reply_fill(const char *text, struct slice first, struct slice second, const struct reply_subjects *about,
		struct buffer *out);
/* May this stand in the configuration instead of the text of `id` (REPLY_COUNT: of a rule, which has no %1)? NULL;
 * or what is wrong with it, for people, in out. */
const char *reply_check_text(enum reply_id id, const char *text, char out[static 200]);
