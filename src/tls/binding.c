/* Channel bindings: bytes that only the two ends of this very connection know, for SASL mechanisms that end
 * in -PLUS. */
#include <openssl/err.h>

#include "tls/context.h"
#include "tls/transport.h"

#define EXPORTER_LABEL "EXPORTER-Channel-Binding"
#define EXPORTER_BYTES 32
#define FINISHED_MAX 64

/* RFC 9266 section 2. With TLS 1.2 it holds only where the master secret is bound to the handshake (RFC 7627). */
static int exporter(SSL *ssl, struct arena *a, struct slice *ret)
{
	unsigned char *bytes;

	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		return -EOPNOTSUPP;
	bytes = arena_alloc(a, EXPORTER_BYTES);
	if (!bytes)
		return -ENOMEM;
	ERR_clear_error();
	if (SSL_export_keying_material(ssl, bytes, EXPORTER_BYTES, EXPORTER_LABEL, sizeof(EXPORTER_LABEL) - 1, NULL, 0, 0) != 1)
		return -EPROTO;
	*ret = slice_new((char *) bytes, EXPORTER_BYTES);
	return 0;
}

/* RFC 5929 section 3: the first Finished message of the handshake, which is the client's unless a session was
 * taken up again. RFC 8446 appendix C.5: not defined for TLS 1.3. */
static int unique(SSL *ssl, struct arena *a, struct slice *ret)
{
	bool ours_first = SSL_is_server(ssl) ? SSL_session_reused(ssl) : !SSL_session_reused(ssl);
	char *bytes;
	size_t len;

	if (SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) != 1)
		return -EOPNOTSUPP;
	bytes = arena_alloc(a, FINISHED_MAX);
	if (!bytes)
		return -ENOMEM;
	len = ours_first ? SSL_get_finished(ssl, bytes, FINISHED_MAX) : SSL_get_peer_finished(ssl, bytes, FINISHED_MAX);
	if (len == 0 || len > FINISHED_MAX)
		return -EOPNOTSUPP;
	*ret = slice_new(bytes, len);
	return 0;
}

int tls_channel_binding(struct stream *s, const char *kind, struct arena *a, struct slice *ret)
{
	struct tls_transport *t = tls_transport_of(s->transport);

	if (!t)
		return -ENOTCONN;
	if (strcmp(kind, "tls-exporter") == 0)
		return exporter(tls_transport_ssl(t), a, ret);
	if (strcmp(kind, "tls-unique") == 0)
		return unique(tls_transport_ssl(t), a, ret);
	return -EOPNOTSUPP;
}
