/* A next hop that takes everything, counts it and stores nothing.
 *
 *	bench_sink [-c CONTROL] [-C CERTIFICATE -K KEY] ADDRESS
 *
 * What it counts: messages, recipients, connections; messages of bench_load that came before to the same recipient
 * (duplicates, by the number in their Message-ID); messages whose content is not what bench_load sent (damaged, by the
 * checksum in X-Load). With a certificate it offers STARTTLS.
 *
 * CONTROL is a unix socket: whoever connects and sends a line "wait N SECONDS" gets one line of JSON when N messages
 * have come or the time has passed; "wait 0 0" asks for the counters at once. `last` is the monotonic time at which
 * the last message came. SIGTERM ends the program, and the counters go to standard output. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/line.h"
#include "tls/tls.h"
#include "world/fiber.h"
#include "world/linux.h"

#define RUNS_MAX 64u
#define RECIPIENTS_MAX 64u
#define HEADER_MAX 16384u
#define IDLE (10 * USEC_MIN)

/* Which messages of one run of bench_load have come: a bit per recipient. */
struct run {
	uint32_t id, capacity;
	uint64_t *seen; /* by message */
};

struct sink {
	const char *control;
	struct world *world;
	struct tls_context *tls;
	struct listener *listener, *control_listener;
	struct cond counted;
	uint64_t messages, recipients, connections, octets, duplicates, damaged, unknown, refused;
	usec_t last;
	struct run runs[RUNS_MAX];
	unsigned n_runs;
};

struct session {
	struct sink *sink;
	struct stream *stream;
	struct line_reader reader;
	bool mail, tls;
	unsigned n_recipients;
	uint64_t recipients; /* the bits of their numbers */
	struct arena *arena; /* of TLS */
};

/* A message on its way in: the header is kept until it is complete, the body only goes through the checksum. */
struct incoming {
	struct buffer header;
	bool in_body;
	uint32_t crc, expected;
	bool marked; /* has Message-ID and X-Load of bench_load */
	uint32_t run, number;
};

static usec_t patience(void)
{
	return deadline_after(now(), IDLE);
}

/* --- what came ------------------------------------------------------------------------------------------- */

static bool hex8(const char *p, unsigned base, uint32_t *ret)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < 8; i++) {
		char c = ascii_lower(p[i]);
		unsigned digit = ascii_is_digit(c) ? (unsigned) (c - '0') : c >= 'a' && c <= 'f' ? (unsigned) (c - 'a' + 10) : 99;

		if (digit >= base)
			return false;
		n = n * base + digit;
	}
	*ret = n;
	return true;
}

/* Message-ID: <RRRRRRRR.NNNNNNNN@load.example> and X-Load: CCCCCCCC */
static void read_header(struct incoming *m)
{
	struct slice rest = buffer_slice(&m->header);
	bool id = false, crc = false;

	while (rest.len > 0) {
		struct slice line = slice_cut(rest, '\n', &rest);

		if (line.len < 8)
			continue;
		if (slice_istarts(line, "Message-ID: <") && line.len >= 43)
			id = hex8(line.data + 13, 16, &m->run) && hex8(line.data + 22, 10, &m->number) &&
			     slice_istarts(slice_skip(line, 30), "@load.example>");
		else if (slice_istarts(line, "X-Load: ") && line.len >= 16)
			crc = hex8(line.data + 8, 16, &m->expected);
	}
	m->marked = id && crc;
}

static int take_content(void *context, struct slice data)
{
	struct incoming *m = context;
	const char *end;
	size_t before, in_header;

	if (m->in_body) {
		m->crc = crc32c(m->crc, data.data, data.len);
		return 0;
	}
	before = m->header.len;
	buffer_append_slice(&m->header, slice_head(data, HEADER_MAX));
	if (buffer_error(&m->header) < 0)
		return -ENOMEM;
	end = memmem(m->header.data, m->header.len, "\r\n\r\n", 4);
	if (!end && m->header.len < HEADER_MAX)
		return 0;
	m->in_body = true;
	in_header = end ? (size_t) (end - m->header.data) + 4 : m->header.len;
	m->header.len = in_header;
	read_header(m);
	data = slice_skip(data, in_header - before);
	m->crc = crc32c(0, data.data, data.len);
	return 0;
}

