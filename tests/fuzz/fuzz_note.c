/* The state note of a message: hostile bytes are refused or give a state that survives being written again. */
#include <stdlib.h>

#include "queue/note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECIPIENTS 8

static void forget(struct recipient *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(r[i].last);
}

static void look_at(const struct recipient *r)
{
	char text[LAST_TEXT_MAX + 40];

	assert(r->state == STATE_WAITING || r->state == STATE_HELD || r->state == STATE_DONE);
	assert(!(r->flags & ~RECIPIENT_FLAGS));
	if (!r->last)
		return;
	assert(strlen(last_text(r->last)) == r->last->text_len);
	assert(r->last->host_len == 0 || strlen(last_host(r->last)) == r->last->host_len);
	last_reply_describe(r->last, text, sizeof(text));
	reply_class_name(r->last->class);
	stage_name(r->last->stage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct recipient first[RECIPIENTS] = { 0 }, second[RECIPIENTS] = { 0 };
	struct buffer b = { 0 };
	unsigned n;

	if (size < 1)
		return 0;
	n = data[0] % RECIPIENTS + 1;
	if (note_decode(slice_new((const char *) data + 1, size - 1), 1000, first, n) == 0) {
		for (unsigned i = 0; i < n; i++)
			look_at(&first[i]);
		note_encode(first, n, 1000, &b);
		assert(buffer_error(&b) == 0);
		assert(note_decode(buffer_slice(&b), 1000, second, n) == 0);
		for (unsigned i = 0; i < n; i++) {
			look_at(&second[i]);
			assert(first[i].state == second[i].state);
			if (first[i].state == STATE_DONE && !(first[i].flags & RECIPIENT_OWES))
				continue;
			assert(first[i].flags == second[i].flags && first[i].attempts == second[i].attempts);
			assert(first[i].next == second[i].next && first[i].rung == second[i].rung);
			assert(!first[i].last == !second[i].last);
		}
	}
	forget(first, n);
	forget(second, n);
	buffer_done(&b);
	return 0;
}
