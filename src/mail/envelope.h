/* The envelope: what one server tells the next about a message, and what we noted when we took it. It is
 * made by receive (or by queue, for a bounce), kept by the spool in packed form as long as the message
 * lives, and read by route and deliver. It never changes after the commit: what becomes of a recipient is
 * written down elsewhere (queue/message.h).
 *
 * All strings are terminated and belong to one arena. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/id.h"
#include "base/time.h"

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
enum dsn_ret { DSN_RET_DEFAULT, DSN_RET_FULL, DSN_RET_HDRS };
/* RFC 3461 section 4.1. No bit at all: the sender said nothing, which means failure (and delay, if we like). */
enum dsn_notify { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };

enum envelope_flags {
	ENVELOPE_SMTPUTF8 = 1,
	ENVELOPE_REQUIRETLS = 2,
	ENVELOPE_BOUNCE = 4,   /* made by us: a DSN */
	ENVELOPE_TRUSTED = 8,  /* came from a client that may relay */
	ENVELOPE_RECEIVED_TLS = 16,
	ENVELOPE_TLS_OPTIONAL = 32, /* TLS-Required: No in its header (RFC 8689 section 3) */
	ENVELOPE_RRVS_FIELD = 64,   /* Require-Recipient-Valid-Since in its header (RFC 7293 section 3.2) */
	ENVELOPE_BARE_LF = 1 << 12, /* the content came by BDAT and has LFs alone */
	ENVELOPE_HOLD = 1024,  /* a rule keeps it until an administrator releases it */
	ENVELOPE_HOLD_FOR = 1 << 13, /* hold_until was given as a number of seconds after arrival (HOLDFOR) */
	ENVELOPE_DOUBTFUL = 1 << 14, /* whoever sent it had no right to this sender's address, as SPF or DMARC says */
};
/* RFC 7293 section 3.1: what is to be done at a server without the extension. */
enum rrvs_action { RRVS_NONE /* no time was given */, RRVS_REJECT, RRVS_CONTINUE };

struct envelope_recipient {
	const char *address; /* local@domain */
	const char *orcpt;   /* "rfc822;xtext-decoded", or NULL */
	unsigned notify;
	enum rrvs_action rrvs;
	wall_t valid_since;  /* with rrvs: the mailbox must have had the same owner since then */
};

/* A header field that some route looks at, as it stood in the message when a client of ours submitted it. */
struct envelope_header {
	const char *name;
	const char *value; /* unfolded, up to ENVELOPE_HEADER_VALUE octets of it */
};
#define ENVELOPE_HEADERS 16u       /* that are kept of one message */
#define ENVELOPE_HEADER_VALUE 255u

struct envelope {
	msgid_t id;
	wall_t arrival;
	const char *reverse_path; /* "" is the null path */
	const char *envid;        /* decoded, or NULL */
	enum dsn_ret ret;
	enum body_type body;
	unsigned flags;
	const char *client_ip;   /* text, or NULL for our own messages */
	const char *client_name; /* reverse name, or NULL */
	const char *helo;
	const char *user;        /* who logged in, or NULL */
	const char *protocol;    /* RFC 3848: "ESMTPS" ... */
	const char *tls;         /* "TLSv1.3 TLS_AES_256_GCM_SHA384" or NULL: for the event, not kept */
	uint64_t size;           /* octets of the content, our header fields included */
	wall_t hold_until;       /* not tried before (RFC 4865); 0: at once */
	wall_t deliver_by;       /* RFC 2852; 0: whenever it can be */
	char by_mode;            /* with deliver_by: 'N' (notify when it is late) or 'R' (return it then) */
	bool by_trace;
	int priority;            /* -9 to 9; 0 is the usual one (RFC 6710) */
	const char *solicit;     /* classes that the sender named, separated by commas (RFC 3865), or NULL */
	unsigned n_headers;      /* at most ENVELOPE_HEADERS; each name once */
	struct envelope_header *headers;
	unsigned n_recipients;
	struct envelope_recipient *recipients;
};

/* When it became, or will become, deliverable: from then on its age counts. */
static inline wall_t envelope_begin(const struct envelope *e)
{
	return e->hold_until > e->arrival ? e->hold_until : e->arrival;
}
/* Whoever gave it a time (RFC 2852) wants it back when that has passed. */
static inline bool envelope_returns(const struct envelope *e)
{
	return e->deliver_by != 0 && e->by_mode == 'R';
}

/* What it asks for beside being delivered, for people: "held until 2027-01-31T08:00:00Z, priority 3". Appended; nothing
 * for most (envelope_text.c). */
void envelope_asks(const struct envelope *e, struct buffer *out);

/* Packed: a version byte, then fields as varints and length-prefixed bytes (docs/SPOOL.md). */
int envelope_pack(const struct envelope *e, struct buffer *out);
/* Everything in the result lies in the arena, nothing points into `packed`. -EBADMSG when it isn't one. */
int envelope_unpack(struct slice packed, struct arena *a, struct envelope *ret);
/* A copy whose strings live in the arena. */
int envelope_copy(const struct envelope *e, struct arena *a, struct envelope *ret);