static struct run *find_run(struct sink *s, uint32_t id)
{
	struct run *r;

	for (unsigned i = 0; i < s->n_runs; i++)
		if (s->runs[i].id == id)
			return &s->runs[i];
	if (s->n_runs == RUNS_MAX)
		return NULL;
	r = &s->runs[s->n_runs++];
	r->id = id;
	return r;
}

/* False when memory or the table of runs is out. */
static bool note_seen(struct sink *s, const struct incoming *m, uint64_t recipients)
{
	struct run *r = find_run(s, m->run);

	if (!r)
		return false;
	if (m->number >= r->capacity) {
		uint32_t capacity = MAX(2 * r->capacity, m->number + 4096);
		uint64_t *seen = realloc(r->seen, capacity * sizeof(*seen));

		if (!seen)
			return false;
		memset(seen + r->capacity, 0, (capacity - r->capacity) * sizeof(*seen));
		r->seen = seen;
		r->capacity = capacity;
	}
	if (r->seen[m->number] & recipients)
		s->duplicates++;
	r->seen[m->number] |= recipients;
	return true;
}

static void count(struct session *x, struct incoming *m, uint64_t octets)
{
	struct sink *s = x->sink;

	if (!m->marked || !note_seen(s, m, x->recipients))
		s->unknown++;
	else if (m->crc != m->expected)
		s->damaged++;
	s->messages++;
	s->recipients += x->n_recipients;
	s->octets += octets;
	s->last = now();
	cond_broadcast(&s->counted);
}

/* --- the session ------------------------------------------------------------------------------------------- */

static int say(struct session *x, const char *text)
{
	return stream_put_str(x->stream, text, patience());
}

static void forget(struct session *x)
{
	x->mail = false;
	x->n_recipients = 0;
	x->recipients = 0;
}

