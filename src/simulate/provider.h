/* A provider to be played: what it offers and how it answers, as read from providers.yaml (whose head explains the
 * words) or from a file of the same form.
 *
 * The life of one: provider_read finds it by name and makes it, all in one arena; provider_set changes a rule and
 * provider_set_list a list before the simulation begins; afterwards it is only read. */
#pragma once

#include "base/arena.h"
#include "base/net.h"
#include "base/time.h"
#include "smtp/reply.h"

#define PATTERNS_MAX 8
#define PROVIDER_LINES_MAX 32

/* Where in the dialogue a rule is asked. */
enum at { AT_GREETING, AT_EHLO, AT_STARTTLS, AT_AUTH, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, AT_COUNT };
const char *at_name(enum at at);

enum rate_by { BY_CLIENT, BY_NETWORK, BY_SENDER, BY_DOMAIN, BY_RECIPIENT, BY_ALL };
enum then { THEN_GO_ON, THEN_CLOSE, THEN_GARBAGE, THEN_SILENCE };

struct patterns {
	unsigned n;
	const char *text[PATTERNS_MAX];
};
/* Networks by name. */
struct client_list {
	struct client_list *next;
	const char *name;
	unsigned n;
	struct cidr *networks;
};
#define ABOVE_NOTHING UINT32_MAX /* no such condition */
struct behaviour {
	struct behaviour *next;
	const char *name;
	unsigned number; /* in the order of the rules, from 0 */
	unsigned line;
	unsigned at;     /* bits 1 << enum at */
	/* conditions */
	struct client_list *client, *not_client;
	struct patterns helo, from, to;
	bool clear, another_domain;
	uint32_t connections_above, messages_above, recipients_above, errors_above, in_progress_above;
	const char *missing, *contains;
	uint32_t rate;   /* 0: no condition */
	usec_t rate_per;
	enum rate_by rate_by;
	usec_t greylist; /* 0: no condition */
	unsigned chance; /* per cent; 0: no condition */
	/* actions */
	usec_t delay, drip;
	struct reply say; /* code 0: nothing. The text has placeholders still */
	enum then then;
};
/* The replies to what no rule refuses. */
struct usual_replies {
	struct reply mail, rcpt, data, accepted, rset, noop, vrfy, quit, unknown;
};
struct provider {
	const char *name, *about, *host, *hello;
	struct reply greeting;
	unsigned n_extensions;
	const char *extensions[PROVIDER_LINES_MAX];
	struct usual_replies replies;
	usec_t tarpit;
	struct client_list *lists;
	struct behaviour *rules, **last;
	unsigned n_rules;
	struct arena *arena; /* the caller's: all of it lies there */
};

/* The provider called name in a text of the form of providers.yaml. file: for messages. -ENOENT when there is none;
 * -EINVAL with *ret_why ("file:line:column: what is wrong", on the heap); -ENOMEM. */
int provider_read(const char *file, struct slice text, const char *name, struct arena *a, struct provider **ret, char **ret_why);
/* Calls each(name, about) for every provider in the text, in its order. -EINVAL with *ret_why. */
int provider_names(const char *file, struct slice text, void (*each)(const char *name, const char *about, void *context), void *context,
		   char **ret_why);
/* "RULE.KEY=VALUE", as in the file. -ENOENT: there is no such rule; -EINVAL with *ret_why. */
int provider_set(struct provider *p, const char *assignment, char **ret_why);
/* "NAME=NETWORK,NETWORK": replaces the networks of a list. -ENOENT: no list has that name; -EINVAL. */
int provider_set_list(struct provider *p, const char *assignment);

/* The shipped ones, built into the program. */
extern const char providers_builtin[];
extern const size_t providers_builtin_len; /* without the final NUL */
