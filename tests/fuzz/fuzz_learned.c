/* The file of what was learned of sites: any text is refused as a whole, or gives values within their limits; also when
 * its last line is made to fit. */
#include "queue/learned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int each(const struct learned *l, struct slice key, void *context)
{
	unsigned *n = context;

	assert(l->window > 0 && l->threshold > 0 && l->interval <= USEC_HOUR && l->usual <= USEC_DAY && l->at >= 0);
	assert(key.len > 0 && key.len <= LEARNED_KEY_MAX && !memchr(key.data, '\n', key.len));
	++*n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buffer_ struct buffer b = { 0 };
	unsigned n = 0, lines = 0;

	(void) learned_read(slice_new((const char *) data, size), each, &n);
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	learned_begin(&b);
	buffer_append(&b, data, size);
	learned_end(&b, lines);
	n = 0;
	if (learned_read(buffer_slice(&b), each, &n) == 0)
		assert(n == lines);
	return 0;
}
