#include "mail/envelope.h"

/* The packed form. Numbers are varints unless a width is said; "text" is a varint length and the bytes; "maybe" is
 * 0 for NULL, else length + 1 and the bytes.
 *
 *	u8 version, u64 id, u64 arrival, text reverse_path, maybe envid, ret, body, flags, maybe client_ip,
 *	maybe client_name, maybe helo, maybe user, maybe protocol, size, n_recipients,
 *	then for each recipient: text address, maybe orcpt, notify
 *
 * Version 2 is used for messages that need it alone; behind the same it has
 *
 *	u64 hold_until, u64 deliver_by, u8 by_mode (0, 'N', 'R'), u8 by_trace, priority + 9, maybe solicit,
 *	then for each recipient: rrvs, u64 valid_since
 *
 * Version 3 is used for messages with header fields that routes look at; behind what version 2 has it has
 *
 *	n_headers, then for each: text name, text value */
#define VERSION_PLAIN 1
#define VERSION_SERVICES 2
#define VERSION_HEADERS 3
#define PRIORITY_MOST 9

#define NOTIFY_ALL (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY)
#define RECIPIENT_MIN 3 /* bytes of the smallest recipient */

static void put_text(struct buffer *out, const char *s)
{
	buffer_put_bytes(out, slice_from(s ? s : ""));
}

static void put_maybe(struct buffer *out, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	buffer_put_varint(out, s ? (uint64_t) len + 1 : 0);
	buffer_append(out, s, len);
}

static bool asks_for_services(const struct envelope *e)
{
	if (e->hold_until || e->deliver_by || e->priority || e->solicit)
		return true;
	for (unsigned i = 0; i < e->n_recipients; i++)
		if (e->recipients[i].rrvs != RRVS_NONE)
			return true;
	return false;
}

static void pack_services(const struct envelope *e, struct buffer *out)
{
	buffer_put_u64(out, (uint64_t) e->hold_until);
	buffer_put_u64(out, (uint64_t) e->deliver_by);
	buffer_put_u8(out, (uint8_t) e->by_mode);
	buffer_put_u8(out, e->by_trace);
	buffer_put_varint(out, (uint64_t) (e->priority + PRIORITY_MOST));
	put_maybe(out, e->solicit);
	for (unsigned i = 0; i < e->n_recipients; i++) {
		buffer_put_varint(out, e->recipients[i].rrvs);
		buffer_put_u64(out, (uint64_t) e->recipients[i].valid_since);
	}
}

static void pack_headers(const struct envelope *e, struct buffer *out)
{
	buffer_put_varint(out, e->n_headers);
	for (unsigned i = 0; i < e->n_headers; i++) {
		put_text(out, e->headers[i].name);
		put_text(out, e->headers[i].value);
	}
}

static uint8_t version_of(const struct envelope *e)
{
	return e->n_headers > 0 ? VERSION_HEADERS : asks_for_services(e) ? VERSION_SERVICES : VERSION_PLAIN;
}

int envelope_pack(const struct envelope *e, struct buffer *out)
{
	uint8_t version = version_of(e);

	buffer_put_u8(out, version);
	buffer_put_u64(out, e->id);
	buffer_put_u64(out, (uint64_t) e->arrival);
	put_text(out, e->reverse_path);
	put_maybe(out, e->envid);
	buffer_put_varint(out, e->ret);
	buffer_put_varint(out, e->body);
	buffer_put_varint(out, e->flags);
	put_maybe(out, e->client_ip);
	put_maybe(out, e->client_name);
	put_maybe(out, e->helo);
	put_maybe(out, e->user);
	put_maybe(out, e->protocol);
	buffer_put_varint(out, e->size);
	buffer_put_varint(out, e->n_recipients);
	for (unsigned i = 0; i < e->n_recipients; i++) {
		put_text(out, e->recipients[i].address);
		put_maybe(out, e->recipients[i].orcpt);
		buffer_put_varint(out, e->recipients[i].notify);
	}
	if (version >= VERSION_SERVICES)
		pack_services(e, out);
	if (version >= VERSION_HEADERS)
		pack_headers(e, out);
	return buffer_error(out);
}

