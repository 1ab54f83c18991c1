/* The Received field, our stamp on a message (RFC 5321 section 4.4, RFC 3848, RFC 6531 section 3.7.3).
 *
 * Everything that comes from the network is cleaned before it is written: a HELO name that is no domain
 * and no address literal is shown inside a comment with its dangerous characters replaced, so that no
 * client can add lines or close a comment early. */
#pragma once

#include "base/buffer.h"
#include "base/id.h"
#include "base/net.h"

enum transmission {
	TRANSMISSION_EXTENDED = 1, /* EHLO or LHLO, not HELO */
	TRANSMISSION_TLS = 2,
	TRANSMISSION_AUTH = 4,
	TRANSMISSION_LMTP = 8,
	TRANSMISSION_UTF8 = 16, /* the message came with SMTPUTF8 */
};
/* The word behind "with": SMTP, ESMTP, ESMTPSA, LMTPS, UTF8SMTPS... Static text. */
const char *transmission_name(unsigned transmission);

struct received {
	const char *helo;         /* what the client called itself; NULL or "": unknown */
	const char *client_name;  /* its reverse name, checked by the caller; NULL: unknown */
	const struct ip *client;  /* NULL: not over the network (local submission) */
	const char *host;         /* ourselves */
	const char *protocol;     /* transmission_name() */
	const char *id;           /* the message's id as text */
	const char *tls_version, *tls_cipher; /* both or none (NULL) */
	unsigned tls_bits;        /* 0: not said */
	const char *tls_group;    /* of the key exchange; NULL or "": not said */
	const char *tls_client;   /* subject of the client's certificate; NULL: it showed none */
	bool tls_client_verified;
	/* The recipient when there is exactly one, else NULL: with several, each would learn of the others
	 * (RFC 5321 section 7.2). local@domain without brackets. */
	const char *recipient;
	const char *solicit;      /* RFC 3865 section 2.6: the classes that the sender named; NULL: none */
	const int *priority;      /* RFC 6710 section 7: when it was given; else NULL */
	wall_t when;
};
/* Appends the field, folded, with its CRLF. */
void received_format(const struct received *r, struct buffer *out);
/* Appends "Return-Path: <path>" CRLF; path may be "" (RFC 5321 section 4.4). Control characters are
 * replaced. */
void return_path_format(const char *reverse_path, struct buffer *out);
