/* A signature field, read but not yet judged: DKIM-Signature (RFC 6376 section 3.5), ARC-Message-Signature and
 * ARC-Seal (RFC 8617 sections 4.1.2 and 4.1.3), and the key record that belongs to it. Pure. */
#pragma once

#include "identity/canon.h"
#include "identity/tags.h"
#include "mail/header.h"

enum signature_kind { SIGNATURE_DKIM, SIGNATURE_ARC, SIGNATURE_SEAL };
enum signature_algorithm { ALGORITHM_RSA_SHA256, ALGORITHM_ED25519_SHA256, ALGORITHM_RSA_SHA1 };

#define SIGNED_FIELDS_MAX 256u /* names in h= */

struct signature {
	enum signature_kind kind;
	struct header_field field;
	enum signature_algorithm algorithm;
	enum canon header, body;
	const char *domain;    /* d=, as A-labels in lower case; "" when it could not be read */
	const char *selector;  /* s=; the same */
	const char *identity;  /* i= of DKIM; "@" and the domain when it is absent */
	const char *identity_domain;
	struct slice signed_fields; /* h= */
	struct slice value, body_value; /* b= and bh=, decoded */
	uint64_t length;       /* l=; BODY_ALL */
	uint64_t time, expires; /* t= and x=, seconds; 0: not there */
	unsigned instance;     /* i= of ARC */
	struct slice chain;    /* cv= of a seal */
	/* NULL when it was read well; else what is wrong with it, a sentence: permerror. */
	const char *error;
};

/* Always fills *ret (error says what was wrong); -ENOMEM. Texts lie in the arena or point into the field. */
int signature_parse(enum signature_kind kind, const struct header_field *field, struct arena *a, struct signature *ret);
const char *signature_algorithm_name(enum signature_algorithm a); /* "rsa-sha256" */

/* A key record (RFC 6376 section 3.6.1). */
struct key_record {
	bool ed25519;       /* k= */
	struct slice data;  /* p=, decoded; empty: revoked */
	struct slice hashes; /* h=; data NULL: all */
	struct slice services; /* s=; data NULL: all */
	bool testing;       /* t=y */
	bool strict;        /* t=s: i= must have the very domain of d= */
};
/* -EINVAL: not a key record; -ENOPKG: of a kind that we don't know (k=). */
int key_record_parse(struct slice text, struct arena *a, struct key_record *ret);
/* Is word one of the words between colons? */
bool key_list_has(struct slice list, const char *word);
