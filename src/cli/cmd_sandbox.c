#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/sandbox_setup.h"
#include "world/fiber.h"
#include "world/file.h"
#include "world/stream.h"

#define START_TIME (60 * USEC_SEC) /* a machine may be slow; a server that ends is noticed at once */
#define ARRIVAL_TIME (30 * USEC_SEC)
#define REPLY_TIME (10 * USEC_SEC)
#define STEP (20 * USEC_MS)

struct tour {
	struct sandbox *sandbox;
	struct stream *stream; /* to alpha */
	struct buffer reply;   /* the last one, its lines joined */
	char id[MSGID_TEXT];   /* of the message at alpha */
	char arrived[SANDBOX_TEXT]; /* the file at beta */
	usec_t sent;
};

static int failed(const struct tour *t, const char *what)
{
	cli_failed("%s", what);
	sandbox_show_logs(t->sandbox);
	return CLI_NO;
}

/* --- a few words of SMTP ---------------------------------------------------------------------------------------------- */

/* The last line of a reply to reply.data. The code, or -errno. */
static int read_reply(struct tour *t)
{
	usec_t deadline = deadline_after(now(), REPLY_TIME);

	for (;;) {
		struct slice in = stream_peek(t->stream);
		ssize_t end = slice_find(in, '\n'), n;

		if (end >= 0) {
			struct slice line = slice_trim(slice_head(in, (size_t) end));
			bool last = line.len < 4 || line.data[3] != '-';

			buffer_clear(&t->reply);
			buffer_append_slice(&t->reply, line);
			if (t->reply.len && t->reply.data[t->reply.len - 1] == '\r')
				t->reply.data[--t->reply.len] = '\0';
			stream_consume(t->stream, (size_t) end + 1);
			if (last)
				return t->reply.data ? atoi(t->reply.data) : -ENOMEM;
			continue;
		}
		n = stream_fill(t->stream, deadline);
		if (n <= 0)
			return n < 0 ? (int) n : -ECONNRESET;
	}
}

static int say(struct tour *t, const char *text)
{
	int r = stream_put_str(t->stream, text, deadline_after(now(), REPLY_TIME));

	if (r >= 0)
		r = stream_flush(t->stream, deadline_after(now(), REPLY_TIME));
	return r < 0 ? r : read_reply(t);
}

static int connect_to(struct tour *t, const struct sandbox_server *v)
{
	struct endpoint at = { .kind = ENDPOINT_IP, .port = t->sandbox->port };
	struct transport *transport;
	int r;

	ip_parse(slice_from(v->address), &at.ip);
	r = net_connect(&at, NULL, deadline_after(now(), REPLY_TIME), &transport);
	return r < 0 ? r : stream_new(transport, &at, &t->stream);
}

static void disconnect(struct tour *t)
{
	if (t->stream)
		stream_free(TAKE_PTR(t->stream));
}

/* The id that alpha gave the message: the word of its reply that is one. */
static void find_id(struct tour *t)
{
	struct slice rest = buffer_slice(&t->reply);

	while (rest.len) {
		struct slice word = slice_cut(rest, ' ', &rest);
		msgid_t id;

		if (word.len == MSGID_TEXT - 1 && id_parse(word, &id) == 0)
			id_format(id, t->id);
	}
}

static int send_message(struct tour *t)
{
	static const char letter[] =
		"From: Alice <alice@alpha.example>\r\nTo: Bob <bob@beta.example>\r\nSubject: The first message\r\n"
		"\r\nDear Bob,\r\nthe horses are fresh and the road is open.\r\n\r\nAlice\r\n.\r\n";
	static const char *const dialogue[] = {
		"EHLO sandbox.example\r\n",
		"MAIL FROM:<alice@alpha.example>\r\n",
		"RCPT TO:<bob@beta.example>\r\n",
		"DATA\r\n",
		letter,
	};
	int code = connect_to(t, &t->sandbox->alpha);

	if (code >= 0)
		code = read_reply(t);
	for (unsigned i = 0; i < ARRAY_LEN(dialogue) && code >= 200 && code < 400; i++)
		code = say(t, dialogue[i]);
	t->sent = now();
	if (code < 0)
		return code;
	if (code != 250)
		return -EPROTO;
	find_id(t);
	printf("alpha took it: %.*s\n", (int) t->reply.len, t->reply.data);
	return 0;
}

