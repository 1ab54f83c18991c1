#include "queue/note.h"

#include <stdlib.h>

#define NOTE_VERSION 1

enum { HEAD_STATE = 3, HEAD_DETAILS = 4, HEAD_LAST = 8, HEAD_BITS = 15 };

static void encode_last(const struct recipient *r, struct buffer *out)
{
	const struct last_reply *l = r->last;

	buffer_put_u64(out, r->last_at * USEC_SEC);
	buffer_put_varint(out, l->code);
	for (unsigned i = 0; i < 3; i++)
		buffer_put_varint(out, l->enhanced[i]);
	buffer_put_u8(out, l->class);
	buffer_put_u8(out, l->stage);
	buffer_put_u8(out, l->from_remote);
	buffer_put_bytes(out, slice_new((const char *) l->ip.bytes, l->ip.family == 4	? 4
								    : l->ip.family == 6 ? 16
											: 0));
	buffer_put_bytes(out, slice_new(l->data, l->host_len));
	buffer_put_bytes(out, slice_new(last_text(l), l->text_len));
}

void note_encode(const struct recipient *recipients, unsigned n, int64_t wall_offset, struct buffer *out)
{
	buffer_put_u8(out, NOTE_VERSION);
	buffer_put_varint(out, n);
	for (unsigned i = 0; i < n; i++) {
		const struct recipient *r = &recipients[i];
		unsigned head = r->state == STATE_POSTED ? STATE_WAITING : r->state;
		/* What is done and owes nothing needs no story any more. */
		bool over = r->state == STATE_DONE && !(r->flags & RECIPIENT_OWES);
		bool last = r->last && !over;
		unsigned flags = r->flags & RECIPIENT_FLAGS;
		bool parked = r->flags & RECIPIENT_PARKED; /* after a restart it is tried at once */
		bool details = !over && (flags || r->rung || r->attempts || r->next || last);
		uint64_t next = r->next > 0 && !parked && r->next != DEADLINE_NEVER ? r->next + (uint64_t) wall_offset : 0;

		buffer_put_u8(out, (uint8_t) (head | (details ? HEAD_DETAILS : 0) | (last ? HEAD_LAST : 0)));
		if (!details)
			continue;
		buffer_put_u8(out, (uint8_t) flags);
		buffer_put_u8(out, (uint8_t) r->rung);
		buffer_put_varint(out, r->attempts);
		buffer_put_u64(out, next);
		if (last)
			encode_last(r, out);
	}
}

static int get_limited(struct slice *s, uint64_t limit, uint64_t *ret)
{
	uint64_t v;
	int r = slice_get_varint(s, &v);

	if (r < 0)
		return r;
	if (v > limit)
		return -EBADMSG;
	*ret = v;
	return 0;
}

static int get_bytes(struct slice *s, size_t limit, struct slice *ret)
{
	struct slice bytes;
	int r = slice_get_bytes(s, &bytes);

	if (r < 0)
		return r;
	/* A NUL inside would end the text early where it is used as a string. */
	if (bytes.len > limit || (bytes.len > 0 && memchr(bytes.data, '\0', bytes.len)))
		return -EBADMSG;
	*ret = bytes;
	return 0;
}

static int get_ip(struct slice *s, struct ip *ret)
{
	struct slice bytes;
	int r = slice_get_bytes(s, &bytes);

	if (r < 0)
		return r;
	if (bytes.len == 0)
		*ret = (struct ip) { .family = 0 };
	else if (bytes.len == 4)
		*ret = ip_from_v4((const uint8_t *) bytes.data);
	else if (bytes.len == 16)
		*ret = ip_from_v6((const uint8_t *) bytes.data);
	else
		return -EBADMSG;
	return 0;
}

