/* What happened to a message, as `yizhan trace ID` will tell it.
 *
 * Any room emits through the sink that it was handed; where the events go (the journal) is admin's
 * business, so no room has to know it. An event has the message's id (MSGID_NONE for those of the
 * server itself), the time, a kind from the list below, and named fields. */
#pragma once

#include "base/id.h"
#include "base/log.h"

/* Kinds. Each names what happened, in the past tense where it is done. */
#define EVENT_RECEIVED "received"     /* accepted and durable: from, client, helo, protocol, tls, user, size, recipients */
#define EVENT_SIGNED "signed"         /* by: domains and selectors of its DKIM signatures */
#define EVENT_REPEATED "repeated"     /* offered once more by a client that had not had our 250: client, helo; not queued again */
#define EVENT_VERIFIED "verified"     /* who it is really: spf, dkim, arc, dmarc, iprev, each a word and its reason */
#define EVENT_REFUSED "refused"       /* refused at the door: stage, reply, client, from, to */
#define EVENT_ROUTED "routed"         /* to, rule, ladder, rung, hop, site */
#define EVENT_ATTEMPT "attempt"       /* to, host, address, source (ours), tls, tls_wanted, tls_reached, reply, class, outcome */
#define EVENT_DELIVERED "delivered"   /* to, hop, host, reply */
#define EVENT_DEFERRED "deferred"     /* to, reason, class, next (RFC 3339), attempts */
#define EVENT_FAILED "failed"         /* to, reason, class */
#define EVENT_STEPPED "stepped"       /* to, from_hop, to_hop, because: the next rung of the ladder */
#define EVENT_BOUNCED "bounced"       /* dsn (id of the new message), action */
#define EVENT_LOGIN_FAILED "login_failed" /* client, user (as given), mechanism, reason */
#define EVENT_LOCKED_OUT "locked_out"     /* client or user, for (how long): too many logins failed */
#define EVENT_HELD "held"             /* to, reason; or the rule that held it when it came */
#define EVENT_RELEASED "released"
#define EVENT_REMOVED "removed"       /* by an administrator */
#define EVENT_DONE "done"             /* nothing is left of it in the spool */

struct event_sink {
	/* May be called from any thread and must not wait. */
	void (*emit)(void *context, msgid_t id, const char *kind, const struct field *fields, size_t n);
	void *context;
};

/* sink may be NULL. */
#define EVENT(sink, id, kind, ...)                                                                  \
	do {                                                                                        \
		const struct event_sink *_sink = (sink);                                            \
		if (_sink) {                                                                        \
			const struct field _fields[] = { __VA_ARGS__ };                             \
			_sink->emit(_sink->context, (id), (kind), _fields,                          \
				    sizeof(_fields) / sizeof(struct field));                        \
		}                                                                                   \
	} while (0)