/* --- waiting ----------------------------------------------------------------------------------------------------------- */

/* Ctrl-C came; it is blocked in all threads and waits to be taken. */
static bool interrupted(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM));
}

/* Until the server greets. -ECHILD: it ended; -EINTR: Ctrl-C came; -ETIMEDOUT. */
static int wait_ready(struct tour *t, struct sandbox_server *v)
{
	usec_t deadline = deadline_after(now(), START_TIME);

	while (now() < deadline) {
		int r;

		if (sandbox_has_ended(v))
			return -ECHILD;
		if (interrupted())
			return -EINTR;
		r = connect_to(t, v);
		if (r >= 0)
			r = read_reply(t);
		disconnect(t);
		if (r == 220)
			return 0;
		fiber_sleep_until(deadline_after(now(), STEP));
	}
	return -ETIMEDOUT;
}

static int wait_both_ready(struct tour *t)
{
	struct sandbox_server *servers[] = { &t->sandbox->alpha, &t->sandbox->beta };

	for (unsigned i = 0; i < ARRAY_LEN(servers); i++) {
		int r = wait_ready(t, servers[i]);

		if (r == -ECHILD)
			cli_failed("%s ended while it started; its log says why", servers[i]->name);
		else if (r == -EINTR)
			cli_failed("interrupted while %s started", servers[i]->name);
		else if (r < 0)
			cli_failed("%s runs, but does not greet within %u seconds", servers[i]->name,
				   (unsigned) (START_TIME / USEC_SEC));
		if (r < 0)
			return r;
	}
	return 0;
}

static int note_name(const char *name, void *context)
{
	struct tour *t = context;

	snprintf(t->arrived, sizeof(t->arrived), "%s", name);
	return 1;
}

static int wait_arrival(struct tour *t)
{
	usec_t deadline = deadline_after(now(), ARRIVAL_TIME);
	char path[SANDBOX_TEXT * 2];

	snprintf(path, sizeof(path), "%s/mail/%s/new", t->sandbox->beta.directory, t->sandbox->beta.mailbox);
	while (now() < deadline && !interrupted()) {
		if (path_list(world_current(), path, note_name, t) == 1) {
			printf("it lies in %s/%s, %llu ms later\n", path, t->arrived,
			       (unsigned long long) ((now() - t->sent) / USEC_MS));
			return 0;
		}
		fiber_sleep_until(deadline_after(now(), STEP));
	}
	return -ETIMEDOUT;
}

/* --- telling ------------------------------------------------------------------------------------------------------------ */

static int print_event(struct slice line, void *context)
{
	json_t *event = json_loadb(line.data, line.len, 0, NULL);

	if (event && strcmp(cli_text(event, "id"), "0000000000000") != 0)
		timeline_print(event, context, "  ");
	json_decref(event);
	return 0;
}

static void print_trace(const struct sandbox_server *v)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char directory[SANDBOX_TEXT + 32];
	json_t *request = json_pack("{s:s}", "command", "journal.flush"), *answer = NULL;
	int64_t first_ms = 0;

	if (cli_load_places(world_current(), v->config, &config) == CLI_YES)
		cli_ask(world_current(), config, request, NULL, NULL, true, &answer);
	json_decref(request);
	json_decref(answer);
	printf("\nits life at %s:\n", v->name);
	snprintf(directory, sizeof(directory), "%s/spool/journal", v->directory);
	journal_search(world_current(), directory, MSGID_NONE, print_event, &first_ms);
}

static int tour(struct world *w, void *arg)
{
	struct tour *t = arg;
	struct sandbox *s = t->sandbox;
	int r;

	printf("a small internet in %s\n"
	       "  alpha.example  MX mx.alpha.example  %s port %u\n"
	       "  beta.example   MX mx.beta.example   %s port %u\n",
	       s->directory, s->alpha.address, s->port, s->beta.address, s->port);
	fflush(stdout);
	if (wait_both_ready(t) < 0) {
		sandbox_show_logs(s);
		return CLI_NO;
	}
	printf("\na message from alice@alpha.example to bob@beta.example\n");
	r = send_message(t);
	disconnect(t);
	if (r < 0) {
		cli_failed("alpha did not take the message: %s", r == -EPROTO ? t->reply.data : strerrordesc_np(-r));
		return failed(t, "so nothing can arrive");
	}
	r = wait_arrival(t);
	print_trace(&s->alpha);
	print_trace(&s->beta);
	fflush(stdout);
	if (r < 0)
		return failed(t, "the message did not arrive within 30 seconds");
	return CLI_YES;
}

