/* The way out: couriers that carry deliveries of a site to its hosts (SMTP), to a mailbox server (LMTP), into
 * a Maildir, or to a program. One struct courier serves all; which of them works is decided by the hop's kind. What came of
 * an attempt becomes an event in queue, which gives it its class. */
#pragma once

#include "queue/site.h"
#include "tls/tls.h"

/* Content for a server that can't take it as it is. */
enum convert_policy {
	CONVERT_NEVER,    /* it is returned */
	CONVERT_UNSIGNED, /* it is encoded unless that breaks a signature */
	CONVERT_ALWAYS,
};

struct deliver_config {
	const char *hostname;        /* EHLO name */
	usec_t connect_timeout;      /* 0: 30 s per address */
	usec_t greeting_timeout, command_timeout, data_timeout, block_timeout, dot_timeout; /* 0: RFC 5321 section 4.5.3.2 */
	usec_t connection_attempt_delay; /* between the beginnings of attempts to several addresses; 0: 250 ms */
	usec_t attempt_timeout;      /* for all that is done for one message, beside the time for its size; 0: 1 h */
	uint64_t minimum_rate;       /* octets per second that a message must at least go at; 0: 4096 */
	unsigned remembered;         /* hosts and sites of which something is remembered; 0: 10,000 */
	usec_t remember_family, remember_chunking; /* for so long; 0: 1 h and 1 day */
	usec_t idle_timeout;         /* how long an unused connection waits for more; 0: 2 s */
	unsigned max_addresses;      /* tried per attempt; 0: 10 */
	unsigned messages_per_connection; /* 0: 100 */
	struct ip source, source6;   /* where connections of hops without a pool come from (IPv4, IPv6); family 0: anywhere */
	const char *ca_file;         /* for tls: verify; NULL: the system's */
	const struct tls_certificate *certificates; /* with keys: what relays can be shown (struct relay) */
	unsigned n_certificates;
	bool no_chunking, no_pipelining; /* for tests and odd peers */
	enum convert_policy convert;
};
struct deliverer;
int deliverer_new(struct world *w, const struct log *log, const struct event_sink *events, const struct deliver_config *config,
		  struct router *router, struct deliverer **ret, char **ret_why);
void deliverer_set_spool(struct deliverer *d, struct spool *s); /* before the queue starts */
/* Before the queue starts, too: where results of TLS go; the struct is copied. */
struct tls_sink;
void deliverer_set_tls_sink(struct deliverer *d, const struct tls_sink *sink);
/* A reload in two steps, of which the second can't fail. Prepared settings are adopted or let go by
 * deliver_settings_unref. */
struct deliver_settings;
int deliverer_prepare(struct deliverer *d, const struct deliver_config *config, struct deliver_settings **ret, char **ret_why);
void deliverer_adopt(struct deliverer *d, struct deliver_settings *settings);
void deliver_settings_unref(struct deliver_settings *s);
DEFINE_FREEP(struct deliver_settings, deliver_settings_unref)
struct courier *deliverer_courier(struct deliverer *d);
void deliverer_free(struct deliverer *d);
DEFINE_FREEP(struct deliverer, deliverer_free)
