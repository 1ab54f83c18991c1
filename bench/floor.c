/* What the kernel takes for the packets of a message over loopback, with nobody around them.
 *
 *	bench_floor [-k] [-N | -C] MESSAGES
 *
 *	-k  one connection for all messages       -N  no pipelining       -C  nothing is said: connect, accept, close twice
 *
 * Both ends are in one thread: what one sends the other takes at once, so nobody waits, nobody is woken, and no
 * process changes. The pieces are those of bench_load and bench_sink for 4 KB of content. What is left of a real client
 * and a real server is at least this. Prints the microseconds of processor time of both ends for each message. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Octets of what is said. */
enum { GREETING = 24, EHLO = 21, EHLO_REPLY = 47, MAIL = 35, RCPT = 29, DATA = 6, OK = 14, GO_AHEAD = 37, CONTENT = 4254, QUIT = 6, BYE = 15 };

static char octets[65536];

struct ends {
	int listener, client, server;
};

static double processor_time(void)
{
	struct rusage u;

	(void) getrusage(RUSAGE_SELF, &u);
	return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void pass(int from, int to, size_t len)
{
	if (send(from, octets, len, MSG_NOSIGNAL) != (ssize_t) len)
		fail("send");
	while (len > 0) {
		ssize_t n = recv(to, octets, sizeof(octets), 0);

		if (n <= 0)
			fail("recv");
		len -= (size_t) n;
	}
}

static void ask(const struct ends *e, size_t question, size_t answer)
{
	pass(e->client, e->server, question);
	pass(e->server, e->client, answer);
}

static void open_connection(struct ends *e, const struct sockaddr_in *at, bool silent)
{
	int one = 1;

	e->client = socket(AF_INET, SOCK_STREAM, 0);
	if (e->client < 0 || setsockopt(e->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    connect(e->client, (const struct sockaddr *) at, sizeof(*at)) < 0)
		fail("connect");
	e->server = accept(e->listener, NULL, NULL);
	if (e->server < 0)
		fail("accept");
	if (!silent) {
		pass(e->server, e->client, GREETING);
		ask(e, EHLO, EHLO_REPLY);
	}
}

static void close_connection(struct ends *e)
{
	(void) close(e->server);
	(void) close(e->client);
}

static void carry_message(const struct ends *e, bool kept, bool pipelining)
{
	if (!pipelining) {
		ask(e, MAIL, OK);
		ask(e, RCPT, OK);
		ask(e, DATA, GO_AHEAD);
		ask(e, CONTENT, OK);
		if (!kept)
			ask(e, QUIT, BYE);
	} else if (kept) {
		ask(e, CONTENT + MAIL + RCPT + DATA, OK + OK + OK + GO_AHEAD);
	} else {
		ask(e, MAIL + RCPT + DATA, OK + OK + GO_AHEAD);
		ask(e, CONTENT + QUIT, OK + BYE);
	}
}

static void listen_somewhere(struct ends *e, struct sockaddr_in *ret_at)
{
	socklen_t len = sizeof(*ret_at);
	int one = 1;

	*ret_at = (struct sockaddr_in) { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	e->listener = socket(AF_INET, SOCK_STREAM, 0);
	if (e->listener < 0 || setsockopt(e->listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    bind(e->listener, (const struct sockaddr *) ret_at, len) < 0 || listen(e->listener, 16) < 0 ||
	    getsockname(e->listener, (struct sockaddr *) ret_at, &len) < 0)
		fail("listen");
}

int main(int argc, char **argv)
{
	bool kept = false, pipelining = true, silent = false;
	struct sockaddr_in at;
	struct ends e = { -1, -1, -1 };
	long messages;
	double began;
	int c;

	while ((c = getopt(argc, argv, "kNC")) != -1)
		switch (c) {
		case 'k': kept = true; break;
		case 'N': pipelining = false; break;
		case 'C': silent = true; break;
		default: optind = argc + 1;
		}
	messages = optind == argc - 1 ? strtol(argv[optind], NULL, 10) : 0;
	if (messages < 1 || (kept && silent)) {
		(void) fprintf(stderr, "usage: %s [-k] [-N | -C] MESSAGES\n", argv[0]);
		return 2;
	}
	listen_somewhere(&e, &at);
	began = processor_time();
	for (long i = 0; i < messages; i++) {
		if (!kept || i == 0)
			open_connection(&e, &at, silent);
		if (!silent)
			carry_message(&e, kept, pipelining);
		if (!kept)
			close_connection(&e);
	}
	(void) printf("%.2f\n", 1e6 * (processor_time() - began) / (double) messages);
	return 0;
}
