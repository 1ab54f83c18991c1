/* A hop is one way to get rid of a message: the MX of its domain, a fixed host, the hosts of an SRV name, a named
 * relay, a mailbox.
 * A ladder is the list of hops of one route, tried in order; each rung after the first says under which
 * conditions it is used. Both are plain configuration: parsed once, const afterwards. */
#pragma once

#include "base/time.h"
#include "route/pipe_command.h"
#include "route/source.h"

enum hop_kind {
	HOP_MX,      /* the mail exchangers of the recipient's domain */
	HOP_HOST,    /* one fixed host, name or address, with port */
	HOP_RELAY,   /* a named relay: several hosts, TLS policy, login */
	HOP_LMTP,    /* RFC 2033 over TCP or a unix socket */
	HOP_MAILDIR,
	HOP_HOLD,    /* accept and keep until an administrator releases it */
	HOP_DISCARD,
	HOP_REJECT,  /* bounce (or refuse at RCPT) with a text */
	HOP_SRV,     /* the hosts of an SRV name (RFC 2782) */
	HOP_PIPE,    /* a program that reads the message */
	HOP_ATRN,    /* the customer picks it up (RFC 2645) */
};

/* Does it end in a mailbox, or with a program, of this site? */
static inline bool hop_is_mailbox(enum hop_kind k)
{
	return k == HOP_MAILDIR || k == HOP_LMTP || k == HOP_PIPE;
}

/* What moves a recipient to this rung (bits; the first rung has 0). */
enum hop_when {
	WHEN_UNREACHABLE = 1, /* no host answered: DNS trouble, no connection, dropped */
	WHEN_BLOCKED = 2,     /* refused because of our address's reputation */
	WHEN_TLS = 4,         /* no TLS where it is required, or not good enough */
	WHEN_THROTTLED = 8,
	WHEN_DELAYED = 16,    /* still here after hop->delayed */
	WHEN_ANY = 32,        /* any temporary failure */
};

/* none: never; may: where offered, whoever it is, and without when it fails; required: encrypted or not at
 * all; verify: also known to be the right host, by TLSA records or by chain and name; dane: by TLSA records or not at all. What
 * the recipient's domain asks for (route/policy.h) comes on top of all but none. */
enum tls_policy { TLS_MAY, TLS_NONE, TLS_REQUIRED, TLS_VERIFY, TLS_DANE };

/* Access tokens for a relay (RFC 6749), which we fetch ourselves. */
enum oauth_grant { GRANT_CLIENT_CREDENTIALS, GRANT_REFRESH_TOKEN }; /* sections 4.4 and 6 */
enum oauth_client_auth { CLIENT_IN_FORM, CLIENT_IN_HEADER };        /* section 2.3.1: where id and secret stand */
struct relay_oauth {
	const char *token_url;          /* https://... */
	enum oauth_grant grant;
	enum oauth_client_auth client_auth;
	const char *client_id;
	const char *client_secret;      /* read from its file when the configuration was read; NULL: none */
	const char *refresh_token_file; /* with GRANT_REFRESH_TOKEN: read whenever a token is fetched, and written when it was renewed */
	const char *scope;              /* or NULL */
	const char *ca_file;            /* NULL: the system's */
	usec_t timeout;                 /* of one fetch */
};

struct relay {
	const char *name;
	unsigned n_hosts;
	const struct host_port *hosts; /* tried in order, but for those with a weight */
	const uint16_t *weights;       /* of each host; 0: none, it comes after those that share by weight. NULL: all 0 */
	const char *srv;               /* instead of hosts: "_submission._tcp.example.org"; or NULL */
	enum tls_policy tls;
	bool implicit_tls;             /* TLS from the first byte (port 465) */
	const char *user;              /* login, or NULL */
	const char *password;          /* read from password_file when the configuration was read; NULL: none */
	const struct relay_oauth *oauth; /* tokens instead of a password; or NULL */
	unsigned mechanisms;           /* enum auth_mechanism (smtp/extensions.h): none but these; 0: whichever there are means for */
	const char *certificate, *key; /* PEM files: what we show in TLS; or NULL */
	const struct source_pool *source; /* where connections to it come from; NULL: anywhere */
};

/* Is there anything to say after EHLO? */
static inline bool relay_has_login(const struct relay *r) { return r->user || r->certificate; }

struct hop {
	enum hop_kind kind;
	unsigned when;
	usec_t delayed;              /* with WHEN_DELAYED */
	const struct relay *relay;   /* HOP_RELAY */
	struct host_port host;       /* HOP_HOST */
	struct endpoint lmtp;        /* HOP_LMTP */
	struct host_port lmtp_host;  /* HOP_LMTP by name: lmtp.kind is ENDPOINT_NONE then */
	const char *maildir;         /* HOP_MAILDIR: path with {domain}, {local}, {user} */
	const char *text;            /* HOP_REJECT */
	const char *srv;             /* HOP_SRV: "_smtp._tcp.example.org" */
	const struct pipe_command *pipe; /* HOP_PIPE */
	enum tls_policy tls;         /* HOP_MX, HOP_HOST and HOP_SRV */
	const struct source_pool *source; /* HOP_MX, HOP_HOST, HOP_SRV, HOP_RELAY (the relay's own unless the rung says another) */
};

struct ladder {
	const char *rule; /* for people: "routes[1]: to *", "domains: example.org", "default" */
	unsigned n_hops;
	const struct hop *hops;
	usec_t deadline; /* since arrival, in which it should be delivered; 0: none */
};

/* What the route says about TLS to these hosts; none for what is no SMTP. */
static inline enum tls_policy hop_tls(const struct hop *h)
{
	if (h->kind == HOP_MX || h->kind == HOP_HOST || h->kind == HOP_SRV)
		return h->tls;
	return h->kind == HOP_RELAY ? h->relay->tls : TLS_NONE;
}
/* The SRV name that the hosts come from; NULL: they come from elsewhere. */
static inline const char *hop_srv_name(const struct hop *h)
{
	return h->kind == HOP_SRV ? h->srv : h->kind == HOP_RELAY ? h->relay->srv : NULL;
}
/* "may", "none", "required", "verify", "dane". */
const char *tls_policy_name(enum tls_policy p);

#define DOMAIN_TEXT 262 /* the longest domain, a colon, a port and a NUL */
/* "mx", "relay backup", "maildir:/var/mail/example.org/bob", "host 10.0.0.7:25", "mx from bulk" (a pool of sources)... Returns
 * out. */
const char *hop_describe(const struct hop *h, char *out, size_t size);
/* "unreachable, blocked", "delayed 30m". Returns out. */
const char *hop_when_describe(const struct hop *h, char *out, size_t size);
