/* TLS over a transport, by OpenSSL, for both sides of SMTP.
 *
 * A context holds certificate, key and rules, is made once from its configuration and shared by all
 * sessions; tls_accept and tls_connect wrap the transport of a stream (which they replace) and do the
 * handshake in the current fiber. The session's tls_info then says what was negotiated: for the Received
 * field, the event, and the decision whether it is good enough. */
#pragma once

#include "base/arena.h"
#include "world/stream.h"

struct tls_context;

/* One of several certificates. */
struct tls_certificate {
	const char *certificate;  /* PEM chain, own certificate first */
	const char *key;          /* PEM */
	const char *const *names; /* for clients that ask for one of these (SNI); "*.example.org" stands for one label. */
	unsigned n_names;         /* 0: the names that stand in the certificate */
};
struct tls_server_config {
	const char *certificate; /* the single pair, or NULL */
	const char *key;
	const struct tls_certificate *certificates; /* further ones; of all of them the first is the default */
	unsigned n_certificates;
	const char *min_version; /* "1.2" (default) or "1.3" */
	bool session_tickets;    /* some large senders break on them: docs/TLS.md */
	const char *client_ca;   /* PEM of CAs for client certificates: requested when set */
	bool client_asked;       /* requested all the same, to know who it is by the fingerprint */
	bool client_required;    /* no handshake without one of these CAs */
};
/* On failure *ret_why says which file and what is wrong with it (on the heap). */
int tls_server_context_new(struct world *w, const struct tls_server_config *config, struct tls_context **ret, char **ret_why);
/* Another one with the certificates of `other`, as they were read for that: for listeners with other rules. */
int tls_server_context_like(const struct tls_context *other, const struct tls_server_config *config, struct tls_context **ret,
			    char **ret_why);

struct tls_client_config {
	const char *ca_file;     /* NULL: the system's */
	const char *certificate; /* client certificate and key, or NULL */
	const char *key;
	const char *min_version; /* "1.2" by default */
};
int tls_client_context_new(struct world *w, const struct tls_client_config *config, struct tls_context **ret, char **ret_why);
/* Reference counted: a reload makes a new one while sessions keep the old one. */
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
DEFINE_FREEP(struct tls_context, tls_context_unref)

enum tls_verify {
	TLS_VERIFY_NONE,  /* opportunistic: encrypt, whoever it is */
	TLS_VERIFY_NAME,  /* the chain to a CA and the name */
	TLS_VERIFY_DANE,  /* what TLSA records say (tls_connect_to) */
};
/* Why a certificate was not accepted. */
enum tls_rejection {
	TLS_REJECTED_NOT,
	TLS_REJECTED_NAME,      /* it is for other names */
	TLS_REJECTED_EXPIRED,   /* or not valid yet */
	TLS_REJECTED_UNTRUSTED, /* its chain leads to no CA that we know */
	TLS_REJECTED_TLSA,      /* no TLSA record describes it */
	TLS_REJECTED_OTHER,
};
struct tls_info {
	char version[12]; /* "TLSv1.3" */
	char cipher[48];
	unsigned bits;
	char group[24];
	bool peer_certificate;
	bool verified;            /* chain and name hold (also filled with TLS_VERIFY_NONE) */
	char verify_error[96];    /* why not */
	enum tls_rejection rejection;
	bool dane;                /* a TLSA record describes the certificate (with TLS_VERIFY_DANE) */
	uint8_t dane_usage;       /* its usage: 2 or 3 */
	char matched_name[256];   /* with usage 2: which of the names expected was found */
	char sni[256];

	/* The server's side, about the client: strings in the arena of tls_accept, NULL without a certificate. */
	bool peer_verified;           /* its chain leads to a CA of the configuration, and it is in its days */
	const char *peer_subject;     /* "CN=mail.example.org,O=Example" (RFC 2253); NULL when very long */
	const char *peer_fingerprint; /* SHA-256 of the certificate: 64 hexadecimal digits in lower case */
	const char *const *peer_names; /* of its subjectAltName: "dns:mail.example.org", "email:alice@example.org" */
	unsigned n_peer_names;
};

/* Handshake on the stream's transport; both buffers must be empty. On failure the stream is unusable (close it),
 * *ret_why (may be NULL) is a sentence in the arena. -EPROTO: handshake failed; -ETIMEDOUT; -EKEYREJECTED: the
 * certificate was not accepted. */
int tls_accept(struct tls_context *c, struct stream *s, usec_t deadline, struct arena *a, struct tls_info *ret, const char **ret_why);
int tls_connect(struct tls_context *c, struct stream *s, const char *name, enum tls_verify verify, usec_t deadline,
		struct arena *a, struct tls_info *ret, const char **ret_why);

/* A TLSA record (RFC 6698 section 2.1). */
struct tls_tlsa {
	uint8_t usage, selector, matching;
	struct slice data;
};
/* Whom a client expects. */
struct tls_expected {
	const char *name;              /* for SNI, and to be found in the certificate; with DANE the TLSA base domain */
	enum tls_verify verify;
	const struct tls_tlsa *records; /* with TLS_VERIFY_DANE. Those of the usages 0 and 1 are left out; when none can be used, */
	unsigned n_records;             /* the certificate doesn't count (RFC 7672 section 2.2), and tls_info has dane false */
	const char *const *names;      /* further names that will do with DANE-TA (RFC 7672 section 3.2.2) */
	unsigned n_names;
};
struct tls_failure {
	const char *why;               /* a sentence, in the arena */
	enum tls_rejection rejection;  /* with -EKEYREJECTED */
};
/* As tls_connect. */
int tls_connect_to(struct tls_context *c, struct stream *s, const struct tls_expected *e, usec_t deadline, struct arena *a,
		   struct tls_info *ret, struct tls_failure *ret_failure);
/* The channel binding of the connection for SASL ("tls-exporter" or "tls-unique"): bytes in the arena. */
int tls_channel_binding(struct stream *s, const char *kind, struct arena *a, struct slice *ret);
