#include "identity/crypto.h"

#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define SIGNATURE_MAX 2048u /* of RSA with 16384 bits */
#define RSA_BITS_LEAST 1024u /* RFC 8301 section 3.2 */
#define RSA_BITS_MOST 4096u  /* verifiers need not take more (section 3.2) */
#define ED25519_BYTES ((size_t) 32)

static void md_ctx_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static void bio_freep(BIO **b)
{
	BIO_free(*b);
}

/* Whether OpenSSL's last complaint was that there is no memory: then nothing is known about the key or the signature.
 * The complaints are dropped. */
static bool memory_was_out(void)
{
	bool out = ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;

	ERR_clear_error();
	return out;
}

bool crypto_is_ed25519(const EVP_PKEY *key)
{
	return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
}

/* --- RSA keys of the usual form ------------------------------------------------------------------------------- */

/* OpenSSL's own decoder takes any encoding of any kind of key, and 100 microseconds, five times what the
 * verification itself takes. What nearly all records hold is read here; the rest is left to it. */

#define DER_INTEGER 0x02
#define DER_BIT_STRING 0x03
#define DER_SEQUENCE 0x30

/* Takes one element of this tag off the front. False: it is something else, or not in short form. */
static bool der_take(struct slice *s, unsigned char tag, struct slice *ret)
{
	const unsigned char *p = (const unsigned char *) s->data;
	size_t len, head = 2;

	if (s->len < 2 || p[0] != tag)
		return false;
	len = p[1];
	if (len & 0x80) {
		size_t n = len & 0x7f;

		if (n == 0 || n > 2 || s->len < 2 + n)
			return false;
		len = n == 1 ? p[2] : (size_t) p[2] << 8 | p[3];
		head += n;
	}
	if (len > s->len - head)
		return false;
	*ret = slice_new(s->data + head, len);
	*s = slice_skip(*s, head + len);
	return true;
}

/* RFC 3279 section 2.3.1: the inside of a SubjectPublicKeyInfo, or (RFC 6376 section 3.6.1) the RSAPublicKey itself. */
static bool der_rsa_numbers(struct slice der, struct slice *ret_modulus, struct slice *ret_exponent)
{
	static const char rsa[] = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
	struct slice outer, bits, key;

	if (!der_take(&der, DER_SEQUENCE, &outer) || der.len > 0)
		return false;
	key = outer;
	if (slice_eq(slice_head(outer, MIN(outer.len, sizeof(rsa) - 1)), slice_new(rsa, sizeof(rsa) - 1))) {
		outer = slice_skip(outer, sizeof(rsa) - 1);
		if (!der_take(&outer, DER_BIT_STRING, &bits) || outer.len > 0 || bits.len < 1 || bits.data[0] != 0)
			return false;
		bits = slice_skip(bits, 1);
		if (!der_take(&bits, DER_SEQUENCE, &key) || bits.len > 0)
			return false;
	}
	return der_take(&key, DER_INTEGER, ret_modulus) && der_take(&key, DER_INTEGER, ret_exponent) && key.len == 0;
}

#define MODULUS_MAX 2049u /* octets: 16384 bits and a sign */
#define EXPONENT_MAX 9u

/* A positive number as OpenSSL's parameters want it. 0: it isn't one. */
static size_t native_number(struct slice number, unsigned char *out, size_t size)
{
	BIGNUM *n;
	size_t len;

	if (number.len == 0 || number.len > size || number.data[0] & 0x80)
		return 0;
	n = BN_bin2bn((const unsigned char *) number.data, (int) number.len, NULL);
	len = n && !BN_is_zero(n) ? (size_t) BN_num_bytes(n) : 0;
	if (len > 0 && BN_bn2nativepad(n, out, (int) len) < 0)
		len = 0;
	BN_free(n);
	return len;
}

/* NULL: it has another form, or memory is out. */
static EVP_PKEY *usual_rsa_key(struct slice data)
{
	unsigned char modulus[MODULUS_MAX], exponent[EXPONENT_MAX];
	OSSL_PARAM parameters[3];
	struct slice n, e;
	size_t n_len, e_len;
	EVP_PKEY_CTX *context;
	EVP_PKEY *key = NULL;

	if (!der_rsa_numbers(data, &n, &e))
		return NULL;
	n_len = native_number(n, modulus, sizeof(modulus));
	e_len = native_number(e, exponent, sizeof(exponent));
	if (!n_len || !e_len)
		return NULL;
	parameters[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, modulus, n_len);
	parameters[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, exponent, e_len);
	parameters[2] = OSSL_PARAM_construct_end();
	context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	if (!context || EVP_PKEY_fromdata_init(context) != 1 || EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

int crypto_public_key(bool ed25519, struct slice data, EVP_PKEY **ret)
{
	const unsigned char *p = (const unsigned char *) data.data;
	EVP_PKEY *key;

	if (ed25519) {
		key = data.len == 32 ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, p, data.len) : NULL;
	} else {
		key = usual_rsa_key(data);
		if (!key)
			key = d2i_PUBKEY(NULL, &p, (long) data.len);
		if (!key) {
			p = (const unsigned char *) data.data;
			key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, (long) data.len);
		}
		if (key && EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
			EVP_PKEY_free(key);
			key = NULL;
		}
	}
	if (!key)
		return memory_was_out() ? -ENOMEM : -EINVAL;
	ERR_clear_error();
	*ret = key;
	return 0;
}

