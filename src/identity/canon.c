#include "identity/canon.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* --- header fields ------------------------------------------------------------------------------------------ */

static struct slice without_end(struct slice raw)
{
	if (raw.len > 0 && raw.data[raw.len - 1] == '\n')
		raw.len--;
	if (raw.len > 0 && raw.data[raw.len - 1] == '\r')
		raw.len--;
	return raw;
}

/* RFC 6376 section 3.4.2: name in lower case, unfolded, runs of white space as one space, none around the colon and at
 * the end. */
static void relaxed_field(struct slice raw, struct buffer *out)
{
	struct slice value, name = slice_trim(slice_cut(raw, ':', &value));
	bool space = false, begun = false;

	for (size_t i = 0; i < name.len; i++)
		buffer_append_char(out, ascii_lower(name.data[i]));
	buffer_append_char(out, ':');
	for (size_t i = 0; i < value.len;) {
		size_t n = 0;

		if (is_blank(value.data[i])) {
			space = true;
			i++;
			continue;
		}
		if (value.data[i] == '\r' && i + 1 < value.len && value.data[i + 1] == '\n') {
			i += 2;
			continue;
		}
		if (space && begun)
			buffer_append_char(out, ' ');
		space = false;
		begun = true;
		do
			n++;
		while (i + n < value.len && !is_blank(value.data[i + n]) && value.data[i + n] != '\r');
		buffer_append(out, value.data + i, n);
		i += n;
	}
}

void canon_field(enum canon canon, struct slice raw, bool with_end, struct buffer *out)
{
	raw = without_end(raw);
	if (canon == CANON_RELAXED)
		relaxed_field(raw, out);
	else
		buffer_append_slice(out, raw);
	if (with_end)
		buffer_append(out, "\r\n", 2);
}

void canon_remove_signature(struct slice raw, struct buffer *out)
{
	struct slice rest, head = slice_cut(without_end(raw), ':', &rest);

	buffer_append_slice(out, head);
	buffer_append_char(out, ':');
	while (rest.data) {
		struct slice tag = slice_cut(rest, ';', &rest), value, name = slice_cut(tag, '=', &value);
		size_t begin = 0, end = name.len;

		while (begin < end && (is_blank(name.data[begin]) || name.data[begin] == '\r' || name.data[begin] == '\n'))
			begin++;
		while (end > begin && (is_blank(name.data[end - 1]) || name.data[end - 1] == '\r' || name.data[end - 1] == '\n'))
			end--;
		if (value.data && end - begin == 1 && name.data[begin] == 'b')
			tag = slice_head(tag, name.len + 1);
		buffer_append_slice(out, tag);
		if (rest.data)
			buffer_append_char(out, ';');
	}
}

/* --- bodies ---------------------------------------------------------------------------------------------------- */

int body_hash_init(struct body_hash *h, const EVP_MD *digest, enum canon canon, uint64_t limit)
{
	memset(h, 0, offsetof(struct body_hash, stage));
	h->digest = digest;
	h->canon = canon;
	h->limit = limit;
	h->context = EVP_MD_CTX_new();
	if (!h->context || EVP_DigestInit_ex(h->context, digest, NULL) != 1) {
		body_hash_done(h);
		return -ENOMEM;
	}
	return 0;
}

void body_hash_done(struct body_hash *h)
{
	EVP_MD_CTX_free(h->context);
	h->context = NULL;
}

static void update(struct body_hash *h, const char *data, size_t len)
{
	if (len > 0 && EVP_DigestUpdate(h->context, data, len) != 1)
		h->failed = true;
}

static void flush(struct body_hash *h)
{
	update(h, h->stage, h->staged);
	h->staged = 0;
}

/* Octets of the canonical body; what lies behind the limit is counted only. */
static void put(struct body_hash *h, const char *data, size_t len)
{
	uint64_t room = h->octets < h->limit ? h->limit - h->octets : 0;
	size_t n = len < room ? len : (size_t) room;

	h->octets += len;
	if (n > BODY_STAGE - h->staged)
		flush(h);
	if (n > BODY_STAGE / 2) {
		flush(h);
		update(h, data, n);
		return;
	}
	memcpy(h->stage + h->staged, data, n);
	h->staged += (unsigned) n;
}

/* What was held back because it might have been the end. */
static void put_pending(struct body_hash *h)
{
	for (; h->blank_lines > 0; h->blank_lines--)
		put(h, "\r\n", 2);
	if (h->space)
		put(h, " ", 1);
	h->space = false;
}

static void line_end(struct body_hash *h)
{
	h->blank_lines++;
	h->space = false; /* relaxed: none at the end of a line (section 3.4.4) */
	h->cr = false;
}

/* A CR after which no LF came. */
static void lone_cr(struct body_hash *h)
{
	put_pending(h);
	put(h, "\r", 1);
	h->cr = false;
}

/* The octets from the front of s that mean nothing special. */
static size_t plain_run(const struct body_hash *h, struct slice s)
{
	const char *cr;
	size_t n = 0;

	if (h->canon == CANON_SIMPLE) {
		cr = memchr(s.data, '\r', s.len);
		return cr ? (size_t) (cr - s.data) : s.len;
	}
	while (n < s.len && s.data[n] != '\r' && !is_blank(s.data[n]))
		n++;
	return n;
}

void body_hash_feed(struct body_hash *h, struct slice piece)
{
	while (piece.len > 0) {
		size_t n = 1;

		if (h->cr && *piece.data == '\n') {
			line_end(h);
		} else if (h->cr) {
			lone_cr(h);
			continue;
		} else if (*piece.data == '\r') {
			h->cr = true;
		} else if (h->canon == CANON_RELAXED && is_blank(*piece.data)) {
			h->space = true;
		} else {
			n = plain_run(h, piece);
			put_pending(h);
			put(h, piece.data, n);
		}
		piece = slice_skip(piece, n);
	}
}

int body_hash_end(struct body_hash *h)
{
	if (h->cr)
		lone_cr(h);
	/* Sections 3.4.3 and 3.4.4: no empty lines at the end, but a CRLF; of an empty body only simple has one. */
	h->blank_lines = 0;
	if (h->octets > 0 || h->canon == CANON_SIMPLE)
		put(h, "\r\n", 2);
	flush(h);
	if (EVP_DigestFinal_ex(h->context, h->value, &h->value_len) != 1)
		h->failed = true;
	return h->failed ? -EIO : 0;
}
