#include "deliver/pipe.h"

#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

#include "deliver/failure.h"
#include "deliver/local_text.h"
#include "world/fiber.h"
#include "world/program.h"

#define SAID_MAX 500u              /* octets of what the program wrote that are told */
#define LAST_WORDS (200 * USEC_MS) /* for reading what it wrote before it ended */
#define OUTPUT_MAX (1u << 20)      /* then it is killed: it has lost its way */

/* --- what it is told ------------------------------------------------------------------------------ */

/* Control characters would be lines of their own in whatever the program writes. */
static bool is_harmless(const char *s)
{
	for (; *s; s++)
		if ((unsigned char) *s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

int pipe_facts_of(const struct envelope *e, const char *recipient, struct arena *a, struct pipe_facts *ret)
{
	struct pipe_facts f = { .recipient = recipient, .detail = "", .envelope = e };
	struct address address;
	char *local, *plus;
	int r;

	if (address_parse(slice_from(recipient), ADDRESS_OF_ENVELOPE, &address) < 0)
		return -EINVAL;
	local = address_local_plain(a, &address);
	if (!local)
		return -ENOMEM;
	for (char *p = local; *p; p++)
		*p = ascii_lower(*p);
	plus = strchr(local, '+');
	if (plus && plus != local) {
		*plus = '\0';
		f.detail = plus + 1;
	}
	r = domain_to_ascii(a, address.domain, &f.domain);
	if (r < 0)
		return r;
	f.local = local;
	if (!*f.local || !is_harmless(f.local) || !is_harmless(f.detail) || !is_harmless(recipient))
		return -EINVAL;
	*ret = f;
	return 0;
}

static void append_word(struct buffer *out, enum pipe_word word, const struct pipe_facts *f)
{
	char id[MSGID_TEXT];

	switch (word) {
	case PIPE_RECIPIENT:
		buffer_append_str(out, f->recipient);
		break;
	case PIPE_SENDER:
		buffer_append_str(out, f->envelope->reverse_path);
		break;
	case PIPE_LOCAL:
		buffer_append_str(out, f->local);
		break;
	case PIPE_DETAIL:
		buffer_append_str(out, f->detail);
		break;
	case PIPE_DOMAIN:
		buffer_append_str(out, f->domain);
		break;
	case PIPE_USER:
		buffer_printf(out, "%s@%s", f->local, f->domain);
		break;
	case PIPE_ID:
		buffer_append_str(out, id_format(f->envelope->id, id));
		break;
	case PIPE_WORDS:
		break;
	}
}

static int fill_argument(const char *template, const struct pipe_facts *f, struct arena *a, const char **ret)
{
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice rest = slice_from(template);

	while (rest.len > 0) {
		enum pipe_word word;
		struct slice text = pipe_argument_next(&rest, &word);

		buffer_append_slice(&out, text);
		append_word(&out, word, f);
	}
	if (buffer_error(&out) < 0)
		return -ENOMEM;
	if (out.len > 0 && out.data[0] == '-' && template[0] != '-')
		return -EINVAL;
	*ret = arena_slice(a, buffer_slice(&out));
	return *ret ? 0 : -ENOMEM;
}

int pipe_arguments(const struct pipe_command *c, const struct pipe_facts *f, struct arena *a, const char *const **ret)
{
	const unsigned prefix = c->user ? 3 : 0; /* /proc/self/exe exec-as USER */
	const char **args = arena_new_array(a, const char *, prefix + c->n_args + 1);

	if (!args)
		return -ENOMEM;
	if (c->user) {
		args[0] = "/proc/self/exe";
		args[1] = "exec-as";
		args[2] = c->user;
	}
	for (unsigned i = 0; i < c->n_args; i++) {
		int r = fill_argument(c->args[i], f, a, &args[prefix + i]);

		if (r < 0)
			return r;
	}
	*ret = args;
	return 0;
}

const char *const *pipe_environment(const struct pipe_facts *f, struct arena *a)
{
	const struct envelope *e = f->envelope;
	const char *orcpt = NULL;
	const char **env = arena_new_array(a, const char *, 13);
	char id[MSGID_TEXT];
	unsigned n = 0;

	if (!env)
		return NULL;
	for (unsigned i = 0; i < e->n_recipients; i++)
		if (strcmp(e->recipients[i].address, f->recipient) == 0)
			orcpt = e->recipients[i].orcpt;
	env[n++] = "PATH=/usr/local/bin:/usr/bin:/bin";
	env[n++] = "LANG=C.UTF-8";
	env[n++] = arena_printf(a, "SENDER=%s", e->reverse_path);
	env[n++] = arena_printf(a, "RECIPIENT=%s", f->recipient);
	env[n++] = arena_printf(a, "ORIGINAL_RECIPIENT=%s", orcpt ? orcpt : "");
	env[n++] = arena_printf(a, "LOCAL=%s", f->local);
	env[n++] = arena_printf(a, "DETAIL=%s", f->detail);
	env[n++] = arena_printf(a, "DOMAIN=%s", f->domain);
	env[n++] = arena_printf(a, "QUEUE_ID=%s", id_format(e->id, id));
	env[n++] = arena_printf(a, "SIZE=%llu", (unsigned long long) e->size);
	env[n++] = arena_printf(a, "CLIENT_ADDRESS=%s", e->client_ip ? e->client_ip : "");
	env[n++] = arena_printf(a, "AUTH_USER=%s", e->user ? e->user : "");
	for (unsigned i = 0; i < n; i++)
		if (!env[i])
			return NULL;
	return env;
}

/* --- what its end means --------------------------------------------------------------------------- */

static const struct meaning {
	int status;
	uint8_t code[3]; /* enhanced */
	enum reply_class class;
	const char *text;
} meanings[] = {
	{ EX_TEMPFAIL, { 4, 3, 0 }, CLASS_OTHER, "temporary failure" },
	{ EX_USAGE, { 5, 3, 5 }, CLASS_OTHER, "it was called wrongly" },
	{ EX_DATAERR, { 5, 6, 0 }, CLASS_OTHER, "wrong data" },
	{ EX_NOUSER, { 5, 1, 1 }, CLASS_NO_SUCH_USER, "no such user" },
	{ EX_NOHOST, { 5, 1, 2 }, CLASS_NO_SUCH_USER, "no such host" },
	{ EX_CANTCREAT, { 5, 2, 0 }, CLASS_OTHER, "a file could not be made" },
	{ EX_NOPERM, { 5, 7, 0 }, CLASS_POLICY, "not permitted" },
	{ EX_CONFIG, { 5, 3, 5 }, CLASS_OTHER, "its configuration is wrong" },
	{ 126, { 4, 3, 5 }, CLASS_OTHER, "it could not be run" }, /* what a shell says, and `yizhan exec-as` */
	{ 127, { 4, 3, 5 }, CLASS_OTHER, "it could not be run" },
};

static const struct meaning *meaning_of(int status)
{
	static const struct meaning refused = { 0, { 5, 3, 0 }, CLASS_OTHER, "failure" };
	static const struct meaning died = { 0, { 4, 3, 0 }, CLASS_OTHER, "a signal" };

	if (status < 0)
		return &died;
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (meanings[i].status == status)
			return &meanings[i];
	return &refused;
}

void pipe_outcome(const struct pipe_command *c, int status, const char *said, struct arena *a, struct outcome *ret)
{
	const struct meaning *m = meaning_of(status);
	const char *colon = said[0] ? ": " : "";
	const char *text;

	if (status == 0) {
		*ret = (struct outcome) { .kind = OUTCOME_DELIVERED, .stage = STAGE_LOCAL, .reply = { 250, { 2, 0, 0 }, NULL } };
		ret->reply.text = arena_printf(a, "delivered to the program %s%s%s", c->args[0], colon, said);
		if (!ret->reply.text)
			ret->reply.text = "delivered";
		return;
	}
	if (status < 0)
		text = arena_printf(a, "the program %s died of signal %d%s%s", c->args[0], -status, colon, said);
	else
		text = arena_printf(a, "the program %s ended with status %d (%s)%s%s", c->args[0], status, m->text, colon, said);
	failure_local(ret, STAGE_LOCAL, m->class, m->code[0] == 4 ? 451 : 550, m->code[1], m->code[2], text);
}

/* --- one run ---------------------------------------------------------------------------------------- */

struct run {
	struct program *program;
	struct local_text *text;
	const char *address;
	struct slice head;
	usec_t deadline;
	int fed;             /* what went wrong with the content: 0, LOCAL_TEXT_LOOP, an error of the spool */
	uint64_t output;     /* octets */
	size_t n_said;
	char said[SAID_MAX + 1];
};

static int give(struct run *r, struct slice piece)
{
	int error = program_write(r->program, piece.data, piece.len, r->deadline);

	return error == -EPIPE ? -ENOLINK : error; /* it has seen enough: its exit status tells */
}

static int give_piece(struct slice piece, bool last, void *context)
{
	(void) last;
	return give(context, piece);
}

/* The program must not take half a message for a whole one: when the content can't be read, it is killed before its input
 * ends. */
static void feed(void *arg)
{
	struct run *r = arg;
	int error = give(r, r->head);

	if (error >= 0)
		error = local_text_copy(r->text, r->address, give_piece, r);
	if (error < 0 && error != -ENOLINK) {
		r->fed = error;
		program_kill(r->program);
	}
	program_end_input(r->program);
}

static void hear(void *arg)
{
	struct run *r = arg;
	char piece[1024];
	ssize_t n;

	while ((n = program_read(r->program, piece, sizeof(piece), r->deadline)) > 0) {
		for (ssize_t i = 0; i < n && r->n_said < SAID_MAX; i++)
			r->said[r->n_said++] = piece[i];
		r->output += (uint64_t) n;
		if (r->output > OUTPUT_MAX)
			program_kill(r->program);
	}
}

/* One line of printable text, whatever it was. */
static const char *words_of(struct run *r)
{
	size_t len = 0;

	for (size_t i = 0; i < r->n_said; i++) {
		char c = r->said[i];

		if (c == '\n' || c == '\r' || c == '\t' || c == ' ') {
			if (len > 0 && r->said[len - 1] != ' ')
				r->said[len++] = ' ';
		} else {
			r->said[len++] = c > ' ' && c <= '~' ? c : '?';
		}
	}
	while (len > 0 && r->said[len - 1] == ' ')
		len--;
	r->said[len] = '\0';
	return r->said;
}

/* Runs it to its end: 0 with *ret_status, or -ETIMEDOUT, -ECANCELED, -ENOMEM. */
static int attend(struct run *r, int *ret_status)
{
	struct fiber_group group;
	usec_t last_words;
	int error;

	fiber_group_init(&group);
	error = fiber_group_spawn(&group, "pipe-out", hear, r);
	if (error >= 0)
		error = fiber_group_spawn(&group, "pipe-in", feed, r);
	if (error >= 0)
		error = program_wait(r->program, r->deadline, ret_status);
	last_words = deadline_after(now(), LAST_WORDS);
	/* What it left behind may keep its output open. */
	if (error >= 0)
		(void) fiber_group_wait(&group, MIN(last_words, r->deadline));
	else
		program_kill(r->program);
	fiber_group_done(&group);
	return error;
}

/* --- one recipient ------------------------------------------------------------------------------------ */

struct piping {
	struct deliverer *deliverer;
	const struct pipe_command *command;
	const struct delivery *delivery;
	struct local_text *text;
};

static void cannot_run(const struct piping *p, int error, struct outcome *o)
{
	char buffer[128];

	failure_local(o, STAGE_LOCAL, CLASS_OTHER, 451, 3, error == -ENOMEM ? 0 : 5,
		      arena_printf(p->delivery->arena, "the program %s can't be run: %s", p->command->args[0],
				   error == -EPERM ? "this server is root, and the pipe names no user"
						   : strerror_r(-error, buffer, sizeof(buffer))));
	LOG(p->deliverer->log, LOG_ERROR,
	    error == -EPERM ? "a pipe needs a user, because this server is root and programs must not be"
			    : "a program that mail is delivered to can't be run; check its path and its permissions",
	    F_ID("id", p->delivery->id), F_STR("program", p->command->args[0]), F_ERRNO("error", error));
}

static void explain_end(const struct piping *p, struct run *run, int error, int status, struct outcome *o)
{
	struct arena *a = p->delivery->arena;
	const char *program = p->command->args[0];

	if (run->fed == LOCAL_TEXT_LOOP)
		failure_local(o, STAGE_LOCAL, CLASS_OTHER, 554, 4, 6,
			      arena_printf(a, "the message was delivered to %s before: it is going round in a loop", run->address));
	else if (error == -ECANCELED)
		*o = (struct outcome) { .kind = OUTCOME_NONE };
	else if (error == -ETIMEDOUT || run->fed == -ETIMEDOUT)
		failure_local(o, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0,
			      arena_printf(a, "the program %s did not end in time and was killed", program));
	else if (error < 0)
		cannot_run(p, error, o);
	else if (run->fed < 0 && run->fed != -ECANCELED) /* which means that the program had enough, and ended */
		failure_local(o, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0, "the message can't be read from the spool");
	else if (run->output > OUTPUT_MAX)
		failure_local(o, STAGE_LOCAL, CLASS_OTHER, 451, 3, 0,
			      arena_printf(a, "the program %s wrote without end and was killed", program));
	else
		pipe_outcome(p->command, status, words_of(run), a, o);
}

static int prepare(const struct piping *p, const char *address, struct buffer *head, const char *const **ret_args,
		   const char *const **ret_env)
{
	struct arena *a = p->delivery->arena;
	struct pipe_facts facts;
	int r;

	r = pipe_facts_of(p->delivery->envelope, address, a, &facts);
	if (r >= 0)
		r = pipe_arguments(p->command, &facts, a, ret_args);
	if (r >= 0)
		r = local_text_head(p->delivery->envelope, address, head);
	if (r < 0)
		return r;
	*ret_env = pipe_environment(&facts, a);
	return *ret_env ? 0 : -ENOMEM;
}

static void deliver_one(const struct piping *p, struct delivery_recipient *recipient)
{
	_cleanup_(program_freep) struct program *program = NULL;
	_cleanup_buffer_ struct buffer head = { 0 };
	struct world *w = p->deliverer->world;
	struct run run = { .text = p->text, .address = recipient->address };
	struct program_options options = { 0 };
	int status = 0, r;

	r = prepare(p, recipient->address, &head, &options.argv, &options.env);
	if (r == -EINVAL) {
		failure_local(&recipient->outcome, STAGE_LOCAL, CLASS_NO_SUCH_USER, 550, 1, 3,
			      "the address can't be handed to the program that takes mail here");
		return;
	}
	if (r >= 0 && !p->command->user && program_is_root(w))
		r = -EPERM;
	if (r >= 0)
		r = program_start(w, &options, &program);
	if (r < 0) {
		cannot_run(p, r, &recipient->outcome);
		return;
	}
	run.program = program;
	run.head = buffer_slice(&head);
	run.deadline = deadline_after(now(), p->command->timeout);
	r = attend(&run, &status);
	explain_end(p, &run, r, status, &recipient->outcome);
}

static void deliver_all(struct deliverer *d, const struct pipe_command *command, struct delivery *delivery)
{
	struct local_text text = { 0 };
	const struct piping p = { .deliverer = d, .command = command, .delivery = delivery, .text = &text };
	struct outcome failure;

	if (local_text_open(d, delivery, &text, &failure) < 0) {
		failure_spread(&failure, delivery);
		return;
	}
	for (unsigned i = 0; i < delivery->n_recipients; i++)
		deliver_one(&p, &delivery->recipients[i]);
	local_text_close(&text);
}

void pipe_run(struct deliverer *d, const struct deliver_settings *settings, struct slot *slot)
{
	struct delivery *delivery;

	while (slot_next(slot, deadline_after(now(), settings->config.idle_timeout), &delivery) == 0) {
		deliver_all(d, slot_info(slot)->hop->pipe, delivery);
		slot_done(slot, delivery);
	}
}
