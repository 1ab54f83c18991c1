/* A message as signatures see it: read once, in pieces of any size, while it goes by.
 *
 * The header section is kept (up to a limit). When its blank line has been seen, the signatures in it are read and
 * it is settled which hashes of the body they need; the body then only passes through these, each (digest,
 * canonicalization, length) once for all signatures that share it. After content_end the message is what dkim.h,
 * arc.h and dmarc.h judge.
 *
 * What stands between header and body must be a blank line. A line there that is no field would be header to one
 * reader and body to another, so such a message has no signature that could be verified: `malformed` says so. */
#pragma once

#include "identity/signature.h"

struct content;
struct content_config {
	size_t header;       /* octets of the header section; 0: 1 MiB */
	unsigned fields;     /* 0: 2,000 */
	unsigned signatures; /* DKIM-Signature fields that are verified; 0: 10 */
	bool unverified;     /* its signatures are not even read: it is ours, and to be signed */
	/* Called when the header is complete and split, before the first octet of the body is hashed: the time for
	 * content_want_hash by what the header says. May be NULL. */
	int (*header_ready)(struct content *m, void *context);
	void *context;
};

#define ARC_SETS_MAX 50u       /* RFC 8617 section 5.2 */
#define DKIM_FIELDS_MAX 100u   /* more of them are not even listed */

/* The three fields of one instance; name.data NULL: missing. */
struct arc_set {
	struct header_field results;
	struct signature message, seal;
	bool has_results, has_message, has_seal;
};

struct content {
	const char *malformed; /* why nothing here can be verified; NULL: it is well */
	unsigned n_fields;
	struct header_field *fields; /* in the order of the message; they point into the header section */
	unsigned n_signatures;       /* DKIM */
	struct signature *signatures;
	unsigned n_sets;             /* ARC: the highest instance */
	struct arc_set *sets;        /* [0] is instance 1 */
	const char *arc_error;       /* the sets are not complete or not well: why; NULL */
	unsigned n_hashes;
	struct body_hash *hashes;
	uint64_t body_octets;        /* as they came */

	/* inside */
	struct arena *arena;
	struct content_config limits;
	bool bare_lf, header_done, ended, too_long;
	char last;
	uint64_t line;
	unsigned capacity;
	struct buffer header;
};

/* bare_lf: a bare LF counts as CRLF (a file on disk). The arena gets what the message points to and must outlive it. */
int content_new(struct arena *a, const struct content_config *limits, bool bare_lf, struct content **ret);
void content_free(struct content *m);
DEFINE_FREEP(struct content, content_free)
/* For who will sign: hash the body so, too. Before the first piece, or in header_ready. -ENOMEM. */
int content_want_hash(struct content *m, enum canon canon, uint64_t limit);
/* -ENOMEM, after which the message is of no use. */
int content_feed(struct content *m, struct slice piece);
int content_end(struct content *m);
/* For who will sign, after the end: these fields stand in front of the others. The text must outlive the message.
 * -ENOMEM. */
int content_front(struct content *m, struct slice fields);
/* The hash (SHA-256) of the body, after the end; NULL when nobody asked for it. */
struct body_hash *content_hash(const struct content *m, enum canon canon, uint64_t limit);
/* The n-th field of that name from the bottom (0: the last), or NULL. */
const struct header_field *content_field(const struct content *m, struct slice name, unsigned n);
