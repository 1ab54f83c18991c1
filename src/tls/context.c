/* Certificates, keys and the rules of the handshake. */
#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "tls/pem.h"
#include "tls/transport.h"

/* RFC 9325 section 4.2: forward secrecy and authenticated encryption first; CBC with ECDHE stays last for mail
 * servers of the years before 2016, which would otherwise be sent to in the clear. */
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!PSK:!SRP"
#define GROUPS "X25519:P-256:P-384"

/* --- certificates ------------------------------------------------------------------------------------------ */

/* What is shown to those who ask for nothing else. */
static int use_identity(struct tls_context *c, const struct tls_identity *i, char **ret_why)
{
	ERR_clear_error();
	if (SSL_CTX_use_certificate(c->ssl_ctx, i->certificate) != 1)
		return pem_fail(-EINVAL, ret_why, "%s: the certificate can't be used: %s", i->path, pem_reason());
	if (SSL_CTX_set1_chain(c->ssl_ctx, i->chain) != 1)
		return pem_fail(-EINVAL, ret_why, "%s: a certificate of the chain can't be used: %s", i->path, pem_reason());
	if (SSL_CTX_use_PrivateKey(c->ssl_ctx, i->key) != 1)
		return pem_fail(-EINVAL, ret_why, "%s: the key of this certificate can't be used: %s", i->path, pem_reason());
	return 0;
}

static int use_keyring(struct tls_context *c, char **ret_why)
{
	const struct tls_identity *chosen[IDENTITY_KINDS];
	unsigned n = tls_keyring_default(c->keyring, chosen);
	int r = 0;

	for (unsigned i = 0; i < n && r >= 0; i++)
		r = use_identity(c, chosen[i], ret_why);
	return r;
}

/* In the middle of a handshake, when the client's hello is known: the certificates for the name it asks for. Whoever
 * asks for a name that nobody has gets the default: it may well take it, and says so itself when it does not. */
static int choose_certificates(SSL *ssl, void *context)
{
	const struct tls_context *c = context;
	const struct tls_identity *chosen[IDENTITY_KINDS];
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	unsigned n = name ? tls_keyring_find(c->keyring, slice_from(name), chosen) : 0;

	if (n == 0)
		return 1;
	SSL_certs_clear(ssl);
	for (unsigned i = 0; i < n; i++)
		if (SSL_use_cert_and_key(ssl, chosen[i]->certificate, chosen[i]->key, chosen[i]->chain, 1) != 1)
			return 0;
	return 1;
}

/* A browser that was sent here by somebody's page says that it wants to speak HTTP (ALPN, RFC 7301); mail programs say
 * nothing, or a word of their own. The attack is ended before it has begun. */
static int refuse_browsers(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
			   void *context)
{
	struct slice rest = slice_new((const char *) in, in_len);

	while (rest.len > 1) {
		struct slice word = slice_head(slice_skip(rest, 1), (unsigned char) rest.data[0]);

		if (!slice_istarts(word, "http/") && !slice_eq_str(word, "h2") && !slice_eq_str(word, "h3"))
			return SSL_TLSEXT_ERR_NOACK;
		rest = slice_skip(rest, 1 + word.len);
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The CAs of a file become trusted; with names they are also what clients are asked for. */
static int load_cas(struct tls_context *c, const char *path, bool names, char **ret_why)
{
	_cleanup_pem_file_ struct pem_file f = { .text = NULL };
	X509_STORE *store = SSL_CTX_get_cert_store(c->ssl_ctx);
	unsigned n = 0;
	int r;

	r = pem_file_open(c->world, path, &f, ret_why);
	if (r < 0)
		return r;
	for (;; n++) {
		X509 *ca;

		ERR_clear_error();
		ca = PEM_read_bio_X509_AUX(f.bio, NULL, NULL, NULL);
		if (!ca)
			break;
		r = X509_STORE_add_cert(store, ca) == 1 && (!names || SSL_CTX_add_client_CA(c->ssl_ctx, ca) == 1);
		X509_free(ca);
		if (!r)
			return pem_fail(-EINVAL, ret_why, "%s: certificate %u can't be used: %s", path, n + 1, pem_reason());
	}
	if (!pem_at_end())
		return pem_fail(-EINVAL, ret_why, "%s: certificate %u is broken: %s", path, n + 1, pem_reason());
	if (n == 0)
		return pem_fail(-EINVAL, ret_why, "%s: holds no CA certificate in PEM form", path);
	return 0;
}

/* --- rules ---------------------------------------------------------------------------------------------------- */

/* RFC 8996: nothing below TLS 1.2. */
static int set_version(struct tls_context *c, const char *version, char **ret_why)
{
	int least = TLS1_2_VERSION;

	if (version && strcmp(version, "1.3") == 0)
		least = TLS1_3_VERSION;
	else if (version && strcmp(version, "1.2") != 0)
		return pem_fail(-EINVAL, ret_why, "the lowest TLS version must be \"1.2\" or \"1.3\", not \"%s\"", version);
	return SSL_CTX_set_min_proto_version(c->ssl_ctx, least) == 1 ? 0 : -ENOMEM;
}

static int set_rules(struct tls_context *c, const char *version, char **ret_why)
{
	SSL_CTX *ctx = c->ssl_ctx;

	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_CLEANSE_PLAINTEXT);
	/* A write that has to be repeated may come from another place; an idle session gives its buffers back. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1); /* one read of the transport for a whole record and more */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) != 1 || SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
		return pem_fail(-EINVAL, ret_why, "OpenSSL does not know the ciphers we need: %s", pem_reason());
	return set_version(c, version, ret_why);
}

