/* Paths and addresses: what is accepted is what it says, and compares equal to itself. */
#include <stdlib.h>

#include "mail/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct address *addr, struct slice input)
{
	struct arena *a;
	const char *ascii;

	if (addr->text.len > 0) {
		assert(addr->text.data >= input.data && addr->text.data + addr->text.len <= input.data + input.len);
		assert(addr->local.len <= LOCAL_PART_ACCEPT && addr->domain.len <= DOMAIN_MAX);
		for (size_t i = 0; i < addr->text.len; i++)
			assert((unsigned char) addr->text.data[i] >= ' ' && addr->text.data[i] != 0x7f);
	}
	assert(address_equal(addr, addr));
	if (arena_new(0, &a) < 0)
		return;
	assert(strlen(address_local_plain(a, addr)) <= addr->local.len);
	if (addr->domain.len > 0 && !addr->literal)
		assert(domain_to_ascii(a, addr->domain, &ascii) == 0);
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input, rest;
	struct address addr;
	unsigned flags;

	if (size < 1)
		return 0;
	flags = data[0] & 15;
	input = rest = slice_new((const char *) data + 1, size - 1);
	if (path_parse(&rest, flags, &addr) == 0) {
		assert(rest.data[-1] == '>');
		look_at(&addr, input);
	}
	if (address_parse(input, flags, &addr) == 0) {
		assert(addr.text.len == input.len);
		look_at(&addr, input);
	}
	return 0;
}
