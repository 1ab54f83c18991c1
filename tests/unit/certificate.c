#include "unit/certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "world/file.h"

static void write_bio(struct world *w, const char *path, BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	assert_int_equal(file_write_atomically(w, path, slice_new(data, (size_t) len), 0600), 0);
	BIO_free(bio);
}

static void add_names(X509 *cert, const char *text)
{
	X509_EXTENSION *extension;

	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	assert_non_null(extension);
	X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
}

void certificate_write_kind(struct world *w, const char *kind, const char *names, const char *certificate_path, const char *key_path)
{
	EVP_PKEY *key = strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	BIO *bio;

	assert_true(key && cert);
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *) "test", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	add_names(cert, names);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);

	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, cert);
	write_bio(w, certificate_path, bio);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	write_bio(w, key_path, bio);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void certificate_write(struct world *w, const char *name, const char *certificate_path, const char *key_path)
{
	char names[300];

	snprintf(names, sizeof(names), "DNS:%s", name);
	certificate_write_kind(w, "EC", names, certificate_path, key_path);
}
