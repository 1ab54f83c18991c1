/* xtext and unitext: what decodes encodes to something that decodes to the same. */
#include "mail/xtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size), first, second;
	struct buffer out = { 0 };
	struct arena *a;

	if (arena_new(0, &a) < 0)
		return 0;
	if (xtext_decode(a, text, &first) == 0) {
		xtext_encode(first, &out);
		assert(xtext_decode(a, buffer_slice(&out), &second) == 0);
		assert(slice_eq(first, second));
	}
	buffer_clear(&out);
	xtext_encode(text, &out);
	assert(xtext_decode(a, buffer_slice(&out), &second) == 0 && slice_eq(text, second));
	buffer_clear(&out);
	if (unitext_decode(a, text, &first) == 0 && !memchr(first.data, '\0', first.len)) {
		assert(unitext_encode(first, &out) == 0);
		assert(unitext_decode(a, buffer_slice(&out), &second) == 0);
		assert(slice_eq(first, second));
	}
	buffer_done(&out);
	arena_free(a);
	return 0;
}
