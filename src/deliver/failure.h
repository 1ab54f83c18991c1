/* Outcomes in the making: the words for what went wrong, by whom it was said, and what it means for the site. */
#pragma once

#include "deliver/deliverer.h"

/* Who is talked to; for the texts and for the outcome. */
struct remote {
	const char *host; /* name; NULL: only the address */
	struct ip ip;     /* family 0: none (a unix socket) */
	const char *tls;  /* "TLSv1.3 ...", NULL: plain */
	const char *tls_wanted, *tls_reached; /* as those of an outcome */
	const char *source; /* our own address, where one was chosen; NULL: none was */
	struct ip local;  /* our own end of the connection; family 0: not known, or behind a proxy */
};

/* "mx.example.org [192.0.2.1]". In the arena; never NULL. */
const char *remote_name(const struct remote *remote, struct arena *a);

/* An outcome in our own words: temporary when code is 4xx, final when it is 5xx. */
void failure_local(struct outcome *ret, enum stage stage, enum reply_class class, int code, int subject, int detail,
		   const char *text);
/* Does this reply to RCPT mean that the server takes no more recipients in this transaction (RFC 5321 section
 * 4.5.3.1.10)? */
bool reply_may_mean_surplus(const struct reply *reply);
/* Who it was, and how well protected. */
void outcome_about(struct outcome *o, const struct remote *remote);
/* What a remote server said, refusing. */
void failure_reply(struct outcome *ret, enum stage stage, const struct remote *remote, const struct reply *reply);
/* The connection failed, ended or timed out at a stage. error: negative errno; -EALREADY: a reply came that nothing
 * had been asked for, so that no later one could be trusted; -ENOMEM: our own trouble, and not the site's. */
void failure_connection(struct outcome *ret, enum stage stage, const struct remote *remote, int error, struct arena *a);
/* The same with other words for what happened; NULL: as the error says. */
void failure_connection_because(struct outcome *ret, enum stage stage, const struct remote *remote, int error, const char *why,
				struct arena *a);

/* A copy whose strings lie in the arena. When memory is out, texts are missing. */
void outcome_copy(const struct outcome *from, struct arena *a, struct outcome *ret);
/* Gives every recipient without an outcome a copy. */
void failure_spread(const struct outcome *from, struct delivery *d);
