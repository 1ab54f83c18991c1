/* The table of SMTP service extensions: the one place where the EHLO keywords stand (extensions.c), for
 * what we announce and for what a peer announces (RFC 5321 section 4.1.1.1). */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/time.h"
#include "smtp/reply.h"

enum extension {
	EXT_PIPELINING = 1u << 0,          /* RFC 2920 */
	EXT_SIZE = 1u << 1,                /* RFC 1870 */
	EXT_8BITMIME = 1u << 2,            /* RFC 6152 */
	EXT_ENHANCEDSTATUSCODES = 1u << 3, /* RFC 2034 */
	EXT_DSN = 1u << 4,                 /* RFC 3461 */
	EXT_SMTPUTF8 = 1u << 5,            /* RFC 6531 */
	EXT_CHUNKING = 1u << 6,            /* RFC 3030 */
	EXT_BINARYMIME = 1u << 7,          /* RFC 3030 */
	EXT_STARTTLS = 1u << 8,            /* RFC 3207 */
	EXT_AUTH = 1u << 9,                /* RFC 4954 */
	EXT_REQUIRETLS = 1u << 10,         /* RFC 8689 */
	EXT_LIMITS = 1u << 11,             /* RFC 9422 */
	EXT_ETRN = 1u << 12,               /* RFC 1985 */
	EXT_HELP = 1u << 13,
	EXT_VRFY = 1u << 14,
	EXT_DELIVERBY = 1u << 15,          /* RFC 2852 */
	EXT_MT_PRIORITY = 1u << 16,        /* RFC 6710 */
	EXT_FUTURERELEASE = 1u << 17,      /* RFC 4865 */
	EXT_RRVS = 1u << 18,               /* RFC 7293 */
	EXT_NO_SOLICITING = 1u << 19,      /* RFC 3865 */
	EXT_XCLIENT = 1u << 20,            /* of Postfix: who the client really is */
	EXT_XFORWARD = 1u << 21,           /* of Postfix: the same, for the log alone */
	EXT_EXPN = 1u << 22,
	EXT_ATRN = 1u << 23,               /* RFC 2645 */
};

enum auth_mechanism {
	AUTH_PLAIN = 1u << 0,
	AUTH_LOGIN = 1u << 1,
	AUTH_CRAM_MD5 = 1u << 2,
	AUTH_SCRAM_SHA_1 = 1u << 3,
	AUTH_SCRAM_SHA_1_PLUS = 1u << 4,
	AUTH_SCRAM_SHA_256 = 1u << 5,
	AUTH_SCRAM_SHA_256_PLUS = 1u << 6,
	AUTH_EXTERNAL = 1u << 7,
	AUTH_OAUTHBEARER = 1u << 8,
	AUTH_XOAUTH2 = 1u << 9,
};
/* The name as in SASL, for one bit; NULL for none. And back: 0 when it is not known. */
const char *auth_mechanism_name(unsigned mechanism);
unsigned auth_mechanism_from_name(struct slice name);

/* What one side of a connection has announced. Zeroed: nothing. */
struct extensions {
	unsigned bits;       /* enum extension */
	uint64_t size;       /* SIZE: octets; 0 with EXT_SIZE: no fixed limit */
	unsigned auth;       /* enum auth_mechanism */
	unsigned mail_max, rcpt_max, rcpt_domain_max; /* LIMITS; 0: not limited */
	unsigned by_min;     /* DELIVERBY: seconds below which BY=...;R is refused; 0: none */
	unsigned hold_max;   /* FUTURERELEASE: seconds */
	wall_t hold_until;   /* and the same as a time; we announce it only */
	const char *solicit; /* NO-SOLICITING: the classes that are refused, separated by commas; NULL: none. Ours only */
};

/* The EHLO keyword of one bit; NULL for none. */
const char *extension_name(unsigned bit);
/* And back, in any case of letters: 0 when there is none. */
unsigned extension_from_name(struct slice keyword);
/* The reply to EHLO (RFC 5321 section 4.1.1.1): appends "250-host greeting" and one line for each bit, in the
 * order of the table. greeting may be NULL. */
void extensions_format(const struct extensions *e, const char *host, const char *greeting, struct buffer *out);
/* Reads the reply to EHLO: the first line is the greeting, the others are keywords; those that we don't know
 * are passed over, and so is what is malformed. Also reads the old "AUTH=PLAIN LOGIN". r->text has
 * its lines separated by '\n' as in `lines`. */
void extensions_parse(struct slice lines, struct extensions *ret);
/* Adds one line without "250-". */
void extensions_parse_line(struct slice line, struct extensions *e);
