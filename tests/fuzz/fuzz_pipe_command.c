/* Commands of pipes as somebody may write them: what is split holds no blank and comes together again, and an argument without
 * a flaw is taken apart without losing a byte. */
#include <stdlib.h>

#include "base/buffer.h"
#include "route/pipe_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_apart(struct slice argument)
{
	static const size_t braces = 2;
	struct slice rest = argument;
	size_t text = 0, words = 0;
	bool flawed = pipe_argument_flaw(argument).data != NULL;

	while (rest.len > 0) {
		struct slice before = rest;
		enum pipe_word word;
		struct slice t = pipe_argument_next(&rest, &word);

		if (rest.len >= before.len || t.len > before.len)
			abort();
		text += t.len;
		if (word != PIPE_WORDS)
			words += before.len - rest.len - t.len;
		if (word != PIPE_WORDS && before.len - rest.len - t.len <= braces)
			abort();
		if (!flawed && word == PIPE_WORDS && rest.len > 0)
			abort();
	}
	if (text + words != argument.len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(arena_freep) struct arena *a = NULL;
	const char *const *args;
	unsigned n;

	if (arena_new(0, &a) < 0)
		return 0;
	take_apart(slice_new((const char *) data, size));
	if (pipe_command_split(slice_new((const char *) data, size), a, &args, &n) < 0)
		return 0;
	if (n == 0 || n > PIPE_ARGUMENTS_MAX || args[n])
		abort();
	for (unsigned i = 0; i < n; i++) {
		if (!*args[i] || strpbrk(args[i], " \t\"'\\"))
			abort();
		take_apart(slice_from(args[i]));
	}
	return 0;
}
