#include "simulate/session.h"

#include <stdio.h>
#include <stdlib.h>

#define IDLE (5 * USEC_MIN)          /* RFC 5321 section 4.5.3.2.7 */
#define ERRORS_MAX 100u              /* whoever gets so many refusals in one connection talks to a wall */
#define SILENCE_MAX (10 * USEC_MIN)

static usec_t patience(void)
{
	return deadline_after(now(), IDLE);
}

static int say(struct simulated_session *x, int code, int subject, int detail, const char *text)
{
	return simulated_say(x, &(struct reply) { code, { subject || detail ? code / 100 : 0, subject, detail }, text });
}

/* --- what a rule does -------------------------------------------------------------------------------------------- */

/* Nothing is said, until the client goes or loses its patience with us, or we with it. */
static void be_silent(struct simulated_session *x)
{
	usec_t end = deadline_after(now(), SILENCE_MAX);
	ssize_t n;

	do {
		stream_discard_input(x->stream);
		n = stream_fill(x->stream, end);
	} while (n > 0);
}

static int send_garbage(struct simulated_session *x)
{
	static const char garbage[] = "\x15\x03\x01\xff\xfe\x00\x00 what? \x7f\x00\x00\r\r\n\n\x80\x81";

	return stream_put(x->stream, slice_new(garbage, sizeof(garbage) - 1), patience());
}

static int carry_out(struct simulated_session *x, const struct behaviour *b)
{
	int r = b->say.code ? simulated_say(x, &b->say) : 0;

	x->over |= b->then != THEN_GO_ON;
	if (r >= 0 && b->then == THEN_GARBAGE)
		r = send_garbage(x);
	if (r >= 0 && b->then == THEN_SILENCE)
		be_silent(x);
	return r;
}

/* 0: no rule refuses, go on; 1: it has been answered; -errno. */
static int behave(struct simulated_session *x, enum at at)
{
	const struct behaviour *b;
	int r = simulated_behave(x, at, &b);

	if (r <= 0)
		return r;
	r = carry_out(x, b);
	return r < 0 ? r : 1;
}

static int refuse(struct simulated_session *x, const struct reply *reply)
{
	x->simulator->seen.errors++;
	return simulated_say(x, reply);
}

static int out_of_order(struct simulated_session *x, const char *text)
{
	x->simulator->seen.errors++;
	return say(x, 503, 5, 1, text);
}

/* --- hello, STARTTLS, AUTH ------------------------------------------------------------------------------------------ */

static bool is_starttls(const char *line)
{
	return slice_ieq_str(slice_trim(slice_from(line)), "STARTTLS");
}

/* STARTTLS stands there until TLS has begun (RFC 3207 section 4.2), and when there is a certificate. */
static bool is_shown(const struct simulated_session *x, const char *line)
{
	return !is_starttls(line) || (!x->tls && x->simulator->tls);
}

static int greet_extended(struct simulated_session *x)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	const struct provider *p = x->provider;
	struct reply reply = { .code = 250 };

	x->offered = (struct extensions) { 0 };
	buffer_append_str(&text, p->hello);
	for (unsigned i = 0; i < p->n_extensions; i++) {
		if (!is_shown(x, p->extensions[i]))
			continue;
		buffer_printf(&text, "\n%s", p->extensions[i]);
		extensions_parse_line(slice_from(p->extensions[i]), &x->offered);
	}
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	reply.text = text.data;
	return simulated_say(x, &reply);
}

static int hello(struct simulated_session *x, const struct command *c)
{
	struct slice name;
	int r;

	if (helo_parse(c->args, true, &name) < 0) {
		x->simulator->seen.errors++;
		return say(x, 501, 5, 4, "Invalid domain name");
	}
	simulated_message_forget(x);
	x->helo = arena_slice(x->arena, slice_head(name, DOMAIN_MAX));
	if (!x->helo)
		return -ENOMEM;
	r = behave(x, AT_EHLO);
	if (r != 0) {
		x->helo = NULL;
		return r;
	}
	x->extended = c->verb == VERB_EHLO;
	x->offered = (struct extensions) { 0 };
	return x->extended ? greet_extended(x) : simulated_say(x, &(struct reply) { 250, { 0 }, x->provider->hello });
}

