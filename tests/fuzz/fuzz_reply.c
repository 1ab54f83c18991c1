/* Replies of a peer: what is accepted is clean, and can be written again. */
#include "base/buffer.h"
#include "base/utf8.h"
#include "smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct reply *r, struct arena *a)
{
	struct buffer out = { 0 };
	struct slice rest;

	assert(r->code >= 200 && r->code <= 599);
	assert(r->enhanced[0] == 0 || r->enhanced[0] == r->code / 100);
	assert(utf8_valid(slice_from(r->text)));
	assert(slice_find(slice_from(reply_to_line(r, a)), '\n') < 0);
	reply_format(r, &out);
	rest = buffer_slice(&out);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		assert(line.len + 1 <= REPLY_LINE_MAX && line.data[line.len - 1] == '\r');
		assert(line.data[3] == (rest.len ? '-' : ' '));
	}
	buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_new((const char *) data, size);
	struct reply_parser p;
	struct arena *a;

	if (arena_new(0, &a) < 0)
		return 0;
	reply_parser_init(&p, a);
	while (rest.len > 0) {
		int r = reply_parser_line(&p, slice_cut(rest, '\n', &rest));

		if (r < 0)
			break;
		if (r > 0) {
			look_at(&p.reply, a);
			break;
		}
	}
	arena_free(a);
	return 0;
}