/* --- unpacking ------------------------------------------------------------------------------------------ */

/* Reads on while nothing went wrong; what did is in `error`. */
struct reader {
	struct slice rest;
	struct arena *arena;
	int error;
};

static void fail(struct reader *r, int error)
{
	if (!r->error)
		r->error = error;
}

static uint64_t get_number(struct reader *r, uint64_t max)
{
	uint64_t v = 0;

	if (r->error)
		return 0;
	if (slice_get_varint(&r->rest, &v) < 0 || v > max) {
		fail(r, -EBADMSG);
		return 0;
	}
	return v;
}

static uint64_t get_u64(struct reader *r)
{
	uint64_t v = 0;

	if (!r->error && slice_get_u64(&r->rest, &v) < 0)
		fail(r, -EBADMSG);
	return v;
}

static const char *keep(struct reader *r, struct slice s)
{
	char *copy;

	/* All strings are terminated ones: a NUL inside would cut them. */
	if (s.len > 0 && memchr(s.data, '\0', s.len)) {
		fail(r, -EBADMSG);
		return "";
	}
	copy = arena_slice(r->arena, s);
	if (!copy)
		fail(r, -ENOMEM);
	return copy;
}

static const char *get_text(struct reader *r)
{
	struct slice s;

	if (r->error)
		return "";
	if (slice_get_bytes(&r->rest, &s) < 0) {
		fail(r, -EBADMSG);
		return "";
	}
	return keep(r, s);
}

static const char *get_maybe(struct reader *r)
{
	uint64_t len = get_number(r, r->rest.len);
	struct slice s;

	if (r->error || len == 0)
		return NULL;
	len--;
	if (len > r->rest.len) {
		fail(r, -EBADMSG);
		return NULL;
	}
	s = slice_head(r->rest, len);
	r->rest = slice_skip(r->rest, len);
	return keep(r, s);
}

