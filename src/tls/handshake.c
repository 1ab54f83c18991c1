/* The handshake of both sides, and what it says about the peer. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/context.h"
#include "tls/transport.h"

/* OpenSSL's level of 112 bits (RSA from 2,048 up), as RFC 9325 section 4.5 asks for where the certificate counts. */
#define LEVEL_VERIFIED 2

/* --- why it failed ------------------------------------------------------------------------------------------ */

static const char *reason_text(unsigned long error)
{
	const char *text = ERR_reason_error_string(error);

	switch (ERR_GET_REASON(error)) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
		return "the peer did not speak TLS";
	case SSL_R_NO_SHARED_CIPHER:
		return "no cipher in common";
	case SSL_R_UNSUPPORTED_PROTOCOL:
		return "no TLS version in common";
	}
	return text ? text : "unknown reason";
}

/* A sentence for people, from the error queue of the thread as the handshake has just left it. */
static const char *explain(struct tls_transport *t, int r, bool eof, struct arena *a)
{
	unsigned long error = ERR_peek_error();
	SSL *ssl = tls_transport_ssl(t);

	if (r == -ETIMEDOUT)
		return "the TLS handshake took too long";
	if (r == -ECANCELED)
		return "the TLS handshake was cancelled";
	if (r == -EKEYREJECTED)
		return arena_printf(a, "the certificate was not accepted: %s", X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	if (eof)
		return "the connection was closed during the TLS handshake";
	if (r != -EPROTO)
		return arena_printf(a, "the connection failed during the TLS handshake: %s", strerror(-r));
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) >= SSL_AD_REASON_OFFSET)
		return arena_printf(a, "the peer broke off the TLS handshake: %s", reason_text(error));
	return arena_printf(a, "the TLS handshake failed: %s", reason_text(error));
}

/* --- what was negotiated --------------------------------------------------------------------------------------- */

static void fill_group(SSL *ssl, struct tls_info *info)
{
	int nid = SSL_get_negotiated_group(ssl);
	const char *name = nid > 0 ? SSL_group_to_name(ssl, nid) : NULL;

	(void) slice_copy(slice_from(name ? name : ""), info->group, sizeof(info->group));
}

static void fill_info(struct tls_transport *t, struct tls_info *ret)
{
	SSL *ssl = tls_transport_ssl(t);
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct tls_info info = { .bits = (unsigned) SSL_get_cipher_bits(ssl, NULL) };
	long verified = SSL_get_verify_result(ssl);

	(void) slice_copy(slice_from(SSL_get_version(ssl)), info.version, sizeof(info.version));
	(void) slice_copy(slice_from(SSL_get_cipher_name(ssl)), info.cipher, sizeof(info.cipher));
	fill_group(ssl, &info);
	info.peer_certificate = SSL_get0_peer_certificate(ssl) != NULL;
	info.verified = info.peer_certificate && verified == X509_V_OK;
	if (info.peer_certificate && !info.verified)
		(void) slice_copy(slice_from(X509_verify_cert_error_string(verified)), info.verify_error, sizeof(info.verify_error));
	if (sni)
		(void) slice_copy(slice_from(sni), info.sni, sizeof(info.sni));
	*ret = info;
}

/* --- the two sides ------------------------------------------------------------------------------------------------ */

static int shake_hands(struct tls_transport *t, struct stream *s, usec_t deadline, struct arena *a, struct tls_info *ret,
		       const char **ret_why)
{
	SSL *ssl = tls_transport_ssl(t);
	bool eof;
	int r;

	r = tls_transport_handshake(t, deadline, &eof);
	if (r == -EPROTO && !SSL_is_server(ssl) && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE &&
	    ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		r = -EKEYREJECTED;
	if (r < 0) {
		if (ret_why) {
			const char *why = explain(t, r, eof, a);

			*ret_why = why ? why : "the TLS handshake failed";
		}
		ERR_clear_error();
		transport_close(tls_transport_base(t)); /* what lies below stays the stream's */
		return r;
	}
	fill_info(t, ret);
	tls_transport_adopt(t);
	stream_set_transport(s, tls_transport_base(t));
	return 0;
}

/* Whatever was sent before the handshake was not protected by it and must not be read as if it were:
 * RFC 3207 section 4.2. The caller decides about it first. */
static int begin(struct tls_context *c, struct stream *s, struct tls_transport **ret, const char **ret_why)
{
	int r = 0;

	if (stream_peek(s).len > 0 || s->out_len > 0) {
		if (ret_why)
			*ret_why = "there was plain text behind the beginning of TLS";
		return -EPROTO;
	}
	stream_discard_input(s); /* an empty buffer goes back to the pool for the time of the handshake */
	r = tls_transport_new(c, s->transport, ret);
	if (r < 0 && ret_why)
		*ret_why = "out of memory";
	return r;
}

int tls_accept(struct tls_context *c, struct stream *s, usec_t deadline, struct arena *a, struct tls_info *ret, const char **ret_why)
{
	struct tls_transport *t;
	int r;

	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	assert(c->server);
	r = begin(c, s, &t, ret_why);
	if (r < 0)
		return r;
	SSL_set_accept_state(tls_transport_ssl(t));
	X509_VERIFY_PARAM_set_time(SSL_get0_param(tls_transport_ssl(t)), (time_t) (world_wall(c->world) / 1000000));
	return shake_hands(t, s, deadline, a, ret, ret_why);
}

/* Whom we expect: SNI for a name (RFC 6066 section 3 has none for addresses), and the check of the certificate,
 * which is made in any case, but ends the handshake only when asked to. */
static int expect(SSL *ssl, const char *name, enum tls_verify verify)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct ip ip;

	if (verify == TLS_VERIFY_NAME) {
		SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
		SSL_set_security_level(ssl, LEVEL_VERIFIED);
	}
	if (!name || !name[0])
		return verify == TLS_VERIFY_NAME ? -EINVAL : 0;
	/* RFC 6125 section 6.4.3: "*" stands for a whole label; section 6.4.4: the common name is not looked at. */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (ip_parse(slice_from(name), &ip) >= 0)
		return X509_VERIFY_PARAM_set1_ip(param, ip.bytes, ip.family == 4 ? 4 : 16) == 1 ? 0 : -ENOMEM;
	if (X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
		return -EINVAL;
	return SSL_set_tlsext_host_name(ssl, name) == 1 ? 0 : -EINVAL;
}

int tls_connect(struct tls_context *c, struct stream *s, const char *name, enum tls_verify verify, usec_t deadline,
		struct arena *a, struct tls_info *ret, const char **ret_why)
{
	struct tls_transport *t;
	int r;

	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	assert(!c->server);
	r = begin(c, s, &t, ret_why);
	if (r < 0)
		return r;
	SSL_set_connect_state(tls_transport_ssl(t));
	X509_VERIFY_PARAM_set_time(SSL_get0_param(tls_transport_ssl(t)), (time_t) (world_wall(c->world) / 1000000));
	r = expect(tls_transport_ssl(t), name, verify);
	if (r < 0) {
		if (ret_why)
			*ret_why = r == -EINVAL ? "there is no name that a certificate could be checked against" : "out of memory";
		transport_close(tls_transport_base(t));
		return r;
	}
	return shake_hands(t, s, deadline, a, ret, ret_why);
}
