/* A session is one connection of a client, from the banner to the last reply, run by one fiber:
 *
 *   session_start      from the acceptor: the session is made, its fiber spawned
 *   open               TLS at once where the port wants it; a client that talks before the banner is shown out
 *   read a command     smtp/line.h, smtp/command.h
 *   run it             commands.c has the table; each command is one function in its file cmd_*.c
 *   ...                until QUIT, an error, a time-out, a limit, or the server stops
 *   close              the last reply is sent, the connection closed, everything freed
 *
 * Its memory: the struct, an arena for what lasts as long as the session, and (from the first MAIL on) an arena
 * for one message at a time, see transaction.h. While it waits for a command, it holds no buffers. */
#pragma once

#include "receive/acceptor.h"
#include "smtp/command.h"
#include "smtp/extensions.h"
#include "smtp/line.h"

struct client_attributes;
struct transaction;
struct gate_visit;
struct pickup;

enum hello { HELLO_NONE, HELLO_HELO, HELLO_EHLO /* or LHLO */ };

struct session {
	struct acceptor *acceptor;
	struct receive_settings *settings; /* a reference */
	struct link link;                  /* on acceptor->sessions */
	struct fiber *fiber;
	struct client_place *place;
	struct stream *stream;
	struct line_reader lines;
	struct arena *arena;
	struct arena *mail_arena;          /* of the transaction; NULL before the first one */
	struct transaction *transaction;   /* from MAIL to the end of the message; NULL outside */

	const struct receive_listener *listener;
	enum listen_role role;
	bool implicit_tls;
	bool trusted;
	bool proxied;                      /* a header of the PROXY protocol comes first, or came (client.c) */
	bool may_xclient;
	bool spoken_for;                   /* XCLIENT named another client: what TLS says is said of whoever speaks for it */
	bool unnamed;                      /* nobody can say who the client is: no address grants it anything */
	unsigned mechanisms;               /* enum auth_mechanism in the last reply to EHLO */
	const char *user;                  /* as whom the client logged in, or was said to have; NULL: it did not */
	const char *addresses;             /* what is said of the user's addresses, or NULL */
	struct client_attributes *forwarded; /* by XFORWARD, for the next message, in the mail arena; NULL: nothing */
	enum hello hello;
	unsigned offered;                  /* enum extension bits in the last reply to EHLO */
	char *helo;                        /* heap */
	const char *client_name;           /* reverse name, or NULL */
	bool looked_up;
	struct tls_context *tls_rules;     /* of the listener; NULL: no TLS. The settings hold it */
	struct tls_info *tls;              /* NULL: plain */
	char client[IP_TEXT];              /* "unix" for a unix socket */

	struct gate_visit *visit;          /* in the arena; from the first stage of the gate on */
	int gate_stage;                    /* enum gate_stage: the last one that the gate was asked at */
	const char *refused_by;            /* the rule or check of the gate, while its reply is given */
	int greeting_code;                 /* instead of that of the reply, in front of the session; 0: none */

	enum verb verb;                    /* of the command that is being run */
	struct slice subject;              /* the address that it is about, for the event of a refusal */
	unsigned errors, idle_commands, messages;
	unsigned put_off;                  /* refusals for a time (4yz); like errors and idle_commands since the last message */
	usec_t progress;                   /* when the last message was finished, or the session began */
	struct pickup *pickup;             /* while the client is the server (queue/pickup.h); then there is no stream any more */
	struct {
		msgid_t id;                /* MSGID_NONE: none was accepted yet */
		struct duplicate_key key;
		uint64_t bytes_in;         /* of the stream, when the 250 was given */
	} latest;                          /* message, whose 250 the client may not have had (receive/duplicates.h) */
	bool waiting;                      /* nothing is lost when it is cancelled now */
	bool over;                         /* what was replied last was the last reply */
	bool linger;                       /* the client may still be sending: see that it gets the reply */
};

static inline const struct receive_limits *session_limits(const struct session *s)
{
	return &s->settings->limits;
}
static inline struct receive_shared *session_shared(const struct session *s)
{
	return s->acceptor->shared;
}

/* On the acceptor's loop. Takes the transport in any case, the place only when it returns 0. The session counts in
 * shared->sessions from before the call; it takes itself off. */
int session_start(struct door *d, struct transport *t, const struct endpoint *peer, struct client_place *place,
		  bool trusted);
/* The server stops: ends the session when it isn't in a message. */
void session_stop_if_idle(struct session *s);

/* Begins to read lines from the stream: at the start, and when TLS has begun. */
void session_init_lines(struct session *s);

/* When a wait that begins now has to end. */
usec_t session_deadline(const struct session *s);

/* Is it asked of this client's mail who it is really? (judging.c) */
bool session_is_judged(const struct session *s);

/* A line of the client: 1; 0: it was refused (if it was too long, with that reply, whose %1 is the length allowed), or the
 * session is over; -errno: the connection is lost. */
int session_read_line(struct session *s, size_t longest, enum reply_id too_long, struct slice *ret);

/* Replies. All return 0, or -errno when the connection is lost. They are sent when the session waits for the
 * next command. A refusal is counted, and becomes an event when it is about a message. */
int session_reply(struct session *s, enum reply_id id);
int session_reply_with(struct session *s, enum reply_id id, struct slice first, struct slice second);
int session_reply_number(struct session *s, enum reply_id id, uint64_t number);
int session_reply_custom(struct session *s, const struct reply *reply);
/* The same with placeholders in its text: what the configuration says. */
int session_reply_text(struct session *s, const struct reply *reply);
int session_put(struct session *s, struct slice wire);
/* The whole reply, appended to out, for session_put when no memory may be needed any more. -ENOMEM. */
int session_format_reply(const struct session *s, enum reply_id id, struct slice first, struct slice second, struct buffer *out);
/* What texts may speak of now. */
struct reply_subjects session_subjects(const struct session *s);
/* A reply after which the session ends. */
int session_close(struct session *s, enum reply_id id);
int session_close_with(struct session *s, enum reply_id id, struct slice first, struct slice second);
/* The same for a client that reached a limit, perhaps with more commands under way: it gets the reply all the same. */
int session_close_at_limit(struct session *s, enum reply_id id, unsigned limit);
/* The reply to an error of our own (-ENOSPC, -ENOMEM, -ECANCELED, -ETIMEDOUT ...), which ends the session where it
 * can't go on. Gives the error back when the client is gone. */
int session_reply_error(struct session *s, int error);

/* Has the client sent more than it was allowed to? `before` says what it had to wait for. True: the session is
 * over, its last reply given. */
bool session_out_of_turn(struct session *s, const char *before, bool look_at_socket);

/* --- client.c: who the client is ------------------------------------------------------------------------------ */

bool client_is_listed(const struct cidr *list, unsigned n, const struct endpoint *peer);
/* Reads the header of the PROXY protocol and takes over what it says. 0: goes on (or s->over, with a reply); -errno:
 * the connection is to be closed without a word. */
int session_read_proxy_header(struct session *s);
/* From now on the client is this one: its trust, its place among the connections, what is logged and noted. may_trust:
 * its address decides; otherwise it isn't trusted. -EUSERS, -EDQUOT: too many from there; -ENOMEM; nothing changed then. */
int session_become(struct session *s, const struct endpoint *client, bool may_trust);
/* It returned an error: says so to that client, and closes. */
int session_refuse_client(struct session *s, const struct endpoint *client, int why);

/* EHLO, HELO, STARTTLS: forgets what the client said before (RFC 5321 section 4.1.4, RFC 3207 section 4.2). */
void session_forget(struct session *s);
