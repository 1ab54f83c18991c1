/* Content behind DATA: the same in any pieces; the end is CRLF "." CRLF; and content that is sent again, by the
 * other side's code, has no second end in it. */
#include <stdlib.h>

#include "base/buffer.h"
#include "smtp/bdat.h"
#include "smtp/data.h"
#include "smtp/stuff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Octets used; -1: no end. */
static ssize_t parse(struct slice wire, size_t cut, struct buffer *content, struct data_parser *p)
{
	struct slice pieces[2] = { slice_head(wire, cut), slice_skip(wire, cut) };

	data_parser_init(p);
	for (size_t i = 0; i < 2; i++) {
		struct slice rest = pieces[i], run;
		enum data_event event;

		while ((event = data_parser_next(p, &rest, &run)) == DATA_RUN) {
			assert(run.len > 0);
			buffer_append_slice(content, run);
		}
		if (event == DATA_END)
			return (ssize_t) p->received;
	}
	return -1;
}

static void check_end(struct slice wire, ssize_t used)
{
	if (used == 3)
		assert(memcmp(wire.data, ".\r\n", 3) == 0);
	else
		assert(used >= 5 && memcmp(wire.data + used - 5, "\r\n.\r\n", 5) == 0);
}

static void send_again(struct slice content)
{
	struct buffer wire = { 0 }, back = { 0 };
	struct content_check check;
	struct data_parser p;
	struct slice run;
	struct stuffer t;

	stuffer_init(&t, STUFF_DATA);
	while (stuffer_next(&t, &content, &run))
		buffer_append_slice(&wire, run);
	buffer_append_slice(&wire, stuffer_finish(&t));
	assert(parse(buffer_slice(&wire), wire.len / 2, &back, &p) == (ssize_t) wire.len);
	assert(!(p.defects & (CONTENT_BARE_CR | CONTENT_BARE_LF)));
	content_check_init(&check);
	content_check_feed(&check, buffer_slice(&back));
	content_check_finish(&check);
	assert(check.defects == p.defects && check.eight_bit == p.eight_bit);
	assert(!check.defects || check.defect_offset == p.defect_offset);
	buffer_done(&wire);
	buffer_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer whole = { 0 }, parts = { 0 };
	struct data_parser p, q;
	struct slice wire;
	ssize_t used;

	if (size < 1)
		return 0;
	wire = slice_new((const char *) data + 1, size - 1);
	used = parse(wire, wire.len, &whole, &p);
	assert(parse(wire, wire.len ? data[0] % wire.len : 0, &parts, &q) == used);
	assert(slice_eq(buffer_slice(&whole), buffer_slice(&parts)));
	assert(p.defects == q.defects && p.octets == q.octets && p.octets == whole.len);
	assert(p.defect_offset == q.defect_offset && p.eight_bit == q.eight_bit);
	assert(data_parser_looks_ended(&p) == data_parser_looks_ended(&q));
	if (used >= 0)
		check_end(wire, used);
	send_again(buffer_slice(&whole));
	buffer_done(&whole);
	buffer_done(&parts);
	return 0;
}
