/* The sandbox: a small internet on loopback, for trying things out and for the first test of a fresh build.
 *
 * In a temporary directory lie a zone file, which is all the DNS there is, and two servers with a configuration,
 * a spool, a Maildir and a log each. MX hosts are always reached at one port, so both servers listen at the same
 * port of different loopback addresses. */
#pragma once

#include "cli/cli.h"

#define SANDBOX_TEXT 256

struct sandbox_server {
	const char *name;     /* "alpha": its domain is alpha.example */
	const char *address;  /* 127.0.0.11 */
	const char *mailbox;  /* the user whose mail lies in <dir>/mail/<mailbox> */
	char directory[SANDBOX_TEXT], config[SANDBOX_TEXT], log[SANDBOX_TEXT];
	int pid; /* 0: not running */
};
struct sandbox {
	char directory[SANDBOX_TEXT / 2];
	uint16_t port;
	struct sandbox_server alpha, beta;
};

/* Makes the directory and everything in it. 0 or -errno, said on standard error. */
int sandbox_prepare(struct sandbox *s);
/* Starts both servers; they end with this process. 0 or -errno, said. */
int sandbox_start(struct sandbox *s);
/* Has it ended? Then its status is forgotten and pid is 0. */
bool sandbox_has_ended(struct sandbox_server *server);
void sandbox_stop(struct sandbox *s);
/* The end of both logs, on standard error. */
void sandbox_show_logs(const struct sandbox *s);
void sandbox_remove(const struct sandbox *s); /* the directory */
