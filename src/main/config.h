/* The configuration of one server, read from its file: each room's own struct, filled.
 *
 * It is read once (config_load), const from then on, and handed down room by room. A reload reads a new one;
 * the old one stays as long as the server, because sessions that began under it still look at it. All of it
 * lies in one arena. Passwords are read from their files here and shown nowhere. */
#pragma once

#include "admin/admin.h"
#include "admin/journal.h"
#include "deliver/deliver.h"
#include "identity/signing.h"
#include "main/config_schema.h"
#include "queue/queue.h"
#include "receive/gate.h"
#include "receive/receive.h"
#include "report/report.h"
#include "route/sts.h"

/* What the file says before it has become what the rooms take. */
struct config_raw {
	const struct config_node *include, *tls, *certificates, *listen, *domains, *relays, *routes;
	const struct config_node *sources, *source, *source6;
	const struct config_node *auth_backends, *auth_senders, *auth_certificates, *atrn;
	const struct config_node *sign;
	const struct config_node *replies, *gate, *lists, *helo, *rate, *concurrent;
	const struct config_node *shaping_providers, *shaping_sites;
};

struct config {
	struct arena *arena;
	const char *file; /* it was read from here */
	const char *hostname;
	const char *user, *group; /* to become after the ports are bound; NULL: stay */
	unsigned threads;         /* loops; 0: one per processor */
	usec_t stop_timeout;      /* for sessions and deliveries under way when the server stops */
	usec_t check_files;       /* how often certificates are looked at */
	enum log_level log_level;
	int log_format; /* 0: text, 1: JSON */
	struct spool_config spool;
	struct dns_config dns;
	struct route_config route;
	struct sts_config sts;
	struct queue_config queue;
	struct deliver_config deliver;
	struct receive_config receive;
	struct users_config users;
	const char *const *auth_mechanisms;
	unsigned n_auth_mechanisms;
	const char *auth_client_secret_file;
	struct gate_config gate;
	struct signing_config signing;
	struct signing_seal seal; /* signing.seal, when there is one */
	struct report_config report;
	struct journal_config journal;
	struct admin_config admin;
	struct config_raw raw;
};

/* Reads the file and all it includes. 0; -EBADMSG when something is wrong with it: errors has a line for each
 * thing; -ENOMEM. What is merely doubtful (a password file that everybody may read) is in errors->warnings. */
int config_load(struct world *w, const char *path, struct config_errors *errors, struct config **ret);
/* Only what says where things are (spool, admin, log, files that are named): other mistakes don't matter, so that a running server can be
 * asked while its file is being edited. -EBADMSG when it isn't even YAML. */
int config_load_places(struct world *w, const char *path, struct config_errors *errors, struct config **ret);
/* The same as config_load from text, as if it stood in `file`. For tests: includes are not followed. */
int config_parse(struct world *w, struct slice text, const char *file, struct config_errors *errors, struct config **ret);
void config_free(struct config *c);
DEFINE_FREEP(struct config, config_free)

/* Things that a reload can't change, for the log: the first that differs ("spool", "dns"...), or NULL. */
const char *config_needs_restart(const struct config *old, const struct config *new);
