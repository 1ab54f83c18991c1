#include "receive/session.h"

#include <stdlib.h>

#include "queue/pickup.h"
#include "receive/access.h"
#include "receive/commands.h"
#include "receive/gate_session.h"
#include "receive/transaction.h"

#define COMMANDS_PER_TURN 64u
#define LINGER_TIME USEC_SEC
#define LINGER_OCTETS (256u * 1024)
#define PUT_OFF_NOTED 100u
#define REPLY_ROOM 256 /* octets of most replies; longer ones go to the heap */

/* --- replies ---------------------------------------------------------------------------------------- */

static usec_t session_end(const struct session *s)
{
	return deadline_after(s->progress, session_limits(s)->session_timeout);
}

usec_t session_deadline(const struct session *s)
{
	return MIN(session_end(s), deadline_after(now(), session_limits(s)->command_timeout));
}

int session_put(struct session *s, struct slice wire)
{
	return stream_put(s->stream, wire, session_deadline(s));
}

static bool verb_is_about_a_message(enum verb v)
{
	return v == VERB_MAIL || v == VERB_RCPT || v == VERB_DATA || v == VERB_BDAT;
}

/* wire: the whole reply with its CRLF. */
static void note_refusal(struct session *s, int code, struct slice wire)
{
	const struct transaction *t = s->transaction;

	if (code >= 500)
		s->errors++;
	/* A client may go on after these as long as it likes (RCPT beyond limits.recipients): they must not fill the journal. */
	else if (s->put_off++ >= PUT_OFF_NOTED)
		return;
	if (!verb_is_about_a_message(s->verb))
		return;
	EVENT(session_shared(s)->events, t ? t->envelope.id : MSGID_NONE, EVENT_REFUSED,
	      F_STR("stage", verb_name(s->verb)), F_SLICE("reply", slice_trim(slice_head(wire, wire.len - 2))),
	      F_STR("client", s->client), F_STR("helo", s->helo), F_STR("rule", s->refused_by),
	      F_STR("from", t ? t->envelope.reverse_path : NULL),
	      s->subject.data ? F_SLICE(s->verb == VERB_MAIL ? "sender" : "to", s->subject) : F_STR("to", NULL));
}

static int put_reply(struct session *s, int code, struct slice wire)
{
	if (code >= 400)
		note_refusal(s, code, wire);
	return session_put(s, wire);
}

int session_reply_custom(struct session *s, const struct reply *reply)
{
	char room[REPLY_ROOM];
	_cleanup_buffer_ struct buffer wire = buffer_in(room, sizeof(room));

	reply_format(reply, &wire);
	if (buffer_error(&wire) < 0)
		return -ENOMEM;
	return put_reply(s, reply->code, buffer_slice(&wire));
}

struct reply_subjects session_subjects(const struct session *s)
{
	const struct transaction *t = s->transaction;

	return (struct reply_subjects) {
		.client = s->client,
		.client_name = s->client_name,
		.helo = s->helo,
		.user = s->user,
		.hostname = s->settings->config->hostname,
		.sender = s->verb == VERB_MAIL ? s->subject : t ? slice_from(t->envelope.reverse_path) : SLICE_NULL,
		.recipient = s->verb == VERB_RCPT ? s->subject : SLICE_NULL,
	};
}

int session_reply_text(struct session *s, const struct reply *reply)
{
	_cleanup_buffer_ struct buffer text = { 0 };
	struct reply_subjects about = session_subjects(s);
	struct reply filled = *reply;

	reply_fill(reply->text, SLICE_NULL, SLICE_NULL, &about, &text);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	filled.text = text.data;
	filled.code = s->greeting_code ? s->greeting_code : reply->code;
	return session_reply_custom(s, &filled);
}

int session_format_reply(const struct session *s, enum reply_id id, struct slice first, struct slice second, struct buffer *out)
{
	char room[REPLY_ROOM];
	_cleanup_buffer_ struct buffer text = buffer_in(room, sizeof(room));
	struct reply_subjects about = session_subjects(s);
	struct reply reply = *reply_of(id);

	reply_fill(settings_reply_text(s->settings, id), first, second, &about, &text);
	if (buffer_error(&text) < 0)
		return -ENOMEM;
	reply.text = text.data;
	reply.code = s->greeting_code ? s->greeting_code : reply.code;
	reply_format(&reply, out);
	return buffer_error(out);
}