static int hello(struct session *x, bool extended)
{
	forget(x);
	if (!extended)
		return say(x, "250 sink.example\r\n");
	return say(x, x->sink->tls && !x->tls ? "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
					      : "250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
}

/* "TO:<12sink@sink.example>": the digits before the local part are the number that bench_load gave. */
static int rcpt(struct session *x, struct slice args)
{
	ssize_t open = slice_find(args, '<');
	uint64_t n = 0;

	if (!x->mail)
		return say(x, "503 5.5.1 MAIL first\r\n");
	for (size_t i = (size_t) (open + 1); i < args.len && ascii_is_digit(args.data[i]) && n < RECIPIENTS_MAX; i++)
		n = 10 * n + (uint64_t) (args.data[i] - '0');
	x->recipients |= (uint64_t) 1 << (n % RECIPIENTS_MAX);
	x->n_recipients++;
	return say(x, "250 2.1.5 Ok\r\n");
}

static int data(struct session *x)
{
	struct incoming m = { 0 };
	struct content_sink to = { .write = take_content, .context = &m };
	struct content_limits limits = { .idle_timeout = IDLE };
	struct content_result result;
	int r;

	if (x->n_recipients == 0)
		return say(x, "503 5.5.1 RCPT first\r\n");
	r = say(x, "354 End data with <CR><LF>.<CR><LF>\r\n");
	if (r < 0)
		return r;
	r = smtp_copy_data(x->stream, &to, &limits, &result);
	if (!result.ended) {
		r = r < 0 ? r : -ECONNRESET;
	} else if (r < 0) {
		x->sink->refused++;
		r = say(x, "550 5.5.2 Bare CR, LF or NUL\r\n");
	} else {
		count(x, &m, result.octets);
		r = say(x, "250 2.0.0 Ok\r\n");
	}
	forget(x);
	buffer_done(&m.header);
	return r;
}

static int start_tls(struct session *x)
{
	struct tls_info info;
	int r;

	if (!x->sink->tls || x->tls)
		return say(x, "503 5.5.1 No TLS now\r\n");
	r = say(x, "220 2.0.0 Go ahead\r\n");
	if (r >= 0)
		r = stream_flush(x->stream, patience());
	if (r >= 0 && !x->arena)
		r = arena_new(0, &x->arena);
	if (r < 0)
		return r;
	stream_discard_input(x->stream); /* RFC 3207 section 4.2 */
	r = tls_accept(x->sink->tls, x->stream, patience(), x->arena, &info, NULL);
	x->tls = r >= 0;
	forget(x);
	return r;
}

/* 1 when the session is over. */
static int execute(struct session *x, struct slice line)
{
	struct command c;

	if (command_parse(line, &c) < 0)
		return say(x, "500 5.5.2 What?\r\n");
	switch (c.verb) {
	case VERB_EHLO:
	case VERB_HELO: return hello(x, c.verb == VERB_EHLO);
	case VERB_MAIL:
		forget(x);
		x->mail = true;
		return say(x, "250 2.1.0 Ok\r\n");
	case VERB_RCPT: return rcpt(x, c.args);
	case VERB_DATA: return data(x);
	case VERB_STARTTLS: return start_tls(x);
	case VERB_RSET: forget(x); /* fall through */
	case VERB_NOOP: return say(x, "250 2.0.0 Ok\r\n");
	case VERB_QUIT: return say(x, "221 2.0.0 Bye\r\n") < 0 || stream_flush_last(x->stream, patience()) < 0 ? -EPIPE : 1;
	default: return say(x, "502 5.5.1 Not here\r\n");
	}
}

static void session(void *arg)
{
	struct session *x = arg;
	struct slice line;
	int r;

	line_reader_init(&x->reader, x->stream);
	r = say(x, "220 sink.example ESMTP\r\n");
	while (r == 0) {
		r = smtp_read_line(&x->reader, COMMAND_LINE_MAX, patience(), &line);
		if (r == 0)
			r = execute(x, line);
		else if (r == -EBADMSG || r == -E2BIG)
			r = say(x, "500 5.5.2 What?\r\n");
	}
	stream_free(x->stream);
	arena_free(x->arena);
	free(x);
}

static void accept_all(void *arg)
{
	struct sink *s = arg;
	const struct sched_param ordinary = { 0 };

	/* Loops are batch threads, which let others run first. A next hop answers at once, as smtp-sink does. */
	(void) sched_setscheduler(0, SCHED_OTHER, &ordinary);
	for (;;) {
		struct endpoint peer;
		struct transport *t;
		struct session *x;
		int r = listener_accept(s->listener, DEADLINE_NEVER, &t, &peer);

		if (r == -ECANCELED)
			return;
		if (r < 0) {
			(void) fiber_sleep_until(deadline_after(now(), 10 * USEC_MS));
			continue;
		}
		s->connections++;
		x = calloc(1, sizeof(*x));
		if (!x) {
			transport_close(t);
			continue;
		}
		x->sink = s;
		if (stream_new(t, &peer, &x->stream) < 0 || fiber_spawn("session", session, x, NULL) < 0) {
			stream_free(x->stream);
			free(x);
		}
	}
}

/* --- the counters ------------------------------------------------------------------------------------------ */

static void format_counters(const struct sink *s, struct buffer *out)
{
	struct rusage u;

	(void) getrusage(RUSAGE_SELF, &u);
	buffer_printf(out, "{\"messages\": %llu, \"recipients\": %llu, \"connections\": %llu, \"octets\": %llu, "
			   "\"duplicates\": %llu, \"damaged\": %llu, \"unknown\": %llu, \"refused\": %llu, \"last\": %.6f, "
			   "\"cpu_seconds\": %.6f}\n",
		      (unsigned long long) s->messages, (unsigned long long) s->recipients,
		      (unsigned long long) s->connections, (unsigned long long) s->octets, (unsigned long long) s->duplicates,
		      (unsigned long long) s->damaged, (unsigned long long) s->unknown, (unsigned long long) s->refused,
		      (double) s->last / 1e6,
		      (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
}

/* "wait N SECONDS" */
static void answer(struct sink *s, struct slice line, struct buffer *out)
{
	struct slice rest, word = slice_cut(line, ' ', &rest), messages = slice_cut(rest, ' ', &rest);
	uint64_t wanted, seconds;
	usec_t until;

	if (!slice_eq_str(word, "wait") || slice_to_u64(messages, &wanted) < 0 || slice_to_u64(rest, &seconds) < 0) {
		buffer_append_str(out, "{\"error\": \"wait N SECONDS\"}\n");
		return;
	}
	until = deadline_after(now(), seconds * USEC_SEC);
	while (s->messages < wanted && cond_wait(&s->counted, "messages", until) >= 0)
		;
	format_counters(s, out);
}

static void control(void *arg)
{
	struct session *x = arg;
	_cleanup_buffer_ struct buffer out = { 0 };
	struct slice line;

	line_reader_init(&x->reader, x->stream);
	x->reader.accept_bare_lf = true;
	while (smtp_read_line(&x->reader, COMMAND_LINE_MAX, DEADLINE_NEVER, &line) == 0) {
		buffer_clear(&out);
		answer(x->sink, line, &out);
		if (stream_put(x->stream, buffer_slice(&out), patience()) < 0 || stream_flush(x->stream, patience()) < 0)
			break;
	}
	stream_free(x->stream);
	free(x);
}

static void accept_controls(void *arg)
{
	struct sink *s = arg;
	struct endpoint peer;
	struct transport *t;

	while (listener_accept(s->control_listener, DEADLINE_NEVER, &t, &peer) >= 0) {
		struct session *x = calloc(1, sizeof(*x));

		if (!x) {
			transport_close(t);
			continue;
		}
		x->sink = s;
		if (stream_new(t, &peer, &x->stream) < 0 || fiber_spawn("control", control, x, NULL) < 0) {
			stream_free(x->stream);
			free(x);
		}
	}
}

/* --- the program -------------------------------------------------------------------------------------------- */

static int listen_on(struct sink *s, const char *address)
{
	struct endpoint at;
	char text[ENDPOINT_TEXT + 8];
	int r = endpoint_parse(slice_from(address), &at);

	if (r >= 0)
		r = listener_open(s->world, &at, NULL, &s->listener);
	if (r < 0 || !s->control)
		return r;
	(void) snprintf(text, sizeof(text), "unix:%s", s->control);
	r = endpoint_parse(slice_from(text), &at);
	return r < 0 ? r : listener_open(s->world, &at, NULL, &s->control_listener);
}

static int run(struct sink *s, const char *address, const struct tls_server_config *tls)
{
	struct linux_options options = { .stack_size = tls->certificate ? 0 : 32768 };
	_cleanup_buffer_ struct buffer out = { 0 };
	_cleanup_(freep) char *why = NULL;
	struct loop *loop;
	sigset_t end;
	int r, signal;

	(void) sigemptyset(&end);
	(void) sigaddset(&end, SIGTERM);
	(void) sigaddset(&end, SIGINT);
	(void) pthread_sigmask(SIG_BLOCK, &end, NULL);
	r = world_linux_new(&options, &s->world);
	if (r >= 0 && tls->certificate)
		r = tls_server_context_new(s->world, tls, &s->tls, &why);
	if (r >= 0)
		r = listen_on(s, address);
	if (r >= 0)
		r = loop_new(s->world, "sink", 0, 0, &loop);
	if (r < 0)
		return r;
	cond_init(&s->counted);
	r = loop_spawn(loop, "accept", accept_all, s);
	if (r >= 0 && s->control_listener)
		r = loop_spawn(loop, "controls", accept_controls, s);
	if (r >= 0)
		r = loop_start(loop);
	if (r >= 0)
		(void) sigwait(&end, &signal);
	loop_stop(loop);
	loop_free(loop);
	format_counters(s, &out);
	(void) fputs(out.data, stdout);
	listener_close(s->listener);
	listener_close(s->control_listener);
	for (unsigned i = 0; i < s->n_runs; i++)
		free(s->runs[i].seen);
	tls_context_unref(s->tls);
	world_free(s->world);
	return r;
}

int main(int argc, char **argv)
{
	struct sink s = { 0 };
	struct tls_server_config tls = { 0 };
	int c, r;

	while ((c = getopt(argc, argv, "c:C:K:")) != -1)
		switch (c) {
		case 'c': s.control = optarg; break;
		case 'C': tls.certificate = optarg; break;
		case 'K': tls.key = optarg; break;
		default: optind = argc + 1;
		}
	if (optind != argc - 1 || !tls.certificate != !tls.key) {
		(void) fprintf(stderr, "usage: %s [-c CONTROL] [-C CERTIFICATE -K KEY] ADDRESS\n", argv[0]);
		return 2;
	}
	r = run(&s, argv[optind], &tls);
	if (r < 0)
		(void) fprintf(stderr, "sink: %s: %s\n", argv[optind], strerror(-r));
	return r < 0;
}
