/* A whole server: what main ties together. Everything it knows hangs from here, so that one process can hold
 * several (a simulation does).
 *
 *	server_new      makes all rooms, binds the ports, reads the keys: with the privileges of the start
 *	                (here a process gives up root)
 *	server_start    opens the spool and recovers, then mail moves
 *	server_reload   new rules for what comes next; sessions under way keep theirs
 *	server_stop     no new mail, no new attempts; what is under way may end until the deadline
 *	server_free     ends the loops, closes the spool
 *
 * In the real world all of these are called from the main thread, outside of loops; in a simulation
 * server_start and server_stop from a fiber of the host that lives in no loop of the server. */
#pragma once

#include "main/config.h"

struct server_options {
	unsigned threads;        /* session loops when the configuration leaves it open; 0: 1 */
	bool no_admin;           /* neither control socket nor HTTP (simulations without unix sockets) */
	/* As in admin.h; may be NULL. */
	uint64_t (*log_dropped)(void *context);
	int (*request)(enum admin_request what, char **ret_why, void *context);
	void *context;
};

struct server;
/* Takes the config over, also when it fails. log must outlive the server. On failure *ret_why is a sentence for
 * the administrator (on the heap, may be NULL when memory is out). */
int server_new(struct world *w, const struct log *log, const struct server_options *options, struct config *config,
	       struct server **ret, char **ret_why);
int server_start(struct server *s, char **ret_why);
/* Takes the config over. On failure the old one stays in force. */
int server_reload(struct server *s, struct config *config, char **ret_why);
/* To be called now and then: certificates that were renewed on disk are taken into use. */
void server_look_at_files(struct server *s);
/* 0, or -ETIMEDOUT when something was cut off at the deadline. */
int server_stop(struct server *s, usec_t deadline);
void server_free(struct server *s);
DEFINE_FREEP(struct server, server_free)

const struct config *server_config(const struct server *s);
struct queue *server_queue(struct server *s);
struct spool *server_spool(struct server *s); /* NULL before the start */
const struct spool_recovery *server_recovery(const struct server *s); /* what the start found */
struct journal *server_journal(struct server *s);
struct resolver *server_resolver(struct server *s);
struct loop *server_loop(struct server *s, unsigned i);
