/* `pipe`: programs that mail is delivered to, named by routes and domains. */
#include "main/config_keys.h"
#include "main/config_sections.h"

#define PIPE_TIMEOUT (5 * USEC_MIN)

static int check_arguments(struct config_reader *reader, const struct config_node *node, const struct pipe_command *c)
{
	char shown[128];

	if (c->args[0][0] != '/') {
		config_error(reader->errors, &node->mark, "pipe: the program needs its whole path, like /usr/bin/procmail; found \"%s\"",
			     slice_escape(slice_from(c->args[0]), shown, sizeof(shown)));
		return -EINVAL;
	}
	if (strchr(c->args[0], '{')) {
		config_error(reader->errors, &node->mark, "pipe: nothing can be filled into the name of the program itself");
		return -EINVAL;
	}
	for (unsigned i = 1; i < c->n_args; i++) {
		struct slice flaw = pipe_argument_flaw(slice_from(c->args[i]));

		if (!flaw.data)
			continue;
		config_error(reader->errors, &node->mark,
			     "pipe: %.*s is none of {recipient}, {sender}, {local}, {detail}, {domain}, {user} and {id}", SLICE_ARG(flaw));
		return -EINVAL;
	}
	return 0;
}

static int read_text(struct config_reader *reader, const struct config_node *node, struct slice text, struct pipe_command *c)
{
	int r = pipe_command_split(text, reader->arena, &c->args, &c->n_args);

	if (r == -EINVAL)
		config_error(reader->errors, &node->mark,
			     "pipe: there is no shell, so quotes and backslashes mean nothing; write a list of arguments: [/usr/bin/program, \"an argument\"]");
	else if (r == -E2BIG)
		config_error(reader->errors, &node->mark, "pipe: at most %u arguments are possible", PIPE_ARGUMENTS_MAX);
	return r;
}

static int read_list(struct config_reader *reader, const struct config_node *node, struct pipe_command *c)
{
	const char **args;

	if (node->n == 0 || node->n > PIPE_ARGUMENTS_MAX) {
		config_error(reader->errors, &node->mark, "pipe: expected a program and up to %u arguments", PIPE_ARGUMENTS_MAX - 1);
		return -EINVAL;
	}
	args = arena_new_array(reader->arena, const char *, node->n + 1);
	if (!args)
		return -ENOMEM;
	for (unsigned i = 0; i < node->n; i++) {
		if (node->items[i]->kind != CONFIG_SCALAR) {
			config_error(reader->errors, &node->items[i]->mark, "pipe: expected an argument, found %s",
				     config_kind_name(node->items[i]->kind));
			return -EINVAL;
		}
		args[i] = node->items[i]->text.data;
	}
	c->args = args;
	c->n_args = node->n;
	return 0;
}

int config_read_pipe(struct config_reader *reader, const struct config_node *node, struct slice text, const char *user,
		     usec_t timeout, struct hop *hop)
{
	struct pipe_command *c = arena_new_type(reader->arena, struct pipe_command);
	int r = -EINVAL;

	if (!c)
		return -ENOMEM;
	if (node->kind == CONFIG_LIST)
		r = read_list(reader, node, c);
	else if (node->kind == CONFIG_SCALAR)
		r = read_text(reader, node, text, c);
	else
		config_error(reader->errors, &node->mark, "pipe: expected a list of arguments, found %s", config_kind_name(node->kind));
	if (r >= 0)
		r = check_arguments(reader, node, c);
	if (r < 0)
		return r;
	c->user = user;
	c->timeout = timeout ? timeout : PIPE_TIMEOUT;
	if (user && strcmp(user, "root") == 0)
		config_error(reader->errors, &node->mark, "pipe: a program that reads mail must not be root");
	hop->kind = HOP_PIPE;
	hop->pipe = c;
	return 0;
}

/* {pipe: [...], user: vmail, timeout: 1m}, as the whole of a domain's `deliver`. */
int config_read_pipe_map(struct config_reader *reader, const struct config_node *node, struct hop *hop)
{
	struct pipe_section section = { 0 };
	int r = config_fill(reader, "domains{}.deliver", node, &section);

	if (r < 0)
		return r;
	if (!section.pipe)
		return -EINVAL;
	return config_read_pipe(reader, section.pipe, section.pipe->text, section.user, section.timeout, hop);
}
