#include "identity/arc.h"

const char *arc_word_text(enum arc_word word)
{
	static const char *const words[] = { "none", "pass", "fail" };

	return words[word];
}

/* --- judging ------------------------------------------------------------------------------------------------- */

static int failed(struct arena *a, struct arc_result *result, unsigned instance, const char *what, const char *why)
{
	result->word = ARC_FAIL;
	result->reason = instance ? arena_printf(a, "%s of set %u: %s", what, instance, why) : arena_strdup(a, why);
	return result->reason ? 0 : -ENOMEM;
}

/* RFC 8617 section 5.2, steps 1 to 3. NULL when the chain is well formed. */
static const char *structure_error(const struct content *m, unsigned max_sets)
{
	if (m->malformed)
		return m->malformed;
	if (m->n_sets > max_sets)
		return "the chain is too long";
	if (m->n_sets > 0 && m->sets[m->n_sets - 1].has_seal && slice_ieq_str(m->sets[m->n_sets - 1].seal.chain, "fail"))
		return "its last seal says that the chain is broken";
	if (m->arc_error)
		return m->arc_error;
	for (unsigned i = 0; i < m->n_sets; i++)
		if (!slice_ieq_str(m->sets[i].seal.chain, i == 0 ? "none" : "pass"))
			return "a seal has another cv= than its place in the chain demands";
	return NULL;
}

static void append_set(const struct arc_set *set, bool with_seal, struct buffer *out)
{
	canon_field(CANON_RELAXED, set->results.raw, true, out);
	canon_field(CANON_RELAXED, set->message.field.raw, true, out);
	if (with_seal)
		canon_field(CANON_RELAXED, set->seal.field.raw, true, out);
}

/* RFC 8617 section 5.1.1: sets first to n, the seal of the last without its signature. */
static int seal_covered(const struct content *m, unsigned first, unsigned n, struct buffer *out)
{
	_cleanup_buffer_ struct buffer stripped = { 0 };

	for (unsigned i = first; i <= n; i++)
		append_set(&m->sets[i - 1], i < n, out);
	canon_remove_signature(m->sets[n - 1].seal.field.raw, &stripped);
	canon_field(CANON_RELAXED, buffer_slice(&stripped), false, out);
	return buffer_error(&stripped) < 0 ? -ENOMEM : buffer_error(out);
}

struct chain {
	struct resolver *resolver;
	const struct content *message;
	const struct dkim_limits *limits;
	wall_t now;
	usec_t deadline;
	struct arena *arena;
};

/* 1: it holds; 0: *ret_why says why not. */
static int check_seal(const struct chain *c, unsigned n, const char **ret_why)
{
	_cleanup_buffer_ struct buffer covered = { 0 };
	struct dkim_result verdict;
	struct slice octets;
	int r = seal_covered(c->message, 1, n, &covered);

	if (r < 0)
		return r;
	octets = buffer_slice(&covered);
	r = dkim_verify_data(c->resolver, &c->message->sets[n - 1].seal, &octets, NULL, c->limits, c->now, c->deadline,
			     c->arena, &verdict);
	if (r < 0)
		return r;
	*ret_why = verdict.reason;
	return verdict.word == DKIM_PASS;
}

static int check_message(const struct chain *c, unsigned n, const char **ret_why)
{
	const struct signature *s = &c->message->sets[n - 1].message;
	const struct body_hash *body = content_hash(c->message, s->body, s->length);
	_cleanup_buffer_ struct buffer covered = { 0 };
	struct dkim_result verdict;
	struct slice octets;
	int r = dkim_covered(c->message, s->header, s->signed_fields, s->field.raw, &covered);

	if (r < 0)
		return r;
	if (!body)
		return -ENOMEM;
	octets = buffer_slice(&covered);
	r = dkim_verify_data(c->resolver, s, &octets, body, c->limits, c->now, c->deadline, c->arena, &verdict);
	if (r < 0)
		return r;
	*ret_why = verdict.reason;
	return verdict.word == DKIM_PASS;
}

int arc_verify(struct resolver *r, const struct content *m, const struct dkim_limits *limits, unsigned max_sets, wall_t now,
	       usec_t deadline, struct arena *a, struct arc_result *ret)
{
	struct chain chain = { r, m, limits, now, deadline, a };
	struct arc_result result = { .word = ARC_NONE, .sets = m->n_sets, .domain = "", .reason = "the message has no ARC chain" };
	const char *why;
	int error;

	if (m->n_sets == 0 && !m->arc_error) {
		*ret = result;
		return 0;
	}
	if (m->n_sets > 0)
		result.domain = m->sets[m->n_sets - 1].seal.domain ? m->sets[m->n_sets - 1].seal.domain : "";
	why = structure_error(m, max_sets ? MIN(max_sets, ARC_SETS_MAX) : ARC_SETS_MAX);
	if (why) {
		error = failed(a, &result, 0, NULL, why);
	} else {
		error = check_message(&chain, m->n_sets, &why);
		if (error == 0)
			error = failed(a, &result, m->n_sets, "the message signature", why);
		for (unsigned n = m->n_sets; n > 0 && error > 0; n--) {
			error = check_seal(&chain, n, &why);
			if (error == 0)
				error = failed(a, &result, n, "the seal", why);
		}
		if (error > 0) {
			result.word = ARC_PASS;
			result.reason = "the newest message signature and all seals hold";
		}
	}
	if (error < 0)
		return error;
	*ret = result;
	return 0;
}

