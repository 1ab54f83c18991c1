/* Our own mail on its way out of our hands: signed with the keys of its author's domain (RFC 6376 section 5).
 *
 *	signing_begin    whose mail it is, is known; which domain, is not yet
 *	signing_feed     every octet of the message as it is stored goes by. When the header is complete, its From decides which
 *	                 keys sign, and the body is hashed as they want it; without such keys nothing more is done
 *	signing_finish   the fields that go in front of the message; the private keys work on the worker pool
 *
 * Nothing of the body is kept. The configuration is const and outlives all messages that began under it. */
#pragma once

#include "identity/dkim.h"

struct signing_key {
	const char *selector, *file;
	EVP_PKEY *key;
	wall_t begin, end; /* it signs from `begin` on and before `end`; 0: without such a bound */
};

struct signing_domain {
	const char *domain;      /* d=, as A-labels in lower case */
	const char *const *from; /* patterns for the author's address; none: see signing_domain_matches */
	unsigned n_from;
	struct signing_key *keys;
	unsigned n_keys;
	enum canon header, body;
	usec_t expire;           /* x= is so long after t=; 0: no x= */
	struct dkim_fields fields;
};

struct signing_seal {
	const char *domain;
	struct signing_key key;
};

struct signing_config {
	const struct signing_domain *domains;
	unsigned n_domains;
	const struct signing_seal *seal; /* ARC; NULL: nothing is sealed */
};

/* Is there anything that could be signed? */
static inline bool signing_is_configured(const struct signing_config *c)
{
	return c && c->n_domains > 0;
}
bool signing_key_is_valid(const struct signing_key *key, wall_t now);
/* Does this entry sign for the address (domain as A-labels in lower case)? With patterns, when one matches (with an @ it is
 * compared with the address, without with the domain); without, for its own domain and those below, as far as no other entry
 * without patterns is closer. */
bool signing_domain_matches(const struct signing_config *c, const struct signing_domain *d, const char *address);

struct signing;
/* reverse_path: counts when From names no domain of ours. The arena outlives it. -ENOMEM. */
int signing_begin(const struct signing_config *c, const char *reverse_path, wall_t now, struct arena *a, struct signing **ret);
/* Before anything is fed: for an author whose address the sender may not use, as `may` says, From chooses no key. Without that,
 * whoever logs in could have his mail signed in the name of every domain of this server. */
void signing_restrict(struct signing *s, bool (*may)(void *context, const char *address), void *context);
/* -ENOMEM, after which it can't be signed. */
int signing_feed(struct signing *s, struct slice piece);
/* From a fiber. front: fields that stand above all that was fed, and below the signatures. Appends the DKIM-Signature fields, one for each key, each with its CRLF; none when no key of ours is for this
 * author, or none signs at this time. -EINVAL: there are keys, but such a message can't be signed (*ret_why says why; it may go
 * out as it is); -EIO, -ENOMEM: it may not. ret_n: how many signatures. */
int signing_finish(struct signing *s, struct world *w, struct slice front, struct buffer *out, unsigned *ret_n, const char **ret_why);
/* The entry that would have signed, but has no key for this time; NULL. After the header. */
const struct signing_domain *signing_without_key(const struct signing *s);
/* Who signed, for the trace: "example.org (r202611, e202611)". */
void signing_describe(const struct signing *s, struct buffer *out);
void signing_free(struct signing *s);
DEFINE_FREEP(struct signing, signing_free)

/* All of it at once, for a message of our own making that lies in memory. As signing_finish. */
int signing_sign(const struct signing_config *c, struct world *w, struct slice message, struct buffer *out, unsigned *ret_n);
