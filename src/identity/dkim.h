/* DKIM (RFC 6376, with RFC 8301, 8463 and 8616): the signatures of a message judged, and signatures made.
 *
 * Both work on a struct content that was fed to its end: it holds the header fields, the parsed signatures and the
 * hashes of the body. */
#pragma once

#include "dns/resolver.h"
#include "identity/crypto.h"
#include "identity/key_cache.h"
#include "identity/content.h"

/* The words of RFC 8601 section 2.7.1. */
enum dkim_word { DKIM_NONE, DKIM_PASS, DKIM_FAIL, DKIM_POLICY, DKIM_NEUTRAL, DKIM_TEMPERROR, DKIM_PERMERROR };
const char *dkim_word_text(enum dkim_word word);

struct dkim_limits {
	unsigned min_rsa_bits; /* 0: 1024 (RFC 8301 section 3.2) */
	unsigned max_rsa_bits; /* 0: 8192: longer ones only cost */
	unsigned keys;         /* records at one selector that are tried; 0: 4 */
	struct key_cache *known; /* keys that were read before; NULL: none are kept */
	unsigned clock_skew;   /* seconds that a signature may come from the future; 0: 10 hours */
};

struct dkim_result {
	enum dkim_word word;
	const char *domain, *selector, *identity; /* "" when the field doesn't say */
	const char *algorithm;                    /* "rsa-sha256" */
	const char *start;                        /* the first 8 characters of b=, for header.b (RFC 6008) */
	const char *reason;                       /* for people; never NULL */
	unsigned bits;                            /* of the key; 0: unknown */
	bool testing;                             /* the key is marked t=y */
	bool weak;                                /* l= leaves a part of the body unsigned */
};

/* The n-th DKIM signature. From a fiber: it asks for the key. now: calendar time. 0 with a word, -ECANCELED, -ENOMEM.
 * limits may be NULL. */
int dkim_verify(struct resolver *r, const struct content *m, unsigned n, const struct dkim_limits *limits, wall_t now,
		usec_t deadline, struct arena *a, struct dkim_result *ret);
/* The same for any signature whose octets are known: ARC's. covered: what was signed, in canonical form; body: the
 * hash of the body, NULL when the signature has none. */
int dkim_verify_data(struct resolver *r, const struct signature *s, const struct slice *covered, const struct body_hash *body,
		     const struct dkim_limits *limits, wall_t now, usec_t deadline, struct arena *a, struct dkim_result *ret);
/* What a signature with these fields covers: the fields, then the signature's own without its value. */
int dkim_covered(const struct content *m, enum canon canon, struct slice names, struct slice own, struct buffer *out);

/* --- signing ------------------------------------------------------------------------------------------------ */

struct dkim_key {
	EVP_PKEY *key; /* stays the caller's */
	const char *domain, *selector;
};

/* Which fields are signed: those named in `once` as often as they are there, those in `oversigned` once more, so that
 * another one breaks the signature (RFC 6376 section 8.15). A list that is NULL is our own; From is always oversigned. */
struct dkim_fields {
	const char *const *once, *const *oversigned;
	unsigned n_once, n_oversigned;
};

struct dkim_signing {
	struct dkim_fields fields;
	enum canon header, body;
	const char *identity;     /* i=, or NULL */
	wall_t time;              /* t=; 0: none */
	usec_t lifetime;          /* x= is that much later; 0: none */
};

/* Before the message is fed: see to it that the body is hashed as the signature needs it. */
int dkim_sign_prepare(struct content *m, const struct dkim_signing *how);
/* Appends a DKIM-Signature field, folded, with its CRLF. -EINVAL: the message has no From, or is malformed, or
 * has so many fields that verifiers would not read h= to its end; -EIO; -ENOMEM. It takes a millisecond with RSA. */
int dkim_sign(const struct content *m, const struct dkim_key *key, const struct dkim_signing *how, struct arena *a,
	      struct buffer *out);
/* The names for h=, with colons: NULL when memory is out. For ARC, too. fields NULL: our own lists. */
const char *dkim_names_to_sign(const struct content *m, const struct dkim_fields *fields, struct arena *a);
/* Are they as few as verifiers read? */
bool dkim_names_fit(const char *names);
/* Appends such names, folded; and what follows "b=", in lines of 72 characters, and CRLF. */
void dkim_append_names(struct buffer *out, const char *names);
void dkim_append_folded(struct buffer *out, const char *base64);
