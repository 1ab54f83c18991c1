/* Header sections: the walk covers the section without a gap, and the scanner sees the same in any pieces. */
#include "mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan(struct slice text, size_t cut, struct header_scanner *s)
{
	header_scanner_init(s);
	header_scanner_feed(s, slice_head(text, cut));
	header_scanner_feed(s, slice_skip(text, cut));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct header_scanner whole, parts;
	struct header_field f;
	struct slice text, rest;
	struct arena *a;
	size_t length;

	if (size < 1 || arena_new(0, &a) < 0)
		return 0;
	text = rest = slice_new((const char *) data + 1, size - 1);
	while (header_next(&rest, &f)) {
		assert(f.name.len > 0 && f.raw.data + f.raw.len == rest.data);
		assert(f.value.data >= f.raw.data && f.value.data + f.value.len <= f.raw.data + f.raw.len);
		assert(strlen(header_unfold(a, f.value)) <= f.value.len);
	}
	length = header_section_length(text);
	assert(length <= header_body_offset(text) && header_body_offset(text) <= text.len);
	assert(header_count(text, "received") <= text.len);
	scan(text, 0, &whole);
	scan(text, text.len ? data[0] % text.len : 0, &parts);
	assert(whole.done == parts.done && whole.seen == parts.seen && whole.octets == parts.octets);
	assert(whole.received == parts.received && whole.longest_line == parts.longest_line);
	arena_free(a);
	return 0;
}
