/* A load generator for SMTP servers: many sessions on one loop, as little work as the protocol allows.
 *
 *	bench_load [options] ADDRESS         127.0.0.1:25, [::1]:25 or unix:/path
 *
 *	-s N  sessions at once (1)           -l N  octets of content behind the header (4096)
 *	-m N  messages in all (1)            -r N  recipients of each message (1, at most 64)
 *	-n N  messages on a connection (1)   -k    as many as there are: kept connections
 *	-N    never pipelines; else, when the server offers it, MAIL, RCPT and DATA go out together, behind the content of
 *	      the message before
 *	-T    STARTTLS                       -S    TLS from the first octet on
 *	-D    every line of the content begins with a dot
 *	-H    half-closes behind QUIT        -L    measures latencies
 *	-i N  the number of this run, eight hexadecimal digits in every Message-ID (drawn at random)
 *	-g N  milliseconds between the starts of two sessions (0)
 *	-d N  the recipients' domains take turns: d0000.DOMAIN, d0001.DOMAIN... (1: just DOMAIN)
 *	-f SENDER  -t RECIPIENT  -w SECONDS  the longest wait for one reply (120)
 *
 * A session waits for the replies as RFC 5321 and RFC 2920 ask, and keeps to dot-stuffing (RFC 5321 section 4.5.2). The content is made up
 * and stuffed once, before the first connection; in the header of each message only its number is written. With -r the
 * recipients are RECIPIENT with 0, 1, 2... before the local part. Message-ID and X-Load let bench_sink recognise a
 * message that comes twice, and one whose content was changed.
 *
 * At the end one line of JSON on standard output: what was accepted (a 250 behind the content), what was not and why,
 * and what it took, CPU of this program included. The status is 0 when all messages were accepted, 1 when not, 2 for
 * wrong options. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/crc32c.h"
#include "smtp/line.h"
#include "smtp/stuff.h"
#include "tls/tls.h"
#include "world/fiber.h"
#include "world/linux.h"

#define RECIPIENTS_MAX 64u
#define DOMAIN_DIGITS 4u
#define DOMAINS_MAX 10000u
#define CONNECTIONS_KEPT UINT32_MAX

enum crypt { PLAIN, STARTTLS, IMPLICIT_TLS };

struct options {
	struct endpoint to;
	unsigned sessions, recipients, on_a_connection, domains;
	uint32_t messages, run;
	size_t size;
	bool pipelining, dots, half_close, latencies;
	enum crypt crypt;
	usec_t patience, gap;
	const char *sender, *recipient;
};

struct load {
	struct options o;
	struct world *world;
	struct tls_context *tls;
	struct buffer header, content, envelope; /* the same for all messages, but for the number in the header */
	size_t numbers[2];                       /* where in the header it stands */
	size_t mail_len;                         /* of the MAIL line, which the envelope begins with */
	size_t domains[RECIPIENTS_MAX];          /* where in the envelope the numbers of domains stand */
	uint32_t next, accepted, failed, connections, sessions_left;
	uint32_t *latencies; /* microseconds from MAIL to the 250, by message; 0: none */
	char why[256];       /* the first failure */
	usec_t begin, end;
	struct completion all_done;
};

/* One connection. */
struct session {
	struct load *load;
	struct stream *stream;
	struct line_reader reader;
	bool offered;    /* PIPELINING */
	bool pipelining; /* offered and wanted */
	bool quit_sent;
	bool ahead;    /* the envelope of the message `next` was sent behind the content of the one before */
	uint32_t next;
	struct arena *arena;
	char *header;
};

static usec_t patience(const struct session *s)
{
	return deadline_after(now(), s->load->o.patience);
}

static void fail(struct load *l, const char *where, int error, struct slice line)
{
	char text[160] = "";

	if (l->why[0])
		return;
	if (error < 0)
		(void) snprintf(text, sizeof(text), "%s", strerror(-error));
	else
		(void) slice_escape(line, text, sizeof(text));
	(void) snprintf(l->why, sizeof(l->why), "%s: %s", where, text);
}

