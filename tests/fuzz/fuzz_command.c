/* Command lines: verb, path and parameters lie within the line. */
#include "smtp/bdat.h"
#include "smtp/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct slice part, struct slice line)
{
	assert(part.len == 0 || (part.data >= line.data && part.data + part.len <= line.data + line.len));
}

static void look_at(const struct path_args *args, struct slice line)
{
	within(args->path.text, line);
	assert(args->n_parameters <= PARAMETERS_MAX);
	for (unsigned i = 0; i < args->n_parameters; i++) {
		assert(args->parameters[i].keyword.len > 0);
		within(args->parameters[i].keyword, line);
		within(args->parameters[i].value, line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice line = slice_new((const char *) data, size), name;
	struct path_args args;
	struct command c;
	uint64_t chunk;
	bool last;

	if (command_parse(line, &c) < 0)
		return 0;
	within(c.name, line);
	within(c.args, line);
	if (mail_args_parse(c.args, size & 1, &args) == 0)
		look_at(&args, line);
	if (rcpt_args_parse(c.args, size & 1, &args) == 0)
		look_at(&args, line);
	if (helo_parse(c.args, size & 1, &name) == 0)
		within(name, line);
	if (bdat_parse(c.args, &chunk, &last) == 0)
		assert(chunk <= INT64_MAX);
	return 0;
}