int session_reply_with(struct session *s, enum reply_id id, struct slice first, struct slice second)
{
	char room[REPLY_ROOM];
	_cleanup_buffer_ struct buffer wire = buffer_in(room, sizeof(room));
	int r = session_format_reply(s, id, first, second, &wire);

	return r < 0 ? r : put_reply(s, reply_of(id)->code, buffer_slice(&wire));
}

int session_reply_number(struct session *s, enum reply_id id, uint64_t number)
{
	char text[24], *p = text + sizeof(text);

	do
		*--p = (char) ('0' + number % 10);
	while (number /= 10);
	return session_reply_with(s, id, slice_new(p, (size_t) (text + sizeof(text) - p)), SLICE_NULL);
}

int session_reply(struct session *s, enum reply_id id)
{
	struct slice wire = s->settings->replies[id];

	return wire.data ? put_reply(s, reply_of(id)->code, wire) : session_reply_with(s, id, SLICE_NULL, SLICE_NULL);
}

int session_close(struct session *s, enum reply_id id)
{
	s->over = true;
	return session_reply(s, id);
}

int session_close_at_limit(struct session *s, enum reply_id id, unsigned limit)
{
	s->over = s->linger = true;
	return session_reply_number(s, id, limit);
}

int session_close_with(struct session *s, enum reply_id id, struct slice first, struct slice second)
{
	s->over = true;
	return session_reply_with(s, id, first, second);
}

/* A wait of this length was in vain, or the session has lasted too long. */
static int time_out(struct session *s, usec_t wait)
{
	bool over = now() >= session_end(s);
	char text[32];

	duration_for_people(over ? session_limits(s)->session_timeout : wait, text, sizeof(text));
	return session_close_with(s, over ? REPLY_SESSION_TIMEOUT : REPLY_TIMEOUT, slice_from(text), SLICE_NULL);
}

int session_reply_error(struct session *s, int error)
{
	switch (error) {
	case -ENOSPC:
		return session_reply(s, REPLY_DISK_FULL);
	case -ENOMEM:
		return session_reply(s, REPLY_OUT_OF_MEMORY);
	case -ETIMEDOUT:
		return time_out(s, session_limits(s)->data_timeout);
	case -ECANCELED:
		return session_close(s, REPLY_STOPPING);
	case -ECONNRESET:
	case -EPIPE:
	case -ENODATA:
		return error;
	default:
		LOG(session_shared(s)->log, LOG_ERROR, "a message could not be stored", F_STR("client", s->client),
		    F_ERRNO("error", error));
		return session_reply(s, REPLY_STORAGE_FAILED);
	}
}

bool session_out_of_turn(struct session *s, const char *before, bool look_at_socket)
{
	if (look_at_socket ? !stream_has_input(s->stream) : stream_peek(s->stream).len == 0)
		return false;
	LOG(session_shared(s)->log, LOG_INFO, "the client sent more than it was allowed to; closing",
	    F_STR("client", s->client), F_STR("before", before));
	s->linger = true;
	(void) session_close_with(s, REPLY_OUT_OF_TURN, slice_from(before), SLICE_NULL);
	return true;
}

void session_forget(struct session *s)
{
	transaction_end(s);
	free(TAKE_PTR(s->helo));
	s->hello = HELLO_NONE;
	s->offered = s->mechanisms = 0;
}

void session_init_lines(struct session *s)
{
	line_reader_init(&s->lines, s->stream);
	s->lines.accept_bare_lf = access_normalizes(s);
}

/* --- the dialogue ----------------------------------------------------------------------------------- */

static int open_session(struct session *s)
{
	int r;

	if (s->proxied) {
		r = session_read_proxy_header(s);
		if (r < 0 || s->over)
			return r;
	}
	if (s->implicit_tls) {
		s->waiting = true;
		r = session_start_tls(s);
		s->waiting = false;
		if (r < 0)
			return r;
	} else if (session_out_of_turn(s, "the greeting", true)) {
		/* RFC 5321 section 4.3.1: the client waits for the greeting. */
		return 0;
	}
	r = session_gate_connect(s);
	return r <= 0 ? r : session_put(s, s->settings->wire[s->role == ROLE_LMTP][WIRE_BANNER]);
}

