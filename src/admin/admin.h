/* The way in for administrators: the control socket, and the HTTP API when it is asked for.
 *
 * Both answer from a loop of their own ("admin"), on which a fiber carries out each request; the rooms that
 * know the answers are asked from there. Nothing here is reached from the network unless `admin.listen` says
 * so, and what HTTP gives is read-only. */
#pragma once

#include <jansson.h>

#include "admin/journal.h"
#include "queue/queue.h"
#include "report/report.h"

struct admin_config {
	const char *socket;     /* path of the control socket; NULL: <spool>/control.sock */
	struct endpoint listen; /* of the HTTP API; ENDPOINT_NONE: none */
};

enum admin_request { ADMIN_STOP, ADMIN_RELOAD };

/* Something of which there may be too little. level 0: enough; 1: new mail is refused; 2: no connections. */
struct admin_pressure {
	const char *name;
	unsigned level;
	uint64_t value, mark; /* now, and where level 1 begins; 0: not looked at */
	uint64_t refused;
};
/* What the way in has done since the start; the room that knows is none of ours to use. */
struct admin_traffic {
	uint64_t connections, accepted, refused, messages, bytes;
	unsigned sessions; /* now */
	uint64_t repeated; /* messages that came once more and were not queued again */
	uint64_t gate_rejected, gate_deferred;         /* of the refused ones, by the gate */
	uint64_t logins, logins_failed, logins_locked; /* locked: not looked at, because too many had failed */
	bool crowded;      /* all connections that may be are there */
	uint64_t refused_crowded, refused_addresses, refused_networks; /* connections refused by a limit */
	unsigned limited_addresses, limited_networks;                  /* at their limit now */
	unsigned n_pressures;
	struct admin_pressure pressures[4];
};

/* What requests are answered from. All of it outlives the admin; pointers may be NULL where a server runs
 * without that part. */
struct admin_parts {
	const char *version, *hostname, *spool_path, *config_file;
	usec_t started;
	struct queue *queue;
	struct router *router;
	struct spool *spool;
	struct journal *journal;
	struct reporter *reporter;
	struct loop *const *loops;
	unsigned n_loops;
	void (*traffic)(struct admin_traffic *ret, void *context);
	/* Says a sentence for each thing that an administrator should know; may be NULL. */
	void (*report)(void (*say)(void *to, const char *text), void *to, void *context);
	uint64_t (*log_dropped)(void *context); /* log lines lost so far; may be NULL */
	/* Stop or reload was asked for. 0; -errno and *ret_why (on the heap) when it is not done. */
	int (*request)(enum admin_request what, char **ret_why, void *context);
	void *context;
};

struct admin;
/* Binds the control socket and the HTTP port. loop: runs the requests; started and stopped by the caller. On
 * failure *ret_why is a sentence (on the heap). */
int admin_new(struct world *w, const struct log *log, const struct admin_config *config, const struct admin_parts *parts,
	      struct loop *loop, struct admin **ret, char **ret_why);
int admin_start(struct admin *a);
/* Ends the HTTP API, waiting for requests under way; before the loop stops, which ends those of the control
 * socket. */
void admin_stop(struct admin *a);
void admin_free(struct admin *a);
DEFINE_FREEP(struct admin, admin_free)
/* <spool>/control.sock unless configured; written to out. -ENAMETOOLONG. */
int admin_socket_path(const struct admin_config *config, const char *spool_path, struct endpoint *ret);
