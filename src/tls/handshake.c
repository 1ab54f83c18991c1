/* The handshake of both sides, and what it says about the peer. */
#include "tls/handshake.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define PEER_NAMES_MAX 64
#define SUBJECT_MAX 1024

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

/* Nothing that could look like something else in a log line or in a header field. */
static bool is_plain_text(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] <= ' ' || s.data[i] > '~')
			return false;
	return true;
}

enum tls_rejection tls_rejection_of(long verify_result)
{
	switch (verify_result) {
	case X509_V_OK:
		return TLS_REJECTED_NOT;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_REJECTED_NAME;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_REJECTED_EXPIRED;
	case X509_V_ERR_DANE_NO_MATCH:
		return TLS_REJECTED_TLSA;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_CERT_REJECTED:
	case X509_V_ERR_CERT_REVOKED:
		return TLS_REJECTED_UNTRUSTED;
	}
	return TLS_REJECTED_OTHER;
}

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
	info.rejection = info.peer_certificate ? tls_rejection_of(verified) : TLS_REJECTED_OTHER;
	if (info.peer_certificate && !info.verified)
		(void) slice_copy(slice_from(X509_verify_cert_error_string(verified)), info.verify_error, sizeof(info.verify_error));
	if (sni && is_plain_text(slice_from(sni)))
		(void) slice_copy(slice_from(sni), info.sni, sizeof(info.sni));
	*ret = info;
}

/* A name as it stands in a certificate: what is no plain text is left out. */
static const char *name_text(struct arena *a, const char *kind, const ASN1_STRING *name)
{
	struct slice s = slice_new((const char *) ASN1_STRING_get0_data(name), (size_t) ASN1_STRING_length(name));

	return s.len > 0 && is_plain_text(s) ? arena_printf(a, "%s:%.*s", kind, SLICE_ARG(s)) : NULL;
}

static void fill_peer_names(X509 *certificate, struct arena *a, struct tls_info *info)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	int n = names ? sk_GENERAL_NAME_num(names) : 0;
	const char **texts = arena_new_array(a, const char *, (size_t) MIN(n, PEER_NAMES_MAX) + 1);

	for (int i = 0; i < n && texts && info->n_peer_names < PEER_NAMES_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const char *text = name->type == GEN_DNS     ? name_text(a, "dns", name->d.dNSName)
				   : name->type == GEN_EMAIL ? name_text(a, "email", name->d.rfc822Name)
							     : NULL;

		if (text)
			texts[info->n_peer_names++] = text;
	}
	GENERAL_NAMES_free(names);
	info->peer_names = texts;
}

static const char *subject_text(X509 *certificate, struct arena *a)
{
	BIO *bio = BIO_new(BIO_s_mem());
	const char *text = NULL;
	char *data;
	long len;

	/* RFC 2253, with everything that is not ASCII or could break a line escaped. */
	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
		len = BIO_get_mem_data(bio, &data);
		if (len >= 0 && len <= SUBJECT_MAX) /* cut short it could be taken for another one */
			text = arena_slice(a, slice_new(data, (size_t) len));
	}
	BIO_free(bio);
	return text;
}

static const char *fingerprint_text(X509 *certificate, struct arena *a)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	char *text;

	if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
		return NULL;
	text = arena_zalloc(a, 2 * (size_t) len + 1);
	for (unsigned i = 0; text && i < len; i++) {
		text[2 * i] = digits[digest[i] >> 4];
		text[2 * i + 1] = digits[digest[i] & 15];
	}
	return text;
}

/* Who the client is, by its certificate. */
static void fill_peer(SSL *ssl, struct arena *a, struct tls_info *info)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);

	if (!certificate)
		return;
	info->peer_subject = subject_text(certificate, a);
	info->peer_fingerprint = fingerprint_text(certificate, a);
	info->peer_verified = info->verified;
	fill_peer_names(certificate, a, info);
	ERR_clear_error();
}

/* --- the two sides ------------------------------------------------------------------------------------------------ */

int tls_shake_hands(struct tls_transport *t, struct stream *s, usec_t deadline, struct arena *a, struct tls_info *ret,
		    struct tls_failure *ret_failure)
{
	SSL *ssl = tls_transport_ssl(t);
	bool eof;
	int r;

	r = tls_transport_handshake(t, deadline, &eof);
	if (r == -EPROTO && !SSL_is_server(ssl) && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE &&
	    ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		r = -EKEYREJECTED;
	if (r < 0) {
		const char *why = explain(t, r, eof, a);

		*ret_failure = (struct tls_failure) {
			.why = why ? why : "the TLS handshake failed",
			.rejection = r == -EKEYREJECTED ? tls_rejection_of(SSL_get_verify_result(ssl)) : TLS_REJECTED_NOT,
		};
		ERR_clear_error();
		transport_close(tls_transport_base(t)); /* what lies below stays the stream's */
		return r;
	}
	fill_info(t, ret);
	if (SSL_is_server(ssl))
		fill_peer(ssl, a, ret);
	tls_transport_adopt(t);
	stream_set_transport(s, tls_transport_base(t));
	return 0;
}

int tls_begin(struct tls_context *c, struct stream *s, struct tls_transport **ret, const char **ret_why)
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
	struct tls_failure failure = { 0 };
	struct tls_transport *t;
	int r;

	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	assert(c->server);
	r = tls_begin(c, s, &t, &failure.why);
	if (r >= 0) {
		SSL_set_accept_state(tls_transport_ssl(t));
		X509_VERIFY_PARAM_set_time(SSL_get0_param(tls_transport_ssl(t)), (time_t) (world_wall(c->world) / 1000000));
		r = tls_shake_hands(t, s, deadline, a, ret, &failure);
	}
	if (r < 0 && ret_why)
		*ret_why = failure.why;
	return r;
}
