/* Public-key signatures as DKIM has them: RSA with PKCS #1 version 1.5 (RFC 6376 section 3.3) and Ed25519 over a
 * SHA-256 digest (RFC 8463 section 3). */
#pragma once

#include <openssl/evp.h>

#include "base/arena.h"

static inline void evp_pkey_freep(EVP_PKEY **key) { EVP_PKEY_free(*key); }

/* A public key as records have it: for RSA a SubjectPublicKeyInfo or a bare RSAPublicKey, for Ed25519 the 32 bytes.
 * -EINVAL: it is none; -ENOMEM. */
int crypto_public_key(bool ed25519, struct slice data, EVP_PKEY **ret);
/* A private key from PEM. -EINVAL: none; -ENOPKG: neither RSA nor Ed25519; -ENOMEM. */
int crypto_private_key(struct slice pem, EVP_PKEY **ret);
bool crypto_is_ed25519(const EVP_PKEY *key);

/* 1: the signature is that of the data; 0: it isn't; -ENOMEM. */
int crypto_verify(EVP_PKEY *key, struct slice data, struct slice signature);
/* The signature in Base64, in the arena. It takes a millisecond with RSA: world_offload is the place for it.
 * -EIO: OpenSSL failed; -ENOMEM. */
int crypto_sign(EVP_PKEY *key, struct slice data, struct arena *a, const char **ret);
/* Bytes as Base64, in the arena; NULL: memory. */
char *crypto_base64(struct arena *a, const unsigned char *data, size_t len);
