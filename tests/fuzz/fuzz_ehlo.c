/* What a peer announces: what was understood can be announced and understood again. */
#include "smtp/extensions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct extensions first, second = { 0 };
	struct buffer out = { 0 };
	struct slice rest;

	extensions_parse(slice_new((const char *) data, size), &first);
	extensions_format(&first, "mx.example.org", NULL, &out);
	rest = buffer_slice(&out);
	slice_cut(rest, '\n', &rest);
	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		assert(line.len > 5 && line.data[line.len - 1] == '\r');
		extensions_parse_line(slice_head(slice_skip(line, 4), line.len - 5), &second);
	}
	assert(first.size == second.size && first.auth == second.auth);
	assert(first.mail_max == second.mail_max && first.rcpt_max == second.rcpt_max);
	assert(first.by_min == second.by_min && first.hold_max == second.hold_max);
	/* These are not announced empty. */
	first.bits &= ~(unsigned) (EXT_AUTH | EXT_LIMITS | EXT_FUTURERELEASE);
	second.bits &= ~(unsigned) (EXT_AUTH | EXT_LIMITS | EXT_FUTURERELEASE);
	assert(first.bits == second.bits);
	buffer_done(&out);
	return 0;
}
