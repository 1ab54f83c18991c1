/* What lies behind a struct tls_context, for the files of this room. */
#pragma once

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "tls/identity.h"

#define TLS_CONTEXT_MAGIC 0x715c0001u

struct tls_context {
	unsigned magic;
	atomic_uint references;
	struct world *world;
	bool server;
	struct tls_keyring *keyring; /* of a server */
	SSL_CTX *ssl_ctx;
	BIO_METHOD *bio_method; /* of the bridge between OpenSSL and our transports */
};
