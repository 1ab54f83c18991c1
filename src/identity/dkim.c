/* Signatures judged. */
#include "identity/dkim.h"

#include <stdarg.h>
#include <stdio.h>

#define RSA_BITS_MIN 1024u
#define RSA_BITS_MAX 8192u
#define KEYS_MAX 4u
#define CLOCK_SKEW (10u * 3600)
#define START_LEN 8u

const char *dkim_word_text(enum dkim_word word)
{
	static const char *const words[] = { "none", "pass", "fail", "policy", "neutral", "temperror", "permerror" };

	return words[word];
}

static int _printf_(4, 5) judged(struct dkim_result *result, struct arena *a, enum dkim_word word, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	result->word = word;
	result->reason = arena_strdup(a, text);
	return result->reason ? 0 : -ENOMEM;
}

/* --- what is covered ------------------------------------------------------------------------------------------ */

/* RFC 6376 section 5.4.2: a name that stands there again means the next field of that name further up; one that there
 * is no field for stands for nothing, and so for the promise that there is none. */
int dkim_covered(const struct content *m, enum canon canon, struct slice names, struct slice own, struct buffer *out)
{
	_cleanup_buffer_ struct buffer stripped = { 0 };
	struct slice rest = names, name;

	while (fws_word(&rest, ':', &name)) {
		const struct header_field *f;
		struct slice before = slice_new(names.data, (size_t) (name.data - names.data)), earlier;
		unsigned n = 0;

		while (before.len > 0 && fws_word(&before, ':', &earlier))
			n += slice_ieq(earlier, name);
		f = content_field(m, name, n);
		if (f)
			canon_field(canon, f->raw, true, out);
	}
	canon_remove_signature(own, &stripped);
	canon_field(canon, buffer_slice(&stripped), false, out);
	return buffer_error(&stripped) < 0 ? -ENOMEM : buffer_error(out);
}

/* --- one key -------------------------------------------------------------------------------------------------- */

struct judgement {
	const struct signature *s;
	const struct dkim_limits *limits;
	struct slice covered;
	struct arena *arena;
	struct dkim_result *result;
};

/* RFC 6376 section 6.1.2: may this key have made such a signature? 1, or 0 with the result. */
static int key_fits(struct judgement *j, const struct key_record *key)
{
	const struct signature *s = j->s;
	bool ed25519 = s->algorithm == ALGORITHM_ED25519_SHA256;
	int r;

	if (key->data.len == 0)
		r = judged(j->result, j->arena, DKIM_PERMERROR, "the key was revoked");
	else if (key->ed25519 != ed25519)
		r = judged(j->result, j->arena, DKIM_PERMERROR, "the key is for another algorithm than %s", signature_algorithm_name(s->algorithm));
	else if (key->hashes.data && !key_list_has(key->hashes, "sha256"))
		r = judged(j->result, j->arena, DKIM_PERMERROR, "the key is not for SHA-256");
	else if (key->services.data && !key_list_has(key->services, "email") && !key_list_has(key->services, "*"))
		r = judged(j->result, j->arena, DKIM_PERMERROR, "the key is not for mail");
	else if (key->strict && strcmp(s->identity_domain, s->domain) != 0 && s->kind == SIGNATURE_DKIM)
		r = judged(j->result, j->arena, DKIM_PERMERROR, "the key allows no i= below its domain");
	else
		return 1;
	return r;
}

/* RFC 8301 section 3.2. 1, or 0 with the result. */
static int size_fits(struct judgement *j)
{
	unsigned least = j->limits->min_rsa_bits ? j->limits->min_rsa_bits : RSA_BITS_MIN;
	unsigned most = j->limits->max_rsa_bits ? j->limits->max_rsa_bits : RSA_BITS_MAX;

	if (j->s->algorithm == ALGORITHM_ED25519_SHA256)
		return 1;
	if (j->result->bits < least)
		return judged(j->result, j->arena, DKIM_FAIL, "the key has %u bits only, %u are needed", j->result->bits, least);
	if (j->result->bits > most)
		return judged(j->result, j->arena, DKIM_POLICY, "the key has %u bits, at most %u are looked at", j->result->bits, most);
	return 1;
}

static int try_key(struct judgement *j, struct slice text)
{
	_cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
	struct key_record record;
	int r = key_record_parse(text, j->arena, &record);

	if (r == -ENOPKG)
		return judged(j->result, j->arena, DKIM_PERMERROR, "the key is of an unknown kind");
	if (r == -EINVAL)
		return judged(j->result, j->arena, DKIM_PERMERROR, "the key record has a syntax error");
	if (r < 0)
		return r;
	j->result->testing = record.testing;
	r = key_fits(j, &record);
	if (r <= 0)
		return r;
	r = key_cache_public_key(j->limits->known, record.ed25519, record.data, &key);
	if (r == -EINVAL)
		return judged(j->result, j->arena, DKIM_PERMERROR, "what the key record holds is not a key");
	if (r < 0)
		return r;
	j->result->bits = (unsigned) EVP_PKEY_get_bits(key);
	r = size_fits(j);
	if (r <= 0)
		return r;
	r = crypto_verify(key, j->covered, j->s->value);
	if (r < 0)
		return r;
	return r ? judged(j->result, j->arena, DKIM_PASS, "the signature is right")
		 : judged(j->result, j->arena, DKIM_FAIL, "the signature doesn't fit the header fields that it covers");
}