/* Reads a reply to its last line. 0 when its code is of the class wanted; -EPROTO when it is of another. */
static int expect(struct session *s, char class, const char *where)
{
	struct slice line;
	int r;

	for (;;) {
		r = smtp_read_line(&s->reader, REPLY_LINE_ACCEPT, patience(s), &line);
		if (r < 0)
			break;
		if (line.len >= 4 && slice_istarts(slice_skip(line, 4), "PIPELINING"))
			s->offered = true;
		if (line.len >= 4 && line.data[3] == '-')
			continue;
		if (line.len >= 3 && line.data[0] == class)
			return 0;
		r = 0;
		break;
	}
	fail(s->load, where, r, line);
	return r < 0 ? r : -EPROTO;
}

static int command(struct session *s, const char *text, char class, const char *where)
{
	int r = stream_put_str(s->stream, text, patience(s));

	return r < 0 ? r : expect(s, class, where);
}

static int start_tls(struct session *s)
{
	struct tls_info info;
	const char *why = NULL;
	int r = tls_connect(s->load->tls, s->stream, "mx.bench.example", TLS_VERIFY_NONE, patience(s), s->arena, &info, &why);

	if (r < 0)
		fail(s->load, "TLS", 1, slice_from(why ? why : "failed"));
	return r;
}

static int greet(struct session *s)
{
	enum crypt crypt = s->load->o.crypt;
	int r = crypt == IMPLICIT_TLS ? start_tls(s) : 0;

	if (r < 0)
		return r;
	r = expect(s, '2', "the greeting");
	if (r < 0)
		return r;
	r = command(s, "EHLO source.example\r\n", '2', "EHLO");
	if (r < 0 || crypt != STARTTLS)
		return r;
	r = command(s, "STARTTLS\r\n", '2', "STARTTLS");
	if (r < 0)
		return r;
	r = start_tls(s);
	if (r < 0)
		return r;
	s->offered = false;
	return command(s, "EHLO source.example\r\n", '2', "EHLO under TLS");
}

static void write_digits(char *to, unsigned digits, uint32_t n)
{
	for (unsigned i = digits; i > 0; i--, n /= 10)
		to[i - 1] = (char) ('0' + n % 10);
}

/* It is the same piece of memory for all sessions: what is put is copied. */
static struct slice envelope_of(struct load *l, uint32_t number)
{
	for (unsigned i = 0; l->o.domains > 1 && i < l->o.recipients; i++)
		write_digits(l->envelope.data + l->domains[i], DOMAIN_DIGITS, number % l->o.domains);
	return buffer_slice(&l->envelope);
}

/* One of several commands that don't go out together; others may have used the memory meanwhile. */
static struct slice envelope_line(struct load *l, uint32_t number, size_t offset)
{
	struct slice rest = slice_skip(envelope_of(l, number), offset);

	return slice_head(rest, (size_t) (slice_find(rest, '\n') + 1));
}

/* MAIL, RCPT and DATA, to the 354. */
static int send_envelope(struct session *s, uint32_t number)
{
	struct load *l = s->load;
	size_t offset = 0;
	int r = 0;

	if (s->pipelining && !s->ahead)
		r = stream_put(s->stream, envelope_of(l, number), patience(s));
	s->ahead = false;
	for (unsigned i = 0; i <= l->o.recipients + 1 && r >= 0; i++) {
		if (!s->pipelining) {
			struct slice line = envelope_line(l, number, offset);

			offset += line.len;
			r = stream_put(s->stream, line, patience(s));
			if (r < 0)
				break;
		}
		r = i == 0 ? expect(s, '2', "MAIL") : i <= l->o.recipients ? expect(s, '2', "RCPT") : expect(s, '3', "DATA");
	}
	return r;
}

static bool take(struct load *l, uint32_t *ret)
{
	if (l->next == l->o.messages)
		return false;
	*ret = l->next++;
	return true;
}

/* What goes out behind the content without waiting for its 250 (RFC 2920 section 3.1): the next envelope, or QUIT. */
static int send_ahead(struct session *s, bool last)
{
	if (!last && take(s->load, &s->next)) {
		s->ahead = true;
		return stream_put(s->stream, envelope_of(s->load, s->next), patience(s));
	}
	s->quit_sent = true;
	return stream_put_str(s->stream, "QUIT\r\n", patience(s));
}