static int start_tls(struct simulated_session *x)
{
	struct tls_info info;
	int r;

	if (!(x->offered.bits & EXT_STARTTLS) || x->tls)
		return out_of_order(x, "No STARTTLS now");
	r = behave(x, AT_STARTTLS);
	if (r != 0)
		return r;
	r = say(x, 220, 0, 0, "2.0.0 Ready to start TLS");
	if (r >= 0)
		r = stream_flush(x->stream, patience());
	if (r < 0)
		return r;
	stream_discard_input(x->stream); /* RFC 3207 section 4.2 */
	r = tls_accept(x->simulator->tls, x->stream, patience(), x->arena, &info, NULL);
	if (r < 0)
		return r;
	x->tls = true;
	x->simulator->seen.tls_sessions++;
	x->helo = NULL;
	x->extended = false;
	x->offered = (struct extensions) { 0 };
	simulated_message_forget(x);
	return 0;
}

static int auth(struct simulated_session *x)
{
	int r = behave(x, AT_AUTH);

	if (r != 0)
		return r;
	x->simulator->seen.errors++;
	return x->offered.bits & EXT_AUTH ? say(x, 504, 7, 4, "Unrecognized authentication type") : simulated_say(x, &x->provider->replies.unknown);
}

/* --- the envelope ---------------------------------------------------------------------------------------------------- */

static int mail(struct simulated_session *x, const struct command *c)
{
	struct simulated_message *m = &x->message;
	struct mail_parameters parameters;
	struct path_args args;
	struct reply error;
	int r;

	if (!x->helo)
		return out_of_order(x, "Send EHLO first");
	if (m->begun)
		return out_of_order(x, "Sender already specified");
	if (mail_args_parse(c->args, x->offered.bits & EXT_SMTPUTF8, &args) < 0) {
		x->simulator->seen.errors++;
		return say(x, 501, 1, 7, "Invalid sender address");
	}
	r = mail_parameters_parse(&args, x->offered.bits, x->offered.size, x->mail_arena, &parameters, &error);
	if (r < 0)
		return r == -EINVAL ? refuse(x, &error) : r;
	m->sender = arena_slice(x->mail_arena, args.path.text);
	if (!m->sender)
		return -ENOMEM;
	r = behave(x, AT_MAIL);
	if (r != 0) {
		simulated_message_forget(x);
		return r;
	}
	m->body = parameters.body;
	m->utf8 = parameters.smtputf8;
	m->begun = true;
	x->simulator->in_progress++;
	return simulated_say(x, &x->provider->replies.mail);
}

static int rcpt(struct simulated_session *x, const struct command *c)
{
	struct simulated_message *m = &x->message;
	struct rcpt_parameters parameters;
	struct path_args args;
	struct reply error;
	int r;

	if (!m->begun || m->in_chunks)
		return out_of_order(x, "Need MAIL before RCPT");
	if (rcpt_args_parse(c->args, m->utf8, &args) < 0) {
		x->simulator->seen.errors++;
		return say(x, 501, 1, 3, "Invalid recipient address");
	}
	r = rcpt_parameters_parse(&args, x->offered.bits, m->utf8, x->mail_arena, &parameters, &error);
	if (r < 0)
		return r == -EINVAL ? refuse(x, &error) : r;
	if (m->n_recipients == SIMULATED_RECIPIENTS_MAX)
		return say(x, 452, 5, 3, "Too many recipients");
	x->recipient = arena_slice(x->mail_arena, args.path.text);
	if (!x->recipient)
		return -ENOMEM;
	r = behave(x, AT_RCPT);
	if (r == 0) {
		x->recipients[m->n_recipients++] = x->recipient;
		r = simulated_say(x, &x->provider->replies.rcpt);
	}
	x->recipient = NULL;
	return r;
}

