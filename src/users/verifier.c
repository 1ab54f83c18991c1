#include "users/verifier.h"

#include <crypt.h>
#include <gsasl.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "base/base64.h"

#define SALT_OCTETS 16u

static const struct {
	const char *name;
	Gsasl_hash hash;
	size_t len;
} hashes[SCRAM_HASHES] = {
	[SCRAM_SHA_1] = { "SCRAM-SHA-1$", GSASL_HASH_SHA1, 20 },
	[SCRAM_SHA_256] = { "SCRAM-SHA-256$", GSASL_HASH_SHA256, 32 },
};

size_t scram_key_len(enum scram_hash h)
{
	return hashes[h].len;
}

static void wipe_text(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void verifiers_done(struct verifiers *v)
{
	wipe_text(v->crypt);
	explicit_bzero(v, sizeof(*v));
}

/* --- text ------------------------------------------------------------------------------------------------------ */

static bool is_base64(char c)
{
	return ascii_is_alnum(c) || c == '+' || c == '/' || c == '=';
}

/* Takes base64 of exactly len octets (0: of 1 to size) and the character behind it. end '\0': whatever is there. */
static int take_base64(struct slice *text, char end, unsigned char *out, size_t size, size_t len, size_t *ret_len)
{
	size_t n = 0;
	ssize_t r;

	while (n < text->len && is_base64(text->data[n]))
		n++;
	r = base64_decode(slice_head(*text, n), out, size);
	if (r <= 0 || (len > 0 && (size_t) r != len))
		return -EINVAL;
	*text = slice_skip(*text, n);
	if (end) {
		if (text->len == 0 || text->data[0] != end)
			return -EINVAL;
		*text = slice_skip(*text, 1);
	}
	if (ret_len)
		*ret_len = (size_t) r;
	return 0;
}

/* RFC 5803 section 3, from the iterations on. */
static int take_scram(struct slice *text, enum scram_hash h, struct scram_verifier *ret)
{
	struct scram_verifier v = { 0 };
	size_t digits = 0, salt_len = 0;
	uint64_t iterations;

	while (digits < text->len && ascii_is_digit(text->data[digits]))
		digits++;
	if (slice_to_u64(slice_head(*text, digits), &iterations) < 0 || iterations < SCRAM_ITERATIONS_MIN ||
	    iterations > SCRAM_ITERATIONS_MAX || digits == text->len || text->data[digits] != ':')
		return -EINVAL;
	*text = slice_skip(*text, digits + 1);
	v.iterations = (unsigned) iterations;
	if (take_base64(text, '$', v.salt, sizeof(v.salt), 0, &salt_len) < 0 ||
	    take_base64(text, ':', v.stored_key, sizeof(v.stored_key), hashes[h].len, NULL) < 0 ||
	    take_base64(text, '\0', v.server_key, sizeof(v.server_key), hashes[h].len, NULL) < 0)
		return -EINVAL;
	v.salt_len = (unsigned) salt_len;
	*ret = v;
	return 0;
}

static int take_crypt(struct slice *text, char **ret)
{
	size_t n = 0;
	char *hash;

	if (text->data[0] == '{') {
		ssize_t brace = slice_find(*text, '}');

		if (brace < 0)
			return -EINVAL;
		*text = slice_skip(*text, (size_t) brace + 1);
	}
	while (n < text->len && text->data[n] > ' ' && text->data[n] < 127 && text->data[n] != ':')
		n++;
	if (n < 2 || text->data[0] != '$' || *ret)
		return -EINVAL;
	hash = slice_dup(slice_head(*text, n));
	if (!hash)
		return -ENOMEM;
	*text = slice_skip(*text, n);
	*ret = hash;
	return 0;
}

/* One of them. */
static int take_verifier(struct slice *text, struct verifiers *v)
{
	for (enum scram_hash h = 0; h < SCRAM_HASHES; h++) {
		size_t len = strlen(hashes[h].name);

		if (!slice_istarts(*text, hashes[h].name))
			continue;
		if (v->scram[h].iterations)
			return -EINVAL;
		*text = slice_skip(*text, len);
		return take_scram(text, h, &v->scram[h]);
	}
	if (text->data[0] == '!' || text->data[0] == '*') {
		size_t n = 0;

		while (n < text->len && text->data[n] != ':')
			n++;
		*text = slice_skip(*text, n);
		return 0;
	}
	return take_crypt(text, &v->crypt);
}

int verifiers_parse(struct slice text, struct slice *ret_rest, struct verifiers *ret)
{
	struct verifiers v = { 0 };
	int r = 0;

	for (;;) {
		while (text.len > 0 && text.data[0] == ' ')
			text = slice_skip(text, 1);
		if (r < 0 || text.len == 0 || text.data[0] == ':')
			break;
		r = take_verifier(&text, &v);
		/* They are kept apart. */
		if (r >= 0 && text.len > 0 && text.data[0] != ' ' && text.data[0] != ':')
			r = -EINVAL;
	}
	if (r < 0) {
		verifiers_done(&v);
		return r;
	}
	*ret_rest = text;
	*ret = v;
	return 0;
}

static void append_base64(const unsigned char *data, size_t len, struct buffer *out)
{
	base64_encode(slice_new((const char *) data, len), out);
}

void verifiers_format(const struct verifiers *v, struct buffer *out)
{
	bool any = v->crypt != NULL;

	buffer_append_str(out, v->crypt ? v->crypt : "");
	for (enum scram_hash h = SCRAM_HASHES; h-- > 0;) {
		const struct scram_verifier *s = &v->scram[h];

		if (!s->iterations)
			continue;
		buffer_printf(out, "%s%s%u:", any ? " " : "", hashes[h].name, s->iterations);
		any = true;
		append_base64(s->salt, s->salt_len, out);
		buffer_append_char(out, '$');
		append_base64(s->stored_key, hashes[h].len, out);
		buffer_append_char(out, ':');
		append_base64(s->server_key, hashes[h].len, out);
	}
	if (!any)
		buffer_append_char(out, '!');
}

/* --- passwords ------------------------------------------------------------------------------------------------- */

int scram_derive(const char *password, enum scram_hash h, struct slice salt, unsigned iterations, struct scram_verifier *ret)
{
	struct scram_verifier v = { .iterations = iterations, .salt_len = (unsigned) salt.len };
	char salted[GSASL_HASH_MAX_SIZE], client_key[GSASL_HASH_MAX_SIZE], server_key[GSASL_HASH_MAX_SIZE],
		stored_key[GSASL_HASH_MAX_SIZE];
	int r;

	assert(salt.len <= SCRAM_SALT_MAX);
	memcpy(v.salt, salt.data, salt.len);
	r = gsasl_scram_secrets_from_password(hashes[h].hash, password, iterations, (char *) v.salt, v.salt_len, salted, client_key,
					      server_key, stored_key);
	if (r == GSASL_OK) {
		memcpy(v.stored_key, stored_key, hashes[h].len);
		memcpy(v.server_key, server_key, hashes[h].len);
		*ret = v;
	}
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client_key, sizeof(client_key));
	explicit_bzero(server_key, sizeof(server_key));
	explicit_bzero(stored_key, sizeof(stored_key));
	explicit_bzero(&v, sizeof(v));
	return r == GSASL_OK ? 0 : r == GSASL_MALLOC_ERROR ? -ENOMEM : -EINVAL;
}

