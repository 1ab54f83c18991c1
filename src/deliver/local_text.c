#include "deliver/local_text.h"

#include <stdlib.h>

#include "deliver/failure.h"
#include "mail/header.h"
#include "mail/received.h"

#define PIECE (256u * 1024)

size_t local_text_convert(char *out, size_t len, bool *after_cr, bool last)
{
	char *in = out + 1, *end = in + len, *to = out;

	if (*after_cr && (len == 0 || *in != '\n'))
		*to++ = '\r';
	*after_cr = false;
	while (in < end) {
		char *cr = memchr(in, '\r', (size_t) (end - in));
		size_t n = (size_t) ((cr ? cr : end) - in);

		memmove(to, in, n);
		to += n;
		in += n;
		if (!cr)
			break;
		in++;
		if (in == end)
			*after_cr = !last;
		if (in == end ? last : *in != '\n')
			*to++ = '\r';
	}
	if (last && *after_cr) {
		*to++ = '\r';
		*after_cr = false;
	}
	return (size_t) (to - out);
}

/* RFC 9228 section 3: a message that was delivered to this address before is going round. */
static bool was_here_before(struct slice header, const char *address)
{
	struct header_field field;

	while (header_next(&header, &field))
		if (slice_ieq_str(field.name, "Delivered-To") && slice_ieq_str(slice_trim(field.value), address))
			return true;
	return false;
}

int local_text_open(struct deliverer *d, const struct delivery *delivery, struct local_text *ret, struct outcome *failure)
{
	struct local_text t = { 0 };
	int r;

	/* Its lines end with LF alone, and the CRLF that a program reads back was perhaps never there. */
	if (delivery->envelope->body == BODY_BINARYMIME) {
		failure_local(failure, STAGE_LOCAL, CLASS_POLICY, 554, 6, 3,
			      "mailboxes here hold lines of text and can't keep binary content");
		return -EINVAL;
	}
	r = spool_reader_open(d->spool, delivery->id, &t.reader);
	if (r >= 0) {
		t.room = (size_t) MIN(MAX(spool_reader_size(t.reader), (uint64_t) 1), (uint64_t) PIECE);
		t.buffer = malloc(t.room + 1);
		r = t.buffer ? 0 : -ENOMEM;
	}
	if (r < 0) {
		local_text_close(&t);
		failure_local(failure, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0, "the message can't be read from the spool");
		LOG(d->log, LOG_ERROR, "the content of a message can't be read from the spool", F_ID("id", delivery->id),
		    F_ERRNO("error", r));
		return r;
	}
	*ret = t;
	return 0;
}

void local_text_close(struct local_text *t)
{
	if (t->reader)
		spool_reader_close(t->reader);
	free(t->buffer);
	*t = (struct local_text) { 0 };
}

static int fill(const struct local_text *t, uint64_t offset, size_t want)
{
	size_t got = 0;

	while (got < want) {
		ssize_t n = spool_reader_read(t->reader, offset + got, t->buffer + 1 + got, want - got);

		if (n <= 0)
			return n < 0 ? (int) n : -EBADMSG;
		got += (size_t) n;
	}
	return 0;
}

int local_text_copy(struct local_text *t, const char *address, int (*each)(struct slice piece, bool last, void *context),
		    void *context)
{
	uint64_t size = spool_reader_size(t->reader), offset = 0;
	bool after_cr = false, last;
	int r;

	do {
		size_t want = (size_t) MIN(size - offset, (uint64_t) t->room);

		r = fill(t, offset, want);
		if (r < 0)
			return r;
		if (offset == 0 && was_here_before(slice_new(t->buffer + 1, want), address))
			return LOCAL_TEXT_LOOP;
		offset += want;
		last = offset == size;
		r = each(slice_new(t->buffer, local_text_convert(t->buffer, want, &after_cr, last)), last, context);
	} while (r >= 0 && !last);
	return r;
}

int local_text_head(const struct envelope *e, const char *address, struct buffer *out)
{
	bool after_cr = false;

	buffer_append_char(out, ' '); /* the octet that local_text_convert wants in front */
	return_path_format(e->reverse_path, out);
	buffer_printf(out, "Delivered-To: %s\r\n", address);
	if (buffer_error(out) < 0)
		return -ENOMEM;
	out->len = local_text_convert(out->data, out->len - 1, &after_cr, true);
	return 0;
}
