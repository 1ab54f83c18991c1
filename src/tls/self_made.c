#include "tls/self_made.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "world/file.h"

#define GOOD_FOR (30L * 86400)

static void x509_freep(X509 **x) { X509_free(*x); }
static void pkey_freep(EVP_PKEY **k) { EVP_PKEY_free(*k); }
static void bio_freep(BIO **b) { BIO_free(*b); }

static int add_name(X509 *cert, const char *name)
{
	X509_EXTENSION *extension;
	char text[300];
	int r;

	if ((size_t) snprintf(text, sizeof(text), "DNS:%s", name) >= sizeof(text))
		return -EINVAL;
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	if (!extension)
		return -EIO;
	r = X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return r == 1 ? 0 : -EIO;
}

static int fill(X509 *cert, EVP_PKEY *key, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	if (X509_set_version(cert, X509_VERSION_3) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) != 1 ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -3600) || !X509_gmtime_adj(X509_getm_notAfter(cert), GOOD_FOR) ||
	    X509_set_pubkey(cert, key) != 1)
		return -EIO;
	/* A common name has at most 64 characters; what counts is in the extension. */
	if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *) name, (int) MIN(strlen(name), (size_t) 64), -1, 0) != 1 ||
	    X509_set_issuer_name(cert, subject) != 1)
		return -EIO;
	return add_name(cert, name);
}

static int write_bio(struct world *w, const char *path, BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	return file_write_atomically(w, path, slice_new(data, (size_t) MAX(len, 0L)), 0600);
}

int tls_self_made(struct world *w, const char *name, const char *certificate_path, const char *key_path)
{
	_cleanup_(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(x509_freep) X509 *cert = X509_new();
	_cleanup_(bio_freep) BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_mem());
	int r = key && cert && cert_pem && key_pem ? fill(cert, key, name) : -ENOMEM;

	if (r >= 0 && (X509_sign(cert, key, EVP_sha256()) <= 0 || PEM_write_bio_X509(cert_pem, cert) != 1 ||
		       PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1))
		r = -EIO;
	ERR_clear_error();
	if (r >= 0)
		r = write_bio(w, certificate_path, cert_pem);
	if (r >= 0)
		r = write_bio(w, key_path, key_pem);
	return r;
}