static int make_scram(const char *password, enum scram_hash h, unsigned iterations, struct scram_verifier *ret)
{
	char salt[SALT_OCTETS];

	if (RAND_bytes((unsigned char *) salt, sizeof(salt)) != 1)
		return -EIO;
	return scram_derive(password, h, slice_new(salt, sizeof(salt)), iterations, ret);
}

/* crypt(3) with memory of its own. On the heap, or NULL. */
static char *run_crypt(const char *password, const char *setting)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	char *hash = NULL;

	if (!data)
		return NULL;
	if (crypt_r(password, setting, data) && data->output[0] == '$')
		hash = strdup(data->output);
	explicit_bzero(data, sizeof(*data));
	free(data);
	return hash;
}

static int make_crypt(const char *password, char **ret)
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];

	if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
		return -EIO;
	*ret = run_crypt(password, setting);
	return *ret ? 0 : -ENOMEM;
}

int verifiers_make(const char *password, unsigned iterations, struct verifiers *ret)
{
	struct verifiers v = { 0 };
	char *prepared = NULL;
	int r;

	if (strlen(password) > PASSWORD_MAX || gsasl_saslprep(password, 0, &prepared, NULL) != GSASL_OK)
		return -EINVAL;
	r = !prepared[0] || strlen(prepared) > PASSWORD_MAX ? -EINVAL : make_crypt(prepared, &v.crypt);
	for (enum scram_hash h = 0; h < SCRAM_HASHES && r >= 0; h++)
		r = make_scram(prepared, h, iterations, &v.scram[h]);
	wipe_text(prepared);
	if (r < 0) {
		verifiers_done(&v);
		return r;
	}
	*ret = v;
	return 0;
}

bool crypt_matches(const char *hash, const char *password)
{
	char *mine = run_crypt(password, hash);
	bool same = false;

	if (mine) {
		size_t len = strlen(mine);
		unsigned char differs = len != strlen(hash);

		/* Every octet is looked at, whatever the first ones say. */
		for (size_t i = 0; i < len && hash[i]; i++)
			differs |= (unsigned char) (mine[i] ^ hash[i]);
		same = !differs;
	}
	wipe_text(mine);
	return same;
}

char *crypt_dummy(const char *like)
{
	_cleanup_(freep) char *made = NULL;
	char password[25];
	unsigned char random[12];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return NULL;
	for (size_t i = 0; i < sizeof(random); i++) {
		password[2 * i] = (char) ('a' + random[i] % 16);
		password[2 * i + 1] = (char) ('a' + random[i] / 16);
	}
	password[24] = '\0';
	if (like)
		return run_crypt(password, like);
	return make_crypt(password, &made) < 0 ? NULL : TAKE_PTR(made);
}
