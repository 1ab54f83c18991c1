/* TLSA RDATA: what is taken has its parts, is written within its room, and is usable only as RFC 7672 says. */
#include <stdlib.h>

#include "dns/tlsa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TLSA_TEXT];
	struct tlsa_record r;

	if (tlsa_parse(slice_new((const char *) data, size), &r) < 0) {
		assert(size < 4);
		return 0;
	}
	assert(r.data.len == size - 3 && r.usage == data[0]);
	assert(strlen(tlsa_format(&r, text)) < TLSA_TEXT);
	if (tlsa_is_usable(&r))
		assert((r.usage == 2 || r.usage == 3) && r.selector <= 1 && r.matching <= 2 && r.data.len > 0);
	return 0;
}
