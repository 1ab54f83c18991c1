/* Keys of our own, with which we sign: as the record that the world must find in the DNS, and compared with what is
 * really there. */
#pragma once

#include "identity/dkim.h"

/* RFC 8301 section 3.2: signers should have this many bits of RSA at least. */
#define OWN_KEY_BITS 2048u

/* "s1._domainkey.example.org", in the arena. NULL: memory. */
char *own_key_name(struct arena *a, const char *selector, const char *domain);
/* "v=DKIM1; k=rsa; p=...", in the arena. -ENOMEM. */
int own_key_record(const EVP_PKEY *key, struct arena *a, const char **ret);
/* Appends such a text as a TXT record in master-file form (RFC 1035 section 5.1): in strings of at most 255 octets, in
 * parentheses when there are several, with a newline at the end. */
void own_key_zone_line(const char *name, const char *record, struct buffer *out);
/* Is it a selector: labels of letters, digits and hyphens (RFC 6376 section 3.1)? */
bool own_key_selector_is_valid(struct slice s);

enum key_finding {
	KEY_SAME,    /* the world finds our key */
	KEY_MISSING, /* there is no record */
	KEY_OTHER,   /* a record with another key */
	KEY_REVOKED, /* its p= is empty */
	KEY_UNUSABLE, /* our key, but the record forbids what we do with it; or no key record at all */
	KEY_UNKNOWN, /* the DNS can't say now */
};
/* "same", "missing"... */
const char *key_finding_text(enum key_finding finding);

struct key_comparison {
	enum key_finding finding;
	bool testing;       /* t=y */
	unsigned records;   /* more than one is undefined (RFC 6376 section 3.6.2.2) */
	const char *reason; /* for people; never NULL */
};
/* From a fiber. 0 with a finding, -ECANCELED, -ENOMEM. Texts are in the arena. */
int own_key_compare(struct resolver *r, const char *domain, const char *selector, const EVP_PKEY *key, usec_t deadline,
		    struct arena *a, struct key_comparison *ret);
