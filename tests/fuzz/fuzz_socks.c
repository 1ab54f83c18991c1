/* What a SOCKS proxy says: each message is whole at one length, more must come at every shorter one, and what follows it
 * changes nothing. */
#include "deliver/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(ssize_t (*parse)(struct slice in, uint8_t *ret), struct slice in)
{
	uint8_t value = 0, again = 0;
	ssize_t n = parse(in, &value);

	assert(n == -EPROTO || (n >= 0 && (size_t) n <= in.len && n <= 262));
	if (n <= 0)
		return;
	assert(parse(slice_head(in, (size_t) n), &again) == n && again == value);
	assert(parse(slice_head(in, (size_t) n - 1), &again) == 0);
	assert(socks_reply_text(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_new((const char *) data, size);

	check(socks_parse_method, in);
	check(socks_parse_login, in);
	check(socks_parse_reply, in);
	return 0;
}