/* How the user may call this very program. */
static const char *program_name(char *out, size_t size)
{
	char exe[512], cwd[512];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	size_t len;

	if (n < 0)
		return "yizhan";
	exe[n] = '\0';
	len = getcwd(cwd, sizeof(cwd)) ? strlen(cwd) : 0;
	if (len && strncmp(exe, cwd, len) == 0 && exe[len] == '/')
		snprintf(out, size, "%s", exe + len + 1);
	else
		snprintf(out, size, "%s", exe);
	return out;
}

static void print_suggestions(const struct tour *t)
{
	const struct sandbox *s = t->sandbox;
	char name[512];
	const char *program = program_name(name, sizeof(name));

	printf("\nto try next, in another terminal (swaks: apt-get install swaks):\n\n"
	       "  swaks --server %s --port %u --from alice@alpha.example --to bob@beta.example --header 'Subject: Fresh horses'\n"
	       "  swaks --server %s --port %u --from bob@beta.example --to alice@alpha.example\n"
	       "  %s trace %s -c %s\n"
	       "  %s queue summary -c %s\n"
	       "  %s queue list -c %s\n"
	       "  %s route bob@beta.example -c %s\n"
	       "  %s status -c %s\n"
	       "  %s verify --zone %s/zone %s/mail/%s/new/%s\n"
	       "\n%s/zone is all the DNS there is; logs: %s, %s\n"
	       "Ctrl-C ends it and removes the directory.\n",
	       s->alpha.address, s->port, s->beta.address, s->port, program, t->id, s->alpha.config, program, s->alpha.config, program,
	       s->alpha.config, program, s->alpha.config, program, s->alpha.config, program, s->directory, s->beta.directory, s->beta.mailbox, t->arrived,
	       s->directory, s->alpha.log, s->beta.log);
	fflush(stdout);
}

/* --- the command ---------------------------------------------------------------------------------------------------------- */

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigprocmask(SIG_BLOCK, set, NULL);
}

static int play(struct sandbox *s, bool once, const sigset_t *set)
{
	struct tour t = { .sandbox = s };
	int signal, r;

	if (sandbox_start(s) < 0)
		return CLI_NO;
	r = cli_run(tour, &t);
	buffer_done(&t.reply);
	if (r == CLI_YES && !once) {
		print_suggestions(&t);
		sigwait(set, &signal);
		printf("\nstopping\n");
	}
	return r;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { CLI_LONG_OPTIONS, { "once", no_argument, NULL, 256 }, { 0 } };
	struct sandbox s = {
		.alpha = { .name = "alpha", .address = "127.0.0.11", .mailbox = "alice" },
		.beta = { .name = "beta", .address = "127.0.0.12", .mailbox = "bob" },
	};
	struct cli_options common = { 0 };
	bool once = false;
	int c, status, r;
	sigset_t set;

	while ((c = cli_next_option(self, argc, argv, options, &common, &status)) >= 0)
		once |= c == 256;
	if (status >= 0)
		return status;
	if (optind < argc)
		return cli_wrong_usage(self, "what is \"%s\"?", argv[optind]);
	block_signals(&set);
	r = sandbox_prepare(&s) < 0 ? CLI_NO : play(&s, once, &set);
	sandbox_stop(&s);
	sandbox_remove(&s);
	return r;
}

const struct cli_command cli_sandbox = {
	.name = "sandbox",
	.summary = "a small internet on loopback, with a first message",
	.usage = "Usage: yizhan sandbox [--once]\n"
		 "\n"
		 "Makes a small internet in a temporary directory: a zone file for DNS and two servers on\n"
		 "loopback. A first message goes from one to the other, and its whole life is printed. Then\n"
		 "the servers stay for you to try things, until Ctrl-C. Needs neither root nor a network.\n"
		 "\n"
		 "      --once            end with status 0 when the message has arrived, 1 when it has not\n",
	.run = run,
};
