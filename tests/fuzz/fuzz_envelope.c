/* Packed envelopes: what is accepted packs to the same again. */
#include "mail/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope first, second;
	struct buffer packed = { 0 }, again = { 0 };
	struct arena *a;

	if (arena_new(0, &a) < 0)
		return 0;
	if (envelope_unpack(slice_new((const char *) data, size), a, &first) == 0) {
		assert(envelope_pack(&first, &packed) == 0);
		assert(envelope_unpack(buffer_slice(&packed), a, &second) == 0);
		assert(envelope_pack(&second, &again) == 0);
		assert(slice_eq(buffer_slice(&packed), buffer_slice(&again)));
	}
	buffer_done(&packed);
	buffer_done(&again);
	arena_free(a);
	return 0;
}
