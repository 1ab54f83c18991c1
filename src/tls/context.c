/* Certificates, keys and the rules of the handshake. */
#include "tls/context.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/transport.h"
#include "world/file.h"

#define PEM_SIZE_MAX ((size_t) 4 * 1024 * 1024)

/* RFC 9325 section 4.2: forward secrecy and authenticated encryption first; CBC with ECDHE stays last for mail
 * servers of the years before 2016, which would otherwise be sent to in the clear. */
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!PSK:!SRP"
#define GROUPS "X25519:P-256:P-384"

static int _printf_(3, 4) fail(int error, char **ret_why, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (vasprintf(ret_why, format, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "unknown reason";
}

/* --- reading PEM ------------------------------------------------------------------------------------------ */

struct pem_file {
	char *text;
	size_t len;
	BIO *bio; /* reads text */
};

static void pem_file_done(struct pem_file *f)
{
	BIO_free(f->bio);
	if (f->text)
		OPENSSL_cleanse(f->text, f->len);
	free(f->text);
}

static int pem_file_open(struct world *w, const char *path, struct pem_file *f, char **ret_why)
{
	int r;

	r = file_read_all(w, path, PEM_SIZE_MAX, &f->text, &f->len);
	if (r < 0)
		return fail(r, ret_why, "%s: cannot be read: %s", path, strerror(-r));
	f->bio = BIO_new_mem_buf(f->text, (int) f->len);
	return f->bio ? 0 : -ENOMEM;
}

/* A key with a passphrase: nobody is there to type it. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
	bool *asked = context;

	*asked = true;
	return -1;
}

static bool at_end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* Out of its days a certificate still works for opportunistic TLS, so it is used; but somebody should know. */
static void warn_about_dates(struct world *w, const char *path, X509 *certificate)
{
	time_t time = (time_t) (world_wall(w) / 1000000);

	if (X509_cmp_time(X509_get0_notAfter(certificate), &time) < 0)
		LOG(world_log(w), LOG_WARNING, "the TLS certificate has expired", F_STR("file", path));
	else if (X509_cmp_time(X509_get0_notBefore(certificate), &time) > 0)
		LOG(world_log(w), LOG_WARNING, "the TLS certificate is not valid yet", F_STR("file", path));
}

static int load_certificate(struct tls_context *c, const char *path, char **ret_why)
{
	_cleanup_(pem_file_done) struct pem_file f = { .text = NULL };
	X509 *certificate;
	int r;

	r = pem_file_open(c->world, path, &f, ret_why);
	if (r < 0)
		return r;
	ERR_clear_error();
	certificate = PEM_read_bio_X509_AUX(f.bio, NULL, NULL, NULL);
	if (!certificate)
		return fail(-EINVAL, ret_why, "%s: %s", path,
			    at_end_of_pem() ? "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)" : reason());
	warn_about_dates(c->world, path, certificate);
	r = SSL_CTX_use_certificate(c->ssl_ctx, certificate);
	X509_free(certificate);
	if (r != 1)
		return fail(-EINVAL, ret_why, "%s: the certificate can't be used: %s", path, reason());
	for (;;) {
		ERR_clear_error();
		certificate = PEM_read_bio_X509(f.bio, NULL, NULL, NULL);
		if (!certificate)
			break;
		if (SSL_CTX_add0_chain_cert(c->ssl_ctx, certificate) != 1) {
			X509_free(certificate);
			return fail(-EINVAL, ret_why, "%s: a certificate of the chain can't be used: %s", path, reason());
		}
	}
	if (!at_end_of_pem())
		return fail(-EINVAL, ret_why, "%s: the chain behind the first certificate is broken: %s", path, reason());
	return 0;
}

static int load_key(struct tls_context *c, const char *path, const char *certificate, char **ret_why)
{
	_cleanup_(pem_file_done) struct pem_file f = { .text = NULL };
	bool encrypted = false;
	EVP_PKEY *key;
	int r;

	r = pem_file_open(c->world, path, &f, ret_why);
	if (r < 0)
		return r;
	ERR_clear_error();
	key = PEM_read_bio_PrivateKey(f.bio, NULL, no_passphrase, &encrypted);
	if (!key && encrypted)
		return fail(-EINVAL, ret_why, "%s: the key is protected by a passphrase; store it without one", path);
	if (!key && (at_end_of_pem() || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_OSSL_DECODER))
		return fail(-EINVAL, ret_why, "%s: holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)", path);
	if (!key)
		return fail(-EINVAL, ret_why, "%s: the key can't be read: %s", path, reason());
	r = EVP_PKEY_eq(SSL_CTX_get0_certificate(c->ssl_ctx) ? X509_get0_pubkey(SSL_CTX_get0_certificate(c->ssl_ctx)) : NULL, key);
	if (r != 1) {
		EVP_PKEY_free(key);
		return fail(-EINVAL, ret_why, "%s: the key does not belong to the certificate in %s", path, certificate);
	}
	r = SSL_CTX_use_PrivateKey(c->ssl_ctx, key);
	EVP_PKEY_free(key);
	if (r != 1)
		return fail(-EINVAL, ret_why, "%s: the key can't be used: %s", path, reason());
	return 0;
}

static int load_identity(struct tls_context *c, const char *certificate, const char *key, char **ret_why)
{
	int r;

	if (!certificate || !key)
		return fail(-EINVAL, ret_why, "TLS needs both a certificate and its key");
	r = load_certificate(c, certificate, ret_why);
	return r < 0 ? r : load_key(c, key, certificate, ret_why);
}

/* The CAs of a file become trusted; with names they are also what clients are asked for. */
static int load_cas(struct tls_context *c, const char *path, bool names, char **ret_why)
{
	_cleanup_(pem_file_done) struct pem_file f = { .text = NULL };
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
			return fail(-EINVAL, ret_why, "%s: certificate %u can't be used: %s", path, n + 1, reason());
	}
	if (!at_end_of_pem())
		return fail(-EINVAL, ret_why, "%s: certificate %u is broken: %s", path, n + 1, reason());
	if (n == 0)
		return fail(-EINVAL, ret_why, "%s: holds no CA certificate in PEM form", path);
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
		return fail(-EINVAL, ret_why, "the lowest TLS version must be \"1.2\" or \"1.3\", not \"%s\"", version);
	return SSL_CTX_set_min_proto_version(c->ssl_ctx, least) == 1 ? 0 : -ENOMEM;
}

static int set_rules(struct tls_context *c, const char *version, char **ret_why)
{
	SSL_CTX *ctx = c->ssl_ctx;

	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	/* A write that has to be repeated may come from another place; an idle session gives its buffers back. */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1); /* one read of the transport for a whole record and more */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) != 1 || SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
		return fail(-EINVAL, ret_why, "OpenSSL does not know the ciphers we need: %s", reason());
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

