/* The steps of a handshake that both sides share, for the files of this room. */
#pragma once

#include "tls/context.h"
#include "tls/transport.h"

/* OpenSSL's level of 112 bits (RSA from 2,048 up), as RFC 9325 section 4.5 asks for where the certificate counts. */
#define LEVEL_VERIFIED 2

/* Puts TLS on the stream's transport, without a word to the peer yet. Whatever was sent before the handshake was not
 * protected by it and must not be read as if it were (RFC 3207 section 4.2): the caller decides about it first, and here it
 * is -EPROTO. */
int tls_begin(struct tls_context *c, struct stream *s, struct tls_transport **ret, const char **ret_why);
/* The handshake itself; then the stream is encrypted, or as it was with t gone: *ret_failure says why, with
 * the errors of tls_connect. */
int tls_shake_hands(struct tls_transport *t, struct stream *s, usec_t deadline, struct arena *a, struct tls_info *ret,
		    struct tls_failure *ret_failure);
/* What a result of X509_verify_cert means. */
enum tls_rejection tls_rejection_of(long verify_result);
