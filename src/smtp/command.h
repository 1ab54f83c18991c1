/* The commands of SMTP and LMTP, from a line of text to verb, path and parameters (RFC 5321 section
 * 4.1.2). What a parameter means is smtp/parameters.h. Nothing is copied: all slices lie in the line. */
#pragma once

#include "mail/address.h"

enum verb {
	VERB_UNKNOWN,
	VERB_EHLO,
	VERB_HELO,
	VERB_LHLO, /* RFC 2033 */
	VERB_MAIL,
	VERB_RCPT,
	VERB_DATA,
	VERB_BDAT, /* RFC 3030 */
	VERB_RSET,
	VERB_NOOP,
	VERB_VRFY,
	VERB_EXPN,
	VERB_HELP,
	VERB_QUIT,
	VERB_STARTTLS, /* RFC 3207 */
	VERB_AUTH,     /* RFC 4954 */
	VERB_ETRN,     /* RFC 1985 */
	VERB_ATRN,     /* RFC 2645 */
	VERB_XCLIENT,  /* smtp/client_attributes.h */
	VERB_XFORWARD,
	VERB_FOREIGN,  /* GET, POST, CONNECT...: somebody speaks HTTP to us; close the connection */
	VERB_COUNT,
};
/* In upper case; "unknown" and "foreign" for those two. */
const char *verb_name(enum verb v);

struct command {
	enum verb verb;
	struct slice name; /* the verb as written */
	struct slice args; /* what follows, without spaces at both ends */
};
/* line: without CRLF. -EILSEQ: a control character (also TAB, NUL, DEL); -EINVAL: empty, or the first
 * word does not begin with a letter or is not ASCII. A verb that we don't know is VERB_UNKNOWN, not an error. */
int command_parse(struct slice line, struct command *ret);

#define PARAMETERS_MAX 16

struct parameter {
	struct slice keyword;
	struct slice value; /* data == NULL: no "=" at all */
};
struct path_args {
	struct address path;
	struct parameter parameters[PARAMETERS_MAX];
	unsigned n_parameters;
};
/* The arguments of MAIL ("FROM:<path> ...") and RCPT ("TO:<path> ..."). allow_utf8: SMTPUTF8 was announced.
 * One space (RFC 5321 section 3.3 forbids it, clients send it) is taken between the colon and the path.
 * -EINVAL: not FROM: or TO:, or no path; -E2BIG: a part of the path is too long; -EILSEQ: not ASCII, or not
 * UTF-8; -EBADMSG: the parameters are malformed; -ENOBUFS: too many of them. */
int mail_args_parse(struct slice args, bool allow_utf8, struct path_args *ret);
int rcpt_args_parse(struct slice args, bool allow_utf8, struct path_args *ret);

/* The name behind EHLO, HELO or LHLO: a domain or an address literal. lenient: also what clients really send
 * (underscores, a trailing dot, a bare word), as long as it is printable ASCII without spaces or brackets and
 * fits, and an IPv6 literal without its tag. -EINVAL. */
int helo_parse(struct slice args, bool lenient, struct slice *ret);
