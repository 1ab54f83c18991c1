/* Signatures made. */
#include "identity/dkim.h"

#define LINE_MAX_CHARS 72u

/* RFC 6376 section 5.4.1, and what else a reader sees or acts on. */
static const char *const default_oversigned[] = {
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "In-Reply-To", "References", "MIME-Version",
	"Content-Type", "Content-Transfer-Encoding",
};
/* Those that others may add on the way (a list, who sends it again). */
static const char *const default_once[] = {
	"Content-ID", "Content-Description", "Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc",
	"Resent-Message-ID", "List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post",
	"List-Owner", "List-Archive", "TLS-Report-Domain", "TLS-Report-Submitter", /* RFC 8460 section 5.3 */
};
static const struct dkim_fields default_fields = {
	default_once, default_oversigned, ARRAY_LEN(default_once), ARRAY_LEN(default_oversigned),
};
#define NAMES_OF_ONE_MAX 50u

/* The name as often as there are such fields, and `more` times. */
static void append_name(const struct content *m, const char *name, unsigned more, struct buffer *out)
{
	unsigned n = more;

	for (unsigned k = 0; k < NAMES_OF_ONE_MAX && content_field(m, slice_from(name), k); k++)
		n++;
	while (n-- > 0)
		buffer_printf(out, "%s%s", out->len ? ":" : "", name);
}

static bool has_name(const char *const *names, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (slice_ieq(slice_from(names[i]), slice_from(name)))
			return true;
	return false;
}

const char *dkim_names_to_sign(const struct content *m, const struct dkim_fields *fields, struct arena *a)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct dkim_fields f = fields ? *fields : default_fields;

	if (!f.oversigned) {
		f.oversigned = default_fields.oversigned;
		f.n_oversigned = default_fields.n_oversigned;
	}
	if (!f.once) {
		f.once = default_fields.once;
		f.n_once = default_fields.n_once;
	}
	/* RFC 6376 section 5.4: From must be signed. */
	if (!has_name(f.oversigned, f.n_oversigned, "From"))
		append_name(m, "From", 1, &out);
	for (unsigned i = 0; i < f.n_oversigned; i++)
		append_name(m, f.oversigned[i], 1, &out);
	for (unsigned i = 0; i < f.n_once; i++)
		if (!has_name(f.oversigned, f.n_oversigned, f.once[i]) && !slice_ieq_str(slice_from(f.once[i]), "From"))
			append_name(m, f.once[i], 0, &out);
	return buffer_error(&out) < 0 ? NULL : arena_slice(a, buffer_slice(&out));
}

/* Words with colons between them, folded behind a colon. */
void dkim_append_names(struct buffer *out, const char *names)
{
	struct slice rest = slice_from(names), name;
	size_t line = 3;

	while (fws_word(&rest, ':', &name)) {
		if (line + name.len + 1 > LINE_MAX_CHARS) {
			buffer_append_str(out, "\r\n\t ");
			line = 9;
		}
		buffer_append_slice(out, name);
		if (rest.data)
			buffer_append_char(out, ':');
		line += name.len + 1;
	}
}

void dkim_append_folded(struct buffer *out, const char *base64)
{
	size_t len = strlen(base64), room = LINE_MAX_CHARS - 10;

	while (len > room) {
		buffer_append(out, base64, room);
		buffer_append_str(out, "\r\n\t ");
		base64 += room;
		len -= room;
		room = LINE_MAX_CHARS - 9;
	}
	buffer_append(out, base64, len);
	buffer_append_str(out, "\r\n");
}

bool dkim_names_fit(const char *names)
{
	unsigned n = 1;

	for (; *names; names++)
		n += *names == ':';
	return n <= SIGNED_FIELDS_MAX;
}

int dkim_sign_prepare(struct content *m, const struct dkim_signing *how)
{
	return content_want_hash(m, how->body, BODY_ALL);
}

/* Everything up to "b=". */
static int write_front(const struct content *m, const struct dkim_key *key, const struct dkim_signing *how, const char *names,
		       struct arena *a, struct buffer *out)
{
	static const char *const canons[] = { "simple", "relaxed" };
	const struct body_hash *body = content_hash(m, how->body, BODY_ALL);
	const char *hash;

	if (!body || !m->ended)
		return -EINVAL;
	hash = crypto_base64(a, body->value, body->value_len);
	if (!hash)
		return -ENOMEM;
	buffer_printf(out, "DKIM-Signature: v=1; a=%s; c=%s/%s;\r\n\td=%s; s=%s;",
		      signature_algorithm_name(crypto_is_ed25519(key->key) ? ALGORITHM_ED25519_SHA256 : ALGORITHM_RSA_SHA256),
		      canons[how->header], canons[how->body], key->domain, key->selector);
	if (how->time)
		buffer_printf(out, " t=%lld;", (long long) (how->time / (wall_t) USEC_SEC));
	if (how->time && how->lifetime)
		buffer_printf(out, " x=%lld;", (long long) ((how->time + (wall_t) how->lifetime) / (wall_t) USEC_SEC));
	if (how->identity)
		buffer_printf(out, "\r\n\ti=%s;", how->identity);
	buffer_append_str(out, "\r\n\th=");
	dkim_append_names(out, names);
	buffer_printf(out, ";\r\n\tbh=%s;\r\n\tb=", hash);
	return 0;
}

int dkim_sign(const struct content *m, const struct dkim_key *key, const struct dkim_signing *how, struct arena *a,
	      struct buffer *out)
{
	_cleanup_buffer_ struct buffer front = { 0 }, covered = { 0 };
	const char *names = dkim_names_to_sign(m, &how->fields, a), *value;
	int r;

	if (!names)
		return -ENOMEM;
	if (m->malformed || !content_field(m, SLICE("From"), 0) || !dkim_names_fit(names))
		return -EINVAL;
	r = write_front(m, key, how, names, a, &front);
	if (r >= 0)
		r = dkim_covered(m, how->header, slice_from(names), buffer_slice(&front), &covered);
	if (r >= 0)
		r = crypto_sign(key->key, buffer_slice(&covered), a, &value);
	if (r >= 0)
		r = buffer_error(&front);
	if (r < 0)
		return r;
	buffer_append_slice(out, buffer_slice(&front));
	dkim_append_folded(out, value);
	return buffer_error(out);
}