static int context_new(struct world *w, bool server, struct tls_context **ret)
{
	struct tls_context *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->magic = TLS_CONTEXT_MAGIC;
	atomic_init(&c->references, 1);
	c->world = w;
	c->server = server;
	ERR_clear_error();
	c->bio_method = tls_bio_method_new();
	c->ssl_ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!c->bio_method || !c->ssl_ctx) {
		tls_context_unref(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

/* A client without a certificate that we know is as welcome as one without any; SSL_get_verify_result still tells. */
static int accept_any_client(int preverified, X509_STORE_CTX *store)
{
	return 1;
}

static int ask_for_certificates(struct tls_context *c, const struct tls_server_config *config, char **ret_why)
{
	if (config->client_required && !config->client_ca)
		return pem_fail(-EINVAL, ret_why, "client certificates can be required only where it is said which CAs they come from");
	if (config->client_required)
		SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	else
		SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER, accept_any_client);
	return config->client_ca ? load_cas(c, config->client_ca, true, ret_why) : 0;
}

static int set_server_rules(struct tls_context *c, const struct tls_server_config *config, char **ret_why)
{
	static const unsigned char session_context[] = "yizhan";

	SSL_CTX_set_cert_cb(c->ssl_ctx, choose_certificates, c);
	SSL_CTX_set_alpn_select_cb(c->ssl_ctx, refuse_browsers, NULL);
	/* TLS 1.3 sends tickets without being asked. One is enough for the next connection. */
	(void) SSL_CTX_set_num_tickets(c->ssl_ctx, config->session_tickets ? 1 : 0);
	if (!config->session_tickets)
		SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_TICKET);
	if (SSL_CTX_set_session_id_context(c->ssl_ctx, session_context, sizeof(session_context) - 1) != 1)
		return -ENOMEM;
	return config->client_ca || config->client_asked || config->client_required ? ask_for_certificates(c, config, ret_why) : 0;
}

static int server_context_new(struct world *w, struct tls_keyring *keyring, const struct tls_server_config *config,
			      struct tls_context **ret, char **ret_why)
{
	_cleanup_(tls_context_unrefp) struct tls_context *c = NULL;
	int r;

	r = context_new(w, true, &c);
	if (r < 0)
		return r;
	c->keyring = tls_keyring_ref(keyring);
	r = set_rules(c, config->min_version, ret_why);
	if (r >= 0)
		r = set_server_rules(c, config, ret_why);
	if (r >= 0)
		r = use_keyring(c, ret_why);
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int tls_server_context_new(struct world *w, const struct tls_server_config *config, struct tls_context **ret, char **ret_why)
{
	_cleanup_(tls_keyring_unrefp) struct tls_keyring *keyring = NULL;
	int r;

	*ret_why = NULL;
	r = tls_keyring_load(w, config, &keyring, ret_why);
	ERR_clear_error();
	return r < 0 ? r : server_context_new(w, keyring, config, ret, ret_why);
}

int tls_server_context_like(const struct tls_context *other, const struct tls_server_config *config, struct tls_context **ret,
			    char **ret_why)
{
	CHECK_MAGIC(other, TLS_CONTEXT_MAGIC);
	assert(other->server);
	*ret_why = NULL;
	return server_context_new(other->world, other->keyring, config, ret, ret_why);
}

/* The client's own certificate, where the server on the other side wants one. */
static int show_identity(struct tls_context *c, const struct tls_client_config *config, char **ret_why)
{
	const struct tls_certificate pair = { .certificate = config->certificate, .key = config->key };
	_cleanup_(tls_identity_freep) struct tls_identity *i = NULL;
	int r = tls_identity_load(c->world, &pair, &i, ret_why);

	return r < 0 ? r : use_identity(c, i, ret_why);
}

int tls_client_context_new(struct world *w, const struct tls_client_config *config, struct tls_context **ret, char **ret_why)
{
	_cleanup_(tls_context_unrefp) struct tls_context *c = NULL;
	int r;

	*ret_why = NULL;
	r = context_new(w, false, &c);
	if (r >= 0)
		r = set_rules(c, config->min_version, ret_why);
	if (r >= 0) {
		SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_TICKET); /* no session is taken up again */
		/* Opportunistic TLS takes what the peer has: a short key is better than none (RFC 7435 section 3).
		 * Where the certificate counts, tls_connect raises this again. */
		SSL_CTX_set_security_level(c->ssl_ctx, 1);
		if (SSL_CTX_dane_enable(c->ssl_ctx) != 1)
			r = -ENOMEM;
	}
	if (r >= 0) {
		if (config->ca_file)
			r = load_cas(c, config->ca_file, false, ret_why);
		else if (!world_is_simulated(w) && SSL_CTX_set_default_verify_paths(c->ssl_ctx) != 1)
			r = pem_fail(-EINVAL, ret_why, "the system's CA certificates can't be read: %s", pem_reason());
	}
	if (r >= 0 && (config->certificate || config->key))
		r = show_identity(c, config, ret_why);
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

/* --- references ------------------------------------------------------------------------------------------------ */

struct tls_context *tls_context_ref(struct tls_context *c)
{
	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
	return c;
}

void tls_context_unref(struct tls_context *c)
{
	if (!c)
		return;
	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) > 1)
		return;
	SSL_CTX_free(c->ssl_ctx);
	BIO_meth_free(c->bio_method);
	tls_keyring_unref(c->keyring);
	c->magic = 0;
	free(c);
}
