#include "tls/identity.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "tls/pem.h"

/* --- one identity ------------------------------------------------------------------------------------------- */

/* A key with a passphrase: nobody is there to type it. */
static int no_passphrase(char *buffer, int size, int writing, void *context)
{
	bool *asked = context;

	*asked = true;
	return -1;
}

/* Out of its days a certificate still works for opportunistic TLS, so it is used; but somebody should know. */
static void warn_about_dates(struct world *w, const struct tls_identity *i)
{
	time_t time = (time_t) (world_wall(w) / 1000000);

	if (X509_cmp_time(X509_get0_notAfter(i->certificate), &time) < 0)
		LOG(world_log(w), LOG_WARNING, "the TLS certificate has expired", F_STR("file", i->path));
	else if (X509_cmp_time(X509_get0_notBefore(i->certificate), &time) > 0)
		LOG(world_log(w), LOG_WARNING, "the TLS certificate is not valid yet", F_STR("file", i->path));
}

static int load_chain(struct tls_identity *i, struct pem_file *f, char **ret_why)
{
	for (;;) {
		X509 *link;

		ERR_clear_error();
		link = PEM_read_bio_X509(f->bio, NULL, NULL, NULL);
		if (!link)
			break;
		if (sk_X509_push(i->chain, link) <= 0) {
			X509_free(link);
			return -ENOMEM;
		}
	}
	if (!pem_at_end())
		return pem_fail(-EINVAL, ret_why, "%s: the chain behind the first certificate is broken: %s", i->path, pem_reason());
	return 0;
}

static int load_certificate(struct world *w, struct tls_identity *i, char **ret_why)
{
	_cleanup_pem_file_ struct pem_file f = { .text = NULL };
	int r;

	r = pem_file_open(w, i->path, &f, ret_why);
	if (r < 0)
		return r;
	ERR_clear_error();
	i->certificate = PEM_read_bio_X509_AUX(f.bio, NULL, NULL, NULL);
	if (!i->certificate)
		return pem_fail(-EINVAL, ret_why, "%s: %s", i->path,
				pem_at_end() ? "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)" : pem_reason());
	i->chain = sk_X509_new_null();
	if (!i->chain)
		return -ENOMEM;
	warn_about_dates(w, i);
	return load_chain(i, &f, ret_why);
}

static int load_key(struct world *w, struct tls_identity *i, const char *path, char **ret_why)
{
	_cleanup_pem_file_ struct pem_file f = { .text = NULL };
	bool encrypted = false;
	int r;

	r = pem_file_open(w, path, &f, ret_why);
	if (r < 0)
		return r;
	ERR_clear_error();
	i->key = PEM_read_bio_PrivateKey(f.bio, NULL, no_passphrase, &encrypted);
	if (!i->key && encrypted)
		return pem_fail(-EINVAL, ret_why, "%s: the key is protected by a passphrase; store it without one", path);
	if (!i->key && (pem_at_end() || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_OSSL_DECODER))
		return pem_fail(-EINVAL, ret_why, "%s: holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)", path);
	if (!i->key)
		return pem_fail(-EINVAL, ret_why, "%s: the key can't be read: %s", path, pem_reason());
	if (EVP_PKEY_eq(X509_get0_pubkey(i->certificate), i->key) != 1)
		return pem_fail(-EINVAL, ret_why, "%s: the key does not belong to the certificate in %s", path, i->path);
	return 0;
}

static int add_name(struct tls_identity *i, struct slice name)
{
	char *copy = slice_dup(name);

	if (!copy)
		return -ENOMEM;
	i->names[i->n_names++] = copy;
	return 0;
}

/* The names of the certificate: those of its subjectAltName (RFC 6125 section 6.4.4 has the common name count only
 * where there are none). */
static int take_names_of_certificate(struct tls_identity *i)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(i->certificate, NID_subject_alt_name, NULL, NULL);
	int n = names ? sk_GENERAL_NAME_num(names) : 0, r = 0;
	char common[256];

	i->names = calloc((size_t) n + 1, sizeof(*i->names));
	if (!i->names)
		r = -ENOMEM;
	for (int k = 0; k < n && r >= 0; k++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, k);

		if (name->type == GEN_DNS)
			r = add_name(i, slice_new((const char *) ASN1_STRING_get0_data(name->d.dNSName),
						  (size_t) ASN1_STRING_length(name->d.dNSName)));
	}
	GENERAL_NAMES_free(names);
	if (r >= 0 && i->n_names == 0 &&
	    X509_NAME_get_text_by_NID(X509_get_subject_name(i->certificate), NID_commonName, common, sizeof(common)) > 0)
		r = add_name(i, slice_from(common));
	return r;
}