int crypto_private_key(struct slice pem, EVP_PKEY **ret)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(pem.data, (int) pem.len);
	EVP_PKEY *key;

	if (!bio)
		return -ENOMEM;
	/* A password is never asked for: an empty one is offered. */
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *) "");
	if (!key)
		return memory_was_out() ? -ENOMEM : -EINVAL;
	ERR_clear_error();
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA && !crypto_is_ed25519(key)) {
		EVP_PKEY_free(key);
		return -ENOPKG;
	}
	*ret = key;
	return 0;
}

int crypto_generate(bool ed25519, unsigned bits, EVP_PKEY **ret)
{
	EVP_PKEY *key;

	if (!ed25519 && (bits < RSA_BITS_LEAST || bits > RSA_BITS_MOST))
		return -EINVAL;
	key = ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t) bits);
	if (!key)
		return memory_was_out() ? -ENOMEM : -EIO;
	*ret = key;
	return 0;
}

int crypto_private_pem(EVP_PKEY *key, char **ret)
{
	_cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem()); /* wipes what it frees */
	char *data, *text;
	long len;

	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
		ERR_clear_error();
		return -ENOMEM;
	}
	len = BIO_get_mem_data(bio, &data);
	text = malloc((size_t) len + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, data, (size_t) len);
	text[len] = '\0';
	*ret = text;
	return 0;
}

int crypto_public_bytes(const EVP_PKEY *key, struct arena *a, struct slice *ret)
{
	size_t len = ED25519_BYTES;
	unsigned char *out;
	int n;

	if (crypto_is_ed25519(key)) {
		out = arena_alloc(a, len);
		if (!out || EVP_PKEY_get_raw_public_key(key, out, &len) != 1)
			return -ENOMEM;
	} else {
		unsigned char *at;

		n = i2d_PUBKEY(key, NULL);
		out = n > 0 ? arena_alloc(a, (size_t) n) : NULL;
		at = out;
		if (!out || i2d_PUBKEY(key, &at) != n)
			return -ENOMEM;
		len = (size_t) n;
	}
	*ret = slice_new((const char *) out, len);
	return 0;
}

/* RFC 8463 section 3: what Ed25519 signs is the SHA-256 digest of the data. */
static struct slice message_of(const EVP_PKEY *key, struct slice data, unsigned char digest[static EVP_MAX_MD_SIZE])
{
	unsigned len = 0;

	if (!crypto_is_ed25519(key))
		return data;
	if (EVP_Digest(data.data, data.len, digest, &len, EVP_sha256(), NULL) != 1)
		return SLICE_NULL;
	return slice_new((const char *) digest, len);
}

int crypto_verify(EVP_PKEY *key, struct slice data, struct slice signature)
{
	_cleanup_(md_ctx_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
	const EVP_MD *digest = crypto_is_ed25519(key) ? NULL : EVP_sha256();
	unsigned char hash[EVP_MAX_MD_SIZE];
	struct slice message = message_of(key, data, hash);
	int r;

	if (!context || !message.data || EVP_DigestVerifyInit(context, NULL, digest, NULL, key) != 1)
		return -ENOMEM;
	r = EVP_DigestVerify(context, (const unsigned char *) signature.data, signature.len, (const unsigned char *) message.data,
			     message.len);
	return r == 1 ? 1 : memory_was_out() ? -ENOMEM : 0;
}

char *crypto_base64(struct arena *a, const unsigned char *data, size_t len)
{
	char *out = arena_alloc(a, (len + 2) / 3 * 4 + 1);

	if (out)
		EVP_EncodeBlock((unsigned char *) out, data, (int) len);
	return out;
}

int crypto_sign(EVP_PKEY *key, struct slice data, struct arena *a, const char **ret)
{
	_cleanup_(md_ctx_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
	const EVP_MD *digest = crypto_is_ed25519(key) ? NULL : EVP_sha256();
	unsigned char hash[EVP_MAX_MD_SIZE], signature[SIGNATURE_MAX];
	struct slice message = message_of(key, data, hash);
	size_t len = sizeof(signature);

	if (!context || !message.data)
		return -ENOMEM;
	if (EVP_DigestSignInit(context, NULL, digest, NULL, key) != 1 ||
	    EVP_DigestSign(context, signature, &len, (const unsigned char *) message.data, message.len) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	*ret = crypto_base64(a, signature, len);
	return *ret ? 0 : -ENOMEM;
}
