#include "identity/signature.h"

#include "mail/address.h"
#include "mail/text.h"

const char *signature_algorithm_name(enum signature_algorithm a)
{
	static const char *const names[] = { "rsa-sha256", "ed25519-sha256", "rsa-sha1" };

	return names[a];
}

/* Who reads a signature step by step: each step returns 0 or -ENOMEM and notes what is wrong in s->error. */
struct reader {
	struct signature *s;
	struct tags tags;
	struct arena *arena;
};

static int wrong(struct reader *r, const char *error)
{
	r->s->error = error;
	return 0;
}

static const char *const missing[] = { "the tag a= is missing", "the tag d= is missing", "the tag s= is missing",
				       "the tag b= is missing" };

/* A domain in lower case, as A-labels (RFC 8616 section 5). */
static int read_name(struct reader *r, const char *tag, const char *is_missing, const char *is_wrong, const char **ret)
{
	struct slice value = tags_get(&r->tags, tag);
	int result;

	if (value.len == 0)
		return wrong(r, is_missing);
	if (!domain_is_valid(value, true))
		return wrong(r, is_wrong);
	result = domain_to_ascii(r->arena, value, ret);
	return result == -EINVAL ? wrong(r, is_wrong) : result;
}

static int read_algorithm(struct reader *r)
{
	struct slice value = tags_get(&r->tags, "a");

	if (value.len == 0)
		return wrong(r, missing[0]);
	for (enum signature_algorithm a = ALGORITHM_RSA_SHA256; a <= ALGORITHM_RSA_SHA1; a++) {
		if (slice_ieq_str(value, signature_algorithm_name(a))) {
			r->s->algorithm = a;
			return 0;
		}
	}
	return wrong(r, "the algorithm of a= is unknown");
}

static int read_canon(struct reader *r)
{
	struct slice value = tags_get(&r->tags, "c"), part[2];

	if (!value.data)
		return 0;
	part[0] = fws_trim(slice_cut(value, '/', &value));
	part[1] = value.data ? fws_trim(value) : SLICE("simple");
	for (unsigned i = 0; i < 2; i++) {
		enum canon *canon = i == 0 ? &r->s->header : &r->s->body;

		if (slice_ieq_str(part[i], "relaxed"))
			*canon = CANON_RELAXED;
		else if (!slice_ieq_str(part[i], "simple"))
			return wrong(r, "the canonicalization of c= is unknown");
	}
	return 0;
}

static bool is_field_name(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] <= ' ' || s.data[i] > '~')
			return false;
	return s.len > 0;
}

static int read_signed_fields(struct reader *r)
{
	struct slice rest = r->s->signed_fields = tags_get(&r->tags, "h"), name;
	bool from = false, seal = false;
	unsigned n = 0;

	if (rest.len == 0)
		return wrong(r, "the tag h= is missing");
	while (fws_word(&rest, ':', &name)) {
		if (!is_field_name(name) || n++ == SIGNED_FIELDS_MAX)
			return wrong(r, "the tag h= is not a list of field names");
		from = from || slice_ieq_str(name, "from");
		seal = seal || slice_ieq_str(name, "arc-seal");
	}
	if (!from)
		return wrong(r, "the tag h= doesn't name From"); /* RFC 6376 section 3.5 */
	if (seal && r->s->kind == SIGNATURE_ARC)
		return wrong(r, "an ARC-Message-Signature must not sign ARC-Seal"); /* RFC 8617 section 4.1.2 */
	return 0;
}

static int read_value(struct reader *r, const char *tag, const char *is_wrong, struct slice *ret)
{
	struct slice value = tags_get(&r->tags, tag);
	int result;

	if (value.len == 0)
		return wrong(r, is_wrong);
	result = tag_base64(r->arena, value, ret);
	if (result == -EINVAL || (result == 0 && ret->len == 0))
		return wrong(r, is_wrong);
	return result;
}

/* RFC 6376 section 3.5: i= is d= or below it. Its local part may hold anything in quoted-printable. */
static int read_identity(struct reader *r)
{
	struct signature *s = r->s;
	struct slice value = tags_get(&r->tags, "i"), domain;
	size_t n = value.len;
	int result;

	if (!value.data) {
		s->identity = arena_printf(r->arena, "@%s", s->domain);
		s->identity_domain = s->domain;
		return s->identity ? 0 : -ENOMEM;
	}
	while (n > 0 && value.data[n - 1] != '@')
		n--;
	domain = slice_skip(value, n);
	if (n == 0 || !domain_is_valid(domain, true))
		return wrong(r, "the tag i= has no domain");
	result = domain_to_ascii(r->arena, domain, &s->identity_domain);
	if (result < 0)
		return result == -EINVAL ? wrong(r, "the tag i= has no domain") : result;
	s->identity = arena_slice(r->arena, value);
	if (!s->identity)
		return -ENOMEM;
	if (!name_is_within(slice_from(s->identity_domain), slice_from(s->domain)))
		return wrong(r, "the domain of i= is neither d= nor below it");
	return 0;
}

static int read_numbers(struct reader *r)
{
	struct slice t = tags_get(&r->tags, "t"), x = tags_get(&r->tags, "x"), l = tags_get(&r->tags, "l");
	struct signature *s = r->s;

	if (t.data && tag_number(t, 12, &s->time) < 0)
		return wrong(r, "the tag t= is not a time");
	if (s->kind == SIGNATURE_SEAL)
		return 0;
	if (x.data && (tag_number(x, 12, &s->expires) < 0 || s->expires == 0))
		return wrong(r, "the tag x= is not a time");
	if (s->time && s->expires && s->expires <= s->time)
		return wrong(r, "the signature expires before it was made");
	if (l.data && tag_number(l, 18, &s->length) < 0)
		return wrong(r, "the tag l= is not a number");
	return 0;
}