/* Asks for the key and tries what comes. */
static int try_keys(struct judgement *j, struct resolver *r, usec_t deadline)
{
	const char *name = arena_printf(j->arena, "%s._domainkey.%s", j->s->selector, j->s->domain);
	unsigned most = j->limits->keys ? j->limits->keys : KEYS_MAX;
	struct dns_answer answer;
	int result;

	if (!name)
		return -ENOMEM;
	result = dns_query(r, name, DNS_TXT, deadline, j->arena, &answer);
	if (result < 0)
		return result;
	if (DNS_STATUS_TEMPORARY(answer.status))
		return judged(j->result, j->arena, DKIM_TEMPERROR, "the key can't be had now: %s", answer.why);
	if (answer.n_records == 0)
		return judged(j->result, j->arena, DKIM_PERMERROR, "there is no key at %s", name);
	for (unsigned i = 0; i < answer.n_records && i < most; i++) {
		result = try_key(j, answer.records[i].data);
		if (result < 0 || j->result->word == DKIM_PASS)
			break;
	}
	return result;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static bool is_time_past(const struct signature *s, wall_t now)
{
	return s->expires && now / (wall_t) USEC_SEC > (wall_t) s->expires;
}

/* RFC 6376 section 6.1.3. */
static int judge_body(struct judgement *j, const struct body_hash *body)
{
	const struct signature *s = j->s;

	if (s->body_value.len != body->value_len || memcmp(s->body_value.data, body->value, body->value_len) != 0)
		return judged(j->result, j->arena, DKIM_FAIL, "the body is not the one that was signed");
	if (s->length != BODY_ALL && body->octets < s->length)
		return judged(j->result, j->arena, DKIM_FAIL, "the body is shorter than what was signed of it");
	if (s->length != BODY_ALL && body->octets > s->length) {
		j->result->weak = true;
		return judged(j->result, j->arena, DKIM_PASS, "the signature is right, but covers only %llu of the %llu octets of the body",
			      (unsigned long long) s->length, (unsigned long long) body->octets);
	}
	return 0;
}

int dkim_verify_data(struct resolver *r, const struct signature *s, const struct slice *covered, const struct body_hash *body,
		     const struct dkim_limits *limits, wall_t now, usec_t deadline, struct arena *a, struct dkim_result *ret)
{
	static const struct dkim_limits none = { 0 };
	struct dkim_result result = { .reason = "", .domain = s->domain, .selector = s->selector, .identity = s->identity,
				      .algorithm = signature_algorithm_name(s->algorithm) };
	struct judgement j = { .s = s, .limits = limits ? limits : &none, .covered = *covered, .arena = a, .result = &result };
	unsigned skew = j.limits->clock_skew ? j.limits->clock_skew : CLOCK_SKEW;
	char *start = crypto_base64(a, (const unsigned char *) s->value.data, MIN(s->value.len, (size_t) 6));
	int error;

	if (!start)
		return -ENOMEM;
	start[MIN(strlen(start), (size_t) START_LEN)] = '\0';
	result.start = start;
	if (s->error)
		error = judged(&result, a, DKIM_PERMERROR, "%s", s->error);
	else if (s->algorithm == ALGORITHM_RSA_SHA1)
		error = judged(&result, a, DKIM_FAIL, "rsa-sha1 proves nothing any more (RFC 8301)");
	else if (is_time_past(s, now))
		error = judged(&result, a, DKIM_FAIL, "the signature has expired");
	else if (s->time && (wall_t) s->time > now / (wall_t) USEC_SEC + (wall_t) skew)
		error = judged(&result, a, DKIM_FAIL, "the signature comes from the future");
	else
		error = try_keys(&j, r, deadline);
	if (error >= 0 && result.word == DKIM_PASS && body)
		error = judge_body(&j, body);
	if (error < 0)
		return error;
	*ret = result;
	return 0;
}

int dkim_verify(struct resolver *r, const struct content *m, unsigned n, const struct dkim_limits *limits, wall_t now,
		usec_t deadline, struct arena *a, struct dkim_result *ret)
{
	_cleanup_buffer_ struct buffer covered = { 0 };
	struct signature s = m->signatures[n];
	struct slice octets = SLICE("");
	struct body_hash *body = NULL;
	int error;

	if (m->malformed && !s.error)
		s.error = m->malformed;
	if (!s.error && n < m->limits.signatures) {
		error = dkim_covered(m, s.header, s.signed_fields, s.field.raw, &covered);
		if (error < 0)
			return error;
		octets = buffer_slice(&covered);
		body = content_hash(m, s.body, s.length);
	}
	if (!s.error && !body) {
		*ret = (struct dkim_result) { .domain = s.domain, .selector = s.selector, .identity = s.identity, .start = "",
					      .algorithm = signature_algorithm_name(s.algorithm) };
		return judged(ret, a, DKIM_POLICY, "the message has more signatures than the %u that are looked at", m->limits.signatures);
	}
	return dkim_verify_data(r, &s, &octets, body, limits, now, deadline, a, ret);
}