/* --- sealing ---------------------------------------------------------------------------------------------------- */

int arc_seal_prepare(struct content *m)
{
	return content_want_hash(m, CANON_RELAXED, BODY_ALL);
}

static const char *algorithm_of(const struct dkim_key *key)
{
	return signature_algorithm_name(crypto_is_ed25519(key->key) ? ALGORITHM_ED25519_SHA256 : ALGORITHM_RSA_SHA256);
}

/* Signs what is covered and appends the signature to the field. */
static int finish_field(const struct dkim_key *key, const struct buffer *covered, struct arena *a, struct buffer *field)
{
	const char *value;
	int r = buffer_error(covered);

	if (r >= 0)
		r = crypto_sign(key->key, buffer_slice(covered), a, &value);
	if (r < 0)
		return r;
	dkim_append_folded(field, value);
	return buffer_error(field);
}

/* RFC 8617 section 4.1.2: all that DKIM would sign, and the DKIM signatures; no seals. */
static int write_message_signature(const struct content *m, unsigned instance, const struct dkim_key *key,
				   const struct arc_sealing *how, struct arena *a, struct buffer *field)
{
	_cleanup_buffer_ struct buffer covered = { 0 };
	const struct body_hash *body = content_hash(m, CANON_RELAXED, BODY_ALL);
	const char *names = dkim_names_to_sign(m, NULL, a), *hash;
	int r;

	if (!body || !m->ended || m->malformed || !content_field(m, SLICE("From"), 0))
		return -EINVAL;
	hash = crypto_base64(a, body->value, body->value_len);
	for (unsigned i = 0; i < m->n_signatures && names; i++)
		names = arena_printf(a, "%s:DKIM-Signature", names);
	if (!names || !hash)
		return -ENOMEM;
	if (!dkim_names_fit(names))
		return -EINVAL;
	buffer_printf(field, "ARC-Message-Signature: i=%u; a=%s; c=relaxed/relaxed; d=%s;\r\n\ts=%s; t=%lld;\r\n\th=", instance,
		      algorithm_of(key), key->domain, key->selector, (long long) (how->time / (wall_t) USEC_SEC));
	dkim_append_names(field, names);
	buffer_printf(field, ";\r\n\tbh=%s;\r\n\tb=", hash);
	r = dkim_covered(m, CANON_RELAXED, slice_from(names), buffer_slice(field), &covered);
	return r < 0 ? r : finish_field(key, &covered, a, field);
}

int arc_seal(const struct content *m, const struct arc_result *verdict, const struct dkim_key *key,
	     const struct arc_sealing *how, struct arena *a, struct buffer *out)
{
	_cleanup_buffer_ struct buffer results = { 0 }, signature = { 0 }, seal = { 0 }, covered = { 0 };
	const struct arc_set *last = m->n_sets ? &m->sets[m->n_sets - 1] : NULL;
	unsigned instance = m->n_sets + 1;
	int r;

	if (instance > ARC_SETS_MAX || (last && last->has_seal && slice_ieq_str(last->seal.chain, "fail")))
		return -EALREADY;
	buffer_printf(&results, "ARC-Authentication-Results: i=%u; %s\r\n", instance, how->results);
	r = write_message_signature(m, instance, key, how, a, &signature);
	if (r < 0)
		return r;
	buffer_printf(&seal, "ARC-Seal: i=%u; a=%s; cv=%s; d=%s;\r\n\ts=%s; t=%lld;\r\n\tb=", instance, algorithm_of(key),
		      verdict->word == ARC_PASS ? "pass" : verdict->word == ARC_FAIL ? "fail" : "none", key->domain, key->selector,
		      (long long) (how->time / (wall_t) USEC_SEC));
	/* RFC 8617 section 5.1.2: over a broken chain the seal covers our own set alone. */
	for (unsigned i = 0; i < m->n_sets && verdict->word == ARC_PASS; i++)
		append_set(&m->sets[i], true, &covered);
	canon_field(CANON_RELAXED, buffer_slice(&results), true, &covered);
	canon_field(CANON_RELAXED, buffer_slice(&signature), true, &covered);
	canon_field(CANON_RELAXED, buffer_slice(&seal), false, &covered);
	r = buffer_error(&results);
	if (r >= 0)
		r = finish_field(key, &covered, a, &seal);
	if (r < 0)
		return r;
	buffer_append_slice(out, buffer_slice(&seal));
	buffer_append_slice(out, buffer_slice(&signature));
	buffer_append_slice(out, buffer_slice(&results));
	return buffer_error(out);
}
