/* `yizhan user`: the password file (users/user_file.h). A password comes from the terminal, without being shown, or from
 * standard input, never from the command line, which everybody on the machine can read. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"
#include "main/privileges.h"
#include "users/user_file.h"
#include "world/file.h"

#define LOCK_TIME (5 * USEC_SEC)
#define LOCK_PAUSE (50 * USEC_MS)

enum { OPTION_FILE = 256, OPTION_ADDRESSES, OPTION_ITERATIONS };

struct user_command {
	const struct cli_command *self;
	struct cli_options common;
	const char *verb, *name, *path, *addresses;
	unsigned iterations;
	struct identity owner; /* of a new file */
	char *password;        /* wiped */
	struct verifiers verifiers;
	int error;             /* of making them */
};

/* --- the password ------------------------------------------------------------------------------------------------ */

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

/* Twice, because nobody sees what he types. */
static int ask_terminal(struct user_command *u)
{
	char *typed = getpass("Password: ");

	u->password = typed ? strdup(typed) : NULL;
	wipe(typed);
	if (!u->password)
		return cli_failed("the password can't be read from the terminal");
	typed = getpass("Once more: ");
	if (!typed || strcmp(typed, u->password) != 0) {
		wipe(typed);
		return cli_failed("the two passwords are not the same; nothing was changed");
	}
	wipe(typed);
	return CLI_YES;
}

static int read_password(struct user_command *u)
{
	char line[PASSWORD_MAX + 3];
	int r = CLI_YES;

	if (isatty(STDIN_FILENO))
		return ask_terminal(u);
	if (!fgets(line, sizeof(line), stdin))
		return cli_failed("there is no password on standard input");
	line[strcspn(line, "\r\n")] = '\0';
	u->password = strdup(line);
	if (!u->password)
		r = cli_failed("out of memory");
	explicit_bzero(line, sizeof(line));
	return r;
}

/* On a worker: a person types, and hashing takes a moment. */
static int make_verifiers(void *arg)
{
	struct user_command *u = arg;
	int r = read_password(u);

	if (r == CLI_YES)
		u->error = verifiers_make(u->password, u->iterations, &u->verifiers);
	wipe(u->password);
	free(TAKE_PTR(u->password));
	if (r == CLI_YES && u->error == -EINVAL)
		return cli_failed("this can't be a password: it is empty, longer than %u octets, or holds control characters (RFC 4013)",
				  PASSWORD_MAX);
	if (r == CLI_YES && u->error < 0)
		return cli_failed("the password can't be hashed: %s", strerrordesc_np(-u->error));
	return r;
}

/* --- the file ------------------------------------------------------------------------------------------------------ */

