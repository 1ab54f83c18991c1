/* The client's side: whom it expects, by the names of a certificate or by TLSA records. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/handshake.h"

/* RFC 7218 section 2.1. */
enum { USAGE_DANE_TA = 2, USAGE_DANE_EE = 3 };

/* --- names ------------------------------------------------------------------------------------------------------ */

/* SNI for a name (RFC 6066 section 3 has none for addresses), and the check of the certificate, which is made in any case,
 * but ends the handshake only when asked to. */
static int expect_name(SSL *ssl, const char *name, bool must)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct ip ip;

	if (must) {
		SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
		SSL_set_security_level(ssl, LEVEL_VERIFIED);
	}
	if (!name || !name[0])
		return must ? -EINVAL : 0;
	/* RFC 6125 section 6.4.3: "*" stands for a whole label; section 6.4.4: the common name is not looked at. */
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (ip_parse(slice_from(name), &ip) >= 0)
		return X509_VERIFY_PARAM_set1_ip(param, ip.bytes, ip.family == 4 ? 4 : 16) == 1 ? 0 : -ENOMEM;
	if (X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
		return -EINVAL;
	return SSL_set_tlsext_host_name(ssl, name) == 1 ? 0 : -EINVAL;
}

/* --- DANE --------------------------------------------------------------------------------------------------------- */

/* How many of the records OpenSSL can use, or a negative errno. */
static int add_records(SSL *ssl, const struct tls_expected *e)
{
	int n = 0;

	for (unsigned i = 0; i < e->n_records; i++) {
		const struct tls_tlsa *t = &e->records[i];
		int r;

		/* RFC 7672 section 3.1.3: OpenSSL would take 0 and 1, too. */
		if (t->usage != USAGE_DANE_TA && t->usage != USAGE_DANE_EE)
			continue;
		r = SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->matching, (const unsigned char *) t->data.data, t->data.len);
		if (r < 0)
			return -ENOMEM;
		n += r > 0;
	}
	ERR_clear_error(); /* one that can't be used is no mistake of ours */
	return n;
}

/* RFC 7672 section 3.1.1: with DANE-EE neither names nor dates count; section 3.2.2: with DANE-TA one of the names must be
 * found, in the common name if there is no other. */
static int expect_dane(SSL *ssl, const struct tls_expected *e)
{
	int n;

	if (!e->name || SSL_dane_enable(ssl, e->name) != 1)
		return -EINVAL;
	n = add_records(ssl, e);
	if (n < 0)
		return n;
	if (n == 0) /* section 2.2: none can be used, so that encryption is all there is */
		return 0;
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (unsigned i = 0; i < e->n_names; i++)
		if (SSL_add1_host(ssl, e->names[i]) != 1)
			return -EINVAL;
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	SSL_set_security_level(ssl, LEVEL_VERIFIED);
	return 0;
}

static void fill_dane(SSL *ssl, struct tls_info *info)
{
	const char *name = SSL_get0_peername(ssl);

	if (SSL_get0_dane_authority(ssl, NULL, NULL) < 0)
		return;
	info->dane = true;
	info->verified = false; /* not by a CA */
	(void) SSL_get0_dane_tlsa(ssl, &info->dane_usage, NULL, NULL, NULL, NULL);
	if (info->dane_usage == USAGE_DANE_TA && name)
		(void) slice_copy(slice_from(name), info->matched_name, sizeof(info->matched_name));
}

/* --- both ----------------------------------------------------------------------------------------------------------- */

static int expect(SSL *ssl, const struct tls_expected *e)
{
	return e->verify == TLS_VERIFY_DANE ? expect_dane(ssl, e) : expect_name(ssl, e->name, e->verify == TLS_VERIFY_NAME);
}

int tls_connect_to(struct tls_context *c, struct stream *s, const struct tls_expected *e, usec_t deadline, struct arena *a,
		   struct tls_info *ret, struct tls_failure *ret_failure)
{
	struct tls_failure failure = { 0 };
	struct tls_transport *t;
	SSL *ssl;
	int r;

	CHECK_MAGIC(c, TLS_CONTEXT_MAGIC);
	assert(!c->server);
	r = tls_begin(c, s, &t, &failure.why);
	if (r < 0) {
		*ret_failure = failure;
		return r;
	}
	ssl = tls_transport_ssl(t);
	SSL_set_connect_state(ssl);
	X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), (time_t) (world_wall(c->world) / 1000000));
	r = expect(ssl, e);
	if (r < 0) {
		failure.why = r == -EINVAL ? "there is no name that a certificate could be checked against" : "out of memory";
		transport_close(tls_transport_base(t));
	} else {
		r = tls_shake_hands(t, s, deadline, a, ret, &failure);
		if (r >= 0)
			fill_dane(ssl, ret);
	}
	if (r < 0)
		*ret_failure = failure;
	return r;
}

int tls_connect(struct tls_context *c, struct stream *s, const char *name, enum tls_verify verify, usec_t deadline,
		struct arena *a, struct tls_info *ret, const char **ret_why)
{
	struct tls_expected expected = { .name = name, .verify = verify };
	struct tls_failure failure;
	int r = tls_connect_to(c, s, &expected, deadline, a, ret, &failure);

	if (r < 0 && ret_why)
		*ret_why = failure.why;
	return r;
}
