/* The file of held sites: any text is refused, or gives patterns that can be asked. */
#include "queue/held.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(held_freep) struct held *h = NULL;
	struct slice text = slice_new((const char *) data, size), line;

	assert(held_new(&h) == 0);
	if (held_read(h, text) < 0)
		return 0;
	while (text.len > 0) {
		line = slice_cut(text, '\n', &text);
		assert(held_matches(h, NULL, line)); /* every pattern matches itself */
	}
	assert(size > 0 || !held_matches(h, "mx:mx.example.org", SLICE("example.org")));
	return 0;
}
