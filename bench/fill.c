/* Fills a queue by SMTP: many sessions that send small messages to many domains.
 *
 *	fill -p PORT [-m MESSAGES] [-s SESSIONS] [-d DOMAINS] [-z ZONE] [-f FIRST] [-F SENDERS] [-b BYTES]
 *
 * Message n goes to uN@dD.ZONE, where D is n modulo DOMAINS, from one of SENDERS senders, half of whom live at
 * even.example and half at odd.example; n counts from FIRST. Each session keeps one connection and pipelines: the content of one message and the commands of the
 * next travel together. Prints "ACCEPTED REFUSED SECONDS" and ends with status 1 when something was not accepted. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "world/fiber.h"
#include "world/linux.h"
#include "world/stream.h"

#define PATIENCE (60 * USEC_SEC)

struct options {
	uint16_t port;
	const char *zone;
	uint64_t messages, first;
	unsigned sessions, domains, senders;
	size_t bytes;
};

struct fill {
	struct options o;
	struct slice content; /* with the final dot */
	uint64_t next;        /* of this many messages so far */
	uint64_t accepted, refused;
	unsigned running;
	usec_t begun, ended;
	atomic_bool done;
};

/* One reply, however many lines it has: its code, or -errno. */
static int read_reply(struct stream *s)
{
	for (;;) {
		struct slice in = stream_peek(s);
		ssize_t end = slice_find(in, '\n');

		if (end >= 0) {
			int code = end >= 3 ? (in.data[0] - '0') * 100 + (in.data[1] - '0') * 10 + (in.data[2] - '0') : 0;
			bool last = end < 4 || in.data[3] != '-';

			stream_consume(s, (size_t) end + 1);
			if (last)
				return code;
			continue;
		}
		ssize_t n = stream_fill(s, now() + PATIENCE);

		if (n <= 0)
			return n < 0 ? (int) n : -ECONNRESET;
	}
}

static int put_commands(struct fill *f, struct stream *s, uint64_t n)
{
	char text[256];

	/* Not in step with the domains, so that a site has mail of many senders. */
	unsigned sender = (unsigned) (hash_u64(n) % f->o.senders);

	snprintf(text, sizeof(text), "MAIL FROM:<s%u@%s.example>\r\nRCPT TO:<u%llu@d%llu.%s>\r\nDATA\r\n", sender,
		 sender % 2 ? "odd" : "even", (unsigned long long) n, (unsigned long long) (n % f->o.domains), f->o.zone);
	return stream_put_str(s, text, now() + PATIENCE);
}

/* The replies to MAIL, RCPT and DATA. 0: the content may come; 1: refused; -errno. */
static int read_replies(struct stream *s)
{
	int refused = 0;

	for (unsigned i = 0; i < 3; i++) {
		int code = read_reply(s);

		if (code < 0)
			return code;
		refused |= code >= 400;
	}
	return refused;
}

static int converse(struct fill *f, struct stream *s)
{
	bool waits = false; /* for the reply to a final dot */
	int r = read_reply(s);

	if (r >= 0)
		r = stream_put_str(s, "EHLO client.example\r\n", now() + PATIENCE);
	if (r >= 0)
		r = read_reply(s);
	while (r >= 0) {
		bool more = f->next < f->o.messages;

		if (more)
			r = put_commands(f, s, f->o.first + f->next++);
		if (r >= 0 && waits) {
			int code = read_reply(s);

			f->accepted += code == 250;
			f->refused += code != 250;
			waits = false;
			r = MIN(code, 0);
		}
		if (r < 0 || !more)
			break;
		r = read_replies(s);
		if (r == 0) {
			r = stream_put(s, f->content, now() + PATIENCE);
			waits = true;
		} else if (r == 1)
			f->refused++;
	}
	return r;
}

static void session(void *arg)
{
	struct fill *f = arg;
	struct endpoint to = { .kind = ENDPOINT_IP, .ip = ip_from_v4((const uint8_t[]) { 127, 0, 0, 1 }), .port = f->o.port };
	struct transport *t = NULL;
	struct stream *s = NULL;
	int r = net_connect(&to, NULL, now() + PATIENCE, &t);

	if (r >= 0)
		r = stream_new(t, &to, &s);
	if (r >= 0)
		r = converse(f, s);
	if (r < 0)
		fprintf(stderr, "a session ended: %s\n", strerror(-r));
	stream_free(s);
	if (--f->running == 0) {
		f->ended = now();
		atomic_store(&f->done, true);
	}
}

static void start(void *arg)
{
	struct fill *f = arg;

	f->begun = now();
	f->running = f->o.sessions;
	for (unsigned i = 0; i < f->o.sessions; i++)
		if (fiber_spawn("session", session, f, NULL) < 0)
			f->running--;
}

static int make_content(struct fill *f)
{
	static const char head[] = "From: s@even.example\r\nTo: u@size.example\r\nSubject: filling\r\n\r\n";
	static const char line[] = "The station master counts the horses and writes the number down.\r\n";
	char *text = malloc(f->o.bytes + sizeof(head) + sizeof(line) + 8);
	size_t len = 0;

	if (!text)
		return -ENOMEM;
	len += (size_t) sprintf(text, "%s", head);
	while (len < f->o.bytes)
		len += (size_t) sprintf(text + len, "%s", line);
	len += (size_t) sprintf(text + len, ".\r\n");
	f->content = slice_new(text, len);
	return 0;
}

static int read_options(struct options *o, int argc, char **argv)
{
	int c;

	*o = (struct options) { .messages = 1000, .sessions = 100, .domains = 1000, .senders = 1000, .bytes = 4096,
			       .zone = "size.example" };
	while ((c = getopt(argc, argv, "p:m:s:d:z:f:F:b:")) != -1) {
		unsigned long long n = c == '?' ? 0 : strtoull(optarg, NULL, 10);

		switch (c) {
		case 'p': o->port = (uint16_t) n; break;
		case 'm': o->messages = n; break;
		case 's': o->sessions = (unsigned) n; break;
		case 'd': o->domains = (unsigned) n; break;
		case 'z': o->zone = optarg; break;
		case 'f': o->first = n; break;
		case 'F': o->senders = (unsigned) n; break;
		case 'b': o->bytes = (size_t) n; break;
		default: return -EINVAL;
		}
	}
	return o->port && o->sessions && o->domains && o->senders && optind == argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	static struct fill f;
	struct world *w = NULL;
	struct loop *l = NULL;
	int r = read_options(&f.o, argc, argv);

	if (r < 0) {
		fprintf(stderr, "Usage: fill -p PORT [-m MESSAGES] [-s SESSIONS] [-d DOMAINS] [-z ZONE] [-f FIRST] [-F SENDERS] [-b BYTES]\n");
		return 2;
	}
	r = make_content(&f);
	if (r >= 0)
		r = world_linux_new(NULL, &w);
	if (r >= 0)
		r = loop_new(w, "fill", 0, 0, &l);
	if (r >= 0)
		r = loop_start(l);
	if (r >= 0)
		r = loop_spawn(l, "start", start, &f);
	if (r < 0) {
		fprintf(stderr, "cannot start: %s\n", strerror(-r));
		return 2;
	}
	while (!atomic_load(&f.done))
		usleep(20000);
	loop_stop(l);
	loop_free(l);
	world_free(w);
	free((char *) (uintptr_t) f.content.data);
	printf("%llu %llu %.3f\n", (unsigned long long) f.accepted, (unsigned long long) f.refused,
	       (double) (f.ended - f.begun) / 1e6);
	return f.accepted == f.o.messages ? 0 : 1;
}
