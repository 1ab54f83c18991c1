/* The inside of deliver/: what the couriers share.
 *
 * Each slot that the queue opens runs one courier function in a fiber of its own, with the settings as they were
 * when it began; a reload makes new ones for later slots. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/event.h"
#include "deliver/deliver.h"
#include "deliver/remembered.h"
#include "queue/tls_sink.h"

/* A client certificate that relays name, with a context that shows it. */
struct shown_certificate {
	char *certificate, *key; /* paths */
	struct tls_context *tls;
};

struct deliver_settings {
	int references; /* atomic */
	char *hostname;
	struct deliver_config config; /* defaults filled in; its strings point here */
	char *ca_file;
	struct tls_context *tls; /* shows no certificate */
	unsigned n_shown;
	struct shown_certificate *shown;
};

struct Gsasl;
struct tokens;
struct login_notes;

struct deliverer {
	struct courier courier;
	struct world *world;
	const struct log *log;
	const struct event_sink *events; /* may be NULL */
	struct router *router;
	struct spool *spool;
	struct remembered *remembered;
	struct tls_sink tls_sink;     /* set before the queue starts */
	struct Gsasl *sasl;           /* read-only after deliverer_new */
	struct tokens *tokens;
	struct login_notes *login_notes;
	pthread_mutex_t lock;         /* around settings only */
	struct deliver_settings *settings;
	atomic_uint maildir_counter;  /* part of the unique names */
};

/* A reference to those in force. From any thread. */
struct deliver_settings *deliverer_settings(struct deliverer *d);
/* By which to connect to a relay: with the certificate that it wants to see, if it wants one. relay NULL: anybody else. NULL:
 * these settings don't have that certificate, because the relay is of another configuration. */
struct tls_context *deliver_settings_tls(const struct deliver_settings *s, const struct relay *relay);
