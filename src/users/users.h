/* Who may log in, and what with: the users of this server, as the configuration says where they are kept.
 *
 *	backends      asked in order, until one knows the user: a password file, Dovecot's auth socket, SQLite, PostgreSQL
 *	tokens        OAuth's, which a server of the house confirms (introspection, RFC 7662)
 *	senders       which addresses are whose
 *
 * A backend that keeps verifiers (a file, a database) gives them out, and whether a password fits is found out here;
 * Dovecot is told the password and says yes or no. Whoever doesn't exist is checked against a hash that no password has,
 * so that nobody learns from the time it takes who does. Names are compared without regard to case (ASCII).
 *
 * Passwords are in nothing that is logged, and memory that held them is wiped. */
#pragma once

#include "base/net.h"
#include "users/verifier.h"
#include "world/fiber.h"

enum users_backend_kind { BACKEND_FILE, BACKEND_DOVECOT, BACKEND_SQLITE, BACKEND_POSTGRESQL };
struct users_backend_config {
	enum users_backend_kind kind;
	const char *place;     /* file; unix socket; database file; libpq's connection string */
	const char *query;     /* SQL with $1 for the user's name; columns password, addresses (may be missing) and name (the same) */
	usec_t timeout;
};
struct users_oauth_config {
	const char *introspection;          /* https://...; NULL: no tokens */
	const char *client_id, *client_secret; /* how we log in there, or NULL */
	const char *ca_file;                /* NULL: the system's */
	const char *user_claim;             /* the member of the answer that names the user */
	const char *scope;                  /* which the token must have; NULL: any */
	usec_t timeout, cache;              /* for one question; how long an answer is kept */
};
/* Whoever matches a pattern may send as these addresses. */
struct users_senders {
	const char *user;
	const char *const *addresses;
	unsigned n_addresses;
};
/* Whose client certificate it is; one of the three is given. */
struct users_certificate {
	const char *user;
	const char *fingerprint; /* SHA-256, hexadecimal, colons don't count: holds whoever signed it */
	const char *subject;     /* as in tls_info; this one and the next only when a CA of the configuration signed it */
	const char *name;        /* of the subjectAltName: "email:alice@example.org", "dns:..." */
};
struct users_limits {
	unsigned per_address, per_account; /* failures within the window; 0: no limit */
	usec_t window, lockout;
};
struct users_config {
	const struct users_backend_config *backends;
	unsigned n_backends;
	struct users_oauth_config oauth;
	const struct users_senders *senders;
	unsigned n_senders;
	const struct users_certificate *certificates;
	unsigned n_certificates;
	bool certificate_email;   /* an address in the subjectAltName of a certificate is the user's name */
	struct users_limits limits;
	unsigned mechanisms;      /* enum auth_mechanism (smtp/extensions.h): what may be offered */
	unsigned parallel_checks; /* passwords that one loop checks at the same time */
	usec_t failure_delay;     /* a refusal comes so long after the question at the earliest */
};

/* What a backend knows of one user. Zeroed: nothing. */
struct user {
	char *name;                 /* as it stands there; heap */
	char *addresses;            /* patterns separated by spaces or commas; NULL: nothing is said; heap */
	struct verifiers verifiers;
};
void user_done(struct user *u); /* wipes */
/* A name that may be asked for: not empty, up to 255 octets of UTF-8, no control characters. */
bool user_name_is_valid(struct slice name);
/* In lower case. */
char *user_name_fold(struct slice name);

struct users;
int users_new(struct world *w, const struct log *log, const struct users_config *config, struct users **ret);
void users_free(struct users *u);
DEFINE_FREEP(struct users, users_free)
const struct users_config *users_config(const struct users *u);
/* Is there a backend that gives out verifiers, so that SCRAM is possible? */
bool users_have_verifiers(const struct users *u);

/* Looks in the backends that give out verifiers. May block: on a worker. -ENOENT: none knows him; -EAGAIN: one couldn't be
 * asked, which is logged; -ENOMEM. */
int users_find(struct users *u, struct slice name, struct user *ret);
/* Iterations and salt that a user who doesn't exist seems to have; the same name gets the same ones. */
void users_pretend(struct users *u, struct slice name, enum scram_hash h, struct scram_verifier *ret);

/* Hashing a password takes a worker for some 70 ms (yescrypt) and 16 MB: one loop lets a few of its sessions do it at a time, so that
 * guessers don't take the workers away from the mail. */
struct users_turns {
	unsigned running;
	struct cond free;
};
/* Who asks, for a backend that wants to know. */
struct login_context {
	struct users_turns *turns; /* of the loop; NULL: none */
	const char *client; /* address as text */
	bool encrypted;
	usec_t deadline;
};
/* Is it his password? In a fiber; waits. 0 with *ret filled as far as the backend knows; -EACCES: no, or there is no such
 * user; -EAGAIN: can't be found out now (said in the log); -ENOMEM, -ECANCELED. */
int users_check_password(struct users *u, struct slice name, const char *password, const struct login_context *context,
			 struct user *ret);
/* Whose token is it? In a fiber. claimed: the name the client gave, may be empty. As above. */
int users_check_token(struct users *u, struct slice claimed, struct slice token, const struct login_context *context,
		      struct user *ret);

/* He was recognized without a password: what else is known of him. In a fiber; waits. 0, -EAGAIN, -ENOMEM. */
int users_describe(struct users *u, struct slice name, struct user *ret);

/* May he send as this address? With domain in lower case as in route/match.h. */
bool users_may_send_as(const struct users_config *config, const char *user, const char *addresses, struct slice address);
/* "a@example.org, *@team.example.org" for people. */
void users_list_addresses(const struct users_config *config, const char *user, const char *addresses, struct buffer *out);
