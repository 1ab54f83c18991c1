/* The canonical forms of DKIM (RFC 6376 section 3.4), header fields and body, and the hash of a body as it goes by.
 *
 * Lines end with CRLF; a bare CR or LF is an octet like others. */
#pragma once

#include <openssl/evp.h>

#include "base/buffer.h"

enum canon { CANON_SIMPLE, CANON_RELAXED };

/* Appends a whole field ("Name: value" with folds, with or without its last CRLF) in canonical form, CRLF included
 * when with_end. */
void canon_field(enum canon canon, struct slice raw, bool with_end, struct buffer *out);
/* The field with the value of its tag b= gone, white space around it, too (section 3.7). */
void canon_remove_signature(struct slice raw, struct buffer *out);

#define BODY_ALL UINT64_MAX
#define BODY_STAGE 1024u

struct body_hash {
	/* what was asked for */
	const EVP_MD *digest;
	enum canon canon;
	uint64_t limit;         /* octets of the canonical body (l=); BODY_ALL */
	/* what came of it, after body_hash_end */
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned value_len;
	uint64_t octets;        /* of the canonical body, also behind the limit */
	/* inside */
	EVP_MD_CTX *context;
	uint64_t blank_lines;   /* line ends that may yet turn out to be the last */
	bool cr, space, failed;
	unsigned staged;
	char stage[BODY_STAGE];
};

/* -ENOMEM, also when OpenSSL has no such digest. */
int body_hash_init(struct body_hash *h, const EVP_MD *digest, enum canon canon, uint64_t limit);
void body_hash_feed(struct body_hash *h, struct slice piece);
int body_hash_end(struct body_hash *h); /* -EIO: OpenSSL failed */
void body_hash_done(struct body_hash *h); /* frees; also of a zeroed one */
