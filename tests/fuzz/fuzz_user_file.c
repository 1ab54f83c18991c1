/* Lines of a password file: what was understood can be written and is understood again. And editing keeps the others. */
#include "users/user_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(const struct user_line *line)
{
	struct buffer out = { 0 };
	struct user_line again;
	const char *why;

	buffer_append_slice(&out, line->name);
	buffer_append_char(&out, ':');
	verifiers_format(&line->verifiers, &out);
	assert(user_line_parse(buffer_slice(&out), &again, &why) == 1);
	assert(slice_eq(again.name, line->name));
	assert(memcmp(again.verifiers.scram, line->verifiers.scram, sizeof(again.verifiers.scram)) == 0);
	assert(!again.verifiers.crypt == !line->verifiers.crypt);
	verifiers_done(&again.verifiers);
	buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_new((const char *) data, size), rest = text;
	struct buffer out = { 0 };

	while (rest.len > 0) {
		struct user_line line;
		const char *why = NULL;
		int r = user_line_parse(slice_cut(rest, '\n', &rest), &line, &why);

		assert(r != -EINVAL || why);
		if (r <= 0)
			continue;
		write_and_read(&line);
		verifiers_done(&line.verifiers);
	}
	(void) user_file_edit(text, SLICE("alice"), "alice:!", &out);
	assert(out.len <= text.len + sizeof("alice:!\n"));
	buffer_done(&out);
	return 0;
}
