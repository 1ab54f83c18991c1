/* The header of the PROXY protocol: what is accepted is accepted from a shorter beginning only when it is whole, and means
 * the same whatever follows. */
#include "smtp/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_new((const char *) data, size);
	struct proxy_header first, second;
	size_t len = 0, again = 0;
	char text[ENDPOINT_TEXT];
	int r = proxy_header_parse(in, &first, &len);

	assert(r == 1 || r == 0 || r == -EBADMSG || r == -E2BIG);
	if (r != 1)
		return 0;
	assert(len > 0 && len <= size && len <= PROXY_HEADER_MAX);
	assert(proxy_header_parse(slice_head(in, len), &second, &again) == 1 && again == len && second.kind == first.kind);
	assert(proxy_header_parse(slice_head(in, len - 1), &second, &again) == 0);
	if (first.kind == PROXY_CLIENT) {
		assert(first.client.kind == first.server.kind && first.client.kind != ENDPOINT_NONE);
		endpoint_format(&first.client, text);
		endpoint_format(&first.server, text);
	}
	return 0;
}
