#include "identity/content.h"

#include <stdlib.h>

#define HEADER_MAX ((size_t) 1024 * 1024)
#define FIELDS_MAX 2000u
#define SIGNATURES_MAX 10u
#define HASHES_MAX 64u

int content_new(struct arena *a, const struct content_config *limits, bool bare_lf, struct content **ret)
{
	struct content *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->arena = a;
	m->bare_lf = bare_lf;
	if (limits)
		m->limits = *limits;
	if (!m->limits.header)
		m->limits.header = HEADER_MAX;
	if (!m->limits.fields)
		m->limits.fields = FIELDS_MAX;
	if (!m->limits.signatures)
		m->limits.signatures = SIGNATURES_MAX;
	m->limits.signatures = MIN(m->limits.signatures, HASHES_MAX / 2);
	*ret = m;
	return 0;
}

void content_free(struct content *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n_hashes; i++)
		body_hash_done(&m->hashes[i]);
	free(m->hashes);
	buffer_done(&m->header);
	free(m);
}

/* --- hashes ---------------------------------------------------------------------------------------------- */

struct body_hash *content_hash(const struct content *m, enum canon canon, uint64_t limit)
{
	for (unsigned i = 0; i < m->n_hashes; i++)
		if (m->hashes[i].canon == canon && m->hashes[i].limit == limit)
			return &m->hashes[i];
	return NULL;
}

int content_want_hash(struct content *m, enum canon canon, uint64_t limit)
{
	struct body_hash *hashes;
	int r;

	if (content_hash(m, canon, limit))
		return 0;
	if (m->n_hashes == HASHES_MAX)
		return -ENOMEM;
	hashes = realloc(m->hashes, (m->n_hashes + 1) * sizeof(*hashes));
	if (!hashes)
		return -ENOMEM;
	m->hashes = hashes;
	r = body_hash_init(&hashes[m->n_hashes], EVP_sha256(), canon, limit);
	if (r < 0)
		return r;
	m->n_hashes++;
	return 0;
}

/* --- the header section ------------------------------------------------------------------------------------ */

const struct header_field *content_field(const struct content *m, struct slice name, unsigned n)
{
	for (unsigned i = m->n_fields; i > 0; i--)
		if (slice_ieq(m->fields[i - 1].name, name) && n-- == 0)
			return &m->fields[i - 1];
	return NULL;
}

static unsigned count_fields(const struct content *m, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n_fields; i++)
		n += slice_ieq_str(m->fields[i].name, name);
	return n;
}

/* The fields, as long as they are some. */
static int split(struct content *m)
{
	struct slice rest = buffer_slice(&m->header);
	struct header_field f;
	unsigned n = 0;

	while (header_next(&rest, &f) && n <= m->limits.fields)
		n++;
	if (n > m->limits.fields) {
		m->malformed = "it has too many header fields";
		return 0;
	}
	if (rest.len > 0)
		m->malformed = "a line in its header section is not a header field";
	m->fields = arena_new_array(m->arena, struct header_field, n + 1);
	if (!m->fields)
		return -ENOMEM;
	rest = buffer_slice(&m->header);
	while (m->n_fields < n && header_next(&rest, &m->fields[m->n_fields]))
		m->n_fields++;
	return 0;
}

static int read_dkim(struct content *m)
{
	unsigned n = MIN(count_fields(m, "DKIM-Signature"), DKIM_FIELDS_MAX);
	int r;

	m->signatures = arena_new_array(m->arena, struct signature, n + 1);
	if (!m->signatures)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_fields && m->n_signatures < n; i++) {
		struct signature *s = &m->signatures[m->n_signatures];

		if (!slice_ieq_str(m->fields[i].name, "DKIM-Signature"))
			continue;
		r = signature_parse(SIGNATURE_DKIM, &m->fields[i], m->arena, s);
		if (r < 0)
			return r;
		if (!s->error && m->n_signatures < m->limits.signatures)
			r = content_want_hash(m, s->body, s->length);
		if (r < 0)
			return r;
		m->n_signatures++;
	}
	return 0;
}

/* "i=3;" at the front of an ARC-Authentication-Results field (RFC 8617 section 4.1.1). 0: it isn't there. */
static unsigned results_instance(struct slice value)
{
	struct slice rest, number, tag = fws_trim(slice_cut(value, ';', &rest));
	uint64_t n;

	if (!rest.data || !slice_eq_str(fws_trim(slice_cut(tag, '=', &number)), "i"))
		return 0;
	return tag_number(fws_trim(number), 3, &n) < 0 || n < 1 || n > ARC_SETS_MAX ? 0 : (unsigned) n;
}

/* Puts a field into its set. A second one of a kind breaks the chain (RFC 8617 section 5.2, 3.A). */
static int place(struct content *m, const struct header_field *f, enum signature_kind kind, bool results)
{
	struct signature s = { .instance = 0 };
	struct arc_set *set;
	unsigned instance;
	bool *has;
	int r = 0;

	if (results)
		instance = results_instance(f->value);
	else if ((r = signature_parse(kind, f, m->arena, &s)) < 0)
		return r;
	else
		instance = s.instance;
	if (s.error)
		m->arc_error = s.error;
	if (instance == 0) {
		m->arc_error = m->arc_error ? m->arc_error : "an ARC field has no instance";
		return 0;
	}
	set = &m->sets[instance - 1];
	has = results ? &set->has_results : kind == SIGNATURE_SEAL ? &set->has_seal : &set->has_message;
	if (*has)
		m->arc_error = "an ARC set has a field twice";
	*has = true;
	if (results)
		set->results = *f;
	else
		*(kind == SIGNATURE_SEAL ? &set->seal : &set->message) = s;
	m->n_sets = MAX(m->n_sets, instance);
	return 0;
}