static void get_recipients(struct reader *r, struct envelope *e)
{
	/* The number is checked against what is there before memory is taken for it. */
	e->n_recipients = (unsigned) get_number(r, MIN(r->rest.len / RECIPIENT_MIN, (size_t) UINT32_MAX));
	if (r->error || e->n_recipients == 0)
		return;
	e->recipients = arena_new_array(r->arena, struct envelope_recipient, e->n_recipients);
	if (!e->recipients) {
		fail(r, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < e->n_recipients && !r->error; i++) {
		e->recipients[i].address = get_text(r);
		e->recipients[i].orcpt = get_maybe(r);
		e->recipients[i].notify = (unsigned) get_number(r, NOTIFY_ALL);
	}
}

static uint8_t get_u8(struct reader *r)
{
	uint8_t v = 0;

	if (!r->error && slice_get_u8(&r->rest, &v) < 0)
		fail(r, -EBADMSG);
	return v;
}

static wall_t get_time(struct reader *r)
{
	uint64_t v = get_u64(r);

	if (v > INT64_MAX)
		fail(r, -EBADMSG);
	return (wall_t) v;
}

static void get_services(struct reader *r, struct envelope *e)
{
	e->hold_until = get_time(r);
	e->deliver_by = get_time(r);
	e->by_mode = (char) get_u8(r);
	e->by_trace = get_u8(r);
	e->priority = (int) get_number(r, 2 * PRIORITY_MOST) - PRIORITY_MOST;
	e->solicit = get_maybe(r);
	if (e->by_mode && e->by_mode != 'N' && e->by_mode != 'R')
		fail(r, -EBADMSG);
	for (unsigned i = 0; i < e->n_recipients && !r->error; i++) {
		e->recipients[i].rrvs = (enum rrvs_action) get_number(r, RRVS_CONTINUE);
		e->recipients[i].valid_since = (wall_t) get_u64(r);
	}
}

static void get_headers(struct reader *r, struct envelope *e)
{
	e->n_headers = (unsigned) get_number(r, ENVELOPE_HEADERS);
	/* Without any it would have been packed in another form. */
	if (!r->error && e->n_headers == 0)
		fail(r, -EBADMSG);
	if (r->error)
		return;
	e->headers = arena_new_array(r->arena, struct envelope_header, e->n_headers);
	if (!e->headers) {
		fail(r, -ENOMEM);
		return;
	}
	for (unsigned i = 0; i < e->n_headers && !r->error; i++) {
		e->headers[i].name = get_text(r);
		e->headers[i].value = get_text(r);
	}
}

int envelope_unpack(struct slice packed, struct arena *a, struct envelope *ret)
{
	struct reader r = { .rest = packed, .arena = a };
	struct envelope e = { 0 };
	uint8_t version;

	if (slice_get_u8(&r.rest, &version) < 0 || version < VERSION_PLAIN || version > VERSION_HEADERS)
		return -EBADMSG;
	e.id = get_u64(&r);
	e.arrival = (wall_t) get_u64(&r);
	e.reverse_path = get_text(&r);
	e.envid = get_maybe(&r);
	e.ret = (enum dsn_ret) get_number(&r, DSN_RET_HDRS);
	e.body = (enum body_type) get_number(&r, BODY_BINARYMIME);
	e.flags = (unsigned) get_number(&r, UINT32_MAX);
	e.client_ip = get_maybe(&r);
	e.client_name = get_maybe(&r);
	e.helo = get_maybe(&r);
	e.user = get_maybe(&r);
	e.protocol = get_maybe(&r);
	e.size = get_number(&r, UINT64_MAX);
	get_recipients(&r, &e);
	if (version >= VERSION_SERVICES && !r.error)
		get_services(&r, &e);
	if (version >= VERSION_HEADERS && !r.error)
		get_headers(&r, &e);
	if (!r.error && r.rest.len > 0)
		fail(&r, -EBADMSG);
	if (r.error)
		return r.error;
	*ret = e;
	return 0;
}

/* --- copying -------------------------------------------------------------------------------------------- */

static bool copy_string(struct arena *a, const char **s)
{
	if (!*s)
		return true;
	*s = arena_strdup(a, *s);
	return *s != NULL;
}

int envelope_copy(const struct envelope *e, struct arena *a, struct envelope *ret)
{
	struct envelope copy = *e;
	bool ok = copy_string(a, &copy.reverse_path) && copy_string(a, &copy.envid) && copy_string(a, &copy.client_ip) &&
		  copy_string(a, &copy.tls) && copy_string(a, &copy.client_name) && copy_string(a, &copy.helo) && copy_string(a, &copy.user) &&
		  copy_string(a, &copy.protocol) && copy_string(a, &copy.solicit);

	copy.headers = NULL;
	if (ok && copy.n_headers > 0) {
		copy.headers = arena_new_array(a, struct envelope_header, copy.n_headers);
		ok = copy.headers != NULL;
	}
	for (unsigned i = 0; ok && i < copy.n_headers; i++) {
		copy.headers[i] = e->headers[i];
		ok = copy_string(a, &copy.headers[i].name) && copy_string(a, &copy.headers[i].value);
	}
	copy.recipients = NULL;
	if (ok && copy.n_recipients > 0) {
		copy.recipients = arena_new_array(a, struct envelope_recipient, copy.n_recipients);
		ok = copy.recipients != NULL;
	}
	for (unsigned i = 0; ok && i < copy.n_recipients; i++) {
		copy.recipients[i] = e->recipients[i];
		ok = copy_string(a, &copy.recipients[i].address) && copy_string(a, &copy.recipients[i].orcpt);
	}
	if (!ok)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