static int take_names(struct tls_identity *i, const struct tls_certificate *config)
{
	int r = 0;

	if (config->n_names == 0)
		return take_names_of_certificate(i);
	i->names = calloc(config->n_names, sizeof(*i->names));
	if (!i->names)
		return -ENOMEM;
	for (unsigned k = 0; k < config->n_names && r >= 0; k++)
		r = add_name(i, slice_from(config->names[k]));
	return r;
}

int tls_identity_load(struct world *w, const struct tls_certificate *config, struct tls_identity **ret, char **ret_why)
{
	_cleanup_(tls_identity_freep) struct tls_identity *i = NULL;
	int r;

	if (!config->certificate || !config->key)
		return pem_fail(-EINVAL, ret_why, "TLS needs both a certificate and its key");
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->path = config->certificate;
	r = load_certificate(w, i, ret_why);
	if (r >= 0)
		r = load_key(w, i, config->key, ret_why);
	if (r >= 0)
		r = take_names(i, config);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(i);
	return 0;
}

void tls_identity_free(struct tls_identity *i)
{
	if (!i)
		return;
	X509_free(i->certificate);
	sk_X509_pop_free(i->chain, X509_free);
	EVP_PKEY_free(i->key);
	for (unsigned k = 0; k < i->n_names; k++)
		free(i->names[k]);
	free(i->names);
	free(i);
}

/* --- the keyring ---------------------------------------------------------------------------------------------- */

static int load_into(struct world *w, struct tls_keyring *k, const struct tls_certificate *config, char **ret_why)
{
	int r = tls_identity_load(w, config, &k->identities[k->n], ret_why);

	if (r >= 0)
		k->n++;
	return r;
}

int tls_keyring_load(struct world *w, const struct tls_server_config *config, struct tls_keyring **ret, char **ret_why)
{
	const struct tls_certificate single = { .certificate = config->certificate, .key = config->key };
	_cleanup_(tls_keyring_unrefp) struct tls_keyring *k = calloc(1, sizeof(*k));
	int r = 0;

	if (!k)
		return -ENOMEM;
	atomic_init(&k->references, 1);
	k->identities = calloc(config->n_certificates + 1, sizeof(struct tls_identity *));
	if (!k->identities)
		return -ENOMEM;
	if (single.certificate || single.key || config->n_certificates == 0)
		r = load_into(w, k, &single, ret_why);
	for (unsigned i = 0; i < config->n_certificates && r >= 0; i++)
		r = load_into(w, k, &config->certificates[i], ret_why);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(k);
	return 0;
}

struct tls_keyring *tls_keyring_ref(struct tls_keyring *k)
{
	atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
	return k;
}

void tls_keyring_unref(struct tls_keyring *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->references, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < k->n; i++)
		tls_identity_free(k->identities[i]);
	free(k->identities);
	free(k);
}

/* --- choosing ---------------------------------------------------------------------------------------------------- */

/* RFC 6125 section 6.4.3: "*" stands for the whole leftmost label. */
static bool name_matches(struct slice pattern, struct slice name, bool exact)
{
	struct slice rest;

	if (exact)
		return slice_ieq(pattern, name);
	if (!slice_istarts(pattern, "*."))
		return false;
	(void) slice_cut(name, '.', &rest);
	return rest.len > 0 && slice_ieq(slice_skip(pattern, 2), rest);
}

static bool has_name(const struct tls_identity *i, struct slice name, bool exact)
{
	for (unsigned k = 0; k < i->n_names; k++)
		if (name_matches(slice_from(i->names[k]), name, exact))
			return true;
	return false;
}

static unsigned add_kind(const struct tls_identity *i, unsigned n, const struct tls_identity *chosen[])
{
	for (unsigned k = 0; k < n; k++)
		if (EVP_PKEY_get_base_id(chosen[k]->key) == EVP_PKEY_get_base_id(i->key))
			return n;
	if (n < IDENTITY_KINDS)
		chosen[n++] = i;
	return n;
}

static unsigned find_beside(const struct tls_keyring *k, struct slice name, unsigned n, const struct tls_identity *chosen[])
{
	if (name.len > 1 && name.data[name.len - 1] == '.')
		name.len--; /* some clients write the root's dot */
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < k->n; i++)
			if (has_name(k->identities[i], name, pass == 0))
				n = add_kind(k->identities[i], n, chosen);
	return n;
}

unsigned tls_keyring_find(const struct tls_keyring *k, struct slice name, const struct tls_identity *ret[static IDENTITY_KINDS])
{
	return find_beside(k, name, 0, ret);
}

unsigned tls_keyring_default(const struct tls_keyring *k, const struct tls_identity *ret[static IDENTITY_KINDS])
{
	const struct tls_identity *first = k->identities[0];

	ret[0] = first;
	return first->n_names > 0 ? find_beside(k, slice_from(first->names[0]), 1, ret) : 1;
}
