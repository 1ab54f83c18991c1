/* A transport that encrypts: it sits on another one, which it reaches through OpenSSL's BIO interface.
 *
 * Its life: tls_transport_new puts it on top of a transport without taking that over; the handshake runs
 * through tls_transport_handshake; then either tls_transport_adopt makes it the owner of the transport
 * below, or transport_close throws it away and the transport below stays as it is.
 *
 * OpenSSL keeps its errors per thread, so each call of it begins with an empty queue and what it left there
 * is read before anything can wait. */
#pragma once

#include <openssl/ssl.h>

#include "tls/tls.h"

struct tls_transport;

BIO_METHOD *tls_bio_method_new(void); /* NULL when memory is out */

/* -ENOMEM. */
int tls_transport_new(struct tls_context *c, struct transport *inner, struct tls_transport **ret);
SSL *tls_transport_ssl(struct tls_transport *t);
struct transport *tls_transport_base(struct tls_transport *t);
/* NULL when the transport is none of ours. */
struct tls_transport *tls_transport_of(struct transport *t);

/* One step after the other until it is done. -EPROTO with the reason left in OpenSSL's queue of this thread (no
 * wait follows), or the error of the wait or of the transport below; *ret_eof: the peer closed the connection. */
int tls_transport_handshake(struct tls_transport *t, usec_t deadline, bool *ret_eof);
void tls_transport_adopt(struct tls_transport *t);
