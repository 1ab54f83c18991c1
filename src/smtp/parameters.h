/* The parameters of MAIL and RCPT, from text to values. One function for each command; what is wrong comes
 * back as the reply to give. */
#pragma once

#include "mail/envelope.h"
#include "smtp/command.h"
#include "smtp/extensions.h"

struct mail_parameters {
	uint64_t size;        /* RFC 1870; 0: not said */
	enum body_type body;  /* RFC 6152, RFC 3030 */
	bool smtputf8;        /* RFC 6531 */
	bool requiretls;      /* RFC 8689 */
	enum dsn_ret ret;     /* RFC 3461 section 4.3 */
	const char *envid;    /* decoded, in the arena, or NULL (RFC 3461 section 4.4) */
	const char *auth;     /* decoded; "" for AUTH=<>; NULL: not said (RFC 4954 section 5) */
};
struct rcpt_parameters {
	unsigned notify;      /* enum dsn_notify; 0: not said */
	const char *orcpt;    /* "type;address" decoded, in the arena, or NULL */
};

/* offered: enum extension bits that this client was offered: a parameter of another extension is unknown.
 * max_size: 0 for no limit. -EINVAL with *ret_error (static text) when the command must be refused:
 * 555 5.5.4 for a parameter that is not known, 501 5.5.4 for a wrong value or one given twice, 504 5.5.4 for
 * a value that we don't implement, 552 5.3.4 for SIZE above max_size. -ENOMEM: ret_error is 452 4.3.0. */
int mail_parameters_parse(const struct path_args *args, unsigned offered, uint64_t max_size, struct arena *a,
			  struct mail_parameters *ret, struct reply *ret_error);
/* smtputf8: this transaction's MAIL said SMTPUTF8, so ORCPT may hold UTF-8. */
int rcpt_parameters_parse(const struct path_args *args, unsigned offered, bool smtputf8, struct arena *a,
			  struct rcpt_parameters *ret, struct reply *ret_error);
