#include "smtp/bdat.h"

#include "smtp/scan.h"

/* RFC 3030 section 2: chunk-size ::= 1*DIGIT, end-marker ::= "LAST". */
int bdat_parse(struct slice args, uint64_t *ret_size, bool *ret_last)
{
	struct slice rest, number = slice_cut(args, ' ', &rest);
	uint64_t size;
	int r;

	r = slice_to_u64(number, &size);
	if (r < 0)
		return r == -ERANGE ? -ERANGE : -EINVAL;
	if (size > INT64_MAX)
		return -ERANGE;
	if (rest.data && !slice_ieq_str(slice_trim(rest), "LAST"))
		return -EINVAL;
	*ret_size = size;
	*ret_last = rest.data != NULL;
	return 0;
}

void content_check_init(struct content_check *c)
{
	*c = (struct content_check) { 0 };
}

static void note(struct content_check *c, unsigned defect, uint64_t offset)
{
	if (!c->defects)
		c->defect_offset = offset;
	c->defects |= defect;
}

/* One CR, LF or NUL at this place in the content. */
static void control_octet(struct content_check *c, char octet, uint64_t offset)
{
	if (c->after_cr && octet != '\n')
		note(c, CONTENT_BARE_CR, offset - 1);
	if (octet == '\n' && !c->after_cr)
		note(c, CONTENT_BARE_LF, offset);
	if (octet == '\0')
		note(c, CONTENT_NUL, offset);
	c->ends_with_crlf = octet == '\n' && c->after_cr;
	c->after_cr = octet == '\r';
}

void content_check_feed(struct content_check *c, struct slice piece)
{
	size_t i = 0;

	while (i < piece.len) {
		struct scan_place place = { .line_start = c->ends_with_crlf, .after_cr = c->after_cr };
		size_t n = scan_flawless(piece.data + i, piece.len - i, false, &place, &c->eight_bit);

		if (n > 0) {
			c->ends_with_crlf = place.line_start;
			c->after_cr = place.after_cr;
			i += n;
			continue;
		}
		n = scan_text(piece.data + i, piece.len - i, &c->eight_bit);

		if (n > 0) {
			if (c->after_cr)
				note(c, CONTENT_BARE_CR, c->octets + i - 1);
			c->after_cr = c->ends_with_crlf = false;
			i += n;
		} else {
			control_octet(c, piece.data[i], c->octets + i);
			i++;
		}
	}
	c->octets += piece.len;
}

void content_check_finish(struct content_check *c)
{
	if (c->after_cr)
		note(c, CONTENT_BARE_CR, c->octets - 1);
	c->after_cr = false;
}

/* Can't a chunk of this size be read to its end, before what is dropped of it is too much? */
static bool is_beyond_all_limits(uint64_t size, const struct content_check *c, bool wanted, const struct content_limits *limits)
{
	uint64_t room = 0;

	if (wanted && !limits->max_octets)
		return false;
	if (wanted && limits->max_octets > c->octets)
		room = limits->max_octets - c->octets;
	return size > room && size - room > content_drain(limits);
}

int smtp_copy_chunk(struct stream *s, uint64_t size, struct content_check *c, const struct content_sink *sink,
		    const struct content_limits *limits, bool *ret_ended)
{
	uint64_t left = size, dropped = 0;
	uint64_t drain = content_drain(limits);
	unsigned fills = 0;
	int lost = 0;

	*ret_ended = false;
	/* RFC 3030 section 2 wants the octets of a failed chunk read before the reply. From one that we would hang up on
	 * in the middle nothing is gained, and its client may wait for us before it sends 100 GB. */
	if (is_beyond_all_limits(size, c, sink != NULL, limits))
		return -E2BIG;
	while (left > 0) {
		struct slice piece = stream_peek(s);

		if (piece.len == 0) {
			ssize_t n = content_fill(s, content_deadline(limits), &fills);

			if (n < 0)
				return (int) n;
			continue;
		}
		piece = slice_head(piece, MIN(left, (uint64_t) piece.len));
		content_check_feed(c, piece);
		if (!lost && limits->max_octets && c->octets > limits->max_octets)
			lost = -E2BIG;
		if (!lost && sink)
			lost = MIN(sink->write(sink->context, piece), 0);
		if (lost || !sink)
			dropped += piece.len;
		stream_consume(s, piece.len);
		left -= piece.len;
		if (left > 0 && dropped > drain)
			return lost ? lost : -E2BIG;
	}
	*ret_ended = true;
	return lost;
}