/* --- content ---------------------------------------------------------------------------------------------------------- */

static void content_limits(const struct simulated_session *x, struct content_limits *ret)
{
	*ret = (struct content_limits) { .max_octets = x->offered.size ? x->offered.size : UINT64_C(1) << 30, .idle_timeout = IDLE };
}

/* All of it is there; r: what became of reading it. */
static int judge_content(struct simulated_session *x, int r)
{
	if (r == -EBADMSG || r == -E2BIG)
		x->simulator->seen.errors++;
	if (r == -EBADMSG)
		r = say(x, 550, 6, 11, "Bare line feeds are not accepted");
	else if (r == -E2BIG)
		r = say(x, 552, 3, 4, "Message size exceeds fixed maximum message size");
	else if (r < 0)
		r = say(x, 451, 3, 0, "Error in processing");
	else
		r = behave(x, AT_DOT);
	if (r == 0 && x->message.begun && !x->over && !x->message.spoiled) {
		r = simulated_message_keep(x);
		r = r < 0 ? say(x, 452, 3, 1, "Insufficient system storage") : simulated_say(x, &x->provider->replies.accepted);
	}
	simulated_message_forget(x);
	return r;
}

static int data(struct simulated_session *x)
{
	const struct content_sink sink = { .write = simulated_take_content, .context = x };
	struct simulated_message *m = &x->message;
	struct content_limits limits;
	struct content_result result;
	int r;

	if (m->n_recipients == 0)
		return out_of_order(x, m->begun ? "Need RCPT before DATA" : "Need MAIL before DATA");
	/* RFC 3030 section 3: binary content comes by BDAT. */
	if (m->in_chunks || m->body == BODY_BINARYMIME)
		return out_of_order(x, "Bad sequence of commands: BDAT is expected");
	r = behave(x, AT_DATA);
	if (r != 0) {
		simulated_message_forget(x);
		return r;
	}
	r = simulated_say(x, &x->provider->replies.data);
	if (r < 0)
		return r;
	content_limits(x, &limits);
	r = smtp_copy_data(x->stream, &sink, &limits, &result);
	if (!result.ended)
		return r < 0 ? r : -ECONNRESET;
	m->spoiled = r < 0;
	return judge_content(x, r);
}

/* Reads the octets of a chunk that is not wanted, which come whatever we say. */
static int pass_over(struct simulated_session *x, uint64_t size)
{
	struct content_check dropped;
	struct content_limits limits;
	bool ended;
	int r;

	content_limits(x, &limits);
	content_check_init(&dropped);
	r = smtp_copy_chunk(x->stream, size, &dropped, NULL, &limits, &ended);
	return ended ? 0 : r;
}

/* RFC 3030 section 2. */
static int bdat(struct simulated_session *x, const struct command *c)
{
	const struct content_sink sink = { .write = simulated_take_content, .context = x };
	struct simulated_message *m = &x->message;
	struct content_limits limits;
	uint64_t size;
	bool last, ended;
	int r;

	if (bdat_parse(c->args, &size, &last) < 0) {
		x->over = true; /* nobody knows where the chunk ends */
		return say(x, 501, 5, 4, "Invalid arguments");
	}
	r = 0;
	if ((x->offered.bits & EXT_CHUNKING) && m->n_recipients > 0 && !m->in_chunks)
		r = behave(x, AT_DATA);
	if (!(x->offered.bits & EXT_CHUNKING) || m->n_recipients == 0 || r != 0) {
		int passed = x->over ? 0 : pass_over(x, size);

		if (r == 0 && passed == 0)
			return x->offered.bits & EXT_CHUNKING ? out_of_order(x, "Need RCPT before BDAT") : refuse(x, &x->provider->replies.unknown);
		simulated_message_forget(x);
		return r < 0 ? r : passed < 0 ? passed : 1;
	}
	if (!m->in_chunks)
		content_check_init(&m->check);
	m->in_chunks = true;
	content_limits(x, &limits);
	r = smtp_copy_chunk(x->stream, size, &m->check, &sink, &limits, &ended);
	if (!ended)
		return r < 0 ? r : -ECONNRESET;
	if (r < 0)
		m->spoiled = true;
	if (r < 0 || last) {
		/* A bare LF is nothing to refuse here: RFC 3030 section 2 has no lines. */
		content_check_finish(&m->check);
		return judge_content(x, r);
	}
	return say(x, 250, 6, 0, "Chunk received OK");
}