static int send_message(struct session *s, uint32_t number, bool last)
{
	struct load *l = s->load;
	usec_t began = l->latencies ? now() : 0;
	int r = send_envelope(s, number);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < ARRAY_LEN(l->numbers); i++)
		write_digits(s->header + l->numbers[i], 8, number);
	r = stream_put(s->stream, slice_new(s->header, l->header.len), patience(s));
	if (r >= 0)
		r = stream_put(s->stream, buffer_slice(&l->content), patience(s));
	if (r >= 0 && s->pipelining)
		r = send_ahead(s, last);
	if (r >= 0)
		r = expect(s, '2', "the end of the content");
	if (r >= 0 && l->latencies)
		l->latencies[number] = (uint32_t) MIN(now() - began, (usec_t) UINT32_MAX);
	return r;
}

static int quit(struct session *s)
{
	int r = s->quit_sent ? 0 : stream_put_str(s->stream, "QUIT\r\n", patience(s));

	if (r >= 0 && s->load->o.half_close) {
		r = stream_flush(s->stream, patience(s));
		if (r >= 0 && s->stream->transport->ops->shutdown)
			s->stream->transport->ops->shutdown(s->stream->transport);
	}
	return r < 0 ? r : expect(s, '2', "QUIT");
}

static int open_session(struct session *s)
{
	struct load *l = s->load;
	struct transport *t;
	int r = net_connect(&l->o.to, NULL, patience(s), &t);

	if (r < 0) {
		fail(l, "connecting", r, SLICE_NULL);
		return r;
	}
	l->connections++;
	r = stream_new(t, &l->o.to, &s->stream);
	if (r < 0)
		return r;
	line_reader_init(&s->reader, s->stream);
	s->offered = s->quit_sent = s->ahead = false;
	r = greet(s);
	s->pipelining = s->offered && l->o.pipelining;
	return r;
}

/* One connection with the messages that go over it; the first of them is taken already. A message without its 250 is
 * not sent again: somebody may have it. */
static void converse(struct session *s, uint32_t number)
{
	struct load *l = s->load;
	int r = open_session(s);

	for (unsigned i = 1;; i++) {
		bool last = i == l->o.on_a_connection;

		if (r >= 0)
			r = send_message(s, number, last);
		if (r < 0) {
			l->failed += s->ahead ? 2 : 1;
			break;
		}
		l->accepted++;
		if (s->ahead)
			number = s->next;
		else if (last || s->quit_sent || !take(l, &number))
			break;
	}
	if (r >= 0)
		(void) quit(s);
	stream_free(TAKE_PTR(s->stream));
	if (s->arena)
		arena_reset(s->arena);
}

static void session(void *arg)
{
	struct load *l = arg;
	struct session s = { .load = l };
	uint32_t number;

	s.header = malloc(l->header.len);
	if (!s.header || (l->tls && arena_new(0, &s.arena) < 0)) {
		fail(l, "a session", -ENOMEM, SLICE_NULL);
	} else {
		memcpy(s.header, l->header.data, l->header.len);
		while (take(l, &number))
			converse(&s, number);
	}
	free(s.header);
	arena_free(s.arena);
	l->end = now();
	if (--l->sessions_left == 0)
		completion_done(&l->all_done, 0);
}

static void start(void *arg)
{
	struct load *l = arg;

	const struct sched_param ordinary = { 0 };

	/* Loops are batch threads, which let others run first. Who measures answers at once, as smtp-source does. */
	(void) sched_setscheduler(0, SCHED_OTHER, &ordinary);
	completion_init(&l->all_done);
	l->begin = now();
	l->sessions_left = l->o.sessions;
	for (unsigned i = 0; i < l->o.sessions; i++) {
		if (fiber_spawn("session", session, l, NULL) < 0) {
			fail(l, "a session", -ENOMEM, SLICE_NULL);
			l->sessions_left--;
		}
		if (l->o.gap > 0)
			(void) fiber_sleep_until(deadline_after(now(), l->o.gap));
	}
	if (l->sessions_left > 0)
		(void) completion_wait(&l->all_done);
	(void) kill(getpid(), SIGUSR1);
}

/* --- what is sent -------------------------------------------------------------------------------------- */

static void make_recipient(struct load *l, unsigned i)
{
	const char *at = strrchr(l->o.recipient, '@');
	size_t local = at ? (size_t) (at - l->o.recipient) : strlen(l->o.recipient);

	buffer_append_str(&l->envelope, "RCPT TO:<");
	if (l->o.recipients > 1)
		buffer_printf(&l->envelope, "%u", i);
	buffer_append(&l->envelope, l->o.recipient, local);
	if (at && l->o.domains > 1) {
		buffer_append_str(&l->envelope, "@d");
		l->domains[i] = l->envelope.len;
		buffer_append_str(&l->envelope, "0000.");
		at++;
	}
	buffer_append_str(&l->envelope, at ? at : "");
	buffer_append_str(&l->envelope, ">\r\n");
}