/* q=: one of the ways to the key must be the DNS. */
static int read_query(struct reader *r)
{
	struct slice rest = tags_get(&r->tags, "q"), word;

	if (!rest.data)
		return 0;
	while (fws_word(&rest, ':', &word))
		if (slice_ieq_str(word, "dns/txt") || slice_ieq_str(word, "dns"))
			return 0;
	return wrong(r, "no way to the key in q= is known");
}

static int read_instance(struct reader *r)
{
	uint64_t n;

	if (tag_number(tags_get(&r->tags, "i"), 3, &n) < 0 || n < 1 || n > 50)
		return wrong(r, "the instance i= is not a number from 1 to 50"); /* RFC 8617 section 4.2.1 */
	r->s->instance = (unsigned) n;
	return 0;
}

/* What DKIM has and ARC has not, or the other way round. */
static int read_own(struct reader *r)
{
	if (r->s->kind != SIGNATURE_DKIM) {
		int result = read_instance(r);

		if (result < 0 || r->s->error || r->s->kind == SIGNATURE_ARC)
			return result;
		r->s->chain = tags_get(&r->tags, "cv");
		r->s->header = CANON_RELAXED;
		return tags_get(&r->tags, "h").data ? wrong(r, "an ARC-Seal must not have the tag h=") : 0;
	}
	/* RFC 6376 section 3.5. */
	if (!slice_eq_str(tags_get(&r->tags, "v"), "1"))
		return wrong(r, "the version v= is not 1");
	return read_query(r);
}

static int read_all(struct reader *r)
{
	struct signature *s = r->s;
	bool seal = s->kind == SIGNATURE_SEAL;
	int result;

	/* Domain and selector first: they name the signature in reports, also a broken one. */
	result = read_name(r, "d", missing[1], "the domain d= is not a domain name", &s->domain);
	if (result >= 0)
		result = read_name(r, "s", missing[2], "the selector s= is not a domain name", &s->selector);
	if (result >= 0 && !s->error)
		result = read_own(r);
	if (result >= 0 && !s->error)
		result = read_algorithm(r);
	if (result >= 0 && !s->error)
		result = read_value(r, "b", "the signature b= is missing or not Base64", &s->value);
	if (result >= 0 && !s->error && !seal)
		result = read_canon(r);
	if (result >= 0 && !s->error && !seal)
		result = read_value(r, "bh", "the hash bh= is missing or not Base64", &s->body_value);
	if (result >= 0 && !s->error && !seal)
		result = read_signed_fields(r);
	if (result >= 0 && !s->error && s->kind == SIGNATURE_DKIM)
		result = read_identity(r);
	if (result >= 0 && !s->error)
		result = read_numbers(r);
	return result;
}

int signature_parse(enum signature_kind kind, const struct header_field *field, struct arena *a, struct signature *ret)
{
	struct reader r = { .s = ret, .arena = a };
	int result;

	*ret = (struct signature) { .kind = kind, .field = *field, .domain = "", .selector = "", .identity = "",
				    .identity_domain = "", .length = BODY_ALL };
	result = tags_parse(field->value, &r.tags);
	if (result < 0) {
		wrong(&r, result == -EEXIST ? "a tag stands there twice"
			  : result == -E2BIG ? "it has too many tags" : "it is not a list of tags");
		if (result == -EEXIST || result == -E2BIG) {
			const char *error = ret->error;

			result = read_name(&r, "d", error, error, &ret->domain);
			if (result >= 0)
				result = read_name(&r, "s", error, error, &ret->selector);
			ret->error = error;
			return result < 0 ? result : 0;
		}
		return 0;
	}
	return read_all(&r);
}

/* --- key records -------------------------------------------------------------------------------------------------- */

bool key_list_has(struct slice list, const char *word)
{
	struct slice w;

	while (fws_word(&list, ':', &w))
		if (slice_ieq_str(w, word))
			return true;
	return false;
}

int key_record_parse(struct slice text, struct arena *a, struct key_record *ret)
{
	struct key_record key = { .ed25519 = false };
	struct slice v, k, p, t;
	struct tags tags;

	if (tags_parse(text, &tags) < 0)
		return -EINVAL;
	v = tags_get(&tags, "v");
	k = tags_get(&tags, "k");
	p = tags_get(&tags, "p");
	t = tags_get(&tags, "t");
	/* RFC 6376 section 3.6.1: v= is DKIM1 and stands first, if it is there; p= must be. */
	if (v.data && (!slice_eq_str(v, "DKIM1") || !slice_eq_str(tags.tag[0].name, "v")))
		return -EINVAL;
	if (!p.data)
		return -EINVAL;
	if (k.data && slice_ieq_str(k, "ed25519"))
		key.ed25519 = true;
	else if (k.data && !slice_ieq_str(k, "rsa"))
		return -ENOPKG;
	key.hashes = tags_get(&tags, "h");
	key.services = tags_get(&tags, "s");
	key.testing = key_list_has(t, "y");
	key.strict = key_list_has(t, "s");
	if (p.len > 0) {
		int r = tag_base64(a, p, &key.data);

		if (r < 0)
			return r;
		if (key.data.len == 0)
			return -EINVAL;
	}
	*ret = key;
	return 0;
}