/* --- the session -------------------------------------------------------------------------------------------------------- */

static int quit(struct simulated_session *x)
{
	x->over = true;
	return simulated_say(x, &x->provider->replies.quit);
}

static int execute(struct simulated_session *x, struct slice line)
{
	struct command c;

	if (command_parse(line, &c) < 0)
		return refuse(x, &x->provider->replies.unknown);
	switch (c.verb) {
	case VERB_EHLO:
	case VERB_HELO: return hello(x, &c);
	case VERB_STARTTLS: return start_tls(x);
	case VERB_AUTH: return auth(x);
	case VERB_MAIL: return mail(x, &c);
	case VERB_RCPT: return rcpt(x, &c);
	case VERB_DATA: return data(x);
	case VERB_BDAT: return bdat(x, &c);
	case VERB_RSET: simulated_message_forget(x); return simulated_say(x, &x->provider->replies.rset);
	case VERB_NOOP: return simulated_say(x, &x->provider->replies.noop);
	case VERB_VRFY: return simulated_say(x, &x->provider->replies.vrfy);
	case VERB_QUIT: return quit(x);
	case VERB_FOREIGN: x->over = true; return 0;
	default: return refuse(x, &x->provider->replies.unknown);
	}
}

static int read_and_execute(struct simulated_session *x)
{
	struct slice line;
	char shown[600];
	int r = smtp_read_line(&x->reader, COMMAND_LINE_MAX, patience(), &line);

	if (r == -EBADMSG || r == -E2BIG) {
		x->simulator->seen.errors++;
		return say(x, 500, 5, 2, "Line too long, or with a bare CR, LF or NUL");
	}
	if (r < 0)
		return r;
	if (x->simulator->options.talk)
		(void) fprintf(stderr, "%s > %s\n", x->address, slice_escape(line, shown, sizeof(shown)));
	return execute(x, line);
}

static int converse(struct simulated_session *x)
{
	int r = behave(x, AT_GREETING);

	if (r == 0)
		r = simulated_say(x, &x->provider->greeting);
	while (r >= 0 && !x->over && x->errors < ERRORS_MAX)
		r = read_and_execute(x);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	return stream_flush_last(x->stream, patience());
}

static int set_up(struct simulated_session *x)
{
	int r = arena_new(0, &x->arena);

	if (r >= 0)
		r = arena_new(0, &x->mail_arena);
	x->ip = x->stream->peer.ip;
	(void) ip_format(&x->ip, x->address);
	x->client = simulator_client_came(x->simulator, &x->ip);
	line_reader_init(&x->reader, x->stream);
	return r < 0 ? r : x->client ? 0 : -ENOMEM;
}

void simulated_session(void *arg)
{
	struct simulated_session *x = arg;
	int r = set_up(x);

	if (r >= 0) {
		simulated_message_forget(x);
		r = converse(x);
	}
	if (r < 0 && r != -ECANCELED)
		x->simulator->seen.lost++;
	if (x->mail_arena)
		simulated_message_forget(x);
	simulator_client_went(x->simulator, x->client);
	x->simulator->open--;
	stream_free(x->stream);
	arena_free(x->mail_arena);
	arena_free(x->arena);
	free(x);
}
