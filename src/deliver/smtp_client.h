/* An SMTP client is one connection to one address of a server, ready for transactions:
 *
 *   smtp_client_open   connects, hears the greeting, says EHLO (HELO to servers of the last century, LHLO to an
 *                      LMTP server), starts TLS as the policy says, logs in where there is a login
 *   ...                transactions: smtp_transaction.h
 *   smtp_client_close  QUIT, when the connection is still good
 *
 * The waits are those of RFC 5321 section 4.5.3.2. */
#pragma once

#include "deliver/failure.h"
#include "route/policy.h"
#include "smtp/extensions.h"
#include "smtp/line.h"

struct smtp_peer {
	struct endpoint endpoint;
	const char *host;         /* for certificate and texts; NULL: only the address is known */
	enum tls_policy tls;      /* to be reached; TLS_DANE with a policy only */
	const struct host_policy *policy; /* why, and by what records; NULL: somebody else's connection. Used by the opening alone */
	bool implicit_tls;
	bool lmtp;
	const struct relay *login; /* by what it says (relay_has_login); NULL: none */
	struct ip from;              /* our own address; family 0: any */
	const struct source *source; /* whose it is, with its name and proxy; NULL: none was asked for */
	const char *protected_by;    /* TLS protects the connection already: this; or NULL */
	struct stream **connected;   /* a connection to it that stands already: whoever opens first takes it; or NULL */
	usec_t until;                /* of the attempt as a whole; 0: no limit */
};

struct smtp_client {
	struct deliverer *deliverer;
	const struct deliver_settings *settings;
	struct smtp_peer peer;
	struct arena *arena;
	struct stream *stream;
	struct line_reader lines;
	struct extensions extensions;
	struct remote remote;
	bool encrypted;
	bool verified;       /* and the certificate is the right one, by a CA and its name */
	bool dane;           /* or by a TLSA record: of this base domain, and, with DANE-TA, by this name in it (else "") */
	const char *dane_base, *dane_name;
	const char *greeting; /* the name it gave itself there, or NULL */
	unsigned messages;   /* whose content was sent here */
	unsigned mails;      /* transactions that were begun */
	enum bdat_known bdat; /* does BDAT work at this host? */
	bool proven;         /* a transaction came to its end here */
	bool needs_rset;     /* a transaction is open at the server that we have given up */
	usec_t until;        /* no wait of the attempt that is under way is longer */
};

/* The settings and the strings of the peer must outlive the client. On failure (-errno) *ret_failure says why, its
 * strings in `scratch`. */
int smtp_client_open(struct deliverer *d, const struct deliver_settings *settings, const struct smtp_peer *peer,
		     struct arena *scratch, struct smtp_client **ret, struct outcome *ret_failure);
/* polite: says QUIT and waits a moment for the answer (RFC 5321 section 4.1.1.10). NULL is fine. */
void smtp_client_close(struct smtp_client *c, bool polite);

/* The end of a wait of this length. */
usec_t smtp_client_deadline(const struct smtp_client *c, usec_t timeout);
/* What a time-out was: -ETIME when it was that of the attempt as a whole. Others as they are. */
int smtp_client_error(const struct smtp_client *c, int error);
/* Notes whether BDAT works at this host, for this connection and later ones. */
void smtp_client_learn_bdat(struct smtp_client *c, enum bdat_known what);
/* One command and its reply. text: without CRLF; NULL: there was no memory for it, -ENOMEM. -errno: the connection is lost; -EALREADY: there is a reply already
 * that nobody asked for. */
int smtp_client_ask(struct smtp_client *c, const char *text, usec_t timeout, struct arena *a, struct reply *ret);
/* The next reply. */
int smtp_client_reply(struct smtp_client *c, usec_t timeout, struct arena *a, struct reply *ret);
/* The one to the content, by smtp_read_verdict. */
int smtp_client_verdict(struct smtp_client *c, usec_t timeout, struct arena *a, struct reply *ret);
