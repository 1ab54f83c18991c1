/* An identity is a certificate with its chain and its key, as read from two files; a keyring is all of them that a
 * server has, of which it shows the ones that fit the name a client asks for (SNI, RFC 6066 section 3).
 *
 * The first identity is the default: shown to whoever asks for no name, or for one that nobody here has. With an
 * identity of RSA and one of ECDSA for the same name both are at hand, and OpenSSL takes the one that the client
 * understands. A keyring never changes: renewed files make a new one. */
#pragma once

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "tls/tls.h"

#define IDENTITY_KINDS 6u /* of keys, side by side for one name */

struct tls_identity {
	const char *path; /* of the certificate, for messages: the configuration's */
	X509 *certificate;
	STACK_OF(X509) *chain; /* without the certificate; may be empty */
	EVP_PKEY *key;
	char **names; /* DNS names, "*.example.org" for one label */
	unsigned n_names;
};
/* Reads both files. On failure *ret_why says which file and what is wrong with it (on the heap). */
int tls_identity_load(struct world *w, const struct tls_certificate *config, struct tls_identity **ret, char **ret_why);
void tls_identity_free(struct tls_identity *i);
DEFINE_FREEP(struct tls_identity, tls_identity_free)

struct tls_keyring {
	atomic_uint references;
	unsigned n;
	struct tls_identity **identities;
};
/* The single pair of the configuration first, if there is one, then the list. -EINVAL when there is none at all. */
int tls_keyring_load(struct world *w, const struct tls_server_config *config, struct tls_keyring **ret, char **ret_why);
struct tls_keyring *tls_keyring_ref(struct tls_keyring *k);
void tls_keyring_unref(struct tls_keyring *k);
DEFINE_FREEP(struct tls_keyring, tls_keyring_unref)

/* The identities to show to a client that asks for this name: at most one for each kind of key, an exact name before
 * a pattern, earlier ones of the configuration first. Returns how many; 0: nobody here has the name. */
unsigned tls_keyring_find(const struct tls_keyring *k, struct slice name, const struct tls_identity *ret[static IDENTITY_KINDS]);
/* The default, and what goes beside it. */
unsigned tls_keyring_default(const struct tls_keyring *k, const struct tls_identity *ret[static IDENTITY_KINDS]);