int session_read_line(struct session *s, size_t longest, enum reply_id too_long, struct slice *ret)
{
	int r;

	s->waiting = !s->transaction;
	r = smtp_read_line(&s->lines, longest, session_deadline(s), ret);
	s->waiting = false;
	switch (r) {
	case 0:
		return 1;
	case -EBADMSG:
		return session_reply_with(s, REPLY_LINE_DEFECT,
					  slice_from(s->lines.defects & LINE_BARE_LF   ? "a bare LF"
						     : s->lines.defects & LINE_BARE_CR ? "a bare CR"
										       : "a NUL"),
					  SLICE_NULL);
	case -E2BIG:
		return session_reply_number(s, too_long, longest);
	case -EMSGSIZE:
		s->over = s->linger = true;
		return session_reply_number(s, REPLY_LINE_ENDLESS, LINE_DROP_MAX);
	case -ETIMEDOUT:
		return time_out(s, session_limits(s)->command_timeout);
	case -ECANCELED:
		return session_close(s, REPLY_STOPPING);
	default:
		return r;
	}
}

/* 1: there is a command; 0: the line was refused, or the session is over; -errno: the connection is lost. */
static int read_command(struct session *s, struct command *ret)
{
	/* RFC 4954 section 4: AUTH may bring a long initial response. */
	size_t longest = s->offered & EXT_AUTH ? AUTH_LINE_MAX : COMMAND_LINE_MAX;
	struct slice line;
	int r;

	s->verb = VERB_UNKNOWN;
	s->subject = SLICE_NULL;
	r = session_read_line(s, longest, REPLY_LINE_TOO_LONG, &line);
	if (r <= 0)
		return r;
	r = command_parse(line, ret);
	if (line.len > COMMAND_LINE_MAX && (r < 0 || ret->verb != VERB_AUTH))
		return session_reply_number(s, REPLY_LINE_TOO_LONG, COMMAND_LINE_MAX);
	if (r == -EILSEQ)
		return session_reply_with(s, REPLY_LINE_DEFECT, SLICE("a control character"), SLICE_NULL);
	if (r < 0)
		return session_reply(s, REPLY_NOT_A_COMMAND);
	s->verb = ret->verb;
	return 1;
}

/* What ends a session although the client would go on. */
static int check_limits(struct session *s)
{
	const struct receive_limits *l = session_limits(s);

	if (s->over)
		return 0;
	s->verb = VERB_UNKNOWN;
	if (s->acceptor->stopping && !s->transaction)
		return session_close(s, REPLY_STOPPING);
	if (s->errors >= l->errors)
		return session_close_at_limit(s, REPLY_TOO_MANY_ERRORS, l->errors);
	if (s->idle_commands >= l->commands)
		return session_close_at_limit(s, REPLY_TOO_MANY_COMMANDS, l->commands);
	/* The waits have deadlines, but whoever sends without a pause never lets us wait. */
	if (now() >= session_end(s))
		return time_out(s, 0);
	return 0;
}

static int run_session(struct session *s)
{
	struct command command;
	unsigned commands = 0;
	int r;

	r = open_session(s);
	while (r >= 0 && !s->over) {
		/* Who sends ahead without end must not hold the thread. Being cancelled shows in the next wait. */
		if (++commands % COMMANDS_PER_TURN == 0)
			(void) fiber_yield();
		r = read_command(s, &command);
		if (r > 0)
			r = command_run(s, &command);
		if (r >= 0)
			r = check_limits(s);
	}
	return r;
}

/* Closing with unread input in the kernel would reset the connection, and the client would lose our last reply:
 * so says that nothing more comes and reads a moment longer. */
static void linger(struct session *s)
{
	usec_t deadline = deadline_after(now(), LINGER_TIME);
	uint64_t limit = s->stream->bytes_in + LINGER_OCTETS;

	if (s->stream->transport->ops->shutdown)
		s->stream->transport->ops->shutdown(s->stream->transport);
	do
		stream_discard_input(s->stream);
	while (s->stream->bytes_in < limit && stream_fill(s->stream, deadline) > 0);
}

