/* The way in: listeners, one fiber per connection, one file per SMTP command (cmd_*.c), a table in between
 * (commands.c). receive/session.h tells the story of a session.
 *
 * Nobody relays through us who is not trusted: a recipient is accepted when its domain ends here, or when the
 * client is in `trusted` or has logged in. */
#pragma once

#include "identity/dmarc_sink.h"
#include "identity/signing.h"
#include "queue/queue.h"
#include "receive/clients.h"
#include "receive/duplicates.h"
#include "receive/identity_config.h"
#include "tls/tls.h"
#include "users/users.h"

enum listen_role { ROLE_MX, ROLE_SUBMISSION, ROLE_LMTP };

struct receive_limits {
	uint64_t message_size;       /* 0: 50 MB */
	unsigned recipients;         /* per message; 0: 1000 */
	unsigned connections;        /* in all; 0: 10000 */
	unsigned connections_per_ip; /* 0: 100; trusted clients are not counted */
	unsigned connections_per_network; /* 0: 300; the same */
	unsigned network_prefix4, network_prefix6; /* bits of a network; 0: 24 and 64 */
	unsigned relief;             /* percent of a limit of connections, or of a mark of pressure: so far back it ends; 0: 10 */
	unsigned errors;             /* refused commands before the session is closed; 0: 20 */
	unsigned commands;           /* commands that do no work (NOOP, RSET, VRFY...) in a session; 0: 200 */
	unsigned messages;           /* per session; 0: 10000 */
	unsigned received_hops;      /* Received fields; more is a loop; 0: 50 */
	uint64_t header_size;        /* 0: 1 MiB */
	usec_t command_timeout;      /* 0: 5 min, RFC 5321 section 4.5.3.2.7 */
	usec_t data_timeout;         /* between two blocks; 0: 3 min */
	usec_t session_timeout;      /* 0: 1 h without a finished message */
	unsigned recipient_domains;  /* different ones in a message (RFC 9422 section 4.3); 0: any number */
	usec_t hold;                 /* how long a message may ask to be held (RFC 4865); 0: 30 days */
	unsigned priority;           /* the highest for clients that may not relay (RFC 6710) */
	unsigned trusted_priority;   /* and for those that may */
	usec_t proxy_timeout;        /* for the header of the PROXY protocol; 0: 5 s */
};
/* When new mail is refused because something runs short: receive/pressure.h. */
enum pressure_kind { PRESSURE_MEMORY, PRESSURE_DISK, PRESSURE_FILES, PRESSURE_KINDS };
enum pressure_level { PRESSURE_NONE, PRESSURE_HIGH, PRESSURE_CRITICAL };
struct pressure_config {
	const char *spool_path;               /* NULL: the disk isn't looked at */
	uint64_t memory_limit;                /* bytes; 0: that of the control group or the machine */
	unsigned memory_high, memory_critical; /* percent of it; 0: memory isn't looked at */
	uint64_t disk_high, disk_critical;    /* free bytes; 0: not looked at */
	uint64_t files_high, files_critical;  /* files that can still be made; 0: not looked at */
	unsigned relief;                      /* percent of a mark: so far behind it the level ends; 0: 10 */
	usec_t interval;                      /* 0: 1 s */
};
/* What is done to messages of people's mail programs: receive/submission.h. */
enum missing_from { MISSING_FROM_ACCEPT, MISSING_FROM_REFUSE, MISSING_FROM_ADD };