static int make_envelope(struct load *l)
{
	buffer_printf(&l->envelope, "MAIL FROM:<%s>\r\n", l->o.sender);
	for (unsigned i = 0; i < l->o.recipients; i++)
		make_recipient(l, i);
	buffer_append_str(&l->envelope, "DATA\r\n");
	return buffer_error(&l->envelope);
}

/* Lines of at most 78 characters, each different from the one before. */
static int make_content(struct load *l)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	_cleanup_buffer_ struct buffer plain = { 0 };
	struct stuffer stuffer;
	struct slice in, run;
	uint32_t crc;

	for (size_t line = 0; plain.len < l->o.size; line++) {
		size_t n = MIN((size_t) 78, l->o.size - plain.len - MIN((size_t) 2, l->o.size - plain.len));

		for (size_t i = 0; i < n; i++)
			buffer_append_char(&plain, l->o.dots && i <= line % 3 ? '.' : letters[(line + i) % (sizeof(letters) - 1)]);
		buffer_append_str(&plain, "\r\n");
	}
	if (buffer_error(&plain) < 0)
		return -ENOMEM;
	crc = crc32c(0, plain.data ? plain.data : "", plain.len);
	stuffer_init(&stuffer, STUFF_DATA);
	in = buffer_slice(&plain);
	while (stuffer_next(&stuffer, &in, &run))
		buffer_append_slice(&l->content, run);
	buffer_append_slice(&l->content, stuffer_finish(&stuffer));
	buffer_printf(&l->header, "From: <%s>\r\nTo: <%s>\r\nSubject: load %08x ", l->o.sender, l->o.recipient, l->o.run);
	l->numbers[0] = l->header.len;
	buffer_printf(&l->header, "00000000\r\nMessage-ID: <%08x.", l->o.run);
	l->numbers[1] = l->header.len;
	buffer_printf(&l->header, "00000000@load.example>\r\nX-Load: %08x\r\n\r\n", crc);
	return buffer_error(&l->content) < 0 ? -ENOMEM : buffer_error(&l->header);
}

