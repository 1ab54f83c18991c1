/* What is known about a client and its message when the gate decides: plain data that the session fills in stage
 * by stage (gate.c) and that rules are matched against (gate_match.h). Nothing here asks anybody.
 *
 * What costs a question to the DNS is gathered when the first rule needs it; `known` says what was. A fact whose
 * time has not come, or that could not be found out, matches nothing. The results of SPF, DKIM, ARC and DMARC are NULL
 * ("none") where nothing was verified: of mail that is not a stranger's, and before the end of the content. */
#pragma once

#include "base/time.h"
#include "mail/address.h"

/* In the order of a session. GATE_DATA is the end of the content. */
enum gate_stage { GATE_CONNECT, GATE_HELO, GATE_MAIL, GATE_RCPT, GATE_DATA, GATE_STAGES };
const char *gate_stage_name(enum gate_stage s); /* "connect", "helo", "mail", "rcpt", "data" */

/* What must be asked for before it is known (bits). */
enum gate_need {
	GATE_NEEDS_REVERSE = 1,
	GATE_NEEDS_LISTS = 2,
	GATE_NEEDS_HELO = 4,          /* does the EHLO name resolve? */
	GATE_NEEDS_SENDER_DOMAIN = 8,
	GATE_NEEDS_COUNTRY = 16,
	GATE_NEEDS_SPF = 32,
};

enum gate_reverse {
	GATE_REVERSE_UNKNOWN,
	GATE_REVERSE_NONE,        /* the address has no name */
	GATE_REVERSE_UNCONFIRMED, /* a name that does not lead back */
	GATE_REVERSE_CONFIRMED,
	GATE_REVERSE_TEMPORARY,   /* the DNS could not say */
};

/* What is wrong with the name in EHLO (bits). The first five are seen without asking anybody. */
enum gate_helo_fault {
	GATE_HELO_SYNTAX = 1,           /* neither a domain name nor an address literal */
	GATE_HELO_NOT_FQDN = 2,         /* a name without a dot */
	GATE_HELO_OWN_NAME = 4,         /* our own host name, or a domain of ours */
	GATE_HELO_BARE_ADDRESS = 8,     /* an address without brackets */
	GATE_HELO_WRONG_LITERAL = 16,   /* an address literal that is not the client's */
	GATE_HELO_UNRESOLVED = 32,      /* neither address nor MX records */
};
extern const char *const gate_helo_fault_words[]; /* in the order of the bits; ends with NULL */

/* Where mail to the sender would go. */
enum gate_domain {
	GATE_DOMAIN_UNKNOWN,
	GATE_DOMAIN_OK,
	GATE_DOMAIN_MISSING,   /* no such name, or neither MX nor address */
	GATE_DOMAIN_NULL_MX,   /* RFC 7505: takes no mail */
	GATE_DOMAIN_TEMPORARY, /* the DNS could not say */
};

struct gate_list_hit {
	const char *zone;
	struct ip answer;
	int weight;
	const char *text; /* what the list says about it, or NULL */
};

struct gate_facts {
	unsigned known; /* enum gate_need */

	/* connect */
	struct ip client;       /* family 0: a unix socket */
	const char *listener;   /* "mx", "submission", "lmtp" */
	bool trusted;
	wall_t now;
	int minute, weekday;    /* of the day (0 to 1439) and of the week (Sunday is 0), local time; -1: not known */
	const char *country;    /* two letters, or NULL */
	enum gate_reverse reverse;
	const char *reverse_name; /* the confirmed one, else the first; NULL: none */
	unsigned n_hits;
	const struct gate_list_hit *hits;
	int score;              /* the weights of the hits together */

	/* helo */
	const char *helo;       /* NULL before it */
	unsigned helo_faults;   /* enum gate_helo_fault */

	/* mail */
	bool is_mail;           /* MAIL was said: what follows is known */
	bool tls;
	const char *tls_version, *tls_cipher;
	const char *certificate; /* the subject of the client's certificate, or NULL */
	bool certificate_verified;
	const char *user;       /* who logged in, or NULL */
	struct address sender;
	const char *sender_domain; /* lower case, A-labels; "" of the null path */
	enum gate_domain sender_domain_state;
	uint64_t size;          /* as announced in MAIL; at the end of the content the real one; 0: not known */
	const char *spf, *dkim, *arc, *dmarc; /* words of RFC 8601; NULL: nothing was verified, which is "none" */

	/* rcpt */
	bool is_rcpt;
	struct address recipient;
	const char *recipient_domain;
	unsigned recipients;    /* accepted so far */
};
