/* The parameters of MAIL and RCPT, from text to values. One function for each command; what is wrong comes
 * back as the reply to give. */
#pragma once

#include "mail/envelope.h"
#include "smtp/command.h"
#include "smtp/extensions.h"

/* RFC 2852 section 4. mode 0: not said. */
struct by_parameter {
	int32_t seconds;      /* may be negative with 'N': it is over already */
	char mode;            /* 'N': notify, 'R': return */
	bool trace;
};
struct mail_parameters {
	uint64_t size;        /* RFC 1870; 0: not said */
	enum body_type body;  /* RFC 6152, RFC 3030 */
	bool smtputf8;        /* RFC 6531 */
	bool requiretls;      /* RFC 8689 */
	enum dsn_ret ret;     /* RFC 3461 section 4.3 */
	const char *envid;    /* decoded, in the arena, or NULL (RFC 3461 section 4.4) */
	const char *auth;     /* decoded; "" for AUTH=<>; NULL: not said (RFC 4954 section 5) */
	struct by_parameter by;
	uint32_t hold_for;    /* seconds; 0: not said (RFC 4865) */
	wall_t hold_until;    /* 0: not said; at most one of the two */
	bool has_priority;
	int priority;         /* -9 to 9 (RFC 6710) */
	const char *solicit;  /* classes separated by commas, in the arena, or NULL (RFC 3865 section 2.3) */
};
struct rcpt_parameters {
	unsigned notify;      /* enum dsn_notify; 0: not said */
	const char *orcpt;    /* "type;address" decoded, in the arena, or NULL */
	bool has_rrvs;        /* RFC 7293 */
	wall_t rrvs;
	bool rrvs_continue;   /* "C": where it can't be passed on, the message goes on without it */
};
#define SOLICIT_MAX 1000 /* RFC 3865 section 2.2 */
/* Solicitation classes, separated by commas (RFC 3865 section 2.2). */
bool solicit_is_valid(struct slice classes);
/* The first of the classes that is among the refused ones (both separated by commas, the first perhaps with spaces), or
 * data NULL. */
struct slice solicit_match(struct slice classes, struct slice refused);

/* offered: enum extension bits that this client was offered: a parameter of another extension is unknown.
 * max_size: 0 for no limit. -EINVAL with *ret_error (static text) when the command must be refused:
 * 555 5.5.4 for a parameter that is not known, 501 5.5.4 for a wrong value or one given twice, 504 5.5.4 for
 * a value that we don't implement, 552 5.3.4 for SIZE above max_size. -ENOMEM: ret_error is 452 4.3.0. */
int mail_parameters_parse(const struct path_args *args, unsigned offered, uint64_t max_size, struct arena *a,
			  struct mail_parameters *ret, struct reply *ret_error);
/* smtputf8: this transaction's MAIL said SMTPUTF8, so ORCPT may hold UTF-8. */
int rcpt_parameters_parse(const struct path_args *args, unsigned offered, bool smtputf8, struct arena *a,
			  struct rcpt_parameters *ret, struct reply *ret_error);