/* --- the program ---------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

static void show_latencies(struct load *l)
{
	static const struct { const char *name; double part; } parts[] = {
		{ "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "max", 1 },
	};
	uint32_t none = 0, n;

	qsort(l->latencies, l->o.messages, sizeof(*l->latencies), by_size);
	while (none < l->o.messages && l->latencies[none] == 0)
		none++;
	n = l->o.messages - none;
	if (n == 0)
		return;
	(void) printf(", \"latency_ms\": {");
	for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
		(void) printf("%s\"%s\": %.3f", i > 0 ? ", " : "", parts[i].name,
			      l->latencies[none + (uint32_t) (parts[i].part * (n - 1))] / 1e3);
	(void) printf("}");
}

static void show(struct load *l)
{
	struct rusage u;

	(void) getrusage(RUSAGE_SELF, &u);
	(void) printf("{\"messages\": %u, \"accepted\": %u, \"failed\": %u, \"recipients\": %u, \"connections\": %u, "
		      "\"run\": \"%08x\", \"seconds\": %.6f, \"cpu_seconds\": %.6f",
		      l->o.messages, l->accepted, l->failed, l->accepted * l->o.recipients, l->connections, l->o.run,
		      (double) (l->end - l->begin) / 1e6,
		      (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	if (l->latencies)
		show_latencies(l);
	if (l->why[0]) {
		_cleanup_buffer_ struct buffer why = { 0 };

		buffer_append_json(&why, slice_from(l->why));
		(void) printf(", \"why\": \"%s\"", why.data ? why.data : "");
	}
	(void) printf("}\n");
}

static int number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	int r = slice_to_u64(slice_from(text), ret);

	return r < 0 ? r : *ret < min || *ret > max ? -ERANGE : 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	uint64_t n = 0;
	int c, r = 0;

	while ((c = getopt(argc, argv, "s:m:n:kl:r:d:NTSDHLi:g:f:t:w:")) != -1 && r >= 0)
		switch (c) {
		case 's': r = number(optarg, 1, 50000, &n); o->sessions = (unsigned) n; break;
		case 'm': r = number(optarg, 1, 99999999, &n); o->messages = (uint32_t) n; break;
		case 'n': r = number(optarg, 1, UINT32_MAX, &n); o->on_a_connection = (unsigned) n; break;
		case 'k': o->on_a_connection = CONNECTIONS_KEPT; break;
		case 'l': r = number(optarg, 0, 1u << 30, &n); o->size = n; break;
		case 'r': r = number(optarg, 1, RECIPIENTS_MAX, &n); o->recipients = (unsigned) n; break;
		case 'd': r = number(optarg, 1, DOMAINS_MAX, &n); o->domains = (unsigned) n; break;
		case 'N': o->pipelining = false; break;
		case 'T': o->crypt = STARTTLS; break;
		case 'S': o->crypt = IMPLICIT_TLS; break;
		case 'D': o->dots = true; break;
		case 'H': o->half_close = true; break;
		case 'L': o->latencies = true; break;
		case 'i': o->run = (uint32_t) strtoul(optarg, NULL, 16); break;
		case 'g': r = number(optarg, 0, 10000, &n); o->gap = n * USEC_MS; break;
		case 'f': o->sender = optarg; break;
		case 't': o->recipient = optarg; break;
		case 'w': r = number(optarg, 1, 86400, &n); o->patience = n * USEC_SEC; break;
		default: return -EINVAL;
		}
	if (r < 0 || optind != argc - 1)
		return -EINVAL;
	return endpoint_parse(slice_from(argv[optind]), &o->to);
}

static int run(struct load *l)
{
	struct tls_client_config tls = { 0 };
	struct linux_options world = { .stack_size = l->o.crypt == PLAIN ? 32768 : 0 };
	_cleanup_(freep) char *why = NULL;
	struct loop *loop;
	sigset_t done;
	int r, signal;

	(void) sigemptyset(&done);
	(void) sigaddset(&done, SIGUSR1);
	(void) pthread_sigmask(SIG_BLOCK, &done, NULL);
	r = world_linux_new(&world, &l->world);
	if (r < 0)
		return r;
	if (l->o.run == 0)
		world_random(l->world, &l->o.run, sizeof(l->o.run));
	r = make_envelope(l);
	if (r >= 0)
		r = make_content(l);
	if (r >= 0 && l->o.crypt != PLAIN)
		r = tls_client_context_new(l->world, &tls, &l->tls, &why);
	if (r >= 0)
		r = loop_new(l->world, "load", 0, l->o.sessions + 1, &loop);
	if (r < 0)
		return r;
	r = loop_start(loop);
	if (r >= 0)
		r = loop_spawn(loop, "start", start, l);
	if (r >= 0)
		(void) sigwait(&done, &signal);
	loop_stop(loop);
	loop_free(loop);
	tls_context_unref(l->tls);
	world_free(l->world);
	return r;
}

int main(int argc, char **argv)
{
	struct load l = { .o = { .sessions = 1, .messages = 1, .recipients = 1, .on_a_connection = 1, .size = 4096,
				 .pipelining = true, .patience = 120 * USEC_SEC, .sender = "source@source.example", .recipient = "sink@sink.example" } };
	int r;

	if (parse(argc, argv, &l.o) < 0) {
		(void) fprintf(stderr, "usage: %s [-s SESSIONS] [-m MESSAGES] [-n MESSAGES ON A CONNECTION | -k] [-l OCTETS] "
				       "[-r RECIPIENTS] [-NTSDHL] [-i RUN] [-g MILLISECONDS] [-f SENDER] [-t RECIPIENT] "
				       "[-w SECONDS] ADDRESS\n", argv[0]);
		return 2;
	}
	l.o.sessions = MIN(l.o.sessions, l.o.messages);
	if (l.o.latencies && !(l.latencies = calloc(l.o.messages, sizeof(*l.latencies))))
		return 1;
	r = run(&l);
	if (r < 0)
		(void) fprintf(stderr, "load: %s\n", strerror(-r));
	else
		show(&l);
	free(l.latencies);
	buffer_done(&l.header);
	buffer_done(&l.content);
	buffer_done(&l.envelope);
	return r < 0 || l.accepted != l.o.messages;
}