struct submission_config {
	bool complete;          /* adds Date and Message-ID where they are missing */
	bool remove_bcc;
	int missing_from;       /* enum missing_from: leave it; refuse; add From with the sender's address */
	bool add_sender;        /* adds Sender where From names another address than the sender's */
	bool check_domains;     /* of senders and recipients, by the DNS */
	bool hide_client;       /* no address and no name of the client in Received */
};
/* Whose mail waits here to be picked up, by which user (RFC 2645). */
struct receive_customer {
	const char *user;
	const char *const *domains;
	unsigned n_domains;
};
struct receive_listener {
	struct endpoint address;
	enum listen_role role;
	bool implicit_tls;
	bool session_tickets;        /* TLS sessions may be taken up again */
	/* Client certificates, where it isn't what `tls` says for all listeners. */
	const char *client_ca;       /* of these CAs; NULL: of anybody */
	bool client_asked, client_required;
	unsigned offer, withhold;    /* enum extension: beside what the role offers, and not of it (offers.h) */
	const char *no_soliciting;   /* classes of advertisement that are refused, separated by commas; NULL: none */
	const struct cidr *proxies;  /* who speaks the PROXY protocol before anything else */
	unsigned n_proxies;
	const struct cidr *xclient;  /* who may say XCLIENT and XFORWARD */
	unsigned n_xclient;
	bool auth;             /* clients may log in, when there is TLS */
	bool auth_without_tls; /* and without, by mechanisms that don't show the password */
};
struct gate_config;
struct receive_config {
	const char *hostname;
	const struct receive_listener *listeners;
	unsigned n_listeners;
	const struct cidr *trusted;
	unsigned n_trusted;
	struct receive_limits limits;
	struct pressure_config pressure;
	struct submission_config submission; /* for listeners of that role */
	struct identity_config identity;
	const char *const *etrn_domains; /* patterns: their waiting mail may be asked for (RFC 1985) */
	unsigned n_etrn_domains;
	const struct cidr *etrn_clients; /* by these, beside the trusted ones */
	unsigned n_etrn_clients;
	const struct receive_customer *customers;
	unsigned n_customers;
	bool has_tls;
	struct tls_server_config tls;
	const struct cidr *normalize; /* clients whose strange line ends are made CRLF */
	unsigned n_normalize;
	int bdat_bare_lf;            /* 1: LFs alone are accepted in BDAT */
	usec_t duplicate_window;     /* so long a message is known again whose 250 was lost; 0: not at all */
	unsigned duplicate_entries;  /* so many of them at most */
	const struct users_config *users; /* who may log in; NULL: nobody */
	const struct signing_config *signing; /* the mail of our users; NULL: it isn't signed */
	const struct gate_config *gate; /* NULL: no rules and no checks */
	const char *const *replies;  /* [REPLY_COUNT] texts instead of those of replies.c, or NULL where ours stay; NULL: all of them */
	bool reverse_lookup;         /* the client's name in Received: asked for while it says EHLO */
};

struct receiver;
/* loops: each accepts on every listener. The listeners are opened here (ports below 1024 need the privilege now).
 * On failure *ret_why is a sentence that names address or file. Everything given must outlive the receiver. */
int receiver_new(struct world *w, const struct log *log, const struct event_sink *events, const struct receive_config *config,
		 struct router *router, struct resolver *resolver, struct queue *queue, struct loop *const *loops,
		 unsigned n_loops, struct receiver **ret, char **ret_why);
/* Before receiver_start: who can tell whether a mailbox exists. */
struct verifier;
void receiver_set_verifier(struct receiver *r, const struct verifier *v);
/* Before receiver_start: who counts the verdicts of DMARC. */
void receiver_set_dmarc_sink(struct receiver *r, const struct dmarc_sink *sink);
int receiver_start(struct receiver *r);
/* After receiver_start. New sessions use the new configuration; listeners are opened and closed as it says. On failure the old one stays
 * in force. The old configuration must stay valid until receiver_free. */
int receiver_reload(struct receiver *r, const struct receive_config *config, char **ret_why);
/* To be called now and then, from where receiver_reload is: reads the certificates and keys again when their files have
 * changed, and hands them to what is accepted from then on. A new pair that can't be used is refused with a line in the
 * log; the old one stays. */
void receiver_renew_certificates(struct receiver *r);
/* Accepts no more; idle sessions get 421 at once, those in a message until the deadline. */
int receiver_stop(struct receiver *r, usec_t deadline);
/* Where the listener with this number of the configuration really listens (port 0 there: what the kernel chose);
 * NULL when there is none. Valid until the next reload. */
const struct endpoint *receiver_endpoint(const struct receiver *r, unsigned listener);
void receiver_free(struct receiver *r); /* after receiver_stop, or when the loops have ended */
DEFINE_FREEP(struct receiver, receiver_free)

/* What is short, or could be. */
struct receive_pressure {
	const char *name;
	unsigned level;       /* enum pressure_level */
	uint64_t value, mark; /* as measured last, and where the first level begins; 0: not looked at */
	uint64_t refused;
};
struct receive_counters {
	uint64_t connections, accepted, refused, messages, bytes;
	uint64_t gate_rejected, gate_deferred;         /* of the refused ones, by rules and checks of the gate */
	uint64_t logins, logins_failed, logins_locked; /* locked: not looked at, because too many had failed */
	unsigned sessions; /* now */
	struct duplicates_counts duplicates;
	bool crowded;      /* all connections that may be are there */
	uint64_t refused_crowded;
	struct client_counts clients;
	struct receive_pressure pressures[PRESSURE_KINDS];
};
/* From a fiber, which it may let sleep. */
void receiver_counters(struct receiver *r, struct receive_counters *ret);
/* Says a sentence for each thing that an administrator should know: lists that are switched off. From any thread. */
void receiver_report(struct receiver *r, void (*say)(void *context, const char *text), void *context);
