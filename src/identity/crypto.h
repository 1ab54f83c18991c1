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
/* A new key; bits: of RSA. With RSA it takes from a tenth of a second to some seconds: world_offload is the place for it.
 * -EINVAL: so many bits can't be; -EIO: OpenSSL failed; -ENOMEM. */
int crypto_generate(bool ed25519, unsigned bits, EVP_PKEY **ret);
/* The private key as PEM (PKCS #8), on the heap and terminated: the caller wipes and frees it. -ENOMEM. */
int crypto_private_pem(EVP_PKEY *key, char **ret);
/* The public key as records have it: of RSA a SubjectPublicKeyInfo, of Ed25519 the 32 bytes. In the arena. -ENOMEM. */
int crypto_public_bytes(const EVP_PKEY *key, struct arena *a, struct slice *ret);

/* 1: the signature is that of the data; 0: it isn't; -ENOMEM. */
int crypto_verify(EVP_PKEY *key, struct slice data, struct slice signature);
/* The signature in Base64, in the arena. It takes a millisecond with RSA: world_offload is the place for it.
 * -EIO: OpenSSL failed; -ENOMEM. */
int crypto_sign(EVP_PKEY *key, struct slice data, struct arena *a, const char **ret);
/* Bytes as Base64, in the arena; NULL: memory. */
char *crypto_base64(struct arena *a, const unsigned char *data, size_t len);