static int set_server_rules(struct tls_context *c, const struct tls_server_config *config, char **ret_why)
{
	static const unsigned char session_context[] = "yizhan";

	if (!config->session_tickets) {
		SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_TICKET);
		(void) SSL_CTX_set_num_tickets(c->ssl_ctx, 0); /* TLS 1.3 sends them without being asked */
	}
	if (SSL_CTX_set_session_id_context(c->ssl_ctx, session_context, sizeof(session_context) - 1) != 1)
		return -ENOMEM;
	if (!config->client_ca)
		return 0;
	SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER, accept_any_client);
	return load_cas(c, config->client_ca, true, ret_why);
}

int tls_server_context_new(struct world *w, const struct tls_server_config *config, struct tls_context **ret, char **ret_why)
{
	_cleanup_(tls_context_unrefp) struct tls_context *c = NULL;
	int r;

	*ret_why = NULL;
	r = context_new(w, true, &c);
	if (r >= 0)
		r = set_rules(c, config->min_version, ret_why);
	if (r >= 0)
		r = set_server_rules(c, config, ret_why);
	if (r >= 0)
		r = load_identity(c, config->certificate, config->key, ret_why);
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
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
		if (config->ca_file)
			r = load_cas(c, config->ca_file, false, ret_why);
		else if (!world_is_simulated(w) && SSL_CTX_set_default_verify_paths(c->ssl_ctx) != 1)
			r = fail(-EINVAL, ret_why, "the system's CA certificates can't be read: %s", reason());
	}
	if (r >= 0 && (config->certificate || config->key))
		r = load_identity(c, config->certificate, config->key, ret_why);
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
	c->magic = 0;
	free(c);
}