/* Did the client have the 250 for its last message? Then it has sent something since; or it said QUIT, and our words could be
 * written; or it closed the connection without a word, but not before it had read ours. */
static void remember_if_unconfirmed(struct session *s, bool written)
{
	usec_t window = s->settings->config->duplicate_window;

	if (s->latest.id == MSGID_NONE || s->stream->bytes_in > s->latest.bytes_in || (s->verb == VERB_QUIT && written) ||
	    transport_closed_in_order(s->stream->transport))
		return;
	duplicates_remember(session_shared(s)->duplicates, &s->latest.key, s->latest.id, window);
	LOG(session_shared(s)->log, LOG_INFO, "the connection ended before the client could say more: it may send the message again",
	    F_ID("id", s->latest.id), F_STR("client", s->client));
}

static void end_session(struct session *s, int r)
{
	transaction_end(s);
	if (!s->stream) /* it was turned around, and has ended meanwhile */
		return;
	if (fiber_cancelled())
		stream_flush_now(s->stream);
	else if (r >= 0 && s->verb == VERB_QUIT && !s->linger) /* nothing of the client is left unread, so that no reset follows */
		r = stream_flush_last(s->stream, session_deadline(s));
	else if (r >= 0)
		r = stream_flush(s->stream, session_deadline(s));
	remember_if_unconfirmed(s, r >= 0 && !fiber_cancelled());
	if (r >= 0 && s->linger)
		linger(s);
	LOG(session_shared(s)->log, LOG_DEBUG, "session ended", F_STR("client", s->client), F_STR("helo", s->helo),
	    F_UINT("messages", s->messages), F_UINT("refused_commands", s->errors),
	    F_ERRNO("error", r == -ENODATA || r > 0 ? 0 : r));
}

static void session_free(struct session *s)
{
	struct receive_shared *shared = session_shared(s);

	session_gate_leave(s);
	stream_free(s->stream);
	clients_leave(shared->clients, s->place);
	link_remove(&s->link);
	atomic_fetch_sub(&shared->sessions, 1);
	arena_free(s->mail_arena);
	arena_free(s->arena);
	free(s->helo);
	receive_settings_unref(s->settings);
	free(s);
}

static void session_fiber(void *arg)
{
	struct session *s = arg;

	s->fiber = fiber_self();
	end_session(s, run_session(s));
	session_free(s);
}

int session_start(struct door *d, struct transport *t, const struct endpoint *peer, struct client_place *place,
		  bool trusted)
{
	struct acceptor *a = d->acceptor;
	_cleanup_(stream_freep) struct stream *stream = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct session *s;
	int r;

	r = stream_new(t, peer, &stream);
	if (r < 0)
		return r;
	r = arena_new(0, &arena);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct session) {
		.acceptor = a,
		.place = place,
		.stream = stream,
		.arena = arena,
		.listener = d->config,
		.role = d->role,
		.implicit_tls = d->implicit_tls,
		.trusted = trusted,
		.progress = now(),
	};
	s->proxied = client_is_listed(s->listener->proxies, s->listener->n_proxies, peer);
	s->may_xclient = client_is_listed(s->listener->xclient, s->listener->n_xclient, peer);
	if (peer->kind == ENDPOINT_UNIX)
		memcpy(s->client, "unix", sizeof("unix"));
	else
		ip_format(&peer->ip, s->client);
	r = fiber_group_spawn(&a->fibers, "session", session_fiber, s);
	if (r < 0) {
		free(s);
		return r;
	}
	s->settings = receive_settings_ref(a->settings);
	session_init_lines(s);
	s->tls_rules = receive_settings_tls(s->settings, d->config);
	list_append(&a->sessions, &s->link);
	stream = NULL;
	arena = NULL;
	return 0;
}

void session_stop_if_idle(struct session *s)
{
	if (s->pickup)
		queue_pickup_stop(s->pickup);
	if (s->waiting && s->fiber)
		fiber_cancel(s->fiber);
}