static int lock(struct world *w, const char *path, struct file **ret)
{
	_cleanup_(freep) char *name = NULL;
	usec_t deadline = deadline_after(world_now(w), LOCK_TIME);
	_cleanup_(file_closep) struct file *f = NULL;
	int r;

	if (asprintf(&name, "%s.lock", path) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	r = file_open(w, name, FILE_READ | FILE_WRITE | FILE_CREATE, 0600, &f);
	while (r >= 0) {
		r = file_lock(f);
		if (r != -EWOULDBLOCK || world_now(w) >= deadline)
			break;
		r = fiber_sleep_until(deadline_after(world_now(w), LOCK_PAUSE));
	}
	if (r >= 0)
		*ret = TAKE_PTR(f);
	return r;
}

/* The new text takes the old one's place at once, with its owner and permissions: the server must go on reading it. */
static int replace(struct world *w, const struct user_command *u, struct slice text)
{
	_cleanup_(freep) char *next = NULL;
	struct file_info old = { .mode = 0600, .uid = u->owner.uid, .gid = u->owner.gid };
	bool give = u->owner.change;
	int r;

	if (asprintf(&next, "%s.new", u->path) < 0) {
		next = NULL;
		return -ENOMEM;
	}
	if (path_info(w, u->path, &old) == 0)
		give = true;
	r = file_write_atomically(w, next, text, old.mode & 0777);
	if (r >= 0 && give && chown(next, old.uid, old.gid) < 0 && geteuid() == 0)
		r = -errno;
	if (r >= 0)
		r = path_rename(w, next, u->path);
	if (r < 0)
		(void) path_unlink(w, next);
	return r;
}

/* The name as it stands in the file; data NULL: it doesn't. */
static struct slice find_name(struct slice text, const char *folded)
{
	while (text.len > 0) {
		struct slice rest, line = slice_cut(text, '\n', &text), name = slice_cut(line, ':', &rest);

		if (line.len > 0 && line.data[0] != '#' && slice_ieq_str(name, folded))
			return name;
	}
	return SLICE_NULL;
}

/* The attributes that the user has. */
static void old_attributes(struct slice text, const char *folded, struct buffer *out)
{
	while (text.len > 0) {
		struct slice line = slice_cut(text, '\n', &text);
		struct user_line parsed;
		const char *why;

		if (user_line_parse(line, &parsed, &why) <= 0)
			continue;
		if (slice_ieq_str(parsed.name, folded) && parsed.addresses.data)
			buffer_append_slice(out, parsed.addresses);
		verifiers_done(&parsed.verifiers);
	}
}

static void make_line(const struct user_command *u, struct slice text, const char *folded, struct buffer *out)
{
	struct slice name = find_name(text, folded);
	_cleanup_buffer_ struct buffer addresses = { 0 };

	if (u->addresses)
		buffer_append_str(&addresses, u->addresses);
	else
		old_attributes(text, folded, &addresses);
	buffer_append_slice(out, name.data ? name : slice_from(u->name));
	buffer_append_char(out, ':');
	verifiers_format(&u->verifiers, out);
	if (addresses.len > 0)
		buffer_printf(out, ":addresses=%s", addresses.data);
	if (buffer_error(&addresses) < 0)
		out->failed = true;
}

static int cant(const char *path, const char *what, int r)
{
	return cli_failed("%s can't be %s: %s", path, what, strerrordesc_np(-r));
}

static int change_text(struct world *w, struct user_command *u, struct slice text, const char *folded)
{
	_cleanup_buffer_ struct buffer line = { 0 }, out = { 0 };
	bool removes = strcmp(u->verb, "remove") == 0;
	int r;

	if (!removes)
		make_line(u, text, folded, &line);
	r = buffer_error(&line) < 0 ? -ENOMEM : user_file_edit(text, slice_from(folded), removes ? NULL : line.data, &out);
	if (r >= 0)
		r = replace(w, u, buffer_slice(&out));
	if (out.data)
		explicit_bzero(out.data, out.capacity);
	if (line.data)
		explicit_bzero(line.data, line.capacity);
	return r < 0 ? cant(u->path, "written", r) : CLI_YES;
}

/* -ENOENT is an empty file. */
static int read_file(struct world *w, const char *path, char **ret, size_t *ret_len)
{
	int r = file_read_all(w, path, USER_FILE_MAX, ret, ret_len);

	if (r == -ENOENT) {
		*ret = NULL;
		*ret_len = 0;
		return 0;
	}
	return r;
}

static int change_file(struct world *w, struct user_command *u, const char *folded)
{
	_cleanup_(file_closep) struct file *held = NULL;
	_cleanup_(freep) char *text = NULL;
	bool adds = strcmp(u->verb, "add") == 0, there;
	size_t len = 0;
	int r;

	r = lock(w, u->path, &held);
	if (r < 0)
		return cant(u->path, "locked (another command may be changing it)", r);
	r = read_file(w, u->path, &text, &len);
	if (r < 0)
		return cant(u->path, "read", r);
	there = find_name(slice_new(text, len), folded).data != NULL;
	if (there && adds)
		return cli_failed("there is a user %s in %s already; `yizhan user passwd` sets another password", u->name, u->path);
	if (!there && !adds)
		return cli_failed("there is no user %s in %s", u->name, u->path);
	if (strcmp(u->verb, "remove") != 0) {
		r = world_offload(w, make_verifiers, u);
		if (r != CLI_YES)
			return r;
	}
	r = change_text(w, u, slice_new(text, len), folded);
	if (text)
		explicit_bzero(text, len);
	return r;
}

static int change(struct world *w, struct user_command *u)
{
	_cleanup_(freep) char *folded = NULL;
	struct slice name = slice_from(u->name);
	int r;

	if (!user_name_is_valid(name) || slice_find(name, ':') >= 0 || name.data[0] == '#' || slice_trim(name).len != name.len)
		return cli_failed("\"%s\" can't be a user's name: it may not hold ':' or control characters, and not begin with #", u->name);
	folded = user_name_fold(name);
	if (!folded)
		return cli_failed("out of memory");
	r = change_file(w, u, folded);
	verifiers_done(&u->verifiers);
	return r;
}

/* --- the list ---------------------------------------------------------------------------------------------------- */

static json_t *user_row(const struct user_line *l)
{
	json_t *row = json_object(), *ways = json_array();

	json_object_set_new(row, "user", json_stringn(l->name.data, l->name.len));
	if (l->verifiers.crypt)
		json_array_append_new(ways, json_string("password"));
	if (l->verifiers.scram[SCRAM_SHA_256].iterations)
		json_array_append_new(ways, json_string("SCRAM-SHA-256"));
	if (l->verifiers.scram[SCRAM_SHA_1].iterations)
		json_array_append_new(ways, json_string("SCRAM-SHA-1"));
	json_object_set_new(row, "login", ways);
	if (l->addresses.data)
		json_object_set_new(row, "addresses", json_stringn(l->addresses.data, l->addresses.len));
	return row;
}

static void print_row(const json_t *row)
{
	const json_t *ways = json_object_get(row, "login");
	char name[300], addresses[600];

	printf("%s  ", cli_safe(cli_text(row, "user"), name, sizeof(name)));
	for (size_t i = 0; i < json_array_size(ways); i++)
		printf("%s%s", i ? ", " : "", json_string_value(json_array_get(ways, i)));
	if (!json_array_size(ways))
		printf("locked");
	if (*cli_text(row, "addresses"))
		printf("  sends as %s", cli_safe(cli_text(row, "addresses"), addresses, sizeof(addresses)));
	putchar('\n');
}

static int list(struct world *w, struct user_command *u)
{
	_cleanup_(freep) char *text = NULL;
	json_t *rows = json_array();
	struct slice rest;
	int status = CLI_YES, r;
	size_t len = 0;

	r = read_file(w, u->path, &text, &len);
	if (r < 0)
		return cant(u->path, "read", r);
	rest = slice_new(text, len);
	for (unsigned number = 1; rest.len > 0; number++) {
		struct user_line line;
		const char *why = NULL;

		r = user_line_parse(slice_cut(rest, '\n', &rest), &line, &why);
		if (r < 0)
			status = cli_failed("%s:%u: %s", u->path, number, why ? why : strerrordesc_np(-r));
		if (r <= 0)
			continue;
		json_array_append_new(rows, user_row(&line));
		verifiers_done(&line.verifiers);
	}
	if (u->common.json)
		cli_print_json(rows);
	for (size_t i = 0; i < json_array_size(rows) && !u->common.json; i++)
		print_row(json_array_get(rows, i));
	json_decref(rows);
	return status;
}

/* --- the command ------------------------------------------------------------------------------------------------- */

/* The password file of the configuration; the first, if there are several. */
static int find_file(struct world *w, struct user_command *u, struct config **ret)
{
	char *why = NULL;
	int r = cli_load_config(w, u->common.config, false, ret);

	if (r != CLI_YES)
		return r;
	for (unsigned i = 0; i < (*ret)->users.n_backends && !u->path; i++)
		if ((*ret)->users.backends[i].kind == BACKEND_FILE)
			u->path = (*ret)->users.backends[i].place;
	if (!u->path)
		return cli_failed("%s names no password file under auth.backends; add one, or say which with --file", u->common.config);
	if (privileges_find(*ret, &u->owner, &why) < 0) {
		r = cli_failed("%s", why ? why : "out of memory");
		free(why);
	}
	return r;
}

static int work(struct world *w, void *arg)
{
	_cleanup_(config_freep) struct config *config = NULL;
	struct user_command *u = arg;
	int r = u->path ? CLI_YES : find_file(w, u, &config);

	if (r != CLI_YES)
		return r;
	return strcmp(u->verb, "list") == 0 ? list(w, u) : change(w, u);
}

static int read_words(struct user_command *u, int argc, char **argv)
{
	static const char *const verbs[] = { "add", "passwd", "remove", "list" };
	bool known = false, lists;

	if (argc < 1)
		return cli_wrong_usage(u->self, "what is to be done? One of add, passwd, list, remove");
	u->verb = argv[0];
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		known |= strcmp(verbs[i], u->verb) == 0;
	lists = strcmp(u->verb, "list") == 0;
	if (!known)
		return cli_wrong_usage(u->self, "\"%s\" is none of add, passwd, list, remove", u->verb);
	if (lists ? argc > 1 : argc < 2)
		return cli_wrong_usage(u->self, lists ? "list takes no name" : "%s needs the name of a user", u->verb);
	if (argc > 2)
		return cli_wrong_usage(u->self, "what is \"%s\"? A password is not given on the command line, where others can see it", argv[2]);
	u->name = lists ? NULL : argv[1];
	if (u->addresses && (strpbrk(u->addresses, " :\t\r\n") || !*u->addresses))
		return cli_wrong_usage(u->self, "addresses are separated by commas, without spaces");
	return CLI_YES;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "file", required_argument, NULL, OPTION_FILE },
		{ "addresses", required_argument, NULL, OPTION_ADDRESSES },
		{ "iterations", required_argument, NULL, OPTION_ITERATIONS },
		{ 0 },
	};
	struct user_command u = { .self = self, .common = { .config = CLI_CONFIG }, .iterations = SCRAM_ITERATIONS };
	uint64_t n;
	int c, status;

	while ((c = cli_next_option(self, argc, argv, options, &u.common, &status)) >= 0) {
		if (c == OPTION_FILE)
			u.path = optarg;
		else if (c == OPTION_ADDRESSES)
			u.addresses = optarg;
		else if (slice_to_u64(slice_from(optarg), &n) < 0 || n < 4096 || n > SCRAM_ITERATIONS_MAX)
			return cli_wrong_usage(self, "--iterations takes a number from 4096 on (RFC 7677), not \"%s\"", optarg);
		else
			u.iterations = (unsigned) n;
	}
	if (status >= 0)
		return status;
	status = read_words(&u, argc - optind, argv + optind);
	return status == CLI_YES ? cli_run(work, &u) : status;
}

const struct cli_command cli_user = {
	.name = "user",
	.summary = "add, change, list and remove users in the password file",
	.usage = "Usage: yizhan user add NAME [--addresses A,B...] [-c FILE | --file FILE]\n"
		 "       yizhan user passwd NAME [--addresses A,B...]\n"
		 "       yizhan user remove NAME\n"
		 "       yizhan user list [--json]\n"
		 "\n"
		 "Changes the password file that the configuration names under auth.backends. The server sees it\n"
		 "at once. The password is asked for, without being shown, or read from the first line of standard\n"
		 "input; it is never given on the command line. What is kept of it is a yescrypt hash and the\n"
		 "verifiers for SCRAM.\n"
		 "\n"
		 "      --addresses LIST  the addresses that this user may send as, with * and ?; without it,\n"
		 "                        the name, when it is an address\n"
		 "      --iterations N    of SCRAM (default 10000)\n"
		 "      --file FILE       this password file, whatever the configuration says\n"
		 "  -c, --config FILE     the configuration (default " CLI_CONFIG ")\n"
		 "      --json            print JSON (list)\n",
	.run = run,
};
