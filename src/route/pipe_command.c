#include "route/pipe_command.h"

static const char *const words[] = {
	[PIPE_RECIPIENT] = "recipient", [PIPE_SENDER] = "sender", [PIPE_LOCAL] = "local", [PIPE_DETAIL] = "detail",
	[PIPE_DOMAIN] = "domain",	[PIPE_USER] = "user",	  [PIPE_ID] = "id",
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_for_a_shell(char c)
{
	return c == '"' || c == '\'' || c == '\\' || c == '`' || (unsigned char) c < 0x20 || c == 0x7f;
}

int pipe_command_split(struct slice text, struct arena *a, const char *const **ret_args, unsigned *ret_n)
{
	const char **args = arena_new_array(a, const char *, PIPE_ARGUMENTS_MAX + 1);
	unsigned n = 0;

	if (!args)
		return -ENOMEM;
	for (size_t i = 0; i < text.len;) {
		size_t begin;

		if (is_blank(text.data[i])) {
			i++;
			continue;
		}
		for (begin = i; i < text.len && !is_blank(text.data[i]); i++)
			if (is_for_a_shell(text.data[i]))
				return -EINVAL;
		if (n == PIPE_ARGUMENTS_MAX)
			return -E2BIG;
		args[n] = arena_slice(a, slice_new(text.data + begin, i - begin));
		if (!args[n++])
			return -ENOMEM;
	}
	if (n == 0)
		return -EINVAL;
	*ret_args = args;
	*ret_n = n;
	return 0;
}

static enum pipe_word word_of(struct slice name)
{
	for (unsigned i = 0; i < PIPE_WORDS; i++)
		if (slice_eq_str(name, words[i]))
			return (enum pipe_word) i;
	return PIPE_WORDS;
}

struct slice pipe_argument_next(struct slice *rest, enum pipe_word *ret)
{
	const char *begin = rest->data;

	for (size_t i = 0; i < rest->len; i++) {
		struct slice name, behind;

		if (rest->data[i] != '{')
			continue;
		name = slice_cut(slice_skip(*rest, i + 1), '}', &behind);
		*ret = behind.data ? word_of(name) : PIPE_WORDS;
		if (*ret == PIPE_WORDS)
			continue;
		*rest = behind;
		return slice_new(begin, i);
	}
	*ret = PIPE_WORDS;
	*rest = slice_skip(*rest, rest->len);
	return slice_new(begin, (size_t) (rest->data - begin));
}

struct slice pipe_argument_flaw(struct slice argument)
{
	for (size_t i = 0; i < argument.len; i++) {
		struct slice name, behind;

		if (argument.data[i] != '{')
			continue;
		name = slice_cut(slice_skip(argument, i + 1), '}', &behind);
		if (!behind.data || word_of(name) == PIPE_WORDS)
			return slice_new(argument.data + i, behind.data ? name.len + 2 : argument.len - i);
	}
	return SLICE_NULL;
}
