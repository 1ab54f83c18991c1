/* Messages made 7-bit: the second pass follows the first in any pieces, what comes out is lines of ASCII (but for the
 * header), and looking at it again finds nothing to do. */
#include "mail/downgrade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int convert(struct arena *a, struct slice text, size_t cut, enum downgrade_goal goal, struct downgrade_plan *plan, struct buffer *out)
{
	_cleanup_(downgrade_freep) struct downgrade *d = NULL;
	int r = downgrade_begin(a, goal, &d);

	if (r >= 0)
		r = downgrade_look(d, slice_head(text, cut));
	if (r >= 0)
		r = downgrade_look(d, slice_skip(text, cut));
	if (r >= 0)
		r = downgrade_plan(d, plan);
	if (r < 0)
		return r;
	cut = text.len - cut;
	assert(downgrade_write(d, slice_head(text, cut), out) >= 0);
	assert(downgrade_write(d, slice_skip(text, cut), out) >= 0);
	assert(downgrade_end(d, out) >= 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buffer_ struct buffer out = { 0 }, again = { 0 };
	_cleanup_(arena_freep) struct arena *a = NULL;
	struct downgrade_plan plan, second;
	enum downgrade_goal goal;
	struct slice text;

	if (size < 2 || arena_new(0, &a) < 0)
		return 0;
	goal = data[0] & 1 ? EIGHT_BIT : SEVEN_BIT;
	text = slice_new((const char *) data + 2, size - 2);
	if (convert(a, text, text.len ? data[1] % text.len : 0, goal, &plan, &out) < 0)
		return 0;
	if (plan.parts == 0 && plan.signatures)
		return 0;
	if (convert(a, buffer_slice(&out), 0, goal, &second, &again) >= 0) {
		assert(second.parts == 0);
		assert(slice_eq(buffer_slice(&out), buffer_slice(&again)));
	}
	return 0;
}
