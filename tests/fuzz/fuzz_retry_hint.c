/* What a greylisting server says of the time is whatever it likes; what we make of it has bounds. */
#include "queue/retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	usec_t hint;

	if (!retry_hint(slice_new((const char *) data, size), &hint))
		return 0;
	assert(hint >= RETRY_HINT_LEAST && hint <= RETRY_HINT_MOST);
	assert(retry_hinted(hint, size * UINT64_C(0x9e3779b97f4a7c15)) > hint);
	return 0;
}