static int decode_last(struct slice *s, struct recipient *ret)
{
	struct last_reply head = { .code = 0 }, *l;
	struct slice host, text;
	uint64_t at, v;
	uint8_t remote;
	int r;

	if (slice_get_u64(s, &at) < 0 || at > INT64_MAX || get_limited(s, 999, &v) < 0)
		return -EBADMSG;
	head.code = (uint16_t) v;
	for (unsigned i = 0; i < 3; i++) {
		if (get_limited(s, 999, &v) < 0)
			return -EBADMSG;
		head.enhanced[i] = (uint16_t) v;
	}
	r = slice_get_u8(s, &head.class);
	if (r < 0 || head.class > CLASS_UNREACHABLE)
		return -EBADMSG;
	r = slice_get_u8(s, &head.stage);
	if (r < 0 || head.stage > STAGE_LOCAL || slice_get_u8(s, &remote) < 0 || remote > 1)
		return -EBADMSG;
	head.from_remote = remote;
	if (get_ip(s, &head.ip) < 0 || get_bytes(s, LAST_HOST_MAX, &host) < 0 ||
	    get_bytes(s, LAST_TEXT_MAX, &text) < 0)
		return -EBADMSG;

	l = last_reply_alloc(host, text);
	if (!l)
		return -ENOMEM;
	l->code = head.code;
	memcpy(l->enhanced, head.enhanced, sizeof(l->enhanced));
	l->class = head.class;
	l->stage = head.stage;
	l->from_remote = head.from_remote;
	l->ip = head.ip;
	recipient_set_last(ret, l, (wall_t) at);
	return 0;
}

static int decode_recipient(struct slice *s, int64_t wall_offset, struct recipient *ret)
{
	uint64_t attempts, next;
	uint8_t head, flags, rung;
	int r = slice_get_u8(s, &head);

	if (r < 0)
		return r;
	if ((head & ~HEAD_BITS) || (head & HEAD_STATE) == STATE_POSTED ||
	    ((head & HEAD_LAST) && !(head & HEAD_DETAILS)))
		return -EBADMSG;
	ret->state = head & HEAD_STATE;
	if (!(head & HEAD_DETAILS))
		return 0;
	r = slice_get_u8(s, &flags);
	if (r < 0 || (flags & ~RECIPIENT_FLAGS))
		return -EBADMSG;
	if (slice_get_u8(s, &rung) < 0 || get_limited(s, UINT16_MAX, &attempts) < 0 ||
	    slice_get_u64(s, &next) < 0 || next > INT64_MAX)
		return -EBADMSG;
	ret->flags = flags;
	ret->rung = rung;
	ret->attempts = (unsigned) MIN(attempts, (uint64_t) ATTEMPTS_MAX);
	/* A time that has passed, also one from before this start of the clock, is now. */
	ret->next = (int64_t) next > wall_offset ? next - (uint64_t) wall_offset : 0;
	return head & HEAD_LAST ? decode_last(s, ret) : 0;
}

/* The domain is none of the note's business. */
static void take(struct recipient *to, const struct recipient *from)
{
	struct name *domain = to->domain;

	*to = *from;
	to->domain = domain;
}

int note_decode(struct slice note, int64_t wall_offset, struct recipient *recipients, unsigned n)
{
	struct recipient *decoded;
	uint64_t count;
	uint8_t version;
	int r = 0;

	if (note.len == 0)
		return 0;
	if (slice_get_u8(&note, &version) < 0 || version != NOTE_VERSION || slice_get_varint(&note, &count) < 0 ||
	    count != n)
		return -EBADMSG;
	decoded = calloc(MAX(n, 1u), sizeof(*decoded));
	if (!decoded)
		return -ENOMEM;
	for (unsigned i = 0; i < n && r >= 0; i++)
		r = decode_recipient(&note, wall_offset, &decoded[i]);
	if (r >= 0 && note.len > 0)
		r = -EBADMSG;
	for (unsigned i = 0; i < n; i++) {
		if (r >= 0)
			take(&recipients[i], &decoded[i]);
		else
			last_reply_unref(decoded[i].last);
	}
	free(decoded);
	return r < 0 ? r : 0;
}