static int read_arc(struct content *m)
{
	bool any = false;
	int r = 0;

	m->sets = arena_new_array(m->arena, struct arc_set, ARC_SETS_MAX);
	if (!m->sets)
		return -ENOMEM;
	for (unsigned i = 0; i < m->n_fields && r >= 0; i++) {
		const struct header_field *f = &m->fields[i];
		bool seal = slice_ieq_str(f->name, "ARC-Seal"), message = slice_ieq_str(f->name, "ARC-Message-Signature");
		bool results = slice_ieq_str(f->name, "ARC-Authentication-Results");

		if (!seal && !message && !results)
			continue;
		any = true;
		r = place(m, f, seal ? SIGNATURE_SEAL : SIGNATURE_ARC, results);
	}
	if (r < 0 || !any)
		return r;
	for (unsigned i = 0; i < m->n_sets; i++)
		if (!m->sets[i].has_results || !m->sets[i].has_message || !m->sets[i].has_seal)
			m->arc_error = m->arc_error ? m->arc_error : "an ARC set is not complete";
	if (m->n_sets > 0 && !m->arc_error)
		r = content_want_hash(m, m->sets[m->n_sets - 1].message.body, m->sets[m->n_sets - 1].message.length);
	return r;
}

static int read_header(struct content *m)
{
	int r = buffer_error(&m->header);

	if (r < 0)
		return r;
	if (m->too_long) {
		m->malformed = "its header section is too long";
		return 0;
	}
	r = split(m);
	if (r < 0 || m->limits.unverified)
		return r;
	r = read_dkim(m);
	return r < 0 ? r : read_arc(m);
}

static int finish_header(struct content *m)
{
	int r = read_header(m);

	m->header_done = true;
	return r < 0 || !m->limits.header_ready ? r : m->limits.header_ready(m, m->limits.context);
}

/* Takes the header's part off the front of a piece. */
static int feed_header(struct content *m, struct slice *piece)
{
	const char *lf = memchr(piece->data, '\n', piece->len);
	size_t n = lf ? (size_t) (lf - piece->data) + 1 : piece->len;
	char before = n > 1 ? piece->data[n - 2] : m->last;

	m->line += n;
	m->last = piece->data[n - 1];
	if (lf && m->line == 2 && before == '\r') {
		/* The blank line is not kept; its CR may be already. */
		if (n == 1 && m->header.len > 0)
			m->header.len--;
		*piece = slice_skip(*piece, n);
		return finish_header(m);
	}
	if (m->header.len + n > m->limits.header)
		m->too_long = true;
	else
		buffer_append(&m->header, piece->data, n);
	if (lf)
		m->line = 0;
	*piece = slice_skip(*piece, n);
	return 0;
}

static int feed(struct content *m, struct slice piece)
{
	while (piece.len > 0 && !m->header_done) {
		int r = feed_header(m, &piece);

		if (r < 0)
			return r;
	}
	m->body_octets += piece.len;
	for (unsigned i = 0; i < m->n_hashes && piece.len > 0; i++)
		body_hash_feed(&m->hashes[i], piece);
	if (piece.len > 0)
		m->last = piece.data[piece.len - 1];
	return 0;
}

int content_feed(struct content *m, struct slice piece)
{
	while (m->bare_lf && piece.len > 0) {
		const char *lf = memchr(piece.data, '\n', piece.len);
		size_t n = lf ? (size_t) (lf - piece.data) : piece.len;
		int r = feed(m, slice_head(piece, n));

		if (r >= 0 && lf)
			r = feed(m, m->last == '\r' ? SLICE("\n") : SLICE("\r\n"));
		if (r < 0)
			return r;
		piece = slice_skip(piece, lf ? n + 1 : n);
	}
	return feed(m, piece);
}

int content_front(struct content *m, struct slice front)
{
	struct slice rest = front;
	struct header_field f, *fields;
	unsigned n = 0;

	while (header_next(&rest, &f))
		n++;
	fields = arena_new_array(m->arena, struct header_field, n + m->n_fields);
	if (!fields)
		return -ENOMEM;
	rest = front;
	for (unsigned i = 0; i < n; i++)
		header_next(&rest, &fields[i]);
	if (m->n_fields > 0)
		memcpy(fields + n, m->fields, m->n_fields * sizeof(*fields));
	m->fields = fields;
	m->n_fields += n;
	return 0;
}

int content_end(struct content *m)
{
	int r = 0;

	if (!m->header_done)
		r = finish_header(m);
	for (unsigned i = 0; i < m->n_hashes && r >= 0; i++)
		r = body_hash_end(&m->hashes[i]);
	m->ended = true;
	return r;
}
