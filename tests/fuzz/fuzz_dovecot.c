/* Lines of Dovecot's auth socket: what they give lies within them. */
#include "users/dovecot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_new((const char *) data, size);

	while (rest.len > 0) {
		struct slice argument, line = slice_cut(rest, '\n', &rest);
		enum dovecot_line what = dovecot_parse(line, 1, &argument);

		assert(argument.len == 0 || (argument.data >= line.data && argument.data + argument.len <= line.data + line.len));
		assert(what != DOVECOT_OK || slice_istarts(line, "OK\t"));
	}
	return 0;
}
