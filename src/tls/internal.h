/* What the files of this room share: the context and the transport. */
#pragma once

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "tls/tls.h"

struct tls_context {
	atomic_uint references;
	struct world *world;
	SSL_CTX *ssl_ctx;
	BIO_METHOD *bio_method;
	bool server;
};

/* A transport over another one. OpenSSL reads and writes through a BIO that never waits; who waits is the fiber,
 * in wait(), for the direction that OpenSSL asked for. */
struct tls_transport {
	struct transport transport;
	struct transport *inner; /* owned */
	SSL *ssl;
	struct tls_context *context; /* a reference */
	char *record;            /* small pieces of a writev are put together here: one TLS record, not many */
	size_t record_len;       /* bytes in it that SSL_write has not taken yet */
	unsigned blocked_on;     /* WAIT_READ or WAIT_WRITE: what the last -EAGAIN of OpenSSL wants */
	int inner_error;         /* the -errno that the inner transport gave last */
};

/* How OpenSSL reaches the inner transport; NULL when memory is out. */
BIO_METHOD *tls_bio_method_new(void);
/* Takes the inner transport over; NULL when memory is out (the inner one is then untouched). */
struct tls_transport *tls_transport_new(struct tls_context *c, SSL *ssl, struct transport *inner);
/* The TLS transport of a stream, or NULL. */
struct tls_transport *tls_transport_of(struct stream *s);

/* The newest error of this thread's queue as text, and the queue emptied. */
const char *tls_error_text(char *out, size_t size);
/* What an SSL call's failure means: -EAGAIN (and blocked_on is set), 0 at an orderly end, -errno. */
int tls_failure(struct tls_transport *t, int ssl_result);
