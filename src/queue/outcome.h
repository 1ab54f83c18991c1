/* What became of one recipient in one attempt: the word that passes from deliver to queue. */
#pragma once

#include "smtp/reply.h"
#include "base/net.h"

enum outcome_kind {
	OUTCOME_NONE,      /* not tried (the connection ended before): counts as no attempt */
	OUTCOME_DELIVERED, /* in a mailbox, or taken by a next hop that takes care of DSNs */
	OUTCOME_RELAYED,   /* taken by a next hop without the DSN extension (RFC 3461 section 5.2.7) */
	OUTCOME_DEFERRED,  /* again later */
	OUTCOME_FAILED,    /* for good */
};

/* Whose fault and what to do: the classes of DESIGN section 6. reply-classes.yaml maps replies to them. */
enum reply_class {
	CLASS_NONE, CLASS_BLOCKED, CLASS_THROTTLED, CLASS_GREYLISTED, CLASS_MAILBOX_FULL, CLASS_NO_SUCH_USER,
	CLASS_SPAM_CONTENT, CLASS_TLS, CLASS_AUTH, CLASS_POLICY, CLASS_TOO_BIG, CLASS_OTHER,
	CLASS_UNREACHABLE, /* no reply at all: DNS, connection, time-out */
};
const char *reply_class_name(enum reply_class c);
int reply_class_from_name(struct slice name, enum reply_class *ret); /* -EINVAL */

/* Where in the dialogue it was said; the classifier knows 552 at RCPT from 552 after the dot. */
enum stage {
	STAGE_DNS, STAGE_CONNECT, STAGE_GREETING, STAGE_EHLO, STAGE_STARTTLS, STAGE_AUTH, STAGE_MAIL, STAGE_RCPT,
	STAGE_DATA, STAGE_DOT, STAGE_LOCAL,
};
const char *stage_name(enum stage s);
int stage_from_name(struct slice name, enum stage *ret); /* -EINVAL */

struct outcome {
	enum outcome_kind kind;
	enum stage stage;
	enum reply_class class;  /* CLASS_NONE: the queue classifies by reply and stage */
	bool from_remote;        /* reply is the words of a remote server, not ours */
	bool time_kept;          /* a time by which it was to be delivered was passed on (RFC 2852) */
	bool site_fault;         /* the whole site is affected (no connection, 421 at greeting...): others wait too */
	struct reply reply;      /* code, enhanced, text (in the delivery's arena) */
	const char *host;        /* remote name, or NULL */
	struct ip ip;            /* remote address; family 0: none */
	const char *source;      /* our own address and proxy, where they were chosen; or NULL */
	const char *tls;         /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or NULL */
	const char *tls_wanted;  /* "dane, TLSA of _25._tcp.mx.example.org", or NULL: nothing was asked for */
	const char *tls_reached; /* "dane", "verified", "unverified (hostname mismatch)", "plain", or NULL: it didn't come to that */
};
